//! What a unit is, and between how many a task runs.

use std::fmt;

/// Change memory of one unit, in bytes. A guess that keeps 16 units within a gibibyte.
pub const UNIT_CACHE_BYTES: u64 = 64 << 20;

/// Most units that a task may ask for; what a node has is less.
pub const UNITS_MAX: u32 = 1_024;

/// Between how many units a task runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UnitBounds {
    min: u32,
    max: u32,
}

/// Bounds that make no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BoundsError {
    /// The lower bound is above the upper one.
    Crossed {
        /// The lower bound found.
        min: u32,
        /// The upper bound found.
        max: u32,
    },
    /// The upper bound is outside what a task may ask for.
    OutOfRange {
        /// The upper bound found.
        max: u32,
    },
}

impl fmt::Display for BoundsError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BoundsError::Crossed { min, max } => write!(out, "the least units are {min}, wanted at most the most units, {max}"),
            BoundsError::OutOfRange { max } => {
                write!(out, "the most units are {max}, wanted 1 to {UNITS_MAX}")
            }
        }
    }
}

impl std::error::Error for BoundsError {}

impl UnitBounds {
    /// Bounds of a task; 0 is allowed as the lower one.
    ///
    /// # Errors
    /// [`BoundsError`] when they are crossed or the upper one is outside 1 to [`UNITS_MAX`].
    pub fn new(min: u32, max: u32) -> Result<Self, BoundsError> {
        if max == 0 || max > UNITS_MAX {
            return Err(BoundsError::OutOfRange { max });
        }
        if min > max {
            return Err(BoundsError::Crossed { min, max });
        }
        Ok(Self { min, max })
    }

    /// The fewest units.
    pub fn min(&self) -> u32 {
        self.min
    }

    /// The most units.
    pub fn max(&self) -> u32 {
        self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_that_make_no_sense_are_refused() {
        assert_eq!(UnitBounds::new(2, 1), Err(BoundsError::Crossed { min: 2, max: 1 }));
        assert_eq!(UnitBounds::new(0, 0), Err(BoundsError::OutOfRange { max: 0 }));
        assert_eq!(UnitBounds::new(0, UNITS_MAX + 1), Err(BoundsError::OutOfRange { max: UNITS_MAX + 1 }));
    }
}
