//! A headless Chromium with one page, driven over Chrome's DevTools protocol.
//!
//! The browser is talked to over a pipe (`--remote-debugging-pipe`): JSON messages that end with a zero byte, on the file descriptors 3
//! and 4. So there is no port, no WebSocket, and no client library. What a page logs as an error, what its policy refuses and what it
//! throws is collected, for tests to be sure of its absence.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{ChildStdin, ChildStdout, Command};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::instance::Instance;
use crate::process::root_dir;
use crate::wait::wait_for;

/// How long an answer of the browser may take on a busy machine; its first one waits for its start.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running browser with one page; dropping it ends the process and removes its profile.
pub struct Browser {
    /// Its drop ends the process.
    _instance: Instance,
    input: Mutex<ChildStdin>,
    answers: Arc<Answers>,
    last_id: AtomicU64,
    session: String,
}

#[derive(Default)]
struct Answers {
    waiting: Mutex<HashMap<u64, oneshot::Sender<Value>>>,
    faults: Mutex<Vec<String>>,
}

impl Browser {
    /// Starts the browser with an empty page of the given size in pixels.
    pub async fn start(width: u32, height: u32) -> Browser {
        let mut instance = Instance::new("browser");
        let mut command = Command::new("sh");
        // The shell puts the protocol's two ends where the browser looks for them.
        command.args(["-c", "exec \"$@\" 3<&0 4>&1 0</dev/null 1>&2", "browser"]).arg(program());
        command.args(["--headless=new", "--remote-debugging-pipe", "--no-first-run", "--no-default-browser-check", "--disable-gpu"]);
        command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"]);
        command.args(["--disable-features=Translate,OptimizationHints,MediaRouter", "--force-color-profile=srgb", "--mute-audio"]);
        // Its own sandbox refuses root; the only pages that it opens are ours.
        command.args(["--no-sandbox", "--lang=en-GB"]);
        command.arg(format!("--user-data-dir={}", instance.dir().join("profile").display()));
        command.env("HOME", instance.dir()).env("TZ", "UTC");
        let (input, output) = instance.spawn_with_pipes(command);
        let answers = Arc::new(Answers::default());
        let sink = Arc::clone(&answers);
        std::thread::spawn(move || listen(output, &sink));
        let mut browser =
            Browser { _instance: instance, input: Mutex::new(input), answers, last_id: AtomicU64::new(0), session: String::new() };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"})).await;
        let attached = browser.call("Target.attachToTarget", json!({"targetId": target["targetId"], "flatten": true})).await;
        browser.session = attached["sessionId"].as_str().expect("a session has an id").to_owned();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({})).await;
        }
        browser.resize(width, height).await;
        browser
    }

    /// One command of the protocol; panics when the browser refuses it or does not answer.
    pub async fn call(&self, method: &str, parameters: Value) -> Value {
        self.try_call(method, parameters).await.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// The same; an error is the browser's refusal.
    async fn try_call(&self, method: &str, parameters: Value) -> Result<Value, Value> {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let (sender, answer) = oneshot::channel();
        self.answers.waiting.lock().expect("nobody panics with it").insert(id, sender);
        let mut message = json!({"id": id, "method": method, "params": parameters});
        if !self.session.is_empty() {
            message["sessionId"] = self.session.clone().into();
        }
        {
            let mut input = self.input.lock().expect("nobody panics with it");
            let sent = input.write_all(format!("{message}\0").as_bytes()).and_then(|()| input.flush());
            sent.unwrap_or_else(|error| panic!("{method}: the browser is gone: {error}\n{}", self._instance.log_tail()));
        }
        let answer = tokio::time::timeout(PATIENCE, answer).await.ok().and_then(Result::ok);
        let answer = answer.unwrap_or_else(|| panic!("{method}: no answer of the browser\n{}", self._instance.log_tail()));
        match answer.get("error") {
            None => Ok(answer["result"].clone()),
            Some(error) => Err(error.clone()),
        }
    }

    /// Makes the page another size, as on another device.
    pub async fn resize(&self, width: u32, height: u32) {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.call("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    /// Makes the system's colours `light` or `dark`.
    pub async fn prefer_colours(&self, scheme: &str) {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", features).await;
    }

    /// Opens an address and waits until it has loaded.
    pub async fn open(&self, url: &str) {
        let answer = self.call("Page.navigate", json!({"url": url})).await;
        assert!(answer.get("errorText").is_none(), "{url}: {answer}");
        wait_for("the page to load", PATIENCE, async || {
            let state = self.evaluate("document.readyState").await;
            if state == "complete" { Ok(()) } else { Err(state) }
        })
        .await;
    }

    /// Loads the page again and waits until it has.
    pub async fn reload(&self) {
        self.evaluate("(globalThis.before = true)").await;
        self.call("Page.reload", json!({})).await;
        wait_for("the page to load again", PATIENCE, async || {
            // Between the two pages there is none that could answer.
            let parameters = json!({"expression": "!globalThis.before && document.readyState === 'complete'", "returnByValue": true});
            let answer = self.try_call("Runtime.evaluate", parameters).await;
            if answer.as_ref().is_ok_and(|answer| answer["result"]["value"] == true) { Ok(()) } else { Err(answer) }
        })
        .await;
    }

    /// The value of an expression in the page; a promise is waited for. Panics with what it throws.
    pub async fn evaluate(&self, expression: &str) -> Value {
        let parameters = json!({"expression": expression, "returnByValue": true, "awaitPromise": true, "userGesture": true});
        let answer = self.call("Runtime.evaluate", parameters).await;
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {}", answer["exceptionDetails"]);
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true in the page; `seen` is an expression for what is there instead.
    pub async fn wait_until(&self, what: &str, timeout: Duration, condition: &str, seen: &str) {
        wait_for(what, timeout, async || {
            let holds = self.evaluate(&format!("Boolean({condition})")).await;
            if holds == true { Ok(()) } else { Err(self.evaluate(seen).await) }
        })
        .await;
    }

    /// Presses a key, as `Tab`, `Enter` or ` `.
    pub async fn press(&self, key: &str) {
        let (code, number, text) = match key {
            "Tab" => ("Tab", 9, ""),
            "Enter" => ("Enter", 13, "\r"),
            "Escape" => ("Escape", 27, ""),
            " " => ("Space", 32, " "),
            other => panic!("the key {other} is not known here"),
        };
        let mut event = json!({"type": if text.is_empty() { "rawKeyDown" } else { "keyDown" }, "key": key, "code": code,
                               "windowsVirtualKeyCode": number, "text": text});
        self.call("Input.dispatchKeyEvent", event.clone()).await;
        event["type"] = "keyUp".into();
        self.call("Input.dispatchKeyEvent", event).await;
    }

    /// Types text into what has the focus.
    pub async fn write(&self, text: &str) {
        self.call("Input.insertText", json!({"text": text})).await;
    }

    /// Keeps a picture of the page, down to 3,000 pixels, as `target/console-screenshots/NAME.png`.
    pub async fn screenshot(&self, name: &str) -> PathBuf {
        let height = self.evaluate("Math.min(3000, Math.ceil(document.documentElement.scrollHeight))").await;
        let width = self.evaluate("innerWidth").await;
        let clip = json!({"x": 0, "y": 0, "width": width, "height": height, "scale": 1});
        let answer = self.call("Page.captureScreenshot", json!({"format": "png", "captureBeyondViewport": true, "clip": clip})).await;
        let dir = root_dir().join("target/console-screenshots");
        std::fs::create_dir_all(&dir).expect("target is writable");
        let path = dir.join(format!("{name}.png"));
        let data = answer["data"].as_str().expect("a picture is text");
        std::fs::write(&path, base64_decoded(data)).expect("target is writable");
        path
    }

    /// Errors, refusals of the policy and exceptions since the last call.
    pub fn take_faults(&self) -> Vec<String> {
        std::mem::take(&mut self.answers.faults.lock().expect("nobody panics with it"))
    }
}

fn program() -> PathBuf {
    let path = std::env::var_os("TIDEGATE_CHROMIUM").map_or_else(|| PathBuf::from("/usr/bin/chromium"), PathBuf::from);
    assert!(path.exists(), "{} is not installed; install it with: cargo xtask setup", path.display());
    path
}

/// Reads the browser's messages to their end.
fn listen(output: ChildStdout, answers: &Answers) {
    for message in BufReader::new(output).split(0).map_while(Result::ok) {
        let Ok(message) = serde_json::from_slice::<Value>(&message) else { continue };
        if let Some(id) = message["id"].as_u64() {
            let waiting = answers.waiting.lock().expect("nobody panics with it").remove(&id);
            // Who gave up waiting needs no answer.
            waiting.map(|sender| sender.send(message));
        } else if let Some(fault) = fault(&message) {
            answers.faults.lock().expect("nobody panics with it").push(fault);
        }
    }
}

/// What an event says against the page.
fn fault(event: &Value) -> Option<String> {
    let parameters = &event["params"];
    match event["method"].as_str()? {
        "Runtime.exceptionThrown" => Some(format!("exception: {}", parameters["exceptionDetails"])),
        "Runtime.consoleAPICalled" if parameters["type"] == "error" || parameters["type"] == "assert" => {
            Some(format!("console: {}", parameters["args"]))
        }
        "Log.entryAdded" if parameters["entry"]["level"] == "error" || parameters["entry"]["source"] == "security" => {
            Some(format!("log: {} {}", parameters["entry"]["text"], parameters["entry"]["url"]))
        }
        _ => None,
    }
}

/// The bytes of base64 with padding, which is how the protocol sends pictures.
fn base64_decoded(text: &str) -> Vec<u8> {
    let value = |letter: u8| match letter {
        b'A'..=b'Z' => u32::from(letter - b'A'),
        b'a'..=b'z' => u32::from(letter - b'a') + 26,
        b'0'..=b'9' => u32::from(letter - b'0') + 52,
        b'+' => 62,
        b'/' => 63,
        other => panic!("base64 has no byte {other}"),
    };
    let letters = text.trim_end_matches('=').as_bytes();
    let group = |letters: &[u8]| {
        let bits = letters.iter().fold(0, |bits, letter| bits << 6 | value(*letter)) << (6 * (4 - letters.len()));
        bits.to_be_bytes()[1..letters.len()].to_vec()
    };
    letters.chunks(4).flat_map(group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_any_length_is_decoded() {
        for (text, bytes) in [("", &b""[..]), ("YQ==", b"a"), ("YWI=", b"ab"), ("YWJj", b"abc"), ("+/8A", &[0xfb, 0xff, 0x00])] {
            assert_eq!(base64_decoded(text), bytes, "{text}");
        }
    }

    #[test]
    fn what_a_policy_refuses_is_a_fault() {
        let event = |level: &str, source: &str| json!({"method": "Log.entryAdded", "params": {"entry": {"level": level, "source": source, "text": "x"}}});
        assert!(fault(&event("error", "security")).is_some() && fault(&event("error", "network")).is_some());
        assert!(fault(&event("info", "other")).is_none() && fault(&json!({"method": "Page.loadEventFired"})).is_none());
    }
}
