//! Aliases, limits and single versions of modules: what they point to, and who keeps them from being deleted.

#![allow(clippy::unwrap_used, reason = "a test stops where its setup fails")]

mod support;

use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_catalog::{
    Catalog, CatalogError, ModuleLimits, ModuleState, ModuleVersion, Role, TASK_PINS, TASK_PINS_BEFORE, TaskDefinition,
};

use support::endpoint;

async fn catalog(dir: &TempDir) -> Catalog {
    let catalog = Catalog::open(dir.path()).await.unwrap();
    for (name, role) in [("left", Role::Source), ("right", Role::Target)] {
        catalog.create_endpoint(&endpoint(name, role)).await.unwrap();
    }
    catalog
}

/// Uploads bytes that the host finds good; their digest.
async fn ready(catalog: &Catalog, bytes: &[u8]) -> String {
    let record = catalog.put_module("mask", bytes.to_vec()).await.unwrap();
    catalog.set_module_state(&record.digest, &ModuleState::Ready, &Value::Null).await.unwrap();
    record.digest
}

fn task(name: &str, version: &str) -> TaskDefinition {
    let rules = json!({ "rules": [{ "rule-type": "module", "module": "mask", "version": version }] });
    TaskDefinition { table_mappings: rules.to_string(), ..support::task(name) }
}

fn in_use_by(result: Result<(), CatalogError>) -> String {
    match result {
        Err(CatalogError::InUse { by, .. }) => by,
        other => panic!("wanted a refusal because of its use, found {other:?}"),
    }
}

#[tokio::test]
async fn an_alias_moves_from_version_to_version() {
    let dir = TempDir::new().unwrap();
    let catalog = catalog(&dir).await;
    let (one, two) = (ready(&catalog, b"one").await, ready(&catalog, b"two").await);
    let stable = ModuleVersion::new("stable");
    assert!(matches!(catalog.get_module("mask", &stable).await, Err(CatalogError::NotFound { kind: "module alias", .. })));
    catalog.put_module_alias("mask", "stable", &ModuleVersion::new(&one)).await.unwrap();
    assert_eq!(catalog.get_module("mask", &stable).await.unwrap().digest, one);
    catalog.put_module_alias("mask", "stable", &ModuleVersion::Latest).await.unwrap();
    catalog.put_module_alias("mask", "canary", &stable).await.unwrap();
    assert_eq!(catalog.get_module("mask", &ModuleVersion::new("canary")).await.unwrap().digest, two);
    let aliases = catalog.module_aliases("mask").await.unwrap();
    assert_eq!(aliases.iter().map(|alias| alias.alias.as_str()).collect::<Vec<_>>(), ["canary", "stable"]);
    catalog.delete_module_alias("mask", "canary").await.unwrap();
    assert!(matches!(catalog.delete_module_alias("mask", "canary").await, Err(CatalogError::NotFound { .. })));
}

#[tokio::test]
async fn an_alias_points_only_to_versions_that_are_ready() {
    let dir = TempDir::new().unwrap();
    let catalog = catalog(&dir).await;
    let pending = catalog.put_module("mask", b"one".to_vec()).await.unwrap().digest;
    let point = |version: String| {
        let catalog = catalog.clone();
        async move { catalog.put_module_alias("mask", "stable", &ModuleVersion::new(&version)).await }
    };
    assert!(matches!(point(pending.clone()).await, Err(CatalogError::Conflict { found, .. }) if found == "pending"));
    let rejected = ModuleState::Rejected { message: "no".to_owned(), hint: None };
    catalog.set_module_state(&pending, &rejected, &Value::Null).await.unwrap();
    assert!(matches!(point(pending).await, Err(CatalogError::Conflict { found, .. }) if found == "rejected"));
    assert!(matches!(point("other".to_owned()).await, Err(CatalogError::NotFound { .. })));
}

#[tokio::test]
async fn a_task_names_only_versions_and_aliases_that_exist() {
    let dir = TempDir::new().unwrap();
    let catalog = catalog(&dir).await;
    let digest = ready(&catalog, b"one").await;
    let other = format!("sha256:{}", "0".repeat(64));
    assert!(matches!(catalog.create_task(&task("a", &other)).await, Err(CatalogError::NotFound { kind: "module version", .. })));
    assert!(matches!(catalog.create_task(&task("a", "stable")).await, Err(CatalogError::NotFound { kind: "module alias", .. })));
    catalog.put_module_alias("mask", "stable", &ModuleVersion::Latest).await.unwrap();
    catalog.create_task(&task("a", "stable")).await.unwrap();
    catalog.create_task(&task("b", &digest)).await.unwrap();
}

#[tokio::test]
async fn what_is_used_is_not_deleted_and_the_refusal_says_by_whom() {
    let dir = TempDir::new().unwrap();
    let catalog = catalog(&dir).await;
    let (one, two, three) = (ready(&catalog, b"one").await, ready(&catalog, b"two").await, ready(&catalog, b"three").await);
    catalog.put_module_alias("mask", "stable", &ModuleVersion::new(&one)).await.unwrap();
    assert_eq!(in_use_by(catalog.delete_module_version("mask", &one).await), "alias \"stable\"");

    catalog.create_task(&task("by-alias", "stable")).await.unwrap();
    assert_eq!(in_use_by(catalog.delete_module_alias("mask", "stable").await), "task \"by-alias\"");
    catalog.create_task(&task("by-digest", &two)).await.unwrap();
    assert_eq!(in_use_by(catalog.delete_module_version("mask", &two).await), "task \"by-digest\"");
    catalog.create_task(&task("by-latest", "latest")).await.unwrap();
    assert_eq!(in_use_by(catalog.delete_module_version("mask", &three).await), "task \"by-latest\"");

    // A task that runs keeps the version that it began with, whatever is the latest now.
    catalog.put_resource(TASK_PINS, "by-latest", "by-latest", &json!({ "mask": three })).await.unwrap();
    let four = ready(&catalog, b"four").await;
    assert_eq!(in_use_by(catalog.delete_module_version("mask", &three).await), "task \"by-latest\"");
    catalog.delete_module_version("mask", &four).await.unwrap();
    assert!(matches!(catalog.delete_module_version("mask", &four).await, Err(CatalogError::NotFound { .. })));
    assert!(matches!(catalog.module_bytes(&four).await, Err(CatalogError::NotFound { .. })));
    assert!(catalog.module_bytes(&three).await.is_ok());
}

#[tokio::test]
async fn a_version_that_a_task_may_go_back_to_is_not_deleted() {
    let dir = TempDir::new().unwrap();
    let catalog = catalog(&dir).await;
    let (one, two) = (ready(&catalog, b"one").await, ready(&catalog, b"two").await);
    catalog.create_task(&task("swapped", "latest")).await.unwrap();
    catalog.put_resource(TASK_PINS, "swapped", "swapped", &json!({ "pins": { "mask": two } })).await.unwrap();
    catalog.put_resource(TASK_PINS_BEFORE, "swapped", "swapped", &json!({ "mask": { "mask": one } })).await.unwrap();
    assert_eq!(in_use_by(catalog.delete_module_version("mask", &one).await), "task \"swapped\"");
    catalog.delete_resource(TASK_PINS_BEFORE, "swapped").await.unwrap();
    catalog.delete_module_version("mask", &one).await.unwrap();
}

#[tokio::test]
async fn the_last_version_takes_the_module_with_it() {
    let dir = TempDir::new().unwrap();
    let catalog = catalog(&dir).await;
    let digest = ready(&catalog, b"one").await;
    catalog.put_module("other", b"one".to_vec()).await.unwrap();
    catalog.put_module_limits("mask", &ModuleLimits { memory_mib: Some(8), ..ModuleLimits::default() }).await.unwrap();
    catalog.delete_module_version("mask", &digest).await.unwrap();
    assert!(matches!(catalog.module_versions("mask").await, Err(CatalogError::NotFound { kind: "module", .. })));
    assert_eq!(catalog.module_limits("mask").await.unwrap(), ModuleLimits::default());
    // Another module has the same bytes.
    assert_eq!(catalog.module_bytes(&digest).await.unwrap(), b"one");
}

#[tokio::test]
async fn limits_are_replaced_as_a_whole_and_go_with_the_module() {
    let dir = TempDir::new().unwrap();
    let catalog = catalog(&dir).await;
    let limits = ModuleLimits { memory_mib: Some(8), row_cpu_us: Some(5), ..ModuleLimits::default() };
    assert!(matches!(catalog.put_module_limits("mask", &limits).await, Err(CatalogError::NotFound { .. })));
    ready(&catalog, b"one").await;
    assert_eq!(catalog.module_limits("mask").await.unwrap(), ModuleLimits::default());
    catalog.put_module_limits("mask", &limits).await.unwrap();
    catalog.put_module_limits("mask", &ModuleLimits { instances: Some(2), ..ModuleLimits::default() }).await.unwrap();
    assert_eq!(catalog.module_limits("mask").await.unwrap(), ModuleLimits { instances: Some(2), ..ModuleLimits::default() });
    catalog.put_module_alias("mask", "stable", &ModuleVersion::Latest).await.unwrap();
    catalog.delete_module("mask").await.unwrap();
    assert_eq!(catalog.module_aliases("mask").await.unwrap(), []);
    ready(&catalog, b"two").await;
    assert_eq!(catalog.module_limits("mask").await.unwrap(), ModuleLimits::default());
}
