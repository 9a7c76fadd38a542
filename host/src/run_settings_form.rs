//! How a task's runs begin, wait, retry and end, as files and the API spell it.

use std::time::Duration;

use serde::Deserialize;
use tidegate_pipeline::{AfterLoad, BatchPolicy, NoTables, PrimaryKeys, RetryPolicy, TransactionWait};

use crate::exit::Failure;

/// The longest wait that a setting may ask for: a day, in seconds.
const WAIT_SECONDS_MAX: u64 = 86_400;

/// The longest time after which a task may be asked to give up: 30 days, in seconds.
const GIVE_UP_SECONDS_MAX: u64 = 2_592_000;

/// The key `retry`; what is left out has [`RetryPolicy`]'s default.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RetryForm {
    count_max: Option<u64>,
    pause_seconds: Option<u64>,
    pause_seconds_max: Option<u64>,
    doubles: Option<bool>,
    stops_at_max: Option<bool>,
    give_up_seconds: Option<u64>,
}

/// The key `no_tables`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum NoTablesForm {
    Fail,
    Wait,
}

/// The key `after_load`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum AfterLoadForm {
    GoOn,
    StopBeforeChanges,
    StopAfterChanges,
}

/// The key `primary_keys`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PrimaryKeysForm {
    WithTable,
    AfterLoad,
}

/// The key `transaction_wait`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TransactionWaitForm {
    seconds: Option<u64>,
    then: Option<WaitEndForm>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum WaitEndForm {
    Tell,
    Fail,
}

/// The key `batch`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BatchForm {
    interval_seconds: Option<u64>,
    changes_min: Option<u64>,
    mib: Option<usize>,
    changes_max: Option<u64>,
}

impl RetryForm {
    /// Fills in defaults.
    ///
    /// # Errors
    /// A usage failure that names the setting that is out of its bounds.
    pub(crate) fn policy(&self) -> Result<RetryPolicy, Failure> {
        let default = RetryPolicy::default();
        let pause_min = seconds("retry.pause_seconds", self.pause_seconds)?.unwrap_or(default.pause_min);
        let pause_max = seconds("retry.pause_seconds_max", self.pause_seconds_max)?.unwrap_or(default.pause_max.max(pause_min));
        if pause_min > pause_max {
            return Err(Failure::usage("settings", "setting \"retry.pause_seconds\" is above \"retry.pause_seconds_max\""));
        }
        if self.give_up_seconds.is_some_and(|seconds| seconds > GIVE_UP_SECONDS_MAX) {
            let text = format!("setting \"retry.give_up_seconds\" is above {GIVE_UP_SECONDS_MAX}");
            return Err(Failure::usage("settings", text));
        }
        Ok(RetryPolicy {
            give_up_after: self.give_up_seconds.map(Duration::from_secs),
            count_max: self.count_max,
            // Without any pause a server that is down would be asked all the time.
            pause_min: pause_min.max(default.pause_min),
            pause_max: pause_max.max(default.pause_min),
            doubles: self.doubles.unwrap_or(default.doubles),
            stops_at_max: self.stops_at_max.unwrap_or(default.stops_at_max),
        })
    }
}

impl TransactionWaitForm {
    /// # Errors
    /// A usage failure that names the setting that is out of its bounds.
    pub(crate) fn wait(&self) -> Result<TransactionWait, Failure> {
        Ok(TransactionWait {
            limit: seconds("transaction_wait.seconds", self.seconds)?,
            fails: matches!(self.then, Some(WaitEndForm::Fail)),
        })
    }
}

impl BatchForm {
    /// # Errors
    /// A usage failure that names the setting that is out of its bounds.
    pub(crate) fn policy(&self) -> Result<BatchPolicy, Failure> {
        for (key, count) in [("changes_min", self.changes_min), ("changes_max", self.changes_max)] {
            if count == Some(0) {
                return Err(Failure::usage("settings", format!("setting \"batch.{key}\" is 0, wanted at least 1")));
            }
        }
        let interval = seconds("batch.interval_seconds", self.interval_seconds)?.unwrap_or_default();
        Ok(BatchPolicy { interval, changes_min: self.changes_min, changes_max: self.changes_max })
    }

    /// Bytes of changes that a group may have, where that is given.
    ///
    /// # Errors
    /// A usage failure for a bound that no group could keep, or that would not fit a task's memory.
    pub(crate) fn group_bytes_max(&self) -> Result<Option<usize>, Failure> {
        match self.mib {
            Some(mib) if !(1..=32).contains(&mib) => {
                Err(Failure::usage("settings", format!("setting \"batch.mib\" is {mib}, wanted 1 to 32")))
            }
            mib => Ok(mib.map(|mib| mib << 20)),
        }
    }
}

impl From<NoTablesForm> for NoTables {
    fn from(form: NoTablesForm) -> Self {
        match form {
            NoTablesForm::Fail => NoTables::Fail,
            NoTablesForm::Wait => NoTables::Wait,
        }
    }
}

impl From<PrimaryKeysForm> for PrimaryKeys {
    fn from(form: PrimaryKeysForm) -> Self {
        match form {
            PrimaryKeysForm::WithTable => PrimaryKeys::WithTable,
            PrimaryKeysForm::AfterLoad => PrimaryKeys::AfterLoad,
        }
    }
}

impl From<AfterLoadForm> for AfterLoad {
    fn from(form: AfterLoadForm) -> Self {
        match form {
            AfterLoadForm::GoOn => AfterLoad::GoOn,
            AfterLoadForm::StopBeforeChanges => AfterLoad::StopBeforeChanges,
            AfterLoadForm::StopAfterChanges => AfterLoad::StopAfterChanges,
        }
    }
}

fn seconds(key: &str, given: Option<u64>) -> Result<Option<Duration>, Failure> {
    match given {
        Some(seconds) if seconds > WAIT_SECONDS_MAX => {
            Err(Failure::usage("settings", format!("setting \"{key}\" is {seconds}, wanted at most {WAIT_SECONDS_MAX}")))
        }
        seconds => Ok(seconds.map(Duration::from_secs)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retry(text: &str) -> Result<RetryPolicy, Failure> {
        serde_json::from_str::<RetryForm>(text).unwrap().policy()
    }

    #[test]
    fn what_is_left_out_has_its_default_and_no_pause_is_none() {
        assert_eq!(retry("{}").unwrap(), RetryPolicy::default());
        let given = retry(r#"{"count_max": 3, "pause_seconds": 0, "doubles": false}"#).unwrap();
        assert_eq!(given, RetryPolicy { count_max: Some(3), doubles: false, ..RetryPolicy::default() });
        assert_eq!(retry(r#"{"pause_seconds": 60}"#).unwrap().pause_max, Duration::from_secs(60));
        let batch: BatchForm = serde_json::from_str(r#"{"interval_seconds": 2, "mib": 4, "changes_min": 3, "changes_max": 9}"#).unwrap();
        assert_eq!(batch.policy().unwrap(), BatchPolicy { interval: Duration::from_secs(2), changes_min: Some(3), changes_max: Some(9) });
        assert_eq!(batch.group_bytes_max().unwrap(), Some(4 << 20));
    }

    #[test]
    fn what_is_out_of_bounds_is_named() {
        let named = |failure: Failure, key: &str| assert!(failure.message.contains(key), "{}", failure.message);
        named(retry(r#"{"pause_seconds": 9, "pause_seconds_max": 3}"#).unwrap_err(), "retry.pause_seconds");
        named(retry(r#"{"pause_seconds_max": 100000}"#).unwrap_err(), "retry.pause_seconds_max");
        named(retry(r#"{"give_up_seconds": 3000000}"#).unwrap_err(), "retry.give_up_seconds");
        named(BatchForm { changes_max: Some(0), ..BatchForm::default() }.policy().unwrap_err(), "batch.changes_max");
        named(BatchForm { changes_min: Some(0), ..BatchForm::default() }.policy().unwrap_err(), "batch.changes_min");
        named(BatchForm { mib: Some(33), ..BatchForm::default() }.group_bytes_max().unwrap_err(), "batch.mib");
        named(TransactionWaitForm { seconds: Some(100_000), then: None }.wait().unwrap_err(), "transaction_wait.seconds");
    }
}
