//! XA transactions of MariaDB that are being committed: the server writes their COMMIT to the log before the engine shows their rows, and
//! neither under the lock that makes a snapshot and its position one moment (`ha_commit_or_rollback_by_xid`: `binlog_commit_by_xid`, then
//! the engines). Measured with six sessions that commit such transactions: of 400 snapshots one lacked a row that its position covers.
//!
//! While it is committed, a transaction stands in XA RECOVER like one that is only prepared. So what stood there when a position was taken
//! has to be gone, or has to have no COMMIT in the log, before a view has all that the position covers.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use mysql_async::Conn;
use tidegate_connector::ConnectorError;
use tokio::time::{Instant, sleep};

use super::WHAT;
use crate::connect::Connector;
use crate::log_place::{self, Event};
use crate::raw::RawConn;

/// Between two looks at what is committed, or prepared.
pub(super) const PAUSE: Duration = Duration::from_millis(10);

/// How long it is awaited that transactions go by themselves, before the log is asked which of them are being committed.
const GOES_BY_ITSELF: Duration = Duration::from_millis(300);

/// How long a COMMIT may take. A server waits for its replicas in it (`rpl_semi_sync_master_timeout` is 10 s by default).
pub(super) const COMMIT_MAX: Duration = Duration::from_secs(60);

/// Names of transactions, as XA RECOVER spells them.
pub(super) type Names = BTreeSet<String>;

/// True when no XA transaction is prepared, and none was ever committed.
pub(super) async fn is_unheard_of(conn: &mut RawConn) -> Result<bool, ConnectorError> {
    Ok(none_began(conn).await? && prepared(conn).await?.is_empty())
}

/// True when nobody has begun to commit an XA transaction since the server was started.
pub(super) async fn none_began(conn: &mut RawConn) -> Result<bool, ConnectorError> {
    let commits = conn.texts(WHAT, "show global status like 'Com_xa_commit'").await?;
    Ok(commits.iter().all(|row| row.get(1).is_some_and(|count| count.as_deref() == Some("0"))))
}

/// What is prepared, or being committed.
pub(super) async fn prepared(conn: &mut RawConn) -> Result<Names, ConnectorError> {
    let rows = conn.texts(WHAT, "xa recover format = 'SQL'").await?;
    Ok(rows.into_iter().filter_map(|row| row.into_iter().nth(3).flatten()).collect())
}

/// Which transactions the log says to have ended, as far as it was looked at.
#[derive(Debug, Default)]
pub(super) struct Endings {
    /// The file, and the event up to which it was looked at.
    place: Option<(String, u64)>,
    /// In the log's own spelling.
    ended: HashSet<String>,
}

impl Endings {
    /// Waits until none of these transactions is being committed any more: they are gone, or only prepared.
    pub(super) async fn settle(&mut self, connector: &Connector, conn: &mut RawConn, mut names: Names) -> Result<(), ConnectorError> {
        let since = Instant::now();
        while !names.is_empty() && since.elapsed() < GOES_BY_ITSELF {
            sleep(PAUSE).await;
            let now = prepared(conn).await?;
            names.retain(|name| now.contains(name));
        }
        while self.any(connector, conn, &names).await? {
            if since.elapsed() > COMMIT_MAX {
                let text =
                    format!("{WHAT}: an XA transaction is committed in the log, and not in the engine, for {} s", COMMIT_MAX.as_secs());
                return Err(ConnectorError::transient("xa_committing", text).hint("XA RECOVER lists it: commit it again"));
            }
            sleep(PAUSE).await;
            let now = prepared(conn).await?;
            names.retain(|name| now.contains(name));
        }
        Ok(())
    }

    /// True when the log has the end of one of these transactions.
    pub(super) async fn any(&mut self, connector: &Connector, conn: &mut RawConn, names: &Names) -> Result<bool, ConnectorError> {
        if names.is_empty() {
            return Ok(false);
        }
        let mut log = connector.open().await?;
        self.look(&mut log).await?;
        let _ = log.disconnect().await;
        let found = names.iter().any(|name| self.ended.contains(&logged(name)));
        // What is gone by now is not being committed: should its name come again, so do its events.
        let now: HashSet<String> = prepared(conn).await?.iter().map(|name| logged(name)).collect();
        self.ended.retain(|name| now.contains(name));
        Ok(found)
    }

    /// Looks at what came to the log, at first at its last two files.
    async fn look(&mut self, log: &mut Conn) -> Result<(), ConnectorError> {
        let files = log_place::file_names(log).await?;
        let known = self.place.take().and_then(|(file, from)| Some((files.iter().position(|other| *other == file)?, from)));
        let (first, mut from) = known.unwrap_or((files.len().saturating_sub(2), log_place::FIRST_EVENT));
        for file in &files[first..] {
            loop {
                let events = log_place::events(log, file, from, log_place::EVENTS_AT_A_TIME).await?;
                events.iter().for_each(|event| self.take(event));
                let last = events.last().map_or(from, |event| event.end);
                let goes_on = events.len() == log_place::EVENTS_AT_A_TIME && last > from;
                from = last;
                if !goes_on {
                    break;
                }
            }
            self.place = Some((file.clone(), from));
            from = log_place::FIRST_EVENT;
        }
        Ok(())
    }

    fn take(&mut self, event: &Event) {
        let text = event.text.rsplit("; ").next().unwrap_or_default().to_ascii_lowercase();
        match event.kind.as_str() {
            "XA_prepare" => drop(text.strip_prefix("xa prepare ").is_some_and(|name| self.ended.remove(name.trim()))),
            "Query" => {
                if let Some(name) = text.strip_prefix("xa commit ").or_else(|| text.strip_prefix("xa rollback ")) {
                    self.ended.insert(name.trim().to_owned());
                }
            }
            _ => {}
        }
    }
}

/// The log's spelling `x'6162',x'63',1` of a name that XA RECOVER spells `'ab','c'`, or `X'6162',X'63',1`.
fn logged(name: &str) -> String {
    let mut parts = name.split(',');
    let mut hex = || match parts.next().unwrap_or("''") {
        part if part.starts_with('\'') => part.trim_matches('\'').bytes().map(|byte| format!("{byte:02x}")).collect(),
        part => part.trim_start_matches(['X', 'x']).trim_matches('\'').to_ascii_lowercase(),
    };
    let (global, branch) = (hex(), hex());
    format!("x'{global}',x'{branch}',{}", parts.next().unwrap_or("1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_spelt_as_the_log_spells_them() {
        for (recovered, wanted) in [
            ("'ab'", "x'6162',x'',1"),
            ("'ab','c'", "x'6162',x'63',1"),
            ("'ab','',7", "x'6162',x'',7"),
            ("X'0A27',X'2c'", "x'0a27',x'2c',1"),
            ("X'0a'", "x'0a',x'',1"),
            ("'a-b_c d','e',9", "x'612d625f632064',x'65',9"),
        ] {
            assert_eq!(logged(recovered), wanted, "{recovered}");
        }
    }

    #[test]
    fn a_name_that_is_prepared_again_has_not_ended() {
        let mut endings = Endings::default();
        let mut take = |kind: &str, text: &str| {
            endings.take(&Event { at: 4, kind: kind.into(), end: 5, text: text.into() });
            endings.ended.len()
        };
        assert_eq!(take("XA_prepare", "XA PREPARE X'61',X'',1"), 0);
        assert_eq!(take("Query", "XA COMMIT X'61',X'',1"), 1);
        assert_eq!(take("Query", "XA ROLLBACK X'62',X'',1"), 2);
        assert_eq!(take("XA_prepare", "XA PREPARE X'61',X'',1"), 1);
        assert_eq!(take("Query", "use `s`; XA COMMIT X'61',X'',1"), 2);
    }
}
