//! Statements on single rows: their shapes, which are prepared once, and their values.

use bytes::{Bytes, BytesMut};
use tidegate_connector::{ConnectorError, Image};
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use super::copy::incomplete;
use super::plan::{Large, TablePlan};
use super::statements;

/// What a statement does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Verb {
    Insert,
    Update,
    Delete,
    Lock,
}

/// A statement of a plan: the columns that it sets, and those by which it finds its row.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Shape {
    plan: u64,
    verb: Verb,
    set: Vec<usize>,
    by: Vec<usize>,
}

impl Shape {
    pub(crate) fn sql(&self, plan: &TablePlan) -> String {
        match self.verb {
            Verb::Insert => statements::insert_row(plan),
            Verb::Update => statements::update_row(plan, &self.set, &self.by),
            Verb::Delete => statements::delete_row(plan, &self.by),
            Verb::Lock => statements::lock_row(plan, &self.by),
        }
    }

    pub(crate) fn types(&self, plan: &TablePlan) -> Vec<Type> {
        self.set.iter().chain(&self.by).map(|index| plan.columns[*index].wire.clone()).collect()
    }
}

/// A shape with its values.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) shape: Shape,
    pub(crate) values: Vec<Wire>,
}

impl Call {
    pub(crate) fn insert(plan: &TablePlan, image: &Image) -> Result<Call, ConnectorError> {
        Call::new(plan, Verb::Insert, (0..plan.columns.len()).collect(), image, Vec::new(), image)
    }

    /// Sets the columns `set` from `new` in the row that `old` identifies, but for those that no UPDATE may name.
    pub(crate) fn update(plan: &TablePlan, mut set: Vec<usize>, new: &Image, old: &Image) -> Result<Call, ConnectorError> {
        set.retain(|column| !plan.columns[*column].is_always);
        Call::new(plan, Verb::Update, set, new, finding(plan), old)
    }

    pub(crate) fn delete(plan: &TablePlan, old: &Image) -> Result<Call, ConnectorError> {
        Call::new(plan, Verb::Delete, Vec::new(), old, finding(plan), old)
    }

    /// Counts 1 when the row that `old` identifies is there.
    pub(crate) fn lock(plan: &TablePlan, old: &Image) -> Result<Call, ConnectorError> {
        Call::new(plan, Verb::Lock, Vec::new(), old, finding(plan), old)
    }

    /// Counts 1 when the row that `new` identifies has, in the columns that no UPDATE may name, what `new` says.
    pub(crate) fn verify(plan: &TablePlan, new: &Image) -> Result<Call, ConnectorError> {
        let always = (0..plan.columns.len()).filter(|column| plan.columns[*column].is_always && plan.knows(*column, new));
        let mut by = finding(plan);
        by.extend(always.filter(|column| !plan.identity.contains(column)));
        Call::new(plan, Verb::Lock, Vec::new(), new, by, new)
    }

    fn new(plan: &TablePlan, verb: Verb, set: Vec<usize>, new: &Image, by: Vec<usize>, old: &Image) -> Result<Call, ConnectorError> {
        let mut values = Vec::with_capacity(set.len() + by.len());
        for index in &set {
            values.push(Wire::of(plan, *index, new)?);
        }
        for index in &by {
            values.push(Wire::of(plan, *index, old)?);
        }
        Ok(Call { shape: Shape { plan: plan.id, verb, set, by }, values })
    }
}

/// Columns that find a row: the identity, or every column.
fn finding(plan: &TablePlan) -> Vec<usize> {
    if plan.identity.is_empty() { (0..plan.columns.len()).collect() } else { plan.identity.clone() }
}

/// Bytes in the form of their column's wire type; `None` is NULL.
#[derive(Debug)]
pub(crate) struct Wire(Option<Bytes>);

impl Wire {
    fn of(plan: &TablePlan, column: usize, image: &Image) -> Result<Wire, ConnectorError> {
        if let Some(Large { head: None, bytes, .. }) = plan.large_cell(column, image)? {
            return Ok(Wire(Some(bytes)));
        }
        let mut out = BytesMut::new();
        if !plan.put_cell(column, image, &mut out)? {
            return Err(incomplete(plan));
        }
        let is_null = out[..4] == [0xff; 4];
        Ok(Wire((!is_null).then(|| out.freeze().slice(4..))))
    }
}

impl ToSql for Wire {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match &self.0 {
            None => Ok(IsNull::Yes),
            Some(bytes) => {
                out.extend_from_slice(bytes);
                Ok(IsNull::No)
            }
        }
    }

    // The bytes were made for the type that the statement was prepared with.
    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}
