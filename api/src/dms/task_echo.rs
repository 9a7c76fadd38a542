//! What the DMS API has to give back of a task and the catalog has no place for: its `dms` document.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tidegate_catalog::{EventCategory, EventSeverity, Migration, NewEvent, Preparation, TaskDefinition, TaskRecord};
use tidegate_model::TaskId;

use super::arn::{Arn, Kind};
use super::caller::Caller;
use super::fault::{Fault, shortened};
use super::lobs;
use super::settings::{self, Settings};
use super::shape::replication::ComputeConfig;
use super::{Call, mappings};

/// As which of DMS's two resources a task was created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum TaskForm {
    /// Serverless: a replication config. Tasks of the native API show up as this form, too.
    Config,
    /// Provisioned: a task on a replication instance.
    Task,
}

impl TaskForm {
    pub(crate) fn arn_kind(self) -> Kind {
        match self {
            TaskForm::Config => Kind::Config,
            TaskForm::Task => Kind::Task,
        }
    }
}

/// The `dms` document of a task.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct TaskEcho {
    pub(crate) form: TaskForm,
    /// As the caller typed it.
    pub(crate) identifier: String,
    pub(crate) region: String,
    /// The full settings document.
    pub(crate) settings: Value,
    #[serde(default)]
    pub(crate) compute_config: ComputeConfig,
    #[serde(default)]
    pub(crate) supplemental_settings: Option<String>,
    #[serde(default)]
    pub(crate) task_data: Option<String>,
    #[serde(default)]
    pub(crate) instance_arn: Option<String>,
}

impl TaskEcho {
    /// What was stored, or what a task of the native API would have.
    pub(crate) fn of(record: &TaskRecord, caller: &Caller) -> Self {
        serde_json::from_value(record.definition.dms.clone()).unwrap_or_else(|_| Self {
            form: TaskForm::Config,
            identifier: record.definition.name.to_string(),
            region: caller.region.clone(),
            settings: settings::defaults(),
            compute_config: ComputeConfig::default(),
            supplemental_settings: None,
            task_data: None,
            instance_arn: None,
        })
    }

    pub(crate) fn arn(&self, record: &TaskRecord) -> String {
        Arn::new(&record.tenant, &self.region, self.form.arn_kind(), &record.id).to_string()
    }

    /// The settings document with what the native API may have changed since.
    pub(crate) fn settings_now(&self, definition: &TaskDefinition) -> Value {
        let mut document = self.settings.clone();
        document["FullLoadSettings"]["TargetTablePrepMode"] = match definition.preparation {
            Preparation::DoNothing => "DO_NOTHING",
            Preparation::DropAndCreate => "DROP_AND_CREATE",
            Preparation::TruncateBeforeLoad => "TRUNCATE_BEFORE_LOAD",
        }
        .into();
        if let Some(lanes) = definition.settings.get("load_lanes").filter(|lanes| lanes.is_u64()) {
            document["FullLoadSettings"]["MaxFullLoadSubTasks"] = lanes.clone();
        }
        lobs::show(&mut document["TargetMetadata"], &definition.settings["large_values"]);
        document
    }

    pub(crate) fn document(&self) -> Value {
        serde_json::to_value(self).expect("the echo has string keys only")
    }
}

/// Puts the settings into the definition and the echo.
pub(crate) fn apply_settings(definition: &mut TaskDefinition, echo: &mut TaskEcho, settings: Settings) {
    definition.preparation = settings.preparation;
    settings.replace_in(&mut definition.settings);
    echo.settings = settings.document;
}

/// Records which settings of the task have no effect, when there are such.
pub(crate) async fn tell_idle_settings(call: &Call, record: &TaskRecord, echo: &TaskEcho) -> Result<(), Fault> {
    if let Some(message) = settings::effects::sentence(&echo.settings) {
        let task = Some(record.definition.name.to_string());
        let (category, severity) = (EventCategory::ConfigurationChange, EventSeverity::Warning);
        call.catalog.append_event(&NewEvent { task, category, severity, message }).await?;
    }
    Ok(())
}

/// The task behind an ARN of this form.
///
/// # Errors
/// `ResourceNotFoundFault` also when the task exists in the other form.
pub(crate) async fn find(call: &Call, arn: Option<String>, form: TaskForm, member: &str) -> Result<(TaskRecord, TaskEcho), Fault> {
    let text = super::fault::required(arn, member)?;
    let arn = Arn::parse_kind(&text, form.arn_kind(), member)?;
    let gone = || Fault::not_found(format!("{} {} not found.", form.arn_kind().noun(), shortened(&text)));
    let record = match call.catalog.get_task_by_id(&arn.id).await {
        Err(tidegate_catalog::CatalogError::NotFound { .. }) => return Err(gone()),
        other => other?,
    };
    let echo = TaskEcho::of(&record, &call.caller);
    if echo.form == form { Ok((record, echo)) } else { Err(gone()) }
}

/// The migration type, in DMS's spelling.
pub(crate) fn migration(text: &str, member: &str) -> Result<Migration, Fault> {
    text.parse().map_err(|error| Fault::value(format!("Invalid {member}: {error}")))
}

/// Table mappings that passed the light check.
pub(crate) fn checked_mappings(text: String) -> Result<String, Fault> {
    mappings::check(&text)?;
    Ok(text)
}

/// The catalog's name for an identifier: lower case, and cut with a digest where it is longer than task names may be.
/// Identifiers have the form of task names but for case and length, so the mapping cannot fail.
pub(crate) fn catalog_name(identifier: &str) -> TaskId {
    const CHARS_MAX: usize = 63;
    const KEPT: usize = 50;
    let lower = identifier.to_ascii_lowercase();
    if lower.len() <= CHARS_MAX {
        return TaskId::new(lower).expect("identifiers are checked before");
    }
    let digest: String = Sha256::digest(lower.as_bytes()).iter().take(5).map(|byte| format!("{byte:02x}")).collect();
    let head = lower[..KEPT].trim_end_matches('-');
    TaskId::new(format!("{head}-{digest}")).expect("identifiers are checked before")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_become_task_names() {
        assert_eq!(catalog_name("Shop-To-Lake").as_str(), "shop-to-lake");
        let long = format!("A{}-b", "x".repeat(200));
        assert!(catalog_name(&long).as_str().len() <= 63);
        assert_ne!(catalog_name(&long), catalog_name(&format!("{long}c")));
    }
}
