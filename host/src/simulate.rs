//! `tidegate capacity simulate`: the capacity policy and its rivals on load traces, as a table, JSON and charts.

use std::fmt::Write as _;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};
use tidegate_capacity::simulate::{CLAIRVOYANT, Outcome, Trace, World, chart, compare};
use tidegate_capacity::{Objective, UnitBounds};

use crate::cli::SimulateArgs;
use crate::exit::{Exit, Failure};

/// The optimum's search grows with the units and the objective: these keep a simulated day within seconds.
const UNITS_MAX: u32 = 64;
/// See [`UNITS_MAX`].
const LAG_SECONDS_MAX: f64 = 600.0;

/// The largest recording that is read, bytes: a week of lines is a tenth of it.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// Simulates and prints.
///
/// # Errors
/// Arguments and recordings that cannot be used; charts that cannot be written.
pub(crate) fn simulate(args: &SimulateArgs) -> Result<Exit, Failure> {
    let world = world(args)?;
    let traces = if args.traces.is_empty() { Trace::all() } else { args.traces.iter().map(|name| find(name)).collect::<Result<_, _>>()? };
    let mut documents = Vec::new();
    for trace in &traces {
        let outcomes = compare(trace, &world);
        if let Some(dir) = &args.charts {
            write_chart(dir, trace, &chart(trace, &world, &outcomes))?;
        }
        if args.json {
            documents.push(
                json!({"trace": trace.name, "seconds": trace.rows.len(), "policies": outcomes.iter().map(document).collect::<Value>()}),
            );
        } else {
            print!("{}", table(trace, &outcomes));
        }
    }
    if args.json {
        println!("{:#}", Value::Array(documents));
    }
    Ok(Exit::Ok)
}

fn world(args: &SimulateArgs) -> Result<World, Failure> {
    let usage = |message: String| Failure::usage("arguments", message);
    let SimulateArgs { max_units, max_lag_seconds, rows_per_unit, scaling, .. } = *args;
    if max_units > UNITS_MAX {
        return Err(usage(format!("the most units are {max_units}, wanted at most {UNITS_MAX} in a simulation")));
    }
    if max_lag_seconds > LAG_SECONDS_MAX {
        return Err(usage(format!("the longest lag is {max_lag_seconds} seconds, wanted at most {LAG_SECONDS_MAX} in a simulation")));
    }
    if !(rows_per_unit.is_finite() && rows_per_unit >= 1.0) {
        return Err(usage(format!("a unit applies {rows_per_unit} rows a second, wanted at least 1")));
    }
    if !(0.1..=1.0).contains(&scaling) {
        return Err(usage(format!("the scaling exponent is {scaling}, wanted 0.1 to 1")));
    }
    let bounds = UnitBounds::new(0, max_units).map_err(|error| usage(error.to_string()))?;
    let objective = Objective::new(max_lag_seconds).map_err(|error| usage(error.to_string()))?;
    Ok(World { rows_per_unit, scaling_exponent: scaling, ..World::new(bounds, objective) })
}

/// A made-up trace by its name, or a recording by its file.
fn find(name: &str) -> Result<Trace, Failure> {
    let made = Trace::all();
    if let Some(trace) = made.iter().find(|trace| slug(&trace.name) == slug(name)) {
        return Ok(trace.clone());
    }
    let path = Path::new(name);
    let known = || made.iter().map(|trace| slug(&trace.name)).collect::<Vec<_>>().join(", ");
    let length = std::fs::metadata(path).map_err(|error| {
        Failure::usage("trace", format!("trace \"{name}\" is none of {}, and no file: {error}", known()))
            .hint("a recording is a file of lines SECOND,ROWS (.csv) or {\"second\": 1, \"rows\": 2} (.jsonl)")
    })?;
    if length.len() > FILE_BYTES_MAX {
        return Err(Failure::usage("trace", format!("file \"{name}\" has {} bytes, wanted at most {FILE_BYTES_MAX}", length.len())));
    }
    let text = std::fs::read_to_string(path).map_err(|error| Failure::usage("trace", format!("read file \"{name}\": {error}")))?;
    let stem = path.file_stem().map_or_else(|| name.to_owned(), |stem| stem.to_string_lossy().into_owned());
    let json_lines = path.extension().is_some_and(|extension| extension == "jsonl" || extension == "json");
    let trace = if json_lines { from_json_lines(&stem, &text) } else { Trace::from_csv(&stem, &text).map_err(|error| error.to_string()) };
    trace.map_err(|error| Failure::usage("trace", format!("file \"{name}\", {error}")))
}

/// A line of a recording; further keys are left out.
#[derive(Deserialize)]
struct Line {
    second: f64,
    rows: f64,
}

fn from_json_lines(name: &str, text: &str) -> Result<Trace, String> {
    let mut pairs = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let Line { second, rows } = serde_json::from_str(line).map_err(|error| format!("line {}: {error}", index + 1))?;
        pairs.push((second, rows));
    }
    Trace::recorded(name, &pairs).map_err(|error| error.to_string())
}

fn slug(name: &str) -> String {
    name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' }).collect()
}

fn write_chart(dir: &Path, trace: &Trace, svg: &str) -> Result<(), Failure> {
    let path = dir.join(format!("{}.svg", slug(&trace.name)));
    std::fs::create_dir_all(dir)
        .and_then(|()| std::fs::write(&path, svg))
        .map_err(|error| Failure::environment("charts", format!("write chart \"{}\": {error}", path.display())))
}

fn document(outcome: &Outcome) -> Value {
    json!({
        "policy": outcome.policy,
        "unit_hours": outcome.unit_hours,
        "seconds_over_objective": outcome.seconds_over,
        "changes": outcome.changes,
        "lag_max_seconds": outcome.lag_max_seconds,
    })
}

fn table(trace: &Trace, outcomes: &[Outcome]) -> String {
    let best = outcomes.iter().find(|outcome| outcome.policy == CLAIRVOYANT).map_or(0.0, |outcome| outcome.unit_hours);
    let mut text = format!(
        "{} ({:.1} h)\n  {:<14} {:>10} {:>8} {:>14} {:>8} {:>12}\n",
        trace.name,
        trace.rows.len() as f64 / 3_600.0,
        "policy",
        "unit-hours",
        "÷ best",
        "over objective",
        "changes",
        "highest lag"
    );
    for outcome in outcomes {
        let ratio = if best > 0.0 { outcome.unit_hours / best } else { 1.0 };
        let _ = writeln!(
            text,
            "  {:<14} {:>10.2} {ratio:>8.2} {:>12} s {:>8} {:>10.0} s",
            outcome.policy, outcome.unit_hours, outcome.seconds_over, outcome.changes, outcome.lag_max_seconds
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recordings_of_json_lines_are_read() {
        let trace = from_json_lines("mine", "{\"second\": 7, \"rows\": 5}\n\n{\"second\": 8.9, \"rows\": 2, \"bytes\": 9}\n").unwrap();
        assert_eq!(trace.rows, [5.0, 2.0]);
        assert!(from_json_lines("mine", "{\"second\": 7}").unwrap_err().starts_with("line 1:"));
    }

    #[test]
    fn every_made_up_trace_is_found_by_its_name() {
        for trace in Trace::all() {
            assert_eq!(find(&slug(&trace.name)).unwrap(), trace);
        }
        assert!(find("no-such-trace").unwrap_err().message.contains("rare-bursts"));
    }
}
