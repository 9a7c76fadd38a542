//! What each collation of the servers holds equal is what its name says.

mod support;

use mysql_async::prelude::Queryable;
use support::{Bench, FLAVOURS};
use tidegate_connector::{TextEquality, key_equality};
use tidegate_model::Engine;

#[tokio::test]
async fn what_every_collation_holds_equal_is_told_by_its_name() {
    for (flavour, engine) in FLAVOURS {
        let bench = Bench::start(flavour, engine).await;
        let mut conn = bench.conn().await;
        // MariaDB lists collations that several character sets have once for all of them, under a name without a character set.
        let sql = match engine {
            Engine::Mariadb => {
                "select full_collation_name, character_set_name from information_schema.collation_character_set_applicability"
            }
            _ => "select collation_name, character_set_name from information_schema.collation_character_set_applicability",
        };
        let all: Vec<(String, String)> = conn.query(sql).await.expect("a plain statement");
        let (mut exact, mut padded, mut folded) = (0, 0, 0);
        for (collation, charset) in all.iter().filter(|(_, charset)| charset != "binary") {
            let text = |text: &str| format!("convert('{text}' using {charset}) collate {collation}");
            let sql = format!("select {0} = {1}, {0} = {2}", text("a"), text("a "), text("A"));
            let found: Option<(bool, bool)> = conn.query_first(&sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
            let (blank, case) = found.expect("a row");
            let is_right = match TextEquality::of(engine, Some(collation)) {
                TextEquality::Exact => {
                    exact += 1;
                    !blank && !case
                }
                TextEquality::Padded(_) => {
                    padded += 1;
                    blank && !case
                }
                TextEquality::Folded { pads, .. } => {
                    folded += 1;
                    blank == pads
                }
            };
            assert!(is_right, "{engine:?} {collation}: blanks {blank}, case {case}");
        }
        println!("{engine:?}: {exact} collations tell all texts apart, {padded} all but blanks at the end, {folded} others");
        assert!(exact > 0 && padded > 30 && folded > 200, "{engine:?} {exact} {padded} {folded}");
    }
}

/// How many classes of equal characters a collation makes, and a digest of which belong together: of the plane that has nearly all
/// characters, or of all codes of a character set of single bytes.
async fn classes(conn: &mut mysql_async::Conn, collation: &str, charset: &str) -> (u64, u64) {
    let digits = "(select 0 d union all select 1 union all select 2 union all select 3 union all select 4 union all select 5 union all select 6
        union all select 7 union all select 8 union all select 9 union all select 10 union all select 11 union all select 12 union all select 13
        union all select 14 union all select 15)";
    let (character, codes) = match charset {
        "utf8mb4" => (
            "convert(char(n using utf32) using utf8mb4)".to_owned(),
            format!("select a.d * 4096 + b.d * 256 + c.d * 16 + e.d n from {digits} a, {digits} b, {digits} c, {digits} e"),
        ),
        _ => (format!("char(n using {charset})"), format!("select a.d * 16 + b.d n from {digits} a, {digits} b")),
    };
    let sql = format!(
        "select count(distinct first), cast(sum(crc32(concat(n, ':', first))) as unsigned) from (
            select n, min(n) over (partition by weight_string({character} collate {collation})) first from ({codes}) codes
            where n not between 55296 and 57343) classed"
    );
    conn.query_first(&sql).await.unwrap_or_else(|error| panic!("{collation}: {error}")).expect("a row")
}

/// A key with a collation of the same name in MySQL and MariaDB holds the same characters equal, but for one.
#[tokio::test]
async fn collations_of_one_name_hold_the_same_characters_equal_in_mysql_and_mariadb() {
    let mut conns = Vec::new();
    let mut benches = Vec::new();
    for (flavour, engine) in FLAVOURS {
        let bench = Bench::start(flavour, engine).await;
        conns.push(bench.conn().await);
        benches.push(bench);
    }
    let sql = "select c.collation_name, s.character_set_name from information_schema.collations c
        join information_schema.character_sets s on s.character_set_name = c.character_set_name
        where s.character_set_name = 'utf8mb4' or s.maxlen = 1 and s.character_set_name <> 'binary'";
    let [one, other] = conns.as_mut_slice() else { panic!("there are two servers") };
    let of_one: Vec<(String, String)> = one.query(sql).await.expect("a plain statement");
    let of_other: Vec<(String, String)> = other.query(sql).await.expect("a plain statement");
    let common: Vec<_> = of_one.iter().filter(|found| of_other.contains(found)).collect();
    assert!(common.len() > 60, "{common:?}");
    let mut different = Vec::new();
    for (collation, charset) in common {
        let (of_one, of_other) = tokio::join!(classes(one, collation, charset), classes(other, collation, charset));
        if of_one != of_other {
            different.push(collation.as_str());
        }
    }
    assert_eq!(different, ["tis620_thai_ci"]);
    let [of_one, of_other] = [Engine::Mysql, Engine::Mariadb].map(|engine| TextEquality::of(engine, Some("tis620_thai_ci")));
    assert!(key_equality("column", of_one, of_other, "").is_some() && key_equality("column", of_one, of_one, "").is_none());
}
