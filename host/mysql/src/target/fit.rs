//! Makes an emptied table fit a definition that changed: what is missing is added, what is too narrow widened.
//!
//! The target's own decisions stay: other types that hold the values, more columns, more keys.

use tidegate_connector::{ConnectorError, Dialect, TargetTable};

use super::ddl::column_type;
use super::real::RealTable;
use super::session::Facts;

/// Each holds every value of those before it.
const FAMILIES: [&[&str]; 4] = [
    &["tinyint", "smallint", "mediumint", "int", "bigint"],
    &["float", "double"],
    &["tinytext", "text", "mediumtext", "longtext"],
    &["tinyblob", "blob", "mediumblob", "longblob"],
];

/// The statement that fits a table without rows; `None` when it has what is wanted.
///
/// # Errors
/// Table-definite when no type of the target holds a wanted column.
pub(crate) fn fit_sql(table: &TargetTable, real: &RealTable, facts: &Facts) -> Result<Option<String>, ConnectorError> {
    let quoted = |name: &str| Dialect::MYSQL.identifier(name);
    let mut actions = Vec::new();
    for (index, wanted) in table.columns.iter().enumerate() {
        let null = if wanted.nullable && !table.primary_key.contains(&index) { "null" } else { "not null" };
        let type_sql = column_type(table, index, facts)?;
        match real.columns.iter().find(|column| column.name.eq_ignore_ascii_case(&wanted.name)) {
            None => actions.push(format!("add column {} {type_sql} {null}", quoted(&wanted.name))),
            Some(found) if found.is_generated => {}
            Some(found) if is_wider(&type_sql, &found.column_type) => {
                actions.push(format!("modify column {} {type_sql} {null}", quoted(&found.name)));
            }
            Some(found) if null == "null" && !found.nullable => {
                actions.push(format!("modify column {} {} null", quoted(&found.name), found.column_type));
            }
            Some(_) => {}
        }
    }
    let is_wanted = |name: &str| table.columns.iter().any(|wanted| wanted.name.eq_ignore_ascii_case(name));
    for found in real.columns.iter().filter(|found| !is_wanted(&found.name) && !found.fills_itself && !found.is_generated) {
        actions.push(format!("modify column {} {} null", quoted(&found.name), found.column_type));
    }
    let name = Dialect::MYSQL.table(&table.name);
    Ok((!actions.is_empty()).then(|| format!("alter table {name} {}", actions.join(", "))))
}

/// True when a type of the same family holds values that the other does not.
fn is_wider(wanted: &str, found: &str) -> bool {
    let base = |text: &str| text.split([' ', '(']).next().unwrap_or_default().to_ascii_lowercase();
    let length = |text: &str| text.split_once('(').and_then(|(_, rest)| rest.split([')', ',']).next()?.parse::<u32>().ok());
    let (to, from) = (base(wanted), base(found));
    let step = |family: &[&str], name: &str| family.iter().position(|member| *member == name);
    if let Some((to, from)) = FAMILIES.iter().find_map(|family| step(family, &to).zip(step(family, &from))) {
        return to > from;
    }
    match (to.as_str(), from.as_str()) {
        ("varchar", "varchar" | "char") | ("varbinary", "varbinary" | "binary") => length(wanted) > length(found),
        ("mediumtext" | "longtext" | "text", "varchar" | "char") | ("mediumblob" | "longblob" | "blob", "varbinary" | "binary") => true,
        ("decimal", "decimal") => numbers(wanted) != numbers(found),
        _ => false,
    }
}

/// What stands between the parentheses of a type.
fn numbers(text: &str) -> &str {
    text.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map_or("", |(inside, _)| inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_widened_within_their_family_alone() {
        let cases = [
            ("bigint", "int(11)", true),
            ("int", "bigint(20)", false),
            ("longtext character set utf8mb4", "int", false),
            ("varchar(20) character set utf8mb4", "varchar(10)", true),
            ("varchar(5)", "varchar(10)", false),
            ("longtext character set utf8mb4", "varchar(10)", true),
            ("decimal(12,2)", "decimal(10,2)", true),
            ("decimal(10,2)", "decimal(10,2)", false),
            ("double", "float", true),
        ];
        for (wanted, found, wider) in cases {
            assert_eq!(is_wider(wanted, found), wider, "{found} to {wanted}");
        }
    }
}
