//! Which part of the way from source to target holds a task up.
//!
//! A stream has three workers in a row: capture (source, store), the assembler (assemble, transform) and the lane (write,
//! commit). What is captured and waits can only wait for the assembler or the lane, so the busier of them is the limit. Where
//! nothing waits, capture is: its store when that has work all the time, the source otherwise. A lane of a load does
//! everything itself, so there the part with most of its time is the limit.

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

    /// The part that limits a stream which is behind; `waits`: something is captured and not applied.
    pub fn limiting_stream(work: &Work, waits: bool) -> Part {
        let larger = |one: (Part, f64), other: (Part, f64)| if other.1 > one.1 { other.0 } else { one.0 };
        if !waits {
            return if work.store >= ALWAYS { Part::Store } else { Part::Source };
        }
        if work.assemble + work.transform > work.write + work.commit {
            larger((Part::Assemble, work.assemble), (Part::Transform, work.transform))
        } else {
            larger((Part::Write, work.write), (Part::Commit, work.commit))
        }
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
    fn what_waits_waits_for_the_busier_of_assembler_and_lane() {
        // Half a minute of trouble after half a quiet one: nobody was busy all the time.
        let slow_commits = Work { lanes: 0.5, source: 0.9, store: 0.1, assemble: 0.2, write: 0.1, commit: 0.4, ..Work::default() };
        assert_eq!(Part::limiting_stream(&slow_commits, true), Part::Commit);
        let slow_module = Work { transform: 0.9, assemble: 0.05, write: 0.3, lanes: 0.3, ..Work::default() };
        assert_eq!(Part::limiting_stream(&slow_module, true), Part::Transform);
        assert!(!Part::limiting_stream(&Work { assemble: 0.8, ..Work::default() }, true).grows_with_units());
    }

    #[test]
    fn where_nothing_waits_capture_is_the_limit() {
        let work = Work { source: 0.9, store: 0.1, write: 0.4, ..Work::default() };
        assert_eq!(Part::limiting_stream(&work, false), Part::Source);
        assert_eq!(Part::limiting_stream(&Work { source: 0.1, store: 0.9, ..work }, false), Part::Store);
    }

    #[test]
    fn the_part_with_most_time_limits_a_load() {
        let work = Work { lanes: 4.0, source: 1.0, transform: 0.5, write: 2.5, ..Work::default() };
        assert_eq!(Part::limiting_load(&work), Part::Write);
        assert_eq!(Part::limiting_load(&Work { source: 3.0, ..work }), Part::Source);
    }
}
