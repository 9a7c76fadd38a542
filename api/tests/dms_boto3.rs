//! An unmodified boto3 drives the main job over TCP, with a fake host behind the catalog.
//!
//! The script checks every answer against botocore's model of the service on the way.

mod dms_host;

use std::path::{Path, PathBuf};

use dms_host::FakeHost;
use tokio::process::Command;

#[tokio::test(flavor = "multi_thread")]
async fn boto3_drives_the_main_job() {
    let python = python_with_boto3().await;
    let host = FakeHost::start().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(axum::serve(listener, tidegate_api::router(host.state.clone())).into_future());

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dms_boto3.py");
    let arguments = "--source-engine mariadb --source-host db.test --source-port 3306 --source-user repl --source-password canary-4711 \
        --target-host lake.test --target-port 5432 --target-user repl --target-password canary-4712 --target-database lake \
        --schema shop --rename-schema copy --expect customers=40 --expect orders=100 --reload orders --provisioned --timeout 60";
    let output = Command::new(python).arg(script).args(["--url", &url]).args(arguments.split_whitespace()).kill_on_drop(true).output();
    let output = output.await.unwrap();
    server.abort();

    let talk = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {talk}", output.status);
    assert!(talk.contains("answers of 40 operations fit the model"), "{talk}");
}

/// `TIDEGATE_PYTHON`, else the project's own environment, else the system's Python: the first that has boto3.
async fn python_with_boto3() -> PathBuf {
    let chosen = std::env::var_os("TIDEGATE_PYTHON").map(PathBuf::from);
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/venv/bin/python");
    for python in chosen.into_iter().chain([own, PathBuf::from("python3")]) {
        let found = Command::new(&python).args(["-c", "import boto3"]).output().await;
        if found.is_ok_and(|output| output.status.success()) {
            return python;
        }
    }
    panic!("no Python with boto3: run `cargo xtask setup`, or set TIDEGATE_PYTHON to one");
}
