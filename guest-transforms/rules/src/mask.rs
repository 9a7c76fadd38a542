//! DMS's masks: digits replaced by a character, digits replaced by others, a hash.
//!
//! All three are functions of the value, and of the rule's secret if it has one: the same value is masked the same way
//! in every table, at every load and on every replay. DMS's own randomizing of digits differs from time to time.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use tidegate_transform_sdk::{ScalarType, SqlType};

use crate::data_type::integer_range;
use crate::expression::hex;

/// What a mask does with a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mask {
    /// Every digit becomes this character.
    Digits(char),
    /// Every digit becomes another, by a keyed hash of the whole value.
    Randomize(Option<String>),
    /// SHA-256 in 64 upper-case hexadecimal digits; with a secret, HMAC-SHA-256.
    Hash(Option<String>),
}

/// Characters of a hash.
pub(crate) const HASH_CHARS: u32 = 64;

/// How often another set of digits is tried for a number that must stay within its type. After that the first digit
/// becomes 0, which always fits.
const TRIES: u32 = 64;

impl Mask {
    /// True for columns of types that the mask is for. Source: DMS user guide, "Data masking".
    pub(crate) fn takes(&self, sql_type: &SqlType) -> bool {
        let SqlType::Scalar(scalar) = sql_type else { return false };
        let is_text = matches!(scalar, ScalarType::Text(_));
        let is_number = integer_range(scalar).is_some() || matches!(scalar, ScalarType::Decimal(_));
        match self {
            Mask::Digits(_) | Mask::Hash(_) => is_text,
            Mask::Randomize(_) => is_text || is_number,
        }
    }

    /// What the mask is for, in a complaint.
    pub(crate) fn types(&self) -> &'static str {
        match self {
            Mask::Digits(_) | Mask::Hash(_) => "text",
            Mask::Randomize(_) => "text and whole or decimal numbers",
        }
    }

    /// True when equal results come of equal values alone, so that a key stays a key.
    pub(crate) fn keeps_apart(&self) -> bool {
        matches!(self, Mask::Hash(_))
    }

    /// The masked text of a value.
    pub(crate) fn apply(&self, text: &str, scalar: &ScalarType) -> String {
        match self {
            Mask::Digits(mark) => text.chars().map(|letter| if letter.is_ascii_digit() { *mark } else { letter }).collect(),
            Mask::Hash(secret) => hex(&digest(secret.as_deref(), &[text.as_bytes()])),
            Mask::Randomize(secret) => {
                // The 0 before a point is no digit of a numeric(2,2).
                let fraction = if matches!(scalar, ScalarType::Decimal(_)) { text.find("0.").filter(|at| *at <= 1) } else { None };
                let kept = fraction.filter(|at| !text[..*at].bytes().any(|byte| byte.is_ascii_digit())).map_or(0, |at| at + 1);
                format!("{}{}", &text[..kept], randomized(&text[kept..], secret.as_deref(), integer_range(scalar)))
            }
        }
    }
}

fn digest(secret: Option<&str>, parts: &[&[u8]]) -> [u8; 32] {
    match secret {
        None => {
            let mut hash = Sha256::new();
            parts.iter().for_each(|part| hash.update(part));
            hash.finalize().into()
        }
        Some(secret) => {
            let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
            parts.iter().for_each(|part| mac.update(part));
            mac.finalize().into_bytes().into()
        }
    }
}

fn randomized(text: &str, secret: Option<&str>, range: Option<(i128, i128)>) -> String {
    for attempt in 0..TRIES {
        let masked = other_digits(text, secret, attempt);
        match range {
            None => return masked,
            Some((low, high)) if masked.parse::<i128>().is_ok_and(|number| (low..=high).contains(&number)) => {
                // As the type writes it: without leading zeros.
                return masked.parse::<i128>().map_or(masked, |number| number.to_string());
            }
            Some(_) => {}
        }
    }
    let mut is_first = true;
    let masked: String = other_digits(text, secret, TRIES)
        .chars()
        .map(|letter| if letter.is_ascii_digit() && std::mem::take(&mut is_first) { '0' } else { letter })
        .collect();
    masked.parse::<i128>().map_or(masked, |number| number.to_string())
}

/// Digits from hashes of the value; bytes from 250 on are passed over, so that all ten are equally likely.
fn other_digits(text: &str, secret: Option<&str>, attempt: u32) -> String {
    let mut stream = Vec::new();
    let mut block = 0_u32;
    let mut next = || loop {
        if stream.is_empty() {
            let tag = [b"digits".as_slice(), &attempt.to_le_bytes(), &block.to_le_bytes(), text.as_bytes()];
            stream = digest(secret, &tag).to_vec();
            block += 1;
        }
        match stream.pop() {
            Some(byte) if byte < 250 => return char::from(b'0' + byte % 10),
            _ => {}
        }
    };
    text.chars().map(|letter| if letter.is_ascii_digit() { next() } else { letter }).collect()
}

#[cfg(test)]
mod mask_tests {
    use super::*;

    const TEXT: ScalarType = ScalarType::Text(None);

    #[test]
    fn digits_become_the_character_and_nothing_else_changes() {
        assert_eq!(Mask::Digits('#').apply("DE89 3704-é5", &TEXT), "DE## ####-é#");
    }

    #[test]
    fn a_hash_is_that_of_dms_and_with_a_secret_an_hmac() {
        // Source of the values: FIPS 180-2 (the empty text), RFC 4231 case 2.
        assert_eq!(Mask::Hash(None).apply("", &TEXT), "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855");
        assert_eq!(
            Mask::Hash(Some("Jefe".into())).apply("what do ya want for nothing?", &TEXT),
            "5BDCC146BF60754E6A042426089575C75A003F089D2739839DEC58B964EC3843"
        );
    }

    #[test]
    fn randomized_digits_depend_on_value_and_secret_alone_and_fit_their_type() {
        let mask = Mask::Randomize(None);
        let masked = mask.apply("+49 170 1234567", &TEXT);
        assert_eq!(masked, mask.apply("+49 170 1234567", &TEXT));
        assert_ne!(masked, "+49 170 1234567");
        assert_ne!(masked, Mask::Randomize(Some("k".into())).apply("+49 170 1234567", &TEXT));
        assert!(masked.starts_with('+') && masked.len() == 15);
        for number in i8::MIN..=i8::MAX {
            let masked: i128 = mask.apply(&number.to_string(), &ScalarType::Int8).parse().unwrap();
            assert!((-128..=127).contains(&masked), "{number} became {masked}");
        }
        let mut seen = [0_u32; 10];
        for number in 0..1_000 {
            for digit in mask.apply(&format!("{number:06}"), &TEXT).bytes() {
                seen[usize::from(digit - b'0')] += 1;
            }
        }
        assert!(seen.iter().all(|count| (450..750).contains(count)), "{seen:?}");
    }
}
