//! The one error type that crosses from connectors to the pipeline.
//!
//! Connectors may have richer types inside; what leaves them is a class (what to do), a stable code (what to grep
//! for), a message (object, found, wanted), and a hint (the command that fixes it). Messages never hold row values,
//! passwords or connection strings.

use std::error::Error;
use std::fmt;

use tidegate_model::TableName;

use crate::RowFault;

/// What to do about an error. The class decides, never the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// Try again: a broken connection, a deadlock, a server that is restarting. Unknown failures of a connection too.
    Transient,
    /// One table cannot go on; the others can.
    TableDefinite,
    /// The task cannot go on until somebody changes something. Unknown data errors too.
    TaskDefinite,
    /// Another worker has taken the task over: stop at once, touch nothing.
    Fenced,
    /// The impossible happened; stop the task and say so.
    Bug,
}

/// An error of a connector. See the module's documentation. Boxed inside, because it travels through every `Result`.
#[derive(Debug)]
pub struct ConnectorError(Box<Details>);

#[derive(Debug)]
struct Details {
    class: ErrorClass,
    code: &'static str,
    message: String,
    hint: Option<String>,
    table: Option<TableName>,
    row_fault: Option<RowFault>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl ConnectorError {
    /// An error of a class. `code` is stable, lower case with underscores: `slot_lost`. `message` is lower case
    /// without a full stop and names the object, what was found and what is wanted.
    pub fn new(class: ErrorClass, code: &'static str, message: impl Into<String>) -> Self {
        Self(Box::new(Details { class, code, message: message.into(), hint: None, table: None, row_fault: None, source: None }))
    }

    /// [`ErrorClass::Transient`].
    pub fn transient(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Transient, code, message)
    }

    /// [`ErrorClass::TaskDefinite`].
    pub fn definite(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorClass::TaskDefinite, code, message)
    }

    /// [`ErrorClass::TableDefinite`].
    pub fn table(table: &TableName, code: &'static str, message: impl Into<String>) -> Self {
        let mut error = Self::new(ErrorClass::TableDefinite, code, message);
        error.0.table = Some(table.clone());
        error
    }

    /// [`ErrorClass::Fenced`], with the one message that users know.
    pub fn fenced(task: &str, generation: i64) -> Self {
        Self::new(ErrorClass::Fenced, "fenced", format!("another worker took over task \"{task}\" after generation {generation}"))
    }

    /// Adds what the user can do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Says that one row alone is at fault, and of what kind its fault is.
    #[must_use]
    pub fn of_a_row(mut self, fault: RowFault) -> Self {
        self.0.row_fault = Some(fault);
        self
    }

    /// Says at which table it happened, by its name at the source. Its class stays what it is.
    #[must_use]
    pub fn at_table(mut self, table: &TableName) -> Self {
        self.0.table = Some(table.clone());
        self
    }

    /// True when another transaction was in the way: a lock that was not given in time, a deadlock.
    pub fn is_contention(&self) -> bool {
        matches!(self.code(), "object_busy" | "serialization" | "lock_wait")
    }

    /// What of a single row was refused; `None` where the error may have to do with other rows or with no row at all.
    pub fn row_fault(&self) -> Option<RowFault> {
        self.0.row_fault
    }

    /// The class.
    pub fn class(&self) -> ErrorClass {
        self.0.class
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        self.0.code
    }

    /// What the user can do about it.
    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The table at fault, or at which it happened, if it is one.
    pub fn table_name(&self) -> Option<&TableName> {
        self.0.table.as_ref()
    }

    /// What caused it.
    pub fn cause(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source.as_ref().map(|cause| cause.as_ref() as &(dyn Error + 'static))
    }

    /// The message and its causes, joined by colons: one sentence for a person.
    pub fn chain(&self) -> String {
        let mut text = self.0.message.clone();
        let mut cause = self.cause();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

impl fmt::Display for ConnectorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl Error for ConnectorError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause()
    }
}
