//! Rights that the target's user lacks, found by the checks; on the servers of another test.

use tidegate_connector::conformance::{Bench as _, notes, task};
use tidegate_connector::{ControlTable, ControlTables, Secret, ServerSettings, Severity, TablePreparation, Target};
use tidegate_mysql::target::MysqlTarget;

use crate::target_support::{Bench, settings};

/// A server names triggers only to users who may make some; MariaDB's latest also to those who may change rows.
pub(crate) async fn triggers_that_a_user_may_not_see_are_told(bench: &Bench) {
    let rights = "select, insert, update, delete, create, drop, alter, index, references";
    let [app, own] = ["app", "tidegate"].map(|schema| format!("grant {rights} on {schema}.* to blind"));
    bench.run(&format!("create user blind identified by 'blind'; {app}; {own}")).await;
    let settings = ServerSettings { user: "blind".into(), password: Secret::new("blind"), ..settings(&bench.server) };
    let target = MysqlTarget::connect(settings).await.expect("the server answers");
    let errors = async |preparation| {
        let found = target.check(&task(), &[notes("t"), notes("ok")], preparation).await.expect("the server answers");
        found.into_iter().filter(|finding| finding.severity == Severity::Error).collect::<Vec<_>>()
    };
    // Also where they go with the table: others may come until the task goes on.
    let found = errors(TablePreparation::DropAndCreate).await;
    let lacking: Vec<_> = found.iter().filter(|finding| finding.code == "missing_privilege").collect();
    assert_eq!((lacking.len(), found.len()), (1, 1), "{found:?}");
    assert!(errors(TablePreparation::Keep).await.contains(lacking[0]));
    let grant = lacking[0].fix.clone().expect("it has a fix");
    assert_eq!(grant, "grant trigger on `app`.* to <user>");
    bench.run(&grant.replace("<user>", "blind")).await;
    let found = errors(TablePreparation::Keep).await;
    assert_eq!((found.len(), found[0].code), (1, "trigger_fires"), "{found:?}");
}

pub(crate) async fn missing_rights_on_control_tables_are_told_before(bench: &Bench) {
    bench.run("create user writer identified by 'writer'").await;
    let settings = ServerSettings { user: "writer".into(), password: Secret::new("writer"), ..settings(&bench.server) };
    let target = MysqlTarget::connect(settings).await.expect("the server answers");
    let tables = ControlTables { schema: "awsdms_control".into(), tables: vec![ControlTable::Status] };
    let found = target.check_control_tables(&tables).await.expect("the server answers");
    assert_eq!((found.len(), found[0].code, found[0].severity), (1, "missing_privilege", Severity::Error), "{found:?}");
    let grant = found[0].fix.clone().expect("it has a fix");
    assert_eq!(grant, "grant select, insert, delete, create on `awsdms_control`.* to <user>");
    bench.run(&grant.replace("<user>", "writer")).await;
    assert_eq!(target.check_control_tables(&tables).await.expect("the server answers"), []);
}
