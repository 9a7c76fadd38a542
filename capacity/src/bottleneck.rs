//! Which part of the way from source to target holds a task up.
//!
//! A stream has three workers in a row: capture (source, decode, store), the assembler (assemble, transform) and the lanes
//! (conflicts, write, commit). What is captured and waits can only wait for the assembler or the lanes, so the busier of
//! them is the limit. Where lanes wait for each other about as long as they write, what their groups have in common limits
//! them: a further lane would wait as well. Where nothing waits, capture is the limit: its store or its decoding when that
//! has work all the time, the source otherwise. A lane of a load does everything itself, so there the part with most of its
//! time is the limit.

/// Seconds of work of each part in a second.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Work {
    /// Units that may work; 0 counts as one.
    pub units: f64,
    /// Lanes had a chunk or a group in hand.
    pub lanes: f64,
    /// Waiting for the source and reading.
    pub source: f64,
    /// Making changes and rows of what the source sent.
    pub decode: f64,
    /// Putting changes into the cache.
    pub store: f64,
    /// Making groups, without modules.
    pub assemble: f64,
    /// In modules.
    pub transform: f64,
    /// Groups waited for groups before them, with which they have something in common.
    pub conflicts: f64,
    /// Writing to the target.
    pub write: f64,
    /// Commits in the target.
    pub commit: f64,
}

/// A part of the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The source and its network.
    Source,
    /// Making changes and rows of what the source sent.
    Decode,
    /// The change cache.
    Store,
    /// Making groups.
    Assemble,
    /// Modules.
    Transform,
    /// What groups have in common: they take turns.
    Conflicts,
    /// Writing to the target.
    Write,
    /// Commits in the target.
    Commit,
}

/// A worker with work for this share of its time has no time left: measuring and waking take the rest.
const ALWAYS: f64 = 0.7;

/// Lanes that wait for each other for this share of the time in which they write and commit are held up by that: of two
/// whose groups all meet, one waits nearly as long as the other works.
const HELD_BACK: f64 = 0.7;

impl Part {
    /// The part's word: `source`, `decode`, `store`, `assemble`, `transform`, `conflicts`, `write`, `commit`.
    pub fn name(self) -> &'static str {
        match self {
            Part::Source => "source",
            Part::Decode => "decode",
            Part::Store => "store",
            Part::Assemble => "assemble",
            Part::Transform => "transform",
            Part::Conflicts => "conflicts",
            Part::Write => "write",
            Part::Commit => "commit",
        }
    }

    /// True for what each unit has its own of. Capture and the making of groups are one for all units of a task; groups that
    /// take turns do so on any number of lanes.
    pub fn grows_with_units(self) -> bool {
        match self {
            Part::Transform | Part::Write | Part::Commit => true,
            Part::Source | Part::Decode | Part::Store | Part::Assemble | Part::Conflicts => false,
        }
    }

    /// The part that limits a stream which is behind; `waits`: something is captured and not applied.
    pub fn limiting_stream(work: &Work, waits: bool) -> Part {
        let larger = |one: (Part, f64), other: (Part, f64)| if other.1 > one.1 { other.0 } else { one.0 };
        if !waits {
            let always = [(Part::Store, work.store), (Part::Decode, work.decode)].into_iter().find(|(_, work)| *work >= ALWAYS);
            return always.map_or(Part::Source, |(part, _)| part);
        }
        let (assembler, lanes) = (work.assemble + work.transform, work.write + work.commit);
        // Several lanes have more work together than the one assembler, who may have no time left all the same.
        if assembler > lanes || (assembler >= ALWAYS && assembler > (lanes + work.conflicts) / work.units.max(1.0)) {
            larger((Part::Assemble, work.assemble), (Part::Transform, work.transform))
        } else if work.conflicts > HELD_BACK * lanes {
            Part::Conflicts
        } else {
            larger((Part::Write, work.write), (Part::Commit, work.commit))
        }
    }

    /// The part that takes most of a load.
    pub fn limiting_load(work: &Work) -> Part {
        let parts = [
            (Part::Source, work.source),
            (Part::Decode, work.decode),
            (Part::Transform, work.transform),
            (Part::Write, work.write + work.commit),
        ];
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
        assert_eq!(Part::limiting_stream(&Work { source: 0.1, decode: 0.8, store: 0.1, ..work }, false), Part::Decode);
    }

    #[test]
    fn lanes_that_wait_for_each_other_are_held_up_by_what_they_have_in_common() {
        let work = Work { assemble: 0.2, write: 0.8, commit: 0.1, conflicts: 2.5, ..Work::default() };
        assert_eq!(Part::limiting_stream(&work, true), Part::Conflicts);
        assert!(!Part::Conflicts.grows_with_units());
        // Three of four lanes write all the time: a further one would too.
        assert_eq!(Part::limiting_stream(&Work { write: 2.8, conflicts: 0.9, ..work }, true), Part::Write);
        // The assembler does not keep up with four lanes that work half of their time.
        let module = Work { units: 4.0, transform: 0.9, write: 1.8, commit: 0.2, ..Work::default() };
        assert_eq!(Part::limiting_stream(&module, true), Part::Transform);
        assert_eq!(Part::limiting_stream(&Work { write: 3.7, ..module }, true), Part::Write);
        // Nor with lanes that mostly wait.
        assert_eq!(Part::limiting_stream(&Work { assemble: 0.9, write: 0.5, conflicts: 0.6, ..work }, true), Part::Assemble);
    }

    #[test]
    fn the_part_with_most_time_limits_a_load() {
        let work = Work { lanes: 4.0, source: 1.0, transform: 0.5, write: 2.5, ..Work::default() };
        assert_eq!(Part::limiting_load(&work), Part::Write);
        assert_eq!(Part::limiting_load(&Work { source: 3.0, ..work }), Part::Source);
    }
}
