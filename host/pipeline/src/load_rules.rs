//! What the mapping says about loads: which tables begin first (`load-order` of selection rules), and where a table is cut
//! (`parallel-load` of table-settings rules).

use std::collections::HashMap;

use serde_json::Value as Json;
use tidegate_connector::cut::{CUT_BOUNDARIES_MAX, CUT_COLUMNS_MAX, CUT_PARTITIONS_MAX};
use tidegate_connector::{CutParts, Finding, RangeCut, SourceTable, TableCut};
use tidegate_model::TableName;

use crate::modules::Pattern;
use crate::task::TaskError;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct LoadRules {
    orders: Vec<(Pattern, Pattern, i64)>,
    cuts: HashMap<TableName, TableCut>,
}

impl LoadRules {
    /// # Errors
    /// `TaskError::Plan` (`parallel_load`) for the first rule that is not of the form, with its id and key.
    pub(crate) fn of(document: &Json) -> Result<Self, TaskError> {
        let mut rules = Self::default();
        for rule in document["rules"].as_array().into_iter().flatten() {
            let locator = &rule["object-locator"];
            let name = |key: &str| locator[key].as_str().unwrap_or_default();
            let (schema, table) = (name("schema-name"), name("table-name"));
            match rule["rule-type"].as_str() {
                Some("selection") if rule["rule-action"] != "exclude" => {
                    // The rules module complains about what is none.
                    let order = rule["load-order"].as_i64().or_else(|| rule["load-order"].as_str()?.trim().parse().ok());
                    let pattern = if rule["rule-action"] == "explicit" { Pattern::exactly } else { Pattern::new };
                    rules.orders.extend(order.map(|order| (pattern(schema), pattern(table), order)));
                }
                Some("table-settings") => {
                    let rule_id = rule_id(rule);
                    let parts = parts_of(&rule["parallel-load"]).map_err(|what| TaskError::Plan {
                        code: "parallel_load",
                        message: format!("rule {rule_id} of the type table-settings: {what}"),
                        hint: Some(HINT.into()),
                    })?;
                    let cut = parts.map(|parts| TableCut { rule: rule_id, parts });
                    rules.cuts.extend(cut.map(|cut| (TableName::new(schema, table), cut)));
                }
                _ => {}
            }
        }
        Ok(rules)
    }

    /// The table's place among others: higher ones begin first. The highest of the rules that select it.
    pub(crate) fn order(&self, table: &TableName) -> i64 {
        let of_table = |(schema, name, order): &(Pattern, Pattern, i64)| {
            (schema.matches(&table.schema) && name.matches(&table.name)).then_some(*order)
        };
        self.orders.iter().filter_map(of_table).max().unwrap_or(i64::MIN)
    }

    /// How the table is to be cut, where a rule says so.
    pub(crate) fn cut(&self, table: &TableName) -> Option<&TableCut> {
        self.cuts.get(table)
    }

    /// What the check says about the table's rule: columns that it names must be there.
    pub(crate) fn finding(&self, table: &SourceTable) -> Option<Finding> {
        let TableCut { rule, parts } = self.cut(&table.schema.name)?;
        let CutParts::Ranges(ranges) = parts else { return None };
        let missing = ranges.columns.iter().find(|column| table.schema.column_index(column).is_none())?;
        let object = format!("table \"{}\", rule {rule} of the type table-settings, parallel-load", table.schema.name);
        Some(Finding::error("parallel_load", object, format!("the column \"{missing}\""), "columns of the table"))
    }
}

const HINT: &str = "{\"type\": \"ranges\", \"columns\": [\"id\"], \"boundaries\": [[\"1000\"], [\"2000\"]]} cuts into three; other types: \
    partitions-auto, subpartitions-auto, partitions-list, none";

/// A rule's id, as a number or a text.
pub(crate) fn rule_id(rule: &Json) -> String {
    match &rule["rule-id"] {
        Json::String(text) => text.clone(),
        Json::Number(number) => number.to_string(),
        _ => "without an id".into(),
    }
}

/// `None` leaves it to the task's `chunk_rows`.
fn parts_of(load: &Json) -> Result<Option<CutParts>, String> {
    if load.is_null() {
        return Ok(None);
    }
    let parts = match load["type"].as_str() {
        Some("none") => CutParts::Whole,
        Some("partitions-auto") => CutParts::Each { deep: false },
        Some("subpartitions-auto") => CutParts::Each { deep: true },
        Some("partitions-list") => CutParts::Named(partitions(load)?),
        Some("ranges") => CutParts::Ranges(ranges(load)?),
        _ => return Err("\"parallel-load.type\" is none of ranges, partitions-auto, partitions-list, subpartitions-auto, none".into()),
    };
    Ok(Some(parts))
}

fn texts(value: &Json) -> Option<Vec<String>> {
    let one = |value: &Json| match value {
        Json::String(text) => Some(text.clone()),
        Json::Number(number) => Some(number.to_string()),
        _ => None,
    };
    value.as_array()?.iter().map(one).collect()
}

fn partitions(load: &Json) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    for key in ["partitions", "subpartitions"].iter().filter(|key| !load[**key].is_null()) {
        names.extend(texts(&load[*key]).ok_or_else(|| format!("\"parallel-load.{key}\" is no list of names"))?);
    }
    if (1..=CUT_PARTITIONS_MAX).contains(&names.len()) {
        return Ok(names);
    }
    Err(format!("\"parallel-load.partitions\" and \"subpartitions\" do not name 1 to {CUT_PARTITIONS_MAX} partitions"))
}

fn ranges(load: &Json) -> Result<RangeCut, String> {
    let columns = texts(&load["columns"]).filter(|columns| (1..=CUT_COLUMNS_MAX).contains(&columns.len()));
    let columns = columns.ok_or_else(|| format!("\"parallel-load.columns\" is no list of 1 to {CUT_COLUMNS_MAX} names"))?;
    let lists = load["boundaries"].as_array().filter(|lists| (1..=CUT_BOUNDARIES_MAX).contains(&lists.len()));
    let lists = lists.ok_or_else(|| format!("\"parallel-load.boundaries\" is no list of 1 to {CUT_BOUNDARIES_MAX} lists"))?;
    let boundary = |(index, list): (usize, &Json)| {
        let values = texts(list).filter(|values| values.len() == columns.len() && !values.iter().any(|value| value.contains('\0')));
        values.ok_or_else(|| format!("boundary {} of \"parallel-load.boundaries\" has not one text for each column", index + 1))
    };
    let boundaries = lists.iter().enumerate().map(boundary).collect::<Result<Vec<_>, _>>()?;
    Ok(RangeCut { columns, boundaries })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rules(rules: Json) -> Result<LoadRules, TaskError> {
        LoadRules::of(&json!({ "rules": rules }))
    }

    #[test]
    fn the_highest_order_of_a_tables_rules_counts_and_none_is_the_lowest() {
        let select = |table: &str, order: Json| {
            json!({"rule-type": "selection", "rule-action": "include", "load-order": order,
                "object-locator": {"schema-name": "s", "table-name": table}})
        };
        let mut explicit = select("a_b", json!(4));
        explicit["rule-action"] = json!("explicit");
        let found = rules(json!([select("%", json!("2")), select("first", json!(9)), select("x%", Json::Null), explicit])).unwrap();
        let order = |name: &str| found.order(&TableName::new("s", name));
        assert_eq!((order("first"), order("x1"), order("a_b"), order("axb")), (9, 2, 4, 2));
        assert_eq!(found.order(&TableName::new("other", "first")), i64::MIN);
    }

    #[test]
    fn cuts_are_read_and_what_is_wrong_is_named() {
        let settings = |load: Json| {
            rules(json!([{"rule-type": "table-settings", "rule-id": "7", "parallel-load": load,
                "object-locator": {"schema-name": "s", "table-name": "t"}}]))
        };
        let parts = |load: Json| settings(load).unwrap().cut(&TableName::new("s", "t")).map(|cut| cut.parts.clone());
        let wanted = RangeCut { columns: vec!["a".into(), "b".into()], boundaries: vec![vec!["x".into(), "5".into()]] };
        let ranges = json!({"type": "ranges", "columns": ["a", "b"], "boundaries": [["x", 5]]});
        assert_eq!(parts(ranges), Some(CutParts::Ranges(wanted)));
        assert_eq!((parts(json!({"type": "none"})), parts(Json::Null)), (Some(CutParts::Whole), None));
        assert_eq!(parts(json!({"type": "partitions-auto"})), Some(CutParts::Each { deep: false }));
        assert_eq!(parts(json!({"type": "subpartitions-auto"})), Some(CutParts::Each { deep: true }));
        let list = json!({"type": "partitions-list", "partitions": ["p1"], "subpartitions": ["p2a"]});
        assert_eq!(parts(list), Some(CutParts::Named(vec!["p1".into(), "p2a".into()])));
        for (load, named) in [
            (json!({"type": "ranges", "boundaries": [["1"]]}), "parallel-load.columns"),
            (json!({"type": "ranges", "columns": ["a"]}), "parallel-load.boundaries"),
            (json!({"type": "ranges", "columns": ["a"], "boundaries": [["1"], ["2", "3"]]}), "boundary 2"),
            (json!({"type": "partitions-list", "partitions": "p1"}), "parallel-load.partitions"),
            (json!({"type": "partitions-list"}), "do not name"),
            (json!({"type": "slices"}), "parallel-load.type"),
        ] {
            let error = settings(load).unwrap_err().to_string();
            assert!(error.contains(named) && error.contains("rule 7"), "{error}");
        }
    }
}
