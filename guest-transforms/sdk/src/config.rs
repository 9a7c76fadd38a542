//! Reads a module's configuration.

use serde::de::DeserializeOwned;

use crate::PlanError;

/// Reads the configuration as JSON.
///
/// # Errors
/// [`PlanError`] that says what is wrong and where. It never repeats a value: a configuration holds keys and passwords,
/// and the message may be logged.
pub fn parse_config<C: DeserializeOwned>(config: &str) -> Result<C, PlanError> {
    serde_json::from_str(config).map_err(|error| PlanError::new(said(&error)))
}

/// serde's message without the value that it quotes.
fn said(error: &serde_json::Error) -> String {
    let place = format!("line {}, column {}", error.line(), error.column());
    if !error.is_data() {
        return format!("the configuration is not JSON at {place}");
    }
    let text = error.to_string();
    let text = text.split(" at line ").next().unwrap_or_default();
    let names_a_key = ["missing field", "unknown field", "duplicate field"].iter().any(|start| text.starts_with(start));
    if names_a_key {
        return format!("the configuration has a {text}, at {place}");
    }
    match text.split_once(", expected ") {
        Some((_, expected)) => format!("the configuration has something else at {place}, expected {expected}"),
        None => format!("the configuration has a value at {place} that does not fit"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        _key: u32,
        _kind: Option<Kind>,
    }

    #[derive(Debug, serde::Deserialize)]
    enum Kind {
        #[serde(rename = "one")]
        _One,
    }

    #[test]
    fn a_message_names_the_key_and_never_the_value() {
        let cases = [
            ("{", "not JSON at line 1"),
            ("{}", "missing field `_key`"),
            (r#"{"_key":1,"extra":2}"#, "unknown field `extra`"),
            (r#"{"_key":"secret"}"#, "expected u32"),
            (r#"{"_key":1,"_kind":"secret"}"#, "expected `one`"),
            (r#"["secret"]"#, "expected"),
        ];
        for (config, wanted) in cases {
            let message = parse_config::<Config>(config).unwrap_err().message;
            assert!(message.contains(wanted) && !message.contains("secret"), "{config}: {message}");
        }
    }
}
