//! Many tasks at once: leases renewed together, changes read since the last look, numbers that are told and not stored.

#![allow(clippy::unwrap_used, reason = "a test stops where its setup fails")]

mod support;

use std::path::Path;

use tempfile::TempDir;
use tidegate_catalog::{Catalog, Cleanup, HeldLease, Lease, Role, StartKind, StopReason, TaskProgress, TaskRecord, TaskStatus, now_us};
use tidegate_model::TenantId;

use support::{endpoint, task};

async fn with_task(dir: &Path) -> Catalog {
    let catalog = Catalog::open(dir).await.unwrap();
    catalog.create_endpoint(&endpoint("left", Role::Source)).await.unwrap();
    catalog.create_endpoint(&endpoint("right", Role::Target)).await.unwrap();
    catalog.create_task(&task("orders")).await.unwrap();
    catalog
}

#[tokio::test]
async fn of_many_leases_those_that_were_lost_are_told() {
    let dir = TempDir::new().unwrap();
    let catalog = with_task(dir.path()).await;
    let (soon, later) = (now_us() - 1, now_us() + 60_000_000);
    let mut held = Vec::new();
    for number in 0..50 {
        let name = format!("t{number}");
        catalog.create_task(&task(&name)).await.unwrap();
        let generation = catalog.acquire_lease(&name, "a", soon).await.unwrap().unwrap();
        held.push(HeldLease { tenant: TenantId::default(), task: name, generation });
    }
    catalog.acquire_lease("t7", "b", later).await.unwrap().expect("it ran out");
    catalog.request_delete("t9", Cleanup::BestEffort).await.unwrap();
    catalog.remove_task("t9").await.unwrap();

    let mut lost = catalog.renew_leases("a", &held, later).await.unwrap();

    lost.sort_by_key(|lease| lease.task.clone());
    assert_eq!(lost, [held[7].clone(), held[9].clone()]);
    held.retain(|lease| !lost.contains(lease));
    assert_eq!(catalog.renew_leases("a", &held, later).await.unwrap(), []);
    for lease in &held {
        assert_eq!(catalog.acquire_lease(&lease.task, "b", later).await.unwrap(), None, "{} was renewed", lease.task);
    }
}

#[tokio::test]
async fn the_host_reads_each_change_once_and_neither_progress_nor_renewals() {
    let dir = TempDir::new().unwrap();
    let catalog = with_task(dir.path()).await;
    catalog.create_task(&task("stock")).await.unwrap();
    let names = |records: &[TaskRecord]| records.iter().map(|record| record.definition.name.to_string()).collect::<Vec<_>>();
    let (all, seen) = catalog.changed_tasks(0).await.unwrap();
    assert_eq!(names(&all), ["orders", "stock"]);
    let generation = catalog.acquire_lease("orders", "a", now_us() + 60_000_000).await.unwrap().unwrap();
    catalog.request_start("stock", StartKind::Start).await.unwrap();
    catalog.request_start("orders", StartKind::Start).await.unwrap();
    let (changed, seen) = {
        let (changed, next) = catalog.changed_tasks(seen).await.unwrap();
        assert!(next > seen);
        (changed, next)
    };
    assert_eq!(names(&changed), ["stock", "orders"], "each once, the latest change last");
    assert_eq!(changed[1].lease.owner.as_deref(), Some("a"));

    catalog.set_progress("orders", &TaskProgress::default()).await.unwrap();
    catalog
        .renew_leases("a", &[HeldLease { tenant: TenantId::default(), task: "orders".into(), generation }], now_us() + 60_000_000)
        .await
        .unwrap();
    assert_eq!(catalog.changed_tasks(seen).await.unwrap(), (Vec::new(), seen));

    // The number of a task that is gone is not given again.
    catalog.request_stop("orders").await.unwrap();
    catalog.set_status("orders", &TaskStatus::Stopped { reason: StopReason::Requested }).await.unwrap();
    catalog.request_delete("orders", Cleanup::BestEffort).await.unwrap();
    let (_, seen) = catalog.changed_tasks(seen).await.unwrap();
    catalog.remove_task("orders").await.unwrap();
    catalog.create_task(&task("orders")).await.unwrap();
    let (changed, _) = catalog.changed_tasks(seen).await.unwrap();
    assert_eq!(names(&changed), ["orders"]);
    assert_eq!(changed[0].lease, Lease::default());
}

#[tokio::test]
async fn readers_get_the_numbers_that_were_told_last() {
    let dir = TempDir::new().unwrap();
    let catalog = with_task(dir.path()).await;
    let at = |at_us, rows_loaded| TaskProgress { at_us, rows_loaded, rows_per_second: 5.0, ..TaskProgress::default() };
    catalog.tell_progress("orders", at(1, 1));
    assert_eq!(catalog.get_task("orders").await.unwrap().progress, None, "nothing is stored yet");
    catalog.set_progress("orders", &at(2, 2)).await.unwrap();
    catalog.tell_progress("orders", at(3, 3));
    assert_eq!(catalog.get_task("orders").await.unwrap().progress, Some(at(3, 3)));
    let rest = |at_us| Some(TaskProgress { rows_per_second: 0.0, ..at(at_us, 3) });
    let told = async || catalog.list_tasks().await.unwrap()[0].progress.clone();
    catalog.tell_rests(8);
    assert_eq!(told().await, Some(at(3, 3)), "it does not rest");
    catalog.begin_rest("orders");
    catalog.tell_rests(9);
    assert_eq!(told().await, rest(9));
    catalog.end_rest("orders");
    catalog.tell_rests(10);
    assert_eq!(told().await, rest(9));
    // A new run begins with nothing.
    catalog.request_start("orders", StartKind::Start).await.unwrap();
    assert_eq!(catalog.get_task("orders").await.unwrap().progress, None);
    catalog.close().await;
    let stored = Catalog::open(dir.path()).await.unwrap().get_task("orders").await.unwrap();
    assert_eq!(stored.progress, None);
}
