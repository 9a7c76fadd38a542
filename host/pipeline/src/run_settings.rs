//! How a run begins, waits, retries and ends: what a task may ask for beside its tables and its bounds.

use std::time::{Duration, Instant};

/// What a task asks of its runs. The default is what suits a task that nobody looks at: it goes on by itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunSettings {
    /// The schema of target tables whose rules leave the schema as it is at the source. DMS: `TargetSchema`.
    pub target_schema: Option<String>,
    /// What follows a transient error.
    pub retry: RetryPolicy,
    /// What follows when the rules select no table.
    pub no_tables: NoTables,
    /// From so many errors of one table in a run on, the task stops instead of suspending the table; `None`: never.
    pub table_errors_max: Option<u32>,
    /// What follows the load of a task that captures, too.
    pub after_load: AfterLoad,
    /// How long the start waits for transactions that are open at the source.
    pub transaction_wait: TransactionWait,
    /// How changes collect before they are applied.
    pub batch: BatchPolicy,
    /// When tables that the task creates get their primary keys.
    pub primary_keys: PrimaryKeys,
}

/// When tables that the task creates (with the preparation to drop them) get their primary keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PrimaryKeys {
    /// With the table: an interrupted load goes on by them.
    #[default]
    WithTable,
    /// When the table's rows are in, which is faster where keys come in no order; an interrupted load of a table starts
    /// over. DMS: `CreatePkAfterFullLoad`.
    AfterLoad,
}

/// What follows a transient error: a lost connection, a server that restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in a row that neither bring a row to the target nor stay level for longer than `pause_max` before the task fails; `None`:
    /// it never gives up.
    pub count_max: Option<u64>,
    /// The pause before the first retry.
    pub pause_min: Duration,
    /// The longest pause.
    pub pause_max: Duration,
    /// Each further pause is twice the one before.
    pub doubles: bool,
    /// The task fails when a pause of the longest kind has passed without success.
    pub stops_at_max: bool,
    /// The task fails when so long has passed since the first of the errors, without an attempt that had such success; `None`: it
    /// never gives up. DMS: `RecoveryTimeout`.
    pub give_up_after: Option<Duration>,
}

impl Default for RetryPolicy {
    /// A server that comes back is noticed within 8 s, however long it was away.
    fn default() -> Self {
        Self {
            count_max: None,
            pause_min: Duration::from_millis(250),
            pause_max: Duration::from_secs(8),
            doubles: true,
            stops_at_max: false,
            give_up_after: None,
        }
    }
}

/// What follows when the rules select no table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NoTables {
    /// The task fails: a misspelt name must not look like success. DMS: `FailOnNoTablesCaptured`.
    #[default]
    Fail,
    /// The task runs, and takes tables in when they are created.
    Wait,
}

/// What follows the load of a task that captures, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AfterLoad {
    /// The stream.
    #[default]
    GoOn,
    /// The task stops when the rows are in, before any change that waits is applied. DMS: `StopTaskCachedChangesNotApplied`.
    StopBeforeChanges,
    /// The task stops when the changes that came during the load are applied too: everything that the log had at its end. DMS: `StopTaskCachedChangesApplied`.
    StopAfterChanges,
}

/// How long the start waits for transactions that were open at the source: PostgreSQL's log has only those whole that
/// begin after the wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TransactionWait {
    /// After so long something follows; `None`: nothing does. DMS: `TransactionConsistencyTimeout`.
    pub limit: Option<Duration>,
    /// True: the task fails then. False: people are told, and the wait goes on, because a start without it would miss
    /// changes. DMS: `FailOnTransactionConsistencyBreached`.
    pub fails: bool,
}

/// How changes collect before they are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BatchPolicy {
    /// At least so long between two groups, unless so many changes wait that one group cannot take them. DMS:
    /// `BatchApplyTimeoutMin`, or `CommitTimeout`.
    pub interval: Duration,
    /// So many changes of whole transactions do not wait for the end of the interval. DMS: `MinTransactionSize`.
    pub changes_min: Option<u64>,
    /// A group is closed with the transaction that brings it to so many changes.
    pub changes_max: Option<u64>,
}

/// The pauses of one run, as they grow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pauses {
    policy: RetryPolicy,
    next: Duration,
    failures: u64,
    /// The last pause after a failure was of the longest kind.
    was_longest: bool,
    /// When the first of the failures was.
    since: Option<Instant>,
}

impl Pauses {
    pub(crate) fn new(policy: RetryPolicy) -> Self {
        Self { policy, next: policy.pause_min.min(policy.pause_max), failures: 0, was_longest: false, since: None }
    }

    /// Something succeeded: a short pause is enough again.
    pub(crate) fn reset(&mut self) {
        *self = Self::new(self.policy);
    }

    /// The pause after a failure; `None` when the policy is to give up.
    pub(crate) fn after_failure(&mut self, now: Instant) -> Option<Duration> {
        self.failures += 1;
        let is_last = self.policy.count_max.is_some_and(|most| self.failures > most);
        let failing = now.duration_since(*self.since.get_or_insert(now));
        let is_late = self.policy.give_up_after.is_some_and(|most| failing + self.next > most);
        if is_last || is_late || (self.policy.stops_at_max && self.was_longest) {
            return None;
        }
        let pause = self.grow();
        self.was_longest = pause >= self.policy.pause_max;
        Some(pause)
    }

    /// The pause where nothing failed and nothing was achieved either.
    pub(crate) fn grow(&mut self) -> Duration {
        let pause = self.next;
        if self.policy.doubles {
            self.next = (pause * 2).min(self.policy.pause_max);
        }
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn seconds(policy: RetryPolicy, count: usize) -> Vec<Option<u64>> {
        let mut pauses = Pauses::new(policy);
        let mut now = Instant::now();
        let mut one = || {
            let pause = pauses.after_failure(now)?;
            now += pause;
            Some(pause.as_secs())
        };
        (0..count).map(|_| one()).collect()
    }

    fn policy() -> RetryPolicy {
        RetryPolicy { pause_min: 5 * SECOND, pause_max: 30 * SECOND, ..RetryPolicy::default() }
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_never_end_by_themselves() {
        assert_eq!(seconds(policy(), 6), [5, 10, 20, 30, 30, 30].map(Some));
        assert_eq!(seconds(RetryPolicy { doubles: false, ..policy() }, 3), [5, 5, 5].map(Some));
    }

    #[test]
    fn retries_end_at_the_count_or_after_the_longest_pause() {
        assert_eq!(seconds(RetryPolicy { count_max: Some(0), ..policy() }, 1), [None]);
        assert_eq!(seconds(RetryPolicy { count_max: Some(2), ..policy() }, 3), [Some(5), Some(10), None]);
        assert_eq!(seconds(RetryPolicy { stops_at_max: true, ..policy() }, 5), [Some(5), Some(10), Some(20), Some(30), None]);
    }

    #[test]
    fn retries_end_when_the_time_is_up_and_not_before() {
        let within = |seconds: u32| RetryPolicy { give_up_after: Some(seconds * SECOND), ..policy() };
        assert_eq!(self::seconds(within(0), 1), [None]);
        assert_eq!(self::seconds(within(34), 3), [Some(5), Some(10), None], "a pause that ends later is not begun");
        assert_eq!(self::seconds(within(35), 4), [Some(5), Some(10), Some(20), None]);
    }

    #[test]
    fn pauses_without_a_failure_do_not_count_as_failures() {
        let mut pauses = Pauses::new(RetryPolicy { stops_at_max: true, ..policy() });
        for _ in 0..6 {
            pauses.grow();
        }
        assert_eq!([pauses.after_failure(Instant::now()), pauses.after_failure(Instant::now())], [Some(30 * SECOND), None]);
    }

    #[test]
    fn success_begins_anew() {
        let now = Instant::now();
        let mut pauses = Pauses::new(RetryPolicy { count_max: Some(1), give_up_after: Some(6 * SECOND), ..policy() });
        assert_eq!(pauses.after_failure(now), Some(5 * SECOND));
        pauses.reset();
        assert_eq!(pauses.after_failure(now + 60 * SECOND), Some(5 * SECOND));
        assert_eq!(pauses.after_failure(now + 60 * SECOND), None);
    }
}
