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

/// Starts logging; the first call wins.
pub(crate) fn start(level: LogLevel, format: LogFormat) {
    let filter = Targets::new().with_default(LevelFilter::WARN.min(level_filter(level))).with_target("tidegate", level_filter(level));
    let layer = match format {
        LogFormat::Human => fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => fmt::layer().with_writer(std::io::stderr).json().flatten_event(true).boxed(),
    };
    // A second start can only come from a test in this process; the first one's settings hold.
    let _ = tracing_subscriber::registry().with(layer.with_filter(filter)).try_init();
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
