//! Load over time: made-up days that show one difficulty each, and recorded ones.

use std::f64::consts::TAU;
use std::fmt;

use super::Draw;

/// Seconds of an hour.
const HOUR: usize = 3_600;

/// Rows a second that one unit of the default world applies: made-up loads are written in units.
const UNIT: f64 = 2_000.0;

/// How far a second's rows are off the trace's shape, as a share.
const NOISE: f64 = 0.2;

/// The longest trace, seconds: a week.
const SECONDS_MAX: usize = 7 * 24 * HOUR;

/// Rows that arrive, second by second.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// Name.
    pub name: String,
    /// Rows arriving in each second.
    pub rows: Vec<f64>,
    /// Sudden rises of the load. 0 for smooth ones.
    pub bursts: u32,
    /// Most of the time needs far less than the peak.
    pub bursty: bool,
}

/// A recording that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceError {
    /// Line of the file, from 1; 0 for the file as a whole.
    pub line: usize,
    /// What was found and what is wanted.
    pub message: String,
}

impl fmt::Display for TraceError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "line {}: {}", self.line, self.message)
    }
}

impl std::error::Error for TraceError {}

impl Trace {
    /// Every trace that comes with the package.
    pub fn all() -> Vec<Trace> {
        vec![
            Self::diurnal(),
            Self::flash_crowd(),
            Self::nightly_batch(),
            Self::ramp(),
            Self::sawtooth(),
            Self::rare_bursts(),
            Self::recorded_inserts(),
        ]
    }

    /// A day: 2 units at night, 14 at the height of the day.
    pub fn diurnal() -> Self {
        Self::made("diurnal", 24 * HOUR, 0, false, |second| 8.0 - 6.0 * (TAU * second as f64 / (24 * HOUR) as f64).cos())
    }

    /// Three hours at 2.5 units; twice the load rises to six times that within ten seconds, stays for five minutes and
    /// fades.
    pub fn flash_crowd() -> Self {
        let crowd = |since: f64| match since {
            since if since < 0.0 => 0.0,
            since if since < 10.0 => since / 10.0,
            since if since < 310.0 => 1.0,
            since => (-(since - 310.0) / 180.0).exp(),
        };
        Self::made("flash crowd", 3 * HOUR, 2, true, move |second| {
            let second = second as f64;
            2.5 + 12.5 * (crowd(second - 2_000.0) + crowd(second - 7_000.0))
        })
    }

    /// A day with nothing but a batch: 25 million rows within 20 minutes.
    pub fn nightly_batch() -> Self {
        Self::made("nightly batch", 24 * HOUR, 1, true, |second| if (HOUR..HOUR + 1_200).contains(&second) { 10.4 } else { 0.0 })
    }

    /// Two hours: from 1 unit to 15 in the first, then steady.
    pub fn ramp() -> Self {
        Self::made("ramp", 2 * HOUR, 0, false, |second| 1.0 + 14.0 * (second as f64 / HOUR as f64).min(1.0))
    }

    /// Ten times within ten minutes from 1 unit to 12, then at once back.
    pub fn sawtooth() -> Self {
        Self::made("sawtooth", 10 * 600, 10, false, |second| 1.0 + 11.0 * (second % 600) as f64 / 600.0)
    }

    /// Six hours of silence with five bursts of half a million rows within ten seconds each.
    pub fn rare_bursts() -> Self {
        const STARTS: [usize; 5] = [903, 5_222, 9_997, 14_001, 19_384];
        Self::made("rare bursts", 6 * HOUR, STARTS.len() as u32, true, |second| {
            if STARTS.iter().any(|start| (*start..start + 10).contains(&second)) { 25.0 } else { 0.0 }
        })
    }

    /// Seven minutes of a running server with four bursts; the file's head says more.
    pub fn recorded_inserts() -> Self {
        let text = include_str!("../../traces/recorded.csv");
        let trace = Self::from_csv("recorded", text).expect("the package's own recording is sound");
        Self { bursts: 4, ..trace }
    }

    fn made(name: &str, seconds: usize, bursts: u32, bursty: bool, units: impl Fn(usize) -> f64) -> Self {
        let mut draw = Draw::new(seconds as u64);
        let rows = (0..seconds).map(|second| units(second) * UNIT * (1.0 + NOISE * (2.0 * draw.share() - 1.0))).map(f64::floor).collect();
        Self { name: name.to_owned(), rows, bursts, bursty }
    }

    /// A recording: pairs of a second and the rows that arrived in it, in any order; seconds that are missing had none.
    /// The first second that occurs is the trace's first.
    ///
    /// # Errors
    /// [`TraceError`] when there is no pair, a number is negative or none, or more than a week lies between.
    pub fn recorded(name: &str, pairs: &[(f64, f64)]) -> Result<Self, TraceError> {
        let fault = |line, message: String| TraceError { line, message };
        for (index, (second, rows)) in pairs.iter().enumerate() {
            let fine = |figure: &f64| figure.is_finite() && *figure >= 0.0;
            if !fine(second) || !fine(rows) {
                return Err(fault(index + 1, "a second or its rows is negative or no number".to_owned()));
            }
        }
        let first = pairs.iter().map(|(second, _)| second.floor()).reduce(f64::min);
        let Some(first) = first else {
            return Err(fault(0, "no second is in the recording".to_owned()));
        };
        let last = pairs.iter().map(|(second, _)| second.floor()).fold(first, f64::max);
        if last - first >= SECONDS_MAX as f64 {
            return Err(fault(0, format!("the recording covers {:.0} seconds, wanted at most {SECONDS_MAX}", last - first)));
        }
        let mut per_second = vec![0.0; (last - first) as usize + 1];
        for (second, rows) in pairs {
            per_second[(second.floor() - first) as usize] += rows;
        }
        Ok(Self { name: name.to_owned(), rows: per_second, bursts: 0, bursty: false })
    }

    /// A recording as text: a line for each second with its number, a comma and its rows; empty lines, lines that begin with
    /// `#` and a heading are left out.
    ///
    /// # Errors
    /// [`TraceError`] with the line at fault.
    pub fn from_csv(name: &str, text: &str) -> Result<Self, TraceError> {
        let mut pairs = Vec::new();
        for (index, line) in text.lines().enumerate().map(|(index, line)| (index + 1, line.trim())) {
            if line.is_empty()
                || line.starts_with('#')
                || (pairs.is_empty() && line.starts_with(|letter: char| letter.is_ascii_alphabetic()))
            {
                continue;
            }
            let parsed = line.split_once(',').and_then(|(second, rows)| Some((second.trim().parse().ok()?, rows.trim().parse().ok()?)));
            match parsed {
                Some(pair) => pairs.push(pair),
                None => {
                    return Err(TraceError { line: index, message: "wanted SECOND,ROWS".to_owned() });
                }
            }
        }
        Self::recorded(name, &pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_is_read_with_gaps_and_headings() {
        let trace = Trace::from_csv("mine", "second,rows\n# a remark\n10,5\n12,7.5\n\n12,1\n").unwrap();
        assert_eq!(trace.rows, [5.0, 0.0, 8.5]);
    }

    #[test]
    fn a_recording_that_cannot_be_used_names_its_line() {
        assert_eq!(Trace::from_csv("mine", "1,2\n3;4\n").unwrap_err().line, 2);
        assert_eq!(Trace::from_csv("mine", "1,-2\n").unwrap_err().line, 1);
        assert!(Trace::from_csv("mine", "").is_err());
        assert!(Trace::from_csv("mine", "0,1\n1e12,1\n").is_err());
    }

    #[test]
    fn the_same_trace_is_made_each_time() {
        assert_eq!(Trace::all(), Trace::all());
    }
}
