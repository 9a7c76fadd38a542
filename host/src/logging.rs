//! Logging to standard error.
//!
//! Only Tidegate's own events follow the chosen level. Drivers stay at `warn`: at lower levels some of them log
//! statements, and a statement may hold a tenant's values.

use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::cli::{LogFormat, LogLevel};
use crate::display::AroundBars;

/// Starts logging; the first call wins.
pub(crate) fn start(level: LogLevel, format: LogFormat) {
    let filter = Targets::new().with_default(LevelFilter::WARN.min(level_filter(level))).with_target("tidegate", level_filter(level));
    let layer = match format {
        LogFormat::Human => fmt::layer().with_writer(|| AroundBars).with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => fmt::layer().with_writer(|| AroundBars).json().flatten_event(true).boxed(),
    };
    // A second start can only come from a test in this process; the first one's settings hold.
    let _ = tracing_subscriber::registry().with(layer.with_filter(filter)).try_init();
}

/// Replaces the standard report of a panic, whose message may quote the value that it stumbled over: a tenant's. Only
/// messages that are constants of this program are shown.
pub(crate) fn hide_values_in_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("without a name").to_owned();
        let message = panic.payload().downcast_ref::<&'static str>().copied().unwrap_or("message withheld, it may hold values");
        tracing::error!(place, thread, "panic: {message}");
    }));
}

fn level_filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}
