//! What a module logged and counted while the host did not look.

use std::collections::BTreeMap;

/// Log lines kept between two looks; more are counted and dropped.
const LOG_LINES_MAX: usize = 100;
/// Bytes kept of a log line.
const LOG_LINE_BYTES_MAX: usize = 1024;
/// Distinct counters of a module.
const COUNTERS_MAX: usize = 32;
/// Bytes kept of a counter's name.
const COUNTER_NAME_BYTES_MAX: usize = 64;

/// How much a log line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Every step.
    Trace,
    /// For the author.
    Debug,
    /// For the tenant.
    Info,
    /// Something to look at.
    Warn,
    /// Something failed.
    Error,
}

impl LogLevel {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// A line that a module logged, cut to 1 KiB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// How much it matters.
    pub level: LogLevel,
    /// The text.
    pub message: String,
}

/// Lines and counters, both bounded.
#[derive(Debug, Default)]
pub(crate) struct Told {
    lines: Vec<LogLine>,
    lines_dropped: u64,
    counts: BTreeMap<String, u64>,
}

impl Told {
    pub(crate) fn log(&mut self, level: LogLevel, message: &str) {
        if self.lines.len() >= LOG_LINES_MAX {
            self.lines_dropped += 1;
        } else {
            self.lines.push(LogLine { level, message: cut(message, LOG_LINE_BYTES_MAX) });
        }
    }

    pub(crate) fn count(&mut self, name: &str, delta: u64) {
        let name = &name[..name.floor_char_boundary(COUNTER_NAME_BYTES_MAX)];
        if let Some(total) = self.counts.get_mut(name) {
            *total = total.saturating_add(delta);
        } else if self.counts.len() < COUNTERS_MAX {
            self.counts.insert(name.to_owned(), delta);
        }
    }

    /// Takes what another one, of a later instance, has heard.
    pub(crate) fn absorb(&mut self, later: &mut Told) {
        let room = LOG_LINES_MAX.saturating_sub(self.lines.len()).min(later.lines.len());
        self.lines_dropped += std::mem::take(&mut later.lines_dropped) + (later.lines.len() - room) as u64;
        self.lines.extend(later.lines.drain(..).take(room));
        for (name, delta) in std::mem::take(&mut later.counts) {
            self.count(&name, delta);
        }
    }

    /// The lines since the last look, and how many were dropped.
    pub(crate) fn take_lines(&mut self) -> (Vec<LogLine>, u64) {
        (std::mem::take(&mut self.lines), std::mem::take(&mut self.lines_dropped))
    }

    /// The counts since the last look.
    pub(crate) fn take_counts(&mut self) -> Vec<(String, u64)> {
        // The names stay, so that a module cannot have more than its number of counters by waiting.
        self.counts.iter_mut().filter(|(_, total)| **total > 0).map(|(name, total)| (name.clone(), std::mem::take(total))).collect()
    }
}

/// The first `bytes_max` bytes of a text, cut between two characters. A copy: a text that a module gave may take as much memory as an
/// answer may have, and one that is only made shorter keeps it.
pub(crate) fn cut(text: &str, bytes_max: usize) -> String {
    text[..text.floor_char_boundary(bytes_max)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_one_after_the_other_share_lines_and_names() {
        let mut all = Told::default();
        for instance in 0..3 {
            let mut told = Told::default();
            (0..60).for_each(|line| told.log(LogLevel::Info, &line.to_string()));
            (0..20).for_each(|name| told.count(&format!("{instance}-{name}"), 1));
            told.count("0-0", 1);
            all.absorb(&mut told);
            assert_eq!((told.take_lines(), told.take_counts()), ((Vec::new(), 0), Vec::new()));
        }
        let (lines, dropped) = all.take_lines();
        assert_eq!((lines.len(), dropped), (100, 80));
        let counts = all.take_counts();
        assert_eq!((counts.len(), &counts[0]), (32, &("0-0".to_owned(), 4)));
        all.count("new", 1);
        assert_eq!(all.take_counts(), [], "the names stay");
    }
}
