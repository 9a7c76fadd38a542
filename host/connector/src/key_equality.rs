//! Which texts of a key are one key: a collation may hold different ones equal, and so does PostgreSQL's type `citext`.
//!
//! Where the target's key holds texts equal that the source's tells apart, two rows become one. The other way around no row is lost,
//! but the target has not the source's idea of what is the same.

use tidegate_model::{Engine, SqlType, TableSchema};

use crate::{Finding, Severity, TargetTable};

/// Which texts are equal in a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextEquality<'a> {
    /// No two different ones.
    Exact,
    /// Those that differ in blanks at their end alone, by the `_bin` collations of MySQL and MariaDB that pad.
    Padded(&'a str),
    /// Those that this collation, or the type `citext`, holds equal; `pads` says whether blanks at the end count.
    Folded {
        /// Of the collation.
        name: &'a str,
        /// Texts are equal that differ in blanks at their end.
        pads: bool,
    },
}

impl<'a> TextEquality<'a> {
    /// By the collation that a column of this engine is described with.
    ///
    /// Sources: MySQL manual, "Trailing Space Handling in Comparisons"; MariaDB's list of collations.
    pub fn of(engine: Engine, collation: Option<&'a str>) -> Self {
        match (engine, collation) {
            (_, None) => TextEquality::Exact,
            // Only those are described that hold texts equal.
            (Engine::Postgres, Some(name)) => TextEquality::Folded { name, pads: false },
            (Engine::Mysql | Engine::Mariadb, Some(name)) => match name {
                "binary" => TextEquality::Exact,
                // It holds more characters equal there than in MySQL.
                "tis620_thai_ci" if engine == Engine::Mariadb => TextEquality::Folded { name: "tis620_thai_ci of MariaDB", pads: true },
                name if name.ends_with("_0900_bin") || name.ends_with("_nopad_bin") => TextEquality::Exact,
                name if name.ends_with("_bin") => TextEquality::Padded(name),
                name => TextEquality::Folded { name, pads: !name.contains("_0900_") && !name.contains("_nopad_") },
            },
        }
    }

    /// In a column of a source's table; `None` for a column of no text. No two labels of an enumeration are equal. Arrays are equal whose
    /// elements are.
    pub fn at_source(schema: &'a TableSchema, column: usize) -> Option<Self> {
        let column = schema.columns.get(column)?;
        let of_text = |sql_type: &SqlType| matches!(sql_type, SqlType::Text { .. } | SqlType::Other(_));
        let is_text = match &column.sql_type {
            SqlType::Array(element) => of_text(element),
            plain => of_text(plain),
        };
        is_text.then(|| TextEquality::of(schema.engine, column.collation.as_deref()))
    }
}

/// What a check says of a column of a unique key whose texts source and target do not hold equal alike. `fix` is for a target that
/// would make one row of two.
pub fn key_equality(object: &str, source: TextEquality<'_>, target: TextEquality<'_>, fix: &str) -> Option<Finding> {
    use TextEquality::{Exact, Folded, Padded};
    let apart = |name: &str| {
        let found = format!("{name} at the source: texts that it holds equal are different in the target's key");
        let finding = Finding::warning("key_collation", object, found, "a collation that tells all texts apart");
        Some(Finding { severity: Severity::Info, ..finding })
    };
    let padded = |name: &str| {
        let found = format!("{name} in a unique key: texts that differ in blanks at their end are equal");
        Some(Finding::warning("key_collation", object, found, "a collation without padding").fix(fix))
    };
    match (source, target) {
        (Exact, Exact) | (Padded(_), Padded(_)) => None,
        (Folded { name: one, pads: before }, Folded { name, pads }) if plain(one) == plain(name) => match (before, pads) {
            (true, false) => apart(one),
            (false, true) => padded(name),
            (true, true) | (false, false) => None,
        },
        (Padded(name) | Folded { name, .. }, Exact) | (Folded { name, pads: true }, Padded(_)) => apart(name),
        (Exact | Folded { .. }, Padded(name)) => padded(name),
        (Exact, Folded { name, .. }) => {
            let found = format!("{name} in a unique key, which holds texts equal that the source tells apart");
            Some(Finding::error("key_collation", object, found, "a collation that tells all texts apart").fix(fix))
        }
        // Both hold equal what differs in case, and the source more than that, but for a few letters.
        (Folded { name: own, .. }, Folded { name: "citext", .. }) if own.ends_with("_ci") => {
            let found = format!("citext in a unique key, which holds nearly the same texts equal as {own} of the source");
            Some(Finding::warning("key_collation", object, found, "a collation that tells all texts apart").fix(fix))
        }
        (Padded(own) | Folded { name: own, .. }, Folded { name, .. }) => {
            let found = format!("{name} in a unique key, which may hold texts equal that the source tells apart by {own}");
            Some(Finding::error("key_collation", object, found, "the source's collation, or one that tells all texts apart").fix(fix))
        }
    }
}

/// A collation's name without what is said of blanks, and with one name for the character set that has two: MySQL and MariaDB hold the same
/// characters equal by collations of one name (a test goes through them, and names the one that is another).
fn plain(name: &str) -> String {
    let name = name.replacen("_nopad_", "_", 1);
    name.strip_prefix("utf8_").map_or_else(|| name.clone(), |rest| format!("utf8mb3_{rest}"))
}

/// What a check says of a target's unique indexes upon expressions or parts of columns, by their names: what they hold equal only their
/// server knows, and those that come from the source refuse nothing that the source has.
pub fn foreign_key_parts(table: &TargetTable, target: Engine, names: &[String], object: &str) -> Option<Finding> {
    let is_same = table.source.schema.engine == target;
    let has_it = |name: &String| is_same && table.objects.wanted.indexes.iter().any(|index| index.unique && index.name == *name);
    let foreign: Vec<String> = names.iter().filter(|name| !has_it(name)).map(|name| format!("\"{name}\"")).collect();
    if foreign.is_empty() {
        return None;
    }
    let found =
        format!("unique indexes upon expressions or parts of columns, which may refuse rows that the source has: {}", foreign.join(", "));
    let finding = Finding::warning("unique_index", object, found, "unique indexes that the source has, too");
    Some(finding.fix("drop them, or make them not unique: a row that one refuses stops the table"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(collation: &str) -> TextEquality<'_> {
        TextEquality::of(Engine::Mysql, Some(collation))
    }

    #[test]
    fn a_target_that_may_make_one_row_of_two_is_an_error() {
        let told = |source, target| key_equality("column", source, target, "fix").map(|finding| (finding.severity, finding.fix.is_some()));
        let (info, warning, error) = (Some((Severity::Info, false)), Some((Severity::Warning, true)), Some((Severity::Error, true)));
        let of_postgres = |collation| TextEquality::of(Engine::Postgres, Some(collation));
        let (citext, plain) = (of_postgres("citext"), TextEquality::of(Engine::Postgres, None));
        let (general, new) = (of("utf8mb4_general_ci"), of("utf8mb4_0900_ai_ci"));
        for (source, target, wanted) in [
            (plain, of("utf8mb4_0900_bin"), None),
            (plain, plain, None),
            (of("latin1_bin"), of("utf8mb4_bin"), None),
            (general, general, None),
            (citext, citext, None),
            (of("utf8_general_ci"), of("utf8mb3_general_ci"), None),
            (general, of("utf8mb4_general_nopad_ci"), info),
            (of("utf8mb4_general_nopad_ci"), general, warning),
            (of("utf8mb4_general_nopad_ci"), of("utf8mb4_unicode_nopad_ci"), error),
            (general, plain, info),
            (of("latin1_bin"), of("utf8mb4_nopad_bin"), info),
            (citext, of("binary"), info),
            (general, of("utf8mb4_bin"), info),
            (plain, of("utf8mb4_bin"), warning),
            (new, of("utf8mb4_bin"), warning),
            (citext, of("utf8mb4_bin"), warning),
            (plain, general, error),
            (of("latin1_bin"), general, error),
            (general, new, error),
            (new, citext, warning),
            (of("latin1_general_cs"), citext, error),
            (citext, of_postgres("und-u-ks-level2"), error),
        ] {
            assert_eq!(told(source, target), wanted, "{source:?} {target:?}");
        }
    }
}
