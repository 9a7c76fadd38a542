//! Ranges and multiranges as the server prints them: `[1,10)`, `empty`, `{[1,3),[5,)}`.
//!
//! Sources: `range_send`, `multirange_send`, `range_deparse` and `range_bound_escape` in `rangetypes.c` and
//! `multirangetypes.c` of PostgreSQL; the object ids in pg_type.dat.

use super::calendar::{date_text, time_text};
use super::decode::{Reason, fixed};
use super::numeric;

/// Flags of a range. Source: rangetypes.h.
const EMPTY: u8 = 0x01;
const LOWER_INCLUSIVE: u8 = 0x02;
const UPPER_INCLUSIVE: u8 = 0x04;
const LOWER_INFINITE: u8 = 0x08;
const UPPER_INFINITE: u8 = 0x10;

const DAY_US: i64 = 86_400_000_000;

/// Days from 1970-01-01 to 2000-01-01.
const EPOCH_DAYS: i64 = 10_957;

/// What a range goes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bound {
    Int4,
    Int8,
    Numeric,
    Date,
    Timestamp,
    /// In UTC, to which sessions are pinned.
    TimestampTz,
}

impl Bound {
    /// By the object id of a range or multirange; true for a multirange.
    pub(super) fn by_oid(oid: u32) -> Option<(Bound, bool)> {
        Some(match oid {
            3904 => (Bound::Int4, false),
            3906 => (Bound::Numeric, false),
            3908 => (Bound::Timestamp, false),
            3910 => (Bound::TimestampTz, false),
            3912 => (Bound::Date, false),
            3926 => (Bound::Int8, false),
            4451 => (Bound::Int4, true),
            4532 => (Bound::Numeric, true),
            4533 => (Bound::Timestamp, true),
            4534 => (Bound::TimestampTz, true),
            4535 => (Bound::Date, true),
            4536 => (Bound::Int8, true),
            _ => return None,
        })
    }

    fn text(self, bytes: &[u8]) -> Result<String, Reason> {
        Ok(match self {
            Bound::Int4 => i32::from_be_bytes(fixed(bytes)?).to_string(),
            Bound::Int8 => i64::from_be_bytes(fixed(bytes)?).to_string(),
            Bound::Numeric => numeric::text(bytes)?,
            Bound::Date => match i32::from_be_bytes(fixed(bytes)?) {
                i32::MAX => "infinity".to_owned(),
                i32::MIN => "-infinity".to_owned(),
                days => in_era(i64::from(days) + EPOCH_DAYS, "")?,
            },
            Bound::Timestamp => moment(i64::from_be_bytes(fixed(bytes)?), "")?,
            Bound::TimestampTz => moment(i64::from_be_bytes(fixed(bytes)?), "+00")?,
        })
    }
}

/// `0044-03-15 12:00:00 BC`: the day, what follows it, and the era.
fn in_era(days: i64, rest: &str) -> Result<String, Reason> {
    let text = date_text(i32::try_from(days).map_err(|_| Reason::from("date is out of range"))?);
    let is_before = text.starts_with('-') || text.starts_with("0000-");
    if !is_before {
        return Ok(format!("{text}{rest}"));
    }
    // Year 0 is 1 BC, year -1 is 2 BC.
    let (year, day) = text.trim_start_matches('-').split_at_checked(text.trim_start_matches('-').len() - 6).ok_or("date is cut off")?;
    let year: u32 = year.parse().map_err(|_| "date has no year")?;
    Ok(format!("{:04}{day}{rest} BC", year + 1))
}

fn moment(since_2000: i64, zone: &str) -> Result<String, Reason> {
    match since_2000 {
        i64::MAX => return Ok("infinity".to_owned()),
        i64::MIN => return Ok("-infinity".to_owned()),
        _ => {}
    }
    in_era(since_2000.div_euclid(DAY_US) + EPOCH_DAYS, &format!(" {}{zone}", time_text(since_2000.rem_euclid(DAY_US))))
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

/// The text of a range.
pub(super) fn range(bound: Bound, bytes: &[u8]) -> Result<String, Reason> {
    let (flags, mut rest) = bytes.split_first().ok_or("range has no flags")?;
    let has = |flag: u8| flags & flag != 0;
    if has(EMPTY) {
        return Ok("empty".to_owned());
    }
    let mut text = String::from(if has(LOWER_INCLUSIVE) { '[' } else { '(' });
    if !has(LOWER_INFINITE) {
        text.push_str(&quoted(bound.text(part(&mut rest)?)?));
    }
    text.push(',');
    if !has(UPPER_INFINITE) {
        text.push_str(&quoted(bound.text(part(&mut rest)?)?));
    }
    text.push(if has(UPPER_INCLUSIVE) { ']' } else { ')' });
    if rest.is_empty() { Ok(text) } else { Err("range is longer than its bounds".into()) }
}

/// Blanks are what the texts of these bounds have that needs quotes.
fn quoted(text: String) -> String {
    if text.contains(' ') { format!("\"{text}\"") } else { text }
}

/// The text of a multirange.
pub(super) fn multirange(bound: Bound, bytes: &[u8]) -> Result<String, Reason> {
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
        let cases: [(Bound, Vec<u8>, &str); 7] = [
            (Bound::Int4, bytes(LOWER_INCLUSIVE, &[&one, &ten]), "[1,10)"),
            (Bound::Int4, bytes(EMPTY, &[]), "empty"),
            (Bound::Int4, bytes(LOWER_INFINITE | UPPER_INCLUSIVE, &[&ten]), "(,10]"),
            (Bound::Int8, bytes(LOWER_INFINITE | UPPER_INFINITE, &[]), "(,)"),
            (Bound::Timestamp, bytes(UPPER_INFINITE, &[&moment]), "(\"1999-12-31 23:59:59.999999\",)"),
            (Bound::TimestampTz, bytes(UPPER_INFINITE, &[&i64::MAX.to_be_bytes()]), "(infinity,)"),
            (Bound::Date, bytes(UPPER_INFINITE | LOWER_INCLUSIVE, &[&caesar]), "[\"0044-02-16 BC\",)"),
        ];
        for (bound, bytes, text) in &cases {
            assert_eq!(range(*bound, bytes).as_deref(), Ok(*text));
        }
        let mut many = 2_u32.to_be_bytes().to_vec();
        for case in &cases[..2] {
            many.extend((case.1.len() as u32).to_be_bytes());
            many.extend(&case.1);
        }
        assert_eq!(multirange(Bound::Int4, &many).as_deref(), Ok("{[1,10),empty}"));
    }

    #[test]
    fn cut_bytes_are_errors() {
        let whole = bytes(LOWER_INCLUSIVE, &[&1_i32.to_be_bytes(), &10_i32.to_be_bytes()]);
        for end in 0..whole.len() {
            assert!(range(Bound::Int4, &whole[..end]).is_err(), "{end}");
        }
        assert!(multirange(Bound::Int4, &[255; 4]).is_err() && multirange(Bound::Int4, &[0; 3]).is_err());
    }
}
