//! Reading of expressions, and what SQLite has no answer to. The answers themselves are compared with SQLite's by the
//! host's tests (`host/sandbox/tests/expressions.rs`).

use super::*;

/// `$a` is a column, `$m` metadata.
struct Few;

impl Names for Few {
    fn variable(&self, name: &str) -> Result<Variable, String> {
        match name {
            "a" => Ok(Variable::Input { name: name.to_owned(), affinity: Affinity::Text }),
            "m" => Ok(Variable::Text("meta".to_owned())),
            _ => Err(format!("no column \"{name}\"")),
        }
    }
}

fn read(text: &str) -> Result<Expression, String> {
    Expression::parse(text, &Few).map_err(|complaint| complaint.to_string())
}

/// The value for a row of this kind, in which `$a` has this text.
fn value(text: &str, kind: u8, a: &str) -> String {
    let expression = read(text).unwrap();
    let mut evaluator = Evaluator::new(&expression);
    let (values, arena) = evaluator.run(&expression, Image { kinds: &[kind] }, |_, arena| vec![arena.add_text(a)]);
    match values[0] {
        Value::Text(span) => arena.text(span).to_owned(),
        Value::Integer(number) => number.to_string(),
        Value::Failed(failure) => failure.code().to_owned(),
        other => format!("{other:?}"),
    }
}

#[test]
fn complaints_name_the_character_what_is_found_and_what_is_wanted() {
    let cases = [
        ("", "at character 1: found the end, wanted a value"),
        ("$a ||", "at character 6: found the end, wanted a value"),
        ("'é' || $b", "at character 8: no column \"b\""),
        ("1 + * 2", "at character 5: found \"*\", wanted a value"),
        ("(1 + 2", "at character 7: found the end, wanted an operator or \")\""),
        ("1 2", "at character 3: found a number, wanted an operator or the end"),
        ("'open", "at character 1: found a text without its closing quote"),
        ("\u{2018}x\u{2019}", "at character 1: found the typographic quote"),
        ("$a = \"x\"", "at character 6: found \"; a text stands in single quotes"),
        ("a || 'x'", "at character 1: found \"a\", wanted a value; a column is written $a and a text 'a'"),
        ("nosuch(1)", "at character 1: found \"nosuch()\": there is no such function; there are abs,"),
        ("1 + random()", "at character 5: found \"random()\": chance would differ"),
        ("current_timestamp", "at character 1: found \"current_timestamp\": the present time"),
        ("date('now')", "at character 1: found \"date()\" with 'now': the present time"),
        ("datetime($a, 'localtime')", "with 'localtime': the present time"),
        ("date($a, '+1 fortnight')", "with '+1 fortnight': the modifier is not known"),
        ("strftime('%Q', $a)", "only the conversions"),
        ("printf('%q', $a)", "only the conversions"),
        ("date()", "\"date()\" takes at least 1 arguments, found 0; the present time"),
        ("max($a)", "over several rows it does not exist here"),
        ("count(*)", "functions over several rows do not exist here"),
        ("substr($a)", "\"substr()\" takes 2 to 3 arguments, found 1"),
        ("operation_indicator('D', 'U')", "at character 1: operation_indicator takes 3 values"),
        ("case 1 end", "at character 8: found \"end\", wanted WHEN"),
        ("case when 1 then 2", "at character 19: found the end, wanted END"),
        ("$a collate nocase", "at character 4: found \"collate\": collations are not supported"),
        ("$a regexp 'x'", "at character 4: found \"regexp\": regular expressions"),
        ("$a -> 'x'", "at character 4: found \"->\", wanted an operator; JSON"),
        ("(select 1)", "at character 2: found \"select\": queries do not exist here"),
        ("1 -- x", "at character 3: found a comment"),
        ("x'4'", "at character 1: found a blob that is not made of pairs"),
        ("0x1ffffffffffffffff", "at character 1: found a hexadecimal number"),
        ("12abc", "at character 1: found a number that runs into a name"),
        ("$", "at character 1: found $ without a name"),
        ("${a", "at character 1: found ${ without its }"),
        ("?1", "at character 1: found ?; parameters do not exist here"),
        ("(1, 2)", "lists of values stand behind IN alone"),
        ("$a not 5", "at character 8: found a number, wanted IN, LIKE, GLOB, BETWEEN or NULL"),
    ];
    for (text, wanted) in cases {
        let found = read(text).err().unwrap_or_else(|| panic!("{text} should be refused"));
        assert!(found.contains(wanted), "{text}: {found} should contain {wanted}");
        assert_eq!(found.matches("at character ").count(), 1, "{text}: {found}");
    }
}

#[test]
fn length_depth_and_size_are_bounded() {
    let long = read(&format!("'{}'", "x".repeat(CHARACTERS_MAX))).unwrap_err();
    assert!(long.starts_with("at character 8192: ") && long.contains("more than 8192"), "{long}");
    let nested = |levels: usize| format!("{}1{}", "(".repeat(levels), ")".repeat(levels));
    assert!(read(&nested(DEPTH_MAX - 1)).is_ok());
    assert_eq!(read(&nested(DEPTH_MAX)).unwrap_err(), "at character 101: the expression is nested deeper than 100");
    assert!(read(&format!("{}1", "- ".repeat(3_000))).unwrap_err().contains("nested deeper"));
    assert_eq!(
        read(&format!("1{}", "+1".repeat(NODES_MAX / 2))).unwrap_err(),
        "at character 2002: the expression has more than 2000 parts"
    );
}

#[test]
fn a_pattern_of_many_wildcards_does_bounded_work() {
    let text = "a".repeat(20_000);
    let pattern = "%a".repeat(400);
    assert_eq!(value(&format!("$a like '{pattern}b'"), 1, &text), "0");
    assert_eq!(value(&format!("$a like '{}'", "x".repeat(1_001)), 1, "x"), "pattern-too-long");
}

#[test]
fn the_operation_is_that_of_the_image() {
    let kinds = [(0, "INSERT", "I"), (1, "INSERT", "I"), (2, "UPDATE", "U"), (3, "UPDATE", "U"), (4, "DELETE", "D")];
    struct Operation;
    impl Names for Operation {
        fn variable(&self, _: &str) -> Result<Variable, String> {
            Ok(Variable::Operation)
        }
    }
    for (kind, name, mark) in kinds {
        assert_eq!(value("operation_indicator('D', 'U', 'I')", kind, ""), mark);
        let expression = Expression::parse("$AR_H_OPERATION", &Operation).unwrap();
        assert!(expression.reads_operation && expression.indicator_at.is_none());
        let mut evaluator = Evaluator::new(&expression);
        let (values, arena) = evaluator.run(&expression, Image { kinds: &[kind] }, |_, _| vec![]);
        assert!(matches!(values[0], Value::Text(span) if arena.text(span) == name));
    }
}

#[test]
fn functions_of_dms_beside_those_of_sqlite() {
    // The example of the DMS user guide.
    assert_eq!(value("replaceChars('abcde', 'abcd', '123')", 1, ""), "1231e");
    assert_eq!(value("replaceChars($a, '/:', '__')", 1, "a/b:c"), "a_b_c");
    assert_eq!(value("hash_sha256($a)", 1, "abc"), "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD");
    assert_eq!(value("$m || ${a}", 1, "x"), "metax");
}

#[test]
fn what_fails_counts_only_where_it_is_taken() {
    assert_eq!(value("abs(-9223372036854775808)", 1, ""), "integer-overflow");
    assert_eq!(value("case when $a = 'x' then 1 else abs(-9223372036854775808) end", 1, "x"), "1");
    assert_eq!(value("coalesce($a, date($a))", 1, "now"), "now");
    assert_eq!(value("date($a)", 1, "now"), "clock");
    assert_eq!(value("0 and abs(-9223372036854775808)", 1, ""), "0");
    assert_eq!(value("1 and abs(-9223372036854775808)", 1, ""), "integer-overflow");
    assert_eq!(value("zeroblob(99999999)", 1, ""), "value-too-large");
    assert_eq!(value("cast(x'ff' as text)", 1, ""), "text-not-utf8");
}
