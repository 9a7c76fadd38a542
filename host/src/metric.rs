//! Every metric that this process writes: name, kind, unit, labels and meaning in one table.
//!
//! `docs/metrics.md` is written from the table, and a test compares them. Labels come from closed sets (status, tier,
//! reason) or from the catalog (tenant, task, module); a table is never a label, so the number of series is bounded by
//! what the catalog holds.

mod record;
mod table;

pub(crate) use record::{
    clear_modules, clear_task, record_capacity, record_memory, record_progress, record_sandboxes, record_tasks, record_tenants,
    record_units,
};

use metrics::{Counter, Gauge, Label};

/// How a metric moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Only grows while the process lives; starts at 0.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// What a metric's number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Bytes,
    Count,
    Ratio,
    Seconds,
}

/// One metric.
#[derive(Debug)]
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) unit: Unit,
    /// Names of its labels; [`Metric::add`] and [`Metric::set`] take the values in this order.
    pub(crate) labels: &'static [&'static str],
    pub(crate) help: &'static str,
}

impl Metric {
    /// Adds to a counter.
    pub(crate) fn add(&self, values: &[&str], more: u64) {
        self.counter(values).increment(more);
    }

    /// Brings a counter up to a total that somebody else keeps.
    pub(crate) fn reach(&self, values: &[&str], total: u64) {
        self.counter(values).absolute(total);
    }

    /// Sets a gauge.
    pub(crate) fn set(&self, values: &[&str], value: f64) {
        self.gauge(values).set(value);
    }

    /// Adds to a gauge.
    pub(crate) fn raise(&self, values: &[&str], more: f64) {
        self.gauge(values).increment(more);
    }

    fn counter(&self, values: &[&str]) -> Counter {
        debug_assert_eq!(self.kind, Kind::Counter, "{} is no counter", self.name);
        metrics::counter!(self.name, self.labelled(values))
    }

    fn gauge(&self, values: &[&str]) -> Gauge {
        debug_assert_eq!(self.kind, Kind::Gauge, "{} is no gauge", self.name);
        metrics::gauge!(self.name, self.labelled(values))
    }

    fn labelled(&self, values: &[&str]) -> Vec<Label> {
        debug_assert_eq!(self.labels.len(), values.len(), "{} has the labels {:?}", self.name, self.labels);
        self.labels.iter().zip(values).map(|(label, value)| Label::new(*label, (*value).to_owned())).collect()
    }
}

/// Gives every metric its unit and its help text.
pub(crate) fn describe() {
    for metric in table::ALL {
        let unit = match metric.unit {
            Unit::Bytes => metrics::Unit::Bytes,
            Unit::Count | Unit::Ratio => metrics::Unit::Count,
            Unit::Seconds => metrics::Unit::Seconds,
        };
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(metric.name, unit, metric.help),
            Kind::Gauge => metrics::describe_gauge!(metric.name, unit, metric.help),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Write as _;
    use std::path::Path;

    use super::*;

    const DOCUMENT_HEAD: &str = "\
# Metrics

`GET /metrics` answers in Prometheus' text format. This page is written from the table in `host/src/metric/table.rs`, which is
also where the process takes names and help texts from; `TIDEGATE_WRITE_DOCS=1 cargo test -p tidegate metrics_are_documented`
writes it again, and the same test without the variable compares.

Counters start at 0 when the process starts and only grow. A gauge of a task that does not run here is 0. Rows are never in a
label, and neither is a table: there are as many series as the catalog has tenants, tasks and modules.

What tenants have in all is counted as their tasks report it, so that a total does not shrink when a task is deleted.

| metric | kind | unit | labels | meaning |
|---|---|---|---|---|
";

    fn document() -> String {
        let mut text = DOCUMENT_HEAD.to_owned();
        for Metric { name, kind, unit, labels, help } in table::ALL {
            let (kind, unit) = (format!("{kind:?}").to_lowercase(), format!("{unit:?}").to_lowercase());
            writeln!(text, "| `{name}` | {kind} | {unit} | {} | {help} |", labels.join(", ")).unwrap();
        }
        text
    }

    #[test]
    fn metrics_are_documented() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
        if std::env::var_os("TIDEGATE_WRITE_DOCS").is_some() {
            std::fs::write(&path, document()).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap();
        assert!(written == document(), "docs/metrics.md differs from the table; write it again with TIDEGATE_WRITE_DOCS=1");
    }

    #[test]
    fn names_follow_the_conventions_of_prometheus() {
        let mut seen = BTreeSet::new();
        for Metric { name, kind, unit, help, .. } in table::ALL {
            assert!(seen.insert(name), "{name} is there twice");
            assert!(name.starts_with("tidegate_") && name.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_'), "{name}");
            assert_eq!(*kind == Kind::Counter, name.ends_with("_total"), "{name}: counters, and only they, end in _total");
            let stem = name.trim_end_matches("_total");
            match unit {
                Unit::Bytes => assert!(stem.ends_with("_bytes") || stem.contains("_bytes_"), "{name}"),
                Unit::Seconds => assert!(stem.ends_with("_seconds"), "{name}"),
                Unit::Ratio => assert!(stem.ends_with("_ratio"), "{name}"),
                Unit::Count => assert!(!stem.ends_with("_bytes") && !stem.ends_with("_seconds"), "{name}"),
            }
            assert!(help.ends_with('.') && !help.contains('|'), "{name}");
        }
    }
}
