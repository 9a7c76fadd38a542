//! What share of a full load do modules take?
//!
//! Size: one table of 6 columns (`--load-rows` rows), PostgreSQL to PostgreSQL. Unit: rows/s of wall time and CPU time of the
//! process a row, best of `--repeat` rounds in which all cases take turns; and by how much a case takes longer than the first one of
//! its round, the median: two loads of the same kind differ by some percent. All modules keep every row.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidegate_harness::{PostgresServer, PostgresVersion};

use crate::guest_row::guest_path;
use crate::{full_load, tidegate};

struct Case {
    name: &'static str,
    rules: Value,
    modules: Value,
    /// Time and CPU time of each round.
    rounds: Vec<(Duration, Duration)>,
}

fn cases() -> Vec<Case> {
    let locator = json!({"schema-name": "public", "table-name": "load"});
    let column = json!({"schema-name": "public", "table-name": "load", "column-name": "note"});
    let rename = json!({"rule-type": "transformation", "rule-id": "2", "rule-name": "2", "rule-target": "column", "rule-action": "rename",
        "object-locator": column, "value": "remark"});
    let filter = json!({"rule-type": "selection", "rule-id": "3", "rule-name": "3", "rule-action": "include", "object-locator": locator,
        "filters": [{"filter-type": "source", "column-name": "account", "filter-conditions": [{"filter-operator": "gte", "value": "0"}]}]});
    let module = |config: Value| json!({"rule-type": "module", "rule-id": "9", "rule-name": "9", "module": "rewrite", "config": config, "object-locator": locator});
    let files = json!({"rewrite": guest_path("bench-rewrite")});
    let case = |name, rules, modules: &Value| Case { name, rules, modules: modules.clone(), rounds: Vec::new() };
    let none = json!({});
    vec![
        case("no module", json!([]), &none),
        case("rules, renames only", json!([rename]), &none),
        case("rules, filter on one column", json!([filter]), &none),
        case("Rust, rewrite of one text column", json!([module(json!(["rewrite"]))]), &files),
        case("Rust, filter and rewrite", json!([module(json!(["filter", "rewrite"]))]), &files),
        case("everything at once", json!([rename, filter, module(json!(["filter", "rewrite"]))]), &files),
    ]
}

pub(crate) async fn measure(rows: u64, repeat: u32, wanted: &str) {
    let source = PostgresServer::start(PostgresVersion::V17).await;
    let target = PostgresServer::start(PostgresVersion::V17).await;
    full_load::fill(&source, rows).await;
    let to = target.client().await;
    let mut cases = cases();
    let base = cases[0].name;
    cases.retain(|case| case.name == base || case.name.contains(wanted));
    for round in 0..repeat {
        for (place, case) in cases.iter_mut().enumerate() {
            to.batch_execute("drop table if exists load; checkpoint").await.expect("the target can be emptied");
            let name = format!("load-{round}-{place}");
            let began = Instant::now();
            let ended = tidegate::start_with(&source, &target, "load", "full-load", &name, &case.rules, &case.modules).wait();
            let time = began.elapsed();
            assert!(ended.success, "{}: the task ended well", case.name);
            full_load::check_count(&to, rows).await;
            case.rounds.push((time, ended.cpu));
        }
    }
    let base: Vec<f64> = cases.first().map(times).unwrap_or_default();
    eprintln!("\n{:<44} {:>8} {:>10} {:>9} {:>12}", "full load", "seconds", "rows/s", "slower", "CPU ns/row");
    for case in &cases {
        let seconds = times(case).into_iter().fold(f64::INFINITY, f64::min);
        let cpu = case.rounds.iter().map(|(_, cpu)| *cpu).min().unwrap_or_default();
        let cpu_ns = cpu.as_nanos() as f64 / rows as f64;
        let slower = median(times(case).iter().zip(&base).map(|(time, base)| time / base - 1.0).collect());
        println!(
            "{}",
            json!({"case": case.name, "rows": rows, "seconds": seconds, "rows_per_second": rows as f64 / seconds,
                "slower": slower, "process_cpu_ns_per_row": cpu_ns})
        );
        eprintln!("{:<44} {seconds:>8.2} {:>10.0} {:>8.1}% {cpu_ns:>12.0}", case.name, rows as f64 / seconds, slower * 100.0);
    }
}

fn times(case: &Case) -> Vec<f64> {
    case.rounds.iter().map(|(time, _)| time.as_secs_f64()).collect()
}

/// Of an even count, the greater one of the two in the middle.
fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_unstable_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN)
}
