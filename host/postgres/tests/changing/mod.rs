//! Definitions that change while they are read.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tidegate_connector::Source;
use tidegate_harness::PostgresVersion;
use tidegate_model::TableSchema;

use crate::fixture::{Fixture, public, read_while, scope};

const MADE: &str = "create type mood as enum ('one', 'two');
    create table swapped (a integer primary key, b integer not null, v mood); alter table swapped replica identity full;
    create table remade (id integer primary key, v text); create sequence numbers";

/// Each is one transaction, and all of them together, done twice, end where they began. The key of `swapped` is always upon column a,
/// which is another column each time; the type of its column v is always mood, which is another type each time.
const CHANGES: [&str; 4] = [
    "alter table swapped drop constraint swapped_pkey; alter table swapped rename a to c; alter table swapped rename b to a;
     alter table swapped rename c to b; alter table swapped add primary key (a)",
    "drop table remade; create table remade (v text not null unique, k bigint primary key)",
    "create type next as enum ('one', 'two'); alter table swapped alter v type next using null; drop type mood; alter type next rename to mood",
    "drop table remade; create table remade (id integer primary key, v text)",
];

const ROUNDS: usize = 100;

fn key_of(schema: &TableSchema) -> Vec<&str> {
    schema.primary_key.iter().map(|place| schema.columns[*place].name.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_that_changes_while_it_is_read_is_told_as_one_that_was() {
    for version in [PostgresVersion::V15, PostgresVersion::V18] {
        let fixture = Fixture::start(version).await;
        fixture.run(MADE).await;
        let tables = public(&["swapped", "remade"]);
        let describe = async || {
            loop {
                match fixture.source.describe(&tables).await {
                    Ok(described) => return described.iter().map(|table| table.schema.clone()).collect::<Vec<_>>(),
                    // Changes may be quicker than a description on a busy machine.
                    Err(error) if error.code() == "tables_changing" => {}
                    Err(error) => panic!("both are there at any moment: {error}"),
                }
            }
        };
        let mut committed = Vec::new();
        for sql in CHANGES.iter().cycle().take(2 * CHANGES.len()) {
            fixture.run(&format!("begin; {sql}; commit")).await;
            committed.extend(describe().await);
        }

        let scope = scope(&public(&["swapped"]));
        let position = fixture.begin_without_load(&scope).await;
        let mut stream = fixture.source.open_stream(&scope, &position).await.expect("a stream");
        // A busy machine describes fewer in the time of a change: changes go on until there are enough of both.
        let (is_over, told) = (AtomicBool::new(false), AtomicUsize::new(0));
        let changing = async {
            let client = fixture.client().await;
            for (changed, sql) in CHANGES.iter().cycle().enumerate() {
                if changed >= ROUNDS * CHANGES.len() && told.load(Ordering::Relaxed) > ROUNDS {
                    break;
                }
                let row = "insert into swapped (a, b) select n, n from nextval('numbers') n";
                client.batch_execute(&format!("begin; {sql}; {row}; commit")).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
            }
            is_over.store(true, Ordering::Relaxed);
        };
        let describing = async {
            while !is_over.load(Ordering::Relaxed) {
                for schema in describe().await {
                    assert!(committed.contains(&schema), "{version:?}, after {told:?} descriptions: this never was: {schema:?}");
                    told.fetch_add(1, Ordering::Relaxed);
                }
            }
        };
        let following = read_while(stream.as_mut(), |seen| seen.commits.len() < ROUNDS * CHANGES.len());
        let ((), (), seen) = tokio::join!(changing, describing, following);
        println!("{version:?}: {told:?} descriptions of the catalog, {} of the stream", seen.tables.len());
        assert!(seen.tables.len() > 1, "{version:?}");
        for table in seen.tables.values() {
            assert_eq!(key_of(&table.schema), ["a"], "{version:?}: this key never was: {:?}", table.schema);
        }
    }
}
