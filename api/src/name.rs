//! Names: of new endpoints, modules and tasks, and as they stand in paths and queries.

use std::collections::BTreeMap;

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::StatusCode;
use axum::http::request::Parts;
use tidegate_model::TaskId;

use crate::fields::key_problem;
use crate::problem::Problem;

/// A name that fits everywhere: in a path, a slot name, a file name. Tasks need it; the others keep to it.
pub(crate) fn checked_name(path: &str, text: String) -> Result<TaskId, Problem> {
    TaskId::new(text).map_err(|_| {
        key_problem("name_form", path, format!("\"{path}\" is not of the form [a-z][a-z0-9-]{{0,62}} without double or trailing hyphen"))
    })
}

/// The `{name}` of a path.
pub(crate) struct PathName(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for PathName {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(name)) => Ok(PathName(name)),
            Err(_) => Err(Problem::new(StatusCode::NOT_FOUND, "path_not_found", "the path does not decode to a name").object("path")),
        }
    }
}

/// The `{name}` and the last part of a path with two.
pub(crate) struct PathNames(pub(crate) String, pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for PathNames {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::<(String, String)>::from_request_parts(parts, state).await {
            Ok(Path((name, part))) => Ok(PathNames(name, part)),
            Err(_) => Err(Problem::new(StatusCode::NOT_FOUND, "path_not_found", "the path does not decode to names").object("path")),
        }
    }
}

/// The parameters of a query, each at most once. What is left when a handler has taken its own is refused.
pub(crate) struct QueryFields(BTreeMap<String, String>);

impl<S: Send + Sync> FromRequestParts<S> for QueryFields {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Query::<BTreeMap<String, String>>::from_request_parts(parts, state).await {
            Ok(Query(fields)) => Ok(QueryFields(fields)),
            Err(_) => Err(Problem::bad_request("query_syntax", "the query string does not decode").object("query")),
        }
    }
}

impl QueryFields {
    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    pub(crate) fn number(&mut self, name: &str, least: i64, most: i64) -> Result<Option<i64>, Problem> {
        let Some(text) = self.0.remove(name) else { return Ok(None) };
        match text.parse::<i64>() {
            Ok(number) if (least..=most).contains(&number) => Ok(Some(number)),
            Ok(_) | Err(_) => Err(Problem::bad_request("out_of_range", format!("\"{name}\" is no whole number from {least} to {most}"))
                .object(format!("query parameter \"{name}\""))),
        }
    }

    pub(crate) fn finish(self) -> Result<(), Problem> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => {
                let shown: String = name.chars().take(64).collect();
                Err(Problem::bad_request("unknown_key", format!("query parameter \"{shown}\" is unknown"))
                    .object(format!("query parameter \"{shown}\"")))
            }
        }
    }
}
