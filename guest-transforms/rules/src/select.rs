//! Is a table in the task, and which of its rows.

use crate::filter::FilterRule;
use crate::mapping::{Mapping, SelectionAction};

/// The answer for one table.
pub(crate) enum Selected<'a> {
    No,
    /// A row is in when one of the sets lets it through; no set at all lets everything through.
    Yes {
        filters: Vec<&'a [FilterRule]>,
    },
}

/// Excludes win over everything. Of several rules that include a table, those with filters say which rows are meant:
/// `%` without filters beside `orders` with filters takes all tables, and of `orders` the filtered rows.
pub(crate) fn select<'a>(mapping: &'a Mapping, schema: &str, table: &str) -> Selected<'a> {
    let mut included = false;
    let mut filters = Vec::new();
    for rule in mapping.selections.iter().filter(|rule| rule.locator.matches_table(schema, table)) {
        match rule.action {
            SelectionAction::Exclude => return Selected::No,
            SelectionAction::Include | SelectionAction::Explicit => {
                included = true;
                if !rule.filters.is_empty() {
                    filters.push(rule.filters.as_slice());
                }
            }
        }
    }
    if included { Selected::Yes { filters } } else { Selected::No }
}
