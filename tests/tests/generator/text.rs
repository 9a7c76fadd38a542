//! Texts and quoting of the generator.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::kinds::Engine;

const CHARACTERS: &[char] = &[
    'a',
    'B',
    'z',
    '0',
    ' ',
    ' ',
    'é',
    'É',
    'ß',
    'ж',
    '東',
    '🚲',
    '\u{10FFFF}',
    '\u{301}',
    '\u{200d}',
    '\t',
    '\n',
    '\r',
    '\\',
    '\'',
    '"',
    '`',
    '%',
    '_',
    ',',
    '{',
    '}',
    '\u{1a}',
    '\u{7f}',
    '\u{1}',
    '\u{ffff}',
    '\u{fffd}',
    '$',
    ';',
    '-',
];

/// A text of up to so many characters: empty, plain or strange; with U+0000 where it may be.
pub(super) fn word(random: &mut StdRng, most: usize, may_have_zero: bool) -> String {
    match random.random_range(0..6) {
        0 => String::new(),
        1 => ["NULL", "\\N", "null ", " a", "a ", "it's", "'); --", "\\."][random.random_range(0..8)].chars().take(most).collect(),
        2 => format!("w{}", random.random_range(0..100_000)),
        _ => {
            let length = random.random_range(1..=most);
            let strange = |random: &mut StdRng| *CHARACTERS.choose(random).expect("there are characters");
            (0..length).map(|_| if may_have_zero && random.random_bool(0.05) { '\0' } else { strange(random) }).collect()
        }
    }
}

/// An expression for a large text that is short to print.
pub(super) fn long_text(random: &mut StdRng, most: u32) -> String {
    let part = format!("{} é東 ", random.random_range(0..100_000));
    format!("repeat('{part}', {})", random.random_range(most / 40..=most / 20))
}

/// A text as a literal.
pub(super) fn quoted(engine: Engine, text: &str) -> String {
    let text = text.replace('\'', "''");
    if engine.is_postgres() { format!("'{text}'") } else { format!("'{}'", text.replace('\\', "\\\\").replace('\0', "\\0")) }
}

/// A name as an identifier.
pub(super) fn named(engine: Engine, name: &str) -> String {
    let quote = if engine.is_postgres() { '"' } else { '`' };
    format!("{quote}{}{quote}", name.replace(quote, &format!("{quote}{quote}")))
}
