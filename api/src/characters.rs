//! The setting `characters`: characters of texts that are replaced, told by their code points in hexadecimal digits, and the set
//! of characters that texts are kept to. `host/src/characters_form.rs` reads what passes.

use serde_json::{Map, Value};

use crate::fields::{Fields, key_problem, wrong_type};
use crate::problem::Problem;

/// Names of character sets, as the pipeline has them; both are compared with `openapi.json`.
pub(crate) const SETS: [&str; 36] = [
    "utf-8",
    "utf-16",
    "us-ascii",
    "iso-8859-1",
    "iso-8859-2",
    "iso-8859-3",
    "iso-8859-4",
    "iso-8859-5",
    "iso-8859-6",
    "iso-8859-7",
    "iso-8859-8",
    "iso-8859-10",
    "iso-8859-13",
    "iso-8859-14",
    "iso-8859-15",
    "iso-8859-16",
    "windows-1250",
    "windows-1251",
    "windows-1252",
    "windows-1253",
    "windows-1254",
    "windows-1255",
    "windows-1256",
    "windows-1257",
    "windows-1258",
    "windows-874",
    "koi8-r",
    "koi8-u",
    "ibm866",
    "macintosh",
    "gbk",
    "big5",
    "euc-jp",
    "shift-jis",
    "euc-kr",
    "gb18030",
];

/// Characters that one task may replace.
pub(crate) const REPLACEMENTS_MAX: usize = 1_000;

/// The value, when it is of the form.
pub(crate) fn checked(value: Value, path: String) -> Result<Value, Problem> {
    let mut given = Fields::of_value(value, &path)?;
    let mut found = Map::new();
    if let Some(replace) = given.value("replace") {
        let path = given.path("replace");
        let Value::Object(pairs) = replace else { return Err(wrong_type(&path, &replace, "an object")) };
        if pairs.len() > REPLACEMENTS_MAX {
            return Err(key_problem(
                "out_of_range",
                &path,
                format!("\"{path}\" has {} keys, wanted at most {REPLACEMENTS_MAX}", pairs.len()),
            ));
        }
        for (from, to) in &pairs {
            let to = to.as_str().ok_or_else(|| wrong_type(&path, to, "an object of strings"))?;
            if !is_code_point(from) || !(to.is_empty() || is_code_point(to)) {
                return Err(no_code_point(&path));
            }
        }
        found.insert("replace".to_owned(), Value::Object(pairs));
    }
    let set = given.text("character_set")?;
    let others = given.text("replace_others")?;
    if set.is_some() != others.is_some() {
        let path = given.path("character_set");
        return Err(key_problem("missing_key", &path, format!("\"{path}\" and \"replace_others\" need each other")));
    }
    if let (Some(set), Some(others)) = (set, others) {
        let path = given.path("character_set");
        if !SETS.contains(&set.as_str()) {
            return Err(key_problem("unknown_value", &path, format!("\"{path}\" is none of {}", SETS.join(", "))));
        }
        if !(others.is_empty() || is_code_point(&others)) {
            return Err(no_code_point(&given.path("replace_others")));
        }
        found.insert("character_set".to_owned(), set.into());
        found.insert("replace_others".to_owned(), others.into());
    }
    given.finish()?;
    Ok(Value::Object(found))
}

fn no_code_point(path: &str) -> Problem {
    key_problem("unknown_value", path, format!("\"{path}\" has a text that is no code point of one to six hexadecimal digits"))
}

/// True for one to six hexadecimal digits that name a character.
pub(crate) fn is_code_point(text: &str) -> bool {
    (1..=6).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        && u32::from_str_radix(text, 16).ok().and_then(char::from_u32).is_some()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_sets_are_those_of_the_description() {
        let description: Value = serde_json::from_str(crate::routes::OPENAPI).unwrap();
        let told = &description["components"]["schemas"]["Settings"]["properties"]["characters"]["properties"]["character_set"]["enum"];
        assert_eq!(*told, json!(SETS.as_slice()));
    }

    #[test]
    fn code_points_and_sets_pass_and_others_are_named() {
        let good = json!({"replace": {"62": "0061", "1F600": ""}, "character_set": "windows-1252", "replace_others": "3f"});
        assert_eq!(checked(good.clone(), "settings.characters".into()).unwrap(), good);
        for wrong in [
            json!({"replace": {"62": "U+61"}}),
            json!({"replace": {"110000": ""}}),
            json!({"replace": {"62": 61}}),
            json!({"replace": ["62"]}),
            json!({"character_set": "latin1", "replace_others": ""}),
            json!({"character_set": "utf-8"}),
            json!({"others": ""}),
        ] {
            assert!(checked(wrong.clone(), "settings.characters".into()).is_err(), "{wrong}");
        }
    }
}
