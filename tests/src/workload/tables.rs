//! The workload's tables.

use super::Tongue;

/// All tables. Each has a column `id`, in `keyless` one that repeats.
pub(super) const TABLES: [&str; 7] = ["accounts", "ledger", "wide", "documents", "composite", "moving", "keyless"];

/// Statements that create them.
pub(super) fn create(tongue: Tongue) -> Vec<String> {
    let mut statements = vec![
        // Balances are `integer` so that their sum is a `bigint` in PostgreSQL and not a `numeric`.
        "create table accounts (id integer not null primary key, balance integer not null, email varchar(80) not null)".to_owned(),
        "create table ledger (id bigint not null primary key, writer integer not null, payer integer not null, payee integer not null,
            amount integer not null)"
            .to_owned(),
        "create table composite (id bigint not null, part varchar(20) not null, amount decimal(12,2), note text, primary key (part, id))"
            .to_owned(),
        "create table moving (id bigint not null primary key, name varchar(60))".to_owned(),
        "create table keyless (id integer, note varchar(60))".to_owned(),
    ];
    match tongue {
        Tongue::Postgres => statements.extend([
            "create table wide (id bigint not null primary key, small smallint, whole integer, exact numeric(20,6), single real, dbl double precision,
                yes boolean, word varchar(80), pad char(12), raw bytea, day date, at timestamp, at_zone timestamptz, clock time, doc jsonb)"
                .to_owned(),
            "create table documents (id bigint not null primary key, title varchar(80), body text)".to_owned(),
            "alter table keyless replica identity full".to_owned(),
        ]),
        Tongue::Mysql => statements.extend([
            "create table wide (id bigint not null primary key, small smallint, whole integer, exact decimal(20,6), single float, dbl double,
                yes tinyint(1), word varchar(80), pad char(12), raw varbinary(200), day date, at datetime(6), at_zone timestamp(3) null, clock time(3),
                doc json)"
                .to_owned(),
            "create table documents (id bigint not null primary key, title varchar(80), body mediumtext)".to_owned(),
        ]),
    }
    statements
}
