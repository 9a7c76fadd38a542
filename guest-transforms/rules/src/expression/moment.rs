//! Moments: parsed, shifted by SQLite's modifiers, and taken apart.
//!
//! A moment is kept as SQLite keeps it, in milliseconds since noon of -4713-11-24, so that the same things are rounded.
//! Source: the arithmetic of SQLite's src/date.c (Meeus, "Astronomical Algorithms").

use super::number::prefix;
use super::value::Failure;

pub(crate) const DAY_MS: i64 = 86_400_000;
/// The last millisecond of the year 9999.
pub(crate) const LAST_MS: i64 = 464_269_060_799_999;
/// The moment 1970-01-01 00:00:00.
pub(crate) const EPOCH_MS: i64 = 210_866_760_000_000;

/// Names of units, the greatest count, and their seconds.
const UNITS: &[(&str, f64, f64)] = &[
    ("second", 4.6427e14, 1.0),
    ("minute", 7.7379e12, 60.0),
    ("hour", 1.2897e11, 3_600.0),
    ("day", 5_373_485.0, 86_400.0),
    ("month", 176_546.0, 2_592_000.0),
    ("year", 14_713.0, 31_536_000.0),
];

/// A moment, as far as it is worked out.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Moment {
    pub(crate) ms: Option<i64>,
    pub(crate) day: Option<(i64, i64, i64)>,
    /// Hours, minutes, seconds.
    pub(crate) clock: Option<(i64, i64, f64)>,
    pub(crate) zone_minutes: i64,
    /// A bare number: a day count, or seconds for `unixepoch`.
    pub(crate) raw: Option<f64>,
    /// Days that the month was too short by.
    pub(crate) overflow_days: i64,
    pub(crate) subseconds: bool,
}

/// Why there is no moment.
pub(crate) enum No {
    /// The answer is NULL.
    Moment,
    Failed(Failure),
}

pub(crate) type Found<T> = Result<T, No>;

pub(crate) fn is_now(text: &str) -> bool {
    ["now", "subsec", "subsecond"].iter().any(|word| text.eq_ignore_ascii_case(word))
}

fn digits(text: &mut &[u8], count: usize, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
    let (head, rest) = text.split_at_checked(count)?;
    if !head.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = head.iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0'));
    *text = rest;
    range.contains(&value).then_some(value)
}

fn mark(text: &mut &[u8], wanted: u8) -> Option<()> {
    let rest = text.strip_prefix(&[wanted])?;
    *text = rest;
    Some(())
}

fn skip_blanks(text: &mut &[u8]) {
    while let [b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r', rest @ ..] = text {
        *text = rest;
    }
}

impl Moment {
    pub(crate) fn of_number(number: f64) -> Self {
        let is_day_count = (0.0..5_373_484.5).contains(&number);
        let ms = is_day_count.then(|| (number * DAY_MS as f64 + 0.5) as i64);
        Self { ms, raw: Some(number), ..Self::default() }
    }

    pub(crate) fn of_text(text: &str) -> Found<Self> {
        let bytes = text.as_bytes();
        if let Some(found) = Self::of_day(bytes).or_else(|| Self::of_clock(bytes)) {
            return Ok(found);
        }
        if is_now(text) {
            return Err(No::Failed(Failure::Clock));
        }
        let number = prefix(bytes);
        if number.is_whole { Ok(Self::of_number(number.real())) } else { Err(No::Moment) }
    }

    fn of_day(mut text: &[u8]) -> Option<Self> {
        let negative = mark(&mut text, b'-').is_some();
        let year = digits(&mut text, 4, 0..=9999)?;
        mark(&mut text, b'-')?;
        let month = digits(&mut text, 2, 1..=12)?;
        mark(&mut text, b'-')?;
        let day = digits(&mut text, 2, 1..=31)?;
        while let [b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r' | b'T', rest @ ..] = text {
            text = rest;
        }
        let mut found = if text.is_empty() { Self::default() } else { Self::of_clock(text)? };
        let year = if negative { -year } else { year };
        found.day = Some((year, month, day));
        found.overflow_days = (day - month_days(year, month)).max(0);
        Some(found)
    }

    fn of_clock(mut text: &[u8]) -> Option<Self> {
        let hours = digits(&mut text, 2, 0..=24)?;
        mark(&mut text, b':')?;
        let minutes = digits(&mut text, 2, 0..=59)?;
        let mut seconds = 0.0;
        if mark(&mut text, b':').is_some() {
            seconds = digits(&mut text, 2, 0..=59)? as f64;
            if let [b'.', digit, ..] = text
                && digit.is_ascii_digit()
            {
                let count = text[1..].iter().take_while(|digit| digit.is_ascii_digit()).count();
                let (mut part, mut scale) = (0.0, 1.0);
                for digit in &text[1..=count] {
                    part = part * 10.0 + f64::from(digit - b'0');
                    scale *= 10.0;
                }
                seconds += (part / scale).min(0.999);
                text = &text[1 + count..];
            }
        }
        let zone_minutes = zone(text)?;
        Some(Self { clock: Some((hours, minutes, seconds)), zone_minutes, ..Self::default() })
    }

    pub(crate) fn milliseconds(&mut self) -> Found<i64> {
        if let Some(ms) = self.ms {
            return Ok(ms);
        }
        let (mut year, mut month, day) = self.day.unwrap_or((2000, 1, 1));
        if !(-4713..=9999).contains(&year) || self.raw.is_some() {
            return Err(No::Moment);
        }
        if month <= 2 {
            year -= 1;
            month += 12;
        }
        let century = (year + 4800) / 100;
        let leap = 38 - century + century / 4;
        let days = 36_525 * (year + 4716) / 100 + 306_001 * (month + 1) / 10_000 + day + leap;
        let mut ms = ((days as f64 - 1524.5) * DAY_MS as f64) as i64;
        if let Some((hours, minutes, seconds)) = self.clock {
            ms += hours * 3_600_000 + minutes * 60_000 + (seconds * 1000.0 + 0.5) as i64;
            if self.zone_minutes != 0 {
                ms -= self.zone_minutes * 60_000;
                self.day = None;
                self.clock = None;
                self.zone_minutes = 0;
            }
        }
        self.ms = Some(ms);
        Ok(ms)
    }

    pub(crate) fn day(&mut self) -> Found<(i64, i64, i64)> {
        if let Some(day) = self.day {
            return Ok(day);
        }
        let day = match self.ms {
            None => (2000, 1, 1),
            Some(ms) if !(0..=LAST_MS).contains(&ms) => return Err(No::Moment),
            Some(ms) => {
                let z = (ms + 43_200_000) / DAY_MS;
                let alpha = ((z as f64 + 32_044.75) / 36_524.25) as i64 - 52;
                let a = z + 1 + alpha - (alpha + 100) / 4 + 25;
                let b = a + 1524;
                let c = ((b as f64 - 122.1) / 365.25) as i64;
                let d = 36_525 * (c & 32_767) / 100;
                let e = ((b - d) as f64 / 30.6001) as i64;
                let day = b - d - (30.6001 * e as f64) as i64;
                let month = if e < 14 { e - 1 } else { e - 13 };
                (if month > 2 { c - 4716 } else { c - 4715 }, month, day)
            }
        };
        self.day = Some(day);
        Ok(day)
    }

    pub(crate) fn clock(&mut self) -> Found<(i64, i64, f64)> {
        if let Some(clock) = self.clock {
            return Ok(clock);
        }
        let of_day = (self.milliseconds()? + 43_200_000) % DAY_MS;
        let minutes = of_day / 60_000;
        let clock = (minutes / 60, minutes % 60, (of_day % 60_000) as f64 / 1000.0);
        self.raw = None;
        self.clock = Some(clock);
        Ok(clock)
    }

    fn move_to(&mut self, ms: i64) {
        *self = Self { ms: Some(ms), subseconds: self.subseconds, overflow_days: self.overflow_days, ..Self::default() };
    }

    pub(crate) fn modify(&mut self, modifier: &str, place: usize) -> Found<()> {
        let lower = modifier.to_ascii_lowercase();
        match lower.as_str() {
            "localtime" | "utc" => return Err(No::Failed(Failure::Clock)),
            // Known to SQLite and not here.
            "auto" | "julianday" => return Err(No::Failed(Failure::Format)),
            "subsec" | "subsecond" => {
                self.subseconds = true;
                return Ok(());
            }
            "floor" => {
                let ms = self.milliseconds()? - self.overflow_days * DAY_MS;
                self.move_to(ms);
                return Ok(());
            }
            "ceiling" => {
                let ms = self.milliseconds()?;
                self.overflow_days = 0;
                self.move_to(ms);
                return Ok(());
            }
            "unixepoch" => {
                let ms = self.raw.filter(|_| place == 1).map(|raw| raw * 1000.0 + EPOCH_MS as f64);
                let ms = ms.filter(|ms| (0.0..464_269_060_800_000.0).contains(ms)).ok_or(No::Moment)?;
                self.move_to((ms + 0.5) as i64);
                return Ok(());
            }
            _ => {}
        }
        if let Some(weekday) = lower.strip_prefix("weekday ") {
            return self.to_weekday(weekday);
        }
        if let Some(unit) = lower.strip_prefix("start of ") {
            return self.to_start(unit);
        }
        if lower.starts_with(['+', '-']) || lower.starts_with(|letter: char| letter.is_ascii_digit()) {
            return self.shift(&lower);
        }
        Err(No::Moment)
    }

    fn to_weekday(&mut self, text: &str) -> Found<()> {
        let number = prefix(text.as_bytes());
        let wanted = number.real();
        if !number.is_whole || !(0.0..7.0).contains(&wanted) || wanted.trunc() != wanted {
            return Err(No::Moment);
        }
        self.day()?;
        self.clock()?;
        self.zone_minutes = 0;
        self.ms = None;
        let ms = self.milliseconds()?;
        let mut today = (ms + 129_600_000) / DAY_MS % 7;
        let wanted = wanted as i64;
        if today > wanted {
            today -= 7;
        }
        self.move_to(ms + (wanted - today) * DAY_MS);
        Ok(())
    }

    fn to_start(&mut self, unit: &str) -> Found<()> {
        if self.ms.is_none() && self.day.is_none() && self.clock.is_none() {
            return Err(No::Moment);
        }
        let (year, month, day) = self.day()?;
        let day = match unit {
            "month" => (year, month, 1),
            "year" => (year, 1, 1),
            "day" => (year, month, day),
            _ => return Err(No::Moment),
        };
        *self = Self {
            day: Some(day),
            clock: Some((0, 0, 0.0)),
            subseconds: self.subseconds,
            overflow_days: self.overflow_days,
            ..Self::default()
        };
        Ok(())
    }

    fn shift(&mut self, text: &str) -> Found<()> {
        let bytes = text.as_bytes();
        let end = bytes.iter().skip(1).position(|byte| *byte == b':' || byte.is_ascii_whitespace()).map_or(bytes.len(), |at| at + 1);
        let number = prefix(&bytes[..end]);
        if !number.is_whole {
            // `±YYYY-MM-DD` is known to SQLite and not here.
            return Err(if bytes[1..end].contains(&b'-') { No::Failed(Failure::Format) } else { No::Moment });
        }
        if bytes.get(end) == Some(&b':') {
            return self.shift_clock(text);
        }
        let unit = text[end..].trim_start();
        let unit = if (3..=10).contains(&unit.len()) { unit.strip_suffix('s').unwrap_or(unit) } else { return Err(No::Moment) };
        let mut count = number.real();
        let found = UNITS.iter().find(|(name, limit, _)| *name == unit && count > -limit && count < *limit);
        let (_, _, seconds) = found.ok_or(No::Moment)?;
        self.milliseconds()?;
        let half = if count < 0.0 { -0.5 } else { 0.5 };
        self.overflow_days = 0;
        if unit == "month" || unit == "year" {
            let (mut year, mut month, day) = self.day()?;
            self.clock()?;
            let whole = count as i64;
            if unit == "month" {
                month += whole;
                let years = if month > 0 { (month - 1) / 12 } else { (month - 12) / 12 };
                year += years;
                month -= years * 12;
            } else {
                year += whole;
            }
            self.day = Some((year, month, day));
            self.overflow_days = (day - month_days(year, month)).max(0);
            self.ms = None;
            count -= whole as f64;
        }
        let ms = self.milliseconds()?;
        self.move_to(ms + (count * 1000.0 * seconds + half) as i64);
        Ok(())
    }

    /// `±HH:MM[:SS[.SSS]]`
    fn shift_clock(&mut self, text: &str) -> Found<()> {
        let negative = text.starts_with('-');
        let clock = text.strip_prefix(['+', '-']).unwrap_or(text);
        let mut by = Self::of_clock(clock.as_bytes()).ok_or(No::Moment)?;
        let of_day = (by.milliseconds()? - 43_200_000).rem_euclid(DAY_MS);
        let ms = self.milliseconds()?;
        self.move_to(if negative { ms - of_day } else { ms + of_day });
        Ok(())
    }
}

fn month_days(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Minutes east of Greenwich; `None` for something else than a zone.
fn zone(mut text: &[u8]) -> Option<i64> {
    skip_blanks(&mut text);
    let minutes = match text {
        [] => return Some(0),
        [b'Z' | b'z', rest @ ..] => {
            text = rest;
            0
        }
        [sign @ (b'+' | b'-'), rest @ ..] => {
            let sign = if *sign == b'-' { -1 } else { 1 };
            text = rest;
            let hours = digits(&mut text, 2, 0..=14)?;
            mark(&mut text, b':')?;
            let minutes = digits(&mut text, 2, 0..=59)?;
            sign * (hours * 60 + minutes)
        }
        _ => return None,
    };
    skip_blanks(&mut text);
    text.is_empty().then_some(minutes)
}
