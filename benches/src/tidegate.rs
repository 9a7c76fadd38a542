//! The release binary, run on a task file.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_harness::PostgresServer;

/// A task that runs in the foreground of a child process.
pub(crate) struct Running {
    child: Child,
    dir: tempfile::TempDir,
}

/// How it ended.
pub(crate) struct Ended {
    pub(crate) peak_bytes: Option<u64>,
    /// CPU time of the process.
    pub(crate) cpu: Duration,
    pub(crate) success: bool,
}

/// Starts `tidegate run` on one table between two servers. `dir` keeps its spool from one run to the next.
pub(crate) fn start(source: &PostgresServer, target: &PostgresServer, table: &str, migration: &str, name: &str) -> Running {
    start_with(source, target, table, migration, name, &json!([]), &json!({}))
}

/// The same with more rules, and the files of the modules that they name.
pub(crate) fn start_with(
    source: &PostgresServer,
    target: &PostgresServer,
    table: &str,
    migration: &str,
    name: &str,
    more: &Value,
    modules: &Value,
) -> Running {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let endpoint = |server: &PostgresServer| {
        json!({"engine": "postgres", "host": server.host(), "port": server.port(), "username": "postgres", "password": "",
               "database": "postgres", "tls": "disable"})
    };
    let mut rules = vec![json!({"rule-type": "selection", "rule-id": "1", "rule-name": "1", "rule-action": "include",
        "object-locator": {"schema-name": "public", "table-name": table}})];
    rules.extend(more.as_array().into_iter().flatten().cloned());
    let task = json!({
        "name": name, "type": migration, "preparation": "drop-and-create", "source": endpoint(source), "target": endpoint(target),
        "table_mappings": {"rules": rules}, "modules": modules,
    });
    let file = dir.path().join("task.json");
    std::fs::write(&file, task.to_string()).expect("the task file can be written");
    let log = std::fs::File::create(dir.path().join("log")).expect("the log can be made");
    let child = Command::new(binary())
        .args(["run", "--json"])
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("the release binary starts; build it with cargo build --release -p tidegate");
    Running { child, dir }
}

impl Running {
    /// Waits for the end, reading the peak of resident memory on the way.
    pub(crate) fn wait(mut self) -> Ended {
        let (mut peak_bytes, mut cpu) = (None, Duration::ZERO);
        loop {
            peak_bytes = peak(self.child.id()).or(peak_bytes);
            cpu = cpu_time(self.child.id()).unwrap_or(cpu);
            if let Some(status) = self.child.try_wait().expect("the child is ours") {
                // 130: stopped by a signal, as `stop` does.
                return self.ended(peak_bytes, cpu, matches!(status.code(), Some(0 | 130)));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Stops it as Ctrl-C does.
    pub(crate) fn stop(self) -> Ended {
        let _ = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        self.wait()
    }

    fn ended(&self, peak_bytes: Option<u64>, cpu: Duration, success: bool) -> Ended {
        if !success {
            eprintln!("{}", std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default());
        }
        Ended { peak_bytes, cpu, success }
    }
}

/// User and system time of a process, in the kernel's unit of 10 ms.
pub(crate) fn cpu_time(pid: u32) -> Option<Duration> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in brackets; of the rest, 11 and 12 are the times.
    let fields: Vec<&str> = status.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    (ticks > 0).then(|| Duration::from_millis(ticks * 10))
}

fn peak(pid: u32) -> Option<u64> {
    memory(pid, "VmHWM:")
}

/// Resident memory of a process right now.
pub(crate) fn resident(pid: u32) -> Option<u64> {
    memory(pid, "VmRSS:")
}

fn memory(pid: u32, label: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(label))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib << 10)
}

pub(crate) fn binary() -> PathBuf {
    std::env::var_os("TIDEGATE_BIN").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/tidegate"), PathBuf::from)
}
