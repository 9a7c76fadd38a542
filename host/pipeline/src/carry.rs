//! What of a source table's objects its target table gets: the task's renames applied, and everything that uses a
//! column or a table which is not there listed by name. Pure: what the target's own kind of database cannot have, the
//! target says.

use std::collections::{HashMap, HashSet};

use tidegate_connector::{ColumnOrigin, Finding, Severity, TargetObjects};
use tidegate_model::objects::{
    Check, ColumnDefault, ColumnObjects, Counter, DefaultValue, ForeignKey, Generated, Index, IndexPart, Sequence, TableObjects,
};
use tidegate_model::{Engine, TableName};

use crate::plan::PlannedTable;

/// Why something is not carried, for each kind of object: codes that people and programs may rely on.
const GENERATED: &str = "generated_columns";
const DEFAULT: &str = "default_not_carried";
const INDEX: &str = "index_not_carried";
const FOREIGN_KEY: &str = "foreign_key_not_carried";
const CHECK: &str = "check_not_carried";
const DOMAIN: &str = "domain_not_carried";
const OTHER: &str = "object_not_carried";
const COLLATION: &str = "collation_not_carried";

/// The objects of each planned table, in order. `described` has one entry for each.
pub(crate) fn carry(planned: &[PlannedTable], described: &[TableObjects], target: Engine) -> Vec<TargetObjects> {
    let sequences = sequence_names(planned, described);
    let by_name = planned.iter().map(|table| (&table.source.schema.name, table)).collect();
    let carrier = Carrier { by_name, sequences: &sequences, target };
    planned.iter().zip(described).map(|(table, objects)| carrier.table(table, objects)).collect()
}

/// What a task that wants no more than columns and keys must be told all the same: columns that do not come.
pub(crate) fn minimal(planned: &[PlannedTable], described: &[TableObjects]) -> Vec<TargetObjects> {
    let listed = |(table, objects): (&PlannedTable, &TableObjects)| {
        let absent = |column: &&ColumnObjects| column.generated.is_some() && table.source.schema.column_index(&column.column).is_none();
        let names: Vec<&str> = objects.columns.iter().filter(absent).map(|column| column.column.as_str()).collect();
        let omitted = if names.is_empty() { Vec::new() } else { vec![generated_left_out(table, &names, "left out")] };
        TargetObjects { wanted: TableObjects::default(), omitted }
    };
    planned.iter().zip(described).map(listed).collect()
}

fn generated_left_out(table: &PlannedTable, names: &[&str], why: &str) -> Finding {
    let found = format!("generated columns \"{}\"", names.join("\", \""));
    Finding::warning(GENERATED, format!("table \"{}\"", table.source.schema.name), found, format!("plain columns: these are {why}"))
}

/// Names of sequences in the target. A sequence that belongs to a column goes with its table, every other one where the
/// tables of its schema go.
fn sequence_names(planned: &[PlannedTable], described: &[TableObjects]) -> HashMap<TableName, TableName> {
    let mut names = HashMap::new();
    let mut taken = HashSet::new();
    let mut add = |sequence: &Sequence, schema: &str| {
        if names.contains_key(&sequence.name) {
            return;
        }
        let mut name = TableName::new(schema, sequence.name.name.clone());
        if !taken.insert(name.clone()) {
            name.name = format!("{}_{}", sequence.name.schema, sequence.name.name);
            taken.insert(name.clone());
        }
        names.insert(sequence.name.clone(), name);
    };
    let all = || planned.iter().zip(described).flat_map(|(table, objects)| objects.sequences.iter().map(move |sequence| (table, sequence)));
    for (table, sequence) in all().filter(|(_, sequence)| sequence.owner.is_some()) {
        add(sequence, &table.target.name.schema);
    }
    for (_, sequence) in all().filter(|(_, sequence)| sequence.owner.is_none()) {
        let beside = planned.iter().find(|table| table.source.schema.name.schema == sequence.name.schema);
        add(sequence, beside.map_or(sequence.name.schema.as_str(), |table| table.target.name.schema.as_str()));
    }
    names
}

struct Carrier<'a> {
    by_name: HashMap<&'a TableName, &'a PlannedTable>,
    sequences: &'a HashMap<TableName, TableName>,
    target: Engine,
}

/// Names of one table's columns in the target.
struct Names(HashMap<String, String>);

impl Names {
    fn new(table: &PlannedTable) -> Names {
        let mut names = HashMap::new();
        for column in &table.target.columns {
            let ColumnOrigin::Source(at) = column.origin else { continue };
            let Some(source) = table.source.schema.columns.get(at) else { continue };
            // Of several copies of a column, the one with its name.
            if column.name == source.name || !names.contains_key(&source.name) {
                names.insert(source.name.clone(), column.name.clone());
            }
        }
        Names(names)
    }

    fn all(&self, columns: &[String]) -> Result<Vec<String>, String> {
        columns
            .iter()
            .map(|column| self.0.get(column).cloned().ok_or_else(|| format!("column \"{column}\" is not in the target as it is")))
            .collect()
    }

    fn hold(&self, columns: &[String]) -> bool {
        columns.iter().all(|column| self.0.get(column) == Some(column))
    }
}

/// True for a column that the target has under its name and in its type, with the source's values.
fn is_as_it_was(table: &PlannedTable, column: &str) -> bool {
    table.target.columns.iter().any(|wanted| {
        let ColumnOrigin::Source(at) = wanted.origin else { return false };
        let source = table.source.schema.columns.get(at);
        wanted.name == column && source.is_some_and(|source| source.name == column && source.sql_type == wanted.sql_type)
    })
}

/// PostgreSQL's collations that compare bytes.
fn is_binary(collation: &str) -> bool {
    matches!(collation.trim_start_matches("pg_catalog.").trim_matches('"'), "C" | "POSIX" | "ucs_basic")
}

impl Carrier<'_> {
    /// Columns that only those see who name them, both MySQL and MariaDB have.
    fn has_attribute(&self, attribute: &str, is_same: bool) -> bool {
        is_same || (attribute == "INVISIBLE" && self.target != Engine::Postgres)
    }

    fn table(&self, table: &PlannedTable, objects: &TableObjects) -> TargetObjects {
        let names = Names::new(table);
        let is_same = table.source.schema.engine == self.target;
        let mut omitted = Vec::new();
        let mut leave = |code: &'static str, kind: &str, name: &str, why: String| {
            let object = format!("{kind} \"{name}\" of table \"{}\"", table.source.schema.name);
            omitted.push(Finding::warning(code, object, why, "nothing that the target lacks"));
        };
        let mut wanted = TableObjects {
            comment: objects.comment.clone(),
            collation: objects.collation.clone().filter(|_| is_same),
            primary_key_name: objects.primary_key_name.clone().filter(|_| is_same),
            sequences: objects.sequences.iter().map(|sequence| self.sequence(sequence, &names)).collect(),
            ..TableObjects::default()
        };
        let mut before = None;
        for column in &objects.columns {
            let name = names.0.get(&column.column);
            if let Some(domain) = &column.domain {
                leave(DOMAIN, "column", &column.column, format!("domain {domain}, of which the type below it arrives"));
            }
            if let (Some(generated), None) = (&column.generated, name) {
                if table.source.schema.column_index(&column.column).is_some() {
                    // A rule took it out.
                } else if is_same && names.hold(&generated.columns) {
                    let generated = Generated { after: before.clone(), ..generated.clone() };
                    wanted.columns.push(ColumnObjects { generated: Some(generated), ..column.clone() });
                } else {
                    leave(GENERATED, "generated column", &column.column, "an expression that does not hold in the target".into());
                }
            }
            if let Some(name) = name {
                let generated = column.generated.as_ref().filter(|generated| {
                    is_same && self.target != Engine::Postgres && is_as_it_was(table, &column.column) && names.hold(&generated.columns)
                });
                if let Some(collation) = column.collation.as_ref().filter(|collation| !is_same && !is_binary(collation)) {
                    leave(COLLATION, "collation of column", &column.column, format!("collation {collation}, which the target has not"));
                }
                for attribute in column.attributes.iter().filter(|attribute| !self.has_attribute(attribute, is_same)) {
                    leave(OTHER, "column", &column.column, format!("attribute {attribute}, which the target has not"));
                }
                match self.column(column, name, is_same, &names) {
                    Ok(carried) => wanted.columns.push(ColumnObjects { generated: generated.cloned(), ..carried }),
                    Err((carried, why)) => {
                        leave(DEFAULT, "default of column", &carried.column, why);
                        wanted.columns.push(carried);
                    }
                }
                if column.generated.is_some() && generated.is_none() {
                    let found = "a generated column, which arrives with its values as a plain one".to_owned();
                    leave(GENERATED, "generated column", &column.column, found);
                }
                before = Some(name.clone());
            }
        }
        for index in &objects.indexes {
            if index.unique && table.soft_deletes {
                leave(INDEX, "index", &index.name, "a unique index of a table whose deleted rows are kept".into());
                continue;
            }
            match self.index(index, &names, is_same) {
                Ok(index) => wanted.indexes.push(index),
                Err(why) => leave(INDEX, "index", &index.name, why),
            }
        }
        for check in &objects.checks {
            let is_collated =
                !is_same && objects.columns.iter().any(|column| column.collation.is_some() && check.columns.contains(&column.column));
            match self.check(check, &names, is_same, is_collated) {
                Ok(check) => wanted.checks.push(check),
                Err(why) => leave(CHECK, "check constraint", &check.name, why),
            }
        }
        for key in &objects.foreign_keys {
            if table.soft_deletes {
                leave(FOREIGN_KEY, "foreign key", &key.name, "a table whose deleted rows are kept".into());
                continue;
            }
            match self.foreign_key(key, &names) {
                Ok(key) => wanted.foreign_keys.push(key),
                Err(why) => leave(FOREIGN_KEY, "foreign key", &key.name, why),
            }
        }
        for other in &objects.others {
            leave(OTHER, other.kind, &other.name, format!("a {}, which is not replicated", other.kind));
        }
        for finding in &mut omitted {
            if finding.code == DOMAIN || finding.code == OTHER {
                finding.severity = Severity::Info;
            }
        }
        TargetObjects { wanted, omitted }
    }

    /// The column in the target's names; with the reason, when its default has to stay behind.
    #[allow(clippy::result_large_err)]
    fn column(&self, column: &ColumnObjects, name: &str, is_same: bool, names: &Names) -> Result<ColumnObjects, (ColumnObjects, String)> {
        let counter =
            column.counter.as_ref().map(|counter| Counter { kind: counter.kind, sequence: self.sequence_name(&counter.sequence) });
        let mut carried = ColumnObjects {
            column: name.to_owned(),
            default: None,
            counter,
            generated: None,
            collation: column.collation.clone().filter(|_| is_same),
            domain: None,
            attributes: column.attributes.iter().filter(|attribute| self.has_attribute(attribute, is_same)).cloned().collect(),
            ..column.clone()
        };
        let Some(default) = &column.default else { return Ok(carried) };
        let value = match &default.value {
            Some(DefaultValue::NextValue(sequence)) => Some(DefaultValue::NextValue(self.sequence_name(sequence))),
            other => other.clone(),
        };
        let moves = default.sequences.iter().any(|sequence| self.sequence_name(sequence) != *sequence);
        let native = default.native.clone().filter(|_| is_same && !moves && names.hold(&default.columns));
        if value.is_none() && native.is_none() {
            return Err((carried, "an expression that only the source understands".into()));
        }
        let sequences = default.sequences.iter().map(|name| self.sequence_name(name)).collect();
        carried.default = Some(ColumnDefault { value, native, sequences, columns: default.columns.clone() });
        Ok(carried)
    }

    fn sequence_name(&self, name: &TableName) -> TableName {
        self.sequences.get(name).unwrap_or(name).clone()
    }

    fn sequence(&self, sequence: &Sequence, names: &Names) -> Sequence {
        Sequence {
            name: self.sequence_name(&sequence.name),
            owner: sequence.owner.as_ref().and_then(|column| names.0.get(column).cloned()),
            ..sequence.clone()
        }
    }

    fn index(&self, index: &Index, names: &Names, is_same: bool) -> Result<Index, String> {
        names.all(&index.columns)?;
        let native = index.native.clone().filter(|_| is_same && names.hold(&index.columns));
        let parts = index
            .parts
            .iter()
            .map(|part| IndexPart { column: part.column.as_ref().and_then(|column| names.0.get(column).cloned()), ..part.clone() });
        Ok(Index {
            parts: parts.collect(),
            include: names.all(&index.include)?,
            columns: names.all(&index.columns)?,
            native,
            ..index.clone()
        })
    }

    /// `is_collated`: it compares texts by rules that the target has not.
    fn check(&self, check: &Check, names: &Names, is_same: bool, is_collated: bool) -> Result<Check, String> {
        let columns = names.all(&check.columns)?;
        let native = check.native.clone().filter(|_| is_same && names.hold(&check.columns));
        let condition =
            check.condition.as_ref().filter(|_| !is_collated).and_then(|condition| condition.renamed(&|name| names.0.get(name).cloned()));
        if native.is_none() && condition.is_none() {
            return Err("a condition that only the source understands".into());
        }
        Ok(Check { columns, native, condition, ..check.clone() })
    }

    fn foreign_key(&self, key: &ForeignKey, names: &Names) -> Result<ForeignKey, String> {
        let Some(referenced) = self.by_name.get(&key.referenced) else {
            return Err(format!("a reference to table \"{}\", which is not in the task", key.referenced));
        };
        if referenced.stages.iter().any(|stage| stage.filters) {
            return Err(format!("a reference to table \"{}\", of which a rule leaves out rows", key.referenced));
        }
        let columns = names.all(&key.columns)?;
        let set_columns = names.all(&key.set_columns)?;
        let referenced_columns = Names::new(referenced).all(&key.referenced_columns)?;
        Ok(ForeignKey { columns, set_columns, referenced: referenced.target.name.clone(), referenced_columns, ..key.clone() })
    }
}
