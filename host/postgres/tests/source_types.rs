//! Every type, from the snapshot and from the stream, against what the server itself prints.

mod fixture;

use fixture::{Fixture, public, read_until, rows_of, scope, text};
use tidegate_connector::Source;
use tidegate_harness::PostgresVersion;
use tidegate_model::{Change, RowChange};

/// Type, how the server prints a value `x` in the form that the test's own rendering has, and literals.
const CASES: &[(&str, &str, &[&str])] = &[
    ("bool", "x::text", &["'t'", "'f'", "null"]),
    ("int2", "x::text", &["-32768", "32767"]),
    ("int4", "x::text", &["-2147483648", "0"]),
    ("int8", "x::text", &["9223372036854775807"]),
    ("float4", "x::text", &["0.1", "-1.5"]),
    ("float8", "x::text", &["0.1", "0.30000000000000004", "'NaN'"]),
    (
        "numeric",
        "x::text",
        &["1.10", "'NaN'", "'Infinity'", "'-Infinity'", "0", "0.000", "-0.00001", "10000", "12345678901234567890.123", "1e-20", "1e20"],
    ),
    ("numeric(5,2)", "x::text", &["1", "-999.99"]),
    ("numeric(3,5)", "x::text", &["0.00123"]),
    ("text", "x", &["''", "'é😀'", "E'a\\tb\\nc'", "'\\N'"]),
    ("varchar(5)", "x", &["'ab'"]),
    ("char(5)", "format('%s', x)", &["'ab'"]),
    ("name", "x::text", &["'n'"]),
    ("bytea", "encode(x, 'hex')", &["'\\x00ff5c'", "''"]),
    ("date", "(x - date '1970-01-01')::text", &["'2024-02-29'", "'4713-01-01 BC'", "'5874897-12-31'", "'0001-01-01'"]),
    ("time", "(extract(epoch from x) * 1000000)::int8::text", &["'24:00:00'", "'23:59:59.999999'"]),
    ("timestamp", "(extract(epoch from x) * 1000000)::int8::text", &["'0044-03-15 01:02:03 BC'", "'1999-12-31 23:59:59.999999'"]),
    ("timestamp(3)", "(extract(epoch from x) * 1000000)::int8::text", &["'2024-01-01 00:00:00.1236'"]),
    ("timestamptz", "(extract(epoch from x) * 1000000)::int8::text", &["'1850-01-01 00:00:00+05:53:28'", "'294246-12-31 23:59:59+00'"]),
    (
        "interval",
        "x::text",
        &["'-1 year -2 mons +3 days -04:05:06.789'", "'178000000 years'", "'1 mon'", "'30 days'", "'0'", "'00:00:00.5'"],
    ),
    ("json", "x::text", &["' {\"b\":1,  \"a\" : \"\\u0041\", \"a\":2} '", "'null'"]),
    ("jsonb", "x::text", &["'{\"b\": 1.10, \"a\": [1, null]}'"]),
    ("uuid", "x::text", &["'00010203-0405-0607-0809-0a0b0c0d0e0f'"]),
    ("mood", "x::text", &["'it''s'", "''"]),
    ("money_domain", "x::text", &["1.5"]),
    ("bit(8)", "encode(decode(to_hex(x::int), 'hex'), 'hex')", &["B'10100101'"]),
    ("int4[]", "to_json(x)::text", &["'{1,NULL,3}'", "'{}'", "'{{1,2},{3,4}}'"]),
    ("text[]", "to_json(x)::text", &["array['a,b', '\"q\"', E'\\\\', '', null, 'NULL', E'\\t']"]),
    ("numeric[]", "to_json(x)::text", &["'{1.10,-2}'"]),
    ("date[]", "to_json(x)::text", &["'{2024-02-29}'"]),
    ("timestamp[]", "to_json(x)::text", &["'{\"2024-02-29 12:00:00.5\"}'"]),
    ("bool[]", "to_json(x)::text", &["'{t,f}'"]),
    ("uuid[]", "to_json(x)::text", &["'{00010203-0405-0607-0809-0a0b0c0d0e0f}'"]),
    ("mood[]", "to_json(x)::text", &["array['it''s', '']::mood[]"]),
    ("inet[]", "to_json(x::text[])::text", &["'{10.0.0.1/8,NULL}'"]),
    ("money", "x::numeric::text", &["'1234.5'", "'-0.05'", "'-92233720368547758.08'"]),
    ("money[]", "to_json(x::numeric[]::text[])::text", &["array['0.1'::money, null]"]),
    ("\"char\"", "x::text", &["'a'", "''"]),
    ("xid", "x::text", &["'4294967295'"]),
    ("tid", "x::text", &["'(4294967295,65535)'"]),
    ("jsonpath", "x::text", &["'strict $.a[*] ? (@ > 1)'"]),
    ("tsvector", "x::text", &["'it''s:1A,2 back\\\\slash:3C plain other:16383'", "''"]),
    ("hstore", "x::text", &["'a=>1, \"quo\\\"te\"=>\"a,b\", gone=>NULL'", "''"]),
    ("ltree", "x::text", &["'Top.Science'"]),
    ("point", "x::text", &["'(1,-2.5)'", "'(NaN,Infinity)'"]),
    ("lseg", "x::text", &["'[(1,2),(3,4)]'"]),
    ("box", "x::text", &["'(1,2),(3,4)'"]),
    ("path", "x::text", &["'((1,2),(3,1e20))'", "'[(0.0001,0.00001)]'"]),
    ("polygon", "x::text", &["'((1,2),(3,4),(5,6))'"]),
    ("line", "x::text", &["'{1,-1,0.1}'"]),
    ("circle", "x::text", &["'<(1,2),3>'"]),
    ("span", "x::text", &["'[0.1,1e20)'", "'empty'", "'(,1e15]'"]),
    ("spans", "x::text", &["'{[0.1,0.2),[5,)}'", "'{}'"]),
    ("word_range", "x::text", &["word_range('a b', 'c,\"d\\', '[]')", "word_range('', 'x')"]),
    (
        "pair",
        "x::text",
        &[
            "row(7, E'a \"b\\\\', '0044-03-15 BC', '2024-01-01 00:00:00.5+01', array[0.1, 1e20], '{\"a\": 1}', 'it''s', '1 mon', true, '\\x00ff')::pair",
            "row(null, '', 'infinity', '-infinity', '[0:1]={1,NULL}', 'null', '', '-1 day', false, '')::pair",
            "null",
        ],
    ),
    ("pair_domain", "x::text", &["row(7, 'x', null, null, null, null, null, null, null, null)"]),
    ("pair[]", "to_json(x::text[])::text", &["array[row(1, 'a,b', null, null, '{}', null, null, null, null, null)::pair, null]", "'{}'"]),
    ("nested", "x::text", &["row(array[row(1, 'a b', null, null, null, null, null, null, null, null)::pair, null], '[1,2)')::nested"]),
    ("refcursor", "x::text", &["'cur'"]),
    ("pg_snapshot", "x::text", &["'10:20:10,14,15'", "'1:1:'"]),
    ("txid_snapshot", "x::text", &["'4294967297:4294967299:4294967298'"]),
    ("int2vector", "x::text", &["'1 -2 3'", "''"]),
    ("oidvector", "x::text", &["'4294967295 1'"]),
    ("bit[]", "to_json(x::text[])::text", &["array[B'1', null]"]),
    (
        "tsquery",
        "x::text",
        &[
            "'fat & (rat | !cat:*AB)'",
            "'a <-> (b <2> c) | !!d'",
            "'(a <2> b) <-> c & !(d | e)'",
            "'a & b & c | d | e'",
            r"$$'it''s' & 'back\\slash':D$$",
            "''",
        ],
    ),
    ("tsquery[]", "to_json(x::text[])::text", &["'{a & b,NULL}'"]),
    ("cube", "x::text", &["'(1,2),(3,4.5)'", "'(1,1),(1,1)'", "'(0.1)'", "'(1e20,-0),(NaN,3)'", "cube(array[]::float8[])"]),
    ("cube[]", "to_json(x::text[])::text", &["array['(1),(2)'::cube]"]),
    ("lquery", "x::text", &["'Top.*{2,}.!a|b'"]),
    ("ltxtquery", "x::text", &["'Europe & !Russia@*'"]),
    // Without a binary form: cast to text in the snapshot, sent as text in the stream.
    ("aclitem", "x::text", &["'postgres=r/postgres'"]),
    ("isbn", "x::text", &["'0-393-04002-X'"]),
    ("ean13", "x::text", &["'978-0-393-04002-9'"]),
    ("issn13", "x::text", &["'1436-4522'"]),
    ("upc", "x::text", &["'036000291452'"]),
    ("weak_isbn", "x::text", &["'0-393-04002-X'"]),
    ("seg", "x::text", &["'1.50 .. 2.5'", "'<7'", "'5(+-)0.3'"]),
    ("query_int", "x::text", &["'1&(2|!3)'"]),
    // Of a type that nobody knows: its binary form.
    ("note", r"'\x' || encode(x::text::bytea, 'hex')", &["'abc'", "''"]),
    ("note[]", r"to_json(array['\x' || encode('a,b', 'hex'), null])::text", &["array['a,b', null]::note[]"]),
];

/// Values that no neutral type holds.
const REFUSED: &[(&str, &str, &str)] = &[
    ("date", "'infinity'", "infinity"),
    ("date", "'-infinity'", "-infinity"),
    ("timestamp", "'infinity'", "infinity"),
    ("timestamptz", "'-infinity'", "-infinity"),
    ("int4[]", "'[0:1]={1,2}'", "another index"),
];

#[tokio::test(flavor = "multi_thread")]
async fn values_are_the_servers_own_in_snapshot_and_stream() {
    for version in [PostgresVersion::V15, PostgresVersion::V18] {
        let fixture = Fixture::start(version).await;
        fixture.run("create type mood as enum ('', 'it''s'); create domain money_domain as numeric(7,2) check (value > 0)").await;
        fixture
            .run(
                "create extension hstore; create extension ltree; create extension cube; create extension isn; create extension seg;
                 create extension intarray; create domain weak_isbn as isbn;
                 create type note; create function note_in(cstring) returns note language internal immutable strict as 'textin';
                 create function note_out(note) returns cstring language internal immutable strict as 'textout';
                 create function note_recv(internal) returns note language internal immutable strict as 'textrecv';
                 create function note_send(note) returns bytea language internal immutable strict as 'textsend';
                 create type note (input = note_in, output = note_out, receive = note_recv, send = note_send, like = text);
                 create type span as range (subtype = float8, multirange_type_name = spans); create type word_range as range (subtype = text);
                 create type pair as (n int, t text, d date, z timestamptz, f float8[], j jsonb, m mood, i interval, b bool, y bytea);
                 create domain pair_domain as pair; create type nested as (p pair[], r span)",
            )
            .await;
        // Settings that would change the text of values, had they not been pinned.
        fixture
            .run(
                "alter role postgres set datestyle = 'SQL, DMY'; alter role postgres set intervalstyle = 'sql_standard';
                 alter role postgres set extra_float_digits = 0; alter role postgres set bytea_output = 'escape';
                 alter role postgres set timezone = 'Asia/Kolkata'",
            )
            .await;
        let mut names = Vec::new();
        let mut create = String::new();
        let mut insert = String::new();
        for (index, (sql_type, _, literals)) in CASES.iter().enumerate() {
            let name = format!("t{index:02}");
            create.push_str(&format!("create table {name}(id int primary key, x {sql_type});"));
            for (id, literal) in literals.iter().enumerate() {
                insert.push_str(&format!("insert into {name} values ({id}, {literal});"));
            }
            names.push(name);
        }
        for (index, (sql_type, literal, _)) in REFUSED.iter().enumerate() {
            let name = format!("u{index:02}");
            create.push_str(&format!("create table {name}(id int primary key, x {sql_type});"));
            insert.push_str(&format!("insert into {name} values (0, {literal});"));
            names.push(name);
        }
        fixture.run(&create).await;
        fixture.run(&insert).await;
        let tables = public(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let start = fixture.source.begin_capture(&scope(&tables)).await.expect("capture begins");
        fixture.run(&insert.replace(" values (", " values (100 + ")).await;
        let described = fixture.source.describe(&tables).await.expect("described");
        let mut stream = fixture.source.open_stream(&scope(&tables), &start.position).await.expect("a stream");
        let seen = read_until(stream.as_mut(), &fixture.end().await).await;

        for (index, table) in described.iter().enumerate() {
            let snapshot_rows = rows_of(start.snapshot.as_ref(), table, 1000).await;
            let mut found: Vec<(i32, String)> =
                snapshot_rows.iter().map(|row| (id(&text(table, row, "id")), text(table, row, "x"))).collect();
            for change in seen.changes() {
                let Change::Row { relation, change: RowChange::Insert { new } } = change else { panic!("only inserts") };
                let streamed = seen.table(*relation);
                if streamed.schema.name == table.schema.name {
                    assert_eq!(streamed.schema, table.schema, "{version:?}");
                    found.push((id(&text(streamed, new, "id")), text(streamed, new, "x")));
                }
            }
            found.sort();
            match CASES.get(index) {
                Some((sql_type, print, literals)) => {
                    let name = &table.schema.name.name;
                    let sql = format!("select id, coalesce({print}, '(null)') from {name} order by id");
                    let server = fixture.client().await;
                    server
                        .batch_execute(
                            "set intervalstyle = iso_8601; set timezone = 'UTC'; set datestyle = 'ISO'; set extra_float_digits = 3; \
                             set bytea_output = 'hex'",
                        )
                        .await
                        .expect("settings");
                    let wanted = server.query(&sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
                    let wanted: Vec<(i32, String)> = wanted.iter().map(|row| (row.get(0), row.get(1))).collect();
                    assert_eq!(found, wanted, "{version:?} {sql_type}");
                    assert_eq!(wanted.len(), literals.len() * 2);
                }
                None => {
                    let (sql_type, _, reason) = REFUSED[index - CASES.len()];
                    assert_eq!(found.len(), 2);
                    for (_, said) in &found {
                        assert!(said.starts_with("(error: ") && said.contains(reason), "{version:?} {sql_type}: {said}");
                    }
                }
            }
        }
    }
}

fn id(text: &str) -> i32 {
    text.parse().expect("an id")
}
