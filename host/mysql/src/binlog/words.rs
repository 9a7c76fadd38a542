//! Cuts a logged statement into words, names, texts and symbols: comments are skipped, executable ones opened. What a quote
//! means is a matter of the session's SQL modes, which the log has with each statement.

/// SQL modes that change how a statement reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SqlModes {
    /// `"` encloses names, not texts.
    pub(crate) ansi_quotes: bool,
    /// A backslash in a text is a letter like others.
    pub(crate) no_backslash_escapes: bool,
}

impl SqlModes {
    /// By the number that the log has. Source: `MODE_ANSI_QUOTES` and `MODE_NO_BACKSLASH_ESCAPES` of MySQL's
    /// include/my_sqlcommand.h and sql/system_variables.h, the same in MariaDB's sql/sql_class.h.
    pub(crate) fn of(bits: u64) -> SqlModes {
        SqlModes { ansi_quotes: bits & 1 << 2 != 0, no_backslash_escapes: bits & 1 << 20 != 0 }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// In upper case, and as it stands.
    Word(String, String),
    /// A name in quotes.
    Quoted(String),
    /// A text, of which nothing is kept.
    Text,
    Symbol(char),
}

impl Token {
    /// Empty for what is no bare word.
    pub(super) fn word(&self) -> &str {
        match self {
            Token::Word(upper, _) => upper,
            Token::Quoted(_) | Token::Text | Token::Symbol(_) => "",
        }
    }

    /// What may be the name of something.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Token::Word(_, name) | Token::Quoted(name) => Some(name),
            Token::Text | Token::Symbol(_) => None,
        }
    }
}

/// Cuts a statement. Of MariaDB's `SET STATEMENT … FOR …`, only what the settings are for is left.
pub(super) fn tokens(text: &str, modes: SqlModes) -> Vec<Token> {
    let mut found = all_tokens(text, modes);
    if found.first().is_some_and(|token| token.word() == "SET") && found.get(1).is_some_and(|token| token.word() == "STATEMENT") {
        let mut depth = 0_usize;
        let inner = found.iter().position(|token| {
            match token {
                Token::Symbol('(') => depth += 1,
                Token::Symbol(')') => depth = depth.saturating_sub(1),
                Token::Word(..) | Token::Quoted(_) | Token::Text | Token::Symbol(_) => {}
            }
            depth == 0 && token.word() == "FOR"
        });
        found.drain(..inner.map_or(0, |place| place + 1));
    }
    found
}

fn all_tokens(text: &str, modes: SqlModes) -> Vec<Token> {
    let mut found = Vec::new();
    let mut letters = text.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        let rest = &text[at..];
        match letter {
            _ if letter.is_whitespace() => {}
            '#' => skip_line(&mut letters),
            '-' if rest.starts_with("-- ") || rest == "--" || rest.starts_with("--\n") || rest.starts_with("--\t") => {
                skip_line(&mut letters)
            }
            '/' if rest.starts_with("/*") => {
                let executable = rest.starts_with("/*!") || rest.starts_with("/*M!");
                letters.next();
                if executable {
                    while letters.peek().is_some_and(|(_, next)| matches!(next, '!' | 'M') || next.is_ascii_digit()) {
                        letters.next();
                    }
                } else {
                    let end = rest.get(2..).and_then(|inside| inside.find("*/")).map_or(text.len(), |length| at + length + 4);
                    while letters.peek().is_some_and(|(next, _)| *next < end) {
                        letters.next();
                    }
                }
            }
            // The end of an executable comment.
            '*' if rest.starts_with("*/") => drop(letters.next()),
            '`' => found.push(Token::Quoted(quoted(&mut letters, letter, false))),
            '"' if modes.ansi_quotes => found.push(Token::Quoted(quoted(&mut letters, letter, false))),
            '\'' | '"' => {
                quoted(&mut letters, letter, !modes.no_backslash_escapes);
                found.push(Token::Text);
            }
            _ if letter.is_alphanumeric() || matches!(letter, '_' | '$') => {
                let mut word = String::from(letter);
                while let Some((_, next)) = letters.next_if(|(_, next)| next.is_alphanumeric() || matches!(next, '_' | '$')) {
                    word.push(next);
                }
                found.push(Token::Word(word.to_ascii_uppercase(), word));
            }
            symbol => found.push(Token::Symbol(symbol)),
        }
    }
    found
}

fn skip_line(letters: &mut std::iter::Peekable<std::str::CharIndices<'_>>) {
    for (_, letter) in letters.by_ref() {
        if letter == '\n' {
            return;
        }
    }
}

/// What stands between quotes; a doubled quote is one, and a backslash escapes in texts, unless the session wants it otherwise.
fn quoted(letters: &mut std::iter::Peekable<std::str::CharIndices<'_>>, quote: char, escapes: bool) -> String {
    let mut inside = String::new();
    while let Some((_, letter)) = letters.next() {
        if letter == '\\' && escapes {
            inside.extend(letters.next().map(|(_, next)| next));
        } else if letter != quote {
            inside.push(letter);
        } else if letters.next_if(|(_, next)| *next == quote).is_some() {
            inside.push(quote);
        } else {
            break;
        }
    }
    inside
}
