//! What modules use and say while a run goes on.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tidegate_sandbox::{LogLevel, LogLine, Usage};

/// Counters kept of a module, over all its sandboxes: as many as the contract promises.
const COUNTERS_MAX: usize = 32;
/// Log lines kept of a module, over all its sandboxes: the newest.
const LINES_MAX: usize = 20;

/// What a module used and did since the task began to run in this process, over all its sandboxes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModuleProgress {
    /// Row images that it judged.
    pub rows: u64,
    /// Calls of its row function.
    pub batches: u64,
    /// CPU time of all its calls, those that planned tables and the starts of its instances too.
    pub cpu: Duration,
    /// Fuel of all its calls; `None` where it is not metered.
    pub fuel: Option<u64>,
    /// The most linear memory that one sandbox held.
    pub memory_bytes_peak: u64,
    /// Calls that trapped, overran a limit or answered malformed.
    pub failures: u64,
    /// Rows that it was at fault for, or that it refused itself.
    pub rejected: u64,
    /// What it counted by names of its own.
    pub counters: BTreeMap<Arc<str>, u64>,
    /// What it logged last, oldest first.
    pub lines: VecDeque<ModuleLine>,
    /// Lines that it logged before those, or too many at once to be looked at.
    pub lines_dropped: u64,
}

/// A line that a module logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleLine {
    /// When the host took it, microseconds since 1970.
    pub at_us: i64,
    /// How much it matters.
    pub level: LogLevel,
    /// The text, at most 1 KiB.
    pub message: Arc<str>,
}

impl ModuleProgress {
    /// Adds what a call used.
    pub(crate) fn used(&mut self, used: &Usage, is_failure: bool) {
        self.rows += used.rows;
        self.batches += used.batches;
        self.cpu += used.cpu;
        if let Some(fuel) = used.fuel {
            self.fuel = Some(self.fuel.unwrap_or(0).saturating_add(fuel));
        }
        // Not what it holds now: nothing, after a call that failed.
        self.memory_bytes_peak = self.memory_bytes_peak.max(used.memory_bytes_peak as u64);
        self.failures += u64::from(is_failure);
    }

    /// Adds what it counted.
    pub(crate) fn counted(&mut self, counts: Vec<(String, u64)>) {
        for (name, count) in counts {
            if let Some(total) = self.counters.get_mut(name.as_str()) {
                *total = total.saturating_add(count);
            } else if self.counters.len() < COUNTERS_MAX {
                self.counters.insert(name.into(), count);
            }
        }
    }

    /// Keeps the newest of what it logged; `dropped` more lines are gone already.
    pub(crate) fn logged(&mut self, lines: Vec<LogLine>, dropped: u64, at_us: i64) {
        self.lines_dropped += dropped;
        for LogLine { level, message } in lines {
            if self.lines.len() >= LINES_MAX {
                self.lines.pop_front();
                self.lines_dropped += 1;
            }
            self.lines.push_back(ModuleLine { at_us, level, message: message.into() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_module_says_is_bounded_whatever_it_says() {
        let mut module = ModuleProgress::default();
        for round in 0..3 {
            let line = |index| LogLine { level: LogLevel::Info, message: format!("{round}-{index}") };
            module.logged((0..15).map(line).collect(), 2, round);
            module.counted((0..20).map(|name| (format!("{round}-{name}"), u64::MAX / 2)).chain([("0-0".to_owned(), 7)]).collect());
        }
        assert_eq!((module.lines.len(), module.lines_dropped), (20, 3 * 15 - 20 + 6));
        assert_eq!((&*module.lines[0].message, &*module.lines[19].message), ("1-10", "2-14"));
        assert_eq!((module.counters.len(), module.counters["0-0"]), (32, u64::MAX / 2 + 21));
    }

    #[test]
    fn a_call_that_ended_its_sandbox_leaves_its_peak_and_its_fuel() {
        let mut module = ModuleProgress::default();
        module.used(&Usage { fuel: Some(5), memory_bytes_peak: 9, batches: 1, rows: 3, ..Usage::default() }, true);
        module.used(&Usage { fuel: Some(6), memory_bytes_peak: 7, batches: 1, rows: 2, ..Usage::default() }, false);
        assert_eq!((module.fuel, module.memory_bytes_peak, module.batches, module.rows, module.failures), (Some(11), 9, 2, 5, 1));
    }
}
