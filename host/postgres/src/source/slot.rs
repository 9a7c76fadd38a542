//! The slot of a task, as its server describes it: whether the log from a position on is behind it, and whose it is.
//!
//! Names of slots count for the whole server: the slot of the task's name may belong to another database of the
//! server, or to a standby. Such a slot is left alone.

use std::time::Duration;

use tidegate_connector::ConnectorError;
use tidegate_model::Lsn;
use tokio::time::Instant;
use tokio_postgres::Client;

use super::catalog::get;
use crate::fault::pg_error;

/// How long a walsender of a dead worker may keep the slot before that is an error.
const SLOT_RELEASE: Duration = Duration::from_secs(30);
/// How long a worker that is just ending gets before its walsender is ended for it.
const SLOT_GRACE: Duration = Duration::from_secs(2);

/// What the server says of a slot.
struct SlotFacts {
    database_here: bool,
    /// Why the log from there on is not there any more, in the server's words.
    lost: Option<String>,
    confirmed: Option<Lsn>,
    /// End of the log that is durable at the server.
    log_end: Option<Lsn>,
    active_pid: Option<i32>,
    /// The walsender on the slot is one of ours.
    ours: bool,
}

/// Drops the task's slot, if there is one.
///
/// # Errors
/// Definite (`slot_taken`) for a slot of this name that is not the task's: of another database, or of another kind.
pub(crate) async fn drop_slot(client: &Client, name: &str) -> Result<(), ConnectorError> {
    match slot_facts(client, name).await? {
        None => Ok(()),
        Some(facts) if !facts.database_here => Err(taken(name)),
        Some(_) => {
            release_slot(client, name).await?;
            let attempted = format!("drop replication slot \"{name}\"");
            let sql = "select pg_catalog.pg_drop_replication_slot(slot_name) from pg_catalog.pg_replication_slots \
                       where slot_name = $1::pg_catalog.text::pg_catalog.name";
            client.execute(sql, &[&name]).await.map_err(|error| pg_error(&attempted, error))?;
            Ok(())
        }
    }
}

fn taken(name: &str) -> ConnectorError {
    let text =
        format!("replication slot \"{name}\": found one of another database of this server, or of another kind, wanted that name free");
    ConnectorError::definite("slot_taken", text).hint("give the task another name, or drop the slot if nobody needs it")
}

/// Whether a slot of this name belongs to somebody else: names count for the whole server.
pub(crate) async fn is_taken(client: &Client, name: &str) -> Result<bool, ConnectorError> {
    Ok(slot_facts(client, name).await?.is_some_and(|facts| !facts.database_here))
}

pub(crate) async fn check_slot(client: &Client, name: &str, from: Lsn) -> Result<(), ConnectorError> {
    let lost = |found: String| {
        ConnectorError::definite("position_lost", format!("replication slot \"{name}\": {found}, wanted the log from {from} on"))
            .hint("reload the task: its tables are copied again and a new slot is made")
    };
    let Some(slot) = slot_facts(client, name).await? else {
        return Err(lost("found no such slot".into()));
    };
    if !slot.database_here {
        return Err(lost("found a slot of another database".into()));
    }
    if let Some(reason) = slot.lost {
        return Err(lost(format!("found it invalidated ({reason})")));
    }
    // A server that was set back to an earlier state writes its log anew from there: what it writes up to the position
    // would be taken for applied.
    if let Some(end) = slot.log_end.filter(|end| *end < from) {
        let text = format!("found a log that ends at {end}, wanted one that reaches position {from}: the server was set back");
        return Err(ConnectorError::definite("source_changed", text).hint("reload the task: its tables are copied again"));
    }
    // The server would silently start at the later one of the two.
    match slot.confirmed {
        Some(confirmed) if confirmed <= from => Ok(()),
        Some(confirmed) => Err(lost(format!("found it confirmed up to {confirmed}"))),
        None => Err(lost("found no confirmed position".into())),
    }
}

/// See `Source::log_held`; `None` also where there is no such slot.
pub(crate) async fn log_held(client: &Client, name: &str) -> Result<Option<u64>, ConnectorError> {
    let attempted = format!("look at the log that replication slot \"{name}\" holds");
    let sql = "select pg_catalog.pg_wal_lsn_diff(case when pg_catalog.pg_is_in_recovery() then pg_catalog.pg_last_wal_replay_lsn() \
        else pg_catalog.pg_current_wal_lsn() end, s.restart_lsn)::pg_catalog.int8 \
        from pg_catalog.pg_replication_slots s where s.slot_name = $1::pg_catalog.text::pg_catalog.name \
        and s.database = pg_catalog.current_database()";
    let Some(row) = client.query_opt(sql, &[&name]).await.map_err(|error| pg_error(&attempted, error))? else { return Ok(None) };
    Ok(get::<Option<i64>>(&row, 0, &attempted)?.map(|bytes| u64::try_from(bytes).unwrap_or(0)))
}

async fn slot_facts(client: &Client, name: &str) -> Result<Option<SlotFacts>, ConnectorError> {
    let attempted = format!("look at replication slot \"{name}\"");
    // Columns that newer versions added are read out of JSON, where a missing one is NULL.
    let sql = "select coalesce(s.database = pg_catalog.current_database() and s.plugin = 'pgoutput', false), \
        coalesce(to_jsonb(s) ->> 'invalidation_reason', case when s.wal_status = 'lost' then 'wal_removed' \
          when to_jsonb(s) ->> 'conflicting' = 'true' then 'conflicting' end), \
        s.confirmed_flush_lsn::pg_catalog.text, s.active_pid::pg_catalog.int4, coalesce(a.application_name = $1, false), \
        case when not pg_catalog.pg_is_in_recovery() then pg_catalog.pg_current_wal_flush_lsn()::pg_catalog.text end \
        from pg_catalog.pg_replication_slots s left join pg_catalog.pg_stat_activity a on a.pid = s.active_pid \
        where s.slot_name = $1::pg_catalog.text::pg_catalog.name";
    let Some(row) = client.query_opt(sql, &[&name]).await.map_err(|error| pg_error(&attempted, error))? else { return Ok(None) };
    let confirmed: Option<String> = get(&row, 2, &attempted)?;
    Ok(Some(SlotFacts {
        database_here: get(&row, 0, &attempted)?,
        lost: get(&row, 1, &attempted)?,
        confirmed: confirmed.and_then(|text| text.parse().ok()),
        active_pid: get(&row, 3, &attempted)?,
        ours: get(&row, 4, &attempted)?,
        log_end: get::<Option<String>>(&row, 5, &attempted)?.and_then(|text| text.parse().ok()),
    }))
}

/// Waits until nobody reads the slot; ends a walsender that is one of ours, left behind by a worker that died.
pub(crate) async fn release_slot(client: &Client, name: &str) -> Result<(), ConnectorError> {
    let began = Instant::now();
    let attempted = format!("release replication slot \"{name}\"");
    let mut ended = false;
    loop {
        let Some(SlotFacts { active_pid: Some(pid), ours, .. }) = slot_facts(client, name).await? else { return Ok(()) };
        if ours && !ended && began.elapsed() >= SLOT_GRACE {
            client.execute("select pg_catalog.pg_terminate_backend($1)", &[&pid]).await.map_err(|error| pg_error(&attempted, error))?;
            ended = true;
        }
        if began.elapsed() >= SLOT_RELEASE {
            return Err(ConnectorError::transient("slot_active", format!("{attempted}: server process {pid} still reads it"))
                .hint(format!("select pg_terminate_backend({pid})")));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
