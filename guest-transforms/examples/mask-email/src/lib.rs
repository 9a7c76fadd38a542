//! Replaces text by a keyed SHA-256, so that rows can still be joined by it and nobody can read it.
//!
//! Configuration: `{"columns": ["email"], "key": "a secret of the tenant"}`. A listed column that a table does not have is
//! passed over; a listed column that is not text is an error. NULL stays NULL. Equal values (letter case and
//! surrounding blanks aside, since e-mail addresses are compared like that) get equal pseudonyms: the 64 hexadecimal
//! digits of HMAC-SHA-256.

use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::Sha256;
use tidegate_transform_sdk::{Input, Output, Plan, PlanError, Rejection, Row, RowTransform, SqlType};

/// Characters of a pseudonym.
const DIGITS: u32 = 64;

/// The tenant's configuration.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    columns: Vec<String>,
    key: String,
}

/// The module.
pub struct MaskEmail {
    key: String,
    columns: Vec<(Input, Output)>,
}

impl RowTransform for MaskEmail {
    type Config = Config;

    fn config_schema() -> Option<&'static str> {
        Some(
            r#"{"type":"object","required":["columns","key"],"additionalProperties":false,"properties":{"columns":{"type":"array","items":{"type":"string"},"minItems":1},"key":{"type":"string","minLength":1}}}"#,
        )
    }

    fn plan(plan: &mut Plan<'_>, config: Config) -> Result<Self, PlanError> {
        if config.columns.is_empty() {
            return Err(PlanError::new("a list of column names is wanted").at("columns"));
        }
        if config.key.is_empty() {
            return Err(PlanError::new("a text that is not empty is wanted").at("key"));
        }
        let table = plan.table();
        let mut columns = Vec::new();
        for column in config.columns.iter().filter(|column| table.column(column).is_some()) {
            let input = plan.read_text(column).map_err(|error| error.at("columns"))?;
            columns.push((input, plan.replace(input, SqlType::text_max(DIGITS))));
        }
        Ok(Self { key: config.key, columns })
    }

    fn row(&mut self, row: &mut Row<'_>) -> Result<(), Rejection> {
        for (input, output) in &self.columns {
            row.set(*output, row.text(*input).map(|text| pseudonym(self.key.as_bytes(), text)));
        }
        Ok(())
    }
}

fn pseudonym(key: &[u8], text: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of every length");
    mac.update(text.trim().to_lowercase().as_bytes());
    let digits = |byte: &u8| [byte >> 4, byte & 15].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)]));
    mac.finalize().into_bytes().iter().flat_map(digits).collect()
}

tidegate_transform_sdk::export_module!(MaskEmail);

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidegate_transform_sdk::testing::Table;

    use super::*;

    fn table() -> Table {
        Table::new("shop", "customers").key("id", SqlType::int64()).column("email", SqlType::text()).column("score", SqlType::int64())
    }

    #[test]
    fn equal_addresses_get_equal_pseudonyms() {
        assert_eq!(pseudonym(b"k", "A@x.org "), pseudonym(b"k", "a@x.org"));
        assert_ne!(pseudonym(b"k", "a@x.org"), pseudonym(b"l", "a@x.org"));
        assert_ne!(pseudonym(b"k", "a@x.org"), pseudonym(b"k", "b@x.org"));
        // RFC 4231, test case 2.
        assert_eq!(pseudonym(b"Jefe", "what do ya want for nothing?"), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }

    #[test]
    fn listed_columns_are_replaced_and_null_stays_null() {
        let config = json!({"columns": ["email", "no_such_column"], "key": "Jefe"});
        let rows = json!([{"id": 1, "email": "what do ya want for nothing?", "score": 3}, {"id": 2, "email": null, "score": 4}]);
        let outcome = table().run::<MaskEmail>(config, rows).unwrap();
        let pseudonym = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(outcome.kept(), [json!({"id": 1, "email": pseudonym, "score": 3}), json!({"id": 2, "email": null, "score": 4})]);
    }

    #[test]
    fn a_configuration_of_another_form_is_refused_with_its_path() {
        let cases = [
            (json!([]), None, "something else"),
            (json!({"key": "k"}), None, "missing field `columns`"),
            (json!({"columns": [], "key": "k"}), Some("columns"), "list of column names"),
            (json!({"columns": [1], "key": "k"}), None, "expected a string"),
            (json!({"columns": ["email"], "key": ""}), Some("key"), "not empty"),
            (json!({"columns": ["email"], "key": "k", "extra": 1}), None, "unknown field `extra`"),
            (json!({"columns": ["score"], "key": "k"}), Some("columns"), "not text"),
        ];
        for (config, path, message) in cases {
            let error = table().run::<MaskEmail>(config.clone(), json!([])).unwrap_err();
            assert_eq!(error.config_path.as_deref(), path, "{config}");
            assert!(error.message.contains(message), "{config}: {}", error.message);
        }
    }
}
