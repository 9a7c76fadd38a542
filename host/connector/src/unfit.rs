//! Values that a source may hold and a target's type may not: which there are, and what a task wants of them.
//!
//! Every connector asks here and nowhere else: what is none of these kinds, or stands where the task wants an error, is
//! refused by name. No such value ever becomes another one.

use tidegate_model::ValueFault;

/// A kind of value without a place in some types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unfit {
    /// `0000-00-00` and other dates of MySQL and MariaDB whose day, month or year is zero or that no calendar has.
    ZeroDate,
    /// NaN and the infinities of numbers and floats.
    NotFinite,
    /// Infinite dates and timestamps, and those outside of the target's range.
    Moment,
    /// What the source has and nobody can read. No setting makes NULL of it.
    Unread(ValueFault),
}

impl Unfit {
    /// What was found, for messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Unfit::ZeroDate => "a zero date",
            Unfit::NotFinite => "NaN or an infinity",
            Unfit::Moment => "a date or timestamp that is infinite or out of range",
            Unfit::Unread(fault) => fault.as_str(),
        }
    }

    /// The stable code of the refusal.
    pub fn code(self) -> &'static str {
        match self {
            Unfit::ZeroDate => "zero_date",
            Unfit::NotFinite | Unfit::Moment => "value_refused",
            Unfit::Unread(fault) => fault.code(),
        }
    }

    /// What the user can do about it.
    pub fn hint(self) -> &'static str {
        match self {
            Unfit::ZeroDate => {
                "correct the value at the source and reload the table, or let it be NULL: settings.unfit_values.zero_dates \"null\""
            }
            Unfit::NotFinite => {
                "correct the value at the source and reload the table, or let it be NULL: settings.unfit_values.not_finite \"null\""
            }
            Unfit::Moment => {
                "correct the value at the source and reload the table, or let it be NULL: settings.unfit_values.moments \"null\""
            }
            Unfit::Unread(ValueFault::EnumEmpty) => "give the row one of the enumeration's labels at the source and reload the table",
            Unfit::Unread(ValueFault::CharsetBytes) => {
                "correct the value at the source, or take the column out with a remove-column rule, and reload the table"
            }
        }
    }
}

/// What the target gets in place of such a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum UnfitAction {
    /// Nothing: the row is at fault.
    #[default]
    Error,
    /// NULL, except in what identifies the row.
    Null,
}

/// [`UnfitAction`] by kind. The default refuses all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct UnfitPolicy {
    /// For [`Unfit::ZeroDate`].
    pub zero_dates: UnfitAction,
    /// For [`Unfit::NotFinite`].
    pub not_finite: UnfitAction,
    /// For [`Unfit::Moment`].
    pub moments: UnfitAction,
}

impl UnfitPolicy {
    /// True when the target is to get NULL.
    pub fn is_null(&self, found: Unfit) -> bool {
        let action = match found {
            Unfit::ZeroDate => self.zero_dates,
            Unfit::NotFinite => self.not_finite,
            Unfit::Moment => self.moments,
            Unfit::Unread(_) => UnfitAction::Error,
        };
        action == UnfitAction::Null
    }
}
