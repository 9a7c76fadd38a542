//! The console's files; what it looks like is tested in a browser (`tests/tests/console`).

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use tower::ServiceExt;

use crate::Api;

#[tokio::test]
async fn console_is_served_with_a_strict_policy() {
    let api = Api::new().await;
    for (path, kind) in [("/", "text/html"), ("/console/main.js", "text/javascript"), ("/console/base.css", "text/css")] {
        let response = api.router.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        let header = |name| response.headers()[name].to_str().unwrap().to_owned();
        assert!(header(header::CONTENT_TYPE).starts_with(kind), "{path}");
        let policy = header(header::CONTENT_SECURITY_POLICY);
        assert!(policy.starts_with("default-src 'none'; script-src 'self';") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(header(header::X_CONTENT_TYPE_OPTIONS), "nosniff");
        let known = Request::get(path).header(header::IF_NONE_MATCH, header(header::ETAG)).body(Body::empty()).unwrap();
        assert_eq!(api.router.clone().oneshot(known).await.unwrap().status(), StatusCode::NOT_MODIFIED, "{path}");
    }
    api.get("/console/nothing.js").await.expect_problem(StatusCode::NOT_FOUND, "path_not_found");
    api.get("/console/..%2Fopenapi.json").await.expect_problem(StatusCode::NOT_FOUND, "path_not_found");
}

#[tokio::test]
async fn console_leaves_the_dms_protocol_its_path() {
    let api = Api::new().await;
    let request = Request::post("/").header("x-amz-target", "AmazonDMSv20160101.DescribeEndpoints").body(Body::from("{}")).unwrap();
    let answer = api.request(request).await.expect(StatusCode::OK);
    assert_eq!(answer.content_type, "application/x-amz-json-1.1");
    api.bare(Method::PUT, "/").await.expect_problem(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed");
}
