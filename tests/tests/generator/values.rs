//! Values of columns and keys, as literals.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::kinds::{Engine, Reach};
use super::text::{long_text, quoted, word};

/// What values are drawn with.
pub(super) struct Draw {
    pub(super) random: StdRng,
    pub(super) source: Engine,
    /// Where the table whose values are drawn goes.
    pub(super) reach: Reach,
}

impl Draw {
    pub(super) fn new(seed: u64, source: Engine) -> Draw {
        // Each source does something else with one seed.
        Draw { random: StdRng::seed_from_u64(seed.wrapping_mul(3).wrapping_add(source as u64)), source, reach: Reach::EVERYWHERE }
    }

    pub(super) fn one_in(&mut self, count: u32) -> bool {
        self.random.random_range(0..count) == 0
    }

    pub(super) fn pick(&mut self, literals: &[&str]) -> String {
        (*literals.choose(&mut self.random).expect("a list has entries")).to_owned()
    }

    /// One of `literals`, or of `strange` ones where every target takes them.
    pub(super) fn pick_or(&mut self, literals: &[&str], strange: &[&str], takes_strange: bool) -> String {
        if takes_strange && self.one_in(3) { self.pick(strange) } else { self.pick(literals) }
    }

    pub(super) fn stays_in_postgres(&self) -> bool {
        self.source.is_postgres() && self.reach == Reach::only(Engine::Postgres)
    }

    pub(super) fn stays_in_mysql(&self) -> bool {
        !self.source.is_postgres() && !self.reach.has(Engine::Postgres)
    }

    pub(super) fn word(&mut self, most: usize) -> String {
        let may_have_zero = self.stays_in_mysql();
        word(&mut self.random, most, may_have_zero)
    }

    pub(super) fn whole(&mut self, least: i128, most: i128) -> String {
        match self.random.random_range(0..5) {
            0 => least.to_string(),
            1 => most.to_string(),
            2 => 0.clamp(least, most).to_string(),
            3 => self.random.random_range(-3_i128..100).clamp(least, most).to_string(),
            _ => self.random.random_range(least..=most).to_string(),
        }
    }

    pub(super) fn decimal(&mut self, whole_digits: usize, fraction_digits: usize) -> String {
        let digits = |random: &mut StdRng, count: usize| -> String {
            let count = if random.random_bool(0.3) { count } else { random.random_range(0..=count) };
            (0..count).map(|_| char::from(b'0' + random.random_range(0..10))).collect()
        };
        let sign = if self.random.random_bool(0.5) { "-" } else { "" };
        let (whole, fraction) = (digits(&mut self.random, whole_digits), digits(&mut self.random, fraction_digits));
        format!("{sign}0{whole}.{fraction}0")
    }

    pub(super) fn bytes(&mut self, length: usize) -> String {
        let mut bytes = vec![0_u8; length];
        self.random.fill(&mut bytes[..]);
        if self.one_in(3) {
            // Trailing zeros and blanks are where padding goes wrong.
            let tail = [0_u8, b' ', b'\\', b'\''][self.random.random_range(0..4)];
            bytes.iter_mut().rev().take(2).for_each(|byte| *byte = tail);
        }
        self.hexadecimal(&bytes)
    }

    pub(super) fn hexadecimal(&self, bytes: &[u8]) -> String {
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        if self.source.is_postgres() { format!("'\\x{digits}'") } else { format!("x'{digits}'") }
    }

    pub(super) fn bits(&mut self, count: usize) -> String {
        let bits: String = (0..count).map(|_| if self.random.random_bool(0.5) { '1' } else { '0' }).collect();
        format!("b'{bits}'")
    }
}

pub(super) fn nth(_: &mut Draw, n: u64) -> String {
    n.to_string()
}

pub(super) fn nth_wide(_: &mut Draw, n: u64) -> String {
    if n.is_multiple_of(2) { (-9_223_372_036_854_775_808_i128 + i128::from(n)).to_string() } else { (4_294_967_296 + n).to_string() }
}

pub(super) fn nth_positive(_: &mut Draw, n: u64) -> String {
    if n.is_multiple_of(2) { (u64::MAX - n).to_string() } else { n.to_string() }
}

pub(super) fn nth_decimal(_: &mut Draw, n: u64) -> String {
    format!("{}.{:06}", if n.is_multiple_of(3) { -98_765_432_100_i64 } else { 5 }, n)
}

pub(super) fn nth_text(draw: &mut Draw, n: u64) -> String {
    let letter = ["a", "É", "ß", "z", "東", "Ω "][draw.random.random_range(0..6)];
    quoted(draw.source, &format!("{letter}{n}"))
}

pub(super) fn nth_bytes(draw: &mut Draw, n: u64) -> String {
    let mut bytes = (n as u32).to_be_bytes().to_vec();
    bytes.extend([0, b' '].into_iter().take((n % 3) as usize));
    draw.hexadecimal(&bytes)
}

pub(super) fn nth_six_bytes(draw: &mut Draw, n: u64) -> String {
    draw.hexadecimal(&(n << 8).to_be_bytes()[2..])
}

pub(super) fn nth_date(_: &mut Draw, n: u64) -> String {
    format!("'{:04}-{:02}-{:02}'", 1000 + n / 300, n / 25 % 12 + 1, n % 25 + 1)
}

pub(super) fn nth_moment(_: &mut Draw, n: u64) -> String {
    format!("'2001-03-{:02} {:02}:{:02}:{:02}.{:06}'", n % 28 + 1, n / 28 % 24, n / 672 % 60, n % 59, n)
}

pub(super) fn nth_uuid(_: &mut Draw, n: u64) -> String {
    format!("'{:08x}-0000-4000-8000-{n:012x}'", n.wrapping_mul(2_654_435_761) & 0xffff_ffff)
}

pub(super) fn word_30(draw: &mut Draw) -> String {
    let text = draw.word(30);
    quoted(draw.source, &text)
}

pub(super) fn word_8(draw: &mut Draw) -> String {
    // A fixed length hides blanks at the end, in MySQL at the source already.
    let text = draw.word(8);
    quoted(draw.source, text.trim_end_matches(' '))
}

pub(super) fn any_text(draw: &mut Draw) -> String {
    if draw.one_in(6) { long_text(&mut draw.random, 20_000) } else { word_30(draw) }
}

pub(super) fn small_text(draw: &mut Draw) -> String {
    if draw.one_in(6) { long_text(&mut draw.random, 200) } else { word_30(draw) }
}

pub(super) fn latin(draw: &mut Draw) -> String {
    draw.pick(&["''", "'é'", "'€uro ÿ'", "'plain '", "' Ž'"])
}

pub(super) fn single(draw: &mut Draw) -> String {
    let common = ["0", "1.5", "0.1", "-16777216", "3.4028234e38", "-1.17549435e-38", "1e-5", "123456.79"];
    let strange = ["'NaN'", "'Infinity'", "'-Infinity'", "'-0'", "'1e-45'"];
    if draw.one_in(3) {
        let value = f32::from_bits(draw.random.random());
        return if value.is_normal() { format!("{value:e}") } else { "0.3".to_owned() };
    }
    draw.pick_or(&common, &strange, draw.stays_in_postgres())
}

pub(super) fn double(draw: &mut Draw) -> String {
    let common =
        ["0", "0.1", "0.30000000000000004", "-9007199254740993", "1.7976931348623157e308", "-2.2250738585072014e-308", "1e15", "1e16"];
    let strange = ["'NaN'", "'Infinity'", "'-Infinity'", "'-0'", "'5e-324'"];
    if draw.one_in(3) {
        let value = f64::from_bits(draw.random.random());
        return if value.is_normal() { format!("{value:e}") } else { "0.3".to_owned() };
    }
    draw.pick_or(&common, &strange, draw.stays_in_postgres())
}

pub(super) fn date(draw: &mut Draw) -> String {
    // Zero and partial dates of MySQL are refused everywhere.
    let common = ["'1000-01-01'", "'9999-12-31'", "'1582-10-10'", "'2000-02-29'", "'1969-12-31'"];
    draw.pick_or(&common, &["'infinity'", "'-infinity'", "'4713-01-01 BC'", "'5874897-12-31'"], draw.stays_in_postgres())
}

pub(super) fn moment(draw: &mut Draw) -> String {
    let common = [
        "'1000-01-01 00:00:00'",
        "'9999-12-31 23:59:59'",
        "'1969-12-31 23:59:59'",
        "'2024-02-29 12:34:56.789'",
        "'2000-01-01 00:00:00.000001'",
        "'1999-12-31 23:59:59.123456'",
    ];
    let strange = ["'infinity'", "'-infinity'", "'4713-01-01 00:00:00 BC'", "'294276-12-31 23:59:59.999999'"];
    draw.pick_or(&common, &strange, draw.stays_in_postgres())
}

pub(super) fn moment_short(draw: &mut Draw) -> String {
    draw.pick(&["'1970-01-01 00:00:01'", "'2038-01-19 03:14:07'", "'2025-10-26 00:30:00.5'", "'2025-10-26 01:30:00.123456'"])
}

pub(super) fn clock(draw: &mut Draw) -> String {
    draw.pick(&["'00:00:00'", "'23:59:59.999'", "'24:00:00'", "'12:00:00.000001'", "'01:02:03.4'"])
}

pub(super) fn span(draw: &mut Draw) -> String {
    draw.pick(&["'-838:59:59'", "'838:59:59'", "'-00:00:01'", "'-01:02:03.456'", "'00:00:00'", "'24:00:00'"])
}

pub(super) fn json(draw: &mut Draw) -> String {
    let number = draw.random.random_range(-1_000_000_i64..1_000_000);
    let texts = [
        format!("{{\"a\": {number}, \"b\": [1, null, true], \"ü\": \"東 \\\"q\\\" \\\\ \\n\"}}"),
        "null".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        format!("{number}"),
        "0.1".to_owned(),
        "\"\"".to_owned(),
        format!("[{{\"deep\": {{\"x\": [[[{number}]]]}}}}, -0.5, 1e5]"),
        "18446744073709551615".to_owned(),
    ];
    let text = texts.choose(&mut draw.random).expect("a list has entries").clone();
    quoted(draw.source, &text)
}

pub(super) fn uuid(draw: &mut Draw) -> String {
    let random: u128 = draw.random.random();
    let mut digits = format!("{random:032x}");
    if draw.source == Engine::Mariadb {
        // It refuses those of a version without the version's form.
        digits.replace_range(12..13, "4");
        digits.replace_range(16..17, "8");
    }
    format!("'{}-{}-{}-{}-{}'", &digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..])
}

pub(super) fn free_decimal(draw: &mut Draw) -> String {
    if draw.stays_in_postgres() && draw.one_in(2) {
        return draw.pick(&[
            "'NaN'",
            "'Infinity'",
            "'-Infinity'",
            "1.10",
            "'-0.000'",
            "1e1000",
            "1e-1000",
            "(repeat('9', 300) || '.5')::numeric",
        ]);
    }
    draw.decimal(30, 20)
}
