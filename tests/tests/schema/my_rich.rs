//! Schemas of MySQL and MariaDB with every kind of object, of PostgreSQL with what these two understand, and what is wanted
//! of them in the targets.

/// What both kinds of server have.
pub(crate) const BOTH: &str = "
create table parent (id bigint unsigned not null auto_increment primary key, code varchar(20) not null, unique key code (code))
    comment = 'the parent''s \\\\';
create table child (id int not null auto_increment primary key, parent bigint unsigned, n int default 5 comment 'how\\nmany',
    amount decimal(8,2) not null default 1.50, name varchar(30) character set utf8mb4 collate utf8mb4_general_ci default 'it''s',
    latin varchar(30) character set latin1 collate latin1_general_cs default 'x', state enum('a','b') default 'b',
    flags set('x','y') default 'x,y', bits bit(8) default b'101', at datetime(3) default current_timestamp(3),
    touched timestamp(2) not null default current_timestamp(2) on update current_timestamp(2),
    since timestamp null default '2020-01-01 00:00:01', day date default '2020-01-31', token char(36) default (uuid()),
    today date default (curdate()), big varchar(700), body text, u int, raw varbinary(4) default 'ab', doc json, never datetime default '0000-00-00 00:00:00',
    label varchar(60) generated always as (concat(name, '-', state)) virtual, more int generated always as (n + 1) stored,
    half decimal(10,4) generated always as (n / 2) stored,
    key child_n (n desc, u), unique key child_u (u), key child_prefix (body(10)), fulltext key child_words (name), key child_big (big),
    key child_label (label), unique key child_more (u, more),
    constraint child_parent foreign key (parent) references parent (id) on delete restrict on update no action,
    constraint small check (n between 0 and 9 or n is null), constraint paid check (amount >= 0),
    constraint call_check check (char_length(name) > 1));
create table self (id int primary key, up int, constraint self_up foreign key (up) references self (id));
create table counted (k varchar(9) not null primary key, seq int not null auto_increment comment 'counts', key by_seq (seq));
create table place (id int primary key, p point not null, spatial key place_p (p));
create table marker (id integer primary key);
insert into parent (id, code) values (1, 'one'), (2, 'two'), (50, 'fifty');
insert into child (parent, u, name, never) values (1, 1, 'xx', null), (2, 2, 'yy', null), (50, 3, 'zz', null);
insert into self values (1, null), (2, 1); insert into counted (k) values ('a'), ('b');
insert into place values (1, st_geomfromtext('point(1 2)'))";

/// What only MySQL has.
pub(crate) const MYSQL: &str = "
create table only (id int not null primary key, a varchar(20) not null, hid int invisible default 7, list json default (json_array('x,)')),
    twice int default (id * 2), place point not null srid 4326, key lowered ((lower(a))), key unseen (a) invisible,
    key later (a, id) comment 'b', constraint loose check (hid > 0) not enforced,
    constraint only_parent foreign key (id) references self (id) on delete cascade on update cascade);
insert into only (id, a, place) values (1, 'A', st_geomfromtext('point(1 2)', 4326))";

/// What only MariaDB has.
pub(crate) const MARIADB: &str = "
create table only (id int not null primary key, a varchar(20) not null, hid int invisible default 7, list longtext default '[1]',
    twice int default (id * 2), late date default (curdate() + interval 1 day), bounded int check (bounded < 100), key unseen (a) ignored, key later (a, id) comment 'b');
insert into only (id, a, bounded) values (1, 'A', 5)";

/// Changes of rows that trip over unique keys and foreign keys when they are not applied with care.
pub(crate) const CHANGES: &[&str] = &[
    "begin; update child set u = null where u = 1; update child set u = 1 where u = 2; update child set u = 2 where u is null; commit",
    "begin; update child set u = 0 where u = 3; update child set u = 3 where u = 1; update child set u = 1 where u = 0; delete from child where u = 2;
     insert into child (u, name, never) values (2, 'new', null); commit",
    "set foreign_key_checks = 0; begin; insert into child (parent, u, name, never) values (99, 9, 'early', null);
     insert into parent (id, code) values (99, 'late'); commit",
    "begin; delete from self where id = 2; update self set up = 1 where id = 1; commit",
    "insert into parent (id, code) values (1000, 'far'); delete from parent where id = 1000",
    "begin; insert into child (u, name, never) values (77, 'burnt', null); rollback",
    "update child set n = 3 where u = 9; insert into counted (k) values ('c')",
];

/// Lines of the target's definitions where the other kind of server is the source.
pub(crate) const COMMON_LINES: &[&str] = &[
    "`id` bigint unsigned not null auto_increment",
    "unique key `code` (`code`)",
    "`n` int default 5 comment 'how\\nmany'",
    "`amount` decimal(8,2) not null default 1.50",
    "`bits` bit(8) default b'101'",
    "`at` datetime(3) default current_timestamp(3)",
    "`touched` timestamp(2) not null default current_timestamp(2) on update current_timestamp(2)",
    "`since` timestamp null default '2020-01-01 00:00:01'",
    "`day` date default '2020-01-31'",
    "`today` date default curdate()",
    "`never` datetime default '0000-00-00 00:00:00'",
    "`more` int default null",
    "unique key `child_u` (`u`)",
    "key `child_prefix` (`body`(10))",
    "fulltext key `child_words` (`name`)",
    "key `child_big` (`big`)",
    "key `child_label` (`label`)",
    "spatial key `place_p` (`p`)",
    "key `unseen` (`a`) hidden",
    "`seq` int not null auto_increment comment 'counts'",
    "key `by_seq` (`seq`)",
    "constraint `child_parent` foreign key (`parent`) references `parent` (`id`)",
    "constraint `self_up` foreign key (`up`) references `self` (`id`)",
    "constraint `paid` check `amount` >= 0",
];

/// PostgreSQL's, of what the others understand.
pub(crate) const POSTGRES: &str = r#"
create type mood as enum ('new', 'paid'); create sequence alone; create sequence shared;
create table customer (
    id bigint generated always as identity primary key, email text collate "C" not null unique, name varchar(40) not null default 'it''s',
    state mood not null default 'new', created timestamptz not null default now(), at timestamp(3) default current_timestamp(3),
    day date default current_date, born date default '2000-02-29', amount numeric(10,2) default 0.50, flag boolean default true,
    tags text[] default '{}', doc jsonb default '{"a": 1}', code text default upper('x'), ref uuid default gen_random_uuid(),
    n int default (-2), seqd bigint default nextval('shared'), wait interval default '1 day', bits bit(3) default '101',
    constraint positive check (amount >= 0), constraint known check (state in ('new', 'paid') and flag = true or n <> '-1'),
    constraint named check (name <> ''), constraint sorted check (name > 'a'), constraint since check (born >= '1900-01-01'));
comment on table customer is 'people who''ve paid'; comment on column customer.email is 'unique';
create table "Order" (
    id int generated by default as identity (start 1000 increment 10), customer bigint not null, parent int, place int not null,
    note text, constraint order_pk primary key (id), constraint "Order_place" unique (place) deferrable,
    constraint "Order customer" foreign key (customer) references customer on delete cascade,
    constraint parent foreign key (parent) references "Order" deferrable initially deferred);
create table item (id serial primary key, order_id int, sku text not null, tag varchar(20), up int,
    constraint item_order foreign key (order_id) references "Order" (id) on update cascade on delete set null);
create index item_sku on item (sku, up desc); create index item_lower on item (lower(sku)); create unique index item_open on item (up) where order_id is null;
create index item_gin on item using gin (to_tsvector('simple', sku)); create index item_tag on item (tag) include (up); create index item_hash on item using hash (sku);
create table code (code text primary key); create table coded (id int primary key, code text constraint coded_code references code, s smallserial);
create table swap (id int primary key, u int not null constraint swap_u unique, v int, big text); create unique index swap_v on swap (v);
alter table swap alter big set storage external;
create table filler (id int primary key, v text); create table marker (id integer primary key);
insert into customer (email) select 'e' || g from generate_series(1, 40) g;
insert into "Order" (customer, place) select g, g from generate_series(1, 40) g;
insert into item (order_id, sku, up) select 990 + g * 10, 'S' || g, g from generate_series(1, 40) g;
alter table item add constraint item_late foreign key (sku) references customer (email) not valid;
insert into code values ('x'); insert into coded values (1, 'x');
insert into swap select g, g, -g, repeat('x', 9000) || g from generate_series(1, 20) g;
"#;

/// Transactions that trip.
pub(crate) const POSTGRES_CHANGES: &[&str] = &[
    // Values of unique keys exchanged between rows whose large value is not logged again: two circles and a chain.
    "update swap set u = 0 where id = 1; update swap set u = 1 where id = 2; update swap set u = 2 where id = 1",
    "update swap set v = null where id = 3; update swap set v = -3 where id = 4; update swap set v = -4 where id = 5; update swap set v = -5 where id = 3",
    "update swap set u = -u where id <= 10; update swap set u = 11 + u where id <= 10",
    "update swap set u = 100 where id = 11; update swap set u = 11 where id = 12; update swap set u = 12 where id = 13",
    "delete from swap where id = 20; update swap set u = 20 where id = 19; insert into swap values (20, 19, -20, 'short')",
    // The same in a transaction that leaves in parts.
    "insert into filler select g, repeat(md5(g::text), 30) from generate_series(1, 9000) g;
     update swap set u = 0 where id = 15; update swap set u = 15 where id = 16; update swap set u = 16 where id = 15;
     insert into filler select g, repeat(md5(g::text), 30) from generate_series(9001, 18000) g",
    // A child before its parent, and parents that take their children along.
    "set constraints all deferred; insert into \"Order\" (id, customer, parent, place) values (5001, 1, 5002, 5001);
     insert into \"Order\" (id, customer, place) values (5002, 1, 5002)",
    "delete from customer where id = 7",
    "update \"Order\" set id = 7777 where id = 1000",
    "delete from \"Order\" where id = 1010",
    "update customer set name = 'changed' where id = 2; insert into customer (email) values ('new one')",
    "insert into customer (id, email) overriding system value values (100000, 'far away')",
];

/// Lines of the target's definitions.
pub(crate) const POSTGRES_LINES: &[&str] = &[
    "`id` bigint not null auto_increment",
    "unique key `customer_email_key` (`email`)",
    "`name` varchar(40) not null default 'it''s'",
    "constraint `named` check `name` <> ''",
    "`state` enum('new','paid') not null default 'new'",
    "`created` datetime(6) not null default utc_timestamp(6)",
    "`at` datetime(3) default current_timestamp(3)",
    "`day` date default curdate()",
    "`born` date default '2000-02-29'",
    "`amount` decimal(10,2) default 0.50",
    "`flag` tinyint(1) default 1",
    "`ref` char(36) default uuid()",
    "`n` int default -2",
    "`bits` bit(3) default b'101'",
    "constraint `positive` check `amount` >= 0",
    "constraint `since` check `born` >= '1900-01-01'",
    "comment='people who''ve paid'",
    "key `item_sku` (`sku`(191),`up` desc)",
    "key `item_tag` (`tag`)",
    "key `item_hash` (`sku`(191))",
    "constraint `order customer` foreign key (`customer`) references `customer` (`id`) on delete cascade",
    "constraint `parent` foreign key (`parent`) references `order` (`id`)",
    "constraint `item_order` foreign key (`order_id`) references `order` (`id`) on delete set null on update cascade",
    "constraint `coded_code` foreign key (`code`) references `code` (`code`)",
    "unique key `swap_u` (`u`)",
    "unique key `swap_v` (`v`)",
];

/// What neither MySQL nor MariaDB has, by name.
pub(crate) const POSTGRES_LISTED: &[&str] = &[
    "alone",
    "shared",
    "sorted",
    "known",
    "item_lower",
    "item_open",
    "item_gin",
    "item_tag include",
    "Order_place",
    "parent deferrable",
    "seqd",
    "wait",
    "\\\"code\\\"",
    "id always",
    "id step",
];
