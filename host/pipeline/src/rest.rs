//! When the stream rests: because something waits for the place where it is, or to let changes collect.

use std::time::Instant;

use tidegate_model::Position;

use crate::assemble::Assembler;
use crate::cache::CacheReader;
use crate::schema::exact_from;

/// When the stream is to rest.
#[derive(Debug, Default)]
pub(crate) struct Rest {
    /// When every table is loaded. Until then none catches up.
    pub(crate) loaded: bool,
    /// When every table is in it.
    pub(crate) whole: bool,
    /// When it has come to where the log ended when every table was loaded.
    pub(crate) level: bool,
    /// When it is past the windows of their loads too.
    pub(crate) exact: bool,
    /// When it has come to this place.
    pub(crate) at: Option<Position>,
}

impl Assembler {
    /// Says for what [`Assembler::must_rest`] is to answer.
    pub(crate) fn rest_for(&mut self, rest: Rest) {
        self.rest = rest;
    }

    /// True when what was waited for is so, and everything up to here was sent.
    pub(crate) fn must_rest(&self) -> bool {
        self.rests_loaded()
            || self.is_at_end()
            || (self.rest.level && self.is_level_with_load())
            || self.is_whole()
                && (self.rest.whole || (self.rest.exact && self.is_exact()) || self.rest.at.as_ref().is_some_and(|at| self.has_come_to(at)))
    }

    /// True when every table has all that comes before the task's stop position, and the target was sent it.
    pub(crate) fn is_at_end(&self) -> bool {
        self.has_ended && self.is_whole() && self.is_sent()
    }

    /// True when every table has what the log had when they were loaded: nothing of the loads is newer than the stream.
    pub(crate) fn is_level_with_load(&self) -> bool {
        self.loaded_at.as_ref().is_some_and(|end| self.has_come_to(end))
    }

    /// True when every table is loaded, and that was waited for.
    pub(crate) fn rests_loaded(&self) -> bool {
        self.rest.loaded && !self.tables.any_loading()
    }

    /// True while tables that are loaded wait for the others before they catch up.
    pub(crate) fn holds_changes(&self) -> bool {
        self.rest.loaded
    }

    /// True when everything up to this place was sent.
    pub(crate) fn has_come_to(&self, position: &Position) -> bool {
        self.is_whole() && self.position.covers_position(position)
    }

    /// True when every table is in the stream.
    pub(crate) fn is_whole(&self) -> bool {
        self.tables.all_in_stream() && self.repeats.is_none()
    }

    /// True when the rows of every table are those of one moment of the source: the stream is past their loads' windows.
    pub(crate) fn is_exact(&self) -> bool {
        self.is_whole() && exact_from(self.tables.windows(), &self.position).is_none()
    }

    /// True when the source has nothing more up to where the stream is to rest, so that the target may know at once.
    pub(crate) fn rests_when_idle(&self) -> bool {
        let Some((idle, _)) = self.idle_since.as_ref().filter(|_| self.is_whole()) else { return false };
        let exact = || exact_from(self.tables.windows(), &self.position).filter(|_| self.rest.exact);
        let level = || self.loaded_at.clone().filter(|end| self.rest.level && !self.position.covers_position(end));
        self.rest.at.clone().or_else(level).or_else(exact).is_some_and(|wanted| idle.covers_position(&wanted))
    }

    /// Until when changes collect: at once after a group that left some, and while something waits for a place, nothing does.
    pub(crate) fn collects_until(&self) -> Option<Instant> {
        let collects = self.drained && !self.batch.interval.is_zero() && self.rest.at.is_none();
        collects.then(|| self.sent_at + self.batch.interval)
    }
}

/// Waits until something is in the cache, and not before changes have collected until then, or to so many. Safe to cancel.
pub(crate) async fn collected(cache: &CacheReader, until: Option<Instant>, changes_min: Option<u64>) {
    if let Some(until) = until {
        tokio::select! {
            () = tokio::time::sleep_until(tokio::time::Instant::from_std(until)) => {}
            () = cache.holds(changes_min.unwrap_or(u64::MAX)) => {}
        }
    }
    cache.arrived().await;
}

/// Waits until then; for ever where nothing is due. Safe to cancel.
pub(crate) async fn wait_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(tokio::time::Instant::from_std(due)).await,
        None => std::future::pending().await,
    }
}
