//! The release binary, run on a task file.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;
use tidegate_harness::PostgresServer;

/// A task that runs in the foreground of a child process.
pub(crate) struct Running {
    child: Child,
    dir: tempfile::TempDir,
}

/// How it ended.
pub(crate) struct Ended {
    pub(crate) peak_bytes: Option<u64>,
    pub(crate) success: bool,
}

/// Starts `tidegate run` on one table between two servers. `dir` keeps its spool from one run to the next.
pub(crate) fn start(source: &PostgresServer, target: &PostgresServer, table: &str, migration: &str, name: &str) -> Running {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let endpoint = |server: &PostgresServer| {
        json!({"engine": "postgres", "host": server.host(), "port": server.port(), "username": "postgres", "password": "",
               "database": "postgres", "tls": "disable"})
    };
    let task = json!({
        "name": name, "type": migration, "preparation": "drop-and-create", "source": endpoint(source), "target": endpoint(target),
        "table_mappings": {"rules": [{"rule-type": "selection", "rule-id": "1", "rule-name": "1", "rule-action": "include",
            "object-locator": {"schema-name": "public", "table-name": table}}]},
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
        let mut peak_bytes = None;
        loop {
            peak_bytes = peak(self.child.id()).or(peak_bytes);
            if let Some(status) = self.child.try_wait().expect("the child is ours") {
                // 130: stopped by a signal, as `stop` does.
                return self.ended(peak_bytes, matches!(status.code(), Some(0 | 130)));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Stops it as Ctrl-C does.
    pub(crate) fn stop(self) -> Ended {
        let _ = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        self.wait()
    }

    fn ended(&self, peak_bytes: Option<u64>, success: bool) -> Ended {
        if !success {
            eprintln!("{}", std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default());
        }
        Ended { peak_bytes, success }
    }
}

fn peak(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib << 10)
}

fn binary() -> PathBuf {
    std::env::var_os("TIDEGATE_BIN").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/tidegate"), PathBuf::from)
}
