//! Targets of MySQL and MariaDB without room and set back, and a catalog that is gone: see `target`. Both servers' logs have what a target
//! that was set back lacks, until they discard it.

use std::path::Path;
use std::process::Command;

use serde_json::json;
use tidegate_harness::wait_for;

use crate::rig::{MARIADB_TO_MYSQL, MYSQL_TO_MARIADB, PATIENCE, Pair, Rig};

/// All tables lie in one file, which may not grow above this.
const OPTIONS: [&str; 2] = ["--innodb-file-per-table=OFF", "--innodb-data-file-path=ibdata1:12M:autoextend:max:48M"];

/// TG-039: the server's storage has no room, until somebody makes some.
async fn storage_is_full_for_a_while(rig: &Rig) {
    let mut session = rig.target.session().await;
    session.run("create table test.filler (b varchar(7000)) engine = InnoDB character set latin1").await.expect("there is room");
    let full = loop {
        // Where blobs no longer fit, MariaDB 11.8.9 ends the connection without an answer.
        if let Err(error) = session.run(&format!("insert into test.filler values {}", ["(repeat('f', 7000))"; 100].join(", "))).await {
            break error;
        }
    };
    assert!(full.contains("1114"), "{full}\n{}", rig.target.log());
    let before = rig.host.reconnects().await;
    let numbers = rig.source.series(1, 12_000);
    rig.source.sql(&format!("insert into ledger select 3, g, repeat('f', 300) from {numbers}")).await;
    wait_for("the task to try again", PATIENCE, async || {
        let task = rig.host.task().await;
        assert_eq!(task["status"], "running", "{task}\n{}", rig.host.process.log());
        let now = rig.host.reconnects().await;
        if now >= before + 2 { Ok(()) } else { Err(task["progress"].clone()) }
    })
    .await;
    assert!(rig.host.process.log().contains("server_resources"), "{}", rig.host.process.log());
    session.run("drop table test.filler").await.expect("the server is up");
    rig.wait_level(&rig.host).await;
    rig.assert_equal().await;
}

/// EO-012: everything that the host knew is gone; a task of that name, made anew, goes on where the target is.
async fn catalog_is_lost(rig: &mut Rig) {
    rig.host.stop_task().await;
    let loaded = "select concat(count(*), ' ', max(loaded_at)) from tidegate.chunk where task = 't'";
    let before = rig.target.value(loaded).await;
    rig.write_one(1, 1).await;
    rig.host = rig.another_host().await;
    rig.host.start_task().await;
    rig.wait_level(&rig.host).await;
    rig.assert_equal().await;
    assert_eq!(rig.target.value(loaded).await, before, "nothing was loaded again");
}

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    let done = Command::new("cp").arg("-a").args([from, to]).status().expect("cp runs");
    assert!(done.success(), "cp {} {}", from.display(), to.display());
}

/// TG-032, TG-033: a server of before takes the target's place. Its checkpoint is as old as its rows, so what it lacks is applied again,
/// or the task is refused when the source has it no more.
async fn is_set_back(rig: &mut Rig) {
    let data = rig.target.data_dir();
    let (older, newer) = (data.with_file_name("older"), data.with_file_name("newer"));
    rig.host.stop_task().await;
    rig.target.stop().await;
    copy(&data, &older);
    rig.target.restart().await;
    rig.host.start_task().await;
    let numbers = rig.source.series(1, 500);
    rig.source.sql(&format!("insert into ledger select 4, g, 'lost' from {numbers}")).await;
    rig.write_one(1, 2).await;
    rig.wait_level(&rig.host).await;

    rig.host.stop_task().await;
    rig.target.stop().await;
    copy(&older, &data);
    rig.target.restart().await;
    assert_eq!(rig.target.value("select count(*) from copy.ledger where writer = 4").await, "0");
    rig.host.start_task().await;
    rig.wait_level(&rig.host).await;
    rig.assert_equal().await;

    rig.host.stop_task().await;
    rig.target.stop().await;
    copy(&data, &newer);
    copy(&older, &data);
    rig.target.restart().await;
    rig.source.discard_log().await;
    rig.host.start_task().await;
    let failure = rig.host.wait_failed().await;
    assert_eq!(failure["code"], "position_lost", "{failure}");
    assert!(failure["hint"].as_str().is_some_and(|hint| hint.contains("load the task again")), "{failure}");
    assert_eq!(rig.target.value("select count(*) from copy.ledger where writer = 4").await, "0");

    rig.target.stop().await;
    copy(&newer, &data);
    rig.target.restart().await;
    rig.host.start_task().await;
    rig.wait_level(&rig.host).await;
    rig.assert_equal().await;
}

async fn is_full_then_forgotten_then_set_back(pair: Pair) {
    let mut rig = Rig::with(pair, &OPTIONS, 1_000, json!({})).await;
    rig.host.start_task().await;
    rig.host.wait_phase("replicating").await;
    storage_is_full_for_a_while(&rig).await;
    catalog_is_lost(&mut rig).await;
    is_set_back(&mut rig).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_mariadb_a_lost_catalog_and_a_target_that_was_set_back_change_nothing() {
    is_full_then_forgotten_then_set_back(MYSQL_TO_MARIADB).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_mysql_a_lost_catalog_and_a_target_that_was_set_back_change_nothing() {
    is_full_then_forgotten_then_set_back(MARIADB_TO_MYSQL).await;
}
