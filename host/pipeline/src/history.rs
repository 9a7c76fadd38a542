//! What a run did, cut into slots of time: the rows of DMS's control table of history.
//!
//! ```text
//!   run starts ─┬─ slot ─┬─ slot ─┬─ … ─┬─ what is left ─┬─ run ends       a slot has one row for its load, one for its changes
//! ```
//!
//! Decides only; the clock and the figures are passed in.

use crate::Phase;
use crate::figures::Figures;

const MINUTE_US: i64 = 60_000_000;
const MIB: u64 = 1 << 20;

/// Which work a slot tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SlotKind {
    FullLoad,
    ChangeProcessing,
}

/// One row of the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) kind: SlotKind,
    /// Its end, microseconds since 1970.
    pub(crate) end_us: i64,
    /// How long it was, in whole minutes, rounded up.
    pub(crate) minutes: u64,
    /// How far the target was behind at its end; for changes alone.
    pub(crate) latency_seconds: Option<u64>,
    pub(crate) records: u64,
    /// Bytes of row data, in units of 1024 × 1024, rounded up.
    pub(crate) volume_mib: u64,
}

/// The slot that is running.
#[derive(Debug)]
pub(crate) struct History {
    slot_us: i64,
    start_us: i64,
    before: Figures,
    last: Figures,
    loads: bool,
    applies: bool,
}

impl History {
    /// Begins at the start of a run, with slots of so many minutes.
    pub(crate) fn new(minutes: u32, now_us: i64) -> Self {
        Self {
            slot_us: i64::from(minutes.max(1)) * MINUTE_US,
            start_us: now_us,
            before: Figures::default(),
            last: Figures::default(),
            loads: false,
            applies: false,
        }
    }

    /// Takes note of the figures, which belong to the slot that is running, and returns its rows where it has ended.
    /// Slots that passed without anybody looking, while the run slept, have none.
    pub(crate) fn look(&mut self, now_us: i64, now: &Figures) -> Vec<Slot> {
        let passed = (now_us - self.start_us).div_euclid(self.slot_us);
        if passed < 1 {
            self.note(now);
            return Vec::new();
        }
        let end_us = self.start_us + self.slot_us;
        // Whoever slept did nothing in the slots after the last look: what moved, moved just now.
        if passed == 1 {
            self.note(now);
        }
        let rows = self.rows(end_us);
        self.start_us += passed * self.slot_us;
        self.before = self.last.clone();
        (self.loads, self.applies) = (false, false);
        self.note(now);
        rows
    }

    /// The rows of the slot that is running, which ends with the run.
    pub(crate) fn end(mut self, now_us: i64, now: &Figures) -> Vec<Slot> {
        let mut rows = self.look(now_us, now);
        if now_us > self.start_us {
            rows.extend(self.rows(now_us));
        }
        rows
    }

    fn note(&mut self, now: &Figures) {
        self.loads |= now.phase == Phase::Loading || now.rows_loaded > self.before.rows_loaded;
        let follows = matches!(now.phase, Phase::CatchingUp | Phase::Replicating);
        self.applies |= follows || now.changes_applied > self.before.changes_applied;
        self.last = now.clone();
    }

    fn rows(&self, end_us: i64) -> Vec<Slot> {
        let minutes = u64::try_from((end_us - self.start_us).max(0)).unwrap_or(0).div_ceil(MINUTE_US as u64);
        let since = |of: fn(&Figures) -> u64| of(&self.last).saturating_sub(of(&self.before));
        let slot = |kind, latency_seconds, records, bytes: u64| Slot {
            kind,
            end_us,
            minutes,
            latency_seconds,
            records,
            volume_mib: bytes.div_ceil(MIB),
        };
        let load =
            self.loads.then(|| slot(SlotKind::FullLoad, None, since(|figures| figures.rows_loaded), since(|figures| figures.bytes_loaded)));
        let changes = self.applies.then(|| {
            let latency = Some(self.last.lag_seconds.ceil() as u64);
            slot(SlotKind::ChangeProcessing, latency, since(|figures| figures.changes_applied), since(|figures| figures.bytes_applied))
        });
        load.into_iter().chain(changes).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: i64 = 1_764_000_000_000_000;

    fn at(minutes: i64) -> i64 {
        START + minutes * MINUTE_US
    }

    fn figures(phase: Phase, rows_loaded: u64, changes_applied: u64) -> Figures {
        let (bytes_loaded, bytes_applied) = (rows_loaded * 100, changes_applied * 100);
        Figures { phase, rows_loaded, changes_applied, bytes_loaded, bytes_applied, lag_seconds: 1.5, ..Figures::default() }
    }

    fn told(rows: &[Slot]) -> Vec<(SlotKind, i64, u64, u64)> {
        rows.iter().map(|slot| (slot.kind, (slot.end_us - START) / MINUTE_US, slot.minutes, slot.records)).collect()
    }

    #[test]
    fn a_slot_has_a_row_for_its_load_and_one_for_its_changes() {
        let mut history = History::new(5, START);
        assert_eq!(history.look(at(1), &figures(Phase::Loading, 10, 0)), []);
        assert_eq!(history.look(at(4), &figures(Phase::Replicating, 30, 2)), []);
        let rows = history.look(at(5), &figures(Phase::Replicating, 30, 7));
        assert_eq!(told(&rows), [(SlotKind::FullLoad, 5, 5, 30), (SlotKind::ChangeProcessing, 5, 5, 7)]);
        assert_eq!((rows[0].latency_seconds, rows[1].latency_seconds), (None, Some(2)));
        assert_eq!((rows[0].volume_mib, rows[1].volume_mib), (1, 1));
        // The next slot counts from there, and nothing is loaded any more.
        let rows = history.look(at(10), &figures(Phase::Replicating, 30, 9));
        assert_eq!(told(&rows), [(SlotKind::ChangeProcessing, 10, 5, 2)]);
        let rows = history.look(at(15), &figures(Phase::Replicating, 30, 9));
        assert_eq!(told(&rows), [(SlotKind::ChangeProcessing, 15, 5, 0)], "a slot without work has its row, too");
    }

    #[test]
    fn the_end_of_a_run_ends_its_slot() {
        let mut history = History::new(5, START);
        history.look(at(1), &figures(Phase::Loading, 10, 0));
        let end = at(1) + MINUTE_US / 2;
        let rows = history.end(end, &figures(Phase::Loading, 12, 0));
        assert_eq!((told(&rows), rows[0].end_us), (vec![(SlotKind::FullLoad, 1, 2, 12)], end));
        assert_eq!(History::new(5, START).end(START, &Figures::default()), [], "a run that did nothing has no row");
    }

    #[test]
    fn who_sleeps_over_slots_has_no_rows_for_them() {
        let mut history = History::new(5, START);
        history.look(at(2), &figures(Phase::Replicating, 0, 4));
        let rows = history.look(at(32), &figures(Phase::Replicating, 0, 6));
        assert_eq!(told(&rows), [(SlotKind::ChangeProcessing, 5, 5, 4)]);
        let rows = history.look(at(35), &figures(Phase::Replicating, 0, 6));
        assert_eq!(told(&rows), [(SlotKind::ChangeProcessing, 35, 5, 2)], "what woke it belongs to the slot in which it woke");
    }
}
