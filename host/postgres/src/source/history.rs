//! Which server this is, and whether its log is still the one that a task has read.
//!
//! ```text
//!   timeline 1  ────────┬───────────▶ (what the old primary wrote and the standby never got)
//!   timeline 2          └──────────────────────▶ the standby, promoted here
//! ```
//!
//! A promoted standby and a restored server have the system identifier of their origin and a timeline of their own. Up to
//! the switch both logs are one. A task that read past it has transactions which the successor lacks, and whatever the
//! successor writes in their place up to the task's position would be taken for applied: that is refused.
//! Source: PostgreSQL manual, "Timelines" and "Streaming Replication Protocol" (IDENTIFY_SYSTEM, TIMELINE_HISTORY).

use std::fmt;
use std::str::FromStr;

use tidegate_connector::{ConnectorError, ServerSettings};
use tidegate_model::{Lsn, Position};
use tokio_postgres::Client;

use super::catalog::get;
use crate::connect;
use crate::fault::pg_error;
use crate::wire::WireConnection;

/// A standby names its timeline by its last checkpoint, the primary by the file that it writes.
const IDENTITY: &str = "select s.system_identifier::pg_catalog.text, case when pg_catalog.pg_is_in_recovery() \
    then (select c.timeline_id from pg_catalog.pg_control_checkpoint() c) \
    else ('x' || pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 1, 8))::pg_catalog.bit(32)::pg_catalog.int4 \
    end, pg_catalog.current_database()::pg_catalog.text from pg_catalog.pg_control_system() s";

/// A server and a database of it: `postgres:7301954623087654321/1:shop` as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    system: String,
    /// `None` in the text of a version that did not look at it.
    timeline: Option<u32>,
    database: String,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.timeline {
            Some(timeline) => write!(f, "postgres:{}/{timeline}:{}", self.system, self.database),
            None => write!(f, "postgres:{}:{}", self.system, self.database),
        }
    }
}

impl FromStr for Origin {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (server, database) = text.strip_prefix("postgres:").and_then(|rest| rest.split_once(':')).ok_or(())?;
        let (system, timeline) = match server.split_once('/') {
            Some((system, timeline)) => (system, Some(timeline.parse().map_err(|_| ())?)),
            None => (server, None),
        };
        Ok(Origin { system: system.to_owned(), timeline, database: database.to_owned() })
    }
}

/// The server of an ordinary session.
pub(crate) async fn of_session(client: &Client) -> Result<Origin, ConnectorError> {
    let attempted = "read the server's identity";
    let row = client.query_one(IDENTITY, &[]).await.map_err(|error| pg_error(attempted, error))?;
    let timeline: i32 = get(&row, 1, attempted)?;
    Ok(Origin { system: get(&row, 0, attempted)?, timeline: Some(timeline.cast_unsigned()), database: get(&row, 2, attempted)? })
}

/// The server of a replication connection.
pub(crate) async fn of_wire(wire: &mut WireConnection) -> Result<Origin, ConnectorError> {
    let (system, timeline, database) = wire.identify_system().await?;
    Ok(Origin { system, timeline: Some(timeline), database })
}

/// # Errors
/// Transient (`source_moved`) when two connections of one address came to different servers.
pub(crate) fn refuse_another(checked: &Origin, found: &Origin) -> Result<(), ConnectorError> {
    if checked == found {
        return Ok(());
    }
    let text = format!("the source's address leads to \"{checked}\" and to \"{found}\"");
    Err(ConnectorError::transient("source_moved", text).hint("name one server in the endpoint: the primary"))
}

/// See `Source::succeeds`.
pub(crate) async fn check(server: &ServerSettings, before: &str, places: &[Position]) -> Result<(), ConnectorError> {
    let now = of_session(&connect::client(server, "history").await?).await?;
    let Ok(before) = before.parse::<Origin>() else { return Err(another(before, &now)) };
    if before.system != now.system || before.database != now.database {
        return Err(another(&before.to_string(), &now));
    }
    let (Some(was), Some(is)) = (before.timeline, now.timeline) else { return Ok(()) };
    if was == is {
        return Ok(());
    }
    let mut wire = WireConnection::open(server, "tidegate history").await?;
    refuse_another(&now, &of_wire(&mut wire).await?)?;
    let left_at = match is > was {
        true => switch_of(&wire.timeline_history(is).await?, was),
        false => None,
    };
    let Some(left_at) = left_at else {
        let text =
            format!("the source is on timeline {is}, which does not come from timeline {was} that the task has read: it was set back");
        return Err(ConnectorError::definite("source_changed", text).hint(RELOAD));
    };
    let beyond = |place: &&Position| matches!(place, Position::Postgres(lsn) if *lsn > left_at);
    match places.iter().find(beyond) {
        None => Ok(()),
        Some(place) => {
            let text = format!(
                "the source left timeline {was} at {left_at}, and the task has read that timeline up to {place}: transactions of the target \
                 are not in the source"
            );
            Err(ConnectorError::definite("source_changed", text).hint(RELOAD))
        }
    }
}

const RELOAD: &str = "reload the task: its tables are copied again";

fn another(before: &str, now: &Origin) -> ConnectorError {
    ConnectorError::definite("source_changed", format!("the source is \"{now}\", and the task began on \"{before}\""))
        .hint("connect the endpoint to the database that the task began on, or reload the task")
}

/// Where a timeline ended, by the history of one that came after it.
fn switch_of(history: &str, timeline: u32) -> Option<Lsn> {
    history.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let of: u32 = words.next()?.parse().ok()?;
        (of == timeline).then(|| words.next()?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_read_back_with_and_without_a_timeline() {
        for (text, timeline) in [("postgres:730/12:shop", Some(12)), ("postgres:730:a:b/c", None)] {
            let origin: Origin = text.parse().expect("it is of the form");
            assert_eq!((origin.to_string().as_str(), origin.timeline), (text, timeline));
        }
        for text in ["", "mysql", "postgres:", "postgres:1/x:a"] {
            assert!(text.parse::<Origin>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_timelines_end_stands_in_the_history_of_its_successors() {
        let history = "# comment\n1\t0/3000060\tno recovery target specified\n\n2\t1/A0\tbefore 2026-11-26\n";
        assert_eq!(switch_of(history, 1), Some(Lsn(0x300_0060)));
        assert_eq!(switch_of(history, 2), Some(Lsn(0x1_0000_00A0)));
        assert_eq!(switch_of(history, 3), None);
    }
}
