//! `tidegate task …`, and the way to a server's API for every command that needs one.
//!
//! Answers are printed as they are with `--json`, and as lines with tabs otherwise. What the server says about an
//! error is passed on in its own words.

use std::time::Duration;

use serde_json::Value;
use ureq::http::{Method, Response, StatusCode};
use ureq::{Agent, Body};

use crate::cli::{ServerArgs, TaskArgs, TaskCommand};
use crate::exit::{Exit, Failure};

/// An upload waits for the module's verdict, which the server gives within a minute.
const TIMEOUT: Duration = Duration::from_secs(90);

/// The most that is read of an answer.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Carries out a `task` command.
///
/// # Errors
/// When the server cannot be reached, or refuses.
pub(crate) fn task(args: &TaskArgs) -> Result<Exit, Failure> {
    let server = Server::new(&args.server);
    let path = |task: &str| format!("/v1/tasks/{}", escaped(task));
    let answer = match &args.command {
        TaskCommand::List => server.call(Method::GET, "/v1/tasks", None)?,
        TaskCommand::Show { task } => server.call(Method::GET, &path(task), None)?,
        TaskCommand::Start { task } => server.call(Method::POST, &format!("{}/start", path(task)), None)?,
        TaskCommand::Stop { task } => server.call(Method::POST, &format!("{}/stop", path(task)), None)?,
        TaskCommand::CutOver { task } => {
            let answer = server.call(Method::POST, &format!("{}/cut-over", path(task)), None)?;
            server.print(&answer, || vec![line(&[&answer["position"], &answer["counters_moved"]])]);
            return Ok(Exit::Ok);
        }
        TaskCommand::Delete { task } => server.call(Method::DELETE, &path(task), None)?,
    };
    server.print(&answer, || match answer["tasks"].as_array() {
        Some(tasks) => tasks.iter().map(task_line).collect(),
        None => vec![task_line(&answer)],
    });
    Ok(Exit::Ok)
}

fn task_line(task: &Value) -> String {
    let failure = &task["failure"]["message"];
    line(&[&task["name"], &task["status"], &task["phase"], &task["progress"]["lag_seconds"], failure])
}

/// Values with tabs between them; what is not there is a hyphen, so that columns keep their places.
pub(crate) fn line(values: &[&Value]) -> String {
    let text = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    values.iter().map(|value| text(value)).collect::<Vec<_>>().join("\t")
}

/// A name as one segment of a path.
pub(crate) fn escaped(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    name.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// A server, as the flags name it.
pub(crate) struct Server<'a> {
    args: &'a ServerArgs,
    agent: Agent,
}

impl<'a> Server<'a> {
    pub(crate) fn new(args: &'a ServerArgs) -> Self {
        let config = Agent::config_builder().http_status_as_error(false).timeout_global(Some(TIMEOUT)).build();
        Self { args, agent: config.into() }
    }

    /// Asks the server.
    ///
    /// # Errors
    /// When it cannot be reached, or refuses: in its own words.
    pub(crate) fn call(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<Value, Failure> {
        self.send(method, path, body, None)
    }

    /// Asks the server with a JSON body.
    ///
    /// # Errors
    /// As for [`Server::call`].
    pub(crate) fn post_json(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.send(Method::POST, path, Some(body.to_string().into_bytes()), Some("application/json"))
    }

    fn send(&self, method: Method, path: &str, body: Option<Vec<u8>>, content_type: Option<&str>) -> Result<Value, Failure> {
        let url = format!("{}{path}", self.args.server.trim_end_matches('/'));
        let unreachable = |error: ureq::Error| {
            Failure::environment("server", format!("ask server {}: {error}", self.args.server))
                .hint("start it with `tidegate serve`, or name it with --server URL")
        };
        let request = ureq::http::Request::builder().method(method).uri(url).header("accept", "application/json");
        let request = match &self.args.key {
            Some(key) => request.header("authorization", format!("Bearer {key}")),
            None => request,
        };
        let request = match content_type {
            Some(content_type) => request.header("content-type", content_type),
            None => request,
        };
        // An empty body with its length: a server may refuse a POST without one.
        let body = body.unwrap_or_default();
        let request =
            request.body(body).map_err(|error| Failure::usage("server", format!("server URL \"{}\": {error}", self.args.server)))?;
        let mut response = self.agent.run(request).map_err(unreachable)?;
        let text = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string().map_err(unreachable)?;
        if response.status().is_success() {
            return if text.is_empty() { Ok(Value::Null) } else { parse(&text, &response) };
        }
        Err(refusal(response.status(), &parse(&text, &response).unwrap_or(Value::Null)))
    }

    /// Prints the answer as it is with `--json`, and these lines otherwise.
    pub(crate) fn print(&self, answer: &Value, lines: impl FnOnce() -> Vec<String>) {
        if self.args.json {
            println!("{answer:#}");
        } else if !answer.is_null() {
            lines().iter().for_each(|line| println!("{line}"));
        }
    }
}

fn parse(text: &str, response: &Response<Body>) -> Result<Value, Failure> {
    serde_json::from_str(text).map_err(|error| {
        Failure::environment("server", format!("the server answered {} with something that is not JSON: {error}", response.status()))
            .hint("is it a tidegate server? look at --server")
    })
}

/// The server's own words.
fn refusal(status: StatusCode, problem: &Value) -> Failure {
    let text = |key: &str| problem[key].as_str().map(str::to_owned);
    let message = text("detail").or_else(|| text("title")).unwrap_or_else(|| format!("the server answered {status}"));
    let object = text("object").map(|object| format!("{object}: ")).unwrap_or_default();
    let exit = if status.is_server_error() { Exit::Environment } else { Exit::Failed };
    Failure { exit, code: text("code").unwrap_or_else(|| "server".to_owned()), message: format!("{object}{message}"), hint: text("hint") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_name_stays_one_segment_of_the_path() {
        assert_eq!(escaped("a-b_1.c"), "a-b_1.c");
        assert_eq!(escaped("../a?b#é"), "..%2Fa%3Fb%23%C3%A9");
    }

    #[test]
    fn a_refusal_keeps_the_servers_words() {
        let problem = json!({"detail": "task \"a\" does not exist", "code": "not_found", "hint": "look at the list"});
        let failure = refusal(StatusCode::NOT_FOUND, &problem);
        assert_eq!((failure.exit, failure.code.as_str()), (Exit::Failed, "not_found"));
        assert!(failure.message.contains("does not exist") && failure.hint.is_some());
        assert_eq!(refusal(StatusCode::BAD_GATEWAY, &Value::Null).exit, Exit::Environment);
    }

    #[test]
    fn missing_values_keep_their_column() {
        assert_eq!(line(&[&json!("a"), &Value::Null, &json!(1.5)]), "a\t-\t1.5");
    }
}
