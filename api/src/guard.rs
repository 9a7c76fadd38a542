//! What every request passes before it reaches a handler.
//!
//! Without keys the server trusts whoever reaches its loopback address, so a web page in the user's browser must not:
//! the `Host` must be a loopback name (a page that rebinds its own name to 127.0.0.1 fails here) and an `Origin`, if
//! there is one, too (a form posted from elsewhere fails here). Bodies are read here, with a limit and a deadline, so
//! that no handler ever sees an unbounded one. Compressed bodies are refused, and with them what they could unpack to.
//!
//! With keys neither matters: a page of somebody else's has no key, and the browser gives it no way to send one.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::problem::Problem;
use crate::state::ApiState;

/// Longest JSON body, in bytes. A table-mapping document of 10,000 rules fits.
const JSON_BYTES_MAX: usize = 1 << 20;

/// JSON bodies being read at once: together at most 128 MiB.
const JSON_BODIES_MAX: usize = 128;

/// Bytes of modules being uploaded at once; one upload always may.
const MODULE_BODIES_BYTES: usize = 192 << 20;

/// A body has to arrive within this time; a module of 24 MiB then needs 7 Mbit/s.
const BODY_DEADLINE: Duration = Duration::from_secs(30);

/// Refuses requests that a foreign web page could have sent to a server without keys.
pub(crate) async fn loopback_only(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    // A catalog that does not answer is no reason to be less careful.
    let checked = if state.wants_keys().await.unwrap_or(false) { Ok(()) } else { check_host(request.headers()) };
    match checked {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn check_host(headers: &HeaderMap) -> Result<(), Problem> {
    // A request without a Host comes from no browser.
    if let Some(host) = headers.get(header::HOST)
        && !host.to_str().is_ok_and(is_loopback_authority)
    {
        return Err(Problem::new(StatusCode::FORBIDDEN, "host_not_allowed", "the Host header is no loopback name")
            .object("header \"host\"")
            .hint("without keys, use http://localhost, http://127.0.0.1 or http://[::1]"));
    }
    if let Some(origin) = headers.get(header::ORIGIN) {
        let local = origin
            .to_str()
            .is_ok_and(|text| text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")).is_some_and(is_loopback_authority));
        if !local {
            return Err(Problem::new(StatusCode::FORBIDDEN, "origin_not_allowed", "the request comes from a foreign web page")
                .object("header \"origin\""));
        }
    }
    Ok(())
}

/// `localhost`, `127.0.0.1` or `[::1]`, with a port or without.
fn is_loopback_authority(authority: &str) -> bool {
    ["localhost", "127.0.0.1", "[::1]"].iter().any(|name| {
        let Some((head, rest)) = authority.split_at_checked(name.len()) else { return false };
        let port = rest.strip_prefix(':').map(|port| !port.is_empty() && port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit()));
        head.eq_ignore_ascii_case(name) && (rest.is_empty() || port == Some(true))
    })
}

/// How much of bodies a group of routes takes up in memory: bytes of one, and how many at once.
pub(crate) struct BodyBounds {
    bytes_max: usize,
    at_once: Semaphore,
}

impl BodyBounds {
    pub(crate) fn json() -> Arc<BodyBounds> {
        Arc::new(BodyBounds { bytes_max: JSON_BYTES_MAX, at_once: Semaphore::new(JSON_BODIES_MAX) })
    }

    pub(crate) fn modules(bytes_max: usize) -> Arc<BodyBounds> {
        let at_once = MODULE_BODIES_BYTES / bytes_max.max(1);
        Arc::new(BodyBounds { bytes_max, at_once: Semaphore::new(at_once.max(1)) })
    }
}

/// Reads the whole body before the handler runs. A request without a body waits for nobody.
pub(crate) async fn bounded_body(State(bounds): State<Arc<BodyBounds>>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let deadline = Instant::now() + BODY_DEADLINE;
    let turn = match body.is_end_stream() {
        true => Ok(None),
        false => tokio::time::timeout_at(deadline, bounds.at_once.acquire()).await.map(Some),
    };
    let read = match turn {
        Ok(_turn) => read_body(&parts.headers, body, bounds.bytes_max, deadline).await,
        Err(_) => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "too many bodies are being read").hint("try again")),
    };
    match read {
        Ok(bytes) => next.run(Request::from_parts(parts, Body::from(bytes))).await,
        Err(problem) => {
            // What is left of the body would be taken for the next request.
            let mut response = problem.into_response();
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            response
        }
    }
}

async fn read_body(headers: &HeaderMap, body: Body, bytes_max: usize, deadline: Instant) -> Result<Bytes, Problem> {
    let too_large = || {
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", format!("the body has more than {bytes_max} bytes")).object("body")
    };
    if headers.contains_key(header::CONTENT_ENCODING) {
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "body_encoded", "the body is compressed, wanted plain")
            .object("header \"content-encoding\""));
    }
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()).and_then(|text| text.parse::<u64>().ok());
    if announced.is_some_and(|length| length > bytes_max as u64) {
        return Err(too_large());
    }
    match tokio::time::timeout_at(deadline, Limited::new(body, bytes_max).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Problem::bad_request("body_broken", "the body ended before its end").object("body")),
        Err(_) => {
            let detail = format!("the body did not arrive within {} seconds", BODY_DEADLINE.as_secs());
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", detail).object("body"))
        }
    }
}

/// Answers are for the one who asked, and are what their type says.
pub(crate) async fn answer_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_names_are_hosts() {
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:65535"] {
            assert!(is_loopback_authority(host), "{host}");
        }
        for host in ["", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "localhost:", "localhost:80x", "[::1]x", "é"]
        {
            assert!(!is_loopback_authority(host), "{host}");
        }
    }
}
