//! The file that `tidegate run` and `tidegate check` take.
//!
//! ```json
//! { "name": "shop", "type": "full-load-and-cdc", "preparation": "do-nothing",
//!   "source": {"engine": "mariadb", "host": "…", "port": 3306, "username": "…", "password_env": "SHOP_PASSWORD", "tls": "require"},
//!   "target": {"engine": "postgres", "host": "…", "username": "…", "password_file": "…", "database": "shop"},
//!   "table_mappings": {"rules": [ … ]},
//!   "modules": {"mask-email": "mask_email.wasm"},
//!   "settings": {"load_lanes": 4, "row_errors": {"data": "log"}} }
//! ```
//!
//! An unknown key is refused by name: a setting that is silently not there is worse than an error. Paths are relative
//! to the file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use tidegate_capacity::UNIT_CACHE_BYTES;
use tidegate_connector::{Loopback, ServerSettings, TablePreparation};
use tidegate_model::{StartPoint, StopPoint, TaskId};
use tidegate_pipeline::{
    CacheMemory, ControlTableSettings, DdlAction, DdlPolicy, MigrationType, PipelineLimits, RowErrorPolicy, RunSettings, SchemaScope,
    TableErrorPolicy, ValueSettings,
};

use crate::characters_form::CharactersForm;
use crate::control_tables_form::ControlTablesForm;
use crate::endpoint::EndpointFile;
use crate::exit::Failure;
use crate::loopback_form::{self, LoopbackForm};
use crate::row_errors_form::RowErrorsForm;
use crate::run_settings_form::{AfterLoadForm, BatchForm, NoTablesForm, PrimaryKeysForm, RetryForm, TransactionWaitForm};
use crate::values_form::{LargeValuesForm, UnfitValuesForm};

/// A checked task file.
#[derive(Debug)]
pub(crate) struct TaskFile {
    pub(crate) id: TaskId,
    pub(crate) source: ServerSettings,
    pub(crate) target: ServerSettings,
    pub(crate) migration: MigrationType,
    pub(crate) preparation: TablePreparation,
    /// The table mappings as JSON text.
    pub(crate) table_mappings: String,
    pub(crate) start_position: Option<StartPoint>,
    pub(crate) stop_position: Option<StopPoint>,
    /// Module files by the names that rules use.
    pub(crate) modules: BTreeMap<String, PathBuf>,
    pub(crate) limits: PipelineLimits,
    pub(crate) on_table_error: TableErrorPolicy,
    pub(crate) row_errors: RowErrorPolicy,
    pub(crate) values: ValueSettings,
    pub(crate) schema: SchemaScope,
    pub(crate) ddl: DdlPolicy,
    pub(crate) run: RunSettings,
    pub(crate) control_tables: Option<ControlTableSettings>,
    pub(crate) loopback: Option<Loopback>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileForm {
    name: String,
    source: EndpointFile,
    target: EndpointFile,
    #[serde(rename = "type", alias = "migration_type")]
    migration: String,
    #[serde(default)]
    preparation: Option<String>,
    table_mappings: serde_json::Value,
    #[serde(default)]
    start_position: Option<String>,
    #[serde(default)]
    stop_position: Option<String>,
    #[serde(default)]
    modules: BTreeMap<String, PathBuf>,
    #[serde(default)]
    settings: LimitsForm,
}

/// Bounds of a task, as files and the API spell them; what is left out has [`PipelineLimits`]' default.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LimitsForm {
    load_lanes: Option<usize>,
    chunk_rows: Option<u64>,
    cache_mib: Option<usize>,
    table_errors: Option<TableErrors>,
    /// `full` (default) or `minimal`.
    schema: Option<String>,
    #[serde(default)]
    pub(crate) row_errors: RowErrorsForm,
    #[serde(default)]
    ddl: DdlForm,
    target_schema: Option<String>,
    #[serde(default)]
    retry: RetryForm,
    no_tables: Option<NoTablesForm>,
    table_errors_max: Option<u32>,
    after_load: Option<AfterLoadForm>,
    #[serde(default)]
    transaction_wait: TransactionWaitForm,
    #[serde(default)]
    batch: BatchForm,
    primary_keys: Option<PrimaryKeysForm>,
    #[serde(default)]
    large_values: LargeValuesForm,
    #[serde(default)]
    unfit_values: UnfitValuesForm,
    #[serde(default)]
    characters: CharactersForm,
    loopback: Option<LoopbackForm>,
    control_tables: Option<ControlTablesForm>,
}

/// What follows when a definition changes, by kind of change; for what is left out see [`DdlPolicy`].
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct DdlForm {
    add_column: Option<DdlWord>,
    drop_column: Option<DdlWord>,
    rename_column: Option<DdlWord>,
    retype_column: Option<DdlWord>,
    truncate_table: Option<DdlWord>,
    drop_table: Option<DdlWord>,
    rename_table: Option<DdlWord>,
    create_table: Option<DdlWord>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum DdlWord {
    Apply,
    Ignore,
    SuspendTable,
    Stop,
}

/// What follows when a table cannot go on, as files and the API spell it.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum TableErrors {
    Stop,
    SuspendTable,
}

impl LimitsForm {
    /// What happens with values that are large, or that the target has no place for, and with characters.
    pub(crate) fn values(&self) -> Result<ValueSettings, Failure> {
        Ok(ValueSettings {
            large: self.large_values.setting()?,
            unfit: self.unfit_values.policy(),
            characters: self.characters.characters()?.map(Arc::new),
        })
    }

    /// DMS's control tables, in which the task has this name.
    ///
    /// # Errors
    /// A usage failure that names the setting that is out of its bounds.
    pub(crate) fn control_tables(&self, task_name: &str) -> Result<Option<ControlTableSettings>, Failure> {
        self.control_tables.as_ref().map(|form| form.settings(task_name.to_owned())).transpose()
    }

    /// The marks of a task with another one in the opposite direction.
    ///
    /// # Errors
    /// A usage failure that names the setting that is no mark.
    pub(crate) fn loopback(&self) -> Result<Option<Loopback>, Failure> {
        self.loopback.as_ref().map(LoopbackForm::loopback).transpose()
    }

    /// How much of the tables' definitions the target gets.
    pub(crate) fn schema(&self) -> Result<SchemaScope, Failure> {
        match &self.schema {
            None => Ok(SchemaScope::default()),
            Some(text) => text.parse().map_err(|error| Failure::usage("settings", format!("setting {error}"))),
        }
    }

    /// What follows when a table cannot go on.
    pub(crate) fn on_table_error(&self) -> TableErrorPolicy {
        match self.table_errors {
            Some(TableErrors::Stop) => TableErrorPolicy::Stop,
            Some(TableErrors::SuspendTable) => TableErrorPolicy::Suspend,
            None => TableErrorPolicy::default(),
        }
    }

    /// What follows when a table's definition changes at the source.
    pub(crate) fn ddl(&self) -> DdlPolicy {
        let DdlForm { add_column, drop_column, rename_column, retype_column, truncate_table, drop_table, rename_table, create_table } =
            &self.ddl;
        let default = DdlPolicy::default();
        let action = |word: &Option<DdlWord>, default: DdlAction| match word {
            Some(DdlWord::Apply) => DdlAction::Apply,
            Some(DdlWord::Ignore) => DdlAction::Ignore,
            Some(DdlWord::SuspendTable) => DdlAction::SuspendTable,
            Some(DdlWord::Stop) => DdlAction::Stop,
            None => default,
        };
        let policy = DdlPolicy {
            add_column: action(add_column, default.add_column),
            drop_column: action(drop_column, default.drop_column),
            rename_column: action(rename_column, default.rename_column),
            retype_column: action(retype_column, default.retype_column),
            truncate_table: action(truncate_table, default.truncate_table),
            drop_table: action(drop_table, default.drop_table),
            rename_table: action(rename_table, default.rename_table),
            create_table: action(create_table, default.create_table),
        };
        if self.loopback.is_some() { loopback_form::careful(policy) } else { policy }
    }

    /// How runs begin, wait, retry and end.
    ///
    /// # Errors
    /// A usage failure that names the setting that is out of its bounds.
    pub(crate) fn run(&self) -> Result<RunSettings, Failure> {
        if self.table_errors_max == Some(0) {
            return Err(Failure::usage("settings", "setting \"table_errors_max\" is 0, wanted at least 1"));
        }
        Ok(RunSettings {
            target_schema: self.target_schema.clone().filter(|schema| !schema.is_empty()),
            retry: self.retry.policy()?,
            no_tables: self.no_tables.map(Into::into).unwrap_or_default(),
            table_errors_max: self.table_errors_max,
            after_load: self.after_load.map(Into::into).unwrap_or_default(),
            transaction_wait: self.transaction_wait.wait()?,
            batch: self.batch.policy()?,
            primary_keys: self.primary_keys.map(Into::into).unwrap_or_default(),
        })
    }

    /// Fills in defaults and refuses zero, with which nothing would move.
    pub(crate) fn limits(&self) -> Result<PipelineLimits, Failure> {
        let default = PipelineLimits::default();
        let limits = PipelineLimits {
            load_lanes: self.load_lanes.unwrap_or(default.load_lanes),
            chunk_rows: self.chunk_rows.unwrap_or(default.chunk_rows),
            cache: self
                .cache_mib
                .map_or(CacheMemory::EachUnit(UNIT_CACHE_BYTES as usize), |mib| CacheMemory::Fixed(mib.saturating_mul(1 << 20))),
            group_bytes_max: self.batch.group_bytes_max()?.unwrap_or(default.group_bytes_max),
        };
        let values = [
            ("load_lanes", limits.load_lanes as u64),
            ("chunk_rows", limits.chunk_rows),
            ("cache_mib", self.cache_mib.map_or(1, |mib| mib as u64)),
        ];
        match values.iter().find(|(_, value)| *value == 0) {
            Some((name, _)) => Err(Failure::usage("settings", format!("setting \"{name}\" is 0, wanted at least 1"))),
            None => Ok(limits),
        }
    }
}

impl TaskFile {
    /// Reads and checks the file.
    ///
    /// # Errors
    /// A usage failure that names the file and the key.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let named = |message: String| format!("task file \"{}\": {message}", path.display());
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::usage("task_file", format!("read task file \"{}\": {error}", path.display())))?;
        let form: FileForm = serde_json::from_str(&text).map_err(|error| Failure::usage("task_file", named(error.to_string())))?;
        let beside = |file: PathBuf| path.parent().map_or_else(|| file.clone(), |dir| dir.join(&file));
        Self::from_form(form, beside).map_err(|failure| Failure { message: named(failure.message), ..failure })
    }

    fn from_form(form: FileForm, beside: impl Fn(PathBuf) -> PathBuf) -> Result<Self, Failure> {
        let usage = |code: &str, error: &dyn std::fmt::Display| Failure::usage(code, error.to_string());
        let control_tables = form.settings.control_tables(&form.name)?;
        let loopback = form.settings.loopback()?;
        Ok(Self {
            id: TaskId::new(form.name).map_err(|error| usage("name", &error))?,
            source: form.source.settings("source")?,
            target: form.target.settings("target")?,
            migration: form.migration.parse().map_err(|error| usage("type", &error))?,
            preparation: parse_preparation(form.preparation.as_deref().unwrap_or("do-nothing"))?,
            table_mappings: mappings_text(form.table_mappings)?,
            start_position: form.start_position.map(|text| text.parse().map_err(|error| usage("start_position", &error))).transpose()?,
            stop_position: form.stop_position.map(|text| text.parse().map_err(|error| usage("stop_position", &error))).transpose()?,
            modules: form.modules.into_iter().map(|(name, file)| (name, beside(file))).collect(),
            limits: form.settings.limits()?,
            on_table_error: form.settings.on_table_error(),
            row_errors: form.settings.row_errors.policy()?,
            values: form.settings.values()?,
            schema: form.settings.schema()?,
            ddl: form.settings.ddl(),
            run: form.settings.run()?,
            control_tables,
            loopback,
        })
    }
}

/// The preparation of a word, as the API has them; `truncate` for short.
pub(crate) fn parse_preparation(text: &str) -> Result<TablePreparation, Failure> {
    match text {
        "do-nothing" => Ok(TablePreparation::Keep),
        "drop-and-create" => Ok(TablePreparation::DropAndCreate),
        "truncate" | "truncate-before-load" => Ok(TablePreparation::Truncate),
        other => Err(Failure::usage(
            "preparation",
            format!("preparation \"{other}\" is none of do-nothing, drop-and-create, truncate-before-load"),
        )),
    }
}

/// Both forms in which people have table mappings: the document itself, and the document as a text (DMS's API).
fn mappings_text(value: serde_json::Value) -> Result<String, Failure> {
    match value {
        serde_json::Value::String(text) => Ok(text),
        serde_json::Value::Object(_) => Ok(value.to_string()),
        _ => Err(Failure::usage(
            "table_mappings",
            "key \"table_mappings\" is neither an object with the key \"rules\" nor such an object as a text",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"name":"shop","type":"cdc",
        "source":{"engine":"mysql","host":"h","username":"u"},
        "target":{"engine":"postgres","host":"h","username":"u","database":"d"},
        "table_mappings":{"rules":[]},"modules":{"mask":"m.wasm"},"settings":{"load_lanes":2}}"#;

    fn read(text: &str) -> Result<TaskFile, Failure> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("task.json");
        std::fs::write(&path, text).unwrap();
        TaskFile::read(&path)
    }

    #[test]
    fn a_task_file_is_read_with_defaults_and_paths_beside_it() {
        let task = read(GOOD).unwrap();
        assert_eq!(task.migration, MigrationType::Cdc);
        assert_eq!(task.preparation, TablePreparation::Keep);
        assert_eq!(task.table_mappings, r#"{"rules":[]}"#);
        assert!(task.modules["mask"].is_absolute() && task.modules["mask"].ends_with("m.wasm"));
        assert_eq!(task.limits, PipelineLimits { load_lanes: 2, ..PipelineLimits::default() });
    }

    #[test]
    fn mappings_may_be_a_text() {
        let task = read(&GOOD.replace(r#"{"rules":[]}"#, r#""{\"rules\": []}""#)).unwrap();
        assert_eq!(task.table_mappings, r#"{"rules": []}"#);
        assert_eq!(read(&GOOD.replace(r#"{"rules":[]}"#, "7")).unwrap_err().code, "table_mappings");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases = [
            (r#""host":"h","username":"u"}"#, r#""hots":"h","username":"u"}"#, "hots"),
            (r#""type":"cdc""#, r#""type":"cdk""#, "cdk"),
            (r#""name":"shop""#, r#""name":"Shop_1""#, "Shop_1"),
            (r#""load_lanes":2"#, r#""load_lanes":0"#, "load_lanes"),
            (r#""load_lanes":2"#, r#""lanes":2"#, "lanes"),
            (r#""load_lanes":2"#, r#""schema":"some""#, "some"),
            (r#""type":"cdc""#, r#""type":"cdc","preparation":"wipe""#, "wipe"),
            (r#""type":"cdc""#, r#""type":"cdc","start_position":"here""#, "here"),
            (r#""type":"cdc","#, "", "type"),
            (r#"{"name""#, r#"["name""#, "line 1"),
        ];
        for (from, to, named) in cases {
            let failure = read(&GOOD.replace(from, to)).unwrap_err();
            assert!(failure.message.contains(named) && failure.message.contains("task.json"), "{named}: {}", failure.message);
        }
    }
}
