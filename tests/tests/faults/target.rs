//! A target without room, a target that was set back, and a catalog that is gone: what stands in the target decides, and
//! nothing is lost or doubled.

use std::time::Duration;

use serde_json::json;
use tidegate_harness::wait_for;

use crate::rig::{PATIENCE, Rig};

/// TG-032, TG-039, EO-012.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_target_a_lost_catalog_and_a_target_that_was_set_back_change_nothing() {
    let mut rig = Rig::replicating(1_000, json!({})).await;
    let writers = rig.write(1, Duration::from_millis(50));

    // The server's error for a full disk, until somebody makes room: the task waits and goes on by itself.
    rig.target
        .sql(
            "create function copy.full() returns trigger language plpgsql as
                 'begin raise exception ''could not extend file'' using errcode = ''disk_full''; end';
             create trigger disk before insert on copy.ledger for each row execute function copy.full();
             alter table copy.ledger enable always trigger disk",
        )
        .await;
    let before = rig.host.reconnects().await;
    wait_for("the task to try again", PATIENCE, async || {
        let task = rig.host.task().await;
        assert_eq!(task["status"], "running", "{task}");
        let now = rig.host.reconnects().await;
        if now >= before + 3 { Ok(()) } else { Err(task["progress"].clone()) }
    })
    .await;
    assert!(rig.host.task().await.to_string().contains("server_resources") || rig.host.process.log().contains("server_resources"));
    rig.target.sql("drop trigger disk on copy.ledger").await;
    rig.wait_level(&rig.host).await;

    // Everything that the host knew is gone; a task of that name, made anew, goes on where the target is.
    println!("{} transactions", writers.stop().await);
    rig.wait_level(&rig.host).await;
    rig.host.stop_task().await;
    let loaded = "select max(xmin::text::bigint) from copy.fill";
    let age = rig.target.value(loaded).await;
    rig.source.sql("insert into ledger values (1, 1, 'while nobody knew of the task')").await;
    rig.host = rig.another_host().await;
    rig.host.start_task().await;
    rig.wait_level(&rig.host).await;
    rig.assert_equal().await;
    assert_eq!(rig.target.value(loaded).await, age, "nothing was loaded again");

    // A standby of the target that lacks its last commits takes its place: its checkpoint is as old as its rows, and the
    // source does not have the log from there any more.
    rig.host.stop_task().await;
    in_place_of(&rig, "create database older template postgres").await;
    let older = rig.checkpoint().await.replace("postgres:", "");
    rig.host.start_task().await;
    rig.source.sql("insert into ledger values (1, 2, 'lost')").await;
    rig.wait_level(&rig.host).await;
    let told = format!("select confirmed_flush_lsn > '{older}' from pg_replication_slots where slot_name like 'tidegate_t%'");
    wait_for("the source to be told", PATIENCE, async || {
        let found = rig.source.value(&told).await;
        if found == "t" { Ok(()) } else { Err(found) }
    })
    .await;
    rig.host.stop_task().await;
    in_place_of(&rig, "alter database postgres rename to newer").await;
    in_place_of(&rig, "alter database older rename to postgres").await;
    rig.host.start_task().await;
    let failure = rig.host.wait_failed().await;
    assert_eq!(failure["code"], "position_lost", "{failure}");
    assert!(failure["hint"].as_str().is_some_and(|hint| hint.contains("reload")), "{failure}");
    assert_eq!(rig.target.value("select count(*) from copy.ledger where entry = 2").await, "0");
    in_place_of(&rig, "alter database postgres rename to older").await;
    in_place_of(&rig, "alter database newer rename to postgres").await;
    rig.host.start_task().await;
    rig.wait_level(&rig.host).await;
    rig.assert_equal().await;

    a_password_is_rotated(&rig).await;
    a_certificate_is_rotated(&rig).await;
}

/// PG-110: sessions that are open go on, new ones are refused by name, and the new password goes on where the old one was.
async fn a_password_is_rotated(rig: &Rig) {
    rig.host.stop_task().await;
    rig.source
        .sql("set password_encryption = 'scram-sha-256'; create role rotated superuser login replication password 'canary-one'")
        .await;
    let path = rig.source.data_dir().join("pg_hba.conf");
    let rest = std::fs::read_to_string(&path).expect("the file can be read");
    std::fs::write(&path, format!("host all rotated 127.0.0.1/32 scram-sha-256\n{rest}")).expect("the file can be written");
    rig.source.sql("select pg_reload_conf()").await;
    rig.host.process.patch("/v1/endpoints/source", &json!({"username": "rotated", "password": "canary-one"})).await.ok();
    rig.host.start_task().await;
    rig.wait_level(&rig.host).await;
    rig.source
        .sql("alter role rotated password 'canary-two'; select pg_terminate_backend(pid) from pg_stat_activity where usename = 'rotated'")
        .await;
    rig.source.sql("insert into ledger values (1, 3, 'while nobody may log in')").await;
    let failure = rig.host.wait_failed().await;
    assert_eq!(failure["code"], "password_refused", "{failure}");
    assert!(failure["hint"].as_str().is_some_and(|hint| hint.contains("password")), "{failure}");
    rig.host.process.patch("/v1/endpoints/source", &json!({"password": "canary-two"})).await.ok();
    rig.host.start_task().await;
    rig.wait_level(&rig.host).await;
    rig.assert_equal().await;
    assert!(!rig.host.process.log().contains("canary"), "a password is in the log");
}

/// PG-110: a certificate of an authority that the endpoint does not trust is refused by name, and the endpoint's new one goes on.
async fn a_certificate_is_rotated(rig: &Rig) {
    rig.host.stop_task().await;
    let old = rig.source.postgres().certify();
    rig.source.sql("alter system set ssl = on").await;
    rig.source.sql("select pg_reload_conf()").await;
    let encrypted = async |wanted: &str| {
        let sql = "select count(*) > 0 and bool_and(ssl) from pg_stat_ssl join pg_stat_activity using (pid) where usename = 'rotated'";
        assert_eq!(rig.source.value(sql).await, wanted);
    };
    let trust = async |pem: &str| {
        let tls = json!({"tls": {"mode": "verify-full", "authorities_pem": pem}});
        rig.host.process.patch("/v1/endpoints/source", &tls).await.ok();
        rig.host.start_task().await;
    };
    trust(&old).await;
    rig.wait_level(&rig.host).await;
    encrypted("t").await;

    let new = rig.source.postgres().certify();
    rig.source.sql("select pg_reload_conf()").await;
    // Sessions that are open go on with the certificate that they began with.
    rig.source.sql("insert into ledger values (1, 4, 'on the old one')").await;
    rig.wait_level(&rig.host).await;
    rig.source.sql("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'rotated'").await;
    rig.source.sql("insert into ledger values (1, 5, 'while the new one is not trusted')").await;
    let failure = rig.host.wait_failed().await;
    assert_eq!(failure["code"], "certificate_refused", "{failure}");
    assert!(failure["hint"].as_str().is_some_and(|hint| hint.contains("authority")), "{failure}");
    trust(&new).await;
    rig.wait_level(&rig.host).await;
    encrypted("t").await;
    rig.assert_equal().await;
}

/// Runs a statement about the target's database, which nobody may be connected to.
async fn in_place_of(rig: &Rig, statement: &str) {
    let client = rig.target.postgres().client_for("template1").await;
    wait_for(statement, PATIENCE, async || client.batch_execute(statement).await.map_err(|error| format!("{error:?}"))).await;
}
