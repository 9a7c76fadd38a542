//! Errors as `application/problem+json` (RFC 9457), each with a stable code, the object at fault and a hint.
//!
//! A detail says what was found and what is wanted, by name and type, never by value: a password that was sent in the
//! wrong place is not sent back.

use std::borrow::Cow;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tidegate_catalog::{CatalogError, Failure};
use tracing::error;

/// An error answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    code: Cow<'static, str>,
    detail: String,
    object: Option<String>,
    hint: Option<String>,
}

impl Problem {
    /// An error with its stable code and one sentence.
    pub fn new(status: StatusCode, code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self { status, code: code.into(), detail: detail.into(), object: None, hint: None }
    }

    /// The request itself is not what is wanted: 400.
    pub fn bad_request(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// Names the object at fault, with its kind: `key "port"`, `task "orders"`.
    #[must_use]
    pub fn object(mut self, object: impl Into<String>) -> Self {
        self.object = Some(object.into());
        self
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds what to do about it, unless whoever reported it knew better.
    #[must_use]
    pub(crate) fn hint_unless_given(mut self, hint: &str) -> Self {
        self.hint.get_or_insert_with(|| hint.to_owned());
        self
    }

    /// Gives a conflict the code that says what was tried; leaves other problems alone.
    #[must_use]
    pub(crate) fn conflict_code(mut self, code: &'static str) -> Self {
        if self.status == StatusCode::CONFLICT && self.code == "conflict" {
            self.code = code.into();
        }
        self
    }

    /// The host tried and reported a failure: 502 for what another server said.
    pub(crate) fn from_failure(failure: Failure) -> Self {
        Self { hint: failure.hint, ..Self::new(StatusCode::BAD_GATEWAY, failure.code, failure.message) }
    }

    /// The host did not answer in time.
    pub(crate) fn no_answer(what: &str) -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, "host_did_not_answer", format!("{what} has no result yet"))
            .hint("ask again; if it stays so, look at GET /readyz and at the server's log")
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The stable code.
    pub fn code(&self) -> &str {
        &self.code
    }
}

impl From<CatalogError> for Problem {
    fn from(error: CatalogError) -> Self {
        let detail = error.to_string();
        match error {
            CatalogError::NotFound { kind, name } => {
                let code = format!("{}_not_found", kind.replace(' ', "_"));
                Problem::new(StatusCode::NOT_FOUND, code, detail).object(format!("{kind} \"{name}\""))
            }
            CatalogError::AlreadyExists { kind, name } => {
                Problem::new(StatusCode::CONFLICT, format!("{kind}_exists"), detail).object(format!("{kind} \"{name}\""))
            }
            CatalogError::InUse { kind, name, by } => {
                Problem::new(StatusCode::CONFLICT, format!("{}_in_use", kind.replace(' ', "_")), detail)
                    .object(format!("{kind} \"{name}\""))
                    .hint(format!("delete {by} first"))
            }
            CatalogError::Quota { quota, .. } => Problem::new(StatusCode::FORBIDDEN, format!("quota_{quota}"), detail)
                .object(format!("quota \"{quota}\""))
                .hint("delete what is no longer needed, or ask the operator for a higher quota"),
            CatalogError::Conflict { kind, name, .. } => {
                Problem::new(StatusCode::CONFLICT, "conflict", detail).object(format!("{kind} \"{name}\""))
            }
            CatalogError::Corrupt { .. } | CatalogError::Key { .. } | CatalogError::File { .. } | CatalogError::Storage(_) => {
                // Paths and causes are for the operator's log, not for a tenant.
                error!(error = %chain(&error), "the catalog failed");
                Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "catalog_failed", "the catalog could not be used")
                    .hint("look at the server's log")
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Error");
        let mut body = json!({
            "type": format!("urn:tidegate:problem:{}", self.code),
            "title": title,
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.detail,
        });
        for (key, text) in [("object", self.object), ("hint", self.hint)] {
            if let Some(text) = text {
                body[key] = text.into();
            }
        }
        let mut response = (self.status, body.to_string()).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
