//! Stopping by signal: the first one asks, the second one insists.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::exit::Failure;

/// The exit code of a process that did not get to stop in order.
const KILLED: i32 = 130;

/// A token that SIGINT or SIGTERM cancels. A second signal ends the process at once: that is safe at any moment,
/// since the target's checkpoint moves only together with the rows.
///
/// # Errors
/// An environment failure when the process may not handle signals.
pub(crate) fn stop_token() -> Result<CancellationToken, Failure> {
    let failure = |error: std::io::Error| Failure::environment("signals", format!("handle signals: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failure)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failure)?;
    let token = CancellationToken::new();
    let stop = token.clone();
    tokio::spawn(async move {
        for count in 0..2 {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if count == 0 {
                eprintln!("stopping after the transactions that are under way; a second Ctrl-C leaves at once");
                stop.cancel();
            }
        }
        std::process::exit(KILLED);
    });
    Ok(token)
}
