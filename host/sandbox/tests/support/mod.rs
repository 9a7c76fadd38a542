//! Tables, batches and modules for the tests.

// Helpers of several test programs, each of which uses some; outside #[test] functions clippy asks for expect.
#![allow(dead_code, clippy::unwrap_used)]

use std::sync::LazyLock;

use tidegate_model::schema::RowEncoding;
use tidegate_model::{BeforeImages, Column, Engine as Database, ImageKind, SqlType, TableName, TableSchema, Value};
use tidegate_sandbox::{Batch, BatchBuilder, Compiled, Engine, EngineSettings, Limits, PlanInput, Sandbox, TextLayout, builtin_rules};

pub(crate) static ENGINE: LazyLock<Engine> = LazyLock::new(|| Engine::new(EngineSettings::default()).unwrap());
pub(crate) static RULES: LazyLock<Compiled> = LazyLock::new(|| ENGINE.compile(builtin_rules()).unwrap());

/// A module beside the built-in one, from `cargo xtask guests`.
pub(crate) fn guest(name: &str) -> Vec<u8> {
    let path = format!("{}/../../target/guests/{name}.wasm", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}; run `cargo xtask guests`"))
}

pub(crate) fn sandbox(module: &Compiled) -> Sandbox {
    Sandbox::new(&ENGINE, module, Limits::default()).unwrap()
}

pub(crate) fn schema() -> TableSchema {
    let column = |name: &str, sql_type, nullable| Column {
        name: name.to_owned(),
        sql_type,
        native_type: "a type".to_owned(),
        nullable,
        collation: None,
        generated: false,
    };
    TableSchema {
        name: TableName::new("shop", "customers"),
        engine: Database::Mysql,
        columns: vec![
            column("id", SqlType::Int64, false),
            column("email", SqlType::Text { chars_max: Some(100) }, true),
            column("score", SqlType::Decimal { precision: Some(10), scale: Some(2) }, true),
        ],
        primary_key: vec![0],
        unique_keys: vec![],
        identity: vec![0],
        before_images: BeforeImages::Full,
        encoding: RowEncoding::Neutral,
        version: 1,
    }
}

pub(crate) fn input(schema: &TableSchema) -> PlanInput<'_> {
    PlanInput { schema, target: Database::Postgres }
}

/// A batch of one column, one insert a value.
pub(crate) fn batch(sql_type: SqlType, values: &[Value<'_>]) -> Batch {
    let mut builder = BatchBuilder::new(&[sql_type], TextLayout::Buffers);
    for value in values {
        builder.push_kind(ImageKind::Insert);
        builder.push_value(0, value).unwrap();
    }
    builder.finish().unwrap()
}
