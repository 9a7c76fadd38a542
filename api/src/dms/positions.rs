//! Where a run starts and stops, in DMS's words and in the native ones.

use tidegate_catalog::Migration;
use tidegate_model::point::time_us;
use tidegate_model::{Engine, StartPoint, StopPoint};

use super::fault::{Fault, shortened};
use super::shape::Timestamp;

/// Where a run should start and stop, as a request says it.
pub(crate) struct Positions {
    pub(crate) time: Option<Timestamp>,
    pub(crate) start: Option<String>,
    pub(crate) stop: Option<String>,
}

/// The same in the catalog's form.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Points {
    pub(crate) start: Option<String>,
    pub(crate) stop: Option<String>,
}

impl Positions {
    /// Checks positions against the task's type and source.
    ///
    /// # Errors
    /// Faults that name the member, what was found and what is wanted.
    pub(crate) fn checked(self, migration: Migration, engine: Engine) -> Result<Points, Fault> {
        let given = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
        let start = match (self.time, given(self.start)) {
            (Some(_), Some(_)) => return Err(Fault::combination("CdcStartTime and CdcStartPosition cannot be given together")),
            (Some(Timestamp(time)), None) => Some(("CdcStartTime", format!("time:{}", clock_text(&time)))),
            (None, Some(text)) => Some(("CdcStartPosition", native_start(&text, engine))),
            (None, None) => None,
        };
        let start = start.map(|(member, text)| start_point(member, &text, migration, engine)).transpose()?;
        let stop = given(self.stop).map(|text| stop_point(&text, migration, engine)).transpose()?;
        Ok(Points { start, stop })
    }
}

fn start_point(member: &str, text: &str, migration: Migration, engine: Engine) -> Result<String, Fault> {
    if migration != Migration::Cdc {
        return Err(Fault::combination(format!("{member} is valid only for the migration type cdc")));
    }
    match text.parse::<StartPoint>() {
        Ok(point) if point.fits(engine) => Ok(point.to_string()),
        _ if member == "CdcStartTime" && engine == Engine::Postgres => {
            Err(Fault::value("CdcStartTime is not supported for PostgreSQL sources, give CdcStartPosition"))
        }
        _ => Err(Fault::value(format!("{member} for this source must be {}, found: {}", wanted(engine), shortened(text)))),
    }
}

fn stop_point(text: &str, migration: Migration, engine: Engine) -> Result<String, Fault> {
    if migration == Migration::FullLoad {
        return Err(Fault::combination("CdcStopPosition is not valid for the migration type full-load"));
    }
    match named(text, engine).parse::<StopPoint>() {
        Ok(point) if point.fits(engine) => Ok(point.to_string()),
        _ => Err(Fault::value(format!(
            "CdcStopPosition for this source must be server_time:2018-02-09T12:12:12, commit_time:2018-02-09T12:12:12 or {}, found: {}",
            wanted(engine),
            shortened(text)
        ))),
    }
}

fn wanted(engine: Engine) -> &'static str {
    match engine {
        Engine::Postgres => "an LSN like 4AF/B00000D0",
        Engine::Mysql => "a place like mysql-bin.000024:373 or executed GTIDs like mysql:3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5",
        Engine::Mariadb => "a place like mariadb-bin.000024:373 or GTIDs like mariadb:0-1-100",
    }
}

/// A bare LSN is what DMS wants for PostgreSQL; the form with the engine's name is what RecoveryCheckpoint shows.
fn named(text: &str, engine: Engine) -> String {
    if engine == Engine::Postgres && !text.contains(':') { format!("postgres:{text}") } else { text.to_owned() }
}

/// The native spelling of what DMS takes as CdcStartPosition: a date, a checkpoint of DMS's own, or a native position.
fn native_start(text: &str, engine: Engine) -> String {
    if time_us(text).is_ok() {
        return format!("time:{text}");
    }
    match text.strip_prefix("checkpoint:") {
        Some(checkpoint) => place_of_checkpoint(checkpoint, engine).unwrap_or_else(|| text.to_owned()),
        None => named(text, engine),
    }
}

/// The place that a checkpoint of DMS tells: `V1#1#000004AF/B00000D0#0#0#*#0#0`, or
/// `V1#27#mysql-bin.157832:1975:-1:2002:677883278264080:mysql-bin.157832:1876#0#0#*#0#93`. Of the two places in the latter
/// the last is where the transaction begins in which DMS was; from there on nothing is missed.
fn place_of_checkpoint(checkpoint: &str, engine: Engine) -> Option<String> {
    let place = checkpoint.split('#').nth(2)?;
    if engine == Engine::Postgres {
        let (high, low) = place.split_once('/')?;
        let short = |part: &str| format!("{:0>1}", part.trim_start_matches('0'));
        return Some(format!("postgres:{}/{}", short(high), short(low)));
    }
    let parts: Vec<&str> = place.split(':').collect();
    match parts[..] {
        [_, _, _, _, _, file, offset] | [file, offset] => Some(format!("{file}:{offset}")),
        _ => None,
    }
}

/// Seconds since 1970, whole or not, as a time; other texts as they are.
fn clock_text(given: &str) -> String {
    let (whole, fraction) = given.split_once('.').unwrap_or((given, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let us = || format!("{:0<6}", fraction.get(..fraction.len().min(6))?).parse::<i64>().ok();
    match (digits(whole) && digits(fraction)).then(|| Some((whole.parse::<i64>().ok()?, us()?))).flatten() {
        Some((seconds, us)) => {
            let point = StartPoint::Time(seconds.saturating_mul(1_000_000).saturating_add(us).min(TIME_MAX_US)).to_string();
            point.trim_start_matches("time:").to_owned()
        }
        None => given.to_owned(),
    }
}

/// The last second of the year 9999.
const TIME_MAX_US: i64 = 253_402_300_799_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn start(text: &str, engine: Engine) -> Option<String> {
        let positions = Positions { time: None, start: Some(text.into()), stop: None };
        positions.checked(Migration::Cdc, engine).ok()?.start
    }

    fn stop(text: &str, engine: Engine) -> Option<String> {
        Positions { time: None, start: None, stop: Some(text.into()) }.checked(Migration::FullLoadAndCdc, engine).ok()?.stop
    }

    #[test]
    fn start_positions_fit_their_source() {
        for (text, engine, wanted) in [
            ("4AF/B00000D0", Engine::Postgres, "postgres:4AF/B00000D0"),
            ("postgres:0/10", Engine::Postgres, "postgres:0/10"),
            ("checkpoint:V1#1#000004AF/B00000D0#0#0#*#0#0", Engine::Postgres, "postgres:4AF/B00000D0"),
            ("mariadb:0-1-100", Engine::Mariadb, "mariadb:0-1-100"),
            ("mysql-bin.000024:373", Engine::Mysql, "mysql-bin.000024:373"),
            ("2026-11-26T09:00:00", Engine::Mysql, "time:2026-11-26T09:00:00Z"),
            (
                "checkpoint:V1#27#mysql-bin-changelog.157832:1975:-1:2002:677883278264080:mysql-bin-changelog.157832:1876#0#0#*#0#93",
                Engine::Mysql,
                "mysql-bin-changelog.157832:1876",
            ),
        ] {
            assert_eq!(start(text, engine).as_deref(), Some(wanted), "{text}");
        }
        for (text, engine) in [
            ("x", Engine::Postgres),
            ("mariadb:0-1-100", Engine::Postgres),
            ("mysql-bin.000024:373", Engine::Postgres),
            ("2026-11-26T09:00:00", Engine::Postgres),
            ("0/10", Engine::Mariadb),
            ("checkpoint:V1#27", Engine::Mysql),
        ] {
            assert_eq!(start(text, engine), None, "{text}");
        }
    }

    #[test]
    fn stop_positions_are_times_or_native() {
        for (text, engine, wanted) in [
            ("server_time:2018-02-09T12:12:12", Engine::Postgres, "server_time:2018-02-09T12:12:12Z"),
            ("commit_time:2018-02-09T12:12:12", Engine::Mysql, "commit_time:2018-02-09T12:12:12Z"),
            ("0/16B3748", Engine::Postgres, "postgres:0/16B3748"),
            ("mysql-bin.000024:373", Engine::Mariadb, "mysql-bin.000024:373"),
        ] {
            assert_eq!(stop(text, engine).as_deref(), Some(wanted), "{text}");
        }
        for (text, engine) in [("server_time:soon", Engine::Mysql), ("mysql-bin.000024:373", Engine::Postgres), ("0/1", Engine::Mysql)] {
            assert_eq!(stop(text, engine), None, "{text}");
        }
        let loads = Positions { time: None, start: None, stop: Some("server_time:2018-02-09T12:12:12".into()) };
        assert!(loads.checked(Migration::FullLoad, Engine::Mysql).is_err());
    }

    #[test]
    fn start_times_come_as_seconds_or_as_text_and_not_with_a_position() {
        let at = |time: &str, start: Option<&str>, engine| {
            Positions { time: Some(Timestamp(time.into())), start: start.map(str::to_owned), stop: None }.checked(Migration::Cdc, engine)
        };
        assert_eq!(
            at("1518178332.25", None, Engine::Mysql).ok().and_then(|points| points.start).as_deref(),
            Some("time:2018-02-09T12:12:12.250000Z")
        );
        assert_eq!(
            at("2018-02-09T12:12:12Z", None, Engine::Mariadb).ok().and_then(|points| points.start).as_deref(),
            Some("time:2018-02-09T12:12:12Z")
        );
        assert!(at("1518178332", None, Engine::Postgres).is_err());
        assert!(at("1518178332", Some("mysql-bin.000024:373"), Engine::Mysql).is_err());
    }
}
