//! Date functions: `date`, `time`, `datetime`, `julianday`, `unixepoch`, `strftime`, with SQLite's modifiers.
//!
//! The present time and the local time zone are refused: they would differ when a row is sent again.
//! Source: SQLite, "Date And Time Functions".

use super::function::Function;
use super::moment::{DAY_MS, EPOCH_MS, Found, LAST_MS, Moment, No, is_now};
use super::number::{fixed, general};
use super::value::{Arena, Failure, Value};

const CLOCK: &str = "the present time and the local time zone would differ when a row is sent again; use $AR_H_TIMESTAMP";

pub(crate) fn check_time(text: &str) -> Result<(), String> {
    if is_now(text) { Err(CLOCK.to_owned()) } else { Ok(()) }
}

/// # Errors
/// For a modifier that is none, or not supported.
pub(crate) fn check_modifier(text: &str) -> Result<(), String> {
    let lower = text.to_ascii_lowercase();
    match lower.as_str() {
        "localtime" | "utc" => return Err(CLOCK.to_owned()),
        "unixepoch" => return Ok(()),
        _ => {}
    }
    let mut trial = Moment { ms: Some(EPOCH_MS), ..Moment::default() };
    match trial.modify(text, 2) {
        Ok(()) => Ok(()),
        Err(_) => Err("the modifier is not known; known are \"±N days\" (hours, minutes, seconds, months, years), \"±HH:MM:SS\", \
                       \"start of month\", \"start of year\", \"start of day\", \"weekday N\", \"unixepoch\", \"subsec\", \"floor\", \"ceiling\""
            .to_owned()),
    }
}

/// # Errors
/// For a conversion that is not supported.
pub(crate) fn check_format(text: &str) -> Result<(), String> {
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter == '%' && !letters.next().is_some_and(|kind| "deFfHIjJklmMpPRsSTuwWY%".contains(kind)) {
            return Err(
                "only the conversions %d %e %f %F %H %I %j %J %k %l %m %M %p %P %R %s %S %T %u %w %W %Y %% are supported".to_owned()
            );
        }
    }
    Ok(())
}

pub(crate) fn call(function: Function, values: &[Value], arena: &mut Arena) -> Value {
    let (format, values) = if function == Function::StrfTime { (values[0], &values[1..]) } else { (Value::Null, values) };
    let answer = moment(values, arena).and_then(|mut moment| match function {
        Function::Date => moment.date_text().map(Answer::Text),
        Function::Time => moment.time_text().map(Answer::Text),
        Function::DateTime => Ok(Answer::Text(format!("{} {}", moment.date_text()?, moment.time_text()?))),
        Function::JulianDay => moment.milliseconds().map(|ms| Answer::Number(Value::Real(ms as f64 / DAY_MS as f64))),
        Function::UnixEpoch => moment.milliseconds().map(|ms| {
            Answer::Number(if moment.subseconds {
                Value::Real((ms - EPOCH_MS) as f64 / 1000.0)
            } else {
                Value::Integer(ms / 1000 - EPOCH_MS / 1000)
            })
        }),
        _ => match format.to_text(arena) {
            Value::Text(span) => {
                let format = arena.text(span).to_owned();
                moment.formatted(&format).map(Answer::Text)
            }
            Value::Failed(failure) => Err(No::Failed(failure)),
            _ => Err(No::Moment),
        },
    });
    match answer {
        Ok(Answer::Text(text)) => arena.add_text(&text),
        Ok(Answer::Number(value)) => value,
        Err(No::Moment) => Value::Null,
        Err(No::Failed(failure)) => Value::Failed(failure),
    }
}

enum Answer {
    Text(String),
    Number(Value),
}

fn moment(values: &[Value], arena: &mut Arena) -> Found<Moment> {
    let mut moment = match values[0] {
        Value::Integer(_) | Value::Real(_) => Moment::of_number(values[0].real(arena)),
        value => Moment::of_text(&text(value, arena)?)?,
    };
    for (index, modifier) in values[1..].iter().enumerate() {
        let modifier = text(*modifier, arena)?;
        moment.modify(&modifier, index + 1)?;
    }
    let ms = moment.milliseconds()?;
    if !(0..=LAST_MS).contains(&ms) {
        return Err(No::Moment);
    }
    // A 31st of a shorter month is a day of the next one.
    if values.len() == 1 && moment.day.is_some_and(|(_, _, day)| day > 28) {
        moment.day = None;
    }
    Ok(moment)
}

fn text(value: Value, arena: &mut Arena) -> Found<String> {
    match value.to_text(arena) {
        Value::Text(span) => Ok(arena.text(span).to_owned()),
        Value::Failed(failure) => Err(No::Failed(failure)),
        _ => Err(No::Moment),
    }
}

impl Moment {
    fn date_text(&mut self) -> Found<String> {
        let (year, month, day) = self.day()?;
        let sign = if year < 0 { "-" } else { "" };
        Ok(format!("{sign}{:04}-{month:02}-{day:02}", year.abs()))
    }

    fn time_text(&mut self) -> Found<String> {
        let (hours, minutes, seconds) = self.clock()?;
        Ok(if self.subseconds {
            let ms = (seconds * 1000.0 + 0.5) as i64;
            format!("{hours:02}:{minutes:02}:{:02}.{:03}", ms / 1000 % 60, ms % 1000)
        } else {
            format!("{hours:02}:{minutes:02}:{:02}", seconds as i64)
        })
    }

    fn day_of_year(&mut self) -> Found<i64> {
        let ms = self.milliseconds()?;
        let (year, _, _) = self.day()?;
        let clock = self.clock()?;
        let mut first = Self { day: Some((year, 1, 1)), clock: Some(clock), ..Self::default() };
        Ok((ms - first.milliseconds()? + 43_200_000) / DAY_MS)
    }

    fn formatted(&mut self, format: &str) -> Found<String> {
        let ms = self.milliseconds()?;
        let (year, month, day) = self.day()?;
        let (hours, minutes, seconds) = self.clock()?;
        let half_day = if hours > 12 {
            hours - 12
        } else if hours == 0 {
            12
        } else {
            hours
        };
        let mut out = String::new();
        let mut letters = format.chars();
        while let Some(letter) = letters.next() {
            if letter != '%' {
                out.push(letter);
                continue;
            }
            let part = match letters.next() {
                Some('d') => format!("{day:02}"),
                Some('e') => format!("{day:2}"),
                Some('f') => {
                    let seconds = if seconds > 59.999 { 59.999 } else { seconds };
                    format!("{:0>6}", fixed(seconds, 3))
                }
                Some('F') => self.date_text()?,
                Some('H') => format!("{hours:02}"),
                Some('k') => format!("{hours:2}"),
                Some('I') => format!("{half_day:02}"),
                Some('l') => format!("{half_day:2}"),
                Some('j') => format!("{:03}", self.day_of_year()? + 1),
                Some('J') => general(ms as f64 / DAY_MS as f64, 16, false),
                Some('m') => format!("{month:02}"),
                Some('M') => format!("{minutes:02}"),
                Some('p') => (if hours >= 12 { "PM" } else { "AM" }).to_owned(),
                Some('P') => (if hours >= 12 { "pm" } else { "am" }).to_owned(),
                Some('R') => format!("{hours:02}:{minutes:02}"),
                Some('s') if self.subseconds => fixed((ms - EPOCH_MS) as f64 / 1000.0, 3),
                Some('s') => (ms / 1000 - EPOCH_MS / 1000).to_string(),
                Some('S') => format!("{:02}", seconds as i64),
                Some('T') => format!("{hours:02}:{minutes:02}:{:02}", seconds as i64),
                Some('u') => match (ms + 129_600_000) / DAY_MS % 7 {
                    0 => "7".to_owned(),
                    weekday => weekday.to_string(),
                },
                Some('w') => ((ms + 129_600_000) / DAY_MS % 7).to_string(),
                Some('W') => format!("{:02}", (self.day_of_year()? + 7 - (ms + 43_200_000) / DAY_MS % 7) / 7),
                Some('Y') => {
                    let sign = if year < 0 { "-" } else { "" };
                    format!("{sign}{:04}", year.abs())
                }
                Some('%') => "%".to_owned(),
                Some(_) => return Err(No::Failed(Failure::Format)),
                None => return Err(No::Moment),
            };
            out.push_str(&part);
        }
        Ok(out)
    }
}
