//! `tidegate tenant …`: tenants, quotas and keys, for whoever runs the server.
//!
//! The commands open the catalog themselves: who may read the data directory needs no key, and a server that runs on it
//! sees every change at once. A key's secret goes to standard output once and nowhere else.

use std::path::Path;

use serde_json::{Value, json};
use tidegate_catalog::{Catalog, KeyKind, KeyOwner, TenantQuotas};
use tidegate_model::TenantId;

use crate::cli::{Bound, QuotaArgs, TenantArgs, TenantCommand};
use crate::client::line;
use crate::data_dir::make_private;
use crate::exit::{Exit, Failure};

/// Carries out a `tenant` command.
///
/// # Errors
/// When there is no data directory, the catalog does not open, or it refuses.
pub(crate) async fn tenant(args: TenantArgs) -> Result<Exit, Failure> {
    let dir = args.data_dir.ok_or_else(|| {
        Failure::usage("no_data_dir", "no data directory is given").hint("add --data-dir DIR: the one that the server has")
    })?;
    let catalog = open(&dir).await?;
    let (answer, lines) = carry_out(&catalog, &args.command).await?;
    catalog.close().await;
    if args.json {
        println!("{answer:#}");
    } else {
        lines.iter().for_each(|line| println!("{line}"));
    }
    Ok(Exit::Ok)
}

async fn open(dir: &Path) -> Result<Catalog, Failure> {
    // The first key may be made before the server first starts.
    make_private(dir)?;
    Ok(Catalog::open(dir).await?)
}

async fn carry_out(catalog: &Catalog, command: &TenantCommand) -> Result<(Value, Vec<String>), Failure> {
    match command {
        TenantCommand::List => {
            let tenants: Vec<Value> = catalog.list_tenants().await?.iter().map(|tenant| view(&tenant.name, &tenant.quotas)).collect();
            let lines = tenants.iter().map(tenant_line).collect();
            Ok((json!({ "tenants": tenants }), lines))
        }
        TenantCommand::Create { name, quotas } => {
            let (name, quotas) = (checked(name)?, changed(TenantQuotas::default(), quotas));
            catalog.create_tenant(&name, &quotas).await?;
            Ok(shown(&name, &quotas))
        }
        TenantCommand::Set { name, quotas } => {
            let name = checked(name)?;
            let quotas = changed(catalog.get_tenant(&name).await?.quotas, quotas);
            catalog.set_tenant_quotas(&name, &quotas).await?;
            Ok(shown(&name, &quotas))
        }
        TenantCommand::Delete { name } => {
            catalog.delete_tenant(&checked(name)?).await?;
            Ok((json!({ "deleted": name }), Vec::new()))
        }
        TenantCommand::Key { name, sigv4, operator: _ } => {
            let owner = name.as_deref().map(checked).transpose()?.map_or(KeyOwner::Operator, KeyOwner::Tenant);
            let kind = if *sigv4 { KeyKind::Signing } else { KeyKind::Bearer };
            let key = catalog.create_key(&owner, kind).await?;
            let secret = key.secret.reveal();
            Ok(match kind {
                KeyKind::Bearer => (json!({ "id": key.id, "key": secret }), vec![secret.to_owned()]),
                KeyKind::Signing => {
                    let lines = vec![format!("aws_access_key_id = {}", key.id), format!("aws_secret_access_key = {secret}")];
                    (json!({ "access_key_id": key.id, "secret_access_key": secret }), lines)
                }
            })
        }
        TenantCommand::Keys => {
            let key = |key: tidegate_catalog::KeyRecord| {
                let tenant = match key.owner {
                    KeyOwner::Operator => Value::Null,
                    KeyOwner::Tenant(tenant) => tenant.as_str().into(),
                };
                json!({ "id": key.id, "tenant": tenant, "kind": key.kind.as_str(), "created_at_us": key.created_at_us })
            };
            let keys: Vec<Value> = catalog.list_keys().await?.into_iter().map(key).collect();
            let lines = keys.iter().map(|key| line(&[&key["id"], &key["tenant"], &key["kind"]])).collect();
            Ok((json!({ "keys": keys }), lines))
        }
        TenantCommand::Revoke { id } => {
            catalog.delete_key(id).await?;
            Ok((json!({ "deleted": id }), Vec::new()))
        }
    }
}

fn checked(name: &str) -> Result<TenantId, Failure> {
    TenantId::new(name).map_err(|error| Failure::usage("tenant_name", error.to_string()))
}

fn changed(before: TenantQuotas, args: &QuotaArgs) -> TenantQuotas {
    let bound = |given: Option<Bound>, before: Option<u32>| given.map_or(before, |Bound(bound)| bound);
    let mut ceilings = before.module_ceilings;
    ceilings.memory_mib = bound(args.module_memory_mib, ceilings.memory_mib);
    ceilings.batch_cpu_ms = bound(args.module_batch_cpu_ms, ceilings.batch_cpu_ms);
    ceilings.row_cpu_us = bound(args.module_row_cpu_us, ceilings.row_cpu_us);
    ceilings.instances = bound(args.module_instances, ceilings.instances);
    TenantQuotas {
        weight: bound(args.weight, before.weight),
        units: bound(args.units, before.units),
        tasks: bound(args.tasks, before.tasks),
        modules: bound(args.modules, before.modules),
        module_mib: bound(args.module_mib, before.module_mib),
        sandboxes: bound(args.sandboxes, before.sandboxes),
        sandbox_memory_mib: bound(args.sandbox_memory_mib, before.sandbox_memory_mib),
        module_ceilings: ceilings,
    }
}

fn view(name: &TenantId, quotas: &TenantQuotas) -> Value {
    json!({ "name": name.as_str(), "quotas": quotas })
}

fn shown(name: &TenantId, quotas: &TenantQuotas) -> (Value, Vec<String>) {
    let view = view(name, quotas);
    let line = tenant_line(&view);
    (view, vec![line])
}

fn tenant_line(tenant: &Value) -> String {
    let quota = |name: &str| match &tenant["quotas"][name] {
        Value::Null => format!("{name}=-"),
        number => format!("{name}={number}"),
    };
    let quotas = ["weight", "units", "tasks", "modules", "module_mib", "sandboxes", "sandbox_memory_mib"];
    let quotas = quotas.map(|name| Value::String(quota(name)));
    let columns: Vec<&Value> = std::iter::once(&tenant["name"]).chain(&quotas).collect();
    line(&columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_that_are_not_named_stay_and_none_takes_one_away() {
        let before = TenantQuotas { units: Some(4), tasks: Some(9), ..TenantQuotas::default() };
        let mut args = QuotaArgs {
            weight: Some(Bound(Some(3))),
            units: Some(Bound(None)),
            tasks: None,
            modules: None,
            module_mib: None,
            sandboxes: None,
            sandbox_memory_mib: None,
            module_memory_mib: None,
            module_batch_cpu_ms: None,
            module_row_cpu_us: None,
            module_instances: None,
        };
        let after = changed(before, &args);
        assert_eq!((after.weight, after.units, after.tasks), (Some(3), None, Some(9)));
        args.module_memory_mib = Some(Bound(Some(8)));
        assert_eq!(changed(after, &args).module_ceilings.memory_mib, Some(8));
    }
}
