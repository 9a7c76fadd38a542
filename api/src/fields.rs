//! Reads a JSON object key by key, strictly.
//!
//! A key that nobody asked for is refused by its name, a value of another type by its key and the types; the value
//! itself is never repeated. That is why bodies are not deserialised straight into structs: serde's messages quote
//! what they found, and that may be a password in the wrong place.

use axum::http::{HeaderMap, StatusCode, header};
use serde_json::{Map, Value};

use crate::problem::Problem;

/// An object being read. [`Fields::finish`] has to be called: it refuses what is left.
#[derive(Debug)]
pub(crate) struct Fields {
    path: String,
    left: Map<String, Value>,
    known: Vec<&'static str>,
}

impl Fields {
    /// The body of a request as one JSON object.
    pub(crate) fn of_body(headers: &HeaderMap, body: &[u8]) -> Result<Fields, Problem> {
        let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
        let media_type = content_type.split(';').next().unwrap_or("").trim();
        // A web page can post other types without asking the server first.
        if !media_type.eq_ignore_ascii_case("application/json") {
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_type", "the body is not declared as application/json")
                .object("header \"content-type\""));
        }
        let value: Value = serde_json::from_slice(body).map_err(|error| {
            let detail = format!("the body is not JSON at line {}, column {}", error.line(), error.column());
            Problem::bad_request("json_syntax", detail).object("body")
        })?;
        Fields::of_value(value, "")
    }

    /// A nested object. `path` is empty for the body itself.
    pub(crate) fn of_value(value: Value, path: &str) -> Result<Fields, Problem> {
        match value {
            Value::Object(left) => Ok(Fields { path: path.to_owned(), left, known: Vec::new() }),
            other if path.is_empty() => {
                Err(Problem::bad_request("wrong_type", format!("the body is {}, wanted an object", kind(&other))).object("body"))
            }
            other => Err(wrong_type(path, &other, "an object")),
        }
    }

    /// The full name of a key, for error messages: `tls.mode`.
    pub(crate) fn path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The raw value of a key; `None` when it is absent or null.
    pub(crate) fn value(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.left.remove(key).filter(|value| !value.is_null())
    }

    /// A text; `None` when it is absent or null.
    pub(crate) fn text(&mut self, key: &'static str) -> Result<Option<String>, Problem> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong_type(&self.path(key), &other, "a string")),
        }
    }

    /// A text that must be there.
    pub(crate) fn required_text(&mut self, key: &'static str) -> Result<String, Problem> {
        let path = self.path(key);
        self.text(key)?.ok_or_else(|| missing(&path))
    }

    /// A whole number within bounds; `None` when it is absent or null.
    pub(crate) fn number(&mut self, key: &'static str, least: u64, most: u64) -> Result<Option<u64>, Problem> {
        let path = self.path(key);
        let Some(value) = self.value(key) else { return Ok(None) };
        match value.as_u64() {
            Some(number) if (least..=most).contains(&number) => Ok(Some(number)),
            Some(number) => Err(Problem::bad_request("out_of_range", format!("\"{path}\" is {number}, wanted {least} to {most}"))
                .object(format!("key \"{path}\""))),
            None => Err(wrong_type(&path, &value, "a whole number")),
        }
    }

    /// True when the key is there and null: it is to be cleared. Leaves the key to be read.
    pub(crate) fn is_null(&self, key: &str) -> bool {
        self.left.get(key).is_some_and(Value::is_null)
    }

    /// Refuses the first key that nobody asked for.
    pub(crate) fn finish(self) -> Result<(), Problem> {
        match self.left.keys().next() {
            None => Ok(()),
            Some(key) => {
                // The key is the sender's text: bounded, and no longer than any of ours.
                let shown: String = key.chars().take(64).collect();
                let path = self.path(&shown);
                Err(Problem::bad_request("unknown_key", format!("key \"{path}\" is unknown"))
                    .object(format!("key \"{path}\""))
                    .hint(format!("the keys are {}", self.known.join(", "))))
            }
        }
    }
}

/// A problem with the value of one key.
pub(crate) fn key_problem(code: &'static str, path: &str, detail: impl Into<String>) -> Problem {
    Problem::bad_request(code, detail).object(format!("key \"{path}\""))
}

/// A key that must be there and is not.
pub(crate) fn missing(path: &str) -> Problem {
    key_problem("missing_key", path, format!("key \"{path}\" is missing"))
}

pub(crate) fn wrong_type(path: &str, found: &Value, wanted: &str) -> Problem {
    key_problem("wrong_type", path, format!("\"{path}\" is {}, wanted {wanted}", kind(found)))
}

/// One of several words, by its key.
pub(crate) fn one_of<T: Copy>(path: &str, text: &str, choices: &[(&str, T)]) -> Result<T, Problem> {
    choices.iter().find(|(word, _)| *word == text).map(|(_, choice)| *choice).ok_or_else(|| {
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        key_problem("unknown_value", path, format!("\"{path}\" is none of {}", words.join(", ")))
    })
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
