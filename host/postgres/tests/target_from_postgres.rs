//! A table with types of its own, read by the source and loaded by the target, compared as text.

mod target_support;

use std::sync::Arc;

use target_support::{Bench, chunk, task, window};
use tidegate_connector::{CaptureScope, ColumnOrigin, Snapshot, Source, Target, TargetColumn, TargetTable};
use tidegate_model::TableName;
use tidegate_postgres::source::PostgresSource;

const SOURCE_SQL: &str = "
create schema shop;
create type shop.mood as enum ('sad', 'it''s fine');
create domain shop.short as varchar(5) check (value <> 'no');
create table shop.everything (
    id int primary key, mood shop.mood, moods shop.mood[], short shop.short, p numeric(10,2), big numeric, c char(4), v varchar(9),
    t text, y bytea, day date, ts timestamp(3), tz timestamptz, i interval, j json, jb jsonb, u uuid, net inet, r int4range, pt point,
    x xml, ar int[], words text[], bits bit(5), vb bit varying, tv tsvector, m money, f4 real, f8 double precision, ch \"char\");
insert into shop.everything
select n, 'it''s fine', '{sad,NULL}', 'abc', -12.50, 'NaN', 'x', 'v', e'é\\\\\\n', '\\x00ff', 'infinity', '2000-02-29 12:00:00.123', '-infinity',
    '1 mon -2 days 03:00:00.5', '{\"b\": 1, \"a\": 2}', '{\"b\": 1}', '12121212-1212-1212-1212-121212121212', '10.0.0.0/8', '[1,5)', '(1,2)',
    '<a>b</a>', '{{1,2},{3,NULL}}', '{a,\"b,c\"}', '10101', '1', 'a fat cat', 12.34, 0.1, 'NaN', 'q'
from generate_series(1, 100) n;";

#[tokio::test]
async fn every_type_of_a_postgres_source_arrives_unchanged() {
    let (from, into) = (Bench::new().await, Bench::new().await);
    from.sql.batch_execute(SOURCE_SQL).await.unwrap();
    let source = PostgresSource::connect(from.settings.clone()).await.unwrap();
    let name = TableName::new("shop", "everything");
    let described = source.describe(std::slice::from_ref(&name)).await.unwrap().remove(0);
    let columns = described.schema.columns.iter().enumerate().map(|(index, column)| TargetColumn {
        name: column.name.clone(),
        sql_type: column.sql_type.clone(),
        nullable: column.nullable,
        origin: ColumnOrigin::Source(index),
    });
    let key = described.schema.primary_key.clone();
    let table = TargetTable {
        name: name.clone(),
        columns: columns.collect(),
        primary_key: key.clone(),
        identity: key,
        source: Arc::clone(&described),
        objects: Arc::default(),
        unfit: Default::default(),
        computed: Vec::new(),
    };
    let table = Arc::new(table);
    into.prepare(&table).await.unwrap();
    into.target.save_chunks(&into.fence, &name, &[chunk(0)]).await.unwrap();

    let snapshot: Box<dyn Snapshot> = source.snapshot(&CaptureScope { task: task(), tables: vec![name] }).await.unwrap();
    let mut loader = into.target.loader(&into.fence).await.unwrap();
    loader.begin(&table, &chunk(0), false).await.unwrap();
    for part in snapshot.chunks(&described, 40).await.unwrap() {
        let mut reader = snapshot.read(Arc::clone(&described), &part).await.unwrap();
        while let Some(rows) = reader.next_rows().await.unwrap() {
            loader.write(rows.into()).await.unwrap();
        }
    }
    assert_eq!(loader.finish(&window(1)).await.unwrap(), 100);

    // The array's elements have another type id here than there.
    let plain = "id, mood, moods, short, p, big, c, v, t, y, day, ts, tz, i, j::text, jb, u, net, r, pt::text, x::text, ar, words, bits, vb, tv, m, f4, f8, ch";
    let query = format!("select {plain} from shop.everything order by id");
    assert_eq!(into.one(&query).await, from.one(&query).await);
}
