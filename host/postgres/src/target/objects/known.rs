//! What the records say that a task made, for who looks before anything is done.

use std::collections::HashSet;

use tidegate_connector::ConnectorError;
use tidegate_model::{TableName, TaskId};
use tokio_postgres::GenericClient;

use super::TABLE;
use super::sql::Kind;
use crate::connect::pg_error;

/// Tables and foreign keys that a task made. Where the control tables are missing or may not be read, none.
#[derive(Default)]
pub(crate) struct Known {
    pub(crate) tables: HashSet<TableName>,
    /// With the tables that they are of.
    pub(crate) foreign_keys: HashSet<(TableName, String)>,
}

impl Known {
    pub(crate) async fn read(client: &impl GenericClient, task: &TaskId) -> Result<Known, ConnectorError> {
        let failed = |error| pg_error("look for what the task made", error);
        let sql = "select coalesce(has_table_privilege(to_regclass('tidegate.object'), 'select'), false)";
        let mut known = Known::default();
        if !client.query_one(sql, &[]).await.map_err(failed)?.get::<_, bool>(0) {
            return Ok(known);
        }
        let sql = "select schema_name, table_name, kind = $2, coalesce(made_name, '') from tidegate.object \
                   where task = $1 and kind in ($2, $3) and state = 'built'";
        for row in client.query(sql, &[&task.as_str(), &TABLE, &Kind::ForeignKey.text()]).await.map_err(failed)? {
            let table = TableName::new(row.get::<_, String>(0), row.get::<_, String>(1));
            if row.get(2) {
                known.tables.insert(table);
            } else {
                known.foreign_keys.insert((table, row.get(3)));
            }
        }
        Ok(known)
    }
}
