//! What MySQL and MariaDB targets do not get yet: everything beside columns, nullability and primary keys. All of it is
//! listed, by the check and once by each run.

use tidegate_connector::{Finding, TargetTable};

/// Every object of the table, each with the code of its kind.
pub(crate) fn not_carried(table: &TargetTable) -> Vec<Finding> {
    let wanted = &table.objects.wanted;
    let mut findings = table.objects.omitted.clone();
    let mut add = |code: &'static str, kind: &str, name: &str| {
        let object = format!("{kind} \"{name}\" of table \"{}\"", table.name);
        findings.push(Finding::warning(code, object, "a MySQL or MariaDB target", "a PostgreSQL target, or the object made by hand"));
    };
    for column in &wanted.columns {
        if column.default.is_some() || column.on_update_now {
            add("default_not_carried", "default of column", &column.column);
        }
        if column.counter.is_some() {
            add("counter_not_carried", "counter of column", &column.column);
        }
        if column.generated.is_some() {
            add("generated_columns", "generated column", &column.column);
        }
        if column.comment.is_some() {
            add("comment_not_carried", "comment of", &column.column);
        }
    }
    wanted.indexes.iter().for_each(|index| add("index_not_carried", "index", &index.name));
    wanted.checks.iter().for_each(|check| add("check_not_carried", "check constraint", &check.name));
    wanted.foreign_keys.iter().for_each(|key| add("foreign_key_not_carried", "foreign key", &key.name));
    wanted.sequences.iter().for_each(|sequence| add("sequence_not_carried", "sequence", &sequence.name.to_string()));
    findings
}
