//! Conditions that every engine understands in the same way: comparisons of columns with constants and with each
//! other, IN, BETWEEN, IS NULL, joined by AND, OR and NOT. Read from the text that a server prints of a check
//! constraint; everything else is none of these, and a constraint with it is not carried to another engine.
//!
//! Both spellings are read: `((qty >= 0) AND ((state)::text = ANY (ARRAY['a'::text, 'b'::text])))` of PostgreSQL and
//! ``((`qty` >= 0) and (`state` in (_utf8mb4'a',_utf8mb4'b')))`` of MySQL and MariaDB.

/// A condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// All of them.
    All(Vec<Condition>),
    /// At least one.
    Any(Vec<Condition>),
    /// Not it.
    Not(Box<Condition>),
    /// A comparison.
    Compare {
        /// Left side.
        left: Operand,
        /// `=`, `<>`, `<`, `<=`, `>` or `>=`.
        operator: &'static str,
        /// Right side.
        right: Operand,
    },
    /// One of a list.
    In {
        /// What is looked for.
        operand: Operand,
        /// The list.
        list: Vec<Operand>,
        /// None of the list.
        negated: bool,
    },
    /// Within bounds, these included.
    Between {
        /// What is compared.
        operand: Operand,
        /// Lower bound.
        low: Operand,
        /// Upper bound.
        high: Operand,
        /// Outside.
        negated: bool,
    },
    /// NULL or not.
    IsNull {
        /// What is looked at.
        operand: Operand,
        /// IS NOT NULL.
        negated: bool,
    },
}

/// What is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operand {
    /// A column.
    Column(String),
    /// A number as written.
    Number(String),
    /// A text.
    Text(String),
    /// A truth value.
    Truth(bool),
}

impl Condition {
    /// Reads a server's text; `None` when it is of another form.
    pub fn parse(text: &str) -> Option<Condition> {
        let mut parser = Parser { tokens: bounded(tokens(text)?)?, at: 0 };
        let condition = parser.any()?;
        (parser.at == parser.tokens.len()).then_some(condition)
    }

    /// The same with other names; `None` when `name` has none for one of the columns.
    pub fn renamed(&self, name: &impl Fn(&str) -> Option<String>) -> Option<Condition> {
        let operand = |operand: &Operand| match operand {
            Operand::Column(column) => name(column).map(Operand::Column),
            other => Some(other.clone()),
        };
        let all = |parts: &[Condition]| parts.iter().map(|part| part.renamed(name)).collect::<Option<Vec<_>>>();
        Some(match self {
            Condition::All(parts) => Condition::All(all(parts)?),
            Condition::Any(parts) => Condition::Any(all(parts)?),
            Condition::Not(inner) => Condition::Not(Box::new(inner.renamed(name)?)),
            Condition::Compare { left, operator, right } => Condition::Compare { left: operand(left)?, operator, right: operand(right)? },
            Condition::In { operand: sought, list, negated } => {
                Condition::In { operand: operand(sought)?, list: list.iter().map(operand).collect::<Option<_>>()?, negated: *negated }
            }
            Condition::Between { operand: sought, low, high, negated } => {
                Condition::Between { operand: operand(sought)?, low: operand(low)?, high: operand(high)?, negated: *negated }
            }
            Condition::IsNull { operand: sought, negated } => Condition::IsNull { operand: operand(sought)?, negated: *negated },
        })
    }

    /// Calls `look` for each group of operands that are compared with each other.
    pub fn comparisons(&self, look: &mut impl FnMut(&[&Operand])) {
        match self {
            Condition::All(parts) | Condition::Any(parts) => parts.iter().for_each(|part| part.comparisons(look)),
            Condition::Not(inner) => inner.comparisons(look),
            Condition::Compare { left, right, .. } => look(&[left, right]),
            Condition::In { operand, list, .. } => look(&std::iter::once(operand).chain(list).collect::<Vec<_>>()),
            Condition::Between { operand, low, high, .. } => look(&[operand, low, high]),
            Condition::IsNull { operand, .. } => look(&[operand]),
        }
    }

    /// SQL, with the caller's way of writing names and texts.
    pub fn sql(&self, identifier: &impl Fn(&str) -> String, literal: &impl Fn(&str) -> String) -> String {
        let operand = |operand: &Operand| match operand {
            Operand::Column(name) => identifier(name),
            Operand::Number(text) => text.clone(),
            Operand::Text(text) => literal(text),
            Operand::Truth(true) => "true".to_owned(),
            Operand::Truth(false) => "false".to_owned(),
        };
        let joined = |parts: &[Condition], word: &str| {
            let parts: Vec<String> = parts.iter().map(|part| part.sql(identifier, literal)).collect();
            format!("({})", parts.join(word))
        };
        let not = |negated: &bool| if *negated { "not " } else { "" };
        match self {
            Condition::All(parts) => joined(parts, " and "),
            Condition::Any(parts) => joined(parts, " or "),
            Condition::Not(inner) => format!("(not {})", inner.sql(identifier, literal)),
            Condition::Compare { left, operator, right } => format!("({} {operator} {})", operand(left), operand(right)),
            Condition::In { operand: sought, list, negated } => {
                let list: Vec<String> = list.iter().map(operand).collect();
                format!("({} {}in ({}))", operand(sought), not(negated), list.join(", "))
            }
            Condition::Between { operand: sought, low, high, negated } => {
                format!("({} {}between {} and {})", operand(sought), not(negated), operand(low), operand(high))
            }
            Condition::IsNull { operand: sought, negated } => format!("({} is {}null)", operand(sought), not(negated)),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// A word without quotes, in lower case.
    Word(String),
    /// A quoted name.
    Name(String),
    Text(String),
    Number(String),
    Sign(&'static str),
}

const SIGNS: [&str; 16] = ["::", "<=", ">=", "<>", "!=", "(", ")", "[", "]", ",", "=", "<", ">", "-", ".", "+"];

fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        match first {
            '\'' => found.push(Token::Text(quoted(&mut rest, '\'', false)?)),
            '"' => found.push(Token::Name(quoted(&mut rest, '"', false)?)),
            '`' => found.push(Token::Name(quoted(&mut rest, '`', false)?)),
            // MySQL's catalog prints `\'` for the quotes of a text.
            '\\' if rest.starts_with("\\'") => {
                let end = rest[2..].find("\\'")?;
                let inner = &rest[2..2 + end];
                if inner.contains(['\\', '\'']) {
                    return None;
                }
                found.push(Token::Text(inner.to_owned()));
                rest = &rest[end + 4..];
            }
            '0'..='9' => {
                let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(rest.len());
                found.push(Token::Number(rest[..end].to_owned()));
                rest = &rest[end..];
                if rest.starts_with(|letter: char| letter.is_alphabetic()) {
                    return None;
                }
            }
            letter if letter.is_alphabetic() || letter == '_' => {
                let end = rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_' && letter != '$').unwrap_or(rest.len());
                let word = &rest[..end];
                rest = &rest[end..];
                match rest.chars().next() {
                    Some('\'') if word == "E" => found.push(Token::Text(quoted(&mut rest, '\'', true)?)),
                    // The character set that MySQL prints before a text says nothing that the text does not.
                    Some('\'' | '\\') if word.starts_with("_utf8") || word == "_ascii" => {}
                    Some('\'') => return None,
                    _ => found.push(Token::Word(word.to_lowercase())),
                }
            }
            _ => {
                let sign = SIGNS.into_iter().find(|sign| rest.starts_with(sign))?;
                found.push(Token::Sign(sign));
                rest = &rest[sign.len()..];
            }
        }
        rest = rest.trim_start();
    }
    Some(found)
}

/// What stands between quotes; a doubled quote is one. With a backslash in it, only where it escapes and is doubled.
fn quoted(rest: &mut &str, quote: char, escapes: bool) -> Option<String> {
    let mut text = String::new();
    let mut letters = rest.char_indices().skip(1).peekable();
    while let Some((place, letter)) = letters.next() {
        match letter {
            '\\' if escapes => text.push(letters.next_if(|(_, next)| *next == '\\').map(|(_, next)| next)?),
            // Whether it escapes depends on the server.
            '\\' if quote == '\'' => return None,
            _ if letter == quote => {
                if letters.next_if(|(_, next)| *next == quote).is_some() {
                    text.push(quote);
                } else {
                    *rest = &rest[place + quote.len_utf8()..];
                    return Some(text);
                }
            }
            _ => text.push(letter),
        }
    }
    None
}

/// Parentheses within each other, and words and signs in all: more is no check that a person wrote, and the parser
/// calls itself for each.
const DEPTH_MAX: usize = 64;
const TOKENS_MAX: usize = 1_000;

fn bounded(tokens: Vec<Token>) -> Option<Vec<Token>> {
    let (mut depth, mut deepest) = (0_usize, 0);
    for token in &tokens {
        match token {
            Token::Sign("(") => depth += 1,
            Token::Sign(")") => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    (deepest <= DEPTH_MAX && tokens.len() <= TOKENS_MAX).then_some(tokens)
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn sign(&mut self, sign: &str) -> bool {
        let is = matches!(self.peek(), Some(Token::Sign(found)) if *found == sign);
        self.at += usize::from(is);
        is
    }

    fn word(&mut self, word: &str) -> bool {
        let is = matches!(self.peek(), Some(Token::Word(found)) if found == word);
        self.at += usize::from(is);
        is
    }

    fn any(&mut self) -> Option<Condition> {
        let mut parts = vec![self.all()?];
        while self.word("or") {
            parts.push(self.all()?);
        }
        Some(if parts.len() == 1 { parts.remove(0) } else { Condition::Any(parts) })
    }

    fn all(&mut self) -> Option<Condition> {
        let mut parts = vec![self.one()?];
        while self.word("and") {
            parts.push(self.one()?);
        }
        Some(if parts.len() == 1 { parts.remove(0) } else { Condition::All(parts) })
    }

    fn one(&mut self) -> Option<Condition> {
        if self.word("not") {
            return Some(Condition::Not(Box::new(self.one()?)));
        }
        // A parenthesis may be around a condition or around an operand.
        let start = self.at;
        if self.sign("(") {
            if let Some(inner) = self.any()
                && self.sign(")")
                && !matches!(self.peek(), Some(Token::Sign("::" | "=" | "<" | ">" | "<=" | ">=" | "<>" | "!=")))
                && !matches!(self.peek(), Some(Token::Word(word)) if ["is", "in", "between"].contains(&word.as_str()))
            {
                return Some(inner);
            }
            self.at = start;
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Option<Condition> {
        let left = self.operand()?;
        if self.word("is") {
            let negated = self.word("not");
            return self.word("null").then_some(Condition::IsNull { operand: left, negated });
        }
        let negated = self.word("not");
        if self.word("in") {
            let list = self.list("(", ")")?;
            return Some(Condition::In { operand: left, list, negated });
        }
        if self.word("between") {
            let low = self.operand()?;
            let high = self.word("and").then(|| self.operand())??;
            return Some(Condition::Between { operand: left, low, high, negated });
        }
        if negated {
            return None;
        }
        let operator = match self.peek()? {
            Token::Sign("!=") => "<>",
            Token::Sign(sign @ ("=" | "<" | ">" | "<=" | ">=" | "<>")) => sign,
            _ => return None,
        };
        self.at += 1;
        if matches!((operator, self.peek()), ("=", Some(Token::Word(word))) if word == "any")
            || matches!((operator, self.peek()), ("<>", Some(Token::Word(word))) if word == "all")
        {
            self.at += 1;
            let list = self.array()?;
            return Some(Condition::In { operand: left, list, negated: operator == "<>" });
        }
        Some(Condition::Compare { left, operator, right: self.operand()? })
    }

    /// `(ARRAY[…])`, with casts and further parentheses.
    fn array(&mut self) -> Option<Vec<Operand>> {
        let list = if self.sign("(") {
            let inner = self.array()?;
            self.sign(")").then_some(inner)?
        } else if self.word("array") {
            self.list("[", "]")?
        } else {
            return None;
        };
        self.casts(&Operand::Text(String::new()))?;
        Some(list)
    }

    fn list(&mut self, open: &str, close: &str) -> Option<Vec<Operand>> {
        let mut list = Vec::new();
        if !self.sign(open) {
            return None;
        }
        loop {
            list.push(self.operand()?);
            if self.sign(close) {
                return Some(list);
            }
            if !self.sign(",") {
                return None;
            }
        }
    }

    fn operand(&mut self) -> Option<Operand> {
        let operand = if self.sign("(") {
            let inner = self.operand()?;
            self.sign(")").then_some(inner)?
        } else if self.sign("-") {
            match self.operand()? {
                Operand::Number(text) if !text.starts_with('-') => Operand::Number(format!("-{text}")),
                _ => return None,
            }
        } else {
            let operand = match self.peek()?.clone() {
                Token::Name(name) => Operand::Column(name),
                Token::Text(text) => Operand::Text(text),
                Token::Number(text) => Operand::Number(text),
                Token::Word(word) => match word.as_str() {
                    "true" => Operand::Truth(true),
                    "false" => Operand::Truth(false),
                    "null" | "array" | "any" | "all" | "case" | "not" | "row" | "current_date" | "current_timestamp" | "current_user"
                    | "session_user" | "user" | "localtimestamp" | "localtime" | "current_time" | "interval" | "value" | "binary"
                    | "date" | "cast" => return None,
                    _ => Operand::Column(word),
                },
                Token::Sign(_) => return None,
            };
            self.at += 1;
            // A call, a subscript or a qualified name.
            if matches!(self.peek(), Some(Token::Sign("(" | "[" | "."))) {
                return None;
            }
            operand
        };
        self.casts(&operand)?;
        Some(operand)
    }

    /// Casts that PostgreSQL prints to say what type a constant has, or to compare a column as text or number. One that
    /// may round or cut what it is applied to is none of these.
    fn casts(&mut self, of: &Operand) -> Option<()> {
        const WHOLE: [&str; 3] = ["integer", "bigint", "smallint"];
        const TYPES: [&str; 10] =
            ["text", "character varying", "bpchar", "character", "numeric", "double precision", "real", "date", "boolean", "name"];
        const ZONES: [&str; 2] = ["timestamp without time zone", "timestamp with time zone"];
        while self.sign("::") {
            let mut words = Vec::new();
            while let Some(Token::Word(word)) = self.peek() {
                if !words.is_empty() && !["varying", "precision", "without", "with", "time", "zone"].contains(&word.as_str()) {
                    break;
                }
                words.push(word.clone());
                self.at += 1;
            }
            let name = words.join(" ");
            let name = name.as_str();
            let fits = match of {
                Operand::Column(_) => ["text", "character varying", "numeric"].contains(&name),
                Operand::Number(text) => name == "numeric" || name == "double precision" || (WHOLE.contains(&name) && !text.contains('.')),
                Operand::Text(_) => WHOLE.contains(&name) || TYPES.contains(&name) || ZONES.contains(&name),
                Operand::Truth(_) => name == "boolean",
            };
            if !fits || (self.sign("[") && !self.sign("]")) {
                return None;
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> Option<String> {
        Condition::parse(text).map(|condition| condition.sql(&|name| name.to_owned(), &|text| format!("'{text}'")))
    }

    #[test]
    fn both_spellings_are_read() {
        let cases = [
            ("((qty >= 0) AND (price > 0.5))", "((qty >= 0) and (price > 0.5))"),
            ("((state)::text = ANY ((ARRAY['a'::character varying, 'b'::character varying])::text[]))", "(state in ('a', 'b'))"),
            ("(state <> ALL (ARRAY['x'::text]))", "(state not in ('x'))"),
            ("((a IS NULL) OR (NOT (b = '-1'::integer)))", "((a is null) or (not (b = '-1')))"),
            ("(NOT ((a > 1) AND (b < 2)))", "(not ((a > 1) and (b < 2)))"),
            ("((day >= '2020-01-01'::date) AND (day <= '2030-01-01'::date))", "((day >= '2020-01-01') and (day <= '2030-01-01'))"),
            ("(`qty` between 1 and -(2))", "(qty between 1 and -2)"),
            ("((`a` in (_utf8mb4\\'x\\',_utf8mb4\\'y\\')) or (`b` is not null))", "((a in ('x', 'y')) or (b is not null))"),
            ("`qty` > 0 and `qty` <= 100", "((qty > 0) and (qty <= 100))"),
            ("(\"Odd\"\"Name\" <> `it`)", "(Odd\"Name <> it)"),
            ("(flag = true)", "(flag = true)"),
            ("((price)::numeric > (0)::numeric)", "(price > 0)"),
            ("(s = E'a\\\\b')", "(s = 'a\\b')"),
        ];
        for (text, wanted) in cases {
            assert_eq!(plain(text).as_deref(), Some(wanted), "{text}");
        }
    }

    #[test]
    fn everything_else_is_no_portable_condition() {
        for text in [
            "(lower(a) = 'x'::text)",
            "((a + 1) > 2)",
            "(a ~ '^x'::text)",
            "(a = CURRENT_DATE)",
            "((a)::public.mood = 'x')",
            "(a[1] = 2)",
            "(char_length(`a`) > 3)",
            "(a > 1",
            "(a > 1) b",
            "",
            "(a = NULL)",
            "(a = 'x\\y')",
            "(a = 1e5)",
            "json_valid(`doc`)",
            "(a = any (select 1))",
            "(a)",
            "((price)::integer > 0)",
            "((at)::date > '2020-01-01'::date)",
            "(a > (1.5)::integer)",
        ] {
            assert_eq!(plain(text), None, "{text}");
        }
        assert_eq!(plain(&format!("{}a = 1{}", "(".repeat(5000), ")".repeat(5000))), None);
    }

    #[test]
    fn renaming_needs_every_name() {
        let condition = Condition::parse("((a > 1) AND (b IS NULL))").unwrap();
        let renamed = condition.renamed(&|name| Some(format!("{name}2"))).unwrap();
        assert_eq!(renamed.sql(&|name| name.to_owned(), &|text| text.to_owned()), "((a2 > 1) and (b2 is null))");
        assert_eq!(condition.renamed(&|name| (name == "a").then(|| name.to_owned())), None);
    }
}
