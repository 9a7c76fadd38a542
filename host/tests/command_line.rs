//! The program as a user meets it, where no database is needed: messages, exit codes, locks, signals.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long a step may take on a busy machine; nothing here waits for longer than it must.
const PATIENCE: Duration = Duration::from_secs(60);

fn tidegate(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TIDEGATE_")) {
        command.env_remove(name);
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    tidegate(arguments).output().expect("the program can be started")
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn check_refusal(output: &Output, code: i32, words: &[&str]) {
    let text = errors(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    for word in words {
        assert!(text.contains(word), "\"{word}\" is not in:\n{text}");
    }
    assert!(output.stdout.is_empty(), "refusals belong on standard error: {}", String::from_utf8_lossy(&output.stdout));
}

/// A port that nobody listens on.
fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn task_file(dir: &Path, port: u16) -> PathBuf {
    let endpoint = format!(
        r#"{{"engine":"postgres","host":"127.0.0.1","port":{port},"username":"u","password":"correct-horse","database":"d","tls":"disable"}}"#
    );
    let rules = r#"{"rules":[{"rule-type":"selection","rule-id":"1","rule-name":"all","object-locator":{"schema-name":"public","table-name":"%"},"rule-action":"include"}]}"#;
    let path = dir.join("task.json");
    let text = format!(r#"{{"name":"shop","type":"full-load","source":{endpoint},"target":{endpoint},"table_mappings":{rules}}}"#);
    std::fs::write(&path, text).unwrap();
    path
}

/// A server that is killed on drop.
struct Served {
    child: Child,
    url: String,
}

impl Served {
    fn start(data_dir: &Path) -> Self {
        Self::start_on(data_dir, "127.0.0.1:0")
    }

    fn start_on(data_dir: &Path, listen: &str) -> Self {
        let mut child = tidegate(&["serve", "--listen", listen, "--log-level", "warn", "--data-dir", data_dir.to_str().unwrap()])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let url = loop {
            let mut line = String::new();
            assert!(lines.read_line(&mut line).unwrap() > 0, "the server ended: {said}");
            if let Some((_, url)) = line.trim().split_once("listens on ") {
                break url.to_owned();
            }
            said.push_str(&line);
        };
        // Whoever is not read from would stop at a full pipe.
        std::thread::spawn(move || lines.read_to_string(&mut String::new()));
        Self { child, url }
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    fn exit_code(&mut self) -> Option<i32> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(start.elapsed() < PATIENCE, "the server did not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Names and niceness of a server's threads, by their numbers.
fn threads(server: &Served) -> BTreeMap<String, (String, i32)> {
    let read = |thread: std::fs::DirEntry| {
        // A thread may have ended since.
        let stat = std::fs::read_to_string(thread.path().join("stat")).ok()?;
        // proc(5): the name is field 2, in parentheses, and the niceness field 19.
        let (number, rest) = stat.split_once(" (")?;
        let (name, fields) = rest.rsplit_once(')')?;
        Some((number.to_owned(), (name.to_owned(), fields.split_whitespace().nth(16)?.parse().ok()?)))
    };
    let all = std::fs::read_dir(format!("/proc/{}/task", server.child.id())).unwrap();
    all.filter_map(|thread| read(thread.unwrap())).collect()
}

/// The clock that ends calls of modules must be on time whoever starts tasks.
#[test]
fn threads_that_follow_logs_come_before_those_that_start_tasks_and_answer() {
    let dir = tempfile::tempdir().unwrap();
    let server = Served::start(dir.path());
    let mut niceness = BTreeMap::<String, Vec<i32>>::new();
    for (name, found) in threads(&server).into_values() {
        niceness.entry(name).or_default().push(found);
    }
    let usual = niceness["data"][0];
    let nicer = (usual + 10).min(19);
    for (name, wanted) in [("data", usual), ("sandbox-clock", usual), ("control", nicer), ("sqlx-sqlite-wor", nicer)] {
        assert!(niceness[name].iter().all(|found| *found == wanted), "{name}: {niceness:?}");
    }
}

/// A thread begins with the niceness of the one that starts it: one of the control plane must not add its own to that.
#[test]
fn threads_that_the_control_plane_starts_later_are_as_nice_as_its_first_ones() {
    let dir = tempfile::tempdir().unwrap();
    let server = Served::start(dir.path());
    let of = |name: &str| {
        let mut found = threads(&server);
        found.retain(|_, (known, _)| known == name);
        found
    };
    // Both planes have equally many threads that stay; those for work that may wait end when there was none for ten seconds.
    let (start, stay) = (Instant::now(), of("data").len());
    let first = loop {
        let now = of("control");
        if now.len() == stay {
            break now;
        }
        assert!(start.elapsed() < PATIENCE, "threads of the control plane do not end: {now:?}");
        std::thread::sleep(Duration::from_millis(20));
    };
    // A name is looked up on such a thread, which one of the first ones starts.
    let endpoint = format!(
        r#"{{"name":"here","role":"source","engine":"postgres","host":"localhost","port":{},"username":"u","password":"p","database":"d","tls":"disable"}}"#,
        closed_port()
    );
    let url = format!("{}/v1/endpoints", server.url);
    ureq::post(&url).content_type("application/json").send(&endpoint).unwrap();
    let report = ureq::post(format!("{url}/here/test")).send_empty().unwrap().body_mut().read_to_string().unwrap();
    assert!(report.contains("connection_failed"), "{report}");
    let now = of("control");
    assert!(now.keys().any(|number| !first.contains_key(number)), "no further thread was started: {now:?}");
    let niceness: BTreeSet<i32> = first.into_values().chain(now.clone().into_values()).map(|(_, niceness)| niceness).collect();
    assert_eq!(niceness.len(), 1, "{now:?}");
}

#[test]
fn version_and_help_are_data() {
    let output = run(&["--version"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("tidegate {}\n", env!("CARGO_PKG_VERSION")));
    let help = String::from_utf8(run(&["--help"]).stdout).unwrap();
    assert!(help.contains("Exit codes:") && help.contains("130"), "{help}");
    assert!(!help.contains("compile-module"), "{help}");
}

#[test]
fn an_unknown_flag_is_a_usage_error() {
    check_refusal(&run(&["serve", "--lissten", "127.0.0.1:1"]), 2, &["--lissten"]);
}

#[test]
fn a_task_file_that_is_not_right_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing.json");
    for command in ["run", "check"] {
        check_refusal(&run(&[command, missing.to_str().unwrap()]), 2, &["missing.json", "No such file"]);
    }
    let path = task_file(dir.path(), 1);
    let text = std::fs::read_to_string(&path).unwrap();

    std::fs::write(&path, text.replace("\"name\"", "\"nmae\"")).unwrap();
    check_refusal(&run(&["check", path.to_str().unwrap()]), 2, &["task.json", "unknown field `nmae`", "line 1"]);

    std::fs::write(&path, &text[..text.len() / 2]).unwrap();
    let output = run(&["run", path.to_str().unwrap()]);
    check_refusal(&output, 2, &["task.json", "line 1"]);
    assert!(!errors(&output).contains("correct-horse"));
}

#[test]
fn unreachable_endpoints_are_findings_and_a_failed_check() {
    let dir = tempfile::tempdir().unwrap();
    let (port, data) = (closed_port(), dir.path().join("data"));
    let path = task_file(dir.path(), port);

    let output = run(&["check", path.to_str().unwrap(), "--json", "--data-dir", data.to_str().unwrap()]);

    let text = errors(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let objects: Vec<&str> = answer["findings"].as_array().unwrap().iter().map(|finding| finding["object"].as_str().unwrap()).collect();
    assert_eq!(objects, ["source", "target"], "both are looked at: {answer}");
    assert!(answer["findings"][0]["found"].as_str().unwrap().contains(&port.to_string()), "{answer}");
    assert!(!answer.to_string().contains("correct-horse") && !text.contains("correct-horse"));
}

#[test]
fn a_run_that_cannot_connect_fails_with_the_address() {
    let dir = tempfile::tempdir().unwrap();
    let (port, data) = (closed_port(), dir.path().join("data"));
    let path = task_file(dir.path(), port);

    let output = run(&["run", path.to_str().unwrap(), "--data-dir", data.to_str().unwrap()]);

    check_refusal(&output, 1, &["error: source: ", &port.to_string()]);
    assert!(!errors(&output).contains("correct-horse"));
}

#[test]
fn a_wrong_configuration_ends_before_anything_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let data = data.to_str().unwrap();
    check_refusal(&run(&["serve"]), 2, &["no data directory", "--data-dir"]);
    let config = dir.path().join("tidegate.toml");
    std::fs::write(&config, "lissten = \"127.0.0.1:0\"\n").unwrap();
    let output = run(&["serve", "--data-dir", data, "--config", config.to_str().unwrap()]);
    check_refusal(&output, 2, &["tidegate.toml", "lissten"]);
    assert!(!Path::new(data).exists());
}

fn output_of(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(output.status.success(), "{}", errors(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn other_machines_are_served_only_once_there_is_a_key() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let at = ["--data-dir", data.to_str().unwrap()];
    let serve = [&["serve", "--listen", "0.0.0.0:0"][..], &at].concat();
    check_refusal(&run(&serve), 2, &["0.0.0.0", "no API keys", "127.0.0.1", "tidegate tenant key"]);

    let key = output_of(&[&["tenant", "key", "default"][..], &at].concat());
    let served = Served::start_on(&data, "0.0.0.0:0");
    let url = served.url.replace("0.0.0.0", "127.0.0.1");
    check_refusal(&run(&["task", "list", "--server", &url]), 1, &["there is no bearer key"]);
    let listed = tidegate(&["task", "list", "--server", &url]).env("TIDEGATE_KEY", key.trim()).output().unwrap();
    assert!(listed.status.success(), "{}", errors(&listed));

    // The last key that goes does not open the door.
    let keys = output_of(&[&["tenant", "keys"][..], &at].concat());
    output_of(&[&["tenant", "revoke", keys.split('\t').next().unwrap()][..], &at].concat());
    check_refusal(&run(&["task", "list", "--server", &url, "--key", key.trim()]), 1, &["none of this server's"]);
    check_refusal(&run(&["task", "list", "--server", &url]), 1, &["there is no bearer key"]);
}

#[test]
fn tenants_are_created_changed_listed_and_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let at = |words: &[&'static str]| {
        [words, &["--data-dir", dir.path().to_str().unwrap()]].concat().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let tenant = |words: &[&'static str]| run(&at(words).iter().map(String::as_str).collect::<Vec<_>>());
    let text = |output: Output| String::from_utf8(output.stdout).unwrap();
    assert!(text(tenant(&["tenant", "create", "acme", "--units", "4", "--tasks", "2"])).contains("units=4\ttasks=2"));
    check_refusal(&tenant(&["tenant", "create", "acme"]), 3, &["exists already"]);
    check_refusal(&tenant(&["tenant", "create", "Acme"]), 2, &["Acme", "[a-z]"]);
    check_refusal(&tenant(&["tenant", "key", "nobody"]), 3, &["nobody"]);
    check_refusal(&tenant(&["tenant", "set", "acme", "--units", "many"]), 2, &["whole number"]);
    assert!(text(tenant(&["tenant", "set", "acme", "--units", "none", "--weight", "3"])).contains("weight=3\tunits=-\ttasks=2"));
    assert!(text(tenant(&["tenant", "key", "acme", "--sigv4"])).contains("aws_secret_access_key = "));
    assert!(text(tenant(&["tenant", "keys"])).contains("\tacme\tsigv4"));
    assert_eq!(text(tenant(&["tenant", "list"])).lines().count(), 2);
    assert!(tenant(&["tenant", "delete", "acme"]).status.success());
    assert_eq!(text(tenant(&["tenant", "keys"])), "");
    check_refusal(&tenant(&["tenant", "delete", "default"]), 3, &["default"]);
}

#[test]
fn an_environment_variable_stands_for_its_flag() {
    let dir = tempfile::tempdir().unwrap();
    let output = tidegate(&["serve"]).env("TIDEGATE_DATA_DIR", dir.path()).env("TIDEGATE_LISTEN", "192.0.2.1:80").output().unwrap();
    check_refusal(&output, 2, &["192.0.2.1:80"]);
}

#[test]
fn a_data_directory_has_one_server_and_a_restart_finds_it() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut first = Served::start(&data);

    let second = run(&["serve", "--listen", "127.0.0.1:0", "--data-dir", data.to_str().unwrap()]);
    check_refusal(&second, 3, &["in use by process", &first.child.id().to_string()]);

    first.signal("TERM");
    assert_eq!(first.exit_code(), Some(0));
    let mut again = Served::start(&data);
    again.signal("INT");
    assert_eq!(again.exit_code(), Some(0));
}

#[test]
fn a_killed_server_leaves_no_lock() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = Served::start(dir.path());
    first.signal("KILL");
    assert_eq!(first.exit_code(), None);
    Served::start(dir.path());
}

#[test]
fn a_taken_port_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    let output = run(&["serve", "--listen", &address, "--data-dir", dir.path().to_str().unwrap()]);
    check_refusal(&output, 3, &[&address, "--listen"]);
}

#[test]
fn client_commands_say_where_they_looked_for_a_server() {
    let url = format!("http://127.0.0.1:{}", closed_port());
    check_refusal(&run(&["task", "list", "--server", &url]), 3, &[&url, "tidegate serve"]);
}

#[test]
fn client_commands_pass_on_what_the_server_says() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::start(dir.path());

    let list = run(&["task", "list", "--json", "--server", &served.url]);
    assert_eq!(list.status.code(), Some(0), "{}", errors(&list));
    let answer: serde_json::Value = serde_json::from_slice(&list.stdout).unwrap();
    assert_eq!(answer["tasks"].as_array().map(Vec::len), Some(0), "{answer}");

    check_refusal(&run(&["task", "show", "nothing", "--server", &served.url]), 1, &["nothing"]);
    let file = dir.path().join("text.wasm");
    std::fs::write(&file, "no module").unwrap();
    check_refusal(&run(&["module", "push", "mask", file.to_str().unwrap(), "--server", &served.url]), 1, &["WebAssembly"]);
}

#[test]
fn health_and_metrics_are_served() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::start(dir.path());
    let get = |path: &str| ureq::get(format!("{}{path}", served.url)).call().unwrap().body_mut().read_to_string().unwrap();
    get("/healthz");
    get("/readyz");
    // Tasks are counted by the scheduler's first round, which may come after the first answer.
    let since = Instant::now();
    for name in ["tidegate_process_resident_memory_bytes", "tidegate_units", "tidegate_tasks{status=\"running\"}"] {
        while !get("/metrics").contains(name) {
            assert!(since.elapsed() < PATIENCE, "{name} is not in:\n{}", get("/metrics"));
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn a_recorded_load_is_simulated_as_table_json_and_chart() {
    let dir = tempfile::tempdir().unwrap();
    let recording = dir.path().join("mine.csv");
    let lines: String = (0..600).map(|second| format!("{second},{}\n", if second < 300 { 0 } else { 9_000 })).collect();
    std::fs::write(&recording, format!("second,rows\n{lines}")).unwrap();
    let (recording, charts) = (recording.to_str().unwrap(), dir.path().to_str().unwrap());

    let table = run(&["capacity", "simulate", recording]);
    let text = String::from_utf8(table.stdout).unwrap();
    for word in ["mine", "tidegate", "clairvoyant", "fixed at peak", "threshold", "memory steps"] {
        assert!(text.contains(word), "\"{word}\" is not in:\n{text}");
    }
    let json = run(&["capacity", "simulate", recording, "--json", "--charts", charts]);
    let document: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    let ours = &document[0]["policies"][0];
    // 9,000 rows a second for 300 seconds by units of 2,000: 0.375 unit-hours at least.
    assert!(ours["unit_hours"].as_f64().is_some_and(|hours| (0.375..0.6).contains(&hours)), "{document:#}");
    assert_eq!(ours["seconds_over_objective"], 0, "{document:#}");
    assert!(std::fs::read_to_string(dir.path().join("mine.svg")).unwrap().starts_with("<svg"));

    check_refusal(&run(&["capacity", "simulate", "no-such-trace"]), 2, &["no-such-trace", "diurnal", "SECOND,ROWS"]);
    check_refusal(&run(&["capacity", "simulate", "--max-units", "900"]), 2, &["900", "64"]);
}
