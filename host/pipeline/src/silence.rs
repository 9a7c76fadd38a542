//! Notices servers that have fallen silent while their connections stand.
//!
//! A stream hears its source's heartbeats, and the kernel notices a peer that acknowledges nothing. A proxy or load
//! balancer in between acknowledges everything, and a statement may rightly take an hour: then only a second
//! connection tells. One is tried when work is under way and nothing moves; time decides here about connections,
//! never about data.

use std::time::Duration;

use tidegate_connector::{ConnectorError, Source, Target};

use crate::Phase;
use crate::run::Watched;
use crate::task::{TaskError, TaskSpec};

/// How often is looked whether anything moves. Two looks without a move, and two probes without an answer, make a
/// silence: it is noticed within about a minute.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// How often while a run sleeps and nothing is under way: a thousand of them need not wake to find that out. A unit wakes it; what a
/// run does without one is looked at this much later.
const LOOK_EVERY_ASLEEP: Duration = Duration::from_secs(60);

/// How long a probe may take: a connection and one small question.
const PROBE_TIMEOUT: Duration = Duration::from_secs(15);

/// Probes in a row that must stay without an answer.
const PROBES: u32 = 2;

/// Waits until a server is silent, and says which; for ever while both answer or nothing is under way.
pub(crate) async fn silence(spec: &TaskSpec, source: &dyn Source, target: &dyn Target, watched: &Watched) -> TaskError {
    let mut last = None;
    let mut unanswered = 0;
    let mut units = spec.units.clone();
    loop {
        if units.is_asleep() && last.is_none() {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY_ASLEEP) => {}
                () = units.changed() => {}
            }
        } else {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let seen = watched.under_way();
        if seen.is_none() || seen != std::mem::replace(&mut last, seen) {
            unanswered = 0;
            continue;
        }
        let (of_target, of_source) = tokio::join!(is_silent(target.known_task(&spec.id)), is_silent(source.identity()));
        let Some(end) = of_target.then_some("target").or(of_source.then_some("source")) else {
            unanswered = 0;
            continue;
        };
        unanswered += 1;
        if unanswered == PROBES {
            let text = format!("the {end} answers nothing, neither on the connections that stand nor on a new one");
            return ConnectorError::transient("server_silent", text).into();
        }
    }
}

/// True without an answer. A refusal is one: connections that stand will hear of it themselves.
async fn is_silent<T>(probe: impl Future<Output = Result<T, ConnectorError>>) -> bool {
    match tokio::time::timeout(PROBE_TIMEOUT, probe).await {
        Ok(Ok(_)) => false,
        Ok(Err(error)) => error.code() == "connect_timeout",
        Err(_) => true,
    }
}

impl Watched {
    /// Numbers that move with the work; `None` while nothing is under way.
    fn under_way(&self) -> Option<(u64, u64)> {
        let waiting = self.in_flight.lock().expect("no holder of this lock panics").oldest_us().is_some();
        self.board.read(|progress| {
            let busy = progress.phase != Phase::Replicating || waiting;
            busy.then_some((progress.bytes_written, progress.rows_loaded + progress.transactions_applied))
        })
    }
}
