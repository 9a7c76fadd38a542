//! `LIKE` and `GLOB`. Both walk the text once and go back only to the last wildcard, so the work is bounded by the
//! product of the lengths, and the length of a pattern is bounded.

use super::value::{Arena, Failure, Value};

/// Most characters of a pattern.
const PATTERN_MAX: usize = 1_000;

enum Piece {
    AnyText,
    AnyOne,
    One(char),
    /// Inclusive ranges; `true` for one that must not be in them.
    OneOf(bool, Vec<(char, char)>),
    /// A set that is never closed: it takes nothing.
    Nothing,
}

/// `text LIKE pattern ESCAPE escape`: ASCII letters of either case are equal.
pub(crate) fn like(text: Value, pattern: Value, escape: Option<Value>, arena: &mut Arena) -> Value {
    let escape = match escape.map(|escape| letters(escape, arena)) {
        None => None,
        Some(Err(value)) => return value,
        // SQLite refuses other escapes while it runs; here the row fails.
        Some(Ok(letters)) if letters.len() != 1 => return Value::Failed(Failure::Format),
        Some(Ok(letters)) => Some(letters[0]),
    };
    run(text, pattern, arena, |letters| like_pieces(letters, escape), |left, right| left.eq_ignore_ascii_case(&right))
}

/// `text GLOB pattern`.
pub(crate) fn glob(text: Value, pattern: Value, arena: &mut Arena) -> Value {
    run(text, pattern, arena, glob_pieces, |left, right| left == right)
}

fn letters(value: Value, arena: &mut Arena) -> Result<Vec<char>, Value> {
    match value.to_text(arena) {
        Value::Text(span) => Ok(arena.text(span).chars().collect()),
        Value::Failed(Failure::NotUtf8) => Err(Value::Failed(Failure::NotUtf8)),
        other => Err(other),
    }
}

fn run(text: Value, pattern: Value, arena: &mut Arena, pieces: impl Fn(&[char]) -> Vec<Piece>, same: impl Fn(char, char) -> bool) -> Value {
    let (text, pattern) = match (letters(text, arena), letters(pattern, arena)) {
        (Ok(text), Ok(pattern)) => (text, pattern),
        (Err(failed @ Value::Failed(_)), _) | (_, Err(failed @ Value::Failed(_))) => return failed,
        _ => return Value::Null,
    };
    if pattern.len() > PATTERN_MAX {
        return Value::Failed(Failure::Pattern);
    }
    Value::truth(matches(&pieces(&pattern), &text, same))
}

fn like_pieces(pattern: &[char], escape: Option<char>) -> Vec<Piece> {
    let mut pieces = Vec::with_capacity(pattern.len());
    let mut rest = pattern.iter().copied();
    while let Some(letter) = rest.next() {
        pieces.push(match letter {
            letter if Some(letter) == escape => rest.next().map_or(Piece::Nothing, Piece::One),
            '%' => Piece::AnyText,
            '_' => Piece::AnyOne,
            letter => Piece::One(letter),
        });
    }
    pieces
}

fn glob_pieces(pattern: &[char]) -> Vec<Piece> {
    let mut pieces = Vec::with_capacity(pattern.len());
    let mut at = 0;
    while at < pattern.len() {
        let letter = pattern[at];
        at += 1;
        pieces.push(match letter {
            '*' => Piece::AnyText,
            '?' => Piece::AnyOne,
            '[' => {
                let (piece, next) = glob_set(pattern, at);
                at = next;
                piece
            }
            letter => Piece::One(letter),
        });
    }
    pieces
}

/// A set, and where it ends. Source: SQLite's patternCompare: `^` negates, `]` first is itself, `-` makes a range.
fn glob_set(pattern: &[char], start: usize) -> (Piece, usize) {
    let mut at = start;
    let negated = pattern.get(at) == Some(&'^');
    at += usize::from(negated);
    let mut ranges = Vec::new();
    let mut before: Option<char> = None;
    if pattern.get(at) == Some(&']') {
        ranges.push((']', ']'));
        at += 1;
    }
    while let Some(letter) = pattern.get(at).copied() {
        if letter == ']' {
            return (Piece::OneOf(negated, ranges), at + 1);
        }
        match (letter, pattern.get(at + 1), before) {
            ('-', Some(high), Some(low)) if *high != ']' => {
                ranges.push((low, *high));
                before = None;
                at += 1;
            }
            _ => {
                ranges.push((letter, letter));
                before = Some(letter);
            }
        }
        at += 1;
    }
    (Piece::Nothing, at)
}

fn matches(pieces: &[Piece], text: &[char], same: impl Fn(char, char) -> bool) -> bool {
    let takes = |piece: &Piece, letter: char| match piece {
        Piece::AnyText | Piece::Nothing => false,
        Piece::AnyOne => true,
        Piece::One(wanted) => same(*wanted, letter),
        Piece::OneOf(negated, ranges) => ranges.iter().any(|(low, high)| (*low..=*high).contains(&letter)) != *negated,
    };
    let (mut piece, mut at) = (0, 0);
    let mut last: Option<(usize, usize)> = None;
    while at < text.len() {
        match pieces.get(piece) {
            Some(Piece::AnyText) => {
                last = Some((piece, at));
                piece += 1;
            }
            Some(one) if takes(one, text[at]) => {
                piece += 1;
                at += 1;
            }
            _ => match last {
                Some((any, from)) => {
                    last = Some((any, from + 1));
                    piece = any + 1;
                    at = from + 1;
                }
                None => return false,
            },
        }
    }
    pieces[piece..].iter().all(|rest| matches!(rest, Piece::AnyText))
}
