//! `format()` and `printf()`, for the conversions %d %i %s %f %x %X %o %c %%.
//! Source: SQLite, "Built-in printf()".

use super::number::fixed;
use super::value::{Arena, Failure, Value};

/// Most characters that one conversion may be padded to.
const WIDTH_MAX: usize = 10_000;

struct Conversion {
    left: bool,
    plus: bool,
    blank: bool,
    zero: bool,
    comma: bool,
    width: Option<usize>,
    precision: Option<usize>,
    kind: char,
}

/// # Errors
/// The first conversion that is not supported.
pub(crate) fn check(text: &str) -> Result<(), String> {
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter == '%' && conversion(&mut letters).is_none() {
            return Err("only the conversions %d %i %s %f %x %X %o %c %% are supported, with - + blank 0 , width and .digits".to_owned());
        }
    }
    Ok(())
}

/// What stands behind a percent sign.
fn conversion(letters: &mut std::str::Chars<'_>) -> Option<Conversion> {
    let mut found =
        Conversion { left: false, plus: false, blank: false, zero: false, comma: false, width: None, precision: None, kind: '%' };
    let mut letter = letters.next()?;
    loop {
        match letter {
            '-' => found.left = true,
            '+' => found.plus = true,
            ' ' => found.blank = true,
            '0' => found.zero = true,
            ',' => found.comma = true,
            _ => break,
        }
        letter = letters.next()?;
    }
    let mut number = |letter: &mut char| -> Option<Option<usize>> {
        let mut value = None;
        while let Some(digit) = letter.to_digit(10) {
            value = Some((value.unwrap_or(0) * 10 + digit as usize).min(WIDTH_MAX));
            *letter = letters.next()?;
        }
        Some(value)
    };
    found.width = number(&mut letter)?;
    if letter == '.' {
        letter = letters.next()?;
        let mut digits = |letter: &mut char| -> Option<usize> {
            let mut value = 0;
            while let Some(digit) = letter.to_digit(10) {
                value = (value * 10 + digit as usize).min(WIDTH_MAX);
                *letter = letters.next()?;
            }
            Some(value)
        };
        found.precision = Some(digits(&mut letter)?);
    }
    found.kind = letter;
    matches!(letter, 'd' | 'i' | 's' | 'f' | 'x' | 'X' | 'o' | 'c' | '%').then_some(found)
}

pub(crate) fn format(values: &[Value], arena: &mut Arena) -> Value {
    let pattern = match values[0].to_text(arena) {
        Value::Text(span) => arena.text(span).to_owned(),
        other => return other,
    };
    let mut rest = values[1..].iter().copied();
    let mut out = String::new();
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        let Some(found) = conversion(&mut letters) else { return Value::Failed(Failure::Format) };
        match converted(&found, &mut rest, arena) {
            Ok(text) => out.push_str(&text),
            Err(failure) => return Value::Failed(failure),
        }
        if out.len() > super::value::ARENA_BYTES_MAX {
            return Value::Failed(Failure::TooLarge);
        }
    }
    arena.add_text(&out)
}

fn converted(found: &Conversion, rest: &mut impl Iterator<Item = Value>, arena: &mut Arena) -> Result<String, Failure> {
    let mut value = || rest.next().unwrap_or(Value::Null);
    Ok(match found.kind {
        '%' => "%".to_owned(),
        'd' | 'i' => {
            let number = value().integer(arena);
            number_text(found, number < 0, grouped(&number.unsigned_abs().to_string(), found.comma))
        }
        'x' => number_text(found, false, format!("{:x}", value().integer(arena))),
        'X' => number_text(found, false, format!("{:X}", value().integer(arena))),
        'o' => number_text(found, false, format!("{:o}", value().integer(arena))),
        'f' => {
            let number = value().real(arena);
            if number.is_infinite() {
                return Err(Failure::NotANumber);
            }
            let text = fixed(number, found.precision.unwrap_or(6).min(300));
            let digits = text.trim_start_matches('-').to_owned();
            let (whole, fraction) = digits.split_once('.').unwrap_or((&digits, ""));
            let whole = grouped(whole, found.comma);
            let digits = if fraction.is_empty() { whole } else { format!("{whole}.{fraction}") };
            number_text(&Conversion { precision: None, ..*found }, number < 0.0 && text.starts_with('-'), digits)
        }
        _ => {
            let text = match value().to_text(arena) {
                Value::Text(span) => arena.text(span).to_owned(),
                Value::Failed(failure) => return Err(failure),
                _ => String::new(),
            };
            let count = if found.kind == 'c' { Some(1) } else { found.precision };
            let text: String = count.map_or_else(|| text.clone(), |count| text.chars().take(count).collect());
            padded(found, text)
        }
    })
}

fn number_text(found: &Conversion, negative: bool, digits: String) -> String {
    let sign = match (negative, found.plus, found.blank) {
        (true, _, _) => "-",
        (false, true, _) => "+",
        (false, false, true) => " ",
        (false, false, false) => "",
    };
    let mut zeros = found.precision.unwrap_or(0).saturating_sub(digits.len());
    if found.zero && !found.left {
        zeros = zeros.max(found.width.unwrap_or(0).saturating_sub(digits.len() + sign.len()));
    }
    padded(found, format!("{sign}{}{digits}", "0".repeat(zeros)))
}

/// Digits in groups of three.
fn grouped(digits: &str, comma: bool) -> String {
    if !comma {
        return digits.to_owned();
    }
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn padded(found: &Conversion, text: String) -> String {
    let missing = found.width.unwrap_or(0).saturating_sub(text.chars().count());
    let blanks = " ".repeat(missing);
    if found.left { format!("{text}{blanks}") } else { format!("{blanks}{text}") }
}
