//! What a decision says: how many units, why, and what will come of it.

use std::fmt;

/// Why a task should have the units that its plan says. Rates are rows a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reason {
    /// Nothing is measured yet.
    Unmeasured,
    /// Nothing changed for a while.
    Idle {
        /// For how long, seconds.
        seconds: f64,
    },
    /// The first change after an idle time.
    Woken,
    /// A full load takes a unit for each chunk that is left.
    FullLoad {
        /// Chunks that are not copied yet.
        chunks_left: u32,
    },
    /// More arrives than the units can apply.
    MoreArrives {
        /// Rows arriving a second.
        arriving: f64,
        /// Rows that the units so far apply a second.
        capacity: f64,
    },
    /// What waits must be applied within a time.
    CatchUp {
        /// Rows that wait.
        waiting: f64,
        /// Age of the oldest, seconds.
        lag_seconds: f64,
        /// Time in which they should be applied, seconds.
        within_seconds: f64,
    },
    /// Waiting changes go to disk, more and more: a further unit brings memory.
    MemoryPressure {
        /// Bytes on disk.
        bytes_on_disk: u64,
    },
    /// The last units that were added brought next to nothing: they are taken back, and none are added for a while.
    TargetIsLimit {
        /// Units beyond which the target takes no more.
        units: u32,
        /// What each added unit brought, as a share of what the ones before it bring.
        gained_share: f64,
    },
    /// The last units that were added waited for the others, whose rows theirs share: as for `TargetIsLimit`.
    ConflictsAreLimit {
        /// Units beyond which groups only wait for each other.
        units: u32,
        /// What each added unit brought, as a share of what the ones before it bring.
        gained_share: f64,
    },
    /// The last units that were added had too little to do, while changes waited to be put into groups or to go through modules:
    /// as for `TargetIsLimit`.
    UpstreamIsLimit {
        /// Units beyond which there is nothing to do.
        units: u32,
        /// What each added unit brought, as a share of what the ones before it bring.
        gained_share: f64,
    },
    /// The target itself asked to be given less.
    TargetThrottles,
    /// Less arrives than the units can apply, for long enough.
    LessArrives {
        /// Rows a second that must be kept up with.
        needed: f64,
        /// Rows that the units so far apply a second.
        capacity: f64,
    },
    /// More units would help, and the task may not have them.
    AtMaximum {
        /// Units that would meet the objective.
        needed: u32,
    },
    /// The units fit.
    Steady {
        /// Share of the units' time in which they have work, 0 to 1.
        busy_share: f64,
    },
}

impl Reason {
    /// One word for each kind, for labels of metrics.
    pub const KINDS: [&'static str; 14] = [
        "unmeasured",
        "idle",
        "woken",
        "full-load",
        "more-arrives",
        "catch-up",
        "memory-pressure",
        "target-is-limit",
        "conflicts-are-limit",
        "upstream-is-limit",
        "target-throttles",
        "less-arrives",
        "at-maximum",
        "steady",
    ];

    /// The word of this kind, one of [`Reason::KINDS`].
    pub fn kind(&self) -> &'static str {
        let index = match self {
            Reason::Unmeasured => 0,
            Reason::Idle { .. } => 1,
            Reason::Woken => 2,
            Reason::FullLoad { .. } => 3,
            Reason::MoreArrives { .. } => 4,
            Reason::CatchUp { .. } => 5,
            Reason::MemoryPressure { .. } => 6,
            Reason::TargetIsLimit { .. } => 7,
            Reason::ConflictsAreLimit { .. } => 8,
            Reason::UpstreamIsLimit { .. } => 9,
            Reason::TargetThrottles => 10,
            Reason::LessArrives { .. } => 11,
            Reason::AtMaximum { .. } => 12,
            Reason::Steady { .. } => 13,
        };
        Self::KINDS[index]
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Unmeasured => write!(out, "nothing is measured yet"),
            Reason::Idle { seconds } => write!(out, "nothing changed for {seconds:.0} s"),
            Reason::Woken => write!(out, "the first change after an idle time"),
            Reason::FullLoad { chunks_left } => {
                write!(out, "a full load has {chunks_left} chunks left")
            }
            Reason::MoreArrives { arriving, capacity } => {
                write!(out, "{arriving:.0} rows/s arrive, the units apply {capacity:.0} rows/s")
            }
            Reason::CatchUp { waiting, lag_seconds, within_seconds } => {
                write!(out, "{waiting:.0} rows wait, the oldest for {lag_seconds:.0} s; to be applied within {within_seconds:.0} s")
            }
            Reason::MemoryPressure { bytes_on_disk } => write!(out, "{bytes_on_disk} bytes of changes wait on disk, and more come"),
            Reason::TargetIsLimit { units, gained_share } => {
                write!(out, "the target is the limit: units beyond {units} brought {:.0} % of what the others do", gained_share * 100.0)
            }
            Reason::ConflictsAreLimit { units, gained_share } => write!(
                out,
                "changes of the same rows take turns: units beyond {units} waited for the others and brought {:.0} % of what those do",
                gained_share * 100.0
            ),
            Reason::UpstreamIsLimit { units, gained_share } => write!(
                out,
                "what hands changes over (groups, modules) is the limit: units beyond {units} had too little to do and brought {:.0} % of \
                 what the others do",
                gained_share * 100.0
            ),
            Reason::TargetThrottles => write!(out, "the target asks to be given less"),
            Reason::LessArrives { needed, capacity } => {
                write!(out, "{needed:.0} rows/s must be applied, the units apply {capacity:.0} rows/s")
            }
            Reason::AtMaximum { needed } => write!(out, "the objective needs {needed} units, more than the task may have"),
            Reason::Steady { busy_share } => write!(out, "the units are busy for {:.0} % of their time", busy_share * 100.0),
        }
    }
}

/// What will come of a number of units if what arrives stays as it is. `None`: never, or nothing is measured yet.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Forecast {
    /// Seconds until the lag is within the objective; 0 when it is.
    pub objective_seconds: Option<f64>,
    /// Seconds until nothing waits; 0 when nothing does.
    pub level_seconds: Option<f64>,
}

/// What is known of a task's speed. Rows a second.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Rates {
    /// Arriving.
    pub arriving: f64,
    /// Applied.
    pub applied: f64,
    /// What one of the units applies while it has work; `None` before any had.
    pub per_unit: Option<f64>,
    /// How units add up: twice the units do 2 to the power of this as much. 1: twice; 0: no more than before.
    pub scaling_exponent: f64,
    /// Share of the units' time in which they had work, 0 to 1.
    pub busy_share: f64,
}

/// A decision.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plan {
    /// Units that the task should have, within its bounds.
    pub units: u32,
    /// Units that would meet the objective if there were no upper bound.
    pub needed: u32,
    /// Why.
    pub reason: Reason,
    /// What comes of it if the units are granted.
    pub forecast: Forecast,
    /// What it was decided from.
    pub rates: Rates,
}
