//! How a rule of the type `table-settings` cuts a table for its load, and ranges of rows as conditions.
//!
//! ```text
//!   columns (region, id), boundaries (EU, 100) (EU, 900)
//!   chunks  [.. EU,100)  [EU,100 .. EU,900)  [EU,900 ..]  and, where a column may be NULL, all rows with a NULL
//! ```
//!
//! Rows are compared as a whole, column by column. A comparison with NULL is neither true nor false, so rows with a NULL in one of
//! the columns are a chunk of their own, and no range has them: each row is in exactly one chunk.

use tidegate_model::TableName;

use crate::{ConnectorError, Dialect};

/// Most columns of a cut, as in DMS.
pub const CUT_COLUMNS_MAX: usize = 10;

/// Most boundaries of a cut: each is a connection to the source and a transaction in the target.
pub const CUT_BOUNDARIES_MAX: usize = 1_000;

/// Most partitions that a rule names: as many as a table of MySQL may have (manual, "Restrictions and Limitations on Partitioning").
pub const CUT_PARTITIONS_MAX: usize = 8_192;

/// A rule's word on how its table is cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableCut {
    /// The rule's id.
    pub rule: String,
    /// What it says.
    pub parts: CutParts,
}

/// What becomes a part of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CutParts {
    /// The table.
    Whole,
    /// Each range between boundaries.
    Ranges(RangeCut),
    /// Each partition; with `deep`, each subpartition.
    Each {
        /// Subpartitions, where a partition has some.
        deep: bool,
    },
    /// Each partition or subpartition of these names. The others are loaded, too.
    Named(Vec<String>),
}

/// Where a table is cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeCut {
    /// Names of the columns.
    pub columns: Vec<String>,
    /// Upper bounds in ascending order, each with a value for each column.
    pub boundaries: Vec<Vec<String>>,
}

impl TableCut {
    /// What a rule asks for that this table cannot have. Never shows a boundary's values.
    pub fn refused(&self, table: &TableName, what: &str) -> ConnectorError {
        let text = format!("table \"{table}\": rule {} of the type table-settings, parallel-load: {what}", self.rule);
        ConnectorError::table(table, "parallel_load", text).hint("correct the rule, and start the task or reload the table")
    }
}

/// One part of a table that was cut, with a text form for [`Chunk::bounds`](crate::Chunk).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangePart {
    /// Names of the columns.
    pub columns: Vec<String>,
    /// Rows from here on, this one included; `None`: from the first.
    pub from: Option<Vec<String>>,
    /// Rows before this one; `None`: to the last.
    pub below: Option<Vec<String>>,
    /// Instead, all rows with a NULL in one of the columns.
    pub nulls: bool,
}

impl RangeCut {
    /// The parts. `has_nulls`: one of the columns may be NULL.
    pub fn parts(&self, has_nulls: bool) -> Vec<RangePart> {
        let part = |from: Option<&Vec<String>>, below: Option<&Vec<String>>| RangePart {
            columns: self.columns.clone(),
            from: from.cloned(),
            below: below.cloned(),
            nulls: false,
        };
        let froms = std::iter::once(None).chain(self.boundaries.iter().map(Some));
        let belows = self.boundaries.iter().map(Some).chain([None]);
        let mut parts: Vec<RangePart> = froms.zip(belows).map(|(from, below)| part(from, below)).collect();
        if has_nulls {
            parts.push(RangePart { nulls: true, ..part(None, None) });
        }
        parts
    }
}

impl RangePart {
    /// The condition that selects the part's rows. `literal` spells the value of the column with this index among the part's;
    /// `nullable` says which of them may be NULL. No other is asked for NULL: in MySQL, a date that is NOT NULL and has the value
    /// 0000-00-00 answers yes to `is null` (manual, "Comparison Functions and Operators").
    pub fn condition(&self, dialect: &Dialect, literal: impl Fn(usize, &str) -> String, nullable: impl Fn(usize) -> bool) -> String {
        let names: Vec<String> = self.columns.iter().map(|column| dialect.identifier(column)).collect();
        let asked = |word: &str| -> Vec<String> {
            names.iter().enumerate().filter(|(index, _)| nullable(*index)).map(|(_, name)| format!("{name} is {word}")).collect()
        };
        if self.nulls {
            let asked = asked("null");
            return if asked.is_empty() { "false".to_owned() } else { asked.join(" or ") };
        }
        let spelled = |values: &Vec<String>| values.iter().enumerate().map(|(index, value)| literal(index, value)).collect::<Vec<_>>();
        let mut conditions = asked("not null");
        conditions.extend(self.from.as_ref().map(|values| compared(&names, &spelled(values), Side::From)));
        conditions.extend(self.below.as_ref().map(|values| compared(&names, &spelled(values), Side::Below)));
        if conditions.is_empty() { "true".to_owned() } else { conditions.join(" and ") }
    }

    /// Reads what [`std::fmt::Display`] wrote.
    pub fn parse(text: &str) -> Option<RangePart> {
        let mut words = text.strip_prefix("range ")?.split(' ');
        let columns = list(words.next()?)?;
        let (kind, from, below) = (words.next()?, words.next()?, words.next()?);
        let bound = |word: &str| if word == "-" { Some(None) } else { list(word).filter(|values| values.len() == columns.len()).map(Some) };
        let (from, below) = (bound(from)?, bound(below)?);
        let nulls = match kind {
            "values" => false,
            "nulls" => true,
            _ => return None,
        };
        (words.next().is_none() && !columns.is_empty()).then_some(RangePart { columns, from, below, nulls })
    }
}

impl std::fmt::Display for RangePart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bound = |values: &Option<Vec<String>>| values.as_ref().map_or_else(|| "-".to_owned(), |values| hex(values));
        let kind = if self.nulls { "nulls" } else { "values" };
        write!(f, "range {} {kind} {} {}", hex(&self.columns), bound(&self.from), bound(&self.below))
    }
}

/// A list of texts as words without blanks: each as `x` and the hexadecimal digits of its bytes.
fn hex(texts: &[String]) -> String {
    let one = |text: &String| text.bytes().fold("x".to_owned(), |word, byte| word + &format!("{byte:02x}"));
    texts.iter().map(one).collect::<Vec<_>>().join(",")
}

fn list(word: &str) -> Option<Vec<String>> {
    let one = |word: &str| {
        let digits = word.strip_prefix('x').filter(|digits| digits.len() % 2 == 0 && digits.is_ascii())?;
        let bytes: Option<Vec<u8>> = (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok()).collect();
        String::from_utf8(bytes?).ok()
    };
    word.split(',').map(one).collect()
}

/// Which rows a comparison selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The bound and what comes after it.
    From,
    /// What comes before the bound.
    Below,
}

/// `a > 1 or (a = 1 and b >= 2)`, in a form in which a server uses an index of the columns. Empty for no columns.
pub fn compared(left: &[String], right: &[String], side: Side) -> String {
    let (strict, loose, last) = match side {
        Side::From => (">", ">=", ">="),
        Side::Below => ("<", "<=", "<"),
    };
    let mut pairs: Vec<(&String, &String)> = left.iter().zip(right).collect();
    let Some((name, value)) = pairs.pop() else { return String::new() };
    let mut text = format!("{name} {last} {value}");
    for (name, value) in pairs.into_iter().rev() {
        // Given the first half, what is not strictly beyond is equal.
        text = format!("{name} {loose} {value} and ({name} {strict} {value} or ({text}))");
    }
    format!("({text})")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut() -> RangeCut {
        let values = |one: &str, two: &str| vec![one.to_owned(), two.to_owned()];
        RangeCut { columns: values("region", "id"), boundaries: vec![values("EU", "100"), values("o'x", "5")] }
    }

    #[test]
    fn parts_read_back() {
        for part in cut().parts(true) {
            assert_eq!(RangePart::parse(&part.to_string()), Some(part));
        }
        for text in [
            "",
            "range",
            "range x61 values -",
            "range x61 all - -",
            "range x6 values - -",
            "range x61 values x61,x62 -",
            "range x61 values - - -",
        ] {
            assert_eq!(RangePart::parse(text), None, "{text}");
        }
    }

    #[test]
    fn parts_are_ranges_of_whole_rows_and_all_nulls() {
        let literal = |_: usize, value: &str| Dialect::POSTGRES.literal(value);
        let conditions = |nullable: fn(usize) -> bool| -> Vec<String> {
            cut().parts(true).iter().map(|part| part.condition(&Dialect::POSTGRES, literal, nullable)).collect()
        };
        let ranges = [
            "(\"region\" <= 'EU' and (\"region\" < 'EU' or (\"id\" < '100')))",
            "(\"region\" >= 'EU' and (\"region\" > 'EU' or (\"id\" >= '100'))) \
             and (\"region\" <= 'o''x' and (\"region\" < 'o''x' or (\"id\" < '5')))",
            "(\"region\" >= 'o''x' and (\"region\" > 'o''x' or (\"id\" >= '5')))",
        ];
        let with = |present: &str, nulls: &str| -> Vec<String> {
            ranges.iter().map(|range| format!("{present}{range}")).chain([nulls.to_owned()]).collect()
        };
        assert_eq!(
            conditions(|_| true),
            with("\"region\" is not null and \"id\" is not null and ", "\"region\" is null or \"id\" is null")
        );
        assert_eq!(conditions(|index| index == 0), with("\"region\" is not null and ", "\"region\" is null"));
        assert_eq!(conditions(|_| false), with("", "false"));
        assert_eq!(cut().parts(false).len(), 3);
    }

    #[test]
    fn refusals_name_the_rule_and_the_table() {
        let cut = TableCut { rule: "7".into(), parts: CutParts::Whole };
        let error = cut.refused(&TableName::new("s", "t"), "boundary 2 is none");
        assert_eq!(error.code(), "parallel_load");
        assert_eq!(error.to_string(), "table \"s.t\": rule 7 of the type table-settings, parallel-load: boundary 2 is none");
    }
}
