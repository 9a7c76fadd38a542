//! Functions over text and bytes.

use sha2::{Digest, Sha256};

use super::function::Function;
use super::value::{Arena, Failure, Span, Value};

/// The value of a function over text; arguments are no failures.
pub(crate) fn call(function: Function, values: &[Value], arena: &mut Arena) -> Result<Value, Failure> {
    let first = values.first().copied().unwrap_or(Value::Null);
    let second = values.get(1).copied();
    match function {
        Function::Lower => case(first, arena, |byte| byte.to_ascii_lowercase()),
        Function::Upper => case(first, arena, |byte| byte.to_ascii_uppercase()),
        Function::Length => length(first, arena),
        Function::Trim => trim(first, second, true, true, arena),
        Function::LeftTrim => trim(first, second, true, false, arena),
        Function::RightTrim => trim(first, second, false, true, arena),
        Function::Substr => substr(values, arena),
        Function::Instr => instr(first, second.unwrap_or(Value::Null), arena),
        Function::Replace => replace(values, arena),
        Function::ReplaceChars => replace_chars(values, arena),
        Function::Hex => Ok(match first.span(arena)? {
            None => arena.add_text(""),
            Some(span) => {
                let digits = hex(arena.bytes(span));
                arena.add_text(&digits)
            }
        }),
        Function::HashSha256 => Ok(match first.span(arena)? {
            None => Value::Null,
            Some(span) => {
                let digits = hex(&Sha256::digest(arena.bytes(span)));
                arena.add_text(&digits)
            }
        }),
        Function::Unhex => unhex(first, second, arena),
        Function::Char => {
            let letter = |value: &Value| {
                let code = value.integer(arena);
                u32::try_from(code).ok().and_then(char::from_u32).unwrap_or('\u{fffd}')
            };
            let text: String = values.iter().map(letter).collect();
            Ok(arena.add_text(&text))
        }
        Function::Unicode => Ok(match text_of(first, arena)? {
            None => Value::Null,
            Some(span) => arena.text(span).chars().next().map_or(Value::Null, |letter| Value::Integer(i64::from(u32::from(letter)))),
        }),
        _ => Ok(Value::Null),
    }
}

/// Upper-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

fn text_of(value: Value, arena: &mut Arena) -> Result<Option<Span>, Failure> {
    match value.to_text(arena) {
        Value::Text(span) => Ok(Some(span)),
        Value::Failed(failure) => Err(failure),
        _ => Ok(None),
    }
}

fn case(value: Value, arena: &mut Arena, map: impl Fn(u8) -> u8) -> Result<Value, Failure> {
    Ok(match text_of(value, arena)? {
        None => Value::Null,
        Some(span) => arena.add_mapped(span, map),
    })
}

fn length(value: Value, arena: &mut Arena) -> Result<Value, Failure> {
    if let Value::Blob(span) = value {
        return Ok(Value::Integer(arena.bytes(span).len() as i64));
    }
    Ok(match text_of(value, arena)? {
        None => Value::Null,
        // As in SQLite, a text ends at a NUL here.
        Some(span) => Value::Integer(arena.text(span).chars().take_while(|letter| *letter != '\0').count() as i64),
    })
}

fn trim(value: Value, set: Option<Value>, left: bool, right: bool, arena: &mut Arena) -> Result<Value, Failure> {
    let set: Vec<char> = match set {
        None => vec![' '],
        Some(set) => match text_of(set, arena)? {
            None => return Ok(Value::Null),
            Some(span) => arena.text(span).chars().collect(),
        },
    };
    let Some(span) = text_of(value, arena)? else { return Ok(Value::Null) };
    let text = arena.text(span);
    let mut start = 0;
    let mut end = text.len();
    if left {
        start = text.len() - text.trim_start_matches(|letter| set.contains(&letter)).len();
    }
    if right {
        end = start + text[start..].trim_end_matches(|letter| set.contains(&letter)).len();
    }
    Ok(Value::Text(arena.part(span, start..end)))
}

/// Source: SQLite's substrFunc. Positions are characters of a text, bytes of a blob.
fn substr(values: &[Value], arena: &mut Arena) -> Result<Value, Failure> {
    if values.contains(&Value::Null) {
        return Ok(Value::Null);
    }
    let is_blob = matches!(values[0], Value::Blob(_));
    let span = if let Value::Blob(span) = values[0] { Some(span) } else { text_of(values[0], arena)? };
    let Some(span) = span else { return Ok(Value::Null) };
    if is_blob && arena.bytes(span).is_empty() {
        // SQLite takes an empty blob for none here.
        return Ok(Value::Null);
    }
    let size = if is_blob { arena.bytes(span).len() } else { arena.text(span).chars().count() };
    let size = i128::try_from(size).unwrap_or(i128::MAX);
    let mut from = i128::from(values[1].integer(arena));
    let mut count = values.get(2).map_or(i128::from(i64::MAX), |count| i128::from(count.integer(arena)));
    let backwards = count < 0;
    count = count.abs();
    if from < 0 {
        from += size;
        if from < 0 {
            count = if backwards { count } else { (count + from).max(0) };
            if backwards {
                // What stands before the text does not exist.
                return Ok(empty(span, is_blob, arena));
            }
            from = 0;
        }
    } else if from > 0 {
        from -= 1;
    } else if count > 0 && !backwards {
        count -= 1;
    }
    if backwards {
        from -= count;
        if from < 0 {
            count += from;
            from = 0;
        }
    }
    let start = from.clamp(0, size);
    let end = (from + count.max(0)).clamp(start, size);
    let (start, end) = (usize::try_from(start).unwrap_or(0), usize::try_from(end).unwrap_or(0));
    if is_blob {
        return Ok(Value::Blob(arena.part(span, start..end)));
    }
    let text = arena.text(span);
    let offset = |index: usize| text.char_indices().nth(index).map_or(text.len(), |(offset, _)| offset);
    let range = if text.is_ascii() { start..end } else { offset(start)..offset(end) };
    Ok(Value::Text(arena.part(span, range)))
}

fn empty(span: Span, is_blob: bool, arena: &Arena) -> Value {
    let part = arena.part(span, 0..0);
    if is_blob { Value::Blob(part) } else { Value::Text(part) }
}

fn instr(value: Value, wanted: Value, arena: &mut Arena) -> Result<Value, Failure> {
    if value == Value::Null || wanted == Value::Null {
        return Ok(Value::Null);
    }
    if let (Value::Blob(value), Value::Blob(wanted)) = (value, wanted) {
        let (value, wanted) = (arena.bytes(value), arena.bytes(wanted));
        let found = if wanted.is_empty() { Some(0) } else { value.windows(wanted.len()).position(|part| part == wanted) };
        return Ok(Value::Integer(found.map_or(0, |at| at as i64 + 1)));
    }
    let (Some(value), Some(wanted)) = (text_of(value, arena)?, text_of(wanted, arena)?) else { return Ok(Value::Null) };
    let (value, wanted) = (arena.text(value), arena.text(wanted));
    Ok(Value::Integer(value.find(wanted).map_or(0, |at| value[..at].chars().count() as i64 + 1)))
}

fn replace(values: &[Value], arena: &mut Arena) -> Result<Value, Failure> {
    let mut spans = [None; 3];
    for (span, value) in spans.iter_mut().zip(values) {
        *span = text_of(*value, arena)?;
    }
    let [Some(text), Some(old), Some(new)] = spans else {
        // An empty search leaves the text alone, whatever replaces it.
        return Ok(match spans {
            [Some(text), Some(old), None] if arena.bytes(old).is_empty() => Value::Text(text),
            _ => Value::Null,
        });
    };
    if arena.bytes(old).is_empty() {
        return Ok(Value::Text(text));
    }
    let count = arena.text(text).matches(arena.text(old)).count();
    if count == 0 {
        return Ok(Value::Text(text));
    }
    if count.saturating_mul(arena.bytes(new).len()) > super::value::ARENA_BYTES_MAX {
        return Err(Failure::TooLarge);
    }
    let replaced = arena.text(text).replace(arena.text(old), arena.text(new));
    Ok(arena.add_text(&replaced))
}

/// DMS's own: each character of the second text becomes the one in the same place of the third, or its first one.
fn replace_chars(values: &[Value], arena: &mut Arena) -> Result<Value, Failure> {
    let mut spans = [None; 3];
    for (span, value) in spans.iter_mut().zip(values) {
        *span = text_of(*value, arena)?;
    }
    let [Some(text), Some(old), Some(new)] = spans else { return Ok(Value::Null) };
    let old: Vec<char> = arena.text(old).chars().collect();
    let new: Vec<char> = arena.text(new).chars().collect();
    let replaced: String = arena
        .text(text)
        .chars()
        .filter_map(|letter| match old.iter().position(|wanted| *wanted == letter) {
            None => Some(letter),
            Some(place) => new.get(place).or(new.first()).copied(),
        })
        .collect();
    Ok(arena.add_text(&replaced))
}

/// Source: SQLite's unhexFunc: pairs of digits, between which characters of the second text may stand.
fn unhex(value: Value, ignored: Option<Value>, arena: &mut Arena) -> Result<Value, Failure> {
    let ignored: Vec<char> = match ignored {
        None => Vec::new(),
        Some(ignored) => match text_of(ignored, arena)? {
            None => return Ok(Value::Null),
            Some(span) => arena.text(span).chars().collect(),
        },
    };
    let Some(span) = text_of(value, arena)? else { return Ok(Value::Null) };
    let mut bytes = Vec::new();
    let mut letters = arena.text(span).chars();
    while let Some(letter) = letters.next() {
        let Some(high) = letter.to_digit(16) else {
            if ignored.contains(&letter) {
                continue;
            }
            return Ok(Value::Null);
        };
        let Some(low) = letters.next().and_then(|letter| letter.to_digit(16)) else { return Ok(Value::Null) };
        bytes.push((high << 4 | low) as u8);
    }
    Ok(arena.add_blob(&bytes))
}
