//! Cuts an expression into tokens.

use super::number::{parse_integer, parse_real};
use super::{CHARACTERS_MAX, Complaint};

/// A token and the character at which it begins, counted from 1.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Token {
    pub(crate) character: usize,
    pub(crate) kind: Kind,
}

/// What a token is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    /// `$NAME` or `${any name}`.
    Variable(String),
    /// A keyword or the name of a function, as written.
    Word(String),
    Integer(i64),
    /// 9223372036854775808, which only a minus sign makes an integer.
    IntegerBeyond,
    Real(f64),
    Text(String),
    Blob(Vec<u8>),
    Symbol(&'static str),
    End,
}

/// The longer ones first.
const SYMBOLS: &[&str] = &[
    "->>", "||", "<<", ">>", "<=", ">=", "==", "!=", "<>", "->", "(", ")", ",", "+", "-", "*", "/", "%", "&", "|", "~", "<", ">", "=", ".",
    ";",
];

impl Kind {
    /// For "found …".
    pub(crate) fn shown(&self) -> String {
        match self {
            Kind::Variable(name) => format!("the variable \"${name}\""),
            Kind::Word(word) => format!("\"{word}\""),
            Kind::Integer(_) | Kind::IntegerBeyond | Kind::Real(_) => "a number".to_owned(),
            Kind::Text(_) => "a text".to_owned(),
            Kind::Blob(_) => "a blob".to_owned(),
            Kind::Symbol(symbol) => format!("\"{symbol}\""),
            Kind::End => "the end".to_owned(),
        }
    }
}

struct Lexer {
    text: Vec<char>,
    at: usize,
}

/// # Errors
/// The first thing that is no token.
pub(crate) fn tokens(text: &str) -> Result<Vec<Token>, Complaint> {
    let text: Vec<char> = text.chars().collect();
    if text.len() > CHARACTERS_MAX {
        return Err(Complaint::new(CHARACTERS_MAX, format!("the expression has {} characters, more than {CHARACTERS_MAX}", text.len())));
    }
    let mut lexer = Lexer { text, at: 0 };
    let mut tokens = Vec::new();
    loop {
        while lexer.peek(0).is_some_and(char::is_whitespace) {
            lexer.at += 1;
        }
        let character = lexer.at + 1;
        let kind = lexer.next()?;
        let is_end = kind == Kind::End;
        tokens.push(Token { character, kind });
        if is_end {
            return Ok(tokens);
        }
    }
}

impl Lexer {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.text.get(self.at + ahead).copied()
    }

    fn complain<T>(&self, message: impl Into<String>) -> Result<T, Complaint> {
        Err(Complaint::new(self.at + 1, message))
    }

    fn next(&mut self) -> Result<Kind, Complaint> {
        let Some(first) = self.peek(0) else { return Ok(Kind::End) };
        match first {
            '\'' => self.quoted().map(Kind::Text),
            '$' => self.variable(),
            'x' | 'X' if self.peek(1) == Some('\'') => self.blob(),
            '0'..='9' => self.number(),
            '.' if self.peek(1).is_some_and(|next| next.is_ascii_digit()) => self.number(),
            first if is_word(first) => Ok(Kind::Word(self.word())),
            '"' | '`' | '[' => self.complain(format!("found {first}; a text stands in single quotes, a column is written ${{name}}")),
            '\u{2018}' | '\u{2019}' | '\u{201c}' | '\u{201d}' => {
                self.complain(format!("found the typographic quote {first}; a text stands in single quotes: 'text'"))
            }
            '?' | ':' | '@' => self.complain(format!("found {first}; parameters do not exist here, a column is written $name")),
            '-' if self.peek(1) == Some('-') => self.complain("found a comment; comments are not read here"),
            '/' if self.peek(1) == Some('*') => self.complain("found a comment; comments are not read here"),
            other => {
                let rest: String = self.text.iter().skip(self.at).take(3).collect();
                match SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
                    Some(symbol) => {
                        self.at += symbol.len();
                        Ok(Kind::Symbol(symbol))
                    }
                    None => self.complain(format!("found {other:?}, which begins nothing")),
                }
            }
        }
    }

    fn word(&mut self) -> String {
        let start = self.at;
        while self.peek(0).is_some_and(|letter| is_word(letter) || letter.is_ascii_digit()) {
            self.at += 1;
        }
        self.text[start..self.at].iter().collect()
    }

    fn variable(&mut self) -> Result<Kind, Complaint> {
        let start = self.at;
        self.at += 1;
        let name = if self.peek(0) == Some('{') {
            let end = self.text[self.at..].iter().position(|letter| *letter == '}');
            let Some(end) = end else { return Err(Complaint::new(start + 1, "found ${ without its }")) };
            let name: String = self.text[self.at + 1..self.at + end].iter().collect();
            self.at += end + 1;
            name
        } else {
            self.word()
        };
        if name.is_empty() {
            return Err(Complaint::new(start + 1, "found $ without a name; a column is written $name or ${any name}"));
        }
        Ok(Kind::Variable(name))
    }

    fn quoted(&mut self) -> Result<String, Complaint> {
        let start = self.at;
        self.at += 1;
        let mut text = String::new();
        while let Some(letter) = self.peek(0) {
            self.at += 1;
            if letter != '\'' {
                text.push(letter);
            } else if self.peek(0) == Some('\'') {
                self.at += 1;
                text.push('\'');
            } else {
                return Ok(text);
            }
        }
        Err(Complaint::new(start + 1, "found a text without its closing quote"))
    }

    fn blob(&mut self) -> Result<Kind, Complaint> {
        let start = self.at;
        self.at += 1;
        let digits = self.quoted()?;
        let pairs: Option<Vec<u8>> = digits
            .as_bytes()
            .chunks(2)
            .map(|pair| {
                let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2 && pair.bytes().all(|b| b.is_ascii_hexdigit()))?;
                u8::from_str_radix(pair, 16).ok()
            })
            .collect();
        pairs.map(Kind::Blob).ok_or_else(|| Complaint::new(start + 1, "found a blob that is not made of pairs of hexadecimal digits"))
    }

    fn number(&mut self) -> Result<Kind, Complaint> {
        let start = self.at;
        if self.peek(0) == Some('0') && matches!(self.peek(1), Some('x' | 'X')) {
            self.at += 2;
            let digits = self.word();
            let digits = digits.trim_start_matches('0');
            let value = if digits.is_empty() { Ok(0) } else { u64::from_str_radix(digits, 16) };
            return match value {
                // As in SQLite, sixteen digits are the bits of an integer.
                Ok(bits) => Ok(Kind::Integer(bits.cast_signed())),
                Err(_) => Err(Complaint::new(start + 1, "found a hexadecimal number that is none, or of more than 64 bits")),
            };
        }
        self.digits();
        let mut is_real = false;
        if self.peek(0) == Some('.') {
            is_real = true;
            self.at += 1;
            self.digits();
        }
        let sign = usize::from(matches!(self.peek(1), Some('+' | '-')));
        if matches!(self.peek(0), Some('e' | 'E')) && self.peek(1 + sign).is_some_and(|digit| digit.is_ascii_digit()) {
            is_real = true;
            self.at += 1 + sign;
            self.digits();
        }
        if self.peek(0).is_some_and(is_word) {
            return Err(Complaint::new(start + 1, "found a number that runs into a name"));
        }
        let text: String = self.text[start..self.at].iter().collect();
        if !is_real {
            if let Some(number) = parse_integer(&text) {
                return Ok(Kind::Integer(number));
            }
            if text.trim_start_matches('0') == "9223372036854775808" {
                return Ok(Kind::IntegerBeyond);
            }
        }
        match parse_real(&text) {
            Some(number) => Ok(Kind::Real(number)),
            None => Err(Complaint::new(start + 1, "found a number that cannot be read")),
        }
    }

    fn digits(&mut self) {
        while self.peek(0).is_some_and(|digit| digit.is_ascii_digit()) {
            self.at += 1;
        }
    }
}

fn is_word(letter: char) -> bool {
    letter == '_' || letter.is_ascii_alphabetic() || (!letter.is_ascii() && letter.is_alphanumeric())
}
