//! Which version a failure takes back, and what the tables have then. That a running task does so is tested on servers.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use tidegate_model::Engine as Database;
use tidegate_sandbox::{Compiled, Engine, EngineSettings, Limits, SandboxError, builtin_rules};

use super::*;
use crate::ModuleReference;

static ENGINE: LazyLock<Engine> = LazyLock::new(|| Engine::new(EngineSettings::default()).unwrap());
/// Three modules, which differ in an empty section.
static VERSIONS: LazyLock<[Compiled; 3]> = LazyLock::new(|| {
    [b'1', b'2', b'3'].map(|name| {
        let section = [0, 2, 1, name];
        ENGINE.compile(&[builtin_rules(), &section].concat()).unwrap()
    })
});

const MAPPINGS: &str = r#"{"rules": [
    {"rule-type": "module", "rule-id": "1", "module": "a", "object-locator": {"schema-name": "s", "table-name": "t%"}},
    {"rule-type": "module", "rule-id": "2", "module": "b", "object-locator": {"schema-name": "s", "table-name": "t%"}},
    {"rule-type": "module", "rule-id": "3", "module": "a", "version": "stable", "object-locator": {"schema-name": "s", "table-name": "u"}}]}"#;

fn modules() -> ModuleSet {
    let versions: HashMap<ModuleReference, Compiled> =
        ModuleSet::references(MAPPINGS).unwrap().into_iter().map(|reference| (reference, VERSIONS[0].clone())).collect();
    ModuleSet::new(ENGINE.clone(), Limits::default(), VERSIONS[0].clone(), &versions, MAPPINGS).unwrap()
}

fn table(name: &str) -> TableName {
    TableName::new("s", name)
}

/// The numbers of the versions that judge a table, without the rules.
fn judges(set: &ModuleSet, name: &str) -> Vec<usize> {
    let modules = set.for_target(Database::Postgres, Default::default());
    let number =
        |index: usize| VERSIONS.iter().position(|version| version.digest() == modules.module(index).compiled.digest()).unwrap() + 1;
    modules.of_table(&table(name)).into_iter().skip(1).map(number).collect()
}

fn fails(module: &str, name: &str) -> TaskError {
    TaskError::Module { module: module.into(), table: Some(table(name)), source: Box::new(SandboxError::Module("no".into())) }
}

/// A run of tables `t1`, `t2` and `u`.
struct Run {
    set: ModuleSet,
    trials: Trials,
    heard: Vec<oneshot::Receiver<Undone>>,
}

impl Run {
    fn new() -> Self {
        Self { set: modules(), trials: Trials::default(), heard: Vec::new() }
    }

    fn swap(&mut self, module: &str, version: usize, tables: &[&str], is_share: bool) {
        let tables: HashSet<TableName> = tables.iter().map(|name| table(name)).collect();
        let (undone, heard) = oneshot::channel();
        self.heard.push(heard);
        self.trials.begin(module, tables.clone(), &self.set, undone);
        self.set = self.set.with_version(module, &VERSIONS[version - 1], is_share.then(|| Arc::new(tables)));
    }

    /// True when that took back a version.
    fn fail(&mut self, error: &TaskError, blamed: Option<&Blamed>) -> bool {
        let Some(trial) = self.trials.failed_by(error, blamed) else { return false };
        self.set = self.set.with_versions_of(&trial.module, &trial.before);
        true
    }

    fn judges(&self) -> [Vec<usize>; 3] {
        ["t1", "t2", "u"].map(|name| judges(&self.set, name))
    }
}

#[test]
fn a_share_and_then_all_go_back_to_the_version_before_the_share() {
    let mut run = Run::new();
    run.swap("a", 2, &["t1"], true);
    assert_eq!(run.judges(), [vec![2, 1], vec![1, 1], vec![1]]);
    run.swap("a", 2, &["t1", "t2", "u"], false);
    assert_eq!(run.judges(), [vec![2, 1], vec![2, 1], vec![2]]);
    assert!(run.fail(&fails("a", "t1"), None));
    assert_eq!(run.judges(), [vec![1, 1], vec![1, 1], vec![1]]);
    assert!(!run.fail(&fails("a", "t1"), None), "a trial ends once");
}

#[test]
fn a_failure_takes_back_its_own_module_and_no_other() {
    let mut run = Run::new();
    run.swap("a", 2, &["t1", "t2", "u"], false);
    run.swap("b", 3, &["t1", "t2"], false);
    assert!(run.fail(&fails("a", "t2"), None));
    assert_eq!(run.judges(), [vec![1, 3], vec![1, 3], vec![1]]);
    assert!(run.trials.concern("b", &table("t1")) && !run.trials.concern("a", &table("t1")));
    assert!(run.fail(&fails("b", "t2"), None));
    assert_eq!(run.judges(), [vec![1, 1], vec![1, 1], vec![1]]);
}

#[test]
fn the_version_of_other_tables_does_not_fail_the_trial_of_a_share() {
    let mut run = Run::new();
    run.swap("a", 2, &["t1"], true);
    assert!(!run.trials.concern("a", &table("t2")));
    assert!(!run.fail(&fails("a", "t2"), None));
    assert!(run.fail(&fails("a", "t1"), None));
    assert_eq!(run.judges(), [vec![1, 1], vec![1, 1], vec![1]]);
}

#[test]
fn rows_that_a_module_refuses_are_blamed_on_it_and_what_nobody_says_on_the_newest_version() {
    let refused = TaskError::Row { code: "module_row_error", message: String::new(), hint: None };
    let by = |module: &str| Blamed { module: module.into(), table: table("t1") };
    let mut run = Run::new();
    run.swap("a", 2, &["t1", "t2", "u"], false);
    run.swap("b", 3, &["t1", "t2"], false);
    assert!(!run.fail(&refused, Some(&by("rules"))));
    assert!(run.fail(&refused, Some(&by("a"))));
    assert_eq!(run.judges(), [vec![1, 3], vec![1, 3], vec![1]]);
    assert!(run.fail(&refused, None));
    assert_eq!(run.judges(), [vec![1, 1], vec![1, 1], vec![1]]);
    assert!(!run.fail(&refused, None));
}

#[test]
fn a_swap_on_trial_ends_the_trial_before_it_without_a_word() {
    let mut run = Run::new();
    run.swap("a", 2, &["t1", "t2", "u"], false);
    run.swap("a", 3, &["t1", "t2", "u"], false);
    assert!(matches!(run.heard[0].try_recv(), Err(oneshot::error::TryRecvError::Closed)));
    assert!(matches!(run.heard[1].try_recv(), Err(oneshot::error::TryRecvError::Empty)));
    assert!(run.fail(&fails("a", "u"), None));
    assert_eq!(run.judges(), [vec![1, 1], vec![1, 1], vec![1]]);
}
