//! When tables get their primary keys.

use mysql_async::prelude::Queryable;
use serde_json::json;

use crate::runs::wait_target;
use crate::world::{Source, World};

/// A table of a MySQL or MariaDB source whose rows cannot be read yet has no key in the target, and gets it with its rows, also
/// when the load was killed.
pub(crate) async fn keys_come_behind_the_rows(world: &mut World) {
    let schema = world.source.schema();
    world.source_sql("create table late_rows (part int, id int, note text, primary key (part, id))").await;
    world.source_sql("insert into late_rows values (1, 1, 'a'), (1, 2, 'b'), (2, 1, 'c')").await;
    let Source::Mysql(server) = &*world.source else { panic!("only MySQL and MariaDB can keep readers away from a table") };
    let mut blocker = server.client().await;
    blocker.query_drop(format!("lock tables {schema}.late_rows write")).await.expect("the table can be locked");
    let task = json!({"name": "late", "source": "source", "target": "target", "migration_type": "full-load-and-cdc",
        "preparation": "drop-and-create", "settings": {"target_schema": "late", "primary_keys": "after-load"},
        "table_mappings": {"rules": [{"rule-type": "selection", "rule-id": "1", "rule-name": "1", "rule-action": "include",
            "object-locator": {"schema-name": schema, "table-name": "late_rows"}}]}});
    world.host.post("/v1/tasks", &task).await.ok();
    world.start_task("late").await;
    let keys = "select coalesce(count(c.oid) || '', '') from (select to_regclass('late.late_rows') t) x \
                left join pg_constraint c on c.conrelid = x.t and c.contype = 'p' where x.t is not null group by x.t";
    wait_target(world, keys, "0").await;
    world.kill_and_restart().await;
    wait_target(world, keys, "0").await;
    blocker.query_drop("unlock tables").await.expect("the table can be unlocked");
    world.wait_phase("late", "replicating").await;
    assert_eq!(world.target.value(keys).await, "1");
    world.source_sql("update late_rows set note = 'changed' where part = 2; insert into late_rows values (3, 1, 'd')").await;
    wait_target(
        world,
        "select string_agg(part || '.' || id || note, ' ' order by part, id) from late.late_rows",
        "1.1a 1.2b 2.1changed 3.1d",
    )
    .await;
}
