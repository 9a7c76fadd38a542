//! Primary keys that are built after the rows.

use mysql_async::prelude::Queryable;
use tidegate_connector::{ConnectorError, Dialect, TargetTable, WithheldKey};

use super::ddl::execute;
use super::session::Server;
use crate::fault::driver;

/// What the server says where it lets no table be without the key: a column that counts needs it (1075), a setting wants it
/// (3750, `sql_require_primary_key`; 3111 and 1173, `innodb_force_primary_key`). Sources: MySQL's "Server Error Message
/// Reference", MariaDB's "Error Codes".
const KEPT: [u16; 4] = [1075, 1173, 3111, 3750];

/// Drops the key; what brings it back.
pub(crate) async fn withhold(server: &mut Server, table: &TargetTable) -> Result<Option<WithheldKey>, ConnectorError> {
    if table.primary_key.is_empty() {
        return Ok(None);
    }
    let sql = format!("alter table {} drop primary key", Dialect::MYSQL.table(&table.name));
    match server.conn.query_drop(&sql).await {
        Ok(()) => {
            let names = table.primary_key.iter().filter_map(|index| table.columns.get(*index)).map(|column| column.name.as_str());
            Ok(Some(WithheldKey(format!("primary key ({})", Dialect::MYSQL.identifiers(names)))))
        }
        Err(mysql_async::Error::Server(told)) if KEPT.contains(&told.code) => Ok(None),
        Err(error) => {
            let error = driver(&format!("drop the primary key of table \"{}\" for its load", table.name), error);
            Err(error.at_table(&table.source.schema.name))
        }
    }
}

/// Adds the key.
pub(crate) async fn give_back(server: &mut Server, table: &TargetTable, key: &WithheldKey) -> Result<(), ConnectorError> {
    let sql = format!("alter table {} add {}", Dialect::MYSQL.table(&table.name), key.0);
    execute(server, table, &format!("build the primary key of table \"{}\" after its load", table.name), &sql).await
}
