//! Who asks: without any key everybody is the default tenant, with the first one nobody is served without.
//!
//! ```text
//!   /v1/…      a tenant's bearer key      401 key_wanted, key_unknown; 403 key_of_operator
//!   /metrics   an operator's bearer key   403 key_of_tenant: the figures of all tenants are in it
//!   POST /     a signature (dms/signature) with a tenant's signing key
//!   the rest   anybody: health, the API's description, the console's files, none of which has data
//! ```
//!
//! Keys are looked up for every request, so that a new or deleted one counts at once, also when another process wrote
//! it. A server that listens beyond loopback wants keys even when there are none: the last one that is deleted must not
//! open the door to everybody.

use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::{AUTHORIZATION, CONNECTION, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tidegate_catalog::{CatalogError, KeyOwner, Secret};
use tidegate_model::TenantId;

use crate::problem::Problem;
use crate::state::ApiState;

/// Longer texts are no keys.
const KEY_CHARS_MAX: usize = 200;

/// What a handler of a tenant's route gets: the state with the tenant's view of the catalog. Only [`tenants_only`] lets it be.
pub(crate) struct Scoped(pub(crate) ApiState);

impl FromRequestParts<ApiState> for Scoped {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        let tenant = parts.extensions.get::<TenantId>().ok_or_else(key_wanted)?;
        Ok(Scoped(ApiState { catalog: state.catalog.of(tenant), ..state.clone() }))
    }
}

impl ApiState {
    /// True when nobody is served without a key.
    ///
    /// # Errors
    /// The catalog's.
    pub(crate) async fn wants_keys(&self) -> Result<bool, CatalogError> {
        Ok(self.keys_required || self.catalog.has_keys().await?)
    }
}

/// Lets requests of a tenant pass, and says whose they are.
pub(crate) async fn tenants_only(State(state): State<ApiState>, mut request: Request, next: Next) -> Response {
    let owner = match owner(&state, request.headers()).await {
        Ok(owner) => owner,
        Err(problem) => return refused(problem),
    };
    match owner {
        None => request.extensions_mut().insert(TenantId::default()),
        Some(KeyOwner::Tenant(tenant)) => request.extensions_mut().insert(tenant),
        Some(KeyOwner::Operator) => {
            let detail = "the key is an operator's, wanted a tenant's";
            return refused(Problem::new(StatusCode::FORBIDDEN, "key_of_operator", detail).object("header \"authorization\""));
        }
    };
    next.run(request).await
}

/// Lets requests of the operator pass.
pub(crate) async fn operators_only(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    match owner(&state, request.headers()).await {
        Ok(None | Some(KeyOwner::Operator)) => next.run(request).await,
        Ok(Some(KeyOwner::Tenant(_))) => {
            let detail = "the key is a tenant's, wanted an operator's";
            let problem = Problem::new(StatusCode::FORBIDDEN, "key_of_tenant", detail).object("header \"authorization\"");
            refused(problem.hint("make one with tidegate tenant key --operator"))
        }
        Err(problem) => refused(problem),
    }
}

/// Whose key came with the request; `None` where no key is wanted.
async fn owner(state: &ApiState, headers: &HeaderMap) -> Result<Option<KeyOwner>, Problem> {
    if !state.wants_keys().await? {
        return Ok(None);
    }
    let key = bearer(headers).ok_or_else(key_wanted)?;
    let owner = state.catalog.owner_of_bearer(&key).await?;
    owner.map(Some).ok_or_else(|| {
        let problem = Problem::new(StatusCode::UNAUTHORIZED, "key_unknown", "the key is none of this server's");
        problem.object("header \"authorization\"").hint("it may have been deleted; ask the operator for a new one")
    })
}

fn key_wanted() -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "key_wanted", "there is no bearer key, wanted one of a tenant")
        .object("header \"authorization\"")
        .hint("send Authorization: Bearer KEY; the operator makes keys with tidegate tenant key TENANT")
}

fn bearer(headers: &HeaderMap) -> Option<Secret> {
    let (scheme, key) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && key.len() <= KEY_CHARS_MAX).then(|| Secret::new(key.trim()))
}

fn refused(problem: Problem) -> Response {
    let wants_key = problem.status() == StatusCode::UNAUTHORIZED;
    let mut response = problem.into_response();
    if wants_key {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"tidegate\""));
    }
    // The body was not read: what is left of it would be taken for the next request.
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
