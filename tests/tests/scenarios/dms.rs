//! An unmodified boto3 drives the main job over the AWS DMS wire protocol, with real databases behind it.

use std::path::PathBuf;

use tidegate_harness::process::root_dir;
use tidegate_harness::{MysqlFlavour, PostgresVersion};
use tokio::process::Command;

use crate::world::{Source, World};

/// The Python that has boto3: the one named by `TIDEGATE_PYTHON`, the project's own, or the system's.
pub(crate) async fn python() -> PathBuf {
    let named = std::env::var_os("TIDEGATE_PYTHON").map(PathBuf::from);
    for python in named.into_iter().chain([root_dir().join("target/venv/bin/python"), PathBuf::from("python3")]) {
        let found = Command::new(&python).args(["-c", "import boto3"]).output().await;
        if found.is_ok_and(|output| output.status.success()) {
            return python;
        }
    }
    panic!("no Python with boto3; install it with: cargo xtask setup");
}

async fn boto3_drives_the_main_job(source: Source, source_arguments: &[&str], schema: &str, change: String) {
    let world = World::start(source, PostgresVersion::V17).await;
    world.source_sql("create table orders (id integer primary key, note varchar(50))").await;
    world.source_sql("insert into orders values (1, 'one'), (2, 'two'), (3, 'three')").await;
    let target_port = world.target.port().to_string();
    let url = world.host.url();
    let script = root_dir().join("api/tests/dms_boto3.py");
    let output = Command::new(python().await)
        .arg(script)
        .args(["--url", &url, "--schema", schema, "--rename-schema", "copy", "--expect", "orders=3", "--reload", "orders"])
        .args(["--while-running", &change])
        .args([
            "--target-port",
            &target_port,
            "--target-user",
            "postgres",
            "--target-password",
            "canary-target",
            "--target-database",
            "postgres",
        ])
        .args(source_arguments)
        .kill_on_drop(true)
        .output()
        .await
        .expect("python starts");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{}", world.host.log());
    assert_eq!(world.target_row("select count(*) from orders").await, ["3"]);
    assert!(!world.host.log().contains("canary-target"), "the password is in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn boto3_drives_the_main_job_from_postgres() {
    let source = Source::postgres(PostgresVersion::V15).await;
    let port = source.port().to_string();
    let change = format!("psql -X -q -h 127.0.0.1 -p {port} -U postgres -c \"update orders set note = 'changed' where id = 1\"");
    let arguments =
        ["--source-port", &port, "--source-user", "postgres", "--source-password", "canary-source", "--source-database", "postgres"];
    boto3_drives_the_main_job(source, &arguments, "public", change).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn boto3_drives_the_main_job_from_mariadb() {
    let source = Source::mysql(MysqlFlavour::Mariadb1011).await;
    let port = source.port().to_string();
    let arguments = ["--source-engine", "mariadb", "--source-port", &port, "--source-user", "repl", "--source-password", "repl"];
    boto3_drives_the_main_job(source, &arguments, "test", "true".to_owned()).await;
}
