//! Statistics of a task's tables, and loading some of them again.

use std::collections::HashSet;

use tidegate_catalog::{ListedTable, Migration, ReloadPayload, RequestKind, TaskRecord, TaskStatus};

use super::Call;
use super::fault::{Fault, missing, required, shortened};
use super::page::{ListRequest, Page, STATISTICS_PAGE, cut, filtered};
use super::progress::table_statistics;
use super::shape::replication::{ReloadReplicationAnswer, ReplicationTablesAnswer, TableStatistics, TableToReload, TablesRequest};
use super::shape::task::{ReloadTaskAnswer, TaskTablesAnswer};
use super::task_echo::{TaskForm, find};

const FILTERS: &[&str] = &["schema-name", "table-name", "table-state"];
/// DMS's bound for one call.
const RELOADED_MAX: usize = 10;

pub(crate) async fn describe_of_config(call: &Call, mut request: TablesRequest) -> Result<ReplicationTablesAnswer, Fault> {
    let (record, echo) = find(call, request.replication_config_arn.take(), TaskForm::Config, "ReplicationConfigArn").await?;
    let page = statistics(call, &record, request).await?;
    Ok(ReplicationTablesAnswer { replication_config_arn: echo.arn(&record), marker: page.marker, replication_table_statistics: page.items })
}

pub(crate) async fn describe_of_task(call: &Call, mut request: TablesRequest) -> Result<TaskTablesAnswer, Fault> {
    let (record, echo) = find(call, request.replication_task_arn.take(), TaskForm::Task, "ReplicationTaskArn").await?;
    let page = statistics(call, &record, request).await?;
    Ok(TaskTablesAnswer { replication_task_arn: echo.arn(&record), marker: page.marker, table_statistics: page.items })
}

async fn statistics(call: &Call, record: &TaskRecord, request: TablesRequest) -> Result<Page<TableStatistics>, Fault> {
    let tables = call.catalog.list_table_statuses(record.definition.name.as_str()).await?;
    let all: Vec<TableStatistics> = tables.iter().map(table_statistics).collect();
    let kept = filtered(all, request.filters.as_deref(), FILTERS, "Tables", |table, name| match name {
        "schema-name" => vec![table.schema_name.clone()],
        "table-name" => vec![table.table_name.clone()],
        _ => vec![table.table_state.to_owned()],
    })?;
    cut(kept, &ListRequest { max_records: request.max_records, marker: request.marker, ..ListRequest::default() }, STATISTICS_PAGE)
}

pub(crate) async fn reload_of_config(call: &Call, mut request: TablesRequest) -> Result<ReloadReplicationAnswer, Fault> {
    let (record, echo) = find(call, request.replication_config_arn.take(), TaskForm::Config, "ReplicationConfigArn").await?;
    reload(call, &record, &echo.identifier, request).await?;
    Ok(ReloadReplicationAnswer { replication_config_arn: echo.arn(&record) })
}

pub(crate) async fn reload_of_task(call: &Call, mut request: TablesRequest) -> Result<ReloadTaskAnswer, Fault> {
    let (record, echo) = find(call, request.replication_task_arn.take(), TaskForm::Task, "ReplicationTaskArn").await?;
    reload(call, &record, &echo.identifier, request).await?;
    Ok(ReloadTaskAnswer { replication_task_arn: echo.arn(&record) })
}

async fn reload(call: &Call, record: &TaskRecord, identifier: &str, request: TablesRequest) -> Result<(), Fault> {
    match request.reload_option.as_deref() {
        None | Some("data-reload") => {}
        Some("validate-only") => return Err(Fault::value("ReloadOption validate-only is not supported yet")),
        Some(other) => return Err(Fault::value(format!("ReloadOption must be data-reload or validate-only, found: {}", shortened(other)))),
    }
    if record.definition.migration == Migration::Cdc {
        return Err(Fault::combination("Tables of a replication of type cdc cannot be reloaded"));
    }
    if !matches!(record.status, TaskStatus::Running { .. }) {
        return Err(Fault::state(format!(
            "{identifier} is in {} state, tables can be reloaded only while it is running",
            record.status.name()
        )));
    }
    let tables = wanted_tables(request.tables_to_reload)?;
    let known: HashSet<(String, String)> = call
        .catalog
        .list_table_statuses(record.definition.name.as_str())
        .await?
        .into_iter()
        .map(|table| (table.schema, table.table))
        .collect();
    if let Some(table) = tables.iter().find(|table| !known.contains(&(table.schema.clone(), table.table.clone()))) {
        return Err(Fault::not_found(format!(
            "Table {}.{} is not part of {identifier}",
            shortened(&table.schema),
            shortened(&table.table)
        )));
    }
    let payload = serde_json::to_value(ReloadPayload { tables }).expect("the payload has string keys only");
    call.catalog.submit_request(RequestKind::ReloadTables, record.definition.name.as_str(), &payload).await?;
    Ok(())
}

fn wanted_tables(given: Option<Vec<TableToReload>>) -> Result<Vec<ListedTable>, Fault> {
    let given = given.filter(|tables| !tables.is_empty()).ok_or_else(|| missing("TablesToReload"))?;
    if given.len() > RELOADED_MAX {
        return Err(Fault::value(format!("TablesToReload may name at most {RELOADED_MAX} tables, found: {}", given.len())));
    }
    let mut seen = HashSet::new();
    let mut tables = Vec::with_capacity(given.len());
    for table in given {
        let schema = required(table.schema_name, "TablesToReload.SchemaName")?;
        let table = required(table.table_name, "TablesToReload.TableName")?;
        if !seen.insert((schema.clone(), table.clone())) {
            return Err(Fault::value(format!("TablesToReload names {}.{} twice", shortened(&schema), shortened(&table))));
        }
        tables.push(ListedTable { schema, table });
    }
    Ok(tables)
}
