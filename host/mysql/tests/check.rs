//! The checks find what would falsify a task, with the command that fixes it, and an ordinary server passes.

mod support;

use support::{Bench, FLAVOURS, scope, settings};
use tidegate_connector::{ErrorClass, Secret, ServerSettings, Severity, Source, TlsMode};
use tidegate_harness::MysqlServer;
use tidegate_model::{Engine, TableName};
use tidegate_mysql::MysqlSource;

#[tokio::test]
async fn a_ready_server_passes_and_a_spoilt_one_does_not() {
    for (flavour, engine) in FLAVOURS {
        let bench = Bench::start(flavour, engine).await;
        bench.run(&["create table c (id int primary key, v varchar(9))"]).await;
        let task = scope(&[]).task;
        let tables = [bench.table("c").await];
        let found = bench.source.check(&task, &tables, true).await.expect("the check can be done");
        assert!(found.iter().all(|finding| finding.severity != Severity::Error), "{engine:?} {found:?}");
        bench.run(&["set global binlog_row_image = 'MINIMAL'", "set global binlog_row_metadata = 'MINIMAL'"]).await;
        bench.run(&["create table parent (id int primary key)", "create table k (id int, v varchar(9) character set sjis, p int, foreign key (p) references parent (id) on delete cascade) engine = innodb"]).await;
        let tables = [bench.table("c").await, bench.table("k").await];
        let found = bench.source.check(&task, &tables, true).await.expect("the check can be done");
        let codes: Vec<&str> = found.iter().filter(|finding| finding.severity == Severity::Error).map(|finding| finding.code).collect();
        let mut wanted = vec!["binlog_row_image", "binlog_row_metadata", "cascade_not_logged"];
        if engine == Engine::Mysql {
            // MySQL 9.6 and later log what a cascade does.
            wanted.remove(2);
        }
        assert_eq!(codes, wanted, "{engine:?} {found:?}");
        assert!(found.iter().all(|finding| finding.fix.is_some()));
        assert_eq!(bench.source.check(&task, &tables[..1], false).await.expect("the check can be done"), []);
        foreign_keys_that_a_user_may_not_see_are_told(&bench, engine).await;
    }
}

/// MariaDB shows nothing of foreign keys to a user who may only read, MySQL all.
async fn foreign_keys_that_a_user_may_not_see_are_told(bench: &Bench, engine: Engine) {
    bench.run(&["create user reader@'%' identified by 'reader'", "grant replication slave, replication client on *.* to reader@'%'"]).await;
    bench.run(&["grant select on test.* to reader@'%'"]).await;
    if engine == Engine::Mariadb {
        bench.run(&["grant slave monitor on *.* to reader@'%'"]).await;
    }
    let login = ServerSettings { user: "reader".into(), password: Secret::new("reader"), ..settings(&bench.server, engine) };
    let reader = MysqlSource::connect(login).await.expect("the server lets us in");
    let (task, tables) = (scope(&[]).task, [bench.table("c").await, bench.table("k").await]);
    let check = async |tables: &[std::sync::Arc<tidegate_connector::SourceTable>], cdc| {
        let found = reader.check(&task, tables, cdc).await.expect("the check can be done");
        found.into_iter().filter(|finding| ["missing_privilege", "cascade_not_logged"].contains(&finding.code)).collect::<Vec<_>>()
    };
    let found = check(&tables, true).await;
    if engine == Engine::Mysql {
        assert_eq!(found, []);
        return;
    }
    assert_eq!((found.len(), found[0].code, found[0].severity), (1, "missing_privilege", Severity::Error), "{found:?}");
    let copied = check(&tables, false).await;
    assert_eq!((copied.len(), copied[0].severity), (1, Severity::Warning), "{copied:?}");
    assert_eq!(check(&tables[..1], true).await, []);
    let fix = found[0].fix.clone().expect("it has a fix");
    assert_eq!(fix, "grant show view on `test`.* to <user>");
    bench.run(&[&fix.replace("<user>", "reader@'%'")]).await;
    let found = check(&tables, true).await;
    assert_eq!((found.len(), found[0].code, found[0].severity), (1, "cascade_not_logged", Severity::Error), "{found:?}");
}

#[tokio::test]
async fn logins_that_cannot_work_say_why_and_tables_asked_for_by_name_are_told() {
    for (flavour, engine) in FLAVOURS {
        let bench = Bench::start(flavour, engine).await;
        bench.run(&["create table there (id int)", "create table other (id int)", "create view seen as select 1"]).await;
        let listed = bench.source.table_names().await.expect("the list can be read");
        let there = listed.iter().find(|name| name.name == "there").expect("the table is listed").clone();
        let asked: Vec<TableName> =
            ["there", "There", "gone", "seen", "the%"].map(|name| TableName::new(there.schema.clone(), name)).into();
        assert_eq!(bench.source.existing_tables(&asked).await.expect("an answer"), std::slice::from_ref(&there), "{engine:?}");
        let many: Vec<TableName> = (0..40).map(|number| TableName::new(there.schema.clone(), format!("t{number}"))).chain(asked).collect();
        assert_eq!(bench.source.existing_tables(&many).await.expect("an answer"), [there], "{engine:?}");
        let mut wrong = settings(&bench.server, engine);
        wrong.password = Secret::new("hunter2");
        let error = MysqlSource::connect(wrong).await.expect_err("the password is another");
        assert_eq!((error.class(), error.code()), (ErrorClass::TaskDefinite, "password_refused"), "{}", error.chain());
        assert!(!error.chain().contains("hunter2"));
        let other = if engine == Engine::Mysql { Engine::Mariadb } else { Engine::Mysql };
        let error = MysqlSource::connect(settings(&bench.server, other)).await.expect_err("the engine is another");
        assert_eq!(error.code(), "engine_mismatch", "{}", error.chain());
        let mut verified = settings(&bench.server, engine);
        verified.tls = TlsMode::VerifyFull { authorities_pem: None };
        let error = MysqlSource::connect(verified).await.expect_err("no authority vouches for a private server");
        assert_ne!(error.class(), ErrorClass::Transient, "{engine:?} {}", error.chain());
        if engine == Engine::Mysql {
            let mut required = settings(&bench.server, engine);
            required.tls = TlsMode::Require;
            MysqlSource::connect(required).await.expect("MySQL makes its own certificate");
        }
        check_first_login(&bench, engine).await;
        check_login_methods(&bench).await;
    }
}

/// Users of every login method that the servers have without further plugins, with and without TLS.
async fn check_login_methods(bench: &Bench) {
    let password = "pä \"ss'";
    let quoted = password.replace('\'', "''");
    let methods: &[(&str, &str)] = match bench.engine {
        Engine::Mysql => &[("sha2", "caching_sha2_password")],
        _ => &[("native", "mysql_native_password")],
    };
    let by = if bench.engine == Engine::Mysql { "with" } else { "via" };
    let secret = |plugin: &str| match bench.engine {
        Engine::Mysql => format!("identified {by} {plugin} by '{quoted}'"),
        _ => format!("identified {by} {plugin} using password('{quoted}')"),
    };
    let login = |user: &str, password: &str, tls: TlsMode| ServerSettings {
        user: user.into(),
        password: Secret::new(password),
        tls,
        ..settings(&bench.server, bench.engine)
    };
    for (user, plugin) in methods {
        bench.run(&[&format!("create user {user}@'%' {}", secret(plugin))]).await;
        let ways =
            if bench.engine == Engine::Mysql { vec![TlsMode::Disable, TlsMode::Disable, TlsMode::Require] } else { vec![TlsMode::Disable] };
        // A second login may take a shorter way than the first.
        for tls in ways {
            MysqlSource::connect(login(user, password, tls)).await.unwrap_or_else(|error| panic!("{plugin}: {}", error.chain()));
            let error = MysqlSource::connect(login(user, "pä", TlsMode::Disable)).await.expect_err("the password is another");
            assert_eq!((error.class(), error.code()), (ErrorClass::TaskDefinite, "password_refused"), "{plugin} {}", error.chain());
        }
    }
    if bench.engine == Engine::Mysql {
        bench.run(&[&format!("create user sha256@'%' {}", secret("sha256_password"))]).await;
        let error = MysqlSource::connect(login("sha256", password, TlsMode::Disable)).await.expect_err("the driver has no such method");
        assert_eq!((error.class(), error.code()), (ErrorClass::TaskDefinite, "auth_unsupported"), "{}", error.chain());
        assert!(error.hint_text().is_some_and(|hint| hint.contains("caching_sha2_password")), "{}", error.chain());
    }
    bench.run(&["create user nobody@'%' identified by ''", &format!("create user old@'%' identified by '{quoted}' password expire")]).await;
    MysqlSource::connect(login("nobody", "", TlsMode::Disable)).await.expect("no password is wanted");
    let error = MysqlSource::connect(login("old", password, TlsMode::Disable)).await.expect_err("the password has expired");
    assert_eq!((error.class(), error.code()), (ErrorClass::TaskDefinite, "password_refused"), "{}", error.chain());
    bench.run(&["create user locked@'%' account lock"]).await;
    let error = MysqlSource::connect(login("locked", "", TlsMode::Disable)).await.expect_err("the account is locked");
    assert_eq!((error.class(), error.code()), (ErrorClass::TaskDefinite, "password_refused"), "{}", error.chain());
}

/// Rows are read by connections of our own. Here theirs is the first login since the server forgot who has logged in, so
/// that it wants the password itself: encrypted for it alone, or inside of TLS.
async fn check_first_login(bench: &Bench, engine: Engine) {
    bench.run(&["insert into there values (7)"]).await;
    let modes = if engine == Engine::Mysql { vec![TlsMode::Disable, TlsMode::Require] } else { vec![TlsMode::Disable] };
    for tls in modes {
        let mut settings = settings(&bench.server, engine);
        settings.tls = tls;
        let source = MysqlSource::connect(settings).await.expect("the server lets us in");
        let snapshot = source.snapshot(&scope(&["there"])).await.expect("a snapshot");
        let table = bench.table("there").await;
        let chunks = snapshot.chunks(&table, 10).await.expect("the table can be cut");
        bench.run(&["flush privileges"]).await;
        let mut reader = snapshot.read(table, &chunks[0]).await.expect("it logs in");
        assert_eq!(reader.next_rows().await.expect("the row is read").map(|rows| rows.len()), Some(1), "{engine:?}");
    }
}

/// Tables and settings of which the log does not tell everything.
#[tokio::test]
async fn tables_that_the_log_does_not_tell_of_are_found() {
    for (flavour, engine) in FLAVOURS {
        let server = MysqlServer::start_with(flavour, &["--binlog-ignore-db=hidden", "--binlog-expire-logs-seconds=3600"]).await;
        let source = MysqlSource::connect(settings(&server, engine)).await.expect("the harness's server lets us in");
        let bench = Bench { server, engine, source };
        bench.run(&["create table plain (id int primary key) engine = MyISAM"]).await;
        let mut tables = vec![bench.table("plain").await];
        let mut wanted =
            vec![(Severity::Error, "binlog_ignore_db"), (Severity::Warning, "binlog_expiry"), (Severity::Warning, "storage_engine")];
        if engine == Engine::Mariadb {
            bench
                .run(&[
                    "create table history (id int primary key) with system versioning",
                    "create table folded (id int primary key, v varchar(900) compressed)",
                    "set global gtid_strict_mode = off",
                ])
                .await;
            tables.extend([bench.table("history").await, bench.table("folded").await]);
            wanted.extend([
                (Severity::Error, "system_versioned"),
                (Severity::Error, "column_compressed"),
                (Severity::Warning, "gtid_strict_mode"),
            ]);
        } else {
            bench.run(&["set global binlog_row_value_options = 'PARTIAL_JSON'"]).await;
            wanted.push((Severity::Error, "partial_json"));
        }
        let found = bench.source.check(&scope(&[]).task, &tables, true).await.expect("the check can be done");
        for (severity, code) in wanted {
            let finding = found.iter().find(|finding| finding.code == code);
            let finding = finding.unwrap_or_else(|| panic!("{engine:?} {code}: {found:?}"));
            assert!(finding.severity == severity && finding.fix.is_some(), "{engine:?} {finding:?}");
        }
    }
}
