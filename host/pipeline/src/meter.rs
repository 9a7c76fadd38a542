//! How long the stages of a run had work, for people and for the capacity plan; never for decisions about data.
//!
//! A stage that several lanes work in at once counts for each of them: two lanes that write for a second make two seconds.
//! What is under way counts up to now, so a statement that takes a minute shows while it runs.

use std::sync::Mutex;
use std::time::Instant;

/// A part of the way from source to target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// A lane has a chunk or a group in hand, whatever it does with it.
    Lane,
    /// Waiting for the source, reading and decoding; how much of it is decoding, the source's connector tells.
    Source,
    /// Putting changes into the cache.
    Store,
    /// Making groups: reading the cache, routing, net effect, transforming.
    Assemble,
    /// In modules, within `Assemble` for changes.
    Transform,
    /// A group is held back by what it has in common with groups before it.
    Conflict,
    /// Writing to the target and committing there.
    Target,
}

const STAGES: usize = 7;

/// Seconds for which the stages had work since the run began in this process; each lane counts.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct StageSeconds {
    /// Lanes had a chunk or a group in hand.
    pub lanes: f64,
    /// Waiting for the source and reading. An idle stream is waited for all the time.
    pub source: f64,
    /// Making changes and rows of what the source sent; of a load, as far as its lanes waited for it.
    pub decode: f64,
    /// Putting changes into the cache.
    pub store: f64,
    /// Making groups, without modules.
    pub assemble: f64,
    /// In modules.
    pub transform: f64,
    /// Groups that lanes could have written waited for groups before them, with which they have something in common.
    pub conflicts: f64,
    /// Writing to the target, without commits.
    pub write: f64,
    /// Commits of the stream in the target.
    pub commit: f64,
}

#[derive(Debug, Default)]
struct Clock {
    working: u32,
    seconds: f64,
    since: Option<Instant>,
}

impl Clock {
    /// Time until now, with `working` from now on.
    fn turn(&mut self, working: u32) -> f64 {
        let now = Instant::now();
        if let Some(since) = self.since.replace(now) {
            self.seconds += f64::from(self.working) * (now - since).as_secs_f64();
        }
        self.working = working;
        self.seconds
    }
}

/// Measures the stages.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    clocks: [Mutex<Clock>; STAGES],
}

impl Meter {
    /// The stage has work until the answer is dropped.
    pub(crate) fn enter(&self, stage: Stage) -> Working<'_> {
        self.change(stage, |working| working + 1);
        Working { meter: self, stage }
    }

    /// One of those who work in the stage waits for somebody else until the answer is dropped.
    pub(crate) fn pause(&self, stage: Stage) -> Paused<'_> {
        self.change(stage, |working| working.saturating_sub(1));
        Paused { meter: self, stage }
    }

    /// The stage has one worker more, until [`Meter::end`]: for those who cannot hold on to the meter.
    pub(crate) fn begin(&self, stage: Stage) {
        self.change(stage, |working| working + 1);
    }

    /// See [`Meter::begin`].
    pub(crate) fn end(&self, stage: Stage) {
        self.change(stage, |working| working.saturating_sub(1));
    }

    /// Seconds of a stage until now.
    pub(crate) fn seconds(&self, stage: Stage) -> f64 {
        self.change(stage, |working| working)
    }

    fn change(&self, stage: Stage, working: impl FnOnce(u32) -> u32) -> f64 {
        let mut clock = self.clocks[stage as usize].lock().expect("no holder of this lock panics");
        let working = working(clock.working);
        clock.turn(working)
    }
}

/// A stage has work while this lives.
#[derive(Debug)]
pub(crate) struct Working<'a> {
    meter: &'a Meter,
    stage: Stage,
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.meter.change(self.stage, |working| working.saturating_sub(1));
    }
}

/// A stage has one worker less while this lives.
#[derive(Debug)]
pub(crate) struct Paused<'a> {
    meter: &'a Meter,
    stage: Stage,
}

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        self.meter.change(self.stage, |working| working + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_lanes_count_twice_and_work_under_way_counts() {
        let meter = Meter::default();
        let (one, two) = (meter.enter(Stage::Lane), meter.enter(Stage::Lane));
        let since = Instant::now();
        while since.elapsed().as_millis() < 20 {}
        let both = meter.seconds(Stage::Lane);
        drop(two);
        assert!(both >= 0.038, "{both}");
        while meter.seconds(Stage::Lane) < both + 0.005 {}
        drop(one);
        let end = meter.seconds(Stage::Lane);
        assert_eq!(meter.seconds(Stage::Lane), end, "nobody works");
        assert_eq!(meter.seconds(Stage::Target), 0.0);
    }
}
