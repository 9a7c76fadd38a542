//! The decision, made every [`DECISION_SECONDS`] from the samples of the last minute.
//!
//! ```text
//!   units ─▶ not below what 0.85 × lasting arrivals + waiting ÷ catch-up time takes                 (up: at once)
//!         ─▶ not above what 1.10 × held arrivals, or 2 × arrivals, + waiting ÷ interval takes       (down)
//! ```
//!
//! Between the two the units stay as they are, which is what keeps noise and rounding from moving them. Arrivals count
//! in full, not by 0.85, once a second's worth of them waits: the gap hides no shortage. The catch-up time is half of the
//! lag that the task's owner accepts, and less when the lag is already close to it. *Lasting* arrivals are what both of the
//! last two intervals brought, while the lag is far from that: a burst that is over has its place among what waits, and
//! would otherwise count twice. *Held* arrivals are the stabilisation: the highest rate of the last seconds. They do not
//! hold units once arrivals have fallen to less than half, which noise does not do. While a backlog is served no unit is
//! taken back that still has work until the next decision.
//!
//! Both bounds are monotone in what arrives and waits, and the decision is the old number of units moved into them: more
//! load never gives fewer units.

use std::collections::VecDeque;
use std::fmt;

use crate::estimate::Estimate;
use crate::sample::Window;
use crate::{Forecast, Plan, Rates, Reason, Sample, UnitBounds};

/// How often a task's units are decided, seconds. A task at zero units is decided at each sample.
pub const DECISION_SECONDS: f64 = 5.0;

/// The lag that a task may have when its owner named none, seconds.
pub const MAX_LAG_SECONDS_DEFAULT: f64 = 30.0;

/// How long a task keeps a unit after its last change, seconds. A guess: long against the half second that waking takes,
/// short against what a unit costs.
const IDLE_SECONDS: f64 = 20.0;

/// Samples that a decision looks at, seconds.
const WINDOW_SECONDS: f64 = 60.0;

/// Arrivals are averaged over so long: two decisions.
const ARRIVING_SECONDS: f64 = 10.0;

/// Units go down to what the highest rate of so long needs: the stabilisation.
const HELD_SECONDS: f64 = 20.0;

/// Units that apply this share of the need are not too few: the rest shows up as a backlog if it is real.
const LOWER_SHARE: f64 = 0.85;

/// Units that apply more than this share of what arrives are too many.
const UPPER_SHARE: f64 = 1.10;

/// Units that apply more than this many times what arrives are too many at once: held arrivals do not count.
const FALL_SHARE: f64 = 2.0;

/// The shortest catch-up time, seconds: two decisions, so that one can correct the other.
const CATCH_UP_SECONDS_MIN: f64 = 2.0 * DECISION_SECONDS;

/// Added units that bring less than this share of what the earlier ones do have met the target's limit.
const GAIN_MIN: f64 = 0.2;

/// Added units that wait for the others for this share of their time, at least, are of no use because of that.
const CONFLICT_SHARE: f64 = 0.5;

/// Units that have work for less than this share of their time, while changes wait, wait for whoever hands them over.
const BUSY_SHARE: f64 = 0.85;

/// How long the first limit holds, seconds; each further one in a row holds twice as long.
const LIMIT_SECONDS: f64 = 600.0;

/// The longest that a limit holds, seconds.
const LIMIT_SECONDS_MAX: f64 = 3_600.0;

/// What the owner of a task wants of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Objective {
    max_lag_seconds: f64,
}

/// A lag that cannot be aimed at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ObjectiveError {
    /// The seconds found.
    pub max_lag_seconds: f64,
}

impl fmt::Display for ObjectiveError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "the longest lag is {} seconds, wanted a number above 0", self.max_lag_seconds)
    }
}

impl std::error::Error for ObjectiveError {}

impl Objective {
    /// The longest lag that is all right.
    ///
    /// # Errors
    /// [`ObjectiveError`] when it is no number above 0.
    pub fn new(max_lag_seconds: f64) -> Result<Self, ObjectiveError> {
        if max_lag_seconds.is_finite() && max_lag_seconds > 0.0 {
            Ok(Self { max_lag_seconds })
        } else {
            Err(ObjectiveError { max_lag_seconds })
        }
    }

    /// The longest lag that is all right, seconds.
    pub fn max_lag_seconds(&self) -> f64 {
        self.max_lag_seconds
    }

    /// In which time what waits should be applied when the oldest of it is `lag_seconds` old.
    fn catch_up_seconds(&self, lag_seconds: f64) -> f64 {
        (self.max_lag_seconds - lag_seconds).min(self.max_lag_seconds / 2.0).max(CATCH_UP_SECONDS_MIN)
    }

    /// True while there is time to see whether arrivals last before units are added for them.
    fn is_far(&self, lag_seconds: f64) -> bool {
        2.0 * lag_seconds + ARRIVING_SECONDS <= self.max_lag_seconds
    }
}

impl Default for Objective {
    fn default() -> Self {
        Self { max_lag_seconds: MAX_LAG_SECONDS_DEFAULT }
    }
}

/// Rows a second that arrived at an earlier decision.
#[derive(Debug, Clone, Copy)]
struct Arrived {
    at: f64,
    rows: f64,
}

/// Units were added, and what they bring is not known yet.
#[derive(Debug, Clone, Copy)]
struct Raise {
    from: u32,
    to: u32,
    at: f64,
}

/// Units beyond these bring nothing.
#[derive(Debug, Clone, Copy)]
struct Limit {
    units: u32,
    gained_share: f64,
    until: f64,
    by: LimitedBy,
}

#[derive(Debug, Clone, Copy)]
enum LimitedBy {
    Target,
    /// The units that were added waited for the others.
    Conflicts,
    /// They waited for what hands changes over.
    Upstream,
}

/// Plans the units of one task.
#[derive(Debug, Clone)]
pub struct Planner {
    bounds: UnitBounds,
    objective: Objective,
    window: Window,
    /// Copying a row and applying a change are different work: what is learnt of one says nothing of the other.
    load: Estimate,
    stream: Estimate,
    loading: bool,
    arrived: VecDeque<Arrived>,
    /// Seconds covered by samples.
    now: f64,
    active_at: f64,
    raise: Option<Raise>,
    limit: Option<Limit>,
    limit_seconds: f64,
    disk_before: u64,
}

impl Planner {
    /// A task of which nothing is known.
    pub fn new(bounds: UnitBounds, objective: Objective) -> Self {
        Self {
            bounds,
            objective,
            window: Window::new(WINDOW_SECONDS),
            load: Estimate::default(),
            stream: Estimate::default(),
            loading: false,
            arrived: VecDeque::new(),
            now: 0.0,
            active_at: 0.0,
            raise: None,
            limit: None,
            limit_seconds: LIMIT_SECONDS,
            disk_before: 0,
        }
    }

    /// Other bounds and another objective, from the next decision on; what was learnt stays.
    pub fn set(&mut self, bounds: UnitBounds, objective: Objective) {
        (self.bounds, self.objective) = (bounds, objective);
    }

    /// Takes note of what was measured since the last sample.
    pub fn observe(&mut self, sample: Sample) {
        let sample = sample.sane();
        self.now += sample.seconds;
        if sample.active() {
            self.active_at = self.now;
        }
        let loading = sample.chunks_left > 0;
        if std::mem::replace(&mut self.loading, loading) != loading {
            (self.raise, self.limit) = (None, None);
        }
        let speed = if loading { &mut self.load } else { &mut self.stream };
        speed.learn(self.now, sample.units, sample.seconds, sample.rows_applied, sample.busy_seconds);
        self.window.push(sample);
    }

    /// What is known of the work under way.
    fn speed(&self) -> &Estimate {
        if self.loading { &self.load } else { &self.stream }
    }

    /// Decides, for a task that has `units` now. Every decision changes what the next one knows: call it at the interval,
    /// not for a look.
    pub fn decide(&mut self, units: u32) -> Plan {
        let Some(last) = self.window.last().copied() else {
            return self.plan(units, units, Reason::Unmeasured);
        };
        let idle = self.now - self.active_at;
        let disk_before = std::mem::replace(&mut self.disk_before, last.bytes_on_disk);
        self.judge_raise(units);
        if idle >= IDLE_SECONDS {
            return self.plan(units, 0, Reason::Idle { seconds: idle });
        }
        if units == 0 && !last.active() {
            return self.plan(units, 0, Reason::Idle { seconds: idle });
        }
        let (wanted, reason) = if last.chunks_left > 0 {
            (last.chunks_left, Reason::FullLoad { chunks_left: last.chunks_left })
        } else {
            self.follow(units, &last)
        };
        let (wanted, reason) = if last.bytes_on_disk > disk_before && wanted <= units {
            (units.saturating_add(1), Reason::MemoryPressure { bytes_on_disk: last.bytes_on_disk })
        } else {
            (wanted, reason)
        };
        let (wanted, reason) = self.within_target(units, wanted, reason, last.throttled);
        self.plan(units, wanted, reason)
    }

    /// What would come of `units`. Nothing is known while a load runs: changes wait for its end.
    pub fn forecast(&self, units: u32) -> Forecast {
        let Some(last) = self.window.last().filter(|_| !self.loading) else {
            return Forecast::default();
        };
        let waiting = last.rows_waiting;
        let lag_max = self.objective.max_lag_seconds;
        let arriving = self.window.rate(DECISION_SECONDS, |sample| sample.rows_arrived);
        let capacity = if units == 0 { Some(0.0) } else { self.speed().capacity(units) };
        let Some(capacity) = capacity else {
            return Forecast { objective_seconds: None, level_seconds: (waiting == 0.0).then_some(0.0) };
        };
        let capacity = self.passed().map_or(capacity, |passed| capacity.min(passed));
        let drained = capacity - arriving;
        let after = |rows: f64| {
            if rows <= 0.0 { Some(0.0) } else { (drained > 0.0).then(|| rows / drained) }
        };
        // A row is late when more waits before it than is applied in the time; rows that arrive in that time are not.
        let met = last.lag_seconds <= lag_max && waiting <= capacity * lag_max;
        let objective_seconds = match met {
            true => Some(0.0),
            false if drained <= 0.0 => None,
            false => after(waiting - arriving * lag_max),
        };
        Forecast { objective_seconds, level_seconds: after(waiting) }
    }

    /// Rows a second that came through where the units were not the limit: something waited all the time, and yet they were
    /// not always at work. More of them do not make it more.
    fn passed(&self) -> Option<f64> {
        let waited = |sample: &Sample| sample.rows_waiting > 0.0 && sample.units > 0;
        let busy_share = self.window.rate(DECISION_SECONDS, |sample| sample.busy_share() * sample.seconds);
        let is_so = self.window.all(DECISION_SECONDS, waited) && busy_share < BUSY_SHARE;
        is_so.then(|| self.window.rate(DECISION_SECONDS, |sample| sample.rows_applied)).filter(|rows| *rows > 0.0)
    }

    /// Units have too little to do, though more waits than they can apply within a decision's time: whatever is on its way anyway is
    /// no backlog.
    fn is_starved(&self) -> bool {
        self.window.all(DECISION_SECONDS, |sample| {
            sample.units > 0 && sample.rows_waiting * sample.seconds > sample.rows_applied * DECISION_SECONDS
        })
    }

    /// Units for a task that follows its source.
    fn follow(&mut self, units: u32, last: &Sample) -> (u32, Reason) {
        let arriving = self.window.rate(ARRIVING_SECONDS, |sample| sample.rows_arrived);
        let within_seconds = self.objective.catch_up_seconds(last.lag_seconds);
        let caught_up = last.rows_waiting / within_seconds;
        let lasting = if self.objective.is_far(last.lag_seconds) { self.lasting(arriving) } else { arriving };
        // What arrives is believed in full once a second's worth of it waits.
        let proven = last.rows_waiting.min(lasting);
        let least_needed = lasting * LOWER_SHARE + proven * (1.0 - LOWER_SHARE) + caught_up;
        let kept_up = (self.held(arriving) * UPPER_SHARE).min(arriving * FALL_SHARE);
        let most_useful = kept_up + last.rows_waiting / DECISION_SECONDS;
        let (Some(lower), Some(upper)) = (self.units_for(least_needed), self.units_for(most_useful)) else {
            return (units.max(1), if units == 0 { Reason::Woken } else { Reason::Unmeasured });
        };
        let wanted = units.clamp(lower, upper.max(lower));
        let capacity = self.speed().capacity(units.max(1)).unwrap_or_default();
        let reason = match wanted.cmp(&units) {
            std::cmp::Ordering::Equal => {
                Reason::Steady { busy_share: self.window.rate(ARRIVING_SECONDS, |sample| sample.busy_share() * sample.seconds) }
            }
            std::cmp::Ordering::Less => Reason::LessArrives { needed: most_useful, capacity },
            std::cmp::Ordering::Greater if units == 0 && wanted == 1 => Reason::Woken,
            std::cmp::Ordering::Greater if lasting > caught_up => Reason::MoreArrives { arriving, capacity },
            std::cmp::Ordering::Greater => Reason::CatchUp { waiting: last.rows_waiting, lag_seconds: last.lag_seconds, within_seconds },
        };
        (wanted, reason)
    }

    /// The lower rate of the two halves of what `arriving` is the average of.
    fn lasting(&self, arriving: f64) -> f64 {
        let later = self.window.rate(DECISION_SECONDS, |sample| sample.rows_arrived);
        later.min(2.0 * arriving - later).max(0.0)
    }

    /// The highest of what arrives and arrived lately; nothing once nothing has arrived for a while.
    fn held(&mut self, arriving: f64) -> f64 {
        let now = self.now;
        if arriving == 0.0 {
            self.arrived.clear();
        }
        self.arrived.push_back(Arrived { at: now, rows: arriving });
        while self.arrived.front().is_some_and(|arrived| now - arrived.at > HELD_SECONDS) {
            self.arrived.pop_front();
        }
        self.arrived.iter().map(|arrived| arrived.rows).fold(arriving, f64::max)
    }

    /// Whole units, at least one.
    fn units_for(&self, rows: f64) -> Option<u32> {
        // The cast saturates; a hair above a whole unit is no reason for another one.
        self.speed().units_for(rows).map(|units| ((units - 1e-6).ceil() as u32).max(1))
    }

    /// Looks whether the units that were added last brought anything.
    fn judge_raise(&mut self, units: u32) {
        let Some(Raise { from, to, at }) = self.raise else {
            return;
        };
        if units != to || self.now - at > WINDOW_SECONDS {
            self.raise = None;
            return;
        }
        if self.now - at < DECISION_SECONDS {
            return;
        }
        if let Some(passed) = self.passed().filter(|_| self.is_starved()) {
            // What they would do if they had work is not known, and does not matter.
            let each = self.speed().per_unit().unwrap_or(passed);
            self.judge_gain(from, to, passed / each - f64::from(from), LimitedBy::Upstream);
            return;
        }
        let (Some(before), Some(after)) = (self.speed().trusted(from), self.speed().trusted(to)) else {
            return;
        };
        let held_back = self.window.rate(self.now - at, |sample| sample.conflict_seconds);
        let by = if held_back >= CONFLICT_SHARE * f64::from(to - from) { LimitedBy::Conflicts } else { LimitedBy::Target };
        let each_before = before / f64::from(from);
        self.judge_gain(from, to, (after - before) / each_before, by);
    }

    /// Sets a limit where the units that were added brought next to nothing: `gained_units` of those before them.
    fn judge_gain(&mut self, from: u32, to: u32, gained_units: f64, by: LimitedBy) {
        let gained_units = gained_units.max(0.0);
        let gained_share = gained_units / f64::from(to - from);
        self.raise = None;
        if gained_share < GAIN_MIN {
            // What a fraction of the added units brought is kept; a fraction below a fifth of one unit is noise.
            let units = from + (gained_units - GAIN_MIN).max(0.0).ceil() as u32;
            self.limit = Some(Limit { units, gained_share, until: self.now + self.limit_seconds, by });
            self.limit_seconds = (self.limit_seconds * 2.0).min(LIMIT_SECONDS_MAX);
        } else {
            self.limit_seconds = LIMIT_SECONDS;
        }
    }

    /// Takes back, and does not add, what the target would not take.
    fn within_target(&mut self, units: u32, wanted: u32, reason: Reason, throttled: bool) -> (u32, Reason) {
        if self.limit.is_some_and(|limit| limit.until <= self.now) {
            self.limit = None;
        }
        if let Some(Limit { units, gained_share, by, .. }) = self.limit.filter(|limit| wanted > limit.units) {
            let reason = match by {
                LimitedBy::Conflicts => Reason::ConflictsAreLimit { units, gained_share },
                LimitedBy::Upstream => Reason::UpstreamIsLimit { units, gained_share },
                LimitedBy::Target => Reason::TargetIsLimit { units, gained_share },
            };
            return (units, reason);
        }
        if throttled && wanted > units { (units, Reason::TargetThrottles) } else { (wanted, reason) }
    }

    fn plan(&mut self, units: u32, needed: u32, reason: Reason) -> Plan {
        let planned = needed.clamp(self.bounds.min(), self.bounds.max());
        let reason = if needed > planned { Reason::AtMaximum { needed } } else { reason };
        if planned > units && units > 0 {
            self.raise = Some(Raise { from: units, to: planned, at: self.now });
        }
        Plan { units: planned, needed, reason, forecast: self.forecast(planned), rates: self.rates() }
    }

    fn rates(&self) -> Rates {
        Rates {
            arriving: self.window.rate(ARRIVING_SECONDS, |sample| sample.rows_arrived),
            applied: self.window.rate(ARRIVING_SECONDS, |sample| sample.rows_applied),
            per_unit: self.speed().per_unit(),
            scaling_exponent: self.speed().exponent(),
            busy_share: self.window.rate(ARRIVING_SECONDS, |sample| sample.busy_share() * sample.seconds),
        }
    }
}

#[cfg(test)]
#[path = "planner_tests.rs"]
mod tests;
