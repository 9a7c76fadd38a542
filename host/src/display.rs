//! What `tidegate run` shows while a task runs: bars on a terminal, a plain line now and then elsewhere.

use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tidegate_model::TableName;
use tidegate_pipeline::{Phase, Progress, TableProgress, TableStage};

/// Tables that get a bar of their own; a terminal is not much higher.
const BARS_MAX: usize = 16;

/// Between two plain lines, unless the phase changes: a log of a day stays readable.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Over which the throughput of bars is measured; lines show that since about the line before.
const RATE_INTERVAL: Duration = Duration::from_secs(1);

/// Shows views of a run on standard error.
pub(crate) struct Display {
    surface: Surface,
    rate: Rate,
}

/// The bars of this process, if it shows any: what else goes to standard error has to go around them.
static BARS: OnceLock<MultiProgress> = OnceLock::new();

/// Standard error, with bars moved out of the way for each write.
pub(crate) struct AroundBars;

impl Write for AroundBars {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let write = || std::io::stderr().write_all(bytes).map(|()| bytes.len());
        match BARS.get() {
            Some(bars) => bars.suspend(write),
            None => write(),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

enum Surface {
    Bars(Bars),
    Lines { shown: Option<(Instant, Phase)> },
}

impl Display {
    /// Bars when standard error is a terminal.
    pub(crate) fn new() -> Self {
        let surface = if std::io::stderr().is_terminal() { Surface::Bars(Bars::new()) } else { Surface::Lines { shown: None } };
        Self { surface, rate: Rate::default() }
    }

    /// Shows a view.
    pub(crate) fn show(&mut self, progress: &Progress, now: Instant) {
        let interval = match self.surface {
            Surface::Bars(_) => RATE_INTERVAL,
            Surface::Lines { .. } => LINE_INTERVAL,
        };
        self.rate.observe(progress, now, interval);
        let line = status_line(progress, self.rate.rows_per_second);
        match &mut self.surface {
            Surface::Bars(bars) => bars.show(progress, line),
            Surface::Lines { shown } => {
                let due = shown.is_none_or(|(at, phase)| phase != progress.phase || now.duration_since(at) >= LINE_INTERVAL);
                if due {
                    *shown = Some((now, progress.phase));
                    eprintln!("{line}");
                }
            }
        }
    }

    /// Removes the bars, so that what follows stands alone.
    pub(crate) fn finish(&self) {
        if let Surface::Bars(bars) = &self.surface {
            // A terminal that went away has nothing left to clear.
            let _ = bars.all.clear();
        }
    }
}

struct Bars {
    all: &'static MultiProgress,
    status: ProgressBar,
    tables: HashMap<TableName, ProgressBar>,
}

impl Bars {
    fn new() -> Self {
        let all = BARS.get_or_init(MultiProgress::new);
        let status = all.add(ProgressBar::new_spinner());
        status.set_style(ProgressStyle::with_template("{spinner} {msg}").expect("the template is a constant"));
        Self { all, status, tables: HashMap::new() }
    }

    fn show(&mut self, progress: &Progress, line: String) {
        self.status.set_message(line);
        self.status.tick();
        for (name, table) in progress.tables.iter() {
            if let Some(bar) = self.tables.get(name) {
                update_bar(bar, table);
            } else if table.stage == TableStage::Loading && self.tables.len() < BARS_MAX {
                let bar = self.all.add(ProgressBar::new(table.rows_estimate.max(1)));
                bar.set_style(
                    ProgressStyle::with_template("{prefix:>30!} {bar:30} {human_pos}/{human_len} rows {msg}")
                        .expect("the template is a constant"),
                );
                bar.set_prefix(name.to_string());
                update_bar(&bar, table);
                self.tables.insert(name.clone(), bar);
            }
        }
        // A finished table makes room for the next one.
        let done: Vec<TableName> =
            progress.tables.iter().filter(|(_, table)| table.stage == TableStage::Completed).map(|(name, _)| name.clone()).collect();
        for name in done {
            if let Some(bar) = self.tables.remove(&name) {
                bar.finish_and_clear();
            }
        }
    }
}

fn update_bar(bar: &ProgressBar, table: &TableProgress) {
    // The server's estimate can be far off; a bar never shows more rows than there are to come.
    bar.set_length(table.rows_estimate.max(table.rows_loaded).max(1));
    bar.set_position(table.rows_loaded);
    bar.set_message(format!("({}/{} chunks)", table.chunks_loaded, table.chunks_total));
}

/// Rows and changes a second between two views.
#[derive(Debug, Default)]
struct Rate {
    since: Option<(Instant, u64)>,
    rows_per_second: f64,
}

impl Rate {
    fn observe(&mut self, progress: &Progress, now: Instant, interval: Duration) {
        let total = progress.rows_loaded + progress.changes_applied;
        match self.since {
            None => self.since = Some((now, total)),
            Some((at, before)) if now.duration_since(at) >= interval => {
                self.rows_per_second = total.saturating_sub(before) as f64 / now.duration_since(at).as_secs_f64();
                self.since = Some((now, total));
            }
            Some(_) => {}
        }
    }
}

/// One line that says where a run is.
pub(crate) fn status_line(progress: &Progress, rows_per_second: f64) -> String {
    let phase = phase_name(progress.phase);
    let tables = progress.tables.len();
    let count = |wanted: fn(&TableStage) -> bool| progress.tables.iter().filter(|(_, table)| wanted(&table.stage)).count();
    let loaded = count(|stage| *stage == TableStage::Completed);
    let failed = count(|stage| matches!(stage, TableStage::Failed(_)));
    let mut line = match progress.phase {
        Phase::Preparing => format!("{phase}: reading descriptions and checking"),
        Phase::Loading => format!("{phase}: {loaded}/{tables} tables, {} rows, {rows_per_second:.0} rows/s", progress.rows_loaded),
        Phase::CatchingUp | Phase::Replicating => {
            format!("{phase}: {} changes applied, {rows_per_second:.0} rows/s, lag {:.1} s", progress.changes_applied, progress.lag_seconds)
        }
    };
    let waiting = progress.cache_bytes_memory + progress.cache_bytes_disk;
    if waiting > 0 {
        line.push_str(&format!(", {:.1} MiB waiting", waiting as f64 / f64::from(1 << 20)));
    }
    if failed > 0 {
        line.push_str(&format!(", {failed} of {tables} tables suspended"));
    }
    if progress.reconnects > 0 {
        line.push_str(&format!(", {} reconnects", progress.reconnects));
    }
    line
}

/// The word for a phase.
pub(crate) fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Preparing => "preparing",
        Phase::Loading => "loading",
        Phase::CatchingUp => "catching up",
        Phase::Replicating => "replicating",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_where_the_run_is() {
        let table = |stage| (TableName::new("s", "t"), TableProgress { stage, ..TableProgress::default() });
        let mut progress = Progress {
            phase: Phase::Loading,
            tables: [table(TableStage::Completed), table(TableStage::Failed("no key".into()))].into_iter().collect(),
            rows_loaded: 1200,
            cache_bytes_disk: 3 << 20,
            ..Progress::default()
        };
        assert_eq!(status_line(&progress, 40.4), "loading: 1/2 tables, 1200 rows, 40 rows/s, 3.0 MiB waiting, 1 of 2 tables suspended");
        progress = Progress { phase: Phase::Replicating, changes_applied: 7, lag_seconds: 0.25, reconnects: 1, ..Progress::default() };
        assert_eq!(status_line(&progress, 0.0), "replicating: 7 changes applied, 0 rows/s, lag 0.2 s, 1 reconnects");
    }

    #[test]
    fn throughput_is_measured_over_a_second() {
        let (mut rate, start) = (Rate::default(), Instant::now());
        rate.observe(&Progress { rows_loaded: 100, ..Progress::default() }, start, RATE_INTERVAL);
        rate.observe(&Progress { rows_loaded: 900, ..Progress::default() }, start + Duration::from_millis(500), RATE_INTERVAL);
        assert_eq!(rate.rows_per_second, 0.0);
        rate.observe(
            &Progress { rows_loaded: 1000, changes_applied: 100, ..Progress::default() },
            start + Duration::from_secs(2),
            RATE_INTERVAL,
        );
        assert_eq!(rate.rows_per_second, 500.0);
    }
}
