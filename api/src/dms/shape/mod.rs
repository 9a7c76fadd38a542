//! The service's shapes as Rust structs, one file per group of operations.
//!
//! Members that are `None` are left out of answers ([`without_nulls`]): clients expect absent members, not nulls.
//! Requests take every member as optional; what an operation requires is checked where it is read, so that the fault
//! names the member. No request derives `Debug`: some hold passwords.

pub(crate) mod certificate;
pub(crate) mod endpoint;
pub(crate) mod instance;
pub(crate) mod replication;
pub(crate) mod task;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// An answer without members.
#[derive(Serialize)]
pub(crate) struct Nothing {}

/// A tag of a resource.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Tag {
    pub(crate) key: Option<String>,
    pub(crate) value: Option<String>,
    pub(crate) resource_arn: Option<String>,
}

/// A point in time of a request: epoch seconds as a number, or ISO 8601 text. Only whether it is given matters so far.
#[derive(Debug, Clone)]
pub(crate) struct Timestamp(pub(crate) String);

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            // Seconds since 1970, as AWS's own clients send them.
            Value::Number(number) => Ok(Timestamp(number.to_string())),
            Value::String(text) => Ok(Timestamp(text)),
            _ => Err(serde::de::Error::custom("a timestamp is a number or a string")),
        }
    }
}

/// Catalog time (microseconds) as the wire has it (seconds, to the millisecond).
pub(crate) fn seconds(us: i64) -> f64 {
    // Milliseconds since 1970 fit 53 bits until the year 287396.
    (us / 1000) as f64 / 1000.0
}

/// Takes out the members that are null, at every depth.
pub(crate) fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(
            members.into_iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| (key, without_nulls(value))).collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}
