//! Patterns of object locators.
//!
//! `%` stands for any text, `_` for one character, `[ab]` for one of a set, `[a-d]` for one of a range, `[_]` and `[%]`
//! for the character itself. Everything is compared exactly, letter case included.

/// A parsed pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    AnyText,
    AnyOne,
    One(char),
    OneOf(Vec<(char, char)>),
}

impl Pattern {
    /// # Errors
    /// A sentence about what is wrong.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text.chars();
        while let Some(first) = rest.next() {
            pieces.push(match first {
                '%' => Piece::AnyText,
                '_' => Piece::AnyOne,
                '[' => {
                    let inner: String = rest.by_ref().take_while(|found| *found != ']').collect();
                    let closed = text.len() - rest.as_str().len();
                    if inner.is_empty() || !text[..closed].ends_with(']') {
                        return Err(format!("the pattern \"{text}\" has a [ without characters and ]"));
                    }
                    Piece::OneOf(ranges(&inner))
                }
                other => Piece::One(other),
            });
        }
        Ok(Self { pieces })
    }

    /// A pattern for exactly this text, wildcards taken as they are.
    pub(crate) fn literal(text: &str) -> Self {
        Self { pieces: text.chars().map(Piece::One).collect() }
    }

    /// True when the pattern stands for more than one text.
    pub(crate) fn has_wildcards(&self) -> bool {
        self.pieces.iter().any(|piece| match piece {
            Piece::One(_) => false,
            Piece::OneOf(ranges) => !matches!(ranges.as_slice(), [(low, high)] if low == high),
            Piece::AnyText | Piece::AnyOne => true,
        })
    }

    /// Walks both texts once; on a mismatch it goes back to the last `%` and lets that take one character more.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        let (mut piece, mut at) = (0, 0);
        let mut last_any: Option<(usize, usize)> = None;
        while at < text.len() {
            match self.pieces.get(piece) {
                Some(Piece::AnyText) => {
                    last_any = Some((piece, at));
                    piece += 1;
                }
                Some(one) if one.takes(text[at]) => {
                    piece += 1;
                    at += 1;
                }
                _ => match last_any {
                    Some((any, from)) => {
                        last_any = Some((any, from + 1));
                        piece = any + 1;
                        at = from + 1;
                    }
                    None => return false,
                },
            }
        }
        self.pieces[piece..].iter().all(|rest| *rest == Piece::AnyText)
    }
}

impl Piece {
    fn takes(&self, found: char) -> bool {
        match self {
            Piece::AnyText => false,
            Piece::AnyOne => true,
            Piece::One(wanted) => *wanted == found,
            Piece::OneOf(ranges) => ranges.iter().any(|(low, high)| (*low..=*high).contains(&found)),
        }
    }
}

fn ranges(inner: &str) -> Vec<(char, char)> {
    let chars: Vec<char> = inner.chars().collect();
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        if let (Some('-'), Some(high)) = (chars.get(at + 1), chars.get(at + 2)) {
            ranges.push((chars[at], *high));
            at += 3;
        } else {
            ranges.push((chars[at], chars[at]));
            at += 1;
        }
    }
    ranges
}

#[cfg(test)]
mod pattern_tests {
    use super::*;

    #[test]
    fn patterns_match_like_dms() {
        let cases = [
            ("%", "", true),
            ("%", "anything", true),
            ("a%", "abc", true),
            ("a%", "bc", false),
            ("%b%c", "abbbc", true),
            ("%b%c", "abbbcd", false),
            ("t_x", "tax", true),
            ("t_x", "tx", false),
            ("t[_]x", "t_x", true),
            ("t[_]x", "tax", false),
            ("t[%]", "t%", true),
            ("t[%]", "tt", false),
            ("[ab]1", "b1", true),
            ("[ab]1", "c1", false),
            ("[a-d]1", "c1", true),
            ("[a-d]1", "e1", false),
            ("[a-dx]", "x", true),
            ("Orders", "orders", false),
            ("日_", "日本", true),
            ("a.b", "axb", false),
        ];
        for (pattern, text, wanted) in cases {
            assert_eq!(Pattern::parse(pattern).unwrap().matches(text), wanted, "{pattern} on {text}");
        }
        assert!(Pattern::parse("a[").is_err());
        assert!(Pattern::parse("a[bc").is_err());
        assert!(Pattern::parse("a[]").is_err());
        assert!(!Pattern::parse("a[_]b").unwrap().has_wildcards());
        assert!(Pattern::literal("a%").matches("a%") && !Pattern::literal("a%").matches("ab"));
    }
}
