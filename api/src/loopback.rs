//! The setting `loopback`: the marks by which two tasks in opposite directions know each other's transactions.
//! `host/src/loopback_form.rs` reads what passes.

use serde_json::{Map, Value};

use crate::fields::{Fields, key_problem};
use crate::problem::Problem;

/// The most characters of a mark.
const MARK_CHARS_MAX: usize = 40;

/// The value, when it is of the form.
pub(crate) fn checked(value: Value, path: &str) -> Result<Value, Problem> {
    let mut given = Fields::of_value(value, path)?;
    let mut found = Map::new();
    for key in ["source_mark", "target_mark"] {
        if let Some(mark) = given.text(key)? {
            if !is_mark(&mark) {
                let path = given.path(key);
                let detail = format!("\"{path}\" is not 1 to {MARK_CHARS_MAX} of a-z, 0-9, _, - and $");
                return Err(key_problem("name_form", &path, detail));
            }
            found.insert(key.to_owned(), mark.into());
        }
    }
    given.finish()?;
    Ok(Value::Object(found))
}

/// True for a text that can be a mark.
pub(crate) fn is_mark(text: &str) -> bool {
    let is_good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-$".contains(&byte);
    (1..=MARK_CHARS_MAX).contains(&text.len()) && text.bytes().all(is_good)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn marks_pass_and_others_are_named() {
        for good in [json!({}), json!({"source_mark": "loop_a", "target_mark": "b-1$"})] {
            assert_eq!(checked(good.clone(), "settings.loopback").unwrap(), good);
        }
        for wrong in
            [json!({"source_mark": "A"}), json!({"target_mark": ""}), json!({"target_mark": "a b"}), json!({"mark": "a"}), json!(true)]
        {
            assert!(checked(wrong.clone(), "settings.loopback").is_err(), "{wrong}");
        }
    }
}
