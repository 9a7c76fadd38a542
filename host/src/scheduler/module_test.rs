//! Answers tests of modules: finds the module and the rows, runs the one on the other.

use serde_json::Value;
use tidegate_catalog::{ModuleState, ModuleTestPayload, ModuleVersion, TestRows};
use tidegate_model::TableName;
use tidegate_pipeline::RULES;
use tidegate_sandbox::{Compiled, Limits, ModuleInfo, builtin_rules};

use super::{Node, spec};
use crate::connectors;
use crate::exit::Failure;
use crate::module_test::{self, Bench, Stop, sample, table};
use crate::modules::on_guest_thread;

/// The report of a test, as JSON.
///
/// # Errors
/// A failure that names the module, the endpoint, the table or the row at fault.
pub(super) async fn test_module(node: &Node, name: &str, payload: &Value) -> Result<Value, Failure> {
    let payload: ModuleTestPayload = serde_json::from_value(payload.clone())
        .map_err(|error| Failure::failed("payload", format!("test of module \"{name}\": {error}")))?;
    let target = module_test::target_engine(&payload.target)?;
    let (module, info) = find(node, name, &payload.version).await?;
    let rows = match &payload.rows {
        TestRows::Given { table, rows } => table::given(table, rows)?,
        TestRows::Sample { endpoint, schema, table, limit } => {
            let settings = spec::server_settings(&node.catalog.get_endpoint_by_id(endpoint).await?.spec);
            let source = connectors::source(settings).await.map_err(|error| Failure::from(&error))?;
            sample::first_rows(source.as_ref(), TableName::new(schema, table), *limit as usize).await?
        }
    };
    let store = node.modules.clone();
    let stop = Stop::default();
    // A request that is given up takes its test along.
    let _stops = stop.when_dropped();
    let work = move || {
        let bench = Bench { engine: store.engine(), module: &module, limits: Limits::default(), target, config: &payload.config, stop };
        let report = module_test::run(&bench, info, &rows)?;
        serde_json::to_value(report).map_err(|error| Failure::failed("bug", error.to_string()))
    };
    on_guest_thread(work).await
}

async fn find(node: &Node, name: &str, version: &str) -> Result<(Compiled, ModuleInfo), Failure> {
    let tenant = node.catalog.tenant();
    if name == RULES {
        let (rules, info) = node.modules.examine(RULES, tenant, builtin_rules().to_vec()).await?;
        return Ok((node.modules.counted_as_test(rules, tenant), info));
    }
    let record = node.catalog.get_module(name, &ModuleVersion::new(version)).await?;
    if let ModuleState::Rejected { message, hint } = record.state {
        return Err(Failure { hint, ..Failure::failed("module_rejected", format!("module \"{name}\" was rejected: {message}")) });
    }
    let limits = node.modules.limits(name, &node.catalog).await?;
    let (module, info) = node.modules.examine(name, tenant, node.catalog.module_bytes(&record.digest).await?).await?;
    Ok((node.modules.counted_as_test(module.limited(limits), tenant), info))
}
