//! A tenant of a running server, with a key of its own.

use serde_json::Value;

use crate::process::{Answer, Body, Tidegate, exchange_with_key, tidegate};

/// A tenant and its bearer key.
#[derive(Debug, Clone)]
pub struct Tenant {
    url: String,
    key: String,
}

impl Tenant {
    /// Creates a tenant with these quotas (`--units`, `4`) on the server's data directory and makes it a key. The default
    /// tenant is there already.
    pub async fn create(host: &Tidegate, name: &str, quotas: &[&str]) -> Tenant {
        if name != "default" {
            command(host, &[&["tenant", "create", name], quotas].concat()).await;
        }
        Tenant { url: host.url(), key: command(host, &["tenant", "key", name]).await.trim().to_owned() }
    }

    /// The operator, who has a key of no tenant.
    pub async fn operator(host: &Tidegate) -> Tenant {
        Tenant { url: host.url(), key: command(host, &["tenant", "key", "--operator"]).await.trim().to_owned() }
    }

    /// The key.
    pub fn key(&self) -> &str {
        &self.key
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

    /// `PUT path` with bytes.
    pub async fn put_bytes(&self, path: &str, bytes: Vec<u8>) -> Answer {
        self.request("PUT", path, Some(Body::Bytes(bytes))).await
    }

    /// `DELETE path`.
    pub async fn delete(&self, path: &str) -> Answer {
        self.request("DELETE", path, None).await
    }

    async fn request(&self, method: &str, path: &str, body: Option<Body>) -> Answer {
        let answer = exchange_with_key(method, &format!("{}{path}", self.url), Some(&self.key), body).await;
        answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }
}

/// Standard output of a command of the operator's on the server's data directory; panics with what it said when it fails.
pub async fn command(host: &Tidegate, words: &[&str]) -> String {
    let dir = host.data_dir().to_str().expect("a directory of a test has a plain name");
    let output = tidegate(&[words, &["--data-dir", dir]].concat()).await;
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
