//! Where the stream ends, for a task that has a stop position.
//!
//! ```text
//!   log   t1  t2  t3 │ t4  t5        t3 is the last transaction that the stop position covers
//!   cache t1  t2  t3 end             nothing behind it reaches the cache, so nothing behind it can be applied
//! ```
//!
//! Capture asks here about each commit. What the checkpoint covers is behind the stop whatever that is, so that an
//! attempt which repeats a part of the log comes to the same end. A stop by a clock also ends the stream where the log
//! ended when the source's clock was past it: a source at rest would never send a later transaction.

use std::time::Duration;

use tidegate_connector::{ConnectorError, Source};
use tidegate_model::point::{LogPlace, StopPoint};
use tidegate_model::{Position, TxMark};
use tokio::time::Instant;

use crate::task::StopCause;

/// How long past its time a stop by a clock waits before it looks where the log ends: a transaction may be a moment on its
/// way between its commit time and the log.
const CLOCK_GRACE_US: i64 = 2_000_000;

/// What becomes of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It comes before the end.
    Before,
    /// It is the last one.
    Last,
    /// It lies behind the end.
    Behind,
}

#[derive(Debug)]
enum Until {
    Position(Position),
    Place(LogPlace),
    Time(i64),
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct StopAt {
    until: Until,
    /// What is applied already.
    checkpoint: Position,
    /// What the stream has delivered.
    seen: Position,
    /// When the source's clock is to be looked at.
    look_at: Option<Instant>,
    /// The log's end when the clock was past the stop.
    log_end: Option<Position>,
}

impl StopAt {
    /// For an attempt that goes on at `checkpoint` and streams from `stream` on. The source is asked for its clock, and for
    /// the position of a place that its log has reached.
    pub(crate) async fn new(
        point: &StopPoint,
        source: &dyn Source,
        checkpoint: Position,
        stream: Position,
    ) -> Result<Self, ConnectorError> {
        let mut look_at = None;
        let until = match point {
            StopPoint::Position(position) => Until::Position(position.clone()),
            StopPoint::Place(place) => match source.position_of(place).await? {
                Some(position) => Until::Position(position),
                None => Until::Place(place.clone()),
            },
            StopPoint::ServerTime(us) | StopPoint::CommitTime(us) => {
                look_at = Some(Instant::now() + wait(*us, source.clock_us().await?));
                Until::Time(*us)
            }
        };
        let until = match until {
            Until::Position(position) => Until::Position(position.union(&checkpoint)),
            other => other,
        };
        Ok(Self { until, checkpoint, seen: stream, look_at, log_end: None })
    }

    /// Judges a transaction that the stream delivers. `place` is where it ends in the binary log, where there is one.
    pub(crate) fn transaction(&mut self, mark: &TxMark, committed_at_us: i64, place: Option<&LogPlace>) -> Verdict {
        if self.checkpoint.covers(mark) {
            self.seen.advance(mark);
            return Verdict::Before;
        }
        let verdict = match &self.until {
            Until::Position(wanted) if wanted.covers(mark) => Verdict::Before,
            Until::Position(_) => Verdict::Behind,
            Until::Time(us) if committed_at_us <= *us => Verdict::Before,
            Until::Time(_) => Verdict::Behind,
            Until::Place(wanted) => match place.and_then(|place| wanted.compared(&place.file, place.offset)) {
                Some(std::cmp::Ordering::Greater) => Verdict::Before,
                Some(std::cmp::Ordering::Equal) => Verdict::Last,
                Some(std::cmp::Ordering::Less) | None => Verdict::Behind,
            },
        };
        if verdict != Verdict::Behind {
            self.seen.advance(mark);
        }
        verdict
    }

    /// The stream has delivered everything up to here.
    pub(crate) fn idle(&mut self, position: &Position) {
        self.seen = self.seen.union(position);
    }

    /// True when nothing before the stop is still to come. Costs a comparison of positions: once for a burst of events.
    pub(crate) fn is_reached(&self) -> bool {
        match (&self.until, &self.log_end) {
            (Until::Position(wanted), _) => self.seen.covers_position(wanted),
            (_, Some(end)) => self.seen.covers_position(end) && self.seen.covers_position(&self.checkpoint),
            (Until::Place(_) | Until::Time(_), None) => false,
        }
    }

    /// What a transaction behind the stop tells about it.
    ///
    /// # Errors
    /// `stop_position_unreachable` when the log goes on behind the stop without ever having been there.
    pub(crate) fn refuse_missed(&self) -> Result<(), ConnectorError> {
        match &self.until {
            Until::Position(wanted) if !self.seen.covers_position(wanted) => {
                let text =
                    format!("the source's log has a transaction behind the stop position {wanted} before all that the position names");
                Err(ConnectorError::definite("stop_position_unreachable", text)
                    .hint("give a position that the source's log has had, such as a checkpoint or its executed GTIDs at some time"))
            }
            _ => Ok(()),
        }
    }

    /// When to call [`StopAt::look`].
    pub(crate) fn look_at(&self) -> Option<Instant> {
        self.look_at
    }

    /// Looks at the source's clock, and where its log ends when the clock is past the stop.
    pub(crate) async fn look(&mut self, source: &dyn Source) -> Result<(), ConnectorError> {
        self.look_at = None;
        let Until::Time(us) = &self.until else { return Ok(()) };
        match wait(*us, source.clock_us().await?) {
            Duration::ZERO => self.log_end = Some(source.log_end().await?),
            left => self.look_at = Some(Instant::now() + left),
        }
        Ok(())
    }
}

/// Until a stop by a clock may look where the log ends.
fn wait(stop_us: i64, clock_us: i64) -> Duration {
    Duration::from_micros(u64::try_from(stop_us.saturating_add(CLOCK_GRACE_US).saturating_sub(clock_us)).unwrap_or(0))
}

/// Why a run ends that comes to this point.
pub(crate) fn stop_cause(point: &StopPoint) -> StopCause {
    match point {
        StopPoint::Position(_) | StopPoint::Place(_) => StopCause::AtPosition,
        StopPoint::ServerTime(_) => StopCause::AtServerTime,
        StopPoint::CommitTime(_) => StopCause::AtCommitTime,
    }
}

#[cfg(test)]
mod tests {
    use tidegate_model::Lsn;

    use super::*;

    fn at(until: Until, checkpoint: u64) -> StopAt {
        let checkpoint = Position::Postgres(Lsn(checkpoint));
        StopAt { until, seen: checkpoint.clone(), checkpoint, look_at: None, log_end: None }
    }

    fn mark(end: u64) -> TxMark {
        TxMark::Postgres { end: Lsn(end) }
    }

    #[test]
    fn a_position_ends_before_the_first_transaction_that_it_does_not_cover() {
        let mut stop = at(Until::Position(Position::Postgres(Lsn(20))), 5);
        assert_eq!(stop.transaction(&mark(10), 0, None), Verdict::Before);
        assert!(!stop.is_reached());
        assert_eq!(stop.transaction(&mark(20), 0, None), Verdict::Before);
        assert!(stop.is_reached());
        assert_eq!(stop.transaction(&mark(21), 0, None), Verdict::Behind);
        let mut stop = at(Until::Position(Position::Postgres(Lsn(20))), 5);
        stop.idle(&Position::Postgres(Lsn(30)));
        assert!(stop.is_reached(), "nothing up to there is missing");
    }

    #[test]
    fn what_the_checkpoint_covers_comes_before_any_stop() {
        let mut stop = at(Until::Time(100), 50);
        assert_eq!(stop.transaction(&mark(40), 900, None), Verdict::Before);
        assert_eq!(stop.transaction(&mark(60), 100, None), Verdict::Before);
        assert_eq!(stop.transaction(&mark(70), 101, None), Verdict::Behind);
        stop.log_end = Some(Position::Postgres(Lsn(65)));
        assert!(!stop.is_reached());
        stop.idle(&Position::Postgres(Lsn(65)));
        assert!(stop.is_reached());
    }

    #[test]
    fn a_place_is_compared_with_the_end_of_each_transaction() {
        let place = |text: &str| text.parse::<LogPlace>().unwrap();
        let mut stop = at(Until::Place(place("binlog.000002:500")), 1);
        for (end, wanted) in
            [("binlog.000001:900", Verdict::Before), ("binlog.000002:499", Verdict::Before), ("binlog.000002:500", Verdict::Last)]
        {
            assert_eq!(stop.transaction(&mark(10), 0, Some(&place(end))), wanted, "{end}");
        }
        assert_eq!(stop.transaction(&mark(11), 0, Some(&place("binlog.000002:501"))), Verdict::Behind);
        assert_eq!(stop.transaction(&mark(11), 0, Some(&place("binlog.000003:4"))), Verdict::Behind);
    }

    #[test]
    fn a_log_that_never_was_at_the_position_is_refused() {
        let set = |text: &str| text.parse::<Position>().unwrap();
        let checkpoint = set("mariadb:0-1-5");
        let until = Until::Position(set("mariadb:0-1-7,1-1-3"));
        let mut stop = StopAt { until, seen: checkpoint.clone(), checkpoint, look_at: None, log_end: None };
        let mark = |domain, sequence| TxMark::Mariadb { domain, server: 1, sequence };
        assert_eq!(stop.transaction(&mark(0, 7), 0, None), Verdict::Before);
        assert_eq!(stop.transaction(&mark(0, 8), 0, None), Verdict::Behind);
        assert_eq!(stop.refuse_missed().unwrap_err().code(), "stop_position_unreachable");
        assert_eq!(stop.transaction(&mark(1, 3), 0, None), Verdict::Before);
        assert!(stop.refuse_missed().is_ok());
    }

    #[test]
    fn a_clock_is_looked_at_a_moment_after_the_stop() {
        assert_eq!(wait(10_000_000, 9_000_000), Duration::from_secs(3));
        assert_eq!(wait(10_000_000, 12_000_000), Duration::ZERO);
    }
}
