//! Kinds of objects, in the order in which they are built.

/// The words and codes are those of the other targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Sequence,
    Collation,
    Generated,
    Attribute,
    Default,
    Comment,
    Check,
    Index,
    Unique,
    /// Behind indexes: a column that counts needs one.
    Counter,
    ForeignKey,
}

impl Kind {
    pub(crate) const ALL: [Kind; 11] = [
        Kind::Sequence,
        Kind::Collation,
        Kind::Generated,
        Kind::Attribute,
        Kind::Default,
        Kind::Comment,
        Kind::Check,
        Kind::Index,
        Kind::Unique,
        Kind::Counter,
        Kind::ForeignKey,
    ];

    /// As people read it, and as records have it.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Kind::Sequence => "sequence",
            Kind::Collation => "collation of column",
            Kind::Generated => "generated column",
            Kind::Attribute => "attribute of column",
            Kind::Default => "default of column",
            Kind::Comment => "comment of",
            Kind::Check => "check constraint",
            Kind::Index => "index",
            Kind::Unique => "unique index",
            Kind::Counter => "counter of column",
            Kind::ForeignKey => "foreign key",
        }
    }

    /// The finding's code when one is not carried.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Kind::Sequence => "sequence_not_carried",
            Kind::Collation => "collation_not_carried",
            Kind::Generated => "generated_columns",
            Kind::Attribute => "object_not_carried",
            Kind::Default => "default_not_carried",
            Kind::Comment => "comment_not_carried",
            Kind::Check => "check_not_carried",
            Kind::Index | Kind::Unique => "index_not_carried",
            Kind::Counter => "counter_not_carried",
            Kind::ForeignKey => "foreign_key_not_carried",
        }
    }
}

/// An object to build behind the columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) kind: Kind,
    /// The name at the source: of the object, or of its column.
    pub(crate) name: String,
    pub(crate) attempts: Vec<Attempt>,
    /// Why there is nothing to attempt.
    pub(crate) why_not: &'static str,
    /// It refuses rows of which each alone is right.
    pub(crate) wants_exact_rows: bool,
}

/// A statement, the most faithful first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) sql: String,
    /// The name that the object then has.
    pub(crate) made: String,
}

impl Item {
    pub(crate) fn new(kind: Kind, name: &str, attempts: Vec<Attempt>) -> Item {
        let wants_exact_rows = matches!(kind, Kind::Unique | Kind::ForeignKey);
        Item { kind, name: name.to_owned(), attempts, why_not: "", wants_exact_rows }
    }

    pub(crate) fn without(kind: Kind, name: &str, why_not: &'static str) -> Item {
        Item { why_not, ..Item::new(kind, name, Vec::new()) }
    }
}
