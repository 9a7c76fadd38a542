//! A light look at table mappings: enough to refuse what can never run, in DMS's words.
//!
//! The rules themselves are read by the rules module in the sandbox, which is the only judge of their meaning; the
//! text is stored and echoed exactly as it was given.

use std::collections::HashSet;

use serde_json::Value;

use super::fault::{Fault, shortened};

/// Rule types that run here. `module` is Tidegate's own.
const RULE_TYPES: [&str; 5] = ["selection", "transformation", "table-settings", "validation", "module"];
/// Rule types of DMS for targets that Tidegate does not have.
const FOREIGN_RULE_TYPES: [&str; 2] = ["object-mapping", "post-processing"];

/// Checks that the text is JSON with rules of known types and distinct ids, and that something is selected.
///
/// # Errors
/// `InvalidParameterValueException` with a text that starts with "Error in mapping rules.".
pub(crate) fn check(text: &str) -> Result<(), Fault> {
    let document: Value = serde_json::from_str(text)
        .map_err(|error| wrong(format!("The table mappings are not JSON: line {}, column {}", error.line(), error.column())))?;
    let Some(rules) = document.get("rules").and_then(Value::as_array) else {
        return Err(wrong("The table mappings have no \"rules\" array."));
    };
    let mut ids = HashSet::new();
    let mut selected = false;
    for rule in rules {
        let id = rule_id(rule)?;
        if !ids.insert(id.clone()) {
            return Err(failed(&id, "The rule-id is used by another rule."));
        }
        selected |= check_rule(rule, &id)?;
    }
    if !selected {
        return Err(wrong("At least one selection rule with rule-action include or explicit is required."));
    }
    Ok(())
}

/// A number, as a JSON string or a JSON number.
fn rule_id(rule: &Value) -> Result<String, Fault> {
    let id = match &rule["rule-id"] {
        Value::String(id) => id.clone(),
        Value::Number(id) => id.to_string(),
        Value::Null => return Err(wrong("A rule has no rule-id.")),
        other => return Err(wrong(format!("A rule-id is neither a string nor a number: {}", shortened(&other.to_string())))),
    };
    if !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(id);
    }
    Err(failed(&id, "The rule-id must be numeric."))
}

/// True for a selection that takes tables in.
fn check_rule(rule: &Value, id: &str) -> Result<bool, Fault> {
    match rule["rule-type"].as_str() {
        Some("selection") => check_selection(rule, id),
        Some(kind) if RULE_TYPES.contains(&kind) => Ok(false),
        Some(kind) if FOREIGN_RULE_TYPES.contains(&kind) => Err(failed(id, &format!("Rule type {kind} does not apply to this target."))),
        Some(kind) => Err(failed(id, &format!("Unknown rule-type {}.", shortened(kind)))),
        None => Err(failed(id, "The rule has no rule-type.")),
    }
}

fn check_selection(rule: &Value, id: &str) -> Result<bool, Fault> {
    let locator = &rule["object-locator"];
    for key in ["schema-name", "table-name"] {
        if locator[key].as_str().is_none_or(str::is_empty) {
            return Err(failed(id, &format!("The object-locator has no {key}.")));
        }
    }
    match rule["rule-action"].as_str() {
        Some("include" | "explicit") => Ok(true),
        Some("exclude") => Ok(false),
        found => Err(failed(
            id,
            &format!(
                "The rule-action of a selection rule must be include, exclude or explicit, found: {}.",
                shortened(found.unwrap_or("none"))
            ),
        )),
    }
}

fn failed(id: &str, what: &str) -> Fault {
    wrong(format!("Rule with ruleId = {} failed validation. {what}", shortened(id)))
}

fn wrong(what: impl std::fmt::Display) -> Fault {
    Fault::value(format!("Error in mapping rules. {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(id: &str, action: &str) -> String {
        format!(
            r#"{{"rule-type":"selection","rule-id":{id},"rule-name":"r","rule-action":"{action}","object-locator":{{"schema-name":"shop","table-name":"%"}}}}"#
        )
    }

    #[test]
    fn mappings_with_a_selection_pass() {
        for rules in [
            selection("\"1\"", "include"),
            selection("1", "explicit"),
            format!("{},{}", selection("1", "exclude"), selection("\"2\"", "include")),
        ] {
            check(&format!(r#"{{"rules":[{rules}]}}"#)).unwrap();
        }
    }

    #[test]
    fn other_mappings_are_refused_in_the_words_of_dms() {
        let cases = [
            ("".to_owned(), "not JSON"),
            (r#"{"rules":{}}"#.to_owned(), "no \\\"rules\\\" array"),
            (r#"{"rules":[]}"#.to_owned(), "At least one selection rule"),
            (format!(r#"{{"rules":[{}]}}"#, selection("1", "exclude")), "At least one selection rule"),
            (
                format!(r#"{{"rules":[{}]}}"#, selection("\"x\"", "include")),
                "Rule with ruleId = x failed validation. The rule-id must be numeric",
            ),
            (
                format!(r#"{{"rules":[{},{}]}}"#, selection("1", "include"), selection("\"1\"", "include")),
                "ruleId = 1 failed validation. The rule-id is used",
            ),
            (format!(r#"{{"rules":[{}]}}"#, selection("1", "take")), "must be include, exclude or explicit, found: take"),
            (r#"{"rules":[{"rule-type":"object-mapping","rule-id":"1"}]}"#.to_owned(), "does not apply"),
            (r#"{"rules":[{"rule-type":"x","rule-id":"1"}]}"#.to_owned(), "Unknown rule-type x"),
            (r#"{"rules":[{"rule-type":"selection","rule-id":"1","object-locator":{"schema-name":"a"}}]}"#.to_owned(), "has no table-name"),
        ];
        for (text, wanted) in cases {
            let found = String::from_utf8(check(&text).unwrap_err().body()).unwrap();
            assert!(found.contains("Error in mapping rules. ") && found.contains(wanted), "{text}: {found}");
        }
    }
}
