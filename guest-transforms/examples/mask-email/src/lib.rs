//! Replaces text by a keyed SHA-256, so that rows can still be joined by it and nobody can read it.
//!
//! Configuration: `{"columns": ["email"], "key": "a secret of the tenant"}`. A listed column that a table does not have is
//! passed over; a listed column that is not text is an error. NULL stays NULL. Equal values (letter case and
//! surrounding blanks aside, since e-mail addresses are compared like that) get equal pseudonyms: the 64 hexadecimal
//! digits of HMAC-SHA-256.

use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value as Json;
use sha2::Sha256;
use tidegate_transform_sdk::{
    Batch, BatchResult, ColumnSource, ModuleInfo, OutputColumn, PlanError, Planned, RowNeeds, ScalarType, SqlType, TableSchema,
    TextBuilder, Transform, row_plan, unchanged,
};

/// The module.
pub struct MaskEmail {
    key: Vec<u8>,
}

impl Transform for MaskEmail {
    fn describe() -> ModuleInfo {
        ModuleInfo {
            name: "mask-email".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            config_schema: Some(
                r#"{"type":"object","required":["columns","key"],"additionalProperties":false,"properties":{"columns":{"type":"array","items":{"type":"string"},"minItems":1},"key":{"type":"string","minLength":1}}}"#
                    .to_owned(),
            ),
        }
    }

    fn plan(schema: &TableSchema, config: &str) -> Result<Planned<Self>, PlanError> {
        let (columns, key) = read_config(config)?;
        let mut plan = unchanged();
        let mut inputs = Vec::new();
        for column in schema.columns.iter().filter(|column| columns.contains(&column.name)) {
            if !matches!(column.sql_type, SqlType::Scalar(ScalarType::Text(_))) {
                let message = format!("column \"{}\" of table \"{}\" is {}, not text", column.name, schema.name, column.native_type);
                return Err(PlanError { config_path: Some("columns".to_owned()), message });
            }
            inputs.push(column.name.clone());
            plan.outputs.push(OutputColumn {
                name: column.name.clone(),
                sql_type: SqlType::Scalar(ScalarType::Text(Some(64))),
                nullable: column.nullable,
                source: ColumnSource::Computed,
            });
        }
        if !inputs.is_empty() {
            plan.rows = Some(row_plan(inputs, RowNeeds::DETERMINISTIC | RowNeeds::PARTIAL_IMAGES));
        }
        Ok(Planned::Include(plan, MaskEmail { key }))
    }

    fn transform(&mut self, batch: &Batch) -> Result<BatchResult, String> {
        let mut columns = Vec::new();
        for column in &batch.columns {
            let mut masked = TextBuilder::new(batch.rows);
            for row in batch.row_numbers() {
                match column.text(row) {
                    Some(text) => masked.push(&pseudonym(&self.key, text)),
                    None if column.is_absent(row) => masked.push_absent(),
                    None => masked.push_null(),
                }
            }
            columns.push(masked.finish());
        }
        Ok(BatchResult { keep: Vec::new(), columns, errors: Vec::new() })
    }
}

fn read_config(config: &str) -> Result<(Vec<String>, Vec<u8>), PlanError> {
    let error = |path: &str, message: String| PlanError { config_path: (!path.is_empty()).then(|| path.to_owned()), message };
    let json: Json = serde_json::from_str(config).map_err(|problem| error("", format!("the configuration is not JSON: {problem}")))?;
    let Some(object) = json.as_object() else { return Err(error("", "the configuration is not an object".to_owned())) };
    if let Some(key) = object.keys().find(|key| !matches!(key.as_str(), "columns" | "key")) {
        return Err(error(key, "this key is not known; known are \"columns\" and \"key\"".to_owned()));
    }
    let names = object.get("columns").and_then(Json::as_array).filter(|names| !names.is_empty());
    let names = names.and_then(|names| names.iter().map(|name| name.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>());
    let names = names.ok_or_else(|| error("columns", "a list of column names is wanted".to_owned()))?;
    let key = object.get("key").and_then(Json::as_str).filter(|key| !key.is_empty());
    let key = key.ok_or_else(|| error("key", "a text that is not empty is wanted".to_owned()))?;
    Ok((names, key.as_bytes().to_vec()))
}

fn pseudonym(key: &[u8], text: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of every length");
    mac.update(text.trim().to_lowercase().as_bytes());
    let digits = |byte: &u8| [byte >> 4, byte & 15].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)]));
    mac.finalize().into_bytes().iter().flat_map(digits).collect()
}

tidegate_transform_sdk::export_transform!(MaskEmail);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_addresses_get_equal_pseudonyms() {
        assert_eq!(pseudonym(b"k", "A@x.org "), pseudonym(b"k", "a@x.org"));
        assert_ne!(pseudonym(b"k", "a@x.org"), pseudonym(b"l", "a@x.org"));
        assert_ne!(pseudonym(b"k", "a@x.org"), pseudonym(b"k", "b@x.org"));
        // RFC 4231, test case 2.
        assert_eq!(pseudonym(b"Jefe", "what do ya want for nothing?"), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }

    #[test]
    fn a_configuration_of_another_form_is_refused_with_its_path() {
        let cases = [
            ("[]", None),
            ("{", None),
            (r#"{"key":"k"}"#, Some("columns")),
            (r#"{"columns":[],"key":"k"}"#, Some("columns")),
            (r#"{"columns":[1],"key":"k"}"#, Some("columns")),
            (r#"{"columns":["a"],"key":""}"#, Some("key")),
            (r#"{"columns":["a"],"key":"k","extra":1}"#, Some("extra")),
        ];
        for (config, path) in cases {
            assert_eq!(read_config(config).unwrap_err().config_path.as_deref(), path, "{config}");
        }
        assert_eq!(read_config(r#"{"columns":["a"],"key":"k"}"#).unwrap(), (vec!["a".to_owned()], b"k".to_vec()));
    }
}
