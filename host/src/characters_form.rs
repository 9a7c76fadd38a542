//! A task's word on the characters of its texts, as files and the API spell it.
//!
//! ```json
//! {"replace": {"00A0": "0020", "0000": ""}, "character_set": "iso-8859-1", "replace_others": "003F"}
//! ```
//!
//! Characters are told by their code points in Unicode, in hexadecimal digits; the empty text leaves a character out.

use std::collections::BTreeMap;

use serde::Deserialize;
use tidegate_pipeline::{CharacterSet, Characters};

use crate::exit::Failure;

/// Characters that one task may replace. Chosen by guess: far more than anybody lists.
const REPLACEMENTS_MAX: usize = 1_000;

/// The key `characters` of a task's settings; nothing said leaves every text as it is.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CharactersForm {
    #[serde(default)]
    replace: BTreeMap<String, String>,
    character_set: Option<String>,
    replace_others: Option<String>,
}

impl CharactersForm {
    /// `None` where every text stays as it is.
    ///
    /// # Errors
    /// A usage failure that names the setting.
    pub(crate) fn characters(&self) -> Result<Option<Characters>, Failure> {
        if self.replace.len() > REPLACEMENTS_MAX {
            return Err(wrong("replace", &format!("has more than {REPLACEMENTS_MAX} characters")));
        }
        let mut characters = Characters::default();
        for (from, to) in &self.replace {
            let from = code_point("replace", from)?;
            if characters.replacements.insert(from, or_nothing("replace", to)?).is_some() {
                return Err(wrong("replace", "has a code point twice"));
            }
        }
        characters.kept_to = match (&self.character_set, &self.replace_others) {
            (None, None) => None,
            (Some(name), Some(others)) => {
                let set = CharacterSet::by_name(name).ok_or_else(|| {
                    wrong("character_set", &format!("is none of {}", CharacterSet::names().collect::<Vec<_>>().join(", ")))
                })?;
                let others = or_nothing("replace_others", others)?;
                if others.is_some_and(|others| !set.has(others)) {
                    return Err(wrong("replace_others", "is no character of \"characters.character_set\""));
                }
                Some((set, others))
            }
            _ => return Err(wrong("character_set", "and \"characters.replace_others\" need each other")),
        };
        Ok((!characters.is_nothing()).then_some(characters))
    }
}

fn or_nothing(key: &str, text: &str) -> Result<Option<char>, Failure> {
    if text.is_empty() { Ok(None) } else { code_point(key, text).map(Some) }
}

fn code_point(key: &str, text: &str) -> Result<char, Failure> {
    let is_hex = (1..=6).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let character = is_hex.then(|| u32::from_str_radix(text, 16).ok().and_then(char::from_u32)).flatten();
    character.ok_or_else(|| wrong(key, "has a text that is no code point of one to six hexadecimal digits"))
}

fn wrong(key: &str, what: &str) -> Failure {
    Failure::usage("settings", format!("setting \"characters.{key}\" {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<Characters>, String> {
        serde_json::from_str::<CharactersForm>(text).unwrap().characters().map_err(|failure| failure.message)
    }

    #[test]
    fn the_sets_are_those_of_the_apis_description() {
        let description: serde_json::Value = serde_json::from_str(include_str!("../../api/openapi.json")).unwrap();
        let told = &description["components"]["schemas"]["Settings"]["properties"]["characters"]["properties"]["character_set"]["enum"];
        assert_eq!(*told, serde_json::json!(CharacterSet::names().collect::<Vec<_>>()));
    }

    #[test]
    fn code_points_are_read_and_nothing_said_is_nothing() {
        assert_eq!(read("{}"), Ok(None));
        assert_eq!(read(r#"{"character_set": "utf-8", "replace_others": "3f"}"#), Ok(None), "every character is one of Unicode");
        let given = read(r#"{"replace": {"62": "0061", "1F600": ""}, "character_set": "iso-8859-1", "replace_others": "3F"}"#);
        let given = given.unwrap().expect("something to do");
        assert_eq!(given.replacements, [('b', Some('a')), ('\u{1f600}', None)].into());
        assert_eq!(given.kept_to, Some((CharacterSet::by_name("iso-8859-1").unwrap(), Some('?'))));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (wrong, key) in [
            (r#"{"replace": {"d800": "61"}}"#, "characters.replace"),
            (r#"{"replace": {"61": "U+62"}}"#, "characters.replace"),
            (r#"{"replace": {"61": "62", "0061": "63"}}"#, "twice"),
            (r#"{"character_set": "latin1", "replace_others": ""}"#, "iso-8859-1"),
            (r#"{"character_set": "us-ascii", "replace_others": "e9"}"#, "characters.replace_others"),
            (r#"{"character_set": "us-ascii"}"#, "need each other"),
            (r#"{"replace_others": ""}"#, "need each other"),
        ] {
            assert!(read(wrong).unwrap_err().contains(key), "{wrong}");
        }
    }
}
