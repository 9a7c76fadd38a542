//! A shop: its tables, and rows and transactions made from a seed.
//!
//! The same statements work in MariaDB and PostgreSQL; only the tables' definitions differ. Texts have neither quotes nor
//! backslashes, which the two would read differently.

use std::fmt::Write;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// The tables with what they are there to show.
pub(crate) const TABLES: [(&str, &str); 6] = [
    ("customers", "e-mail addresses"),
    ("orders", "an enum and decimals"),
    ("items", "a key of two columns"),
    ("reviews", "large texts"),
    ("visits", "no key"),
    ("markers", "one row, written last"),
];

/// First rows of each table: a load that can be watched, and a demo that stays under two minutes.
const CUSTOMERS: u64 = 60_000;
const ORDERS: u64 = 150_000;
/// As many as fit into two lines an order.
const ITEMS: u64 = 300_000;
const REVIEWS: u64 = 3_000;
const VISITS: u64 = 20_000;

/// First rows of one shop.
pub(crate) const FIRST_ROWS: u64 = CUSTOMERS + ORDERS + ITEMS + REVIEWS + VISITS;

/// Rows of an insert statement; reviews are larger, and fewer fit into MariaDB's `max_allowed_packet`.
const BATCH: u64 = 1000;
const BATCH_OF_REVIEWS: u64 = 100;

/// Customers share addresses: there are so many households for each ten customers.
const HOUSEHOLDS: u64 = CUSTOMERS * 8 / 10;

const FIRST_NAMES: [&str; 10] = ["Anna", "Björn", "Chloé", "Dmitri", "Éva", "François", "Grace", "Håkon", "Inês", "李雷"];
const LAST_NAMES: [&str; 10] = ["Berg", "Costa", "Dubois", "Eriksen", "Fischer", "García", "Horvát", "Ito", "Jansen", "Kowalski"];
const CITIES: [&str; 8] = ["Zürich", "København", "Kraków", "São Paulo", "Porto", "Malmö", "Łódź", "東京"];
const PRODUCTS: [&str; 8] = ["teapot", "bicycle bell", "rain coat", "fountain pen", "sourdough jar", "kite 🪁", "atlas", "lamp"];
const STATES: [&str; 4] = ["new", "paid", "sent", "returned"];

/// The statements that create the tables in the schema `shop` of MariaDB.
pub(crate) const MARIADB_TABLES: &str = "
create database shop;
create table shop.customers (id bigint primary key, email varchar(120) not null, name varchar(80) not null, city varchar(40),
    balance decimal(12,2) not null, settings json, joined datetime(3) not null);
create table shop.orders (id bigint primary key, customer_id bigint not null, status enum('new', 'paid', 'sent', 'returned') not null,
    total decimal(12,2) not null, gift tinyint(1) not null, note text, placed datetime(3) not null);
create table shop.items (order_id bigint, line smallint, product varchar(60) not null, quantity int unsigned not null,
    price decimal(10,2) not null, primary key (order_id, line));
create table shop.reviews (id bigint primary key, customer_id bigint not null, stars tinyint not null, body mediumtext, written date);
create table shop.visits (customer_id bigint not null, page varchar(60), seconds double, index (customer_id));
create table shop.markers (id int primary key)";

/// The same for PostgreSQL, where changes of a table without a key are only in the log when it is asked for.
pub(crate) const POSTGRES_TABLES: &str = "
create schema shop;
create type shop.order_status as enum ('new', 'paid', 'sent', 'returned');
create table shop.customers (id bigint primary key, email varchar(120) not null, name varchar(80) not null, city varchar(40),
    balance numeric(12,2) not null, settings jsonb, joined timestamp(3) not null);
create table shop.orders (id bigint primary key, customer_id bigint not null, status shop.order_status not null,
    total numeric(12,2) not null, gift boolean not null, note text, placed timestamp(3) not null);
create table shop.items (order_id bigint, line smallint, product varchar(60) not null, quantity integer not null,
    price numeric(10,2) not null, primary key (order_id, line));
create table shop.reviews (id bigint primary key, customer_id bigint not null, stars smallint not null, body text, written date);
create table shop.visits (customer_id bigint not null, page varchar(60), seconds double precision);
create index on shop.visits (customer_id);
alter table shop.visits replica identity full;
create table shop.markers (id integer primary key)";

/// Makes the values of a row, given its number.
type MakeRow = fn(&mut Clerk, u64) -> String;

/// Makes rows and transactions. Clerks of one shop give ids that no other one gives.
#[derive(Debug)]
pub(crate) struct Clerk {
    random: StdRng,
    next: u64,
    clerks: u64,
}

impl Clerk {
    /// The clerk `index` of `clerks`.
    pub(crate) fn new(seed: u64, index: u64, clerks: u64) -> Clerk {
        let random = StdRng::seed_from_u64(seed.wrapping_mul(1_000_003).wrapping_add(index));
        Clerk { random, next: 1_000_000 + index, clerks }
    }

    /// Calls `insert` with one statement after the other until the tables have their first rows.
    pub(crate) async fn fill<E>(&mut self, insert: impl AsyncFn(String) -> Result<(), E>) -> Result<(), E> {
        let tables: [(&str, u64, u64, MakeRow); 5] = [
            ("customers", CUSTOMERS, BATCH, Clerk::customer),
            ("orders", ORDERS, BATCH, Clerk::order),
            ("items", ITEMS, BATCH, |clerk, number| clerk.item(number.div_ceil(2), number % 2 + 1)),
            ("reviews", REVIEWS, BATCH_OF_REVIEWS, Clerk::review),
            ("visits", VISITS, BATCH, |clerk, _| clerk.visit()),
        ];
        for (table, count, batch, row) in tables {
            for first in (1..=count).step_by(batch as usize) {
                let rows: Vec<String> = (first..=count.min(first + batch - 1)).map(|number| row(self, number)).collect();
                insert(format!("insert into shop.{table} values {}", rows.join(", "))).await?;
            }
        }
        Ok(())
    }

    /// The statements of one transaction, from `begin` to `commit`, or now and then to `rollback`; and which it is.
    pub(crate) fn transaction(&mut self) -> (String, bool) {
        let mut sql = String::from("begin");
        match self.random.random_range(0..100) {
            0..35 => self.place_order(&mut sql),
            35..60 => self.move_order_on(&mut sql),
            60..68 => self.return_order(&mut sql),
            68..76 => self.change_customer(&mut sql),
            76..82 => self.new_customer(&mut sql),
            82..92 => self.change_review(&mut sql),
            92..99 => self.browse(&mut sql),
            _ => self.raise_prices(&mut sql),
        }
        let commits = self.random.random_bool(0.97);
        sql.push_str(if commits { "; commit" } else { "; rollback" });
        (sql, commits)
    }

    fn place_order(&mut self, sql: &mut String) {
        let id = self.next_id();
        let order = self.order(id);
        add(sql, format_args!("insert into shop.orders values {order}"));
        for line in 1..=self.random.random_range(1..=4) {
            let item = self.item(id, line);
            add(sql, format_args!("insert into shop.items values {item}"));
        }
        let (customer, price) = (self.any_customer(), self.random.random_range(1..50));
        add(sql, format_args!("update shop.customers set balance = balance - {price} where id = {customer}"));
    }

    fn move_order_on(&mut self, sql: &mut String) {
        let (order, state) = (self.random.random_range(1..=ORDERS), self.one_of(&STATES));
        add(sql, format_args!("update shop.orders set status = '{state}', note = null where id = {order}"));
    }

    fn return_order(&mut self, sql: &mut String) {
        let order = self.random.random_range(1..=ORDERS);
        add(sql, format_args!("delete from shop.items where order_id = {order}"));
        add(sql, format_args!("delete from shop.orders where id = {order}"));
    }

    fn new_customer(&mut self, sql: &mut String) {
        let id = self.next_id();
        let customer = self.customer(id);
        add(sql, format_args!("insert into shop.customers values {customer}"));
    }

    fn change_customer(&mut self, sql: &mut String) {
        let (customer, email, city) = (self.any_customer(), self.email(), self.one_of(&CITIES));
        add(sql, format_args!("update shop.customers set email = '{email}', city = '{city}' where id = {customer}"));
    }

    /// Most changes leave the large text alone, which PostgreSQL then does not send.
    fn change_review(&mut self, sql: &mut String) {
        let (review, stars) = (self.random.random_range(1..=REVIEWS), self.random.random_range(1..=5));
        if self.random.random_bool(0.1) {
            let body = self.body();
            add(sql, format_args!("update shop.reviews set body = '{body}' where id = {review}"));
        } else {
            add(sql, format_args!("update shop.reviews set stars = {stars} where id = {review}"));
        }
    }

    fn browse(&mut self, sql: &mut String) {
        let visit = self.visit();
        // Equal rows, which a table without a key may have.
        add(sql, format_args!("insert into shop.visits values {visit}, {visit}"));
        if self.random.random_bool(0.2) {
            let customer = self.any_customer();
            add(sql, format_args!("delete from shop.visits where customer_id = {customer}"));
        }
    }

    fn raise_prices(&mut self, sql: &mut String) {
        let first = self.random.random_range(1..=ORDERS);
        add(sql, format_args!("update shop.orders set total = total + 1 where id between {first} and {}", first + 200));
    }

    fn customer(&mut self, id: u64) -> String {
        let (email, name, city) = (self.email(), self.name(), self.one_of(&CITIES));
        let (balance, day) = (self.random.random_range(-100_000..1_000_000), self.day());
        let settings = if self.random.random_bool(0.2) {
            "null".to_owned()
        } else {
            format!("'{{\"news\": {}, \"size\": \"M\"}}'", id.is_multiple_of(2))
        };
        format!("({id}, '{email}', '{name}', '{city}', {}, {settings}, '{day} 12:30:00.125')", hundredths(balance))
    }

    fn order(&mut self, id: u64) -> String {
        let (customer, state, total, day) = (self.any_customer(), self.one_of(&STATES), self.random.random_range(100..50_000), self.day());
        let gift = self.random.random_bool(0.1);
        let note = if gift { "'for a friend, wrapped in blue paper'" } else { "null" };
        // Both databases read a quoted number, which 1 and true are not.
        format!("({id}, {customer}, '{state}', {}, '{}', {note}, '{day} 08:15:30.5')", hundredths(total), u8::from(gift))
    }

    fn item(&mut self, order: u64, line: u64) -> String {
        let (product, quantity, price) = (self.one_of(&PRODUCTS), self.random.random_range(1..9), self.random.random_range(100..9_900));
        format!("({order}, {line}, '{product}', {quantity}, {})", hundredths(price))
    }

    fn review(&mut self, id: u64) -> String {
        let (customer, stars, body, day) = (self.any_customer(), self.random.random_range(1..=5), self.body(), self.day());
        format!("({id}, {customer}, {stars}, '{body}', '{day}')")
    }

    fn visit(&mut self) -> String {
        let (customer, page) = (self.any_customer(), self.random.random_range(1..40));
        format!("({customer}, '/page/{page}', {})", f64::from(self.random.random_range(1..4_000)) / 8.0)
    }

    /// The address of a household, at times in another letter case, which makes no other address of it.
    fn email(&mut self) -> String {
        let household = self.random.random_range(0..HOUSEHOLDS);
        let word = ["anna", "ben", "cleo", "dora"][(household % 4) as usize];
        let email = format!("{word}.{household}@mail.example");
        if self.random.random_bool(0.1) { email.to_uppercase() } else { email }
    }

    fn name(&mut self) -> String {
        format!("{} {}", self.one_of(&FIRST_NAMES), self.one_of(&LAST_NAMES))
    }

    /// Some kilobytes that do not compress well, so that PostgreSQL stores them out of line.
    fn body(&mut self) -> String {
        let mut body = String::new();
        for _ in 0..self.random.random_range(200..1200) {
            let _ = write!(body, "{:016x} ", self.random.random::<u64>());
        }
        body
    }

    fn day(&mut self) -> String {
        format!("{}-{:02}-{:02}", self.random.random_range(2019..2026), self.random.random_range(1..=12), self.random.random_range(1..=28))
    }

    fn any_customer(&mut self) -> u64 {
        self.random.random_range(1..=CUSTOMERS)
    }

    fn one_of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.random.random_range(0..words.len())]
    }

    fn next_id(&mut self) -> u64 {
        self.next += self.clerks;
        self.next - self.clerks
    }
}

fn add(sql: &mut String, statement: std::fmt::Arguments<'_>) {
    write!(sql, "; {statement}").expect("a String takes everything");
}

fn hundredths(number: i64) -> String {
    format!("{}{}.{:02}", if number < 0 { "-" } else { "" }, number.abs() / 100, number.abs() % 100)
}
