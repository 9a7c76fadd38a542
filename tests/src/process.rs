//! The real `tidegate` binary as a child process, and its HTTP API.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::instance::{Instance, Signal};
use crate::lease::Lease;
use crate::template::{copy, template};

/// How long the binary may take until `/readyz` answers 200, on a busy machine: a debug build compiles its built-in
/// module at the first start.
const START: Duration = Duration::from_secs(60);

/// How long it may take to end after SIGTERM.
const STOP: Duration = Duration::from_secs(30);

/// A running `tidegate serve`. Dropping it kills the process; the data directory is its owner's, unless said otherwise.
#[derive(Debug)]
pub struct Tidegate {
    instance: Instance,
    lease: Lease,
    data_dir: PathBuf,
    settings: Vec<(String, String)>,
}

/// What the API answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The HTTP status code.
    pub status: u16,
    /// The body; `Null` when it was empty, a string when it was no JSON.
    pub body: Value,
}

impl Answer {
    /// The body of a success; panics with the body of anything else.
    pub fn ok(self) -> Value {
        assert!((200..300).contains(&self.status), "the API answered {}: {}", self.status, self.body);
        self.body
    }
}

impl Tidegate {
    /// Starts `tidegate serve` on a free port and waits until it is ready; panics with its log when it is not.
    pub async fn serve(data_dir: &Path) -> Tidegate {
        Self::serve_with(data_dir, &[]).await
    }

    /// The same with environment variables of its own.
    pub async fn serve_with(data_dir: &Path, settings: &[(&str, &str)]) -> Tidegate {
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut host = Tidegate { instance: Instance::new("host"), lease: Lease::port_only(), data_dir: data_dir.into(), settings };
        host.launch().await;
        host
    }

    /// The same with a data directory that goes when the value is dropped, or when this process is killed.
    pub async fn serve_in_own_dir() -> Tidegate {
        let instance = Instance::new("host");
        let data_dir = instance.dir().join("data");
        let mut host = Tidegate { instance, lease: Lease::port_only(), data_dir, settings: Vec::new() };
        host.launch().await;
        host
    }

    /// Where the API is, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.lease.port)
    }

    /// The data directory.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The API's port; it stays the same over restarts.
    pub fn port(&self) -> u16 {
        self.lease.port
    }

    /// Ends the process with SIGKILL.
    pub async fn kill(&mut self) {
        self.instance.kill();
    }

    /// Asks the process to end with SIGTERM and waits until it did.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.instance.signal(Signal::Term);
        self.instance.ended(STOP).await.expect("the process was running")
    }

    /// Waits until the process ends by itself.
    pub async fn ended(&mut self, timeout: Duration) -> ExitStatus {
        self.instance.ended(timeout).await.expect("the process was running")
    }

    /// Starts again with the same data directory and port, after SIGKILL if it is running.
    pub async fn restart(&mut self) {
        self.instance.kill();
        self.launch().await;
    }

    /// Stops the process as if the machine had stalled, until [`Tidegate::sigcont`].
    pub fn sigstop(&self) {
        self.instance.signal(Signal::Stop);
    }

    /// Lets a stopped process go on.
    pub fn sigcont(&self) {
        self.instance.signal(Signal::Continue);
    }

    /// True while the process runs.
    pub fn running(&mut self) -> bool {
        self.instance.running()
    }

    /// Everything the process wrote to stdout and stderr, over all its starts.
    pub fn log(&self) -> String {
        self.instance.log()
    }

    /// The highest resident memory of the current process so far.
    pub fn peak_rss_bytes(&self) -> u64 {
        self.status_bytes("VmHWM:")
    }

    /// CPU time of the current process so far, in the kernel's unit of 10 ms.
    pub fn cpu_time(&self) -> Duration {
        let pid = self.instance.process_id().expect("the process is running");
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The second field is the program's name in brackets; of the rest, 11 and 12 are user and system time.
        let fields: Vec<u64> = text
            .rsplit_once(')')
            .map_or("", |(_, rest)| rest)
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|text| text.parse().ok())
            .collect();
        assert_eq!(fields.len(), 2, "/proc/{pid}/stat has no times");
        Duration::from_millis(10 * fields.iter().sum::<u64>())
    }

    /// Resident memory of the current process now.
    pub fn rss_bytes(&self) -> u64 {
        self.status_bytes("VmRSS:")
    }

    /// `GET path`.
    pub async fn get(&self, path: &str) -> Answer {
        self.request("GET", path, None).await
    }

    /// `POST path` with a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.request("POST", path, Some(Body::Json(body.clone()))).await
    }

    /// `PUT path` with a JSON body.
    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.request("PUT", path, Some(Body::Json(body.clone()))).await
    }

    /// `PUT path` with bytes: a module.
    pub async fn put_bytes(&self, path: &str, bytes: Vec<u8>) -> Answer {
        self.request("PUT", path, Some(Body::Bytes(bytes))).await
    }

    /// `PUT path` with bytes to a server that may hang up before it has read them: `None` without an answer.
    pub async fn try_put_bytes(&self, path: &str, bytes: Vec<u8>) -> Option<Answer> {
        exchange("PUT", &format!("{}{path}", self.url()), Some(Body::Bytes(bytes))).await.ok()
    }

    /// `PATCH path` with a JSON body.
    pub async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.request("PATCH", path, Some(Body::Json(body.clone()))).await
    }

    /// `DELETE path`.
    pub async fn delete(&self, path: &str) -> Answer {
        self.request("DELETE", path, None).await
    }

    /// One request; panics when there is no answer at all. See [`Tidegate::try_get`] for a host that may be down.
    async fn request(&self, method: &str, path: &str, body: Option<Body>) -> Answer {
        let answer = exchange(method, &format!("{}{path}", self.url()), body).await;
        answer.unwrap_or_else(|error| panic!("{method} {path}: {error}\n{}", self.instance.log_tail()))
    }

    /// `GET path` of a host that may be down: `None` without an answer.
    pub async fn try_get(&self, path: &str) -> Option<Answer> {
        exchange("GET", &format!("{}{path}", self.url()), None).await.ok()
    }

    async fn launch(&mut self) {
        self.bring_artefacts().await;
        self.start().await;
    }

    /// Gives a new data directory the compiled rules module of an earlier one: compiling it takes seconds of CPU.
    async fn bring_artefacts(&self) {
        let place = self.data_dir.join("artefacts");
        // Environments of their own may be about the artefacts, or another engine.
        if place.exists() || self.settings.iter().any(|(name, _)| name != "TIDEGATE_UNITS") {
            return;
        }
        let made = template("artefacts", &root_dir().join("target/guests/rules.wasm"), async |data_dir| {
            let mut host = Tidegate { instance: Instance::new("artefacts"), lease: Lease::port_only(), data_dir, settings: Vec::new() };
            host.start().await;
            host.terminate().await;
        })
        .await;
        std::fs::create_dir_all(&self.data_dir).unwrap_or_else(|error| panic!("create {}: {error}", self.data_dir.display()));
        copy(&made.join("artefacts"), &place);
    }

    async fn start(&mut self) {
        let mut command = Command::new(binary());
        command.args(["serve", "--listen", &format!("127.0.0.1:{}", self.port()), "--data-dir"]).arg(&self.data_dir);
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        self.instance.spawn(command);
        let since = Instant::now();
        while self.instance.running() && since.elapsed() < START {
            if self.try_get("/readyz").await.is_some_and(|answer| answer.status == 200) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("tidegate serve did not become ready:\n{}", self.instance.log_tail());
    }

    fn status_bytes(&self, field: &str) -> u64 {
        let pid = self.instance.process_id().expect("the process is running");
        let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let kib = text.lines().find_map(|line| line.strip_prefix(field)?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kib.unwrap_or_else(|| panic!("/proc/{pid}/status has no {field}")) << 10
    }
}

/// Runs another command of the binary to its end: `run`, `check`, `module`.
pub async fn tidegate(arguments: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(binary());
    command.args(arguments).kill_on_drop(true);
    command.output().await.expect("the binary can be started")
}

/// The binary: `TIDEGATE_BIN`, or the one that `cargo build` made.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("TIDEGATE_BIN") {
        return path.into();
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root_dir().join("target"), PathBuf::from);
    let path = target.join("debug/tidegate");
    assert!(path.exists(), "{} does not exist; build it with: cargo build --package tidegate", path.display());
    path
}

/// The root of the source tree.
pub fn root_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the harness is a folder of the workspace").to_owned()
}

#[derive(Debug)]
pub(crate) enum Body {
    Json(Value),
    Bytes(Vec<u8>),
}

/// One request; an answer of any status is a success.
pub(crate) async fn exchange(method: &str, url: &str, body: Option<Body>) -> Result<Answer, String> {
    exchange_with_key(method, url, None, body).await
}

/// The same with a bearer key.
pub(crate) async fn exchange_with_key(method: &str, url: &str, key: Option<&str>, body: Option<Body>) -> Result<Answer, String> {
    let (method, url, key) = (method.to_owned(), url.to_owned(), key.map(str::to_owned));
    let work = move || blocking_exchange(&method, &url, key.as_deref(), body);
    tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?
}

fn blocking_exchange(method: &str, url: &str, key: Option<&str>, body: Option<Body>) -> Result<Answer, String> {
    let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(180)));
    let agent: ureq::Agent = config.allow_non_standard_methods(true).build().into();
    let (kind, bytes) = match body {
        None => ("application/json", Vec::new()),
        Some(Body::Json(value)) => ("application/json", value.to_string().into_bytes()),
        Some(Body::Bytes(bytes)) => ("application/wasm", bytes),
    };
    let empty = bytes.is_empty();
    let mut request = ureq::http::Request::builder().method(method).uri(url).header("content-type", kind);
    if let Some(key) = key {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    let sent = if empty {
        agent.run(request.body(()).map_err(|error| error.to_string())?)
    } else {
        agent.run(request.body(bytes).map_err(|error| error.to_string())?)
    };
    let mut response = sent.map_err(|error| error.to_string())?;
    let text = response.body_mut().read_to_string().map_err(|error| error.to_string())?;
    let body = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap_or(Value::String(text)) };
    Ok(Answer { status: response.status().as_u16(), body })
}
