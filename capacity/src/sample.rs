//! What was measured of a task, and the last minute of it.

use std::collections::VecDeque;

/// What a task did in one interval, as measured.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Sample {
    /// Length of the interval, seconds.
    pub seconds: f64,
    /// Units that worked in it.
    pub units: u32,
    /// Rows that were captured in it.
    pub rows_arrived: f64,
    /// Rows that became durable in the target in it.
    pub rows_applied: f64,
    /// Rows that waited at its end.
    pub rows_waiting: f64,
    /// Age of the oldest row that waited at its end, seconds.
    pub lag_seconds: f64,
    /// Time for which lanes had work, summed over the units' lanes: 0 to `units` times `seconds`.
    pub busy_seconds: f64,
    /// The part of `busy_seconds` in which groups waited for others, with which they have something in common.
    pub conflict_seconds: f64,
    /// Bytes on disk at its end of changes that memory had no room for.
    pub bytes_on_disk: u64,
    /// Chunks that a full load has not copied yet; 0 when none runs.
    pub chunks_left: u32,
    /// The target itself said that it must not be given more.
    pub throttled: bool,
}

impl Sample {
    /// True when there was anything to do.
    pub fn active(&self) -> bool {
        self.rows_arrived > 0.0 || self.rows_applied > 0.0 || self.rows_waiting > 0.0 || self.chunks_left > 0
    }

    /// Share of the lanes' time in which they had work, 0 to 1; 0 without lanes.
    pub fn busy_share(&self) -> f64 {
        let lane_seconds = f64::from(self.units) * self.seconds;
        if lane_seconds > 0.0 { (self.busy_seconds / lane_seconds).clamp(0.0, 1.0) } else { 0.0 }
    }

    /// Figures that are no numbers, or negative, count as 0: a clock that jumps must not steer anything.
    pub(crate) fn sane(mut self) -> Self {
        for figure in [
            &mut self.seconds,
            &mut self.rows_arrived,
            &mut self.rows_applied,
            &mut self.rows_waiting,
            &mut self.lag_seconds,
            &mut self.busy_seconds,
            &mut self.conflict_seconds,
        ] {
            if !(figure.is_finite() && *figure > 0.0) {
                *figure = 0.0;
            }
        }
        self
    }
}

/// The last samples, up to a length in time.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    samples: VecDeque<Sample>,
    seconds_max: f64,
}

impl Window {
    pub(crate) fn new(seconds_max: f64) -> Self {
        Self { samples: VecDeque::new(), seconds_max }
    }

    pub(crate) fn push(&mut self, sample: Sample) {
        self.samples.push_back(sample);
        let mut seconds: f64 = self.samples.iter().map(|sample| sample.seconds).sum();
        // Samples without a length would never leave by time.
        while self.samples.len() > 1 && (seconds > self.seconds_max || self.samples.len() > 1_000) {
            seconds -= self.samples.pop_front().map_or(0.0, |sample| sample.seconds);
        }
    }

    pub(crate) fn last(&self) -> Option<&Sample> {
        self.samples.back()
    }

    /// True when the last `seconds` are covered and every sample of them is so.
    pub(crate) fn all(&self, seconds: f64, is_so: impl Fn(&Sample) -> bool) -> bool {
        let mut covered = 0.0;
        for sample in self.samples.iter().rev() {
            if !is_so(sample) {
                return false;
            }
            covered += sample.seconds;
            if covered >= seconds {
                return true;
            }
        }
        false
    }

    /// A figure per second over the last `seconds`; 0 without samples.
    pub(crate) fn rate(&self, seconds: f64, figure: impl Fn(&Sample) -> f64) -> f64 {
        let (mut sum, mut covered) = (0.0, 0.0);
        for sample in self.samples.iter().rev() {
            if covered >= seconds {
                break;
            }
            covered += sample.seconds;
            sum += figure(sample);
        }
        if covered > 0.0 { sum / covered } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrived(rows_arrived: f64) -> Sample {
        Sample { seconds: 1.0, rows_arrived, ..Sample::default() }
    }

    #[test]
    fn a_window_keeps_the_last_seconds() {
        let mut window = Window::new(3.0);
        (1..=5).for_each(|rows| window.push(arrived(f64::from(rows))));
        assert_eq!(window.rate(60.0, |sample| sample.rows_arrived), 4.0);
        assert_eq!(window.rate(2.0, |sample| sample.rows_arrived), 4.5);
    }

    #[test]
    fn figures_that_are_no_numbers_count_as_nothing() {
        let sample = Sample { seconds: f64::NAN, rows_arrived: f64::INFINITY, rows_waiting: -1.0, ..Sample::default() }.sane();
        assert_eq!(sample, Sample::default());
    }
}
