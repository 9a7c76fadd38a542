//! `CharacterSetSettings`: DMS's code points and character sets in the words of the native API.
//!
//! DMS writes the hexadecimal digits of a code point as a number: `62` is U+0062. Where they have letters, a string is taken. Zero
//! leaves a character out. Source: AWS DMS User Guide, "Character substitution task settings".

use serde_json::{Map, Value, json};

use crate::characters::{REPLACEMENTS_MAX, is_code_point};

/// DMS's names, which are those of ICU's converters, and ours.
const SETS: &[(&str, &str)] = &[
    ("UTF-8", "utf-8"),
    ("UTF-32", "utf-8"),
    ("UTF-32BE", "utf-8"),
    ("UTF-32LE", "utf-8"),
    ("UTF32_PlatformEndian", "utf-8"),
    ("UTF32_OppositeEndian", "utf-8"),
    ("UTF-7", "utf-8"),
    ("IMAP-mailbox-name", "utf-8"),
    ("SCSU", "utf-8"),
    ("BOCU-1", "utf-8"),
    ("CESU-8", "utf-8"),
    ("gb18030", "gb18030"),
    // At DMS these have characters of two bytes alone.
    ("UTF-16", "utf-16"),
    ("UTF-16BE", "utf-16"),
    ("UTF-16LE", "utf-16"),
    ("UTF16_PlatformEndian", "utf-16"),
    ("UTF16_OppositeEndian", "utf-16"),
    ("US-ASCII", "us-ascii"),
    ("ISO-8859-1", "iso-8859-1"),
    ("ibm-912_P100-1995", "iso-8859-2"),
    ("ibm-913_P100-2000", "iso-8859-3"),
    ("ibm-914_P100-1995", "iso-8859-4"),
    ("ibm-915_P100-1995", "iso-8859-5"),
    ("ibm-1089_P100-1995", "iso-8859-6"),
    ("ibm-9005_X110-2007", "iso-8859-7"),
    ("ibm-5012_P100-1999", "iso-8859-8"),
    ("iso-8859_10-1998", "iso-8859-10"),
    ("ibm-921_P100-1995", "iso-8859-13"),
    ("iso-8859_14-1998", "iso-8859-14"),
    ("ibm-923_P100-1998", "iso-8859-15"),
    ("ibm-5346_P100-1998", "windows-1250"),
    ("ibm-5347_P100-1998", "windows-1251"),
    ("ibm-5348_P100-1997", "windows-1252"),
    ("ibm-5349_P100-1998", "windows-1253"),
    ("ibm-5350_P100-1998", "windows-1254"),
    ("ibm-9447_P100-2002", "windows-1255"),
    ("ibm-9448_X100-2005", "windows-1256"),
    ("ibm-9449_P100-2002", "windows-1257"),
    ("ibm-5354_P100-1998", "windows-1258"),
    ("windows-874-2000", "windows-874"),
    ("ibm-878_P100-1996", "koi8-r"),
    ("ibm-1168_P100-2002", "koi8-u"),
    ("ibm-866_P100-1995", "ibm866"),
    ("macos-0_2-10.2", "macintosh"),
    ("windows-936-2000", "gbk"),
    ("windows-950-2000", "big5"),
    ("ibm-943_P15A-2003", "shift-jis"),
    ("ibm-33722_P12A_P12A-2009_U2", "euc-jp"),
    ("windows-949-2000", "euc-kr"),
];

/// What is wrong with the section.
pub(super) fn check(section: &Value) -> Result<(), String> {
    read(section).map(|_| ())
}

/// The native setting; `None` where nothing is replaced. Of a section that passed the check.
pub(super) fn native(section: &Value) -> Option<Value> {
    read(section).ok().filter(|native| !native.is_empty()).map(Value::Object)
}

fn read(section: &Value) -> Result<Map<String, Value>, String> {
    let mut native = Map::new();
    let pairs = section["CharacterReplacements"].as_array().map(Vec::as_slice).unwrap_or_default();
    if pairs.len() > REPLACEMENTS_MAX {
        return Err(format!("CharacterSetSettings.CharacterReplacements has more than {REPLACEMENTS_MAX} entries"));
    }
    let mut replace = Map::new();
    for pair in pairs {
        known_keys(pair, "CharacterReplacements", &["SourceCharacterCodePoint", "TargetCharacterCodePoint"])?;
        let from = code_point(pair, "CharacterReplacements", "SourceCharacterCodePoint")?;
        let to = code_point(pair, "CharacterReplacements", "TargetCharacterCodePoint")?;
        // Of several for one character, the last counts.
        replace.insert(from, unless_zero(to).into());
    }
    if !replace.is_empty() {
        native.insert("replace".to_owned(), Value::Object(replace));
    }
    let support = &section["CharacterSetSupport"];
    if support.is_null() {
        return Ok(native);
    }
    known_keys(support, "CharacterSetSupport", &["CharacterSet", "ReplaceWithCharacterCodePoint"])?;
    let name = support["CharacterSet"].as_str().unwrap_or_default();
    let Some((_, set)) = SETS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) else {
        let known: Vec<&str> = SETS.iter().map(|(known, _)| *known).collect();
        return Err(format!("CharacterSetSettings.CharacterSetSupport.CharacterSet must be one of {}", known.join(", ")));
    };
    let others = unless_zero(code_point(support, "CharacterSetSupport", "ReplaceWithCharacterCodePoint")?);
    native.extend([("character_set".to_owned(), json!(set)), ("replace_others".to_owned(), json!(others))]);
    Ok(native)
}

fn known_keys(found: &Value, key: &str, known: &[&str]) -> Result<(), String> {
    let Some(object) = found.as_object() else { return Err(format!("CharacterSetSettings.{key} has another type than DMS documents")) };
    match object.keys().find(|found| !known.contains(&found.as_str())) {
        None => Ok(()),
        Some(_) => Err(format!("CharacterSetSettings.{key}: a key is none of {}", known.join(", "))),
    }
}

/// Four to six hexadecimal digits.
fn code_point(of: &Value, section: &str, key: &str) -> Result<String, String> {
    let digits = match &of[key] {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.trim().to_owned(),
        _ => String::new(),
    };
    if is_code_point(&digits) {
        return Ok(format!("{:0>4}", digits.trim_start_matches('0').to_uppercase()));
    }
    Err(format!("CharacterSetSettings.{section}.{key} must be the hexadecimal digits of a code point of Unicode"))
}

fn unless_zero(code_point: String) -> String {
    if code_point == "0000" { String::new() } else { code_point }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_hexadecimal_digits_and_zero_leaves_out() {
        let pair = |from: Value, to: Value| json!({"SourceCharacterCodePoint": from, "TargetCharacterCodePoint": to});
        let section = json!({
            "CharacterReplacements": [pair(json!(62), json!(60)), pair(json!("2fb6"), json!(0)), pair(json!(62), json!(61)), pair(json!(0), json!(20))],
            "CharacterSetSupport": {"CharacterSet": "UTF16_PlatformEndian", "ReplaceWithCharacterCodePoint": "FFFD"},
        });
        let replace = json!({"0062": "0061", "2FB6": "", "0000": "0020"});
        assert_eq!(native(&section), Some(json!({"replace": replace, "character_set": "utf-16", "replace_others": "FFFD"})));
        let left_out = json!({"CharacterSetSupport": {"CharacterSet": "us-ascii", "ReplaceWithCharacterCodePoint": 0}});
        assert_eq!(native(&left_out), Some(json!({"character_set": "us-ascii", "replace_others": ""})));
        assert_eq!(native(&json!({"CharacterReplacements": [], "CharacterSetSupport": null})), None);
        assert_eq!(native(&Value::Null), None);
    }

    #[test]
    fn every_set_is_one_that_there_is() {
        assert!(SETS.iter().all(|(_, ours)| crate::characters::SETS.contains(ours)));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (wrong, named) in [
            (json!({"CharacterReplacements": [{"SourceCharacterCodePoint": 62}]}), "TargetCharacterCodePoint"),
            (
                json!({"CharacterReplacements": [{"SourceCharacterCodePoint": -62, "TargetCharacterCodePoint": 0}]}),
                "SourceCharacterCodePoint",
            ),
            (json!({"CharacterReplacements": [{"SourceCharacterCodePoint": "d800", "TargetCharacterCodePoint": 0}]}), "code point"),
            (json!({"CharacterReplacements": [{"From": 1}]}), "CharacterReplacements"),
            (json!({"CharacterReplacements": [7]}), "CharacterReplacements"),
            (json!({"CharacterSetSupport": {"CharacterSet": "ebcdic"}}), "CharacterSet must be one of"),
            (json!({"CharacterSetSupport": {"CharacterSet": "UTF-8"}}), "ReplaceWithCharacterCodePoint"),
        ] {
            assert!(check(&wrong).unwrap_err().contains(named), "{wrong}");
        }
    }
}
