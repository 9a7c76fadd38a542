//! What each collation of the servers holds equal is what its name says.

mod support;

use mysql_async::prelude::Queryable;
use support::{Bench, FLAVOURS};
use tidegate_connector::TextEquality;
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
