//! Health, metrics, and the server around the router, over real sockets.

use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::Api;

#[tokio::test]
async fn readiness_follows_host_and_catalog() {
    let api = Api::new().await;
    api.get("/healthz").await.expect(StatusCode::OK);
    api.get("/readyz").await.expect(StatusCode::OK);
    api.ready.store(false, Ordering::Release);
    let problem = api.get("/readyz").await.expect_problem(StatusCode::SERVICE_UNAVAILABLE, "not_ready");
    assert_eq!(problem.json["object"], "scheduler");
    api.ready.store(true, Ordering::Release);
    api.catalog.close().await;
    let problem = api.get("/readyz").await.expect_problem(StatusCode::SERVICE_UNAVAILABLE, "not_ready");
    assert_eq!(problem.json["object"], "catalog");
    api.get("/v1/tasks").await.expect_problem(StatusCode::INTERNAL_SERVER_ERROR, "catalog_failed");
    api.get("/healthz").await.expect(StatusCode::OK);
}

#[tokio::test]
async fn metrics_are_prometheus_text() {
    let answer = Api::new().await.get("/metrics").await.expect(StatusCode::OK);
    assert!(answer.content_type.starts_with("text/plain; version=0.0.4"));
}

async fn talk(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut answer)).await.unwrap().unwrap();
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

#[tokio::test]
async fn server_answers_bounds_heads_and_stops() {
    let api = Api::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    let server = tokio::spawn(tidegate_api::serve(listener, api.router.clone(), stopped));

    let mut kept = TcpStream::connect(address).await.unwrap();
    for _ in 0..2 {
        let answer = talk(&mut kept, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("x-content-type-options: nosniff"), "{answer}");
    }
    let many: String = (0..1_000).map(|index| format!("x-{index}: y\r\n")).collect();
    let mut greedy = TcpStream::connect(address).await.unwrap();
    let answer = talk(&mut greedy, &format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{many}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");

    // A body that never comes does not keep the server from stopping.
    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(b"POST /v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{")
        .await
        .unwrap();
    stop.send(true).unwrap();
    tokio::time::timeout(Duration::from_secs(10), server).await.expect("the server stops").unwrap();
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn one_address_cannot_take_all_connections() {
    let api = Api::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (_stop, stopped) = watch::channel(false);
    tokio::spawn(tidegate_api::serve(listener, api.router.clone(), stopped));
    let mut idle = Vec::new();
    for _ in 0..256 {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    let mut last = TcpStream::connect(address).await.unwrap();
    let mut byte = [0];
    let read = tokio::time::timeout(Duration::from_secs(10), last.read(&mut byte)).await.expect("refused at once");
    assert!(matches!(read, Ok(0) | Err(_)), "the connection was closed, not served");
    let answer = talk(&mut idle[0], "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn head_that_does_not_arrive_costs_its_connection() {
    let api = Api::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (_stop, stopped) = watch::channel(false);
    tokio::spawn(tidegate_api::serve(listener, api.router.clone(), stopped));
    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n").await.unwrap();
    let mut answer = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(20), slow.read_to_end(&mut answer)).await;
    assert!(ended.is_ok(), "the server closed the connection by itself");
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
}
