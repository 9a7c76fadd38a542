//! Deletes that may find no row in the target, for tasks whose policy is to go on then.
//!
//! A group is tried as it is first, which costs nothing while nothing is missing. When the target is not what the source had,
//! the deletes of the table become steps of their own that may find nothing, before its other changes, which stay strict:
//! an update of a row that is not there, or an insert of one that is, is a conflict as ever.
//!
//! Where somebody is to be told of each such delete, the target is asked which rows it lacks before the group is tried again,
//! and the rows of the control table go with it.
//!
//! Rows of tables without an identity are not told apart, so that their deletes stay as strict as their other changes.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use tidegate_connector::{Applied, ConnectorError, Group, Image, Lane, NetChange, OrderedChange, Step, Strictness, TargetTable};
use tidegate_model::TableName;

use crate::row_errors::RowErrors;
use crate::table_errors::CONFLICT;

/// Applies a group; where the policy is that deletes may find nothing, those of each table that differs are tried so, too.
/// `forgiven` are the tables of which that was so.
///
/// # Errors
/// As for [`Lane::apply`].
pub(crate) async fn apply(
    lane: &mut dyn Lane,
    group: &mut Group,
    row_errors: &RowErrors,
    forgiven: &mut HashSet<TableName>,
) -> Result<Applied, ConnectorError> {
    loop {
        let error = match lane.apply(group).await {
            Ok(applied) => {
                forgiven.iter().for_each(|table| row_errors.missed_delete(table));
                return Ok(applied);
            }
            Err(error) => error,
        };
        let concerned = error.table_name().filter(|_| error.code() == CONFLICT && row_errors.forgives_deletes());
        let Some(table) = concerned.cloned() else { return Err(error) };
        let apart = set_apart(&mut group.steps, &table);
        if apart.is_empty() {
            return Err(error);
        }
        if row_errors.tells_missed_deletes() {
            tell(lane, group, &table, &apart, row_errors).await?;
        }
        forgiven.insert(table);
    }
}

/// Adds a row of the control table for each delete in the steps at `apart` that finds nothing.
async fn tell(
    lane: &mut dyn Lane,
    group: &mut Group,
    name: &TableName,
    apart: &[usize],
    row_errors: &RowErrors,
) -> Result<(), ConnectorError> {
    for index in apart {
        let (table, gone): (_, Vec<Image>) = match &group.steps[*index] {
            Step::Net { table, changes, .. } => {
                let image = |change: &NetChange| match change {
                    NetChange::Delete(image) => Some(image.clone()),
                    NetChange::Insert(_) | NetChange::Update(_) | NetChange::Replace(_) => None,
                };
                (table.clone(), changes.iter().filter_map(image).collect())
            }
            Step::Ordered { table, changes, .. } => {
                let image = |change: &OrderedChange| match change {
                    OrderedChange::Delete(image) => Some(image.clone()),
                    OrderedChange::Insert(_) | OrderedChange::Update { .. } => None,
                };
                (table.clone(), changes.iter().filter_map(image).collect())
            }
            Step::Truncate { .. } => continue,
        };
        let is_of_table = |step: &&Step| match step {
            Step::Net { table, .. } | Step::Ordered { table, .. } => table.source.schema.name == *name,
            Step::Truncate { tables } => tables.iter().any(|table| table.source.schema.name == *name),
        };
        let before: Vec<Step> = group.steps[..*index].iter().filter(is_of_table).cloned().collect();
        for missing in lane.missing(&before, &table, &gone).await? {
            group.control.extend(row_errors.missed_row(&table, &gone[missing]));
        }
    }
    Ok(())
}

/// Sets the deletes of the table apart, by its name at the source. Answers the places of the steps that they are now: none when
/// none is left that is strict.
pub(crate) fn set_apart(steps: &mut Vec<Step>, table: &TableName) -> Vec<usize> {
    let mut apart = Vec::new();
    for step in std::mem::take(steps) {
        match step {
            Step::Net { table: of, strictness: Strictness::Strict, changes } if is_concerned(&of, table) => {
                apart.extend(set_apart_net(steps, &of, changes));
            }
            Step::Ordered { table: of, strictness: Strictness::Strict, changes } if is_concerned(&of, table) => {
                apart.extend(set_apart_ordered(steps, &of, changes));
            }
            other => steps.push(other),
        }
    }
    apart
}

/// Sets the deletes of all tables apart.
pub(crate) fn set_all_apart(steps: &mut Vec<Step>) {
    let names = steps.iter().filter_map(|step| match step {
        Step::Net { table, .. } | Step::Ordered { table, .. } => Some(table.source.schema.name.clone()),
        Step::Truncate { .. } => None,
    });
    for name in names.collect::<BTreeSet<TableName>>() {
        set_apart(steps, &name);
    }
}

fn is_concerned(table: &TargetTable, name: &TableName) -> bool {
    table.source.schema.name == *name && !table.identity.is_empty()
}

/// Changes of one step have one order already: deletes come first. So rows that exchange values of a unique key still do.
fn set_apart_net(steps: &mut Vec<Step>, table: &Arc<TargetTable>, changes: Vec<NetChange>) -> Option<usize> {
    let (mut gone, mut others) = (Vec::new(), Vec::new());
    for change in changes {
        match change {
            NetChange::Delete(_) => gone.push(change),
            NetChange::Replace(image) => {
                gone.push(NetChange::Delete(image.clone()));
                others.push(NetChange::Insert(image));
            }
            NetChange::Insert(_) | NetChange::Update(_) => others.push(change),
        }
    }
    let place = (!gone.is_empty()).then_some(steps.len());
    if place.is_some() {
        steps.push(Step::Net { table: table.clone(), strictness: Strictness::Idempotent, changes: gone });
    }
    if !others.is_empty() {
        steps.push(Step::Net { table: table.clone(), strictness: Strictness::Strict, changes: others });
    }
    place
}

/// The order stays, so every stretch of deletes is a step.
fn set_apart_ordered(steps: &mut Vec<Step>, table: &Arc<TargetTable>, changes: Vec<OrderedChange>) -> Vec<usize> {
    let is_delete = |change: &OrderedChange| matches!(change, OrderedChange::Delete(_));
    let mut places = Vec::new();
    let mut rest = changes.into_iter().peekable();
    while let Some(first) = rest.next() {
        let is_gone = is_delete(&first);
        let mut stretch = vec![first];
        while let Some(next) = rest.next_if(|next| is_delete(next) == is_gone) {
            stretch.push(next);
        }
        if is_gone {
            places.push(steps.len());
        }
        let strictness = if is_gone { Strictness::Idempotent } else { Strictness::Strict };
        steps.push(Step::Ordered { table: table.clone(), strictness, changes: stretch });
    }
    places
}

#[cfg(test)]
mod tests {
    use tidegate_model::Cell;

    use super::*;
    use crate::net::tests::{image, table};

    fn row(id: u8) -> Image {
        image([Some(id), Some(0), Some(0)])
    }

    /// The steps in short: how strict, and each change by its letter and its row.
    fn told(steps: &[Step]) -> Vec<String> {
        let id = |image: &Image| match image.row.cell(0) {
            Some(Cell::Binary([id])) => *id,
            other => panic!("no key: {other:?}"),
        };
        let step = |step: &Step| match step {
            Step::Net { strictness, changes, .. } => {
                let change = |change: &NetChange| match change {
                    NetChange::Insert(image) => format!(" I{}", id(image)),
                    NetChange::Update(image) => format!(" U{}", id(image)),
                    NetChange::Delete(image) => format!(" D{}", id(image)),
                    NetChange::Replace(image) => format!(" R{}", id(image)),
                };
                format!("Net {strictness:?}{}", changes.iter().map(change).collect::<String>())
            }
            Step::Ordered { strictness, changes, .. } => {
                let change = |change: &OrderedChange| match change {
                    OrderedChange::Insert(image) => format!(" I{}", id(image)),
                    OrderedChange::Update { new, .. } => format!(" U{}", id(new)),
                    OrderedChange::Delete(image) => format!(" D{}", id(image)),
                };
                format!("Ordered {strictness:?}{}", changes.iter().map(change).collect::<String>())
            }
            Step::Truncate { .. } => "Truncate".to_owned(),
        };
        steps.iter().map(step).collect()
    }

    #[test]
    fn deletes_may_find_nothing_and_other_changes_stay_strict() {
        let of = table(true);
        let changes = vec![NetChange::Insert(row(1)), NetChange::Delete(row(2)), NetChange::Replace(row(3)), NetChange::Update(row(4))];
        let mut steps = vec![Step::Net { table: of.clone(), strictness: Strictness::Strict, changes }];
        assert!(set_apart(&mut steps, &TableName::new("s", "other")).is_empty());
        assert_eq!(told(&steps), ["Net Strict I1 D2 R3 U4"]);
        assert_eq!(set_apart(&mut steps, &of.source.schema.name), [0]);
        assert_eq!(told(&steps), ["Net Idempotent D2 D3", "Net Strict I1 I3 U4"]);
        assert!(set_apart(&mut steps, &of.source.schema.name).is_empty(), "what differs now is no delete");
    }

    #[test]
    fn ordered_changes_keep_their_order_and_rows_without_identity_their_strictness() {
        let changes = [row(1), row(2), row(1), row(2)].into_iter().zip("IDDI".chars()).map(|(row, letter)| match letter {
            'I' => OrderedChange::Insert(row),
            _ => OrderedChange::Delete(row),
        });
        let changes: Vec<OrderedChange> = changes.collect();
        for (is_keyed, wanted) in
            [(true, &["Ordered Strict I1", "Ordered Idempotent D2 D1", "Ordered Strict I2"][..]), (false, &["Ordered Strict I1 D2 D1 I2"])]
        {
            let of = table(is_keyed);
            let mut steps = vec![Step::Ordered { table: of, strictness: Strictness::Strict, changes: changes.clone() }];
            set_all_apart(&mut steps);
            assert_eq!(told(&steps), wanted);
        }
    }
}
