//! How fast a task's units are, learnt from what they did.
//!
//! The *true* rate of a unit is rows divided by the seconds in which it had work: it is known even when most of its time
//! is idle. It is kept for each number of units (a *level*), because units share a target: what eight do is not eight times
//! what one does. Two levels give the scaling exponent.
//!
//! Idle lanes write small groups, and small groups cost more per row. So a sample counts by the fourth power of its busy
//! share: what was learnt under load is hardly changed by hours of little work.

use std::collections::BTreeMap;

/// Busy seconds that a level remembers. Longer: steadier under noise; shorter: quicker after rows became larger.
const MEMORY_SECONDS: f64 = 30.0;

/// A level that was left for so long must not resist what it shows when it is back.
const STALE_SECONDS: f64 = 60.0;

/// How much a level that comes back after [`STALE_SECONDS`] still remembers.
const STALE_WEIGHT: f64 = 3.0;

/// Two levels are compared when both were seen within this time.
const COMPARED_SECONDS: f64 = 600.0;

/// Two levels tell about scaling when one has at least this many times the other's units: between neighbours, noise is
/// larger than the difference.
const APART: f64 = 1.5;

/// Busy seconds of a level before it is taken for known.
const KNOWN_WEIGHT: f64 = 0.5;

/// Busy seconds of a level before conclusions about scaling are drawn from it.
const TRUSTED_WEIGHT: f64 = 3.0;

/// The least scaling exponent that is reckoned with: a tenth still asks for the bound at once.
const EXPONENT_MIN: f64 = 0.1;

/// Work whose rows are not in the target yet.
#[derive(Debug, Clone, Copy, Default)]
struct Pending {
    seconds: f64,
    busy_seconds: f64,
}

#[derive(Debug, Clone, Copy)]
struct Level {
    /// Rows a busy second of one unit.
    per_unit: f64,
    weight: f64,
    seen_at: f64,
}

/// What is known of a task's speed, by units.
#[derive(Debug, Clone, Default)]
pub(crate) struct Estimate {
    levels: BTreeMap<u32, Level>,
    pending: Pending,
}

impl Estimate {
    /// Learns from what `units` did in `seconds`, at the time `now`: `rows` in `busy_seconds`. Rows count when they are
    /// durable, so a group or a chunk that took a minute is a minute without rows and then all of them: such seconds are one
    /// sample.
    pub(crate) fn learn(&mut self, now: f64, units: u32, seconds: f64, rows: f64, busy_seconds: f64) {
        let lane_seconds = f64::from(units) * seconds;
        if lane_seconds <= 0.0 || busy_seconds <= 0.0 {
            return;
        }
        if rows <= 0.0 {
            self.pending.seconds += seconds;
            self.pending.busy_seconds += busy_seconds;
            return;
        }
        let Pending { seconds: earlier, busy_seconds: earlier_busy } = std::mem::take(&mut self.pending);
        let (seconds, busy_seconds) = (seconds + earlier, busy_seconds + earlier_busy);
        let lane_seconds = f64::from(units) * seconds;
        let share = (busy_seconds / lane_seconds).min(1.0);
        let weight = seconds * share.powi(4);
        let level = self.levels.entry(units).or_insert(Level { per_unit: 0.0, weight: 0.0, seen_at: now });
        if now - level.seen_at > STALE_SECONDS {
            level.weight = level.weight.min(STALE_WEIGHT);
        }
        let seen = rows / busy_seconds;
        level.per_unit += (seen - level.per_unit) * weight / (level.weight + weight);
        level.weight = (level.weight + weight).min(MEMORY_SECONDS);
        level.seen_at = now;
    }

    /// Rows a second that `units` apply when they always have work; `None` before anything is known.
    pub(crate) fn capacity(&self, units: u32) -> Option<f64> {
        let (base, level) = self.latest()?;
        let (units, base) = (f64::from(units), f64::from(base));
        Some(level.per_unit * base * (units / base).powf(self.exponent()))
    }

    /// Units, not rounded, that apply `rows` a second.
    pub(crate) fn units_for(&self, rows: f64) -> Option<f64> {
        let (base, level) = self.latest()?;
        let base = f64::from(base);
        Some(base * (rows / (level.per_unit * base)).powf(1.0 / self.exponent()))
    }

    /// Rows a busy second of one of `units`, or of the level seen last.
    pub(crate) fn per_unit(&self) -> Option<f64> {
        self.latest().map(|(_, level)| level.per_unit)
    }

    /// How units add up, between [`EXPONENT_MIN`] and 1; 1 while only one level is known.
    pub(crate) fn exponent(&self) -> f64 {
        let Some((_, latest)) = self.latest() else {
            return 1.0;
        };
        let mut trusted =
            self.levels.iter().filter(|(_, level)| level.weight >= TRUSTED_WEIGHT && latest.seen_at - level.seen_at <= COMPARED_SECONDS);
        let Some((low, lower)) = trusted.next() else {
            return 1.0;
        };
        let Some((high, upper)) = trusted.next_back() else {
            return 1.0;
        };
        let ratio = f64::from(*high) / f64::from(*low);
        if ratio < APART {
            return 1.0;
        }
        (1.0 + (upper.per_unit / lower.per_unit).ln() / ratio.ln()).clamp(EXPONENT_MIN, 1.0)
    }

    /// Rows a second of a level that is well known.
    pub(crate) fn trusted(&self, units: u32) -> Option<f64> {
        self.levels.get(&units).filter(|level| level.weight >= TRUSTED_WEIGHT).map(|level| level.per_unit * f64::from(units))
    }

    /// The level seen last of those that are known; before any is, the one that is known best.
    fn latest(&self) -> Option<(u32, &Level)> {
        let known = self.levels.iter().filter(|(_, level)| level.weight >= KNOWN_WEIGHT);
        let latest = known.max_by(|(_, one), (_, other)| one.seen_at.total_cmp(&other.seen_at));
        let best = || self.levels.iter().max_by(|(_, one), (_, other)| one.weight.total_cmp(&other.weight));
        latest.or_else(best).map(|(units, level)| (*units, level))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: Option<f64>, wanted: f64) {
        assert!(found.is_some_and(|found| (found - wanted).abs() < wanted / 100.0), "found {found:?}, wanted {wanted}");
    }

    #[test]
    fn the_true_rate_is_known_when_most_time_is_idle() {
        let mut estimate = Estimate::default();
        estimate.learn(1.0, 2, 1.0, 300.0, 0.3);
        near(estimate.per_unit(), 1_000.0);
        near(estimate.capacity(2), 2_000.0);
        near(estimate.units_for(5_000.0), 5.0);
    }

    #[test]
    fn what_was_learnt_under_load_outlasts_hours_of_little_work() {
        let mut estimate = Estimate::default();
        (0..60).for_each(|second| estimate.learn(f64::from(second), 1, 1.0, 1_000.0, 1.0));
        (60..7_260).for_each(|second| estimate.learn(f64::from(second), 1, 1.0, 5.0, 0.05));
        near(estimate.per_unit(), 1_000.0);
    }

    #[test]
    fn rows_that_become_durable_all_at_once_do_not_look_fast() {
        let mut estimate = Estimate::default();
        for second in 1..=200 {
            let rows = if second % 40 == 0 { 40_000.0 } else { 0.0 };
            estimate.learn(f64::from(second), 1, 1.0, rows, 1.0);
        }
        near(estimate.per_unit(), 1_000.0);
    }

    #[test]
    fn a_rate_is_told_although_no_number_of_units_ever_had_much_work() {
        let mut estimate = Estimate::default();
        estimate.learn(1.0, 4, 1.0, 20.0, 0.04);
        (2..10).for_each(|second| estimate.learn(f64::from(second), 1, 1.0, 100.0, 0.1));
        near(estimate.per_unit(), 1_000.0);
    }

    #[test]
    fn two_levels_tell_how_units_add_up() {
        let mut estimate = Estimate::default();
        (0..10).for_each(|second| estimate.learn(f64::from(second), 1, 1.0, 1_000.0, 1.0));
        assert_eq!(estimate.exponent(), 1.0);
        (10..20).for_each(|second| estimate.learn(f64::from(second), 4, 1.0, 2_000.0, 4.0));
        near(Some(estimate.exponent()), 0.5);
        near(estimate.units_for(4_000.0), 16.0);
    }
}
