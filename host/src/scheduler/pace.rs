//! Makes those wait who ask for the same failing work again and again: others on the node must not pay for it.
//!
//! What failed may be tried again at once, a few times, unless the failure itself used up what others could have had; from then on
//! a pause follows each failure, and each is twice as long as the one before. Who changes something asks for other work, which is another key. Nothing is written down: a
//! process that starts afresh has forgotten.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tidegate_pipeline::MODULE_EXHAUSTED;

/// A failure that is so long ago counts no more.
const FORGOTTEN: Duration = Duration::from_secs(900);

/// Failures by what failed.
#[derive(Debug)]
pub(crate) struct Pace<K> {
    free: u32,
    first: Duration,
    longest: Duration,
    failures: Mutex<HashMap<K, Failures>>,
}

/// What a failure cost the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cost {
    /// No more than a start, or a look.
    Little,
    /// A pause follows the first one.
    Much,
}

impl Cost {
    /// Of a task that failed with this code.
    pub(crate) fn of(code: &str) -> Self {
        if code == MODULE_EXHAUSTED { Cost::Much } else { Cost::Little }
    }
}

#[derive(Debug)]
struct Failures {
    count: u32,
    /// Those without a pause count, also where there was no such one.
    steps: u32,
    last: Instant,
    told: bool,
}

/// Time that is left to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pause {
    pub(crate) left: Duration,
    /// Failures in a row.
    pub(crate) failures: u32,
    /// Nobody has asked since the last failure.
    pub(crate) is_new: bool,
}

impl<K: Hash + Eq> Pace<K> {
    /// After `free` failures in a row without a pause, pauses from `first` to `longest`.
    pub(crate) fn new(free: u32, first: Duration, longest: Duration) -> Self {
        Self { free, first, longest, failures: Mutex::default() }
    }

    /// The work failed.
    pub(crate) fn failed(&self, key: K, cost: Cost) {
        self.failed_at(key, cost, Instant::now());
    }

    /// The work was done.
    pub(crate) fn done(&self, key: &K) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// What is to be waited before the work is tried again.
    pub(crate) fn pause(&self, key: &K) -> Option<Pause> {
        self.pause_at(key, Instant::now())
    }

    fn failed_at(&self, key: K, cost: Cost, now: Instant) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.retain(|_, failures| now.saturating_duration_since(failures.last) < FORGOTTEN);
        let failures = failures.entry(key).or_insert(Failures { count: 0, steps: 0, last: now, told: false });
        let before = if cost == Cost::Much { failures.steps.max(self.free) } else { failures.steps };
        *failures = Failures { count: failures.count.saturating_add(1), steps: before.saturating_add(1), last: now, told: false };
    }

    fn pause_at(&self, key: &K, now: Instant) -> Option<Pause> {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = failures.get_mut(key)?;
        let doublings = failures.steps.checked_sub(self.free + 1)?;
        let pause = self.first.saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX)).min(self.longest);
        let left = pause.checked_sub(now.saturating_duration_since(failures.last)).filter(|left| !left.is_zero())?;
        let is_new = !std::mem::replace(&mut failures.told, true);
        Some(Pause { left, failures: failures.count, is_new })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn pauses_follow_failures_in_a_row_and_double_up_to_the_longest() {
        let pace = Pace::new(2, 5 * S, 60 * S);
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..8 {
            pace.failed_at("task", Cost::Little, now);
            pauses.push(pace.pause_at(&"task", now).map_or(0, |pause| pause.left.as_secs()));
            now += S;
        }
        assert_eq!(pauses, [0, 0, 5, 10, 20, 40, 60, 60]);
        assert_eq!(pace.pause_at(&"task", now), Some(Pause { left: 59 * S, failures: 8, is_new: false }));
        assert_eq!(pace.pause_at(&"task", now + 59 * S), None);
        assert_eq!(pace.pause_at(&"changed task", now), None);
    }

    #[test]
    fn a_failure_that_cost_much_is_followed_by_a_pause_at_once() {
        let pace = Pace::new(2, 5 * S, 60 * S);
        let now = Instant::now();
        let after = |cost| {
            pace.failed_at("task", cost, now);
            pace.pause_at(&"task", now)
        };
        assert_eq!(after(Cost::Little), None);
        assert_eq!(after(Cost::Much), Some(Pause { left: 5 * S, failures: 2, is_new: true }));
        assert_eq!(after(Cost::Little), Some(Pause { left: 10 * S, failures: 3, is_new: true }));
        assert_eq!(after(Cost::Much), Some(Pause { left: 20 * S, failures: 4, is_new: true }));
    }

    #[test]
    fn success_and_time_are_forgiving() {
        let pace = Pace::new(2, S, 60 * S);
        let now = Instant::now();
        for _ in 0..5 {
            pace.failed_at(1, Cost::Little, now);
            pace.failed_at(2, Cost::Little, now);
        }
        pace.done(&1);
        pace.failed_at(1, Cost::Little, now);
        assert_eq!(pace.pause_at(&1, now), None);
        pace.failed_at(2, Cost::Little, now + FORGOTTEN);
        assert_eq!(pace.pause_at(&2, now + FORGOTTEN), None);
    }
}
