//! What a module has used: the figures that tenants see and pay by.

use std::time::Duration;

/// What the sandboxes of one module have used for one task. Totals only rise, over replaced instances too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Calls of `transform`, failed ones too.
    pub batches: u64,
    /// Row images in them.
    pub rows: u64,
    /// Row images that the module did not keep.
    pub rows_dropped: u64,
    /// Row images for which the module returned an error.
    pub rows_rejected: u64,
    /// Bytes of values given to the module.
    pub input_bytes: u64,
    /// Bytes of values taken from it.
    pub output_bytes: u64,
    /// CPU time of the calling threads in all calls: the unit that tenants are charged in.
    pub cpu: Duration,
    /// Fuel used in all calls; `None` unless the engine meters it.
    pub fuel: Option<u64>,
    /// Linear memory held now.
    pub memory_bytes: usize,
    /// The most linear memory that one instance has held.
    pub memory_bytes_peak: usize,
    /// Instances started.
    pub instances: u64,
    /// Calls that ended an instance: traps, limits, cancellations.
    pub failures: u64,
}

impl Usage {
    /// What was used after `earlier`, a value of the same sandbox. Memory is as it is now.
    #[must_use]
    pub fn since(&self, earlier: &Usage) -> Usage {
        Usage {
            batches: self.batches.saturating_sub(earlier.batches),
            rows: self.rows.saturating_sub(earlier.rows),
            rows_dropped: self.rows_dropped.saturating_sub(earlier.rows_dropped),
            rows_rejected: self.rows_rejected.saturating_sub(earlier.rows_rejected),
            input_bytes: self.input_bytes.saturating_sub(earlier.input_bytes),
            output_bytes: self.output_bytes.saturating_sub(earlier.output_bytes),
            cpu: self.cpu.saturating_sub(earlier.cpu),
            fuel: self.fuel.map(|fuel| fuel.saturating_sub(earlier.fuel.unwrap_or(0))),
            memory_bytes: self.memory_bytes,
            memory_bytes_peak: self.memory_bytes_peak,
            instances: self.instances.saturating_sub(earlier.instances),
            failures: self.failures.saturating_sub(earlier.failures),
        }
    }

    /// Adds the use of another sandbox of the same module and task. Memory held adds up; a peak is one instance's.
    pub fn add(&mut self, other: &Usage) {
        self.batches += other.batches;
        self.rows += other.rows;
        self.rows_dropped += other.rows_dropped;
        self.rows_rejected += other.rows_rejected;
        self.input_bytes += other.input_bytes;
        self.output_bytes += other.output_bytes;
        self.cpu += other.cpu;
        self.fuel = match (self.fuel, other.fuel) {
            (None, None) => None,
            (one, two) => Some(one.unwrap_or(0) + two.unwrap_or(0)),
        };
        self.memory_bytes += other.memory_bytes;
        self.memory_bytes_peak = self.memory_bytes_peak.max(other.memory_bytes_peak);
        self.instances += other.instances;
        self.failures += other.failures;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn use_of_two_sandboxes_adds_up_and_can_be_told_apart() {
        let one = Usage { batches: 2, rows: 20, fuel: Some(5), memory_bytes: 7, memory_bytes_peak: 9, instances: 1, ..Usage::default() };
        let mut both = Usage { rows: 1, memory_bytes_peak: 4, ..Usage::default() };
        both.add(&one);
        assert_eq!((both.rows, both.fuel, both.memory_bytes, both.memory_bytes_peak), (21, Some(5), 7, 9));
        let more = Usage { rows: 50, fuel: Some(8), ..one };
        assert_eq!((more.since(&one).rows, more.since(&one).fuel, more.since(&one).batches), (30, Some(3), 0));
    }
}
