//! Rights of the endpoint's user.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidegate_connector::{ConnectorError, Dialect, Finding, TargetTable};

use crate::connect::rows;
use crate::target::session::Server;

const WANTED: [&str; 6] = ["SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "DROP"];

/// For what stands behind columns and primary keys.
const WANTED_FOR_OBJECTS: [&str; 3] = ["ALTER", "INDEX", "REFERENCES"];

pub(super) async fn check(server: &mut Server, tables: &[Arc<TargetTable>], findings: &mut Vec<Finding>) -> Result<(), ConnectorError> {
    let lines = grants(server).await?;
    let schemas: BTreeSet<&str> = tables.iter().map(|table| table.name.schema.as_str()).chain(["tidegate"]).collect();
    for schema in schemas {
        findings.extend(missing(&lines, schema, &WANTED, "the right to create, fill and drop tables"));
        // Whoever lacks it is told of no trigger, now or when the task goes on.
        if schema != "tidegate" {
            findings.extend(missing(&lines, schema, &["TRIGGER"], "TRIGGER, to see triggers that would fire for replicated rows"));
        }
    }
    let has_objects = |table: &&Arc<TargetTable>| table.objects.wanted != tidegate_model::objects::TableObjects::default();
    let schemas: BTreeSet<&str> = tables.iter().filter(has_objects).map(|table| table.name.schema.as_str()).collect();
    for schema in schemas {
        let missing: Vec<&str> =
            WANTED_FOR_OBJECTS.into_iter().filter(|right| !lines.iter().any(|line| gives(line, right, schema))).collect();
        if missing.is_empty() {
            continue;
        }
        let object = format!("database \"{schema}\" of the target");
        let found = format!("no {} on it: indexes, constraints and counters are not carried", missing.join(", "));
        let finding = Finding::warning("missing_privilege", object, found, "the right to change tables");
        let name = Dialect::MYSQL.identifier(schema);
        findings.push(finding.fix(format!("grant {} on {name}.* to <user>", WANTED_FOR_OBJECTS.join(", ").to_lowercase())));
    }
    Ok(())
}

/// What `show grants` tells of the user.
pub(crate) async fn grants(server: &mut Server) -> Result<Vec<String>, ConnectorError> {
    rows(&mut server.conn, "read grants", "show grants for current_user()").await
}

/// The rights among `wanted` that these grants do not give on a database: an error, or a warning where they may be given otherwise.
pub(crate) fn missing(lines: &[String], schema: &str, wanted: &[&str], told: &str) -> Option<Finding> {
    let missing: Vec<&str> = wanted.iter().copied().filter(|right| !lines.iter().any(|line| gives(line, right, schema))).collect();
    if missing.is_empty() {
        return None;
    }
    // A role may grant what the lines do not show; so may rights on single tables.
    let is_partly_known = lines.iter().any(|line| grant(line).is_none_or(|(_, place)| !place.ends_with(".*")));
    let make = if is_partly_known { Finding::warning } else { Finding::error };
    let (object, found) = (format!("database \"{schema}\" of the target"), format!("no {} on it", missing.join(", ")));
    let finding = make("missing_privilege", object, found, told.to_owned());
    Some(finding.fix(format!("grant {} on {}.* to <user>", wanted.join(", ").to_lowercase(), Dialect::MYSQL.identifier(schema))))
}

/// Rights and place of `GRANT … ON … TO …`.
fn grant(line: &str) -> Option<(&str, &str)> {
    let (rights, rest) = line.strip_prefix("GRANT ")?.split_once(" ON ")?;
    Some((rights, rest.split_once(" TO ")?.0))
}

fn gives(line: &str, right: &str, schema: &str) -> bool {
    let Some((rights, place)) = grant(line) else { return false };
    let has_right = rights.starts_with("ALL PRIVILEGES") || rights.split(", ").any(|given| given == right);
    let pattern = place.strip_suffix(".*").map(|pattern| pattern.trim_matches('`').replace("``", "`"));
    has_right && pattern.is_some_and(|pattern| pattern == "*" || matches(&pattern, schema))
}

/// The pattern of a grant: `%` and `_`, either with a backslash before it for itself.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    fn from(pattern: &[char], name: &[char]) -> bool {
        match pattern {
            [] => name.is_empty(),
            ['%', rest @ ..] => (0..=name.len()).any(|skipped| from(rest, &name[skipped..])),
            ['\\', letter, rest @ ..] => name.first() == Some(letter) && from(rest, &name[1..]),
            ['_', rest @ ..] => !name.is_empty() && from(rest, &name[1..]),
            [letter, rest @ ..] => name.first() == Some(letter) && from(rest, &name[1..]),
        }
    }
    from(&pattern, &name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_reach_what_their_pattern_matches() {
        let line = r"GRANT SELECT, INSERT ON `shop\_%`.* TO `copy`@`%`";
        assert!(gives(line, "INSERT", "shop_1") && gives(line, "SELECT", "shop_"));
        assert!(!gives(line, "INSERT", "shopx1") && !gives(line, "DELETE", "shop_1"));
        assert!(gives("GRANT ALL PRIVILEGES ON *.* TO `copy`@`%` WITH GRANT OPTION", "DROP", "any"));
        assert!(!gives("GRANT `role`@`%` TO `copy`@`%`", "DROP", "any"));
    }
}
