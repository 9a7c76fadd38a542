//! What is refused, by whom, and in which words: each refusal names the object, what was found, what is wanted and the
//! command that helps; the check finds it before the start does; nothing in the target is touched; and no password is
//! shown anywhere.

use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_harness::process::tidegate;
use tidegate_harness::{MysqlFlavour, MysqlServer, PostgresServer, PostgresVersion, Tidegate, wait_for};

/// How long a step may take on a busy machine.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// The right password, and a wrong one: neither may be shown.
const CANARY: &str = "canary-5f2a91-right";
const WRONG: &str = "canary-5f2a91-wrong";

/// What every secret here begins with.
const SECRET: &str = "canary-5f2a91";

/// A host, a target with rows in it that must stay, and everything that was answered.
struct Stage {
    host: Tidegate,
    target: PostgresServer,
    data: TempDir,
    answers: Vec<String>,
    tasks: usize,
}

/// What a refusal must say: its code, a part of the object's name, of what was found, of what is wanted, and of the fix.
struct Refusal<'a> {
    code: &'a str,
    object: &'a str,
    found: &'a str,
    wanted: &'a str,
    fix: &'a str,
}

fn selection(schema: &str, table: &str) -> Value {
    json!({"rule-type": "selection", "rule-id": "1", "rule-name": "1", "rule-action": "include",
           "object-locator": {"schema-name": schema, "table-name": table}})
}

fn into_copy() -> Value {
    json!({"rule-type": "transformation", "rule-id": "2", "rule-name": "2", "rule-target": "schema", "rule-action": "rename",
           "object-locator": {"schema-name": "%"}, "value": "copy"})
}

fn server(engine: &str, port: u16, user: &str, password: &str) -> Value {
    let database = if engine == "postgres" { "postgres" } else { "test" };
    json!({"engine": engine, "host": "127.0.0.1", "port": port, "username": user, "password": password, "database": database, "tls": "disable"})
}

impl Stage {
    async fn start() -> Stage {
        let target = PostgresServer::start(PostgresVersion::V17).await;
        target
            .sql("create schema copy; create table copy.orders (id int primary key, v text); insert into copy.orders values (1, 'stays')")
            .await;
        let data = tempfile::tempdir().expect("a temporary directory can be made");
        let host = Tidegate::serve(data.path()).await;
        Stage { host, target, data, answers: Vec::new(), tasks: 0 }
    }

    async fn post(&mut self, path: &str, body: &Value) -> (u16, Value) {
        let answer = self.host.post(path, body).await;
        self.answers.push(answer.body.to_string());
        (answer.status, answer.body)
    }

    async fn get(&mut self, path: &str) -> Value {
        let answer = self.host.get(path).await;
        self.answers.push(answer.body.to_string());
        answer.body
    }

    /// Creates endpoints and a task between a source and the target; answers the task's name.
    async fn task(&mut self, source: &Value, migration: &str, rules: &[Value]) -> String {
        self.tasks += 1;
        let name = format!("task-{}", self.tasks);
        let mut target = server("postgres", self.target.port(), "postgres", CANARY);
        let mut source = source.clone();
        for (role, endpoint) in [("source", &mut source), ("target", &mut target)] {
            endpoint["name"] = json!(format!("{name}-{role}"));
            endpoint["role"] = json!(role);
            let (status, body) = self.post("/v1/endpoints", endpoint).await;
            assert_eq!(status, 201, "{body}");
        }
        let task = json!({"name": name, "source": format!("{name}-source"), "target": format!("{name}-target"), "migration_type": migration,
            "preparation": "drop-and-create", "table_mappings": {"rules": rules}});
        let (status, body) = self.post("/v1/tasks", &task).await;
        assert_eq!(status, 201, "{body}");
        name
    }

    /// The check over HTTP and on the command line both find it; a start stops at it, if `fails` says so.
    async fn refuses(&mut self, source: &Value, migration: &str, rules: &[Value], refusal: &Refusal<'_>, fails: bool) {
        let task = self.task(source, migration, rules).await;
        let (status, body) = self.post(&format!("/v1/tasks/{task}/check"), &json!({})).await;
        assert_eq!(status, 200, "{body}");
        refusal.check(&body["findings"]);

        let file = json!({"name": task, "source": source, "target": server("postgres", self.target.port(), "postgres", CANARY), "type": migration,
            "preparation": "drop-and-create", "table_mappings": {"rules": rules}});
        let path = self.data.path().join("task.json");
        std::fs::write(&path, file.to_string()).expect("the file can be written");
        let work = self.data.path().join("work");
        let output =
            tidegate(&["check", "--json", "--data-dir", work.to_str().expect("a plain path"), path.to_str().expect("a plain path")]).await;
        std::fs::remove_file(&path).expect("the file is there");
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned());
        assert_eq!(output.status.code(), Some(1), "{stdout}{stderr}");
        let document: Value = serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}"));
        refusal.check(&document["findings"]);
        self.answers.extend([stdout, stderr]);

        if fails {
            let failure = self.failure(&task).await;
            let message = failure["message"].as_str().unwrap_or_default();
            for word in [refusal.object, refusal.found, refusal.wanted] {
                assert!(message.contains(word), "\"{word}\" is not in {failure}");
            }
            assert!(failure["hint"].as_str().is_some_and(|hint| hint.contains(refusal.fix)), "{failure}");
        }
        self.untouched().await;
    }

    /// Starts a task and waits until it fails.
    async fn failure(&mut self, task: &str) -> Value {
        let (status, body) = self.post(&format!("/v1/tasks/{task}/start"), &json!({})).await;
        assert!(status < 300, "{body}");
        let shown = wait_for(&format!("{task} to fail"), PATIENCE, async || {
            let shown = self.host.get(&format!("/v1/tasks/{task}")).await.ok();
            if shown["status"] == "failed" { Ok(shown) } else { Err(shown) }
        })
        .await;
        self.answers.push(shown.to_string());
        shown["failure"].clone()
    }

    async fn lost(&mut self, task: &str) -> Value {
        let (_, report) = self.post(&format!("/v1/tasks/{task}/check"), &json!({})).await;
        let failure = self.failure(task).await;
        assert!(report.to_string().contains("\"position_lost\"") && failure["code"] == "position_lost", "{report} {failure}");
        failure
    }

    async fn wait_phase(&mut self, task: &str, phase: &str) {
        wait_for(&format!("{task} to be {phase}"), PATIENCE, async || {
            let shown = self.host.get(&format!("/v1/tasks/{task}")).await.ok();
            assert_ne!(shown["status"], "failed", "{shown}");
            if shown["phase"] == phase || shown["status"] == phase { Ok(()) } else { Err(shown) }
        })
        .await;
    }

    async fn untouched(&self) {
        assert_eq!(self.target.rows("select v from copy.orders").await, [[Some("stays".to_owned())]]);
        let made = "select count(*) from information_schema.tables where table_schema = 'copy' and table_name <> 'orders'";
        assert_eq!(self.target.value(made).await, "0");
    }

    /// Nothing that anybody can read shows a password.
    async fn keeps_secrets(mut self) {
        for path in ["/v1/endpoints", "/v1/tasks", "/v1/events", "/v1/modules", "/metrics", "/readyz", "/openapi.json"] {
            self.get(path).await;
        }
        assert!(self.answers.len() > 20);
        for answer in &self.answers {
            assert!(!answer.contains(SECRET), "{answer}");
        }
        assert!(!self.host.log().contains(SECRET), "{}", self.host.log());
        let mut dirs = vec![self.data.path().to_owned()];
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(&dir).expect("the directory can be read") {
                let path = entry.expect("an entry").path();
                match std::fs::read(&path) {
                    Ok(bytes) => assert!(!bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()), "{}", path.display()),
                    Err(_) => dirs.extend(path.is_dir().then_some(path)),
                }
            }
        }
    }
}

impl Refusal<'_> {
    fn check(&self, findings: &Value) {
        let errors: Vec<&Value> = findings.as_array().expect("a list").iter().filter(|finding| finding["severity"] == "error").collect();
        let says = |finding: &Value, key: &str, part: &str| finding[key].as_str().unwrap_or_default().contains(part);
        let fits = |finding: &&&Value| {
            finding["code"] == self.code
                && [("object", self.object), ("found", self.found), ("wanted", self.wanted), ("fix", self.fix)]
                    .iter()
                    .all(|(key, part)| says(finding, key, part))
        };
        let wanted = [self.code, self.object, self.found, self.wanted, self.fix];
        assert!(errors.iter().any(|finding| fits(&finding)), "no error with {wanted:?} among {errors:#?}");
    }
}

/// Lets `canary` in by its password alone.
async fn guard(server: &PostgresServer) {
    server.sql(&format!("set password_encryption = 'scram-sha-256'; create role canary login replication password '{CANARY}'")).await;
    let path = server.data_dir().join("pg_hba.conf");
    let rest = std::fs::read_to_string(&path).expect("the file can be read");
    std::fs::write(&path, format!("host all canary 127.0.0.1/32 scram-sha-256\n{rest}")).expect("the file can be written");
    server.sql("select pg_reload_conf(); grant create on database postgres to canary").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_source_that_does_not_fit_is_refused_by_name() {
    let mut stage = Stage::start().await;
    let mut source = PostgresServer::start(PostgresVersion::V15).await;
    guard(&source).await;
    source
        .sql(
            "create table orders (id int primary key, v text); create table keyless (v text); create type pair as (a int, b int);
             create table typed (id int primary key, p pair, ps pair[]); create table named (id int primary key, r regclass);
             create table secret (id int primary key); create unlogged table volatile (id int primary key);
             alter table orders owner to canary; alter table keyless owner to canary; alter table typed owner to canary;
             alter table named owner to canary; alter table volatile owner to canary",
        )
        .await;
    let port = source.port();
    let good = server("postgres", port, "canary", CANARY);
    let orders = [selection("public", "orders"), into_copy()];
    let only = |table: &str| [selection("public", table), into_copy()];
    let cdc = "full-load-and-cdc";

    let gone = server("postgres", 1, "canary", CANARY);
    let refusal = Refusal { code: "connection_failed", object: "source", found: "127.0.0.1:1", wanted: "answers", fix: "pg_isready" };
    stage.refuses(&gone, cdc, &orders, &refusal, false).await;
    let wrong = server("postgres", port, "canary", WRONG);
    let refusal = Refusal { code: "password_refused", object: "source", found: "canary", wanted: "lets the user in", fix: "password" };
    stage.refuses(&wrong, cdc, &orders, &refusal, false).await;
    let failure = stage.failure("task-2").await;
    assert_eq!(failure["code"], "password_refused", "{failure}");
    let mut nowhere = good.clone();
    nowhere["database"] = json!("nowhere");
    let refusal = Refusal { code: "database_missing", object: "source", found: "nowhere", wanted: "", fix: "database" };
    stage.refuses(&nowhere, cdc, &orders, &refusal, false).await;

    let refusal = Refusal {
        code: "no_replica_identity",
        object: "table \"public.keyless\"",
        found: "no replica identity",
        wanted: "primary key",
        fix: "alter table \"public\".\"keyless\" replica identity full",
    };
    stage.refuses(&good, cdc, &only("keyless"), &refusal, true).await;
    let refusal = Refusal {
        code: "missing_privilege",
        object: "table \"public.secret\"",
        found: "no SELECT",
        wanted: "SELECT",
        fix: "grant select on \"public\".\"secret\"",
    };
    stage.refuses(&good, "full-load", &only("secret"), &refusal, true).await;
    let refusal = Refusal { code: "unlogged", object: "table \"public.volatile\"", found: "unlogged", wanted: "logged", fix: "set logged" };
    stage.refuses(&good, cdc, &only("volatile"), &refusal, true).await;
    let refusal = Refusal {
        code: "type_missing",
        object: "column \"p\" of table \"copy.typed\"",
        found: "public.pair",
        wanted: "type",
        fix: "create",
    };
    stage.refuses(&good, cdc, &only("typed"), &refusal, true).await;
    let refusal = Refusal { code: "column_type", object: "column \"r\" of table \"copy.named\"", found: "regclass", wanted: "", fix: "" };
    stage.refuses(&good, cdc, &only("named"), &refusal, true).await;

    source.sql("alter role canary noreplication").await;
    let refusal = Refusal {
        code: "missing_privilege",
        object: "role \"canary\"",
        found: "no REPLICATION",
        wanted: "REPLICATION",
        fix: "alter role \"canary\" replication",
    };
    stage.refuses(&good, cdc, &orders, &refusal, true).await;
    source.sql("alter role canary replication").await;
    source.sql("alter system set wal_level = replica").await;
    source.restart().await;
    let refusal = Refusal {
        code: "wal_level",
        object: "setting \"wal_level\"",
        found: "replica",
        wanted: "logical",
        fix: "alter system set wal_level = logical",
    };
    stage.refuses(&good, cdc, &orders, &refusal, true).await;
    assert_eq!(source.value("select count(*) from pg_publication").await, "0");
    stage.keeps_secrets().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mariadb_source_that_does_not_fit_is_refused_by_name() {
    let mut stage = Stage::start().await;
    let source = MysqlServer::start(MysqlFlavour::Mariadb1011).await;
    source
        .sql(&format!(
            "create table orders (id int primary key, v text); create table parent (id int primary key);
             create table child (id int primary key, p int, constraint of_parent foreign key (p) references parent (id) on delete cascade);
             create user canary@'%' identified by '{CANARY}'; grant select on test.* to canary@'%';
             create user full_canary@'%' identified by '{CANARY}'; grant all on *.* to full_canary@'%'"
        ))
        .await;
    let port = source.port();
    let good = server("mariadb", port, "full_canary", CANARY);
    let orders = [selection("test", "orders"), into_copy()];
    let cdc = "full-load-and-cdc";

    let refusal = Refusal { code: "password_refused", object: "source", found: "full_canary", wanted: "lets the user in", fix: "password" };
    stage.refuses(&server("mariadb", port, "full_canary", WRONG), cdc, &orders, &refusal, false).await;
    let refusal = Refusal { code: "connection_lost", object: "source", found: "127.0.0.1:1", wanted: "answers", fix: "mysqladmin ping" };
    stage.refuses(&server("mariadb", 1, "full_canary", CANARY), cdc, &orders, &refusal, false).await;
    let refusal = Refusal { code: "engine_mismatch", object: "source", found: "mysql", wanted: "", fix: "mariadb" };
    stage.refuses(&server("mysql", port, "full_canary", CANARY), cdc, &orders, &refusal, false).await;
    let refusal = Refusal {
        code: "missing_privilege",
        object: "user",
        found: "REPLICATION SLAVE",
        wanted: "REPLICATION SLAVE",
        fix: "grant REPLICATION SLAVE on *.*",
    };
    stage.refuses(&server("mariadb", port, "canary", CANARY), cdc, &orders, &refusal, true).await;
    let refusal = Refusal {
        code: "cascade_not_logged",
        object: "foreign key \"of_parent\" of table \"test.child\"",
        found: "ON DELETE CASCADE",
        wanted: "RESTRICT",
        fix: "alter table `test`.`child` drop foreign key `of_parent`",
    };
    stage.refuses(&good, cdc, &[selection("test", "%"), into_copy()], &refusal, true).await;
    let settings =
        [("binlog_format", "STATEMENT", "ROW"), ("binlog_row_image", "MINIMAL", "FULL"), ("binlog_row_metadata", "NO_LOG", "FULL")];
    for (setting, found, wanted) in settings {
        source.sql(&format!("set global {setting} = '{found}'")).await;
        let (object, fix) = (format!("setting \"{setting}\""), format!("set global {setting} = '{wanted}'"));
        let refusal = Refusal { code: setting, object: &object, found, wanted, fix: &fix };
        stage.refuses(&good, cdc, &orders, &refusal, true).await;
        source.sql(&fix).await;
    }

    // The log that a stopped task needs is purged.
    let task = stage.task(&good, cdc, &[selection("test", "orders")]).await;
    stage.post(&format!("/v1/tasks/{task}/start"), &json!({})).await;
    stage.wait_phase(&task, "replicating").await;
    stage.post(&format!("/v1/tasks/{task}/stop"), &json!({})).await;
    stage.wait_phase(&task, "stopped").await;
    source
        .sql("insert into orders values (1, 'unseen'); flush binary logs; insert into orders values (2, 'unseen'); flush binary logs")
        .await;
    let newest = source.rows("show binary logs").await.last().and_then(|row| row[0].clone()).expect("there are logs");
    wait_for("the logs to be purged", PATIENCE, async || {
        // A dump that has not noticed its reader's end yet holds its file; it notices when something is written.
        source.sql(&format!("insert into orders select max(id) + 1, 'unseen' from orders; purge binary logs to '{newest}'")).await;
        let logs = source.rows("show binary logs").await;
        if logs.len() == 1 { Ok(()) } else { Err(logs) }
    })
    .await;
    let failure = stage.lost(&task).await;
    assert!(failure["hint"].as_str().is_some_and(|hint| hint.contains("load the task again")), "{failure}");
    assert_eq!(stage.target.value("select count(*) from test.orders").await, "0");
    stage.untouched().await;
    stage.keeps_secrets().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_in_the_log_that_is_gone_is_refused_by_name() {
    let mut stage = Stage::start().await;
    let source = PostgresServer::start(PostgresVersion::V15).await;
    source.sql("create table orders (id int primary key, v text); insert into orders values (1, 'one')").await;
    let good = server("postgres", source.port(), "postgres", CANARY);
    let slot = "select slot_name from pg_replication_slots where slot_name like 'tidegate%'";
    for again in [false, true] {
        let task = stage.task(&good, "full-load-and-cdc", &[selection("public", "orders")]).await;
        stage.post(&format!("/v1/tasks/{task}/start"), &json!({})).await;
        stage.wait_phase(&task, "replicating").await;
        stage.post(&format!("/v1/tasks/{task}/stop"), &json!({})).await;
        stage.wait_phase(&task, "stopped").await;
        let name = source.value(slot).await;
        source
            .sql(&format!("select pg_drop_replication_slot('{name}'); insert into orders values (10 + {}, 'unseen')", u8::from(again)))
            .await;
        if again {
            // Somebody made the slot anew: it begins after what was never seen.
            source.sql(&format!("select pg_create_logical_replication_slot('{name}', 'pgoutput')")).await;
        }
        let failure = stage.lost(&task).await;
        let message = failure["message"].as_str().unwrap_or_default();
        assert!(message.contains(&name), "{failure}");
        assert!(failure["hint"].as_str().is_some_and(|hint| hint.contains("load")), "{failure}");
        let unseen = format!("select count(*) from public.orders where id = 10 + {}", u8::from(again));
        assert_eq!(stage.target.value(&unseen).await, "0");
        stage.untouched().await;
        // Loading again is the way out, as the hint says.
        stage.post(&format!("/v1/tasks/{task}/reload"), &json!({})).await;
        stage.wait_phase(&task, "replicating").await;
        assert_eq!(stage.target.value(&unseen).await, "1");
        stage.host.post(&format!("/v1/tasks/{task}/stop"), &json!({})).await.ok();
        stage.wait_phase(&task, "stopped").await;
        assert!(stage.host.delete(&format!("/v1/tasks/{task}")).await.status < 300);
        wait_for("the slot to be gone", PATIENCE, async || match source.rows(slot).await {
            rows if rows.is_empty() => Ok(()),
            rows => Err(rows),
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_task_is_refused_by_key() {
    let mut stage = Stage::start().await;
    let source = PostgresServer::start(PostgresVersion::V15).await;
    source.sql("create table orders (id int primary key, v text); create table other (id int primary key)").await;
    let good = server("postgres", source.port(), "postgres", CANARY);
    let name = stage.task(&good, "full-load-and-cdc", &[selection("public", "orders"), into_copy()]).await;
    let task = |changes: &[(&str, Value)]| {
        let mut task = json!({"name": "refused", "source": format!("{name}-source"), "target": format!("{name}-target"),
            "migration_type": "full-load", "table_mappings": {"rules": [selection("public", "orders"), into_copy()]}});
        for (key, value) in changes {
            task[*key] = value.clone();
        }
        task
    };
    let exclude = json!({"rule-type": "selection", "rule-id": "1", "rule-name": "1", "rule-action": "exclude",
        "object-locator": {"schema-name": "public", "table-name": "%"}});
    let cases = [
        (task(&[("migration_tipe", json!("cdc"))]), "unknown_key", "migration_tipe"),
        (task(&[("settings", json!({"load_lane": 2}))]), "unknown_key", "load_lane"),
        (task(&[("migration_type", json!("copy"))]), "unknown_value", "full-load-and-cdc"),
        (task(&[("preparation", json!("wipe"))]), "unknown_value", "truncate-before-load"),
        (task(&[("table_mappings", json!({"rules": []}))]), "no_selection_rule", "rules"),
        (task(&[("table_mappings", json!({"rules": [exclude]}))]), "no_selection_rule", "rules"),
        (task(&[("table_mappings", json!("{\"rules\": ["))]), "json_syntax", "table_mappings"),
        (task(&[("source", json!("nobody"))]), "endpoint_not_found", "nobody"),
    ];
    for (body, code, word) in cases {
        let (status, body) = stage.post("/v1/tasks", &body).await;
        assert!(
            (400..500).contains(&status) && body["code"] == code && body.to_string().contains(word),
            "{status} {body}, wanted {code} {word}"
        );
    }
    let mut endpoint = good.clone();
    (endpoint["name"], endpoint["role"], endpoint["pasword"]) = (json!("more"), json!("source"), json!(WRONG));
    let (status, body) = stage.post("/v1/endpoints", &endpoint).await;
    assert!(status == 400 && body["code"] == "unknown_key" && body.to_string().contains("pasword"), "{body}");

    // What only the rules module knows is found by the check.
    let rule = |changes: &[(&str, Value)]| {
        let mut rule = json!({"rule-type": "transformation", "rule-id": "5", "rule-name": "5", "rule-target": "table", "rule-action": "rename",
            "object-locator": {"schema-name": "public", "table-name": "%"}, "value": "new"});
        for (key, value) in changes {
            rule[*key] = value.clone();
        }
        rule
    };
    let rules = [
        (rule(&[("valeu", json!("x"))]), "module_failed", "valeu"),
        (rule(&[("rule-action", json!("add-column"))]), "module_failed", "rules[rule-id=5].expression"),
        (rule(&[("rule-action", json!("renam"))]), "module_failed", "renam"),
        (rule(&[]), "target_shared", "\"copy.new\""),
        (
            json!({"rule-type": "module", "rule-id": "7", "rule-name": "7", "module": "nowhere",
            "object-locator": {"schema-name": "public", "table-name": "%"}}),
            "module_missing",
            "nowhere",
        ),
    ];
    for (rule, code, word) in rules {
        let (source, rules) = (good.clone(), [selection("public", "%"), into_copy(), rule]);
        if code == "module_missing" {
            // Known to the catalog, so refused at once.
            let (status, body) = stage.post("/v1/tasks", &task(&[("table_mappings", json!({"rules": rules}))])).await;
            assert!(status == 404 && body["code"] == "module_not_found" && body.to_string().contains(word), "{status} {body}");
            continue;
        }
        let refusal = Refusal { code, object: "", found: word, wanted: "", fix: "" };
        stage.refuses(&source, "full-load", &rules, &refusal, true).await;
    }
    let nothing = [selection("public", "nothing%"), into_copy()];
    let refusal = Refusal { code: "no_tables", object: "table mappings", found: "", wanted: "", fix: "" };
    stage.refuses(&good, "full-load", &nothing, &refusal, true).await;

    for (bytes, what) in [(b"hello".to_vec(), "text"), (b"\0asm\x01\0\0\0".to_vec(), "core module")] {
        let answer = stage.host.put_bytes("/v1/modules/broken", bytes).await;
        assert!((400..500).contains(&answer.status), "{what}: {} {}", answer.status, answer.body);
        let said = answer.body.to_string();
        assert!(
            ["not_a_component", "module_rejected"].iter().any(|code| answer.body["code"] == *code)
                && said.contains("broken")
                && said.contains("component"),
            "{what}: {said}"
        );
        stage.answers.push(answer.body.to_string());
    }
    stage.untouched().await;
    stage.keeps_secrets().await;
}
