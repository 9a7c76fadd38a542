//! From the catalog's words to the pipeline's and the connectors'.

use std::path::Path;
use std::str::FromStr;

use tidegate_catalog::{EndpointSpec, Migration, Preparation, TaskRecord};
use tidegate_connector::{Secret, ServerSettings, TablePreparation, TlsMode};
use tidegate_model::TenantId;
use tidegate_pipeline::{MigrationType, ModuleSet, TaskSpec, Units};

use crate::exit::Failure;
use crate::task_file::LimitsForm;

/// How to reach an endpoint.
pub(crate) fn server_settings(endpoint: &EndpointSpec) -> ServerSettings {
    let authorities_pem = endpoint.tls.authorities_pem.clone();
    ServerSettings {
        engine: endpoint.engine,
        host: endpoint.host.clone(),
        port: endpoint.port,
        user: endpoint.username.clone(),
        password: Secret::new(endpoint.password.reveal()),
        database: endpoint.database.clone(),
        tls: match endpoint.tls.mode {
            tidegate_catalog::TlsMode::Disable => TlsMode::Disable,
            tidegate_catalog::TlsMode::Require => TlsMode::Require,
            tidegate_catalog::TlsMode::VerifyCa => TlsMode::VerifyCa { authorities_pem },
            tidegate_catalog::TlsMode::VerifyFull => TlsMode::VerifyFull { authorities_pem },
        },
    }
}

/// A task's settings.
///
/// # Errors
/// A failure that names the setting that does not read.
pub(crate) fn settings(record: &TaskRecord) -> Result<LimitsForm, Failure> {
    match &record.definition.settings {
        serde_json::Value::Null => Ok(LimitsForm::default()),
        document => serde_json::from_value(document.clone())
            .map_err(|error| Failure::failed("settings", format!("settings of task \"{}\": {error}", record.definition.name))),
    }
}

/// What the pipeline is to do, on as many lanes as `units` grant, with a directory of its own in `spool_root`.
///
/// # Errors
/// A failure that names the setting or the position that does not read.
pub(crate) fn task_spec(record: &TaskRecord, modules: ModuleSet, spool_root: &Path, units: Units) -> Result<TaskSpec, Failure> {
    let definition = &record.definition;
    let id = record.outside_name();
    let settings = settings(record)?;
    let (limits, run) = (settings.limits()?, settings.run()?);
    let start_position = point(definition.start_position.as_deref(), "start_position", definition.name.as_str())?;
    let stop_position = point(definition.stop_position.as_deref(), "stop_position", definition.name.as_str())?;
    Ok(TaskSpec {
        spool_dir: spool_root.join(id.as_str()),
        id,
        migration: match definition.migration {
            Migration::FullLoad => MigrationType::FullLoad,
            Migration::Cdc => MigrationType::Cdc,
            Migration::FullLoadAndCdc => MigrationType::FullLoadAndCdc,
        },
        preparation: match definition.preparation {
            Preparation::DoNothing => TablePreparation::Keep,
            Preparation::DropAndCreate => TablePreparation::DropAndCreate,
            Preparation::TruncateBeforeLoad => TablePreparation::Truncate,
        },
        start_position,
        stop_position,
        schema: settings.schema()?,
        limits,
        on_table_error: settings.on_table_error(),
        ddl: settings.ddl(),
        modules: modules.into_schema(run.target_schema.as_deref()),
        row_errors: settings.row_errors.policy()?,
        values: settings.values()?,
        control_tables: settings.control_tables(&name_for_dms(record))?,
        run,
        units,
    })
}

/// The task's name in DMS's control tables: for a task that was made over DMS's API the last part of its ARN, as there. Tenants
/// other than the first choose their own, so theirs stands before it.
fn name_for_dms(record: &TaskRecord) -> String {
    if record.definition.dms.is_null() {
        record.outside_name().to_string()
    } else if record.tenant == TenantId::default() {
        record.id.clone()
    } else {
        format!("{}--{}", record.tenant, record.id)
    }
}

fn point<T: FromStr<Err: std::fmt::Display>>(text: Option<&str>, key: &str, task: &str) -> Result<Option<T>, Failure> {
    let read = |text: &str| text.parse().map_err(|error| Failure::failed(key, format!("{key} of task \"{task}\": {error}")));
    text.map(read).transpose()
}
