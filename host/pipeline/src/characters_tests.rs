use super::*;
use crate::test_tables::source_table;

fn characters(replacements: &[(char, Option<char>)], kept_to: Option<(&str, Option<char>)>) -> Characters {
    let kept_to = kept_to.map(|(name, instead)| (CharacterSet::by_name(name).unwrap(), instead));
    Characters { replacements: replacements.iter().copied().collect(), kept_to }
}

fn row(cells: &[Cell<'_>]) -> Row {
    let mut builder = RowBuilder::default();
    cells.iter().for_each(|cell| builder.push(*cell));
    builder.finish()
}

fn text(text: &str) -> Cell<'_> {
    Cell::Binary(text.as_bytes())
}

const TEXT: SqlType = SqlType::Text { chars_max: None };

fn plan(characters: Characters) -> CharacterPlan {
    CharacterPlan::new(Some(&Arc::new(characters)), &source_table(&[("id", TEXT), ("doc", SqlType::Json), ("note", TEXT)]))
}

#[test]
fn replacements_come_before_the_set_and_each_only_once() {
    let both = characters(&[('b', Some('a')), ('a', Some('c')), ('x', None), ('é', Some('€'))], Some(("iso-8859-1", Some('?'))));
    for (given, wanted) in [("ab", Some("ca")), ("axa", Some("cc")), ("é", Some("?")), ("ü€𝄞z", Some("ü??z")), ("züß", None), ("", None)]
    {
        assert_eq!(both.of_text(given).as_deref(), wanted, "{given}");
    }
    let left_out = characters(&[], Some(("us-ascii", None)));
    assert_eq!(left_out.of_text("naïve").as_deref(), Some("nave"));
}

#[test]
fn a_set_has_its_own_characters_and_no_others() {
    let has = |name: &str, character: char| CharacterSet::by_name(name).unwrap().has(character);
    for (name, inside, outside) in [
        ("us-ascii", "a\u{7f}", "\u{80}é"),
        ("iso-8859-1", "é\u{ff}", "€Ā"),
        ("iso-8859-15", "é€", "Ā¤"),
        ("windows-1252", "€é", "Ā"),
        ("iso-8859-2", "ł", "ñ"),
        ("windows-1251", "ж", "é"),
        ("shift-jis", "日", "é"),
        ("utf-16", "€日", "𝄞"),
    ] {
        assert!(inside.chars().all(|character| has(name, character)), "{name}");
        assert!(!outside.chars().any(|character| has(name, character)), "{name}");
    }
    assert!(CharacterSet::names().all(|name| has(name, 'a') && has(name, '\0')) && CharacterSet::by_name("latin1").is_none());
}

/// The bytes that are looked for are those of every character that changes: a text that is not looked at is never one that changes.
#[test]
fn no_character_that_changes_is_overlooked() {
    for name in CharacterSet::names() {
        let plan = plan(characters(&[('ß', Some('s'))], Some((name, None))));
        for character in ('\0'..='\u{2fff}').chain('\u{1f600}'..='\u{1f610}') {
            let wanted = match character {
                'ß' => Some("s"),
                other => (!CharacterSet::by_name(name).unwrap().has(other)).then_some(""),
            };
            let found = plan.replaced(Some(text(character.encode_utf8(&mut [0; 4]))));
            assert_eq!(found.as_deref(), wanted, "{name} {character:?}");
        }
    }
}

#[test]
fn every_image_of_a_row_changes_alike_and_only_in_text() {
    let plan = plan(characters(&[('b', Some('a'))], None));
    let given = |key, note| row(&[text(key), text("{\"b\": 1}"), note]);
    let (old, new) = (given("bob", Cell::Unchanged), given("bib", text("b")));
    let (old_wanted, new_wanted) = (given("aoa", Cell::Unchanged), given("aia", text("a")));
    let changed = plan.change(RowChange::Update { old: Some(old.clone()), new: new.clone() });
    assert_eq!(changed, RowChange::Update { old: Some(old_wanted.clone()), new: new_wanted.clone() });
    assert_eq!(plan.change(RowChange::Delete { old: old.clone() }), RowChange::Delete { old: old_wanted });
    let mut rows = RowBatch::with_capacity(3, 3, 0);
    let plain = given("x", Cell::Null);
    [&plain, &new, &plain].into_iter().for_each(|row| rows.push_row(row));
    let loaded: Vec<Row> = plan.rows(rows).iter().collect();
    assert_eq!(loaded, [plain.clone(), new_wanted, plain]);
    assert_eq!(plan.change(RowChange::Insert { new: row(&[Cell::Binary(b"\xffb"), Cell::Null, Cell::Null]) }), {
        RowChange::Insert { new: row(&[Cell::Binary(b"\xffb"), Cell::Null, Cell::Null]) }
    });
}

#[test]
fn tasks_that_ask_for_nothing_have_no_columns_and_keys_are_told() {
    let table = source_table(&[("id", TEXT), ("n", SqlType::Int32)]);
    assert!(CharacterPlan::new(None, &table).columns.is_empty());
    for nothing in [characters(&[], None), characters(&[], Some(("utf-8", None)))] {
        assert!(nothing.is_nothing() && CharacterPlan::new(Some(&Arc::new(nothing)), &table).columns.is_empty());
    }
    let plan = CharacterPlan::new(Some(&Arc::new(characters(&[('b', None)], None))), &table);
    let finding = plan.finding(&table).unwrap();
    assert!(finding.code == "characters_in_key" && finding.found.contains("\"id\""), "{finding}");
    let other = source_table(&[("n", SqlType::Int32), ("note", TEXT)]);
    assert!(CharacterPlan::new(Some(&Arc::new(characters(&[('b', None)], None))), &other).finding(&other).is_none());
}
