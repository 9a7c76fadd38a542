//! Plans.

use std::collections::BTreeSet;

use rand::Rng;
use rand::rngs::SmallRng;
use tidegate_model::schema::RowEncoding;
use tidegate_model::{BeforeImages, Column, Engine, SqlType, TableName, TableSchema};

use super::{pick, rounds};
use crate::contract::tidegate::transform::types as wit;
use crate::convert::outcome_from_wit;
use crate::plan::{ColumnOrigin, OutputSource, PlanOutcome, TablePlan};
use crate::plan_check;

/// Names that a module might come up with: columns of the table, new ones, and none that is one.
const NAMES: [&str; 8] = ["id", "qty", "note", "total", "id2", "gone", "", "a\0b"];

fn schema(rng: &mut SmallRng) -> TableSchema {
    let column = |name: &str, nullable| Column {
        name: name.to_owned(),
        sql_type: SqlType::Int32,
        native_type: "int".to_owned(),
        nullable,
        collation: None,
        generated: false,
    };
    let key = *pick(rng, &[&[0][..], &[], &[0, 1]]);
    TableSchema {
        name: TableName::new("shop", "orders"),
        engine: Engine::Postgres,
        columns: vec![column("id", false), column("qty", false), column("note", true)],
        primary_key: key.to_vec(),
        unique_keys: vec![],
        identity: key.to_vec(),
        before_images: *pick(rng, &[BeforeImages::Full, BeforeImages::KeyOnly, BeforeImages::None]),
        encoding: RowEncoding::Postgres,
        version: 1,
    }
}

fn name(rng: &mut SmallRng) -> String {
    // Mostly names that exist, or every plan would be refused for its first one.
    let choices = if rng.random_bool(0.8) { &NAMES[..5] } else { &NAMES[..] };
    (*pick(rng, choices)).to_owned()
}

fn some<T>(rng: &mut SmallRng, most: usize, mut make: impl FnMut(&mut SmallRng) -> T) -> Vec<T> {
    let count = rng.random_range(0..=most);
    (0..count).map(|_| make(rng)).collect()
}

fn any_source(rng: &mut SmallRng) -> wit::ColumnSource {
    match rng.random_range(0..4) {
        0 => wit::ColumnSource::CopyOf(name(rng)),
        1 => wit::ColumnSource::Constant(rng.random::<bool>().then(|| "1".to_owned())),
        2 => wit::ColumnSource::Masked(wit::HostMask {
            column: name(rng),
            mask: *pick(rng, &[wit::MaskKind::Nullify, wit::MaskKind::Redact, wit::MaskKind::Email]),
        }),
        _ => wit::ColumnSource::Computed,
    }
}

fn any_plan(rng: &mut SmallRng) -> wit::TablePlan {
    wit::TablePlan {
        target_namespace: rng.random_bool(0.2).then(|| name(rng)),
        target_name: rng.random_bool(0.2).then(|| name(rng)),
        renames: some(rng, 1, |rng| wit::Rename { column: name(rng), to: name(rng) }),
        drops: some(rng, 1, name),
        outputs: some(rng, 2, |rng| wit::OutputColumn {
            name: name(rng),
            sql_type: wit::SqlType::Scalar(wit::ScalarType::Int64),
            nullable: rng.random(),
            source: any_source(rng),
        }),
        primary_key: rng.random_bool(0.3).then(|| some(rng, 2, name)),
        rows: rng.random_bool(0.7).then(|| wit::RowPlan {
            inputs: some(rng, 2, name),
            needs: *pick(rng, &[wit::RowNeeds::empty(), wit::RowNeeds::all(), wit::RowNeeds::DETERMINISTIC]),
            text: *pick(rng, &[wit::TextLayout::Buffers, wit::TextLayout::Strings]),
        }),
        notes: vec![],
        hints: vec![],
    }
}

#[test]
fn an_accepted_plan_describes_a_table_that_can_exist() {
    let (mut accepted, mut refused, mut masked) = (0_u64, 0_u64, 0_u64);
    rounds("plans", 30_000, |rng| {
        let schema = schema(rng);
        let plan = any_plan(rng);
        let is_masked = plan.outputs.iter().any(|output| matches!(output.source, wit::ColumnSource::Masked(_)));
        let plan = match outcome_from_wit(wit::PlanOutcome::Include(plan), &schema) {
            Ok(PlanOutcome::Include(plan)) if !is_masked => plan,
            Err(error) if is_masked => {
                masked += 1;
                assert!(error.to_string().contains("to be masked by the host"), "{error}");
                return;
            }
            other => panic!("masks by the host: {is_masked}; {other:?}"),
        };
        match plan_check::check(&plan, &schema) {
            Ok(()) => {
                accepted += 1;
                check_sound(&plan, &schema);
            }
            Err(error) => {
                refused += 1;
                assert!(error.to_string().contains("shop.orders"), "{error}");
            }
        }
    });
    assert!(accepted > 100 && refused > 100 && masked > 100, "{accepted} accepted, {refused} refused, {masked} masked by the host");
}

fn check_sound(plan: &TablePlan, schema: &TableSchema) {
    let columns = plan.target_columns(schema);
    let names: BTreeSet<_> = columns.iter().map(|column| column.name.as_str()).collect();
    assert!(!columns.is_empty() && names.len() == columns.len(), "{plan:?}");
    assert!(names.iter().all(|name| !name.is_empty() && !name.contains('\0')), "{plan:?}");
    let key = plan.target_primary_key(schema);
    assert_eq!(key.iter().collect::<BTreeSet<_>>().len(), key.len(), "{plan:?}");
    for name in &key {
        let column = columns.iter().find(|column| column.name == *name).expect("a key column exists");
        assert!(!column.nullable, "{plan:?}");
    }
    assert!(plan.primary_key.is_some() || key.len() == schema.primary_key.len(), "a key column was lost: {plan:?}");
    for column in &columns {
        match column.origin {
            ColumnOrigin::Source(index) => assert!(index < schema.columns.len()),
            ColumnOrigin::Output { output, .. } => {
                let output = &plan.outputs[output];
                assert!(output.source != OutputSource::Computed || plan.rows.is_some(), "{plan:?}");
                if let OutputSource::CopyOf(name) = &output.source {
                    assert!(schema.column_index(name).is_some(), "{plan:?}");
                }
            }
        }
    }
    assert!(plan.rows.iter().flat_map(|rows| &rows.inputs).all(|name| schema.column_index(name).is_some()), "{plan:?}");
}
