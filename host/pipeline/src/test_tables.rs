//! Tables for unit tests.

use std::sync::Arc;

use tidegate_connector::{NeutralDecoder, SourceTable};
use tidegate_model::schema::RowEncoding;
use tidegate_model::{BeforeImages, Column, Engine, SqlType, TableName, TableSchema};

/// A table of MySQL, `s.t`, whose first column is its key and whose cells are in the neutral form.
pub(crate) fn source_table(columns: &[(&str, SqlType)]) -> SourceTable {
    let described = columns.iter().map(|(name, sql_type)| Column {
        name: (*name).into(),
        sql_type: sql_type.clone(),
        native_type: String::new(),
        collation: None,
        nullable: true,
        generated: false,
    });
    let schema = TableSchema {
        name: TableName::new("s", "t"),
        engine: Engine::Mysql,
        columns: described.collect(),
        primary_key: vec![0],
        unique_keys: Vec::new(),
        identity: vec![0],
        before_images: BeforeImages::Full,
        encoding: RowEncoding::Neutral,
        version: 1,
    };
    let decoder = NeutralDecoder::new(columns.iter().map(|(name, sql_type)| ((*name).to_owned(), sql_type.clone())));
    SourceTable { schema, decoder: Arc::new(decoder), rows_estimate: 0, lineage: None }
}
