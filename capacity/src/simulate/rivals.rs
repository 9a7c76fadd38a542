//! The policies to compare with.

use super::{Outcome, Sample, Strategy, Trace, World, run};
use crate::{UNIT_CACHE_BYTES, UnitBounds};

/// The same units all the time.
pub(super) struct Fixed(pub(super) u32);

impl Fixed {
    /// The fewest units that are over the objective for no longer than the task's most units are.
    pub(super) fn at_peak(trace: &Trace, world: &World) -> u32 {
        let over = |units: u32| {
            let Outcome { seconds_over, .. } = run("", trace, world, &mut Fixed(units));
            seconds_over
        };
        let (mut too_few, mut enough) = (0, world.bounds.max());
        let least = over(enough);
        while enough - too_few > 1 {
            let middle = too_few + (enough - too_few) / 2;
            *(if over(middle) <= least { &mut enough } else { &mut too_few }) = middle;
        }
        enough
    }
}

impl Strategy for Fixed {
    fn observe(&mut self, _: &Sample) {}

    fn decide(&mut self, _: u32) -> u32 {
        self.0
    }

    fn interval(&self) -> usize {
        usize::MAX
    }

    fn first(&self) -> u32 {
        self.0
    }
}

/// A schedule that was made beforehand, in decisions.
pub(super) struct Scheduled {
    units: std::vec::IntoIter<u32>,
}

impl Scheduled {
    pub(super) fn new(units: Vec<u32>) -> Self {
        Self { units: units.into_iter() }
    }
}

impl Strategy for Scheduled {
    fn observe(&mut self, _: &Sample) {}

    fn decide(&mut self, units: u32) -> u32 {
        self.units.next().unwrap_or(units)
    }

    fn interval(&self) -> usize {
        crate::DECISION_SECONDS as usize
    }

    fn first(&self) -> u32 {
        0
    }
}

/// The defaults of the horizontal pod autoscaler (Kubernetes' documentation, "Horizontal Pod Autoscaling"): every 15 s
/// the ratio of use to a wanted use, here 80 % busy; ratios within 10 % of 1 change nothing; up to twice as many, or four more, at
/// a time; down to the highest number wanted in the last 300 s; never below 1.
pub(super) struct Threshold {
    bounds: UnitBounds,
    busy: Vec<f64>,
    wanted: std::collections::VecDeque<u32>,
}

impl Threshold {
    const INTERVAL: usize = 15;
    const STABILISATION: usize = 300;
    const BUSY_WANTED: f64 = 0.8;
    const TOLERANCE: f64 = 0.1;

    pub(super) fn new(bounds: UnitBounds) -> Self {
        Self { bounds, busy: Vec::new(), wanted: std::collections::VecDeque::new() }
    }
}

impl Strategy for Threshold {
    fn observe(&mut self, sample: &Sample) {
        self.busy.push(sample.busy_share());
    }

    fn decide(&mut self, units: u32) -> u32 {
        let busy = self.busy.iter().sum::<f64>() / self.busy.len().max(1) as f64;
        self.busy.clear();
        let ratio = busy / Self::BUSY_WANTED;
        let wanted = if (ratio - 1.0).abs() <= Self::TOLERANCE { units } else { (f64::from(units) * ratio).ceil() as u32 };
        let wanted = wanted.min((units * 2).max(units + 4)).clamp(self.bounds.min().max(1), self.bounds.max());
        self.wanted.push_back(wanted);
        if self.wanted.len() > Self::STABILISATION / Self::INTERVAL {
            self.wanted.pop_front();
        }
        let held = self.wanted.iter().copied().max().unwrap_or(wanted);
        if wanted < units { held.min(units) } else { wanted }
    }

    fn interval(&self) -> usize {
        Self::INTERVAL
    }

    fn first(&self) -> u32 {
        self.bounds.min().max(1)
    }
}

/// What is known of DMS Serverless: memory alone counts, sizes double and halve, it shrinks after about an hour of little
/// use, and never to zero. The thresholds, 80 % and 40 % of the units' change memory, are guesses.
pub(super) struct MemorySteps {
    bounds: UnitBounds,
    used: f64,
    low_seconds: u32,
}

impl MemorySteps {
    const INTERVAL: usize = 60;
    const COOLING_SECONDS: u32 = 3_600;

    pub(super) fn new(bounds: UnitBounds) -> Self {
        Self { bounds, used: 0.0, low_seconds: 0 }
    }
}

impl Strategy for MemorySteps {
    fn observe(&mut self, sample: &Sample) {
        // The world's rows of 500 bytes, as their number is what a sample tells.
        let memory = f64::from(sample.units.max(1)) * UNIT_CACHE_BYTES as f64;
        self.used = sample.rows_waiting * 500.0 / memory;
        self.low_seconds = if self.used < 0.4 { self.low_seconds + 1 } else { 0 };
    }

    fn decide(&mut self, units: u32) -> u32 {
        let wanted = if self.used > 0.8 {
            units * 2
        } else if self.low_seconds >= Self::COOLING_SECONDS {
            self.low_seconds = 0;
            units / 2
        } else {
            units
        };
        wanted.clamp(self.bounds.min().max(1), self.bounds.max())
    }

    fn interval(&self) -> usize {
        Self::INTERVAL
    }

    fn first(&self) -> u32 {
        self.bounds.min().max(1)
    }
}
