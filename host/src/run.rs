//! `tidegate run`: one task in the foreground, without a server. `tidegate check`: its checks alone.
//!
//! Everything that must outlive the process is in the target, so a run that was stopped or killed goes on where its
//! last commit was when the same command is given again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidegate_connector::{Finding, Severity, Source, Target};
use tidegate_pipeline::{
    CacheMemory, MigrationType, ModuleSet, Outcome, PipelineLimits, Progress, StopCause, TableStage, TaskError, TaskSpec, Units,
};
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use crate::cli::TaskFileArgs;
use crate::data_dir::{RunDir, make_private};
use crate::display::{Display, phase_name};
use crate::exit::{Exit, Failure};
use crate::modules::ModuleStore;
use crate::task_file::TaskFile;
use crate::{connectors, findings, signals};

/// How often the display changes.
const SHOW_INTERVAL: Duration = Duration::from_millis(200);

/// Runs the task of a file to its end.
///
/// # Errors
/// What stopped it.
pub(crate) async fn run(args: TaskFileArgs) -> Result<Exit, Failure> {
    let file = TaskFile::read(&args.file)?;
    let dir = work_dir(args.data_dir.clone())?;
    let stop = signals::stop_token()?;
    let result = tokio::select! {
        biased;
        result = prepare(&file, &dir) => Some(result),
        // Nothing was begun yet, so there is nothing to wait for.
        () = stop.cancelled() => None,
    };
    let mut last = Progress::default();
    let ending = match result {
        None => Ok(Outcome { cause: StopCause::Cancelled }),
        Some(Err(failure)) => Err(failure),
        Some(Ok(ready)) => {
            eprintln!(
                "task \"{}\": {}, {} to {}",
                file.id,
                file.migration.as_str(),
                ready.source.engine().as_str(),
                ready.target.engine().as_str()
            );
            let (progress, view) = watch::channel(Progress::default());
            // Nobody sends: the channel stays open for as long as the run may listen.
            let (_control, commands) = mpsc::channel(1);
            let spec = task_spec(&file, ready.modules, ready.spool.path().to_owned());
            let run = tokio::spawn(tidegate_pipeline::run(spec, ready.source, ready.target, progress, commands, stop));
            let result = show_until_end(AbortOnDropHandle::new(run), view, &mut last).await;
            result.map_err(|error| Failure::from(&error))
        }
    };
    report(&file, &args, &last, ending)
}

/// What a run needs besides its file.
struct Ready {
    source: Arc<dyn Source>,
    target: Arc<dyn Target>,
    modules: ModuleSet,
    spool: RunDir,
}

async fn prepare(file: &TaskFile, dir: &Path) -> Result<Ready, Failure> {
    let spool = RunDir::create(&dir.join("spool").join(file.id.as_str()))?;
    let store = ModuleStore::open(dir.join("artefacts")).await?;
    let modules = store.of_files(&file.table_mappings, &file.modules).await?;
    let source =
        connectors::source_of(file.source.clone(), file.loopback.as_ref()).await.map_err(|error| connect_failure("source", &error))?;
    let target =
        connectors::target_of(file.target.clone(), file.loopback.as_ref()).await.map_err(|error| connect_failure("target", &error))?;
    Ok(Ready { source, target, modules, spool })
}

fn connect_failure(role: &str, error: &tidegate_connector::ConnectorError) -> Failure {
    let failure = Failure::from(error);
    Failure { message: format!("{role}: {}", failure.message), ..failure }
}

fn task_spec(file: &TaskFile, modules: ModuleSet, spool_dir: PathBuf) -> TaskSpec {
    // Whatever its lanes are, nobody plans for it: it keeps to what one unit brings.
    let cache = match file.limits.cache {
        CacheMemory::EachUnit(bytes) | CacheMemory::Fixed(bytes) => CacheMemory::Fixed(bytes),
    };
    TaskSpec {
        id: file.id.clone(),
        migration: file.migration,
        preparation: file.preparation,
        start_position: file.start_position.clone(),
        stop_position: file.stop_position.clone(),
        schema: file.schema,
        limits: PipelineLimits { cache, ..file.limits },
        on_table_error: file.on_table_error,
        ddl: file.ddl,
        spool_dir,
        modules: modules.into_schema(file.run.target_schema.as_deref()),
        row_errors: file.row_errors,
        control_tables: file.control_tables.clone(),
        run: file.run.clone(),
        values: file.values.clone(),
        units: Units::fixed(u32::try_from(file.limits.load_lanes).unwrap_or(u32::MAX)),
    }
}

async fn show_until_end(
    mut run: AbortOnDropHandle<Result<Outcome, TaskError>>,
    view: watch::Receiver<Progress>,
    last: &mut Progress,
) -> Result<Outcome, TaskError> {
    let mut display = Display::new();
    let mut ticks = tokio::time::interval(SHOW_INTERVAL);
    let result = loop {
        tokio::select! {
            result = &mut run => break result,
            _ = ticks.tick() => display.show(&view.borrow().clone(), Instant::now()),
        }
    };
    display.finish();
    *last = view.borrow().clone();
    result.unwrap_or_else(|error| Err(TaskError::Panicked(error.to_string())))
}

/// Says how it ended, on both streams.
fn report(file: &TaskFile, args: &TaskFileArgs, last: &Progress, ending: Result<Outcome, Failure>) -> Result<Exit, Failure> {
    let (word, exit) = match &ending {
        Ok(Outcome { cause: StopCause::FullLoadFinished }) => ("full-load-finished", Exit::Ok),
        Ok(Outcome { cause: StopCause::LoadedBeforeChanges }) => ("after-full-load", Exit::Ok),
        Ok(Outcome { cause: StopCause::LoadedWithChanges }) => ("after-cached-changes", Exit::Ok),
        Ok(Outcome { cause: StopCause::AtPosition }) => ("at-position", Exit::Ok),
        Ok(Outcome { cause: StopCause::AtServerTime }) => ("at-server-time", Exit::Ok),
        Ok(Outcome { cause: StopCause::AtCommitTime }) => ("at-commit-time", Exit::Ok),
        Ok(Outcome { cause: StopCause::Cancelled }) => ("stopped", Exit::Interrupted),
        Err(failure) => ("failed", failure.exit),
    };
    if args.json {
        println!("{:#}", result_document(file, word, last, ending.as_ref().err()));
    }
    for finding in &last.not_carried {
        eprintln!("not carried [{}] {}: {}", finding.code, finding.object, finding.found);
    }
    let suspended = last.tables.iter().filter(|(_, table)| matches!(table.stage, TableStage::Failed(_))).count();
    match ending {
        Err(failure) => return Err(failure),
        Ok(Outcome { cause: StopCause::FullLoadFinished }) => {
            eprintln!("full load finished: {} tables, {} rows loaded by this run", last.tables.len() - suspended, last.rows_loaded);
        }
        Ok(Outcome { cause }) => {
            let place =
                last.checkpoint.as_ref().map_or_else(|| "before the first checkpoint".to_owned(), |position| format!("at {position}"));
            let why = match cause {
                StopCause::LoadedBeforeChanges => " after the full load, before the changes that came meanwhile",
                StopCause::LoadedWithChanges => " after the full load and the changes that came meanwhile",
                StopCause::AtPosition | StopCause::AtServerTime | StopCause::AtCommitTime => " by the stop position",
                StopCause::Cancelled | StopCause::FullLoadFinished => "",
            };
            eprintln!("stopped{why} {place}; go on with: tidegate run {}", args.file.display());
            if file.migration != MigrationType::FullLoad {
                eprintln!("until then the source keeps its log for this task");
            }
        }
    }
    if suspended == 0 {
        return Ok(exit);
    }
    let first = last.tables.iter().find_map(|(name, table)| match &table.stage {
        TableStage::Failed(reason) => Some(format!("table \"{name}\": {reason}")),
        TableStage::BeforeLoad | TableStage::Loading | TableStage::Completed | TableStage::LeftOut => None,
    });
    Err(Failure::failed(
        "tables_suspended",
        format!("{suspended} of {} tables are suspended; {}", last.tables.len(), first.unwrap_or_default()),
    ))
}

fn result_document(file: &TaskFile, outcome: &str, last: &Progress, failure: Option<&Failure>) -> Value {
    let tables: Vec<Value> = last
        .tables
        .iter()
        .map(|(name, table)| {
            let (stage, reason) = match &table.stage {
                TableStage::BeforeLoad => ("before-load", None),
                TableStage::Loading => ("loading", None),
                TableStage::Completed => ("completed", None),
                TableStage::Failed(reason) => ("failed", Some(reason)),
                TableStage::LeftOut => ("left-out", None),
            };
            json!({"schema": name.schema, "table": name.name, "stage": stage, "reason": reason, "rows_loaded": table.rows_loaded,
                   "applied_inserts": table.applied_inserts, "applied_updates": table.applied_updates,
                   "applied_deletes": table.applied_deletes})
        })
        .collect();
    json!({
        "task": file.id.as_str(),
        "outcome": outcome,
        "phase": phase_name(last.phase),
        "checkpoint": last.checkpoint.as_ref().map(ToString::to_string),
        "rows_loaded": last.rows_loaded,
        "changes_applied": last.changes_applied,
        "transactions_applied": last.transactions_applied,
        "bytes_written": last.bytes_written,
        "tables": tables,
        "not_carried": last.not_carried.iter().map(findings::document).collect::<Vec<_>>(),
        "error": failure.map(|failure| json!({"code": failure.code, "message": failure.message, "hint": failure.hint})),
    })
}

/// Checks the task of a file and prints everything that was found.
///
/// # Errors
/// When the file is not right. What is wrong at the endpoints is a finding.
pub(crate) async fn check(args: TaskFileArgs) -> Result<Exit, Failure> {
    let file = TaskFile::read(&args.file)?;
    let dir = work_dir(args.data_dir.clone())?;
    let store = ModuleStore::open(dir.join("artefacts")).await?;
    let modules = store.of_files(&file.table_mappings, &file.modules).await?;
    let found = collect_findings(&file, modules).await;
    if args.json {
        let documents: Vec<Value> = found.iter().map(findings::document).collect();
        println!("{:#}", json!({"task": file.id.as_str(), "findings": documents}));
    } else {
        found.iter().for_each(|finding| print!("{}", findings::text(finding)));
    }
    let count = |severity| found.iter().filter(|finding| finding.severity == severity).count();
    eprintln!("task \"{}\": {} errors, {} warnings; nothing was written", file.id, count(Severity::Error), count(Severity::Warning));
    Ok(if findings::any_error(&found) { Exit::Failed } else { Exit::Ok })
}

/// Both endpoints are tried, so that one run of the command shows all there is to fix.
async fn collect_findings(file: &TaskFile, modules: ModuleSet) -> Vec<Finding> {
    let (source, target) = tokio::join!(connectors::source(file.source.clone()), connectors::target(file.target.clone()));
    let mut found = Vec::new();
    for (role, error) in [("source", source.as_ref().err()), ("target", target.as_ref().err())] {
        found.extend(error.map(|error| findings::from_error(role, error)));
    }
    if let (Ok(source), Ok(target)) = (source, target) {
        // A check writes nothing, so it needs no directory.
        let spec = task_spec(file, modules, PathBuf::new());
        match tidegate_pipeline::check(&spec, source.as_ref(), target.as_ref()).await {
            Ok(more) => found.extend(more),
            Err(error) => found.extend(findings::from_task_error(&error)),
        }
    }
    found
}

/// Where runs keep what they need: given, or in the user's cache directory.
pub(crate) fn work_dir(given: Option<PathBuf>) -> Result<PathBuf, Failure> {
    let dir = given.or_else(|| {
        let cache = std::env::var_os("XDG_CACHE_HOME").filter(|dir| !dir.is_empty()).map(PathBuf::from);
        let home = || std::env::var_os("HOME").filter(|dir| !dir.is_empty()).map(|dir| PathBuf::from(dir).join(".cache"));
        cache.or_else(home).map(|cache| cache.join("tidegate"))
    });
    let dir = dir.ok_or_else(|| {
        Failure::usage("no_data_dir", "no data directory is given, and neither XDG_CACHE_HOME nor HOME is set").hint("add --data-dir DIR")
    })?;
    make_private(&dir)?;
    Ok(dir)
}
