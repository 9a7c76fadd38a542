//! What is computed for a batch: the columns that are added or changed.
//!
//! ```text
//!   input column, or expression ──▶ conversion ──▶ mask ──▶ column of the answer
//! ```

use tidegate_transform_sdk::{Batch, Column, RowError, ScalarType, SqlType};

use crate::bind::{bind, block_rows, var_bytes};
use crate::expression::{Arena, Evaluator, Expression, Failure, Image, Value};
use crate::mask::Mask;
use crate::typed::{Builder, Exact, Misfit, read};

/// The host takes an image with such an error for one that it could not send.
pub(crate) const NOT_LOGGED: &str = "not-logged";

/// A value that a mask cannot be applied to. The host follows the task's policy for masks then.
const MASK_FAILED: &str = "mask-failed";

/// Kinds of images.
const UPDATE_BEFORE: u8 = 2;
const DELETE: u8 = 4;

/// An input of the table's work.
#[derive(Debug, Clone)]
pub(crate) struct Input {
    pub(crate) name: String,
    pub(crate) sql_type: SqlType,
    /// Another one in every change, even where no column changes.
    pub(crate) is_header: bool,
}

/// Where the value of an output begins.
#[derive(Debug)]
pub(crate) enum Start {
    /// An input, by its index.
    Input(usize),
    /// An expression and the type of its results. Its inputs are those of the table, by index.
    Expression { expression: Box<Expression>, inputs: Vec<usize>, evaluator: Evaluator, scalar: ScalarType },
}

/// What happens to it then.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Convert(ScalarType),
    Mask(Mask),
}

/// A computed column of the target.
#[derive(Debug)]
pub(crate) struct Output {
    /// For complaints about rows.
    pub(crate) label: String,
    pub(crate) start: Start,
    /// Each with the rule that asks for it.
    pub(crate) steps: Vec<Step>,
    pub(crate) nullable: bool,
}

/// The work on one table's batches.
#[derive(Debug, Default)]
pub(crate) struct Work {
    pub(crate) inputs: Vec<Input>,
    pub(crate) outputs: Vec<Output>,
    /// Deletes are written too.
    pub(crate) soft_deletes: bool,
}

impl Work {
    /// The index of an input, which is asked for from now on.
    pub(crate) fn input(&mut self, input: Input) -> usize {
        let known = self.inputs.iter().position(|other| other.name == input.name);
        known.unwrap_or_else(|| {
            self.inputs.push(input);
            self.inputs.len() - 1
        })
    }

    /// The computed columns, and the rows that fail.
    pub(crate) fn run(&mut self, batch: &Batch, errors: &mut Vec<RowError>) -> Vec<Column> {
        let (inputs, soft_deletes) = (&self.inputs, self.soft_deletes);
        self.outputs.iter_mut().map(|output| output.run(batch, inputs, soft_deletes, errors)).collect()
    }
}

impl Output {
    fn run(&mut self, batch: &Batch, inputs: &[Input], soft_deletes: bool, errors: &mut Vec<RowError>) -> Column {
        let gaps = self.gaps(batch, inputs, soft_deletes, errors);
        let has_gap = |row: usize| gaps.get(row).copied().unwrap_or(false);
        let failed = errors.len();
        let (mut column, mut sql_type) = match &mut self.start {
            Start::Input(index) => (batch.columns[*index].clone(), inputs[*index].sql_type.clone()),
            Start::Expression { expression, inputs: own, evaluator, scalar } => {
                let column = evaluated(expression, own, evaluator, scalar, batch, inputs, &has_gap, &self.label, errors);
                (column, SqlType::Scalar(scalar.clone()))
            }
        };
        for step in &self.steps {
            let (stepped, scalar) = step.run(&column, &sql_type, batch.rows as usize, &self.label, errors);
            (column, sql_type) = (stepped, SqlType::Scalar(scalar));
        }
        if !self.nullable {
            let is_wanted = |row: &usize| !matches!(batch.kinds[*row], UPDATE_BEFORE | DELETE) || soft_deletes;
            for row in batch.row_numbers().filter(|row| column.is_null(*row) && !column.is_absent(*row)).filter(is_wanted) {
                if !errors[failed..].iter().any(|error| error.row as usize == row) {
                    errors.push(row_error(row, "value-is-null", &self.label, "NULL came out for a column that is not null"));
                }
            }
        }
        column
    }

    /// Rows whose value stays in the target as it is, because the change left alone what it is made of. A row of which
    /// that cannot be said is an error. Empty when every input is there, as nearly always.
    fn gaps(&self, batch: &Batch, inputs: &[Input], soft_deletes: bool, errors: &mut Vec<RowError>) -> Vec<bool> {
        let (own, reads_operation): (&[usize], bool) = match &self.start {
            Start::Input(index) => (std::slice::from_ref(index), false),
            Start::Expression { expression, inputs, .. } => (inputs, expression.reads_operation),
        };
        if own.iter().all(|index| batch.columns[*index].absent.is_empty()) {
            return Vec::new();
        }
        let varies = reads_operation || own.iter().any(|index| inputs[*index].is_header);
        let gap = |row: usize| {
            let absent = |index: &usize| batch.columns[*index].is_absent(row);
            if !own.iter().any(absent) {
                return Ok(false);
            }
            let others = own.iter().any(|index| !inputs[*index].is_header && !absent(index));
            match batch.kinds[row] {
                UPDATE_BEFORE => Ok(true),
                // A delete changes no column; what is not in its image is as it was.
                DELETE if !(soft_deletes && varies) => Ok(true),
                DELETE => Err(()),
                _ if varies || others => Err(()),
                _ => Ok(true),
            }
        };
        batch
            .row_numbers()
            .map(|row| match gap(row) {
                Ok(gap) => gap,
                Err(()) => {
                    errors.push(row_error(row, NOT_LOGGED, &self.label, "the log lacks a value that the column is made of"));
                    true
                }
            })
            .collect()
    }
}

#[allow(clippy::too_many_arguments, reason = "the parts of one borrowed enum")]
fn evaluated(
    expression: &Expression,
    own: &[usize],
    evaluator: &mut Evaluator,
    scalar: &ScalarType,
    batch: &Batch,
    inputs: &[Input],
    has_gap: &impl Fn(usize) -> bool,
    label: &str,
    errors: &mut Vec<RowError>,
) -> Column {
    let rows = batch.rows as usize;
    let block = block_rows(own.iter().map(|index| var_bytes(&batch.columns[*index])), rows);
    let mut builder = Builder::new(scalar, rows);
    let mut start = 0;
    while start < rows {
        let end = (start + block).min(rows);
        let image = Image { kinds: &batch.kinds[start..end] };
        let (values, arena) = evaluator.run(expression, image, |index, arena| {
            let input = own[index];
            bind(&batch.columns[input], &inputs[input].sql_type, start..end, arena)
        });
        for (row, value) in (start..end).zip(values) {
            if has_gap(row) {
                builder.push_absent();
                continue;
            }
            if let Err((code, message)) = push(&mut builder, value, arena) {
                errors.push(row_error(row, code, label, message));
            }
        }
        start = end;
    }
    builder.finish()
}

fn push(builder: &mut Builder, value: Value, arena: &Arena) -> Result<(), (&'static str, &'static str)> {
    let exact = match value {
        Value::Null => {
            builder.push_null();
            return Ok(());
        }
        Value::Failed(failure) => {
            builder.push_null();
            return Err((Failure::code(failure), Failure::message(failure)));
        }
        Value::Integer(number) => Exact::Integer(number.into()),
        Value::Real(number) => Exact::Computed(number),
        Value::Text(span) => return builder.push_utf8(arena.bytes(span)).map_err(|misfit| (Misfit::code(misfit), Misfit::message(misfit))),
        Value::Blob(span) => Exact::Bytes(arena.bytes(span)),
    };
    builder.push(&exact).map_err(|misfit| (Misfit::code(misfit), Misfit::message(misfit)))
}

impl Step {
    fn run(&self, column: &Column, from: &SqlType, rows: usize, label: &str, errors: &mut Vec<RowError>) -> (Column, ScalarType) {
        let scalar = self.scalar(from);
        let mut builder = Builder::new(&scalar, rows);
        for row in 0..rows {
            if column.is_absent(row) {
                builder.push_absent();
                continue;
            }
            let Some(value) = read(column, row, from) else {
                builder.push_null();
                continue;
            };
            let pushed = match self {
                Step::Convert(_) => builder.push(&value),
                Step::Mask(mask) => value.text().and_then(|text| builder.push(&Exact::Text(&mask.apply(&text, &scalar)))),
            };
            if let Err(misfit) = pushed {
                let code = if matches!(self, Step::Mask(_)) { MASK_FAILED } else { misfit.code() };
                errors.push(row_error(row, code, label, misfit.message()));
            }
        }
        (builder.finish(), scalar)
    }

    /// The type after the step.
    pub(crate) fn scalar(&self, from: &SqlType) -> ScalarType {
        match (self, from) {
            (Step::Convert(scalar), _) => scalar.clone(),
            (Step::Mask(Mask::Hash(_)), SqlType::Scalar(ScalarType::Text(Some(chars)))) => {
                ScalarType::Text(Some((*chars).max(crate::mask::HASH_CHARS)))
            }
            (Step::Mask(_), SqlType::Scalar(scalar)) => scalar.clone(),
            (Step::Mask(_), SqlType::Array(_)) => ScalarType::Text(None),
        }
    }
}

fn row_error(row: usize, code: &str, label: &str, message: &str) -> RowError {
    RowError { row: row as u32, code: code.to_owned(), message: format!("{label}: {message}") }
}
