//! Changes applied one after the other: of keyless tables, and of rows whose identity changes.

use tidegate_connector::{ConnectorError, Image, OrderedChange, Strictness};

use super::copy::{CopyRows, incomplete};
use super::lane::LaneSession;
use super::net::check_count;
use super::plan::TablePlan;
use super::rows::Call;
use super::statements;

/// Applies the changes in order and returns the rows touched.
pub(crate) async fn apply(
    session: &mut LaneSession,
    plan: &TablePlan,
    strictness: Strictness,
    changes: &[OrderedChange],
) -> Result<u64, ConnectorError> {
    // Without an identity nothing tells a row that is there from its equal, so there is no idempotent form.
    if strictness == Strictness::Strict || plan.identity.is_empty() {
        return strictly(session, plan, changes).await;
    }
    let mut rows = 0;
    for change in changes {
        rows += match change {
            OrderedChange::Insert(new) => replace(session, plan, &[new], new).await?,
            OrderedChange::Update { old, new } => update(session, plan, old.as_ref().unwrap_or(new), new).await?,
            OrderedChange::Delete(old) => touch(session, plan, vec![Call::delete(plan, old)?]).await?,
        };
    }
    Ok(rows)
}

/// As many as can be on their way at once; each must touch exactly one row.
async fn strictly(session: &mut LaneSession, plan: &TablePlan, changes: &[OrderedChange]) -> Result<u64, ConnectorError> {
    let mut rows = 0;
    let mut from = 0;
    if plan.is_direct() {
        for (index, change) in changes.iter().enumerate() {
            if let OrderedChange::Insert(new) = change
                && new.row.has_large()
            {
                rows += by_statements(session, plan, &changes[from..index]).await?;
                rows += copied(session, plan, new).await?;
                from = index + 1;
            }
        }
    }
    Ok(rows + by_statements(session, plan, &changes[from..]).await?)
}

/// A row that a statement would hold several times over.
async fn copied(session: &mut LaneSession, plan: &TablePlan, new: &Image) -> Result<u64, ConnectorError> {
    session.begin().await?;
    let mut copy = CopyRows::start(&session.client, plan, &statements::copy_table(plan)).await?;
    copy.add(plan, new, None).await?;
    let count = copy.finish().await?;
    check_count(plan, "insert", count, 1)?;
    Ok(count)
}

async fn by_statements(session: &mut LaneSession, plan: &TablePlan, changes: &[OrderedChange]) -> Result<u64, ConnectorError> {
    if changes.is_empty() {
        return Ok(0);
    }
    let mut calls = Vec::with_capacity(changes.len());
    let mut verbs = Vec::with_capacity(changes.len());
    for change in changes {
        let (verb, call) = match change {
            OrderedChange::Insert(new) => ("insert", Call::insert(plan, new)?),
            OrderedChange::Update { old, new } => {
                let set = known(plan, new);
                if set.is_empty() {
                    continue;
                }
                let old = old.as_ref().unwrap_or(new);
                if plan.columns.iter().any(|column| column.is_always) {
                    if set.len() == plan.columns.len() && plan.is_whole {
                        // No UPDATE could change the identity column, if that is what the source did.
                        verbs.extend(["delete", "insert"]);
                        calls.extend([Call::delete(plan, old)?, Call::insert(plan, new)?]);
                        continue;
                    }
                    verbs.extend(["update", "keep its identity column"]);
                    calls.extend([Call::update(plan, set, new, old)?, Call::verify(plan, new)?]);
                    continue;
                }
                ("update", Call::update(plan, set, new, old)?)
            }
            OrderedChange::Delete(old) => ("delete", Call::delete(plan, old)?),
        };
        verbs.push(verb);
        calls.push(call);
    }
    let counts = session.call_all(plan, calls).await?;
    for (verb, count) in verbs.iter().zip(&counts) {
        check_count(plan, verb, *count, 1)?;
    }
    Ok(counts.iter().sum())
}

/// An update that may have happened already, wholly or not at all.
async fn update(session: &mut LaneSession, plan: &TablePlan, old: &Image, new: &Image) -> Result<u64, ConnectorError> {
    let set = known(plan, new);
    if set.len() == plan.columns.len() {
        return replace(session, plan, &[old, new], new).await;
    }
    if touch(session, plan, vec![Call::lock(plan, old)?]).await? == 1 {
        // The identity was free when the source made this change, so a row that has it now came later and comes again.
        if identity(plan, old)? != identity(plan, new)? {
            touch(session, plan, vec![Call::delete(plan, new)?]).await?;
        }
        return touch(session, plan, vec![Call::update(plan, set, new, old)?]).await;
    }
    match touch(session, plan, vec![Call::update(plan, set, new, new)?]).await? {
        0 => Err(incomplete(plan)),
        rows => Ok(rows),
    }
}

async fn replace(session: &mut LaneSession, plan: &TablePlan, gone: &[&Image], new: &Image) -> Result<u64, ConnectorError> {
    let mut calls = gone.iter().map(|image| Call::delete(plan, image)).collect::<Result<Vec<_>, _>>()?;
    calls.push(Call::insert(plan, new)?);
    touch(session, plan, calls).await
}

async fn touch(session: &mut LaneSession, plan: &TablePlan, calls: Vec<Call>) -> Result<u64, ConnectorError> {
    Ok(session.call_all(plan, calls).await?.iter().sum())
}

fn known(plan: &TablePlan, image: &Image) -> Vec<usize> {
    (0..plan.columns.len()).filter(|column| plan.knows(*column, image)).collect()
}

fn identity(plan: &TablePlan, image: &Image) -> Result<bytes::BytesMut, ConnectorError> {
    let mut out = bytes::BytesMut::new();
    for column in &plan.identity {
        plan.put_cell(*column, image, &mut out)?;
    }
    Ok(out)
}
