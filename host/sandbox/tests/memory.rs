//! What the process holds while a module calls it. Alone in its program, so that nobody else moves the peak.

// Helpers are no #[test] functions, where unwrap is allowed.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use support::{ENGINE, batch, guest, input, schema};
use tidegate_model::Value;
use tidegate_sandbox::{Limits, Sandbox};

#[test]
fn of_a_long_line_and_a_long_name_the_host_holds_no_more_than_it_keeps() {
    let module = ENGINE.compile(&guest("hostile")).unwrap();
    // An answer may be as large as the lines: it is not that limit which holds.
    let limits = Limits { transform_cpu: Duration::from_secs(60), result_bytes_max: 48 << 20, ..Limits::default() };
    for misdeed in ["long-line", "long-counter"] {
        let mut sandbox = Sandbox::new(&ENGINE, &module, limits).unwrap();
        sandbox.plan(0, &input(&schema()), misdeed).unwrap();
        // From here on the peak is that of this call.
        std::fs::write("/proc/self/clear_refs", "5").unwrap();
        let before = status_bytes("VmRSS:");
        sandbox.transform(0, &batch(schema().columns[0].sql_type.clone(), &[Value::Int(1)])).unwrap();
        let grown = status_bytes("VmHWM:").saturating_sub(before);
        let of_module = sandbox.usage().memory_bytes;
        assert!(of_module > 40 << 20 && grown < of_module + (8 << 20), "{misdeed}: {grown} bytes, of which the module has {of_module}");
        let kept: Vec<usize> = match misdeed {
            "long-line" => sandbox.take_logs().0.iter().map(|line| line.message.len()).collect(),
            _ => sandbox.take_counts().iter().map(|(name, _)| name.len()).collect(),
        };
        assert_eq!(kept, [if misdeed == "long-line" { 1024 } else { 64 }]);
    }
}

fn status_bytes(label: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(label)).unwrap();
    line.split_whitespace().next().unwrap().parse::<usize>().unwrap() << 10
}
