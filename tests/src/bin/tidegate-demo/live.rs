//! The table that is redrawn while tasks run; in a file or a pipe, lines that are written now and then.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Time from one set of lines to the next where nothing can be redrawn.
const LOG_INTERVAL: Duration = Duration::from_secs(5);

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct LiveTable {
    terminal: bool,
    drawn: bool,
    logged: Option<Instant>,
    phases: Vec<String>,
    since: Instant,
}

impl LiveTable {
    pub(crate) fn new() -> LiveTable {
        LiveTable { terminal: std::io::stdout().is_terminal(), drawn: false, logged: None, phases: Vec::new(), since: Instant::now() }
    }

    /// Shows tasks as the API does, and how many transactions the clerks committed.
    pub(crate) fn show(&mut self, tasks: &[Value], committed: u64) {
        let phases: Vec<String> = tasks.iter().map(|task| phase(task).to_owned()).collect();
        if self.terminal {
            self.redraw(tasks, committed);
        } else if phases != self.phases || self.logged.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
            if self.logged.is_none() {
                println!("{}", heading());
            }
            tasks.iter().for_each(|task| println!("{}", line(task, self.since.elapsed())));
            self.logged = Some(Instant::now());
        }
        self.phases = phases;
    }

    fn redraw(&mut self, tasks: &[Value], committed: u64) {
        let mut text = String::new();
        if self.drawn {
            text += &format!("\x1b[{}A", tasks.len() + 2);
        }
        let elapsed = self.since.elapsed();
        let written = format!("      {} transactions written at the sources meanwhile", grouped(committed));
        for line in std::iter::once(heading()).chain(tasks.iter().map(|task| line(task, elapsed))).chain([written]) {
            text += &format!("\r{line}\x1b[K\n");
        }
        self.drawn = true;
        // A terminal that is gone is noticed by whoever prints next.
        let _ = std::io::stdout().write_all(text.as_bytes()).and_then(|()| std::io::stdout().flush());
    }
}

fn phase(task: &Value) -> &str {
    task["phase"].as_str().or(task["status"].as_str()).unwrap_or_default()
}

fn heading() -> String {
    format!("      {:<13} {:<11} {:>10} {:>10} {:>8} {:>7} {:>8}", "task", "phase", "loaded", "changes", "rows/s", "lag", "cache")
}

/// At most 79 columns wide: a wrapped line could not be redrawn.
fn line(task: &Value, elapsed: Duration) -> String {
    let progress = &task["progress"];
    let count = |key: &str| progress[key].as_u64().unwrap_or_default();
    let lag = match (phase(task), progress["lag_seconds"].as_f64()) {
        ("catching-up" | "replicating", Some(seconds)) => format!("{seconds:.1} s"),
        _ => "-".to_owned(),
    };
    let cache = match (count("cache_bytes_memory") + count("cache_bytes_disk")) >> 10 {
        kib @ 0..10_000 => format!("{kib} KiB"),
        kib => format!("{} MiB", kib >> 10),
    };
    format!(
        "{:>3} s {:<13} {:<11} {:>10} {:>10} {:>8} {lag:>7} {cache:>8}",
        elapsed.as_secs(),
        task["name"].as_str().unwrap_or_default(),
        phase(task),
        grouped(count("rows_loaded")),
        grouped(count("changes_applied")),
        grouped(progress["rows_per_second"].as_f64().unwrap_or_default() as u64),
    )
}

/// Digits in groups of three.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let groups = digits.as_bytes()[first..].chunks(3).map(|group| String::from_utf8_lossy(group).into_owned());
    let first = (first > 0).then(|| digits[..first].to_owned());
    first.into_iter().chain(groups).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn digits_are_grouped() {
        let cases = [(0, "0"), (999, "999"), (1000, "1,000"), (123_456, "123,456"), (12_345_678, "12,345,678")];
        for (number, text) in cases {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn a_line_fits_a_terminal() {
        let progress = json!({"rows_loaded": 12_345_678, "changes_applied": 12_345_678, "rows_per_second": 123_456.7, "lag_seconds": 999.9,
            "cache_bytes_memory": 8 << 30, "cache_bytes_disk": 0});
        let task = json!({"name": "postgres-shop", "phase": "catching-up", "progress": progress});
        let line = line(&task, Duration::from_secs(600));
        assert!(line.len() <= 79 && heading().len() <= 79, "{line}");
    }
}
