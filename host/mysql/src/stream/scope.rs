//! The tables that a stream is asked for, found by the names that the log has for them.

use std::collections::HashMap;

use tidegate_model::TableName;
use tidegate_model::change::RelationId;

use super::relation::Resolved;
use crate::binlog::statement::NameCase;
use crate::binlog::table_map::TableMap;
use crate::catalog::Described;

/// What is known of a table of the scope.
pub(crate) struct Known {
    /// What the catalog said.
    pub(crate) catalog: Option<Described>,
    /// The map for which the catalog was asked again.
    pub(crate) asked_for: Option<TableMap>,
    /// The newest map, and what became of it.
    pub(crate) last: Option<(TableMap, Resolved)>,
    pub(crate) relation: Option<RelationId>,
    pub(crate) version: u32,
}

/// See the module's documentation.
pub(crate) struct Scope {
    tables: HashMap<TableName, Known>,
    case: NameCase,
    /// Where the server folds names: the names of the scope by what they fold to.
    folded: HashMap<TableName, TableName>,
}

impl Scope {
    /// `tables` as the catalog describes them now; `None` for those that are gone.
    pub(crate) fn new(tables: Vec<(TableName, Option<Described>)>, case: NameCase) -> Scope {
        let known = |catalog| Known { catalog, asked_for: None, last: None, relation: None, version: 1 };
        let folded = match case {
            NameCase::Exact => HashMap::new(),
            NameCase::Folded => tables.iter().map(|(name, _)| (folded(name), name.clone())).collect(),
        };
        Scope { tables: tables.into_iter().map(|(name, catalog)| (name, known(catalog))).collect(), case, folded }
    }

    /// How names are compared.
    pub(crate) fn case(&self) -> NameCase {
        self.case
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &TableName> + Clone {
        self.tables.keys()
    }

    /// The table of the scope that the log means by a name.
    pub(crate) fn named(&self, logged: &TableName) -> Option<&TableName> {
        if let Some((name, _)) = self.tables.get_key_value(logged) {
            return Some(name);
        }
        match self.case {
            NameCase::Exact => None,
            NameCase::Folded => self.folded.get(&folded(logged)),
        }
    }

    pub(crate) fn get(&self, table: &TableName) -> Option<&Known> {
        self.tables.get(table)
    }

    pub(crate) fn get_mut(&mut self, table: &TableName) -> Option<&mut Known> {
        self.tables.get_mut(table)
    }
}

fn folded(table: &TableName) -> TableName {
    TableName { schema: table.schema.to_lowercase(), name: table.name.to_lowercase() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_the_table_that_the_server_means() {
        let (small, large) = (TableName::new("s", "orders"), TableName::new("S", "Orders"));
        let scope = |names: &[&TableName], case| Scope::new(names.iter().map(|name| ((*name).clone(), None)).collect(), case);
        let exact = scope(&[&small], NameCase::Exact);
        assert_eq!((exact.named(&small), exact.named(&large)), (Some(&small), None));
        let folded = scope(&[&large], NameCase::Folded);
        assert_eq!((folded.named(&small), folded.named(&large)), (Some(&large), Some(&large)));
        assert_eq!(folded.named(&TableName::new("s", "order")), None);
    }
}
