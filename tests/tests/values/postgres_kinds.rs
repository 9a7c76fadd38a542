//! Types of PostgreSQL with values that replicas get wrong.

/// Types with values that get lost elsewhere; the value of column n in row r is the r-th of its list, or NULL.
pub(crate) const KINDS: &[(&str, &[&str])] = &[
    ("boolean", &["true", "false"]),
    ("smallint", &["-32768", "32767"]),
    ("integer", &["-2147483648", "2147483647"]),
    ("bigint", &["-9223372036854775808", "9223372036854775807"]),
    (
        "numeric",
        &["'NaN'", "'Infinity'", "'-Infinity'", "1.10", "'-0.000'", "(repeat('9', 1000) || '.' || repeat('1', 1000))::numeric", "1e131071"],
    ),
    ("numeric(5,-2)", &["12345"]),
    ("numeric(3,5)", &["0.00123"]),
    ("real", &["0.1", "'-0'", "'NaN'", "'Infinity'", "'1e-45'", "'3.4028235e38'"]),
    ("double precision", &["0.1", "0.30000000000000004", "'-0'", "'5e-324'", "'1.7976931348623157e308'", "'NaN'", "'-Infinity'"]),
    ("date", &["'infinity'", "'-infinity'", "'4713-01-01 BC'", "'0044-03-15 BC'", "'5874897-12-31'"]),
    ("timestamp", &["'infinity'", "'-infinity'", "'4713-01-01 BC'", "'294276-12-31 23:59:59.999999'"]),
    ("timestamptz", &["'infinity'", "'-infinity'", "'1850-01-01 00:00:00+00'", "'294276-12-31 23:59:59.999999+00'"]),
    ("timestamp(3)", &["'2020-01-01 00:00:00.1236'"]),
    ("time", &["'24:00:00'", "'00:00:00.000001'"]),
    ("timetz", &["'23:59:59.999999-15:59:59'", "'24:00:00+15:59'"]),
    ("interval", &["'-1 year -2 mons +3 days -04:05:06.789'", "'178000000 years'", "'1 mon'", "'30 days'", "'0'"]),
    ("integer[]", &["'[0:1][2:3]={{1,NULL},{3,4}}'", "'{}'", "'{NULL}'"]),
    ("text[]", &[r#"array['a,b', '"q"', '\', ' ', '', null, 'NULL']"#, "'{}'"]),
    ("box[]", &["'{(1,1),(0,0);(2,2),(0,0)}'"]),
    ("numeric[]", &["'{NaN,1.10,NULL}'"]),
    ("json[]", &[r#"array['{"a": 1,  "a":2}', 'null']::json[]"#]),
    ("bytea[]", &[r"array['\x00ff5c', '\x']::bytea[]"]),
    ("timestamptz[]", &["'{infinity,2020-01-01 00:00:00.5+00}'"]),
    ("uuid[]", &["array['123e4567-e89b-12d3-a456-426614174000']::uuid[]"]),
    ("mood[]", &["array['a,b', '']::mood[]"]),
    ("amount[]", &["array[1.25, 2]::amount[]"]),
    ("int4range", &["'(1,10]'", "'empty'", "'(,)'"]),
    ("numrange", &["'[1.10,)'"]),
    ("int4multirange", &["'{[1,3),[5,6)}'", "'{}'"]),
    ("tstzrange", &["'[-infinity,infinity]'"]),
    ("mood", &["'so so'", "'a,b'", "'it''s'", "''"]),
    ("pair", &["row(1, array['x', null, 'y,z'])", "row(null, null)"]),
    ("small_amount", &["1.25", "-99.99"]),
    ("json", &[r#"'{"b": 1,  "a":2, "a":3, "x":"\u0041"}'"#, "'null'", r#"'"\ud800"'"#]),
    ("jsonb", &[r#"'{"n":1.10,"big":123456789012345678901234567890,"a":1,"a":2}'"#, "'null'", "'[]'"]),
    ("hstore", &[r#"'a=>NULL, b=>"x"'"#, "''"]),
    ("citext", &["'AbC'"]),
    ("bit(5)", &["B'00101'"]),
    ("bit varying", &["B''", "repeat('10', 35)::bit varying"]),
    ("money", &["'-$1,234.56'", "'92233720368547758.07'"]),
    ("inet", &["'10.0.0.1/8'", "'10.0.0.1/32'", "'2001:db8::1/64'"]),
    ("cidr", &["'10.0.0.1/32'", "'2001:db8::/32'"]),
    ("macaddr", &["'08:00:2b:01:02:03'"]),
    ("macaddr8", &["'08:00:2b:01:02:03:04:05'"]),
    ("\"char\"", &["''", "'a'", "'\\377'"]),
    ("oid", &["4294967295", "0"]),
    ("xid8", &["'18446744073709551615'"]),
    ("pg_lsn", &["'FFFFFFFF/FFFFFFFF'", "'0/0'"]),
    ("name", &["'Name'"]),
    ("jsonpath", &["'$.a[*] ? (@ > 1)'"]),
    ("tsvector", &["'fat:2A cat:3 ''it''''s'''", "''"]),
    ("tsquery", &["'fat & (rat | !cat:*A)'"]),
    ("tsquery[]", &["'{a & b,NULL}'"]),
    ("cube", &["'(1,2),(3,4.5)'", "'(1e20,NaN)'"]),
    ("cube[]", &["array['(1),(2)'::cube, null]"]),
    ("isbn", &["'0-393-04002-X'"]),
    ("ean13", &["'978-0-393-04002-9'"]),
    ("weak_isbn", &["'0-393-04002-X'"]),
    ("seg", &["'1.50 .. 2.5'", "'<7'"]),
    ("query_int", &["'1&(2|!3)'"]),
    ("ltree", &["'Top.Science'"]),
    ("lquery", &["'Top.*{2,}.!a|b'"]),
    ("ltxtquery", &["'Europe & !Russia@*'"]),
    ("pg_snapshot", &["'10:20:10,14,15'"]),
    ("txid_snapshot", &["'10:20:10,14,15'"]),
    ("int2vector", &["'1 -2'", "''"]),
    ("oidvector", &["'4294967295 1'"]),
    ("refcursor", &["'cur'"]),
    ("tid", &["'(4294967295,65535)'"]),
    ("xid", &["'4294967295'"]),
    ("cid", &["'1'"]),
    ("note", &["'abc'", "''"]),
    ("note[]", &["array['a,b', null]::note[]"]),
    ("point", &["'(NaN,1)'", "'(0.1,-0)'"]),
    ("line", &["'{1,2,3}'"]),
    ("lseg", &["'[(0,0),(1,1.5)]'"]),
    ("path", &["'[(0,0),(1,1)]'", "'((0,0),(1,1))'"]),
    ("polygon", &["'((0,0),(1,1),(1,0))'"]),
    ("circle", &["'<(1,2),3.5>'"]),
    ("aclitem", &["'=r/postgres'"]),
    ("uuid", &["'00000000-0000-0000-0000-000000000000'"]),
    ("char(5)", &["'ab'", "''"]),
    ("varchar(10)", &["'ab  '", "''"]),
    ("text", &["''", "U&'\\+10FFFF'", "E'\\r\\n\\t\\\\.\\n\\\\N'", "'NULL'", "repeat('long ', 5000)"]),
    ("bytea", &["'\\x00ff5c'", "'\\x'", "decode(repeat('00ff', 5000), 'hex')"]),
];

/// Settings of the role that change what PostgreSQL prints, and so what a replica may read.
pub(crate) const ROLE: &str = "alter role postgres set datestyle = 'SQL, DMY'; alter role postgres set intervalstyle = 'iso_8601'; \
                    alter role postgres set extra_float_digits = 0; alter role postgres set bytea_output = 'escape'; \
                    alter role postgres set timezone = 'Asia/Kolkata';";

/// Extensions and types that must be in a target of PostgreSQL.
pub(crate) const KNOWN: &str =
    "create extension hstore; create extension cube; create extension isn; create extension seg; create extension intarray;
    create extension ltree; create type pair as (number integer, words text[]);
    create type note; create function note_in(cstring) returns note language internal immutable strict as 'textin';
    create function note_out(note) returns cstring language internal immutable strict as 'textout';
    create function note_recv(internal) returns note language internal immutable strict as 'textrecv';
    create function note_send(note) returns bytea language internal immutable strict as 'textsend';
    create type note (input = note_in, output = note_out, receive = note_recv, send = note_send, like = text);";

/// What is made there where it is needed, or goes as something else.
pub(crate) const MADE: &str = "create extension citext;
    create type mood as enum ('so so', 'a,b', 'it''s', '');
    create domain weak_isbn as isbn; create domain amount as numeric(12,2); create domain small_amount as amount check (value < 100);";
