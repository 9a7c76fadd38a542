//! Ranges and multiranges as the server prints them: `[1,10)`, `empty`, `{[1,3),[5,)}`.
//!
//! Sources: `range_send`, `multirange_send`, `range_deparse` and `range_bound_escape` in `rangetypes.c` and
//! `multirangetypes.c` of PostgreSQL; the object ids in pg_type.dat.

use super::Form;
use super::decode::Reason;
use super::printed::{printed, push_quoted};

/// Flags of a range. Source: rangetypes.h.
const EMPTY: u8 = 0x01;
const LOWER_INCLUSIVE: u8 = 0x02;
const UPPER_INCLUSIVE: u8 = 0x04;
const LOWER_INFINITE: u8 = 0x08;
const UPPER_INFINITE: u8 = 0x10;

/// The form of one of the server's own ranges and multiranges, by its object id.
pub(super) fn by_oid(oid: u32) -> Option<Form> {
    let (bound, is_multirange) = match oid {
        3904 => (Form::Int4, false),
        3906 => (Form::Numeric, false),
        3908 => (Form::Timestamp, false),
        3910 => (Form::TimestampTz, false),
        3912 => (Form::Date, false),
        3926 => (Form::Int8, false),
        4451 => (Form::Int4, true),
        4532 => (Form::Numeric, true),
        4533 => (Form::Timestamp, true),
        4534 => (Form::TimestampTz, true),
        4535 => (Form::Date, true),
        4536 => (Form::Int8, true),
        _ => return None,
    };
    Some(if is_multirange { Form::Multirange(Box::new(bound)) } else { Form::Range(Box::new(bound)) })
}

/// Takes a length and that many bytes off the front.
fn part<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Reason> {
    let error = || Reason::from("range is cut off");
    let (head, tail) = rest.split_first_chunk::<4>().ok_or_else(error)?;
    let length = usize::try_from(i32::from_be_bytes(*head)).map_err(|_| error())?;
    let (part, tail) = tail.split_at_checked(length).ok_or_else(error)?;
    *rest = tail;
    Ok(part)
}

/// The text of a range over values of a form.
pub(super) fn range(bound: &Form, bytes: &[u8]) -> Result<String, Reason> {
    let (flags, mut rest) = bytes.split_first().ok_or("range has no flags")?;
    let has = |flag: u8| flags & flag != 0;
    if has(EMPTY) {
        return Ok("empty".to_owned());
    }
    let mut text = String::from(if has(LOWER_INCLUSIVE) { '[' } else { '(' });
    if !has(LOWER_INFINITE) {
        push_quoted(&printed(bound, part(&mut rest)?)?, "()[],", &mut text);
    }
    text.push(',');
    if !has(UPPER_INFINITE) {
        push_quoted(&printed(bound, part(&mut rest)?)?, "()[],", &mut text);
    }
    text.push(if has(UPPER_INCLUSIVE) { ']' } else { ')' });
    if rest.is_empty() { Ok(text) } else { Err("range is longer than its bounds".into()) }
}

/// The text of a multirange.
pub(super) fn multirange(bound: &Form, bytes: &[u8]) -> Result<String, Reason> {
    let (head, mut rest) = bytes.split_first_chunk::<4>().ok_or("multirange has no count")?;
    let mut all = Vec::new();
    for _ in 0..u32::from_be_bytes(*head) {
        all.push(range(bound, part(&mut rest)?)?);
    }
    if rest.is_empty() { Ok(format!("{{{}}}", all.join(","))) } else { Err("multirange is longer than its ranges".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(flags: u8, bounds: &[&[u8]]) -> Vec<u8> {
        let mut bytes = vec![flags];
        for bound in bounds {
            bytes.extend((bound.len() as u32).to_be_bytes());
            bytes.extend(*bound);
        }
        bytes
    }

    #[test]
    fn texts_are_those_that_the_server_prints() {
        let (one, ten) = (1_i32.to_be_bytes(), 10_i32.to_be_bytes());
        let moment = (-1_i64).to_be_bytes();
        let caesar = (-746_144_i32).to_be_bytes();
        let cases: [(Form, Vec<u8>, &str); 8] = [
            (Form::Int4, bytes(LOWER_INCLUSIVE, &[&one, &ten]), "[1,10)"),
            (Form::Int4, bytes(EMPTY, &[]), "empty"),
            (Form::Int4, bytes(LOWER_INFINITE | UPPER_INCLUSIVE, &[&ten]), "(,10]"),
            (Form::Int8, bytes(LOWER_INFINITE | UPPER_INFINITE, &[]), "(,)"),
            (Form::Timestamp, bytes(UPPER_INFINITE, &[&moment]), "(\"1999-12-31 23:59:59.999999\",)"),
            (Form::TimestampTz, bytes(UPPER_INFINITE, &[&i64::MAX.to_be_bytes()]), "(infinity,)"),
            (Form::Date, bytes(UPPER_INFINITE | LOWER_INCLUSIVE, &[&caesar]), "[\"0044-02-16 BC\",)"),
            (Form::Text, bytes(0, &[b"", b"a\"\\,b"]), r#"("","a""\\,b")"#),
        ];
        for (bound, bytes, text) in &cases {
            assert_eq!(range(bound, bytes).as_deref(), Ok(*text));
        }
        let mut many = 2_u32.to_be_bytes().to_vec();
        for case in &cases[..2] {
            many.extend((case.1.len() as u32).to_be_bytes());
            many.extend(&case.1);
        }
        assert_eq!(multirange(&Form::Int4, &many).as_deref(), Ok("{[1,10),empty}"));
    }

    #[test]
    fn cut_bytes_are_errors() {
        let whole = bytes(LOWER_INCLUSIVE, &[&1_i32.to_be_bytes(), &10_i32.to_be_bytes()]);
        for end in 0..whole.len() {
            assert!(range(&Form::Int4, &whole[..end]).is_err(), "{end}");
        }
        assert!(multirange(&Form::Int4, &[255; 4]).is_err() && multirange(&Form::Int4, &[0; 3]).is_err());
    }
}
