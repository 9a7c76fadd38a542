//! Every native route, in one table: the router is built from it, and a test compares it with the OpenAPI document.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::handler::Handler;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};

use crate::guard::{BodyBounds, answer_headers, bounded_body, loopback_only};
use crate::keys::{operators_only, tenants_only};
use crate::problem::Problem;
use crate::{ApiState, console, dms, endpoints, events, health, history, module_test, modules, row_errors, swap, tasks};

/// The OpenAPI document, written by hand.
pub(crate) const OPENAPI: &str = include_str!("../openapi.json");

struct Route {
    method: Method,
    path: &'static str,
    handler: MethodRouter<ApiState>,
}

fn route<H, T>(method: Method, path: &'static str, handler: H) -> Route
where
    H: Handler<T, ApiState>,
    T: 'static,
{
    let filter = MethodFilter::try_from(method.clone()).expect("only ordinary methods stand in the table");
    Route { method, path, handler: on(filter, handler) }
}

fn json_routes() -> Vec<Route> {
    const ENDPOINT: &str = "/v1/endpoints/{name}";
    const MODULE: &str = "/v1/modules/{name}";
    const MODULE_ALIAS: &str = "/v1/modules/{name}/aliases/{alias}";
    const MODULE_LIMITS: &str = "/v1/modules/{name}/limits";
    const TASK: &str = "/v1/tasks/{name}";
    vec![
        route(Method::POST, "/v1/endpoints", endpoints::create),
        route(Method::GET, "/v1/endpoints", endpoints::list),
        route(Method::GET, ENDPOINT, endpoints::get),
        route(Method::PATCH, ENDPOINT, endpoints::patch),
        route(Method::DELETE, ENDPOINT, endpoints::delete),
        route(Method::POST, "/v1/endpoints/{name}/test", endpoints::test),
        route(Method::GET, "/v1/endpoints/{name}/tables", endpoints::tables),
        route(Method::GET, "/v1/modules", modules::list),
        route(Method::GET, MODULE, modules::get),
        route(Method::DELETE, MODULE, modules::delete),
        route(Method::POST, "/v1/modules/{name}/test", module_test::test),
        route(Method::GET, "/v1/contract", module_test::contract),
        route(Method::DELETE, "/v1/modules/{name}/versions/{version}", modules::delete_version),
        route(Method::PUT, MODULE_ALIAS, modules::put_alias),
        route(Method::DELETE, MODULE_ALIAS, modules::delete_alias),
        route(Method::GET, MODULE_LIMITS, modules::get_limits),
        route(Method::PUT, MODULE_LIMITS, modules::put_limits),
        route(Method::POST, "/v1/tasks", tasks::create),
        route(Method::GET, "/v1/tasks", tasks::list),
        route(Method::GET, TASK, tasks::get),
        route(Method::PATCH, TASK, tasks::patch),
        route(Method::DELETE, TASK, tasks::delete),
        route(Method::POST, "/v1/tasks/{name}/start", tasks::start),
        route(Method::POST, "/v1/tasks/{name}/stop", tasks::stop),
        route(Method::POST, "/v1/tasks/{name}/resume", tasks::resume),
        route(Method::POST, "/v1/tasks/{name}/reload", tasks::reload),
        route(Method::POST, "/v1/tasks/{name}/cut-over", tasks::cut_over),
        route(Method::POST, "/v1/tasks/{name}/check", tasks::check),
        route(Method::GET, "/v1/tasks/{name}/lag", tasks::lag),
        route(Method::GET, "/v1/tasks/{name}/history", history::get),
        route(Method::GET, "/v1/tasks/{name}/tables", tasks::tables),
        route(Method::POST, "/v1/tasks/{name}/tables/reload", tasks::reload_tables),
        route(Method::POST, "/v1/tasks/{name}/modules/{module}/swap", swap::swap),
        route(Method::GET, "/v1/tasks/{name}/errors", row_errors::list),
        route(Method::POST, "/v1/tasks/{name}/errors/replay", row_errors::replay),
        route(Method::GET, "/v1/tasks/{name}/events", events::of_task),
        route(Method::GET, "/v1/events", events::list),
    ]
}

/// For whoever runs the server.
fn operator_routes() -> Vec<Route> {
    vec![route(Method::GET, "/metrics", health::metrics)]
}

/// For everybody: none has anybody's data.
fn open_routes() -> Vec<Route> {
    vec![
        route(Method::GET, "/openapi.json", openapi),
        route(Method::GET, "/healthz", health::alive),
        route(Method::GET, "/readyz", health::ready),
    ]
}

fn module_routes() -> Vec<Route> {
    vec![route(Method::PUT, "/v1/modules/{name}", modules::put)]
}

/// Method and path of every native route, for comparison with the OpenAPI document.
pub fn listed_routes() -> Vec<(Method, &'static str)> {
    let all = [json_routes(), module_routes(), operator_routes(), open_routes()];
    all.into_iter().flatten().map(|route| (route.method, route.path)).collect()
}

/// All routes: the native ones, on `POST /` the DMS wire protocol, on `GET /` the console.
pub fn router(state: ApiState) -> Router {
    let json = from_fn_with_state(BodyBounds::json(), bounded_body);
    let uploads = from_fn_with_state(BodyBounds::modules(state.modules.upload_bytes_max), bounded_body);
    // What is added last comes first: nobody's body is read before the key is known, but for a signature, which is over it.
    let tenants = assembled(json_routes()).route_layer(json.clone()).merge(assembled(module_routes()).route_layer(uploads));
    let tenants = tenants.route_layer(from_fn_with_state(state.clone(), tenants_only));
    let operators = assembled(operator_routes()).route_layer(from_fn_with_state(state.clone(), operators_only));
    let others = assembled(open_routes()).merge(operators).merge(console::router()).with_state(state.clone());
    others
        .merge(dms::router(state.clone()))
        .route_layer(json)
        .merge(tenants.with_state(state.clone()))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        // The guard has already bounded what a handler may collect.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(state, loopback_only))
        .layer(from_fn(answer_headers))
}

fn assembled(routes: Vec<Route>) -> Router<ApiState> {
    routes.into_iter().fold(Router::new(), |router, route| router.route(route.path, route.handler))
}

async fn openapi() -> Response {
    let mut response = OPENAPI.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

async fn no_such_path() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "path_not_found", "there is nothing at this path").hint("GET /openapi.json lists every path")
}

async fn no_such_method() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this path does not take this method")
        .hint("GET /openapi.json lists every path with its methods")
}
