//! What was measured, and how it is printed.

use std::time::Duration;

/// One tool doing one piece of work.
#[derive(Debug, Clone)]
pub(crate) struct Measurement {
    /// The work, e.g. `full load`.
    pub(crate) work: &'static str,
    /// Who did it, e.g. `psql COPY`.
    pub(crate) tool: &'static str,
    /// Rows copied, or row changes applied.
    pub(crate) rows: u64,
    /// Bytes of the rows as the source's COPY text has them.
    pub(crate) bytes: u64,
    /// Wall time.
    pub(crate) time: Duration,
    /// Peak resident memory of the tool's own process, where it is one.
    pub(crate) peak_bytes: Option<u64>,
}

impl Measurement {
    /// Rows a second.
    fn rows_per_second(&self) -> f64 {
        self.rows as f64 / self.time.as_secs_f64()
    }

    /// Megabytes (10^6) a second.
    fn megabytes_per_second(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.time.as_secs_f64()
    }

    /// One line for scripts.
    pub(crate) fn json(&self) -> String {
        serde_json::json!({
            "work": self.work,
            "tool": self.tool,
            "rows": self.rows,
            "seconds": self.time.as_secs_f64(),
            "rows_per_second": self.rows_per_second(),
            "megabytes_per_second": self.megabytes_per_second(),
            "peak_bytes": self.peak_bytes,
        })
        .to_string()
    }

    /// The faster of two runs of the same work by the same tool.
    pub(crate) fn best(self, other: Option<Measurement>) -> Measurement {
        match other {
            Some(other) if other.time < self.time => other,
            _ => self,
        }
    }

    /// All of it for people, with the ratio of each piece of work's other tool to Tidegate.
    pub(crate) fn table(all: &[Measurement]) -> String {
        let mut text = format!("{:<12} {:<26} {:>9} {:>12} {:>8} {:>10}  ratio\n", "work", "tool", "seconds", "rows/s", "MB/s", "peak MiB");
        for one in all {
            let tidegate = all.iter().find(|other| other.work == one.work && other.tool == "tidegate");
            let ratio = match tidegate {
                Some(tidegate) if one.tool != "tidegate" => format!("{:.2}", one.time.as_secs_f64() / tidegate.time.as_secs_f64()),
                _ => String::new(),
            };
            let peak = one.peak_bytes.map(|bytes| (bytes >> 20).to_string()).unwrap_or_default();
            text.push_str(&format!(
                "{:<12} {:<26} {:>9.2} {:>12.0} {:>8.1} {:>10}  {ratio}\n",
                one.work,
                one.tool,
                one.time.as_secs_f64(),
                one.rows_per_second(),
                one.megabytes_per_second(),
                peak
            ));
        }
        text.push_str("ratio: the tool's time over Tidegate's; above 1, Tidegate is faster\n");
        text
    }
}
