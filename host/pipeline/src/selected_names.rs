//! Which tables a mapping's selection rules may select, as far as names alone tell.
//!
//! Describing a table and planning it in a sandbox cost queries and time. A source may have ten thousand tables, and a task one: those
//! whose names no rule includes are left alone. What is told here is only who cannot be selected; the rules module decides.

use std::collections::BTreeSet;

use serde_json::Value as Json;
use tidegate_connector::is_table_of_dms;
use tidegate_model::TableName;

use crate::modules::Pattern;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct SelectedNames {
    /// Schema and table of each rule that includes; `None` when a rule is not as expected, which the rules module complains about.
    included: Option<Vec<(Named, Named)>>,
    /// The tables, where each rule that includes names one.
    exact: Option<Vec<TableName>>,
}

#[derive(Debug)]
enum Named {
    Like(Pattern),
    Exactly(String),
}

impl Named {
    fn has(&self, name: &str) -> bool {
        match self {
            Named::Like(pattern) => pattern.matches(name),
            Named::Exactly(wanted) => wanted == name,
        }
    }

    /// The one name that it stands for.
    fn only(&self) -> Option<String> {
        match self {
            Named::Like(pattern) => pattern.only(),
            Named::Exactly(name) => Some(name.clone()),
        }
    }
}

impl SelectedNames {
    pub(crate) fn of(table_mappings: &Json) -> Self {
        let rules = table_mappings.get("rules").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
        let selections = rules.iter().filter(|rule| rule.get("rule-type").and_then(Json::as_str) == Some("selection"));
        let included: Option<Vec<(Named, Named)>> = selections.filter_map(included).collect();
        let named = |(schema, name): &(Named, Named)| Some(TableName::new(schema.only()?, name.only()?));
        let exact: Option<BTreeSet<TableName>> = included.as_ref().and_then(|included| included.iter().map(named).collect());
        let exact = exact.map(|names| names.into_iter().collect());
        Self { included, exact }
    }

    /// The only tables that can be selected, where the rules name each of them.
    pub(crate) fn exact(&self) -> Option<&[TableName]> {
        self.exact.as_deref()
    }

    /// False only for a table that no rule can select. Those of DMS, in which tasks tell of their work, are no tables of the
    /// user, and a database that is a target and a source would send them round.
    pub(crate) fn may_have(&self, table: &TableName) -> bool {
        if is_table_of_dms(&table.name) {
            return false;
        }
        let Some(included) = &self.included else { return true };
        included.iter().any(|(schema, name)| schema.has(&table.schema) && name.has(&table.name))
    }
}

/// What a rule includes: nothing, two names, or what cannot be told (`Some(None)`).
fn included(rule: &Json) -> Option<Option<(Named, Named)>> {
    let named: fn(&str) -> Named = match rule.get("rule-action").and_then(Json::as_str) {
        Some("exclude") => return None,
        Some("include") => |text| Named::Like(Pattern::new(text)),
        Some("explicit") => |text| Named::Exactly(text.to_owned()),
        _ => return Some(None),
    };
    let part = |key: &str| rule.get("object-locator")?.get(key)?.as_str().map(named);
    Some(part("schema-name").zip(part("table-name")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(selections: &[(&str, &str, &str)]) -> SelectedNames {
        let rules: Vec<Json> = selections
            .iter()
            .map(|(action, schema, table)| {
                json!({"rule-type": "selection", "rule-action": action, "object-locator": {"schema-name": schema, "table-name": table}})
            })
            .collect();
        SelectedNames::of(&json!({"rules": rules}))
    }

    #[test]
    fn tables_that_no_rule_includes_are_left_alone() {
        let names = of(&[("include", "app", "order%"), ("explicit", "app", "a[b]_%"), ("exclude", "app", "orders")]);
        for (schema, table, wanted) in [
            ("app", "orders", true),
            ("app", "order_lines", true),
            ("app", "a[b]_%", true),
            ("app", "ab_x", false),
            ("App", "orders", false),
            ("app", "customers", false),
        ] {
            assert_eq!(names.may_have(&TableName::new(schema, table)), wanted, "{schema}.{table}");
        }
    }

    #[test]
    fn control_tables_are_not_selected_whatever_the_rules_say() {
        for names in [of(&[("include", "%", "%")]), of(&[("explicit", "public", "awsdms_status")]), SelectedNames::of(&json!({}))] {
            assert!(!names.may_have(&TableName::new("public", "awsdms_status")));
        }
        assert!(of(&[("include", "%", "%")]).may_have(&TableName::new("public", "awsdms_reports")));
    }

    #[test]
    fn tables_that_rules_name_are_known_without_a_list() {
        let names = of(&[("include", "app", "orders"), ("explicit", "app", "a_b"), ("include", "app", "orders"), ("exclude", "app", "%")]);
        assert_eq!(names.exact(), Some([TableName::new("app", "a_b"), TableName::new("app", "orders")].as_slice()));
        assert_eq!(of(&[("include", "app", "orders"), ("include", "app", "a_b")]).exact(), None, "an underscore is any letter");
    }

    #[test]
    fn a_rule_that_cannot_be_read_leaves_the_decision_to_the_rules_module() {
        for rule in [
            json!({"rule-type": "selection", "rule-action": "includes", "object-locator": {"schema-name": "s", "table-name": "t"}}),
            json!({"rule-type": "selection", "rule-action": "include", "object-locator": {"schema-name": "s"}}),
            json!({"rule-type": "selection"}),
        ] {
            let names = SelectedNames::of(&json!({"rules": [rule]}));
            assert!(names.may_have(&TableName::new("any", "table")), "{rule}");
        }
    }
}
