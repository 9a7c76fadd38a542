//! Net changes of one table as sets: deletes, then updates, then inserts.
//!
//! Pure inserts are copied straight into the table. A few changes are prepared statements, which cost two round trips
//! with their commit; many are copied into a staging table and applied by one statement each.

use std::collections::HashMap;

use tidegate_connector::{ConnectorError, ErrorClass, Image, NetChange, Strictness};

use super::copy::{CopyRows, StageMark};
use super::lane::LaneSession;
use super::plan::TablePlan;
use super::rows::Call;
use super::session::DIVERGED_HINT;
use super::statements;

/// Up to so many changes are single statements. Measured: a statement costs the server 15 to 20 µs a row, staging about
/// 300 µs and two more round trips a table.
const STATEMENTS_MAX: usize = 16;

/// Columns that fit into a staging table beside its own two. Source: PostgreSQL manual, "PostgreSQL Limits".
pub(crate) const STAGED_COLUMNS_MAX: usize = 1_598;

/// The changes with their operations, and how many rows each must touch.
struct Work<'a> {
    rows: Vec<(StageMark, &'a Image)>,
    /// Sets of known columns of updates, by their numbers.
    masks: Vec<Vec<bool>>,
    updates: Vec<u64>,
    /// Likewise, of rows that are deleted and inserted again and lack some of their values.
    fills: Vec<u64>,
    deletes: u64,
    inserts: u64,
}

/// Applies the changes and returns the rows touched.
pub(crate) async fn apply(
    session: &mut LaneSession,
    plan: &TablePlan,
    strictness: Strictness,
    changes: &[NetChange],
) -> Result<u64, ConnectorError> {
    // A delete of a row that foreign keys refer to would do more than that where they fire.
    let may_replace = plan.is_whole && (session.is_replica || !plan.is_referenced);
    let work = Work::new(plan, strictness, session.replaces_updates && may_replace, changes)?;
    let is_pure_insert = work.rows.iter().all(|(mark, _)| mark.operation == b'I');
    let fills = work.fills.iter().any(|count| *count > 0);
    // A statement would hold its values several times over, COPY takes them piece by piece.
    let is_large = work.rows.iter().any(|(mark, image)| mark.operation != b'D' && image.row.has_large());
    let counts = if (work.rows.len() <= STATEMENTS_MAX && !fills && !is_large) || plan.columns.len() > STAGED_COLUMNS_MAX {
        work.by_statements(session, plan).await?
    } else if is_pure_insert && plan.is_direct() {
        session.begin().await?;
        let rows = copy(session, plan, &statements::copy_table(plan), &work, false).await?;
        Counts { inserts: rows, ..Counts::default() }
    } else {
        work.by_staging(session, plan).await?
    };
    work.check(plan, strictness, &counts)?;
    Ok(counts.deletes + counts.updates + counts.inserts)
}

/// Rows that were touched.
#[derive(Debug, Default)]
struct Counts {
    deletes: u64,
    updates: u64,
    inserts: u64,
}

impl<'a> Work<'a> {
    fn new(plan: &TablePlan, strictness: Strictness, replaces_updates: bool, changes: &'a [NetChange]) -> Result<Work<'a>, ConnectorError> {
        let is_loose = strictness == Strictness::Idempotent && !plan.identity.is_empty();
        let mut work = Work {
            rows: Vec::with_capacity(changes.len()),
            masks: Vec::new(),
            updates: Vec::new(),
            fills: Vec::new(),
            deletes: 0,
            inserts: 0,
        };
        let mut numbers: HashMap<Vec<bool>, usize> = HashMap::new();
        for change in changes {
            let (operation, image) = match change {
                NetChange::Insert(image) if is_loose => (b'R', image),
                NetChange::Insert(image) => (b'I', image),
                NetChange::Delete(image) => (b'D', image),
                NetChange::Replace(image) => (b'R', image),
                NetChange::Update(image) => {
                    let known: Vec<bool> = (0..plan.columns.len()).map(|column| plan.knows(column, image)).collect();
                    if (is_loose || replaces_updates) && known.iter().all(|is_known| *is_known) {
                        (b'R', image)
                    } else {
                        let next = work.masks.len();
                        let number = *numbers.entry(known.clone()).or_insert(next);
                        if number == next {
                            work.masks.push(known);
                            work.updates.push(0);
                            work.fills.push(0);
                        }
                        let mask = i32::try_from(number).expect("a group has fewer than 2^31 changes");
                        let is_fill = replaces_updates && plan.columns.len() <= STAGED_COLUMNS_MAX;
                        if is_fill {
                            work.fills[number] += 1;
                            work.deletes += 1;
                            work.inserts += 1;
                        } else {
                            work.updates[number] += 1;
                        }
                        work.rows.push((StageMark { operation: if is_fill { b'F' } else { b'U' }, mask }, image));
                        continue;
                    }
                }
            };
            work.deletes += u64::from(operation != b'I');
            work.inserts += u64::from(operation != b'D');
            work.rows.push((StageMark { operation, mask: -1 }, image));
        }
        if plan.identity.is_empty() && work.rows.iter().any(|(mark, _)| mark.operation != b'I') {
            let message = format!("table \"{}\" is keyless: found net changes other than inserts", plan.table.name);
            return Err(ConnectorError::new(ErrorClass::Bug, "keyless_net_change", message));
        }
        Ok(work)
    }

    async fn by_statements(&self, session: &mut LaneSession, plan: &TablePlan) -> Result<Counts, ConnectorError> {
        let (mut deletes, mut updates, mut inserts, mut verifies) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut counts = Counts::default();
        for (mark, image) in &self.rows {
            match mark.operation {
                b'U' => {
                    let known = &self.masks[usize::try_from(mark.mask).expect("updates have masks")];
                    let set: Vec<usize> = statements::settable(plan, known).collect();
                    if statements::verifies(plan, known).next().is_some() {
                        verifies.push(Call::verify(plan, image)?);
                    }
                    if set.is_empty() {
                        counts.updates += 1;
                    } else {
                        updates.push(Call::update(plan, set, image, image)?);
                    }
                }
                operation => {
                    if operation != b'I' {
                        deletes.push(Call::delete(plan, image)?);
                    }
                    if operation != b'D' {
                        inserts.push(Call::insert(plan, image)?);
                    }
                }
            }
        }
        let (verify_count, delete_count, update_count) = (verifies.len(), deletes.len(), updates.len());
        let calls = verifies.into_iter().chain(deletes).chain(updates).chain(inserts).collect();
        let touched = session.call_all(plan, calls).await?;
        let (verified, rest) = touched.split_at(verify_count);
        check_verified(plan, verified.iter().sum(), verify_count as u64)?;
        let (deleted, rest) = rest.split_at(delete_count);
        let (updated, inserted) = rest.split_at(update_count);
        counts.deletes = deleted.iter().sum();
        counts.updates += updated.iter().sum::<u64>();
        counts.inserts = inserted.iter().sum();
        Ok(counts)
    }

    async fn by_staging(&self, session: &mut LaneSession, plan: &TablePlan) -> Result<Counts, ConnectorError> {
        session.stage(plan).await?;
        let sql = format!("copy {} from stdin (format binary)", statements::stage_name(plan));
        copy(session, plan, &sql, self, true).await?;
        let mut counts = Counts::default();
        let mut texts = Vec::with_capacity(self.masks.len() + 2);
        let verified = self.masks.iter().enumerate().filter_map(|(mask, known)| {
            let sql = statements::verify_staged(plan, mask, known).filter(|_| self.updates[mask] > 0)?;
            Some((sql, self.updates[mask]))
        });
        let (checks, wanted): (Vec<String>, Vec<u64>) = verified.unzip();
        check_verified(plan, session.run_all(plan, &checks).await?.iter().sum(), wanted.iter().sum())?;
        let filled = self.masks.iter().enumerate().filter(|(mask, _)| self.fills[*mask] > 0);
        let fills: Vec<String> = filled.map(|(mask, known)| statements::fill_staged(plan, mask, known)).collect();
        check_count(plan, "complete", session.run_all(plan, &fills).await?.iter().sum(), self.fills.iter().sum())?;
        if self.deletes > 0 {
            texts.push(statements::delete_staged(plan, "'D', 'R'"));
        }
        let first_update = texts.len();
        for (mask, known) in self.masks.iter().enumerate().filter(|(mask, _)| self.updates[*mask] > 0) {
            match statements::update_staged(plan, mask, known) {
                Some(sql) => texts.push(sql),
                None => counts.updates += self.updates[mask],
            }
        }
        let first_insert = texts.len();
        if self.inserts > 0 {
            texts.push(statements::insert_staged(plan, "'I', 'R'"));
        }
        let touched = session.run_all(plan, &texts).await?;
        counts.deletes = touched[..first_update].iter().sum();
        counts.updates += touched[first_update..first_insert].iter().sum::<u64>();
        counts.inserts = touched[first_insert..].iter().sum();
        Ok(counts)
    }

    /// Compares rows touched with rows expected.
    fn check(&self, plan: &TablePlan, strictness: Strictness, counts: &Counts) -> Result<(), ConnectorError> {
        let updates = self.updates.iter().sum::<u64>();
        match strictness {
            Strictness::Strict => {
                check_count(plan, "delete", counts.deletes, self.deletes)?;
                check_count(plan, "update", counts.updates, updates)?;
                check_count(plan, "insert", counts.inserts, self.inserts)
            }
            Strictness::Idempotent if counts.updates != updates => Err(super::copy::incomplete(plan)),
            Strictness::Idempotent => check_count(plan, "insert", counts.inserts, self.inserts),
        }
    }
}

async fn copy(session: &LaneSession, plan: &TablePlan, sql: &str, work: &Work<'_>, is_staged: bool) -> Result<u64, ConnectorError> {
    let mut rows = CopyRows::start(&session.client, plan, sql).await?;
    for (mark, image) in &work.rows {
        rows.add(plan, image, is_staged.then_some(*mark)).await?;
    }
    rows.finish().await
}

/// The source gave a row another value in a column that no UPDATE may set here: only a row that is inserted has it.
fn check_verified(plan: &TablePlan, found: u64, wanted: u64) -> Result<(), ConnectorError> {
    check_count(plan, "keep their identity columns", found, wanted)
}

/// Another count than expected means that the target is not what the source had.
pub(crate) fn check_count(plan: &TablePlan, verb: &str, found: u64, wanted: u64) -> Result<(), ConnectorError> {
    if found == wanted {
        return Ok(());
    }
    let message = format!("table \"{}\" of the target: found {found} rows to {verb}, wanted {wanted}", plan.table.name);
    Err(ConnectorError::table(&plan.table.source.schema.name, "target_diverged", message).hint(DIVERGED_HINT))
}
