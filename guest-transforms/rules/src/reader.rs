//! Reads one JSON object of a mapping and names rule and key in every complaint.
//!
//! A mapping as consoles export it holds every optional key; null, "" and [] count as absent everywhere.

use serde_json::{Map, Value as Json};
use tidegate_transform_sdk::PlanError;

/// One object and where it stands.
#[derive(Clone)]
pub(crate) struct Reader<'a> {
    path: String,
    object: &'a Map<String, Json>,
}

impl<'a> Reader<'a> {
    /// # Errors
    /// When `json` is no object.
    pub(crate) fn new(path: String, json: &'a Json) -> Result<Self, PlanError> {
        match json.as_object() {
            Some(object) => Ok(Self { path, object }),
            None => Err(complaint(&path, format!("an object is wanted, found {}", kind(json)))),
        }
    }

    pub(crate) fn with_path(self, path: String) -> Self {
        Self { path, ..self }
    }

    pub(crate) fn error(&self, key: &str, message: impl Into<String>) -> PlanError {
        complaint(&format!("{}.{key}", self.path), message.into())
    }

    /// # Errors
    /// For the first key that is none of `known`.
    pub(crate) fn check_keys(&self, known: &[&str]) -> Result<(), PlanError> {
        match self.object.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(self.error(key, format!("the key \"{key}\" is not known here; known are {}", list(known)))),
            None => Ok(()),
        }
    }

    /// # Errors
    /// For the first of `keys` that has a value: it belongs to another kind of rule.
    pub(crate) fn check_absent(&self, keys: &[&str], what: &str) -> Result<(), PlanError> {
        match keys.iter().find(|key| self.value(key).is_some()) {
            Some(key) => Err(self.error(key, format!("the key \"{key}\" has no meaning in {what}"))),
            None => Ok(()),
        }
    }

    /// The value of a key, unless it is null, "" or [].
    pub(crate) fn value(&self, key: &str) -> Option<&'a Json> {
        self.object.get(key).filter(|value| match value {
            Json::Null => false,
            Json::String(text) => !text.is_empty(),
            Json::Array(items) => !items.is_empty(),
            Json::Bool(_) | Json::Number(_) | Json::Object(_) => true,
        })
    }

    /// True when the key is there and not null, be its value empty.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.object.get(key).is_some_and(|value| !value.is_null())
    }

    /// # Errors
    /// When the value is no string.
    pub(crate) fn text(&self, key: &str) -> Result<Option<&'a str>, PlanError> {
        match self.value(key) {
            None => Ok(None),
            Some(Json::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.error(key, format!("a string is wanted, found {}", kind(other)))),
        }
    }

    /// # Errors
    /// When there is no value, or no string.
    pub(crate) fn wanted_text(&self, key: &str) -> Result<&'a str, PlanError> {
        self.text(key)?.ok_or_else(|| self.error(key, format!("the key \"{key}\" is missing or empty")))
    }

    /// A string, or a number or truth value as its text.
    ///
    /// # Errors
    /// When there is no value, or a list or object.
    pub(crate) fn scalar(&self, key: &str) -> Result<String, PlanError> {
        // An operand may be the empty text: only null and a missing key are absent here.
        match self.object.get(key) {
            Some(Json::String(text)) => Ok(text.clone()),
            Some(Json::Number(number)) => Ok(number.to_string()),
            Some(Json::Bool(flag)) => Ok(flag.to_string()),
            None | Some(Json::Null) => Err(self.error(key, format!("the key \"{key}\" is missing"))),
            Some(other) => Err(self.error(key, format!("a string is wanted, found {}", kind(other)))),
        }
    }

    /// # Errors
    /// When the value is no list.
    pub(crate) fn items(&self, key: &str) -> Result<&'a [Json], PlanError> {
        match self.value(key) {
            None => Ok(&[]),
            Some(Json::Array(items)) => Ok(items),
            Some(other) => Err(self.error(key, format!("a list is wanted, found {}", kind(other)))),
        }
    }

    /// The object under a key.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn object(&self, key: &str) -> Result<Reader<'a>, PlanError> {
        let value = self.value(key).ok_or_else(|| self.error(key, format!("the key \"{key}\" is missing")))?;
        Reader::new(format!("{}.{key}", self.path), value)
    }

    /// The objects of a list.
    ///
    /// # Errors
    /// When the value is no list, or holds something else.
    pub(crate) fn objects(&self, key: &str) -> Result<Vec<Reader<'a>>, PlanError> {
        let items = self.items(key)?.iter().enumerate();
        items.map(|(index, item)| Reader::new(format!("{}.{key}[{index}]", self.path), item)).collect()
    }
}

pub(crate) fn complaint(path: &str, message: String) -> PlanError {
    PlanError { config_path: Some(path.to_owned()), message }
}

pub(crate) fn list(words: &[&str]) -> String {
    words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ")
}

pub(crate) fn kind(json: &Json) -> &'static str {
    match json {
        Json::Null => "null",
        Json::Bool(_) => "a truth value",
        Json::Number(_) => "a number",
        Json::String(_) => "a string",
        Json::Array(_) => "a list",
        Json::Object(_) => "an object",
    }
}
