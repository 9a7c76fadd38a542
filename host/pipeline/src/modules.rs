//! The modules of a task: the built-in rules first, then the tenant's, as the table mappings name them.
//!
//! Nothing here interprets a DMS rule: the whole mapping is the rules module's configuration. Only rules of the type
//! `module` are read, because they say which programs run at all, on which tables, in which order, and the names that are
//! selected ([`SelectedNames`]), because tables that nobody can want need not be looked at.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use tidegate_model::{Engine, TableName};
use tidegate_sandbox::{Compiled, Limits};

use crate::large_values::{LargeValues, ValueSettings, of_tables};
use crate::load_rules::LoadRules;
use crate::selected_names::SelectedNames;
use crate::swap::VersionTables;
use crate::task::TaskError;

/// The name under which the built-in rules appear in errors and metrics.
pub const RULES: &str = "rules";

const DIGEST_PREFIX: &str = "sha256:";

/// Which module a rule of the type `module` asks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ModuleReference {
    /// The module's name.
    pub name: String,
    /// `latest`, `sha256:` and the digest, or the name of an alias.
    pub version: String,
}

impl ModuleReference {
    /// True when it names the version itself, which only another mapping changes.
    pub fn names_digest(&self) -> bool {
        self.version.starts_with(DIGEST_PREFIX)
    }
}

/// A module as one rule uses it.
#[derive(Clone)]
pub(crate) struct ModuleUse {
    pub(crate) name: String,
    pub(crate) compiled: Compiled,
    pub(crate) config: String,
    /// `None`: every table (the rules).
    pub(crate) locator: Option<(Pattern, Pattern)>,
    /// Its rule names the version itself: no swap replaces it.
    is_fixed: bool,
    /// Which of them this version is for.
    pub(crate) tables: VersionTables,
}

/// The compiled modules of a task with their configuration.
#[derive(Clone)]
pub struct ModuleSet {
    engine: tidegate_sandbox::Engine,
    limits: Limits,
    uses: Arc<Vec<ModuleUse>>,
    selected: Arc<SelectedNames>,
    selection: Arc<str>,
    target_schema: Option<Arc<str>>,
    loads: Arc<LoadRules>,
    /// Tables whose large values have a rule of their own.
    large: Arc<HashMap<TableName, LargeValues>>,
}

/// A module set for one pair of databases.
#[derive(Clone)]
pub(crate) struct Modules {
    pub(crate) set: ModuleSet,
    pub(crate) target: Engine,
    values: ValueSettings,
}

impl ModuleSet {
    /// The modules that the mapping's rules of the type `module` name, in the order of their rule ids.
    ///
    /// # Errors
    /// `TaskError::Plan` for a mapping that is not JSON, or a module rule that is not complete.
    pub fn references(table_mappings: &str) -> Result<Vec<ModuleReference>, TaskError> {
        Ok(module_rules(&document(table_mappings)?)?.into_iter().map(|rule| rule.reference).collect())
    }

    /// Puts the set together: `rules` is the built-in module, `modules` holds one for each reference.
    ///
    /// # Errors
    /// As for [`ModuleSet::references`], and for a reference that `modules` lacks.
    pub fn new(
        engine: tidegate_sandbox::Engine,
        limits: Limits,
        rules: Compiled,
        modules: &HashMap<ModuleReference, Compiled>,
        table_mappings: &str,
    ) -> Result<Self, TaskError> {
        let document = document(table_mappings)?;
        let mut uses = vec![ModuleUse {
            name: RULES.into(),
            compiled: rules,
            config: table_mappings.to_owned(),
            locator: None,
            is_fixed: true,
            tables: VersionTables::All,
        }];
        for rule in module_rules(&document)? {
            let Some(compiled) = modules.get(&rule.reference) else {
                return Err(plan_error(
                    "module_missing",
                    format!(
                        "rule {} names module \"{}\" version \"{}\", which does not exist",
                        rule.id, rule.reference.name, rule.reference.version
                    ),
                    Some("upload it with PUT /v1/modules/{name}".into()),
                ));
            };
            uses.push(ModuleUse {
                is_fixed: rule.reference.names_digest(),
                name: rule.reference.name,
                compiled: compiled.clone(),
                config: rule.config,
                locator: Some((Pattern::new(&rule.schema), Pattern::new(&rule.table))),
                tables: VersionTables::All,
            });
        }
        Ok(Self {
            engine,
            limits,
            uses: Arc::new(uses),
            selected: Arc::new(SelectedNames::of(&document)),
            selection: selection_digest(&document).into(),
            target_schema: None,
            loads: Arc::new(LoadRules::of(&document)?),
            large: Arc::new(of_tables(&document)?),
        })
    }

    /// The set for a task whose tables go to this schema, where the modules leave theirs as it is at the source.
    pub fn into_schema(self, target_schema: Option<&str>) -> Self {
        Self { target_schema: target_schema.map(Arc::from), ..self }
    }

    /// True when a rule that a swap of this module changes concerns the table.
    pub(crate) fn swaps(&self, module: &str, table: &TableName) -> bool {
        self.uses.iter().any(|one| one.is_swapped_with(module) && one.concerns(table))
    }

    /// What the mapping says about loads.
    pub(crate) fn loads(&self) -> &LoadRules {
        &self.loads
    }

    /// What the mapping may select, by name.
    pub(crate) fn selected(&self) -> &SelectedNames {
        &self.selected
    }

    /// A digest of the rules that select tables, and of those of modules, which may leave one out: others select others.
    pub(crate) fn selection(&self) -> &str {
        &self.selection
    }

    /// The set with another version of a tenant's module: for these tables, or for all. What an earlier version was on
    /// trial for has the one before it again. Rules that name their version keep it.
    pub fn with_version(&self, module: &str, compiled: &Compiled, tables: Option<Arc<HashSet<TableName>>>) -> Self {
        let mut uses = Vec::with_capacity(self.uses.len() + 1);
        for one in self.uses.iter() {
            if !one.is_swapped_with(module) {
                uses.push(one.clone());
                continue;
            }
            match (&one.tables, &tables) {
                (VersionTables::Only(_), _) => {}
                (_, None) => uses.push(ModuleUse { compiled: compiled.clone(), tables: VersionTables::All, ..one.clone() }),
                (_, Some(some)) => {
                    uses.push(ModuleUse { tables: VersionTables::Except(some.clone()), ..one.clone() });
                    uses.push(ModuleUse { compiled: compiled.clone(), tables: VersionTables::Only(some.clone()), ..one.clone() });
                }
            }
        }
        Self { uses: Arc::new(uses), ..self.clone() }
    }

    /// The set with one version of a module for all its tables: a share of them that has another one has the others' again.
    pub(crate) fn with_one_version_of(&self, module: &str) -> Self {
        let whole = |one: &ModuleUse| if one.is_swapped_with(module) { one.for_all() } else { Some(one.clone()) };
        Self { uses: Arc::new(self.uses.iter().filter_map(whole).collect()), ..self.clone() }
    }

    /// The set with the versions of a module that `other` has, which is of the same mapping and has one for each rule.
    pub(crate) fn with_versions_of(&self, module: &str, other: &ModuleSet) -> Self {
        let mut others = other.uses.iter().filter(|one| one.is_swapped_with(module));
        let whole = self.with_one_version_of(module);
        let replaced = |one: &ModuleUse| if one.is_swapped_with(module) { others.next().unwrap_or(one) } else { one }.clone();
        Self { uses: Arc::new(whole.uses.iter().map(replaced).collect()), ..whole }
    }

    /// The set for a target, which modules are told, and with the task's word on values.
    pub(crate) fn for_target(&self, target: Engine, values: ValueSettings) -> Arc<Modules> {
        Arc::new(Modules { set: self.clone(), target, values })
    }
}

impl ModuleUse {
    /// The same for all tables of its rule; `None` for a version that some of them have beside another one.
    fn for_all(&self) -> Option<Self> {
        (!matches!(self.tables, VersionTables::Only(_))).then(|| Self { tables: VersionTables::All, ..self.clone() })
    }

    fn is_swapped_with(&self, module: &str) -> bool {
        self.name == module && !self.is_fixed
    }

    fn concerns(&self, table: &TableName) -> bool {
        let located = match &self.locator {
            None => true,
            Some((schema, name)) => schema.matches(&table.schema) && name.matches(&table.name),
        };
        located && self.tables.has(table)
    }
}

impl Modules {
    /// The modules that concern a table, with their index in the set.
    pub(crate) fn of_table(&self, table: &TableName) -> Vec<usize> {
        (0..self.set.uses.len()).filter(|index| self.set.uses[*index].concerns(table)).collect()
    }

    /// What is wanted of a table's values.
    pub(crate) fn values_of(&self, table: &TableName) -> ValueSettings {
        let large = self.set.large.get(table).copied().unwrap_or(self.values.large);
        ValueSettings { large, ..self.values.clone() }
    }

    pub(crate) fn module(&self, index: usize) -> &ModuleUse {
        &self.set.uses[index]
    }

    pub(crate) fn engine(&self) -> &tidegate_sandbox::Engine {
        &self.set.engine
    }

    /// What the mapping says about loads.
    pub(crate) fn loads(&self) -> &LoadRules {
        &self.set.loads
    }

    /// Where tables go whose schema the modules leave as it is.
    pub(crate) fn target_schema(&self) -> Option<&str> {
        self.set.target_schema.as_deref()
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.set.limits
    }
}

struct ModuleRule {
    id: u64,
    reference: ModuleReference,
    schema: String,
    table: String,
    config: String,
}

fn document(table_mappings: &str) -> Result<Json, TaskError> {
    serde_json::from_str(table_mappings)
        .map_err(|error| plan_error("table_mappings", format!("the table mappings are not JSON: {error}"), None))
}

fn selection_digest(document: &Json) -> String {
    let rules = document.get("rules").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
    let selects = |rule: &&Json| matches!(rule.get("rule-type").and_then(Json::as_str), Some("selection" | "module"));
    let mut digest = Sha256::new();
    for rule in rules.iter().filter(selects) {
        digest.update(rule.to_string());
        digest.update([0]);
    }
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn module_rules(document: &Json) -> Result<Vec<ModuleRule>, TaskError> {
    let rules = document.get("rules").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut found = rules
        .iter()
        .filter(|rule| rule.get("rule-type").and_then(Json::as_str) == Some("module"))
        .map(module_rule)
        .collect::<Result<Vec<_>, _>>()?;
    found.sort_by_key(|rule| rule.id);
    Ok(found)
}

fn module_rule(rule: &Json) -> Result<ModuleRule, TaskError> {
    const KEYS: [&str; 7] = ["rule-type", "rule-id", "rule-name", "object-locator", "module", "version", "config"];
    let id = match rule.get("rule-id") {
        Some(Json::Number(number)) => number.as_u64(),
        Some(Json::String(text)) => text.parse().ok(),
        _ => None,
    };
    let id = id.ok_or_else(|| plan_error("module_rule", "a rule of the type module has no numeric rule-id".into(), None))?;
    let wrong = |what: &str| plan_error("module_rule", format!("rule {id} of the type module {what}"), None);
    if let Some(key) = rule.as_object().into_iter().flatten().map(|(key, _)| key).find(|key| !KEYS.contains(&key.as_str())) {
        return Err(wrong(&format!("has the unknown key \"{key}\"")));
    }
    let text = |value: Option<&Json>| value.and_then(Json::as_str).map(str::to_owned);
    let locator = rule.get("object-locator");
    let part = |key: &str| {
        let found = locator.and_then(|locator| locator.get(key));
        text(found).ok_or_else(|| wrong(&format!("lacks \"{key}\" in its object-locator")))
    };
    let version = text(rule.get("version")).unwrap_or_else(|| "latest".into());
    let is_alias = version.starts_with(|letter: char| letter.is_ascii_lowercase());
    if !is_alias && !version.starts_with(DIGEST_PREFIX) {
        return Err(wrong("has a version that is neither \"latest\" nor \"sha256:…\" nor the name of an alias"));
    }
    Ok(ModuleRule {
        id,
        schema: part("schema-name")?,
        table: part("table-name")?,
        reference: ModuleReference { name: text(rule.get("module")).ok_or_else(|| wrong("lacks \"module\""))?, version },
        config: rule.get("config").map_or_else(|| "{}".to_owned(), Json::to_string),
    })
}

fn plan_error(code: &'static str, message: String, hint: Option<String>) -> TaskError {
    TaskError::Plan { code, message, hint }
}

/// A name pattern of an object locator: `%` any text, `_` one letter, `[_]`, `[ab]` and `[a-d]` one letter of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Any,
    One,
    Letter(char),
    /// Inclusive ranges.
    OneOf(Vec<(char, char)>),
}

impl Pattern {
    pub(crate) fn new(text: &str) -> Self {
        let mut pieces = Vec::new();
        let mut letters = text.chars();
        while let Some(letter) = letters.next() {
            pieces.push(match letter {
                '%' => Piece::Any,
                '_' => Piece::One,
                '[' => match letters.as_str().split_once(']') {
                    Some((set, rest)) if !set.is_empty() => {
                        letters = rest.chars();
                        Piece::OneOf(ranges(set))
                    }
                    _ => Piece::Letter('['),
                },
                other => Piece::Letter(other),
            });
        }
        Self(pieces)
    }

    /// Matches this text alone.
    pub(crate) fn exactly(text: &str) -> Self {
        Self(text.chars().map(Piece::Letter).collect())
    }

    /// The one text that it matches, where it has no wildcards.
    pub(crate) fn only(&self) -> Option<String> {
        let letter = |piece: &Piece| match piece {
            Piece::Letter(letter) => Some(*letter),
            Piece::Any | Piece::One | Piece::OneOf(_) => None,
        };
        self.0.iter().map(letter).collect()
    }

    pub(crate) fn matches(&self, name: &str) -> bool {
        let name: Vec<char> = name.chars().collect();
        // The usual two-finger match: on a mismatch, the last `%` takes one letter more.
        let (mut piece, mut at, mut retry) = (0, 0, None);
        loop {
            match self.0.get(piece) {
                Some(Piece::Any) => {
                    retry = Some((piece, at));
                    piece += 1;
                    continue;
                }
                Some(one) if name.get(at).is_some_and(|letter| one.takes(*letter)) => {
                    piece += 1;
                    at += 1;
                    continue;
                }
                None if at == name.len() => return true,
                _ => {}
            }
            match retry {
                Some((star, from)) if from < name.len() => {
                    retry = Some((star, from + 1));
                    piece = star + 1;
                    at = from + 1;
                }
                _ => return false,
            }
        }
    }
}

impl Piece {
    fn takes(&self, letter: char) -> bool {
        match self {
            Piece::Any | Piece::One => true,
            Piece::Letter(wanted) => *wanted == letter,
            Piece::OneOf(ranges) => ranges.iter().any(|(first, last)| (*first..=*last).contains(&letter)),
        }
    }
}

fn ranges(set: &str) -> Vec<(char, char)> {
    let letters: Vec<char> = set.chars().collect();
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < letters.len() {
        if at + 2 < letters.len() && letters[at + 1] == '-' {
            ranges.push((letters[at], letters[at + 2]));
            at += 3;
        } else {
            ranges.push((letters[at], letters[at]));
            at += 1;
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_dms_documents_them() {
        let cases = [
            ("%", "", true),
            ("%", "anything", true),
            ("a%c%e", "abcde", true),
            ("a%c%e", "abcdef", false),
            ("t_x", "tax", true),
            ("t_x", "tx", false),
            ("tmp[_]%", "tmp_1", true),
            ("tmp[_]%", "tmpx1", false),
            ("[a-c]x", "bx", true),
            ("[a-c]x", "dx", false),
            ("[ab]", "b", true),
            ("Orders", "orders", false),
        ];
        for (pattern, name, wanted) in cases {
            assert_eq!(Pattern::new(pattern).matches(name), wanted, "{pattern} {name}");
        }
    }

    #[test]
    fn module_rules_are_read_in_the_order_of_their_ids() {
        let mapping = r#"{"rules":[
            {"rule-type":"module","rule-id":"10","object-locator":{"schema-name":"s","table-name":"%"},"module":"b","config":{"x":1}},
            {"rule-type":"selection","rule-id":"1"},
            {"rule-type":"module","rule-id":9,"object-locator":{"schema-name":"s","table-name":"t"},"module":"a","version":"sha256:00"}]}"#;
        let references = ModuleSet::references(mapping).unwrap();
        assert_eq!(references.iter().map(|reference| reference.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(references[1].version, "latest");
    }

    #[test]
    fn only_rules_that_may_select_other_tables_select_others() {
        let digest = |text: &str| selection_digest(&document(text).unwrap());
        let of = |include: &str, rest: &str| {
            digest(&format!(r#"{{"rules": [{{"rule-type":"selection","rule-id":"1","rule-action":"{include}"}}{rest}]}}"#))
        };
        assert_eq!(of("include", ""), of("include", r#", {"rule-type": "transformation", "rule-id": "2"}"#));
        assert_ne!(of("include", ""), of("exclude", ""));
        assert_ne!(of("include", ""), of("include", r#", {"rule-type": "module", "rule-id": "2"}"#));
    }

    #[test]
    fn incomplete_module_rules_name_what_they_lack() {
        let cases = [
            ("{", "not JSON"),
            (r#"{"rules":[{"rule-type":"module"}]}"#, "rule-id"),
            (r#"{"rules":[{"rule-type":"module","rule-id":"4","module":"a"}]}"#, "schema-name"),
            (r#"{"rules":[{"rule-type":"module","rule-id":"4","modul":"a"}]}"#, "unknown key \"modul\""),
            (
                r#"{"rules":[{"rule-type":"module","rule-id":"4","module":"a","version":"1","object-locator":{"schema-name":"s","table-name":"t"}}]}"#,
                "version",
            ),
        ];
        for (mapping, wanted) in cases {
            let message = ModuleSet::references(mapping).unwrap_err().to_string();
            assert!(message.contains(wanted), "{message}");
        }
    }
}
