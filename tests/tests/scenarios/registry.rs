//! The registry of modules over HTTP, with the real compiler behind it.

use std::fs::File;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tidegate_harness::process::root_dir;
use tidegate_harness::upload::{importing, with_tables_beside};
use tidegate_harness::{Tidegate, wait_for};

fn guest(name: &str) -> Vec<u8> {
    std::fs::read(root_dir().join(format!("target/guests/{name}.wasm"))).expect("the guests are built; run cargo xtask guests")
}

async fn refused(host: &Tidegate, bytes: Vec<u8>, status: u16, code: &str) -> Value {
    let answer = host.put_bytes("/v1/modules/refused", bytes).await;
    assert_eq!((answer.status, answer.body["code"].as_str()), (status, Some(code)), "{}", answer.body);
    answer.body
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_uploads_say_what_to_do_and_good_ones_get_names_and_limits() {
    let mut host = Tidegate::serve_in_own_dir().await;

    let problem = refused(&host, importing(&["wasi:sockets/tcp@0.2.0", "wasi:filesystem/types@0.2.0"]), 422, "module_rejected").await;
    let (detail, hint) = (problem["detail"].as_str().unwrap_or_default(), problem["hint"].as_str().unwrap_or_default());
    assert!(detail.contains("\"wasi:filesystem/types@0.2.0\", \"wasi:sockets/tcp@0.2.0\""), "{detail}");
    assert!(hint.contains("wasm32-wasip2"), "{hint}");
    let problem = refused(&host, b"\0asm\x01\0\0\0".to_vec(), 422, "module_rejected").await;
    assert!(problem["hint"].as_str().is_some_and(|hint| hint.contains("wasm-tools component new")), "{problem}");
    assert_eq!(host.get("/v1/modules/refused").await.ok()["latest"], Value::Null);
    // The server hangs up on what it will not read; either way nothing is stored.
    let huge = host.try_put_bytes("/v1/modules/huge", vec![0; 100 << 20]).await;
    assert!(huge.is_none_or(|answer| answer.status == 413));
    assert_eq!(host.get("/v1/modules/huge").await.status, 404);

    let first = host.put_bytes("/v1/modules/mask", guest("mask-email")).await.ok();
    assert_eq!((&first["state"], &first["info"]["name"]), (&json!("ready"), &json!("tidegate-mask-email")));
    host.put("/v1/modules/mask/aliases/stable", &json!({"version": first["digest"]})).await.ok();
    // Off the request's path: the answer does not wait for the compiler.
    let second = host.put_bytes("/v1/modules/mask?wait_seconds=0", guest("hostile")).await;
    assert!(matches!(second.status, 201 | 202), "{}", second.body);
    wait_for("the verdict", Duration::from_secs(120), async || {
        let module = host.get("/v1/modules/mask").await.ok();
        let newest = &module["versions"][0];
        if newest["state"] == "ready" && newest["digest"] == second.body["digest"] { Ok(()) } else { Err(module) }
    })
    .await;
    let module = host.get("/v1/modules/mask").await.ok();
    assert_eq!((&module["latest"], &module["aliases"][0]["digest"]), (&second.body["digest"], &first["digest"]));
    let limits = host.put("/v1/modules/mask/limits", &json!({"memory_mib": 32})).await.ok();
    assert_eq!((&limits["effective"]["memory_mib"], &limits["effective"]["batch_cpu_ms"]), (&json!(32), &json!(250)));
    let in_use = host.delete(&format!("/v1/modules/mask/versions/{}", first["digest"].as_str().unwrap_or_default())).await;
    assert_eq!((in_use.status, &in_use.body["code"]), (409, &json!("module_version_in_use")));
    code_goes_with_the_last_name(&mut host, second.body["digest"].as_str().unwrap_or_default()).await;
}

/// `digest` is a version of `mask`, which has one more; with the rules and the key, four files.
async fn code_goes_with_the_last_name(host: &mut Tidegate, digest: &str) {
    let artefacts = host.data_dir().join("artefacts");
    let files = move || std::fs::read_dir(&artefacts).expect("the server keeps compiled code there").count();
    assert_eq!(files(), 4);
    host.put_bytes("/v1/modules/copy", guest("hostile")).await.ok();
    host.delete(&format!("/v1/modules/mask/versions/{digest}")).await.ok();
    host.restart().await;
    assert_eq!(files(), 4, "another module has the same bytes");
    host.delete("/v1/modules/copy").await.ok();
    wait_for("the code to be deleted", Duration::from_secs(60), async || match files() {
        3 => Ok(()),
        count => Err(count),
    })
    .await;
    // What another version of the server compiled is not there for this one.
    let foreign = host.data_dir().join("artefacts").join("0".repeat(64));
    let two_days_ago = SystemTime::now() - Duration::from_secs(48 * 3600);
    File::create(foreign).and_then(|file| file.set_modified(two_days_ago)).expect("the directory can be written");
    host.restart().await;
    assert_eq!(files(), 3);
}

/// Compiling takes each table by itself; an instance has them all, and the verdict waits for one.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_whose_tables_have_too_many_elements_only_together_is_refused() {
    let host = Tidegate::serve_in_own_dir().await;
    let problem = refused(&host, with_tables_beside(guest("hostile"), 2, 60_000), 422, "module_rejected").await;
    let detail = problem["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("its tables have more than 100000 elements together"), "{detail}");
}
