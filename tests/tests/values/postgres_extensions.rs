//! The types of PostGIS and pgvector, as they are in these extensions.
//!
//! PostgreSQL prints a geometry as the digits of its bytes (EWKB), which the test takes for its value: two that are equal for
//! PostGIS need not be the same.

use std::sync::Arc;

use serde_json::json;
use tidegate_harness::{MysqlFlavour, PostgresServer, PostgresVersion};

use crate::world::{Source, World};

/// Types with values that get lost elsewhere; the value of column n in row r is the r-th of its list, or NULL.
const KINDS: &[(&str, &[&str])] = &[
    (
        "geometry",
        &[
            "'SRID=4326;POINT(13.4 52.5)'",
            "'POINT EMPTY'",
            "'SRID=3857;GEOMETRYCOLLECTION EMPTY'",
            "'GEOMETRYCOLLECTION(POINT EMPTY,LINESTRING(0 0,1 1),POLYGON EMPTY)'",
            "'POLYGON((0 0,1 1,1 0,0 1,0 0))'",
            "'POINT(NaN -0)'",
            "'CURVEPOLYGON(CIRCULARSTRING(0 0,4 0,4 4,0 4,0 0))'",
            "'TIN Z (((0 0 0,0 0 1,0 1 0,0 0 0)))'",
            // Far above what a page holds, so it is stored elsewhere and not logged with updates of other columns.
            "st_setsrid(st_makeline(array(select st_point(random(), random()) from generate_series(1, 3000))), 4326)",
        ],
    ),
    ("geometry(Point,4326)", &["'SRID=4326;POINT(-180 90)'", "'SRID=4326;POINT EMPTY'"]),
    ("geometry(LineStringZM,25832)", &["'SRID=25832;LINESTRING ZM(0 0 1 2,1e300 -1e-300 3 4)'"]),
    ("geometry(MultiPolygon)", &["'MULTIPOLYGON(((0 0,4 0,4 4,0 4,0 0),(1 1,2 1,2 2,1 2,1 1)))'"]),
    ("geography", &["'SRID=4326;POINT(13.4 52.5)'", "'POINT EMPTY'", "'SRID=4267;LINESTRING(0 0,179 89)'"]),
    ("geography(Point,4326)", &["'POINT(13.4 52.5)'"]),
    (
        "geometry[]",
        &[
            "array['SRID=4326;POINT(1 2)', null, 'POINT EMPTY']::geometry[]",
            "'{}'",
            "'{{0101000000000000000000F03F0000000000000040:NULL}}'",
        ],
    ),
    ("place", &["'SRID=4326;POINT(1 2)'"]),
    ("geometry_dump", &["row(array[1, 2], 'SRID=4326;POINT(1 2)')"]),
    ("box2d", &["'BOX(0 0,1.5 2.25)'"]),
    ("box3d", &["'BOX3D(0 0 0,1 2 3)'"]),
    ("vector", &["'[1,2.5,-3]'", "'[0.1]'", "array_fill(1.5::real, array[16000])::vector"]),
    ("vector(3)", &["'[1e-45,3.4028235e38,-0]'"]),
    ("halfvec(2)", &["'[65504,-6e-08]'"]),
    ("sparsevec(5)", &["'{1:1.5,5:-2}/5'", "'{}/5'"]),
    ("vector[]", &["array['[1,2]', null]::vector[]"]),
];

/// What makes them; the types of users that a target has to have.
const EXTENSIONS: &str = "create extension postgis; create extension vector;";

async fn source() -> Arc<Source> {
    let source = Arc::new(Source::Postgres(PostgresServer::start(PostgresVersion::V17Extended).await));
    let columns: Vec<String> = KINDS.iter().enumerate().map(|(index, (kind, _))| format!("c{index} {kind}")).collect();
    source
        .sql(&format!(
            "{EXTENSIONS} create domain place as geometry(Point,4326) check (not st_isempty(value));
             create table marker (id integer primary key);
             create table kinds (id integer primary key, note text, {},
                 x double precision generated always as (st_x(c1)) stored, constraint a_point_is_valid check (st_isvalid(c1)));
             create index kinds_places on kinds using gist (c0); create index kinds_earth on kinds using gist (c4);
             create index kinds_near on kinds using hnsw (c12 vector_l2_ops)",
            columns.join(", ")
        ))
        .await;
    source
}

fn rows() -> usize {
    KINDS.iter().map(|(_, values)| values.len()).max().expect("there are types") + 1
}

/// The statement's list of values for row `row`; the last row has none.
fn values(row: usize) -> String {
    KINDS.iter().map(|(_, values)| values.get(row).copied().unwrap_or("null")).collect::<Vec<_>>().join(", ")
}

fn names() -> Vec<String> {
    (0..KINDS.len()).map(|index| format!("c{index}")).collect()
}

/// Every value is loaded, inserted while the task runs, updated then, and stays when another column is updated.
async fn replicate(world: &World, task: &str) {
    for row in 0..rows() {
        world.source_sql(&format!("insert into kinds values ({row}, 'a', {}); insert into kinds values (2000 + {row})", values(row))).await;
    }
    world.create_task(task, "full-load-and-cdc", "drop-and-create", json!({})).await;
    world.start_task(task).await;
    world.wait_phase(task, "replicating").await;
    for row in 0..rows() {
        let (names, values) = (names().join(", "), values(row));
        world
            .source_sql(&format!(
                "insert into kinds values (1000 + {row}, 'a', {values}); update kinds set ({names}) = ({values}) where id = 2000 + {row}"
            ))
            .await;
    }
    world.source_sql("update kinds set note = 'b' where id < 2000; update kinds set id = id + 10000 where id % 2 = 0").await;
    world.wait_level(task).await;
}

/// The text of a column's value in MySQL, as SQL of the source: the digits of what the type's own functions make of it.
fn in_mysql(column: &str, kind: &str) -> String {
    let digits = |value: &str, kind: &str| {
        let name = kind.split(['(', '[']).next().expect("there is a name");
        format!(r"'\x' || encode({}_send({value}), 'hex')", if name == "place" { "geometry" } else { name })
    };
    match kind {
        "box2d" | "box3d" => format!("{column}::text"),
        "geometry_dump" => format!(r#"'("{{1,2}}","\' || {} || '")'"#, digits(&format!("({column}).geom"), "geometry")),
        // Of any number of dimensions; the values of others are printed with commas in them.
        "geometry[]" => {
            let lists = format!("lower(translate({column}::text, '{{}}:', '[],'))");
            format!(r#"regexp_replace({lists}, '([0-9a-f]{{10,}})', '"\\\\x\1"', 'g')"#)
        }
        "vector[]" => format!("replace((select json_agg({}) from unnest({column}) e)::text, ' ', '')", digits("e", kind)),
        _ => digits(column, kind),
    }
}

/// What differs, column by column, between the rows of two reads.
fn assert_equal(wanted: &[Vec<Option<String>>], found: &[Vec<Option<String>>]) {
    assert_eq!((found.len(), wanted.len()), (3 * rows(), 3 * rows()));
    let short = |value: &Option<String>| value.as_ref().map(|text| text.chars().take(100).collect::<String>());
    for (wanted, found) in wanted.iter().zip(found) {
        for (index, (wanted_value, found_value)) in wanted.iter().zip(found).enumerate() {
            assert!(
                wanted_value == found_value,
                "column {index} of row {:?}: {:?}, wanted {:?}",
                wanted[0],
                short(found_value),
                short(wanted_value)
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn types_of_postgis_and_pgvector_arrive_in_postgres_with_their_indexes() {
    let world = World::with(source().await, Arc::new(Source::Postgres(PostgresServer::start(PostgresVersion::V17Extended).await))).await;
    world.target.sql(EXTENSIONS).await;
    replicate(&world, "places").await;
    // PostGIS's own table stands beside those of the task.
    let findings = world.host.post("/v1/tasks/places/check", &json!({})).await.ok()["findings"].clone();
    let told = findings.as_array().and_then(|all| all.iter().find(|found| found["code"] == "not_a_table"));
    assert!(
        told.is_some_and(|told| told["object"].to_string().contains("table of an extension \\\"public.spatial_ref_sys\\\"")),
        "{findings}"
    );
    assert_eq!(world.target.value("select count(*) from pg_tables where schemaname = 'copy' and tablename = 'spatial_ref_sys'").await, "0");

    let read = |schema: &str| {
        let columns: Vec<String> = names().iter().map(|name| format!("{name}::text")).collect();
        format!("select id::text, note, x::text, {} from {schema}.kinds order by id", columns.join(", "))
    };
    assert_equal(&world.source.rows(&read("public")).await, &world.target.rows(&read("copy")).await);

    let kinds = |table: &str| {
        format!(
            "select format_type(atttypid, atttypmod) from pg_attribute where attrelid = '{table}'::regclass and attnum > 0 order by attnum"
        )
    };
    let (mut wanted, found) = (world.source.rows(&kinds("public.kinds")).await, world.target.rows(&kinds("copy.kinds")).await);
    // A domain that the target does not have becomes what is below it.
    let place = KINDS.iter().position(|(kind, _)| *kind == "place").expect("it is among them") + 2;
    wanted[place] = vec![Some("geometry(Point,4326)".to_owned())];
    assert_eq!(found, wanted);
    let indexes = "select indexname, replace(indexdef, 'public.', 'copy.') from pg_indexes where tablename = 'kinds' order by 1";
    assert_eq!(world.target.rows(indexes).await, world.source.rows(indexes).await);
    let checks = "select conname, pg_get_constraintdef(oid) from pg_constraint where contype = 'c' and conname = 'a_point_is_valid'";
    assert_eq!(world.target.rows(checks).await, world.source.rows(checks).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn types_of_postgis_and_pgvector_arrive_in_mysql_and_mariadb_as_their_bytes() {
    let source = source().await;
    for (task, flavour) in [("to-mysql", MysqlFlavour::Mysql97), ("to-mariadb", MysqlFlavour::Mariadb1011)] {
        let world = World::with(source.clone(), Arc::new(Source::mysql(flavour).await)).await;
        replicate(&world, task).await;
        let is_json = |kind: &str| kind.ends_with("[]");
        let read = names().into_iter().zip(KINDS).map(|(name, (kind, _))| {
            // The servers write blanks into JSON as they like.
            if is_json(kind) { format!("replace(cast({name} as char), ' ', '')") } else { name }
        });
        let read = read.collect::<Vec<_>>().join(", ");
        let found = world.target.rows(&format!("select id, note, {read} from copy.kinds order by id")).await;
        let wanted = names().into_iter().zip(KINDS).map(|(name, (kind, _))| in_mysql(&name, kind)).collect::<Vec<_>>().join(", ");
        assert_equal(&source.rows(&format!("select id, note, {wanted} from kinds order by id")).await, &found);

        let of_table = "table_schema = 'copy' and table_name = 'kinds' and column_name like 'c%' order by ordinal_position";
        let types = world.target.rows(&format!("select data_type from information_schema.columns where {of_table}")).await;
        for (found, (kind, _)) in types.iter().zip(KINDS) {
            let json = if flavour.is_mariadb() { "longtext" } else { "json" };
            assert_eq!(found[0].as_deref(), Some(if is_json(kind) { json } else { "longtext" }), "{kind}");
        }
        let findings = world.host.post(&format!("/v1/tasks/{task}/check"), &json!({})).await.ok()["findings"].clone();
        let told = findings.as_array().into_iter().flatten().filter(|found| found["code"] == "type_as_bytes").count();
        assert_eq!(told, KINDS.len() - 2, "all but the two that are printed: {findings}");
        source.sql("delete from kinds").await;
    }
}
