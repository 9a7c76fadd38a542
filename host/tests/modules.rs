//! `tidegate module …` as an author meets it: a new project, the examples, a test on rows and on a table.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_harness::process::root_dir;
use tidegate_harness::{MysqlFlavour, MysqlServer, PostgresServer, PostgresVersion, Tidegate, wait_for};

/// How long a step may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

fn tidegate(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TIDEGATE_")) {
        command.env_remove(name);
    }
    // What was compiled once is kept for the next run: an interpreter takes half a minute.
    command.env("TIDEGATE_DATA_DIR", root_dir().join("target/guests/compiled"));
    command.args(arguments).current_dir(dir).output().expect("the program can be started")
}

#[track_caller]
fn check(output: &Output, code: i32) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{errors}\n{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn guest(name: &str) -> PathBuf {
    root_dir().join("target/guests").join(format!("{name}.wasm"))
}

/// The module's file; `None`, and the reason on standard error, when its language is not on this machine.
fn example(name: &str) -> Option<PathBuf> {
    let file = guest(name);
    if file.exists() {
        return Some(file);
    }
    let reason = std::fs::read_to_string(file.with_extension("skipped"));
    let reason = reason.unwrap_or_else(|_| "it is not built; `cargo xtask test` and `cargo xtask examples` build it".to_owned());
    eprintln!("skipped: example {name}: {reason}");
    None
}

/// The examples that are on this machine with the reports of their own tests; compiled once for all tests here.
static EXAMPLES: LazyLock<Vec<(&str, Value)>> = LazyLock::new(|| {
    let names = ["mask-email", "redact", "split-name", "convert-currency"];
    names.into_iter().filter_map(|name| Some((name, example_report(name, &example(name)?)))).collect()
});

fn example_file(name: &str, file: &str) -> Value {
    let path = root_dir().join("guest-transforms/examples").join(name).join(file);
    serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn example_report(name: &str, file: &Path) -> Value {
    let sources = root_dir().join("guest-transforms/examples").join(name);
    let arguments = ["module", "test", file.to_str().unwrap(), "--json", "--config", "config.json", "--rows", "rows.json"];
    let fails = example_file(name, "expected.json").as_array().unwrap().iter().any(Value::is_string);
    let output = tidegate(&sources, &arguments);
    let report = check(&output, i32::from(fails));
    serde_json::from_str(&report).unwrap_or_else(|_| panic!("{name}: {}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn every_example_gives_the_rows_that_it_should() {
    for (name, report) in EXAMPLES.iter() {
        // A row that fails is expected by its code.
        let found = report["rows"].as_array().unwrap().iter().map(|row| if row["after"].is_null() { &row["code"] } else { &row["after"] });
        assert_eq!(Value::from_iter(found.cloned()), example_file(name, "expected.json"), "{name}: {report:#}");
        assert_eq!(report["module"]["name"].as_str().unwrap().trim_start_matches("tidegate-"), *name);
    }
}

#[test]
fn text_columns_of_the_javascript_example_pass_their_own_tests() {
    if example("split-name").is_none() {
        return;
    }
    let tests = root_dir().join("guest-transforms/examples/split-name/columns.test.js");
    let run = Command::new("node")
        .args(["--test", "--test-reporter=tap"])
        .arg(&tests)
        .output()
        .expect("node can be started: it has built the example");
    let report = check(&run, 0);
    assert!(report.contains("\nok 1 - ") && report.contains("\n# fail 0\n"), "{report}");
}

#[test]
fn a_refused_configuration_is_said_and_shows_no_row() {
    let here = root_dir();
    let rows = here.join("guest-transforms/examples/mask-email/rows.json");
    let file = guest("mask-email");
    let run = |config: &str| {
        let arguments = ["module", "test", file.to_str().unwrap(), "--config", config, "--rows", rows.to_str().unwrap()];
        tidegate(&here, &arguments)
    };
    let refused = run(r#"{"columns": ["email"]}"#);
    assert!(check(&refused, 1).is_empty());
    let errors = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(errors.contains("missing field `key`") && !errors.contains("what do ya want"), "{errors}");
    check(&run("{"), 2);
    let text = check(&run(r#"{"columns": ["email"], "key": "Jefe"}"#), 0);
    for part in ["email is replaced (computed)", "reads email", "row 1 kept", "2 kept, 0 dropped, 0 failed", "-> \"5bdcc146"] {
        assert!(text.contains(part), "\"{part}\" is not in:\n{text}");
    }
}

#[test]
fn a_module_that_breaks_fails_each_row_with_its_code() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("rows.json"), r#"[{"id": 1}, {"id": 2}]"#).unwrap();
    let file = guest("hostile");
    for (misdeed, code) in [("trap", "transform-trap"), ("refuse", "transform-refused"), ("short", "transform-malformed")] {
        std::fs::write(dir.path().join("config.json"), format!("\"{misdeed}\"")).unwrap();
        let arguments = ["module", "test", file.to_str().unwrap(), "--json", "--config", "config.json", "--rows", "rows.json"];
        let report: Value = serde_json::from_str(&check(&tidegate(dir.path(), &arguments), 1)).unwrap();
        assert_eq!(report["failed"], 2, "{report:#}");
        assert!(report["rows"].as_array().unwrap().iter().all(|row| row["code"] == code), "{misdeed}: {report:#}");
    }
}

/// A folder of its own in `target`, since a module's dependencies take a while to compile.
fn cargo(project: &Path, arguments: &[&str], target: &str) -> Output {
    let script = root_dir().join("xtask/scripts/wasm-cargo");
    let mut command = if arguments[0] == "build" { Command::new("bash") } else { Command::new("cargo") };
    if arguments[0] == "build" {
        command.arg(script);
    }
    command.args(arguments).current_dir(project).env("CARGO_TARGET_DIR", root_dir().join("target").join(target));
    // A coverage or sanitizer run of the host must not reach the module.
    command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS").output().expect("cargo can be started")
}

#[test]
fn a_new_rust_project_builds_passes_its_test_and_runs() {
    let dir = tempfile::tempdir().unwrap();
    check(&tidegate(dir.path(), &["module", "new", "first-module"]), 0);
    let project = dir.path().join("first-module");

    check(&cargo(&project, &["test", "--offline"], "guests-test"), 0);
    check(&cargo(&project, &["build", "--offline", "--release"], "guests-build"), 0);

    // A core module, as cargo makes it: the host makes a component of it.
    let file = root_dir().join("target/guests-build/wasm32-unknown-unknown/release/first_module.wasm");
    let arguments = ["module", "test", file.to_str().unwrap(), "--json", "--config", "config.json", "--rows", "rows.json"];
    let report: Value = serde_json::from_str(&check(&tidegate(&project, &arguments), 0)).unwrap();
    assert_eq!((&report["module"]["name"], &report["kept"], &report["dropped"]), (&json!("first-module"), &json!(2), &json!(1)));
    assert_eq!(report["rows"][0]["after"], json!({"id": 1, "status": "paid"}));
}

#[test]
fn a_new_project_of_each_language_has_what_its_readme_names() {
    let dir = tempfile::tempdir().unwrap();
    for (language, files) in [
        ("rust", &["Cargo.toml", "src/lib.rs", "tidegate/sdk/src/lib.rs"][..]),
        ("python", &["app.py", "build.sh", "wit/transform.wit"]),
        ("javascript", &["module.js", "columns.js", "build.sh", "package.json"]),
        ("c", &["module.c", "build.sh", "bindings/transform_module_component_type.o"]),
    ] {
        let name = format!("in-{language}");
        check(&tidegate(dir.path(), &["module", "new", &name, "--language", language]), 0);
        for file in files.iter().chain(&["README.md", "config.json", "rows.json", ".gitignore"]) {
            assert!(dir.path().join(&name).join(file).metadata().unwrap().len() > 0, "{language}: {file}");
        }
    }
    check(&tidegate(dir.path(), &["module", "new", "in-c"]), 2);
    check(&tidegate(dir.path(), &["module", "new", "Not A Name"]), 2);
    let built = Command::new("./build.sh").current_dir(dir.path().join("in-c")).output().unwrap();
    if example("redact").is_some() {
        check(&built, 0);
        assert!(dir.path().join("in-c/module.wasm").metadata().unwrap().len() > 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_is_tried_on_a_source_table_and_nothing_of_it_stays() {
    let server = PostgresServer::start(PostgresVersion::V17).await;
    server
        .sql(
            "create table customer (id int primary key, email text, born date, balance numeric(10,2));
             insert into customer select i, 'Secret-' || i || '@example.org', date '2000-01-01' + i, i / 4.0 from generate_series(1, 5000) i;
             delete from customer where id <= 300",
        )
        .await;
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let host = Tidegate::serve(&data).await;
    create_endpoint(&host, "shop", "source", &server, "postgres").await;
    host.put_bytes("/v1/modules/mask-email", std::fs::read(guest("mask-email")).unwrap()).await.ok();

    let source = json!({"endpoint": "shop", "schema": "public", "table": "customer", "limit": 7});
    let body = json!({"config": {"columns": ["email"], "key": "k"}, "source": source});
    let report = host.post("/v1/modules/mask-email/test", &body).await.ok();
    assert_eq!((&report["kept"], report["rows"].as_array().unwrap().len()), (&json!(7), 7), "{report:#}");
    let (before, after) = (&report["rows"][0]["before"], &report["rows"][0]["after"]);
    let id = before["id"].as_i64().unwrap();
    assert_eq!(before["email"], format!("Secret-{id}@example.org"));
    assert_eq!(after["email"].as_str().unwrap().len(), 64);
    assert_eq!((&before["born"], &before["balance"]), (&after["born"], &after["balance"]));

    // The file itself on the same table, without an upload: what leaves the server reads back here.
    let file = guest("mask-email");
    let config = r#"{"columns": ["email"], "key": "k"}"#;
    let url = host.url();
    let arguments = ["module", "test", file.to_str().unwrap(), "--config", config, "--json", "--server", &url];
    let arguments = [&arguments[..], &["--source", "shop", "--table", "public.customer", "--limit", "7"]].concat();
    let local: Value = serde_json::from_str(&check(&tidegate(dir.path(), &arguments), 0)).unwrap();
    assert_eq!(local["rows"], report["rows"]);

    let wrong = json!({"config": {"columns": ["email"]}, "source": source});
    let refused = host.post("/v1/modules/mask-email/test", &wrong).await;
    assert_eq!(refused.status, 422, "{}", refused.body);
    assert_eq!(refused.body["code"], "module_plan");
    assert!(refused.body["detail"].as_str().unwrap().contains("missing field `key`"), "{}", refused.body);
    assert_eq!(host.post("/v1/modules/nothing/test", &json!({"rows": []})).await.status, 404);

    // Neither the log nor any file of the data directory keeps a value of a row.
    assert!(!host.log().contains("Secret-"), "{}", host.log());
    wait_for("the catalog to be without values", PATIENCE, async || {
        let mut files = std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
        let holds = |path: &PathBuf| std::fs::read(path).unwrap().windows(7).any(|window| window == b"Secret-");
        match files.find(holds) {
            None => Ok(()),
            Some(path) => Err(path.display().to_string()),
        }
    })
    .await;
}

/// What a sample shows of types whose values differ most between databases, read back by a test of the file itself.
#[tokio::test(flavor = "multi_thread")]
async fn rows_of_mariadb_are_sampled_and_read_back() {
    let server = MysqlServer::start(MysqlFlavour::Mariadb1011).await;
    server
        .sql(
            "create table test.things (id bigint unsigned primary key, name varchar(40), price decimal(12,3), made datetime(3), took time,
               flags set('a','b'), kind enum('x','y'), raw varbinary(8), bits bit(10), note json);
             insert into test.things values (18446744073709551615, 'Ada Lovelace', -1.500, '2024-02-29 12:30:00.25', '-838:59:59',
               'a,b', 'y', x'00ff', b'1100000001', '{\"k\": [1]}'), (2, null, null, null, null, null, null, null, null, null)",
        )
        .await;
    let dir = tempfile::tempdir().unwrap();
    let host = Tidegate::serve(&dir.path().join("data")).await;
    let body = json!({"name": "shop", "role": "source", "engine": "mariadb", "host": "127.0.0.1", "port": server.port(),
                      "username": "repl", "password": "repl", "database": "test", "tls": {"mode": "disable"}});
    host.post("/v1/endpoints", &body).await.ok();
    let everything = json!({"rules": [{"rule-type": "selection", "rule-id": "1", "rule-name": "1", "rule-action": "include",
                                       "object-locator": {"schema-name": "%", "table-name": "%"}}]});
    let body = json!({"config": everything, "source": {"endpoint": "shop", "schema": "test", "table": "things"}});

    let report = host.post("/v1/modules/rules/test", &body).await.ok();

    let rows = report["rows"].as_array().unwrap();
    let row = rows.iter().find(|row| row["before"]["name"] == "Ada Lovelace").unwrap_or_else(|| panic!("{report:#}"));
    let wanted = json!({"id": 18_446_744_073_709_551_615_u64, "name": "Ada Lovelace", "price": "-1.500", "made": "2024-02-29T12:30:00.25",
                        "took": "-838:59:59", "flags": "a,b", "kind": "y", "raw": "\\x00ff", "bits": "1100000001", "note": "{\"k\": [1]}"});
    assert_eq!((&row["before"], &row["after"], &report["kept"]), (&wanted, &wanted, &json!(2)));
    assert_eq!(report["table"]["source"], "mariadb");

    let again = json!({"config": everything, "rows": [row["before"]], "table": report["table"]});
    let again = host.post("/v1/modules/rules/test", &again).await.ok();
    assert_eq!((&again["rows"][0]["after"], &again["table"]), (&wanted, &report["table"]));
}

async fn create_endpoint(host: &Tidegate, name: &str, role: &str, server: &PostgresServer, database: &str) {
    let body = json!({"name": name, "role": role, "engine": "postgres", "host": "127.0.0.1", "port": server.port(),
                      "username": "postgres", "password": "", "database": database, "tls": {"mode": "disable"}});
    host.post("/v1/endpoints", &body).await.ok();
}

/// Every row of the copy, in order, as one text.
const COPIED: &str = "select md5(string_agg(t::text, ',' order by id)) || ' ' || count(*) from public.customer t";

/// What the four modules make of it, in SQL. Columns of modules whose language is missing are as they were.
fn wanted(there: &[&str]) -> String {
    let pick = |name: &str, yes: &str, no: &str| if there.contains(&name) { yes.to_owned() } else { no.to_owned() };
    let columns = [
        pick(
            "mask-email",
            "case when email is null then null else '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843' end",
            "email",
        ),
        pick("split-name", "", ", name"),
        pick("redact", ", regexp_replace(note, '[0-9]{4}', '****', 'g')", ", note"),
        ", amount, currency".to_owned(),
        pick("split-name", ", nullif(split_part(name, ' ', 1), ''), nullif(split_part(name, ' ', 2), '')", ""),
        pick("convert-currency", ", round(amount * 0.5, 2)", ""),
    ];
    let row = format!("(id, {}{}{}{}{}{})", columns[0], columns[1], columns[2], columns[3], columns[4], columns[5]);
    format!("select md5(string_agg({row}::text, ',' order by id)) || ' ' || count(*) from public.customer")
}

#[tokio::test(flavor = "multi_thread")]
async fn modules_of_four_languages_load_and_follow_one_table() {
    let there: Vec<&str> = EXAMPLES.iter().map(|(name, _)| *name).collect();
    let server = PostgresServer::start(PostgresVersion::V17).await;
    server.sql("create database \"from\"").await;
    server.sql("create database \"to\"").await;
    server
        .sql_in(
            "from",
            "create table customer (id int primary key, email text, name text, note text, amount numeric(10,2), currency text);
             insert into customer select i, 'what do ya want for nothing?', 'Ada Lovelace' || i, 'card 4111 ' || i, i, 'USD'
             from generate_series(10001, 13000) i",
        )
        .await;
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    copy_artefacts(&data);
    let host = Tidegate::serve(&data).await;
    create_endpoint(&host, "from", "source", &server, "from").await;
    create_endpoint(&host, "to", "target", &server, "to").await;
    let mut rules = vec![json!({"rule-type": "selection", "rule-id": "1", "rule-name": "all", "rule-action": "include",
                                "object-locator": {"schema-name": "public", "table-name": "%"}})];
    for (name, config) in [
        ("mask-email", json!({"columns": ["email"], "key": "Jefe"})),
        ("split-name", json!({"column": "name", "given": "given", "family": "family", "drop": true})),
        ("redact", json!({"column": "note", "pattern": "[0-9]{4}"})),
        ("convert-currency", json!({"amount": "amount", "currency": "currency", "into": "half", "rates": {"USD": "0.5"}})),
    ] {
        if there.contains(&name) {
            host.put_bytes(&format!("/v1/modules/{name}"), std::fs::read(guest(name)).unwrap()).await.ok();
            rules.push(json!({"rule-type": "module", "rule-id": rules.len() + 6, "rule-name": name, "module": name, "config": config,
                              "object-locator": {"schema-name": "public", "table-name": "customer"}}));
        }
    }
    let task = json!({"name": "four", "source": "from", "target": "to", "migration_type": "full-load-and-cdc", "table_mappings": {"rules": rules}});
    host.post("/v1/tasks", &task).await.ok();
    host.post("/v1/tasks/four/start", &json!({})).await.ok();
    wait_for_copy(&host, &server, &there).await;

    server
        .sql_in(
            "from",
            "update customer set name = 'Grace Hopper', amount = 7, note = 'none' where id < 10050;
             update customer set email = null where id = 10060;
             delete from customer where id = 10070;
             insert into customer values (1, null, null, null, null, null), (2, null, 'Ada Byron', '12345678', 3, 'USD')",
        )
        .await;
    assert!(wait_for_copy(&host, &server, &there).await.ends_with(" 3001"));
}

async fn wait_for_copy(host: &Tidegate, server: &PostgresServer, there: &[&str]) -> String {
    wait_for("the copy to be what the modules make of the source", PATIENCE, async || {
        let shown = host.get("/v1/tasks/four").await.ok();
        assert_ne!(shown["status"], "failed", "{shown}\n{}", host.log());
        let source = one_text(server, "from", &wanted(there)).await;
        let copy = one_text(server, "to", COPIED).await;
        match (source, copy) {
            (Ok(source), Ok(copy)) if source == copy => Ok(copy),
            other => Err(format!("{other:?}\n{}", host.log())),
        }
    })
    .await
}

/// The only value of a query; a table that is not there yet is an error like any other.
async fn one_text(server: &PostgresServer, database: &str, query: &str) -> Result<String, String> {
    let client = server.client_for(database).await;
    let row = client.query_one(query, &[]).await.map_err(|error| error.to_string())?;
    row.try_get::<_, Option<String>>(0).map(Option::unwrap_or_default).map_err(|error| error.to_string())
}

/// Gives a new server what is compiled already.
fn copy_artefacts(data: &Path) {
    let (from, to) = (root_dir().join("target/guests/compiled/artefacts"), data.join("artefacts"));
    std::fs::create_dir_all(&to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}
