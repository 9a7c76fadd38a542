//! Where a task starts to follow its source's log, and where it stops, as people say it.
//!
//! ```text
//!   postgres:0/16B3748   mysql:3e11fa47-…:1-5   mariadb:0-1-100      a position
//!   mysql-bin.000024:373                                             a file of the binary log and an offset
//!   time:2026-11-26T09:00:00Z                                        a start by commit times
//!   server_time:2026-11-26T09:00:00Z   commit_time:…                 a stop by a clock
//! ```
//!
//! A file and an offset, and a start by time, name a place that only the source can look up.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use crate::{Engine, Position};

/// The longest name of a binary log file; MySQL's own limit (`FN_REFLEN`).
const FILE_BYTES_MAX: usize = 512;

/// A place in the binary log of MySQL or MariaDB.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LogPlace {
    /// The file, without its directory: `mysql-bin.000024`.
    pub file: String,
    /// Bytes from the file's beginning.
    pub offset: u64,
}

impl LogPlace {
    /// The number at the end of a file's name, by which a server's files follow one another.
    pub fn file_number(file: &str) -> Option<u64> {
        let (_, number) = file.rsplit_once('.')?;
        if number.bytes().all(|byte| byte.is_ascii_digit()) { number.parse().ok() } else { None }
    }

    /// The order of two places of one server; `None` for files of another naming.
    pub fn compared(&self, file: &str, offset: u64) -> Option<Ordering> {
        let (one, two) = (Self::file_number(&self.file)?, Self::file_number(file)?);
        Some(one.cmp(&two).then(self.offset.cmp(&offset)))
    }
}

impl fmt::Display for LogPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.offset)
    }
}

impl FromStr for LogPlace {
    type Err = PointError;

    fn from_str(text: &str) -> Result<Self, PointError> {
        let place = text.rsplit_once(':').and_then(|(file, offset)| {
            let plain = file.len() <= FILE_BYTES_MAX && file.bytes().all(|byte| byte.is_ascii_graphic() && !b"/\\'\"`:".contains(&byte));
            let digits = !offset.is_empty() && offset.bytes().all(|byte| byte.is_ascii_digit());
            (plain && digits && Self::file_number(file).is_some()).then_some((file, offset.parse().ok()?))
        });
        let (file, offset) = place.ok_or_else(|| PointError::new(text, "a file and an offset like mysql-bin.000024:373"))?;
        Ok(Self { file: file.to_owned(), offset })
    }
}

/// Where a task starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartPoint {
    /// Behind everything that the position covers.
    Position(Position),
    /// With the first transaction that is not complete before this place.
    Place(LogPlace),
    /// With the first transaction that was committed at this time or later, microseconds since 1970.
    Time(i64),
}

/// Where a task stops: in front of the first transaction behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopPoint {
    /// Behind everything that the position covers.
    Position(Position),
    /// Behind every transaction that is complete before this place.
    Place(LogPlace),
    /// Behind every transaction that was committed until then, microseconds since 1970, when the source's clock says so.
    ServerTime(i64),
    /// The same by the times that transactions carry.
    CommitTime(i64),
}

impl StartPoint {
    /// True when a source of this kind can start there.
    pub fn fits(&self, engine: Engine) -> bool {
        match self {
            StartPoint::Position(position) => engine_of(position) == engine,
            StartPoint::Place(_) | StartPoint::Time(_) => engine != Engine::Postgres,
        }
    }
}

impl StopPoint {
    /// True when a source of this kind can stop there.
    pub fn fits(&self, engine: Engine) -> bool {
        match self {
            StopPoint::Position(position) => engine_of(position) == engine,
            StopPoint::Place(_) => engine != Engine::Postgres,
            StopPoint::ServerTime(_) | StopPoint::CommitTime(_) => true,
        }
    }
}

fn engine_of(position: &Position) -> Engine {
    match position {
        Position::Postgres(_) => Engine::Postgres,
        Position::Mysql(_) => Engine::Mysql,
        Position::Mariadb(_) => Engine::Mariadb,
    }
}

impl fmt::Display for StartPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartPoint::Position(position) => position.fmt(f),
            StartPoint::Place(place) => place.fmt(f),
            StartPoint::Time(us) => write!(f, "time:{}", utc(*us)),
        }
    }
}

impl fmt::Display for StopPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StopPoint::Position(position) => position.fmt(f),
            StopPoint::Place(place) => place.fmt(f),
            StopPoint::ServerTime(us) => write!(f, "server_time:{}", utc(*us)),
            StopPoint::CommitTime(us) => write!(f, "commit_time:{}", utc(*us)),
        }
    }
}

impl FromStr for StartPoint {
    type Err = PointError;

    fn from_str(text: &str) -> Result<Self, PointError> {
        match text.split_once(':') {
            Some(("time", time)) => Ok(StartPoint::Time(time_us(time)?)),
            Some(("postgres" | "mysql" | "mariadb", _)) => Ok(StartPoint::Position(position(text)?)),
            _ => Ok(StartPoint::Place(text.parse()?)),
        }
    }
}

impl FromStr for StopPoint {
    type Err = PointError;

    fn from_str(text: &str) -> Result<Self, PointError> {
        match text.split_once(':') {
            Some(("server_time", time)) => Ok(StopPoint::ServerTime(time_us(time)?)),
            Some(("commit_time", time)) => Ok(StopPoint::CommitTime(time_us(time)?)),
            Some(("postgres" | "mysql" | "mariadb", _)) => Ok(StopPoint::Position(position(text)?)),
            _ => Ok(StopPoint::Place(text.parse()?)),
        }
    }
}

fn position(text: &str) -> Result<Position, PointError> {
    text.parse().map_err(|_| PointError::new(text, "a position like postgres:0/16B3748, mysql:uuid:1-5 or mariadb:0-1-100"))
}

/// A text that names no place in a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("found \"{found}\", wanted {wanted}")]
pub struct PointError {
    found: String,
    wanted: &'static str,
}

impl PointError {
    fn new(found: &str, wanted: &'static str) -> Self {
        Self { found: found.chars().take(100).collect(), wanted }
    }
}

/// Microseconds since 1970 of `2026-11-26T09:00:00.5+01:00`; without an offset it is UTC, and a blank may stand for the `T`.
///
/// # Errors
/// For another form, a day that no calendar has, and years before 1970 or after 9999.
pub fn time_us(text: &str) -> Result<i64, PointError> {
    parse_time(text).ok_or_else(|| PointError::new(text, "a time like 2026-11-26T09:00:00Z"))
}

fn parse_time(text: &str) -> Option<i64> {
    const FORM: &[u8; 19] = b"dddd-dd-ddTdd:dd:dd";
    let bytes = text.as_bytes();
    let head = bytes.get(..FORM.len())?;
    let fits = head.iter().zip(FORM).all(|(byte, form)| match form {
        b'd' => byte.is_ascii_digit(),
        b'T' => matches!(byte, b'T' | b't' | b' '),
        other => byte == other,
    });
    let part = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (part(0..4)?, part(5..7)?, part(8..10)?);
    let (hour, minute, second) = (part(11..13)?, part(14..16)?, part(17..19)?);
    if !fits || year < 1970 || !(1..=12).contains(&month) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    if !(1..=days_of_month(year, month)).contains(&day) {
        return None;
    }
    let mut rest = text.get(FORM.len()..)?;
    let mut us = 0;
    if let Some(fraction) = rest.strip_prefix('.') {
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        if !(1..=9).contains(&digits) {
            return None;
        }
        us = format!("{:0<6}", &fraction[..digits.min(6)]).parse().ok()?;
        rest = &fraction[digits..];
    }
    let offset_minutes = match rest.as_bytes() {
        [] | [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] if [h1, h2, m1, m2].iter().all(|byte| byte.is_ascii_digit()) => {
            let digit = |byte: &u8| i64::from(byte - b'0');
            let minutes = (digit(h1) * 10 + digit(h2)) * 60 + digit(m1) * 10 + digit(m2);
            if *sign == b'-' { -minutes } else { minutes }
        }
        _ => return None,
    };
    let seconds = days_from_1970(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - offset_minutes * 60;
    (seconds >= 0).then_some(seconds * 1_000_000 + us)
}

fn days_of_month(year: i64, month: i64) -> i64 {
    let is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn days_from_1970(year: i64, month: i64, day: i64) -> i64 {
    let leaps_before = |year: i64| (year - 1) / 4 - (year - 1) / 100 + (year - 1) / 400;
    let of_years = (year - 1970) * 365 + leaps_before(year) - leaps_before(1970);
    of_years + (1..month).map(|month| days_of_month(year, month)).sum::<i64>() + day - 1
}

/// `2026-11-26T09:00:00.500000Z`, for a time that [`time_us`] read.
fn utc(us: i64) -> String {
    let (seconds, us) = (us.div_euclid(1_000_000), us.rem_euclid(1_000_000));
    let (mut days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let mut year = 1970 + days / 366;
    while days_from_1970(year + 1, 1, 1) <= days {
        year += 1;
    }
    days -= days_from_1970(year, 1, 1);
    let mut month = 1;
    while days >= days_of_month(year, month) {
        days -= days_of_month(year, month);
        month += 1;
    }
    let fraction = if us == 0 { String::new() } else { format!(".{us:06}") };
    format!("{year:04}-{month:02}-{:02}T{:02}:{:02}:{:02}{fraction}Z", days + 1, of_day / 3_600, of_day / 60 % 60, of_day % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_read_back_as_they_are_written() {
        for text in ["postgres:0/16B3748", "mariadb:0-1-100", "mysql-bin.000024:373", "time:2026-11-26T09:00:00Z"] {
            assert_eq!(text.parse::<StartPoint>().unwrap().to_string(), text);
        }
        for text in ["server_time:2024-02-29T23:59:59.250000Z", "commit_time:1970-01-01T00:00:00Z", "binlog.1:4", "postgres:0/1"] {
            assert_eq!(text.parse::<StopPoint>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn times_are_utc_unless_they_say_otherwise() {
        assert_eq!(time_us("1970-01-01T00:00:01"), Ok(1_000_000));
        assert_eq!(time_us("2000-03-01 00:00:00.000001Z"), Ok(951_868_800_000_001));
        assert_eq!(time_us("2000-03-01T01:30:00+01:30"), Ok(951_868_800_000_000));
        assert_eq!(time_us("9999-12-31T23:59:59Z"), Ok(253_402_300_799_000_000));
        for us in [0, 951_782_400_000_000, 1_795_685_416_494_954, 253_402_300_799_000_000] {
            assert_eq!(time_us(&utc(us)), Ok(us));
        }
    }

    #[test]
    fn what_names_no_place_is_refused() {
        for text in
            ["", "here", "mysql-bin:4", "mysql-bin.x:4", "a/b.1:4", "binlog.000001:-1", "binlog.000001:", "time:2026-02-30T00:00:00Z"]
        {
            assert!(text.parse::<StartPoint>().is_err(), "{text}");
        }
        for text in
            ["server_time:2026-13-01T00:00:00", "commit_time:2026-01-01", "server_time:2026-01-01T00:00:00.Z", "time:2026-01-01T00:00:00"]
        {
            assert!(text.parse::<StopPoint>().is_err(), "{text}");
        }
    }

    #[test]
    fn files_follow_by_their_numbers() {
        let place: LogPlace = "binlog.000009:400".parse().unwrap();
        assert_eq!(place.compared("binlog.000010", 4), Some(Ordering::Less));
        assert_eq!(place.compared("binlog.000009", 300), Some(Ordering::Greater));
        assert_eq!(place.compared("binlog.000009", 400), Some(Ordering::Equal));
        assert_eq!(place.compared("nonsense", 4), None);
        // MY-051: behind the last number of six digits comes one of seven.
        let place: LogPlace = "binlog.999999:400".parse().unwrap();
        assert_eq!(place.compared("binlog.1000000", 4), Some(Ordering::Less));
    }
}
