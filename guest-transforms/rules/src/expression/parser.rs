//! Reads tokens into nodes, by the precedence of operators.
//! Source of the grammar and the precedence: SQLite, "SQL Language Expressions".

use super::function::Function;
use super::lexer::{Kind, Token, tokens};
use super::node::{Affinity, Binary, Expression, Id, Names, Node, Op, Unary, Variable};
use super::value::{Arena, Value};
use super::{Complaint, DEPTH_MAX, NODES_MAX};

/// How tightly operators bind.
const OR: u8 = 1;
const AND: u8 = 2;
const NOT: u8 = 3;
const EQUALITY: u8 = 4;
const RELATION: u8 = 5;
const BITS: u8 = 6;
const SUM: u8 = 7;
const PRODUCT: u8 = 8;
const CONCAT: u8 = 9;
const UNARY: u8 = 10;

/// Words that no function may be named, and what to say of them.
const REFUSED_WORDS: &[(&str, &str)] = &[
    ("select", "queries do not exist here: an expression sees one row"),
    ("exists", "queries do not exist here: an expression sees one row"),
    ("current_timestamp", "the present time would differ when a row is sent again; use $AR_H_TIMESTAMP"),
    ("current_date", "the present time would differ when a row is sent again; use $AR_H_TIMESTAMP"),
    ("current_time", "the present time would differ when a row is sent again; use $AR_H_TIMESTAMP"),
    ("collate", "collations are not supported; use lower() or upper()"),
    ("regexp", "regular expressions are not supported; use LIKE, GLOB, or a module of your own"),
    ("match", "MATCH is not supported; use LIKE, GLOB, or a module of your own"),
];

struct Parser<'a> {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    names: &'a dyn Names,
    done: Expression,
}

/// # Errors
/// The first thing that is wrong.
pub(crate) fn parse(text: &str, names: &dyn Names) -> Result<Expression, Complaint> {
    let done = Expression { nodes: Vec::new(), inputs: Vec::new(), literals: Arena::default(), reads_operation: false, indicator_at: None };
    let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0, names, done };
    let root = parser.expression(0)?;
    match &parser.peek().kind {
        Kind::End => {}
        _ => return parser.found("an operator or the end"),
    }
    // The whole is what stands last; a shared part may stand behind it only if it is the whole.
    debug_assert_eq!(root + 1, parser.done.nodes.len());
    Ok(parser.done)
}

impl Parser<'_> {
    fn peek(&self) -> &Token {
        // The end is a token, and nothing goes past it.
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn take(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn found<T>(&self, wanted: &str) -> Result<T, Complaint> {
        let token = self.peek();
        Err(Complaint::new(token.character, format!("found {}, wanted {wanted}", token.kind.shown())))
    }

    fn is_symbol(&self, symbol: &str) -> bool {
        matches!(&self.peek().kind, Kind::Symbol(found) if *found == symbol)
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(&self.peek().kind, Kind::Word(found) if found.eq_ignore_ascii_case(word))
    }

    fn take_symbol(&mut self, symbol: &str) -> bool {
        let is_there = self.is_symbol(symbol);
        self.at += usize::from(is_there);
        is_there
    }

    fn take_word(&mut self, word: &str) -> bool {
        let is_there = self.is_word(word);
        self.at += usize::from(is_there);
        is_there
    }

    fn want_symbol(&mut self, symbol: &str, what: &str) -> Result<(), Complaint> {
        if self.take_symbol(symbol) { Ok(()) } else { self.found(what) }
    }

    fn want_word(&mut self, word: &str) -> Result<(), Complaint> {
        if self.take_word(word) { Ok(()) } else { self.found(&word.to_ascii_uppercase()) }
    }

    fn add(&mut self, op: Op) -> Result<Id, Complaint> {
        self.add_with(op, Affinity::None)
    }

    fn add_with(&mut self, op: Op, affinity: Affinity) -> Result<Id, Complaint> {
        if self.done.nodes.len() >= NODES_MAX {
            return Err(Complaint::new(self.peek().character, format!("the expression has more than {NODES_MAX} parts")));
        }
        self.done.nodes.push(Node { op, affinity });
        Ok(self.done.nodes.len() - 1)
    }

    /// An expression whose operators bind at least so tightly.
    fn expression(&mut self, tightness: u8) -> Result<Id, Complaint> {
        if self.depth >= DEPTH_MAX {
            return Err(Complaint::new(self.peek().character, format!("the expression is nested deeper than {DEPTH_MAX}")));
        }
        self.depth += 1;
        let mut left = self.prefix()?;
        while let Some(more) = self.operator(left, tightness)? {
            left = more;
        }
        self.depth -= 1;
        Ok(left)
    }

    fn prefix(&mut self) -> Result<Id, Complaint> {
        if self.take_word("not") {
            let operand = self.expression(NOT)?;
            return self.add(Op::Unary(Unary::Not, operand));
        }
        if self.take_symbol("-") {
            if self.peek().kind == Kind::IntegerBeyond {
                self.take();
                return self.add(Op::Constant(Value::Integer(i64::MIN)));
            }
            let operand = self.expression(UNARY)?;
            return self.add(Op::Unary(Unary::Minus, operand));
        }
        if self.take_symbol("+") {
            // Nothing but an end of the operand's affinity.
            let operand = self.expression(UNARY)?;
            return self.add(Op::Case { operand: None, arms: Vec::new(), otherwise: Some(operand) });
        }
        if self.take_symbol("~") {
            let operand = self.expression(UNARY)?;
            return self.add(Op::Unary(Unary::BitNot, operand));
        }
        self.primary()
    }

    fn primary(&mut self) -> Result<Id, Complaint> {
        let token = self.peek().clone();
        match token.kind {
            Kind::Integer(number) => self.constant(Value::Integer(number)),
            Kind::IntegerBeyond => self.constant(Value::Real(9_223_372_036_854_775_808.0)),
            Kind::Real(number) => self.constant(Value::Real(number)),
            Kind::Text(text) => {
                let value = self.done.literals.add_text(&text);
                self.constant(value)
            }
            Kind::Blob(bytes) => {
                let value = self.done.literals.add_blob(&bytes);
                self.constant(value)
            }
            Kind::Variable(name) => {
                self.at += 1;
                self.variable(&name, token.character)
            }
            Kind::Symbol("(") => {
                self.at += 1;
                let inner = self.expression(0)?;
                if self.is_symbol(",") {
                    return self.found("\")\"; lists of values stand behind IN alone");
                }
                self.want_symbol(")", "an operator or \")\"")?;
                Ok(inner)
            }
            Kind::Word(word) => self.word(&word, token.character),
            Kind::Symbol(_) | Kind::End => self.found("a value: a number, 'text', $column, a function or \"(\""),
        }
    }

    fn constant(&mut self, value: Value) -> Result<Id, Complaint> {
        self.at += 1;
        self.add(Op::Constant(value))
    }

    fn variable(&mut self, name: &str, character: usize) -> Result<Id, Complaint> {
        match self.names.variable(name).map_err(|message| Complaint::new(character, message))? {
            Variable::Text(text) => {
                let value = self.done.literals.add_text(&text);
                self.add(Op::Constant(value))
            }
            Variable::Operation => {
                self.done.reads_operation = true;
                self.add(Op::OperationName)
            }
            Variable::Input { name, affinity } => {
                let known = self.done.inputs.iter().position(|input| *input == name);
                let index = known.unwrap_or_else(|| {
                    self.done.inputs.push(name);
                    self.done.inputs.len() - 1
                });
                self.add_with(Op::Input(index), affinity)
            }
        }
    }

    fn word(&mut self, word: &str, character: usize) -> Result<Id, Complaint> {
        let lower = word.to_ascii_lowercase();
        if let Some((_, reason)) = REFUSED_WORDS.iter().find(|(refused, _)| *refused == lower) {
            return Err(Complaint::new(character, format!("found \"{word}\": {reason}")));
        }
        match lower.as_str() {
            "null" => return self.constant(Value::Null),
            "true" => return self.constant(Value::Integer(1)),
            "false" => return self.constant(Value::Integer(0)),
            "case" => {
                self.at += 1;
                return self.case();
            }
            "cast" => {
                self.at += 1;
                return self.cast();
            }
            _ => {}
        }
        self.at += 1;
        if !self.is_symbol("(") {
            let message = format!("found \"{word}\", wanted a value; a column is written ${word} and a text '{word}'");
            return Err(Complaint::new(character, message));
        }
        self.call(word, character)
    }

    fn call(&mut self, word: &str, character: usize) -> Result<Id, Complaint> {
        let lower = word.to_ascii_lowercase();
        let is_indicator = lower == "operation_indicator";
        let function = match Function::find(&lower) {
            _ if is_indicator => None,
            Ok(function) => Some(function),
            Err(reason) => return Err(Complaint::new(character, format!("found \"{word}()\": {reason}"))),
        };
        let arguments = self.arguments()?;
        if let Some(function) = function {
            function.check_count(word, arguments.len()).map_err(|message| Complaint::new(character, message))?;
            self.check_literals(function, word, &arguments, character)?;
            return self.add(Op::Call(function, arguments));
        }
        let [delete, update, insert] = arguments[..] else {
            let message = format!("operation_indicator takes 3 values (for delete, update, insert), found {}", arguments.len());
            return Err(Complaint::new(character, message));
        };
        self.done.indicator_at = Some(character);
        self.done.reads_operation = true;
        self.add(Op::OperationIndicator { delete, update, insert })
    }

    /// Texts that a function reads as instructions are checked now, when they are written out.
    fn check_literals(&self, function: Function, word: &str, arguments: &[Id], character: usize) -> Result<(), Complaint> {
        for (place, argument) in arguments.iter().enumerate() {
            let Op::Constant(Value::Text(span)) = self.done.nodes[*argument].op else { continue };
            let text = self.done.literals.text(span);
            if let Err(reason) = function.check_literal(place, text) {
                return Err(Complaint::new(character, format!("found \"{word}()\" with '{text}': {reason}")));
            }
        }
        Ok(())
    }

    fn arguments(&mut self) -> Result<Vec<Id>, Complaint> {
        self.want_symbol("(", "\"(\"")?;
        let mut arguments = Vec::new();
        if self.take_symbol(")") {
            return Ok(arguments);
        }
        if self.is_symbol("*") || self.is_word("distinct") {
            return self.found("a value; functions over several rows do not exist here");
        }
        loop {
            arguments.push(self.expression(0)?);
            if !self.take_symbol(",") {
                break;
            }
        }
        self.want_symbol(")", "an operator, \",\" or \")\"")?;
        Ok(arguments)
    }

    fn case(&mut self) -> Result<Id, Complaint> {
        let operand = if self.is_word("when") { None } else { Some(self.expression(0)?) };
        let mut arms = Vec::new();
        self.want_word("when")?;
        loop {
            let condition = self.expression(0)?;
            self.want_word("then")?;
            arms.push((condition, self.expression(0)?));
            if !self.take_word("when") {
                break;
            }
        }
        let otherwise = if self.take_word("else") { Some(self.expression(0)?) } else { None };
        self.want_word("end")?;
        self.add(Op::Case { operand, arms, otherwise })
    }

    fn cast(&mut self) -> Result<Id, Complaint> {
        self.want_symbol("(", "\"(\"")?;
        let value = self.expression(0)?;
        self.want_word("as")?;
        let mut name = String::new();
        while let Kind::Word(word) = &self.peek().kind {
            name.push_str(word);
            name.push(' ');
            self.at += 1;
        }
        if name.is_empty() {
            return self.found("the name of a type");
        }
        if self.take_symbol("(") {
            // SQLite reads the length of a type and does nothing with it.
            while matches!(self.peek().kind, Kind::Integer(_)) {
                self.at += 1;
                self.take_symbol(",");
            }
            self.want_symbol(")", "\")\"")?;
        }
        self.want_symbol(")", "\")\"")?;
        let affinity = Affinity::of_type(&name);
        self.add_with(Op::Cast(affinity, value), affinity)
    }

    /// The operator at hand, applied to what stands before it; `None` when there is none, or none so tight.
    fn operator(&mut self, left: Id, tightness: u8) -> Result<Option<Id>, Complaint> {
        let token = self.peek().clone();
        let binary = match &token.kind {
            Kind::Symbol(symbol) => match *symbol {
                "||" => (Binary::Concat, CONCAT),
                "*" => (Binary::Multiply, PRODUCT),
                "/" => (Binary::Divide, PRODUCT),
                "%" => (Binary::Remainder, PRODUCT),
                "+" => (Binary::Add, SUM),
                "-" => (Binary::Subtract, SUM),
                "&" => (Binary::BitAnd, BITS),
                "|" => (Binary::BitOr, BITS),
                "<<" => (Binary::ShiftLeft, BITS),
                ">>" => (Binary::ShiftRight, BITS),
                "<" => (Binary::Less, RELATION),
                "<=" => (Binary::AtMost, RELATION),
                ">" => (Binary::Greater, RELATION),
                ">=" => (Binary::AtLeast, RELATION),
                "=" | "==" => (Binary::Equal, EQUALITY),
                "<>" | "!=" => (Binary::NotEqual, EQUALITY),
                "->" | "->>" => return self.found("an operator; JSON operators are not supported"),
                _ => return Ok(None),
            },
            Kind::Word(word) => match word.to_ascii_lowercase().as_str() {
                "or" => (Binary::Or, OR),
                "and" => (Binary::And, AND),
                "collate" | "regexp" | "match" => return self.word(&word.clone(), token.character).map(Some),
                "is" | "isnull" | "notnull" | "not" | "in" | "like" | "glob" | "between" if tightness <= EQUALITY => {
                    return self.predicate(left).map(Some);
                }
                _ => return Ok(None),
            },
            _ => return Ok(None),
        };
        let (operator, binds) = binary;
        if binds < tightness {
            return Ok(None);
        }
        self.at += 1;
        let right = self.expression(binds + 1)?;
        self.add(Op::Binary(operator, left, right)).map(Some)
    }

    /// What stands behind a value as a word: IS, IN, LIKE, GLOB, BETWEEN, ISNULL, NOTNULL, and NOT before them.
    fn predicate(&mut self, left: Id) -> Result<Id, Complaint> {
        if self.take_word("isnull") {
            return self.add(Op::Unary(Unary::IsNull, left));
        }
        if self.take_word("notnull") {
            return self.add(Op::Unary(Unary::NotNull, left));
        }
        if self.take_word("is") {
            return self.is(left);
        }
        let negated = self.take_word("not");
        if negated && self.take_word("null") {
            return self.add(Op::Unary(Unary::NotNull, left));
        }
        let found = if self.take_word("in") {
            let list = self.arguments()?;
            self.add(Op::In { value: left, list })?
        } else if self.take_word("like") {
            let pattern = self.expression(RELATION)?;
            let escape = if self.take_word("escape") { Some(self.expression(RELATION)?) } else { None };
            self.add(Op::Like { text: left, pattern, escape })?
        } else if self.take_word("glob") {
            let pattern = self.expression(RELATION)?;
            self.add(Op::Binary(Binary::Glob, left, pattern))?
        } else if self.take_word("between") {
            let low = self.expression(RELATION)?;
            self.want_word("and")?;
            let high = self.expression(RELATION)?;
            let above = self.add(Op::Binary(Binary::AtLeast, left, low))?;
            let below = self.add(Op::Binary(Binary::AtMost, left, high))?;
            self.add(Op::Binary(Binary::And, above, below))?
        } else {
            return self.found("IN, LIKE, GLOB, BETWEEN or NULL");
        };
        if negated { self.add(Op::Unary(Unary::Not, found)) } else { Ok(found) }
    }

    fn is(&mut self, left: Id) -> Result<Id, Complaint> {
        let negated = self.take_word("not");
        if self.take_word("distinct") {
            self.want_word("from")?;
            let right = self.expression(RELATION)?;
            return self.add(Op::Binary(if negated { Binary::Is } else { Binary::IsNot }, left, right));
        }
        for (word, plain, opposite) in [
            ("null", Unary::IsNull, Unary::NotNull),
            ("true", Unary::IsTrue, Unary::IsNotTrue),
            ("false", Unary::IsFalse, Unary::IsNotFalse),
        ] {
            if self.take_word(word) {
                return self.add(Op::Unary(if negated { opposite } else { plain }, left));
            }
        }
        let right = self.expression(RELATION)?;
        self.add(Op::Binary(if negated { Binary::IsNot } else { Binary::Is }, left, right))
    }
}
