//! The marks of a task that has another one in the opposite direction, as files and the API spell them.

use serde::Deserialize;
use tidegate_connector::{LoopMark, Loopback};
use tidegate_pipeline::{DdlAction, DdlPolicy};

use crate::exit::Failure;

/// The mark where none is said: two tasks that say none leave each other's changes out.
const DEFAULT_MARK: &str = "default";

/// The key `loopback`: there at all, it turns the prevention on.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LoopbackForm {
    source_mark: Option<String>,
    target_mark: Option<String>,
}

impl LoopbackForm {
    /// # Errors
    /// A usage failure that names the setting that is no mark.
    pub(crate) fn loopback(&self) -> Result<Loopback, Failure> {
        let mark = |key: &str, given: &Option<String>| {
            LoopMark::new(given.as_deref().unwrap_or(DEFAULT_MARK)).ok_or_else(|| {
                let wanted = format!("1 to {} of a-z, 0-9, _, - and $", LoopMark::CHARS_MAX);
                Failure::usage("settings", format!("setting \"loopback.{key}\" is no mark, wanted {wanted}"))
            })
        };
        Ok(Loopback { source: mark("source_mark", &self.source_mark)?, target: mark("target_mark", &self.target_mark)? })
    }
}

/// What a changed definition may bring about where the target's tables have rows of their own: a table that follows is loaded
/// again, and would lose what its side has and the other has not yet. So the task stops where it would follow, and leaves alone
/// what comes and goes. TRUNCATE is a change of rows, and follows.
pub(crate) fn careful(policy: DdlPolicy) -> DdlPolicy {
    let instead = |action: DdlAction, instead: DdlAction| if action == DdlAction::Apply { instead } else { action };
    let stop = |action: DdlAction| instead(action, DdlAction::Stop);
    DdlPolicy {
        add_column: stop(policy.add_column),
        drop_column: stop(policy.drop_column),
        rename_column: stop(policy.rename_column),
        retype_column: stop(policy.retype_column),
        truncate_table: policy.truncate_table,
        drop_table: instead(policy.drop_table, DdlAction::Ignore),
        rename_table: stop(policy.rename_table),
        create_table: instead(policy.create_table, DdlAction::Ignore),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Loopback, String> {
        serde_json::from_str::<LoopbackForm>(text).unwrap().loopback().map_err(|failure| failure.message)
    }

    #[test]
    fn two_tasks_that_say_nothing_know_each_other_and_wrong_marks_are_named() {
        let plain = read("{}").unwrap();
        assert_eq!(plain.source, plain.target);
        let given = read(r#"{"source_mark": "loop_a", "target_mark": "loop_b"}"#).unwrap();
        assert_eq!((given.source.as_str(), given.target.as_str()), ("loop_a", "loop_b"));
        assert!(read(r#"{"target_mark": "Loop"}"#).unwrap_err().contains("loopback.target_mark"));
        assert!(read(r#"{"source_mark": ""}"#).unwrap_err().contains("loopback.source_mark"));
    }

    #[test]
    fn no_table_is_loaded_again_by_itself() {
        let careful = careful(DdlPolicy::default());
        assert_eq!((careful.add_column, careful.rename_table, careful.create_table), (DdlAction::Stop, DdlAction::Stop, DdlAction::Ignore));
        assert_eq!((careful.drop_table, careful.truncate_table), (DdlAction::Ignore, DdlAction::Apply));
        let ignoring = DdlPolicy { add_column: DdlAction::Ignore, drop_table: DdlAction::Apply, ..DdlPolicy::default() };
        let careful = super::careful(ignoring);
        assert_eq!((careful.add_column, careful.drop_table), (DdlAction::Ignore, DdlAction::Ignore));
    }
}
