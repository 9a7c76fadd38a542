//! Which part of the way from source to target holds a task up.
//!
//! A stream has three workers in a row, capture (source, store), the assembler (assemble, transform) and the lane (write,
//! commit): the one that always has work is the limit, and when none has, the source is: it brings nothing faster. A lane of a
//! load does everything itself, so there the part with most of its time is the limit.

/// Seconds of work of each part in a second.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Work {
    /// Lanes had a chunk or a group in hand.
    pub lanes: f64,
    /// Waiting for the source, reading and decoding.
    pub source: f64,
    /// Putting changes into the cache.
    pub store: f64,
    /// Making groups, without modules.
    pub assemble: f64,
    /// In modules.
    pub transform: f64,
    /// Writing to the target.
    pub write: f64,
    /// Commits in the target.
    pub commit: f64,
}

/// A part of the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The source, its network and the decoding of its log.
    Source,
    /// The change cache.
    Store,
    /// Making groups.
    Assemble,
    /// Modules.
    Transform,
    /// Writing to the target.
    Write,
    /// Commits in the target.
    Commit,
}

/// A worker with work for this share of its time has no time left: measuring and waking take the rest.
const ALWAYS: f64 = 0.7;

impl Part {
    /// The part's word: `source`, `store`, `assemble`, `transform`, `write`, `commit`.
    pub fn name(self) -> &'static str {
        match self {
            Part::Source => "source",
            Part::Store => "store",
            Part::Assemble => "assemble",
            Part::Transform => "transform",
            Part::Write => "write",
            Part::Commit => "commit",
        }
    }

    /// True for what each unit has its own of. Capture and the making of groups are one for all units of a task.
    pub fn grows_with_units(self) -> bool {
        match self {
            Part::Transform | Part::Write | Part::Commit => true,
            Part::Source | Part::Store | Part::Assemble => false,
        }
    }

    /// The part that limits a stream which is behind.
    pub fn limiting_stream(work: &Work) -> Part {
        let larger = |one: (Part, f64), other: (Part, f64)| if other.1 > one.1 { other.0 } else { one.0 };
        let workers = [
            (Part::Store, work.store),
            (larger((Part::Assemble, work.assemble), (Part::Transform, work.transform)), work.assemble + work.transform),
            (larger((Part::Write, work.write), (Part::Commit, work.commit)), work.write + work.commit),
        ];
        let busiest = workers.into_iter().max_by(|one, other| one.1.total_cmp(&other.1));
        busiest.filter(|(_, share)| *share >= ALWAYS).map_or(Part::Source, |(part, _)| part)
    }

    /// The part that takes most of a load.
    pub fn limiting_load(work: &Work) -> Part {
        let parts = [(Part::Source, work.source), (Part::Transform, work.transform), (Part::Write, work.write + work.commit)];
        parts.into_iter().max_by(|one, other| one.1.total_cmp(&other.1)).map_or(Part::Source, |(part, _)| part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worker_without_a_pause_limits_a_stream() {
        let idle = Work { source: 0.9, store: 0.1, ..Work::default() };
        assert_eq!(Part::limiting_stream(&idle), Part::Source);
        let slow_commits = Work { lanes: 0.95, write: 0.2, commit: 0.75, assemble: 0.3, ..idle };
        assert_eq!(Part::limiting_stream(&slow_commits), Part::Commit);
        let slow_module = Work { transform: 0.9, assemble: 0.05, write: 0.3, lanes: 0.3, ..idle };
        assert_eq!(Part::limiting_stream(&slow_module), Part::Transform);
        assert!(!Part::limiting_stream(&Work { store: 0.8, ..Work::default() }).grows_with_units());
    }

    #[test]
    fn the_part_with_most_time_limits_a_load() {
        let work = Work { lanes: 4.0, source: 1.0, transform: 0.5, write: 2.5, ..Work::default() };
        assert_eq!(Part::limiting_load(&work), Part::Write);
        assert_eq!(Part::limiting_load(&Work { source: 3.0, ..work }), Part::Source);
    }
}
