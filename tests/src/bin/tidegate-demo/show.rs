//! The live lines: one for each task and second, in columns.

use std::time::Instant;

use serde_json::Value;

/// The columns' names.
pub(crate) fn head() {
    println!(
        "{:>5}  {:<9} {:<12} {:>12} {:>10} {:>10} {:>9} {:>8}",
        "time", "source", "phase", "transactions", "loaded", "applied", "rows/s", "lag"
    );
}

/// What a task is doing. `written` is what the writers committed so far.
pub(crate) fn line(since: Instant, engine: &str, task: &Value, written: Option<u64>) {
    let progress = &task["progress"];
    let phase = task["phase"].as_str().or(task["status"].as_str()).unwrap_or("?");
    let number = |key: &str| progress[key].as_f64().map_or("-".to_owned(), |number| grouped(number as u64));
    let lag = progress["lag_seconds"].as_f64().map_or("-".to_owned(), |lag| format!("{lag:.1} s"));
    println!(
        "{:>3} s  {engine:<9} {phase:<12} {:>12} {:>10} {:>10} {:>9} {lag:>8}",
        since.elapsed().as_secs(),
        written.map_or("-".to_owned(), grouped),
        number("rows_loaded"),
        number("changes_applied"),
        number("rows_per_second"),
    );
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
