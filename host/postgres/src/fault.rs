//! What the server's errors mean: SQLSTATE in, class and stable code out.
//!
//! PostgreSQL puts row values into DETAIL, and for data exceptions and errors that a trigger raises into the primary
//! message as well. Neither leaves this file: what is passed on is the severity, the SQLSTATE, the primary message
//! where it cannot quote a value, and the names of the objects at fault.
//! Source: PostgreSQL manual, "PostgreSQL Error Codes" and "Error and Notice Message Fields".

use std::error::Error;

use tidegate_connector::{ConnectorError, ErrorClass};

/// A message above 1 GB, which the server cannot make; or a row of the target that is.
pub(crate) const ROW_TOO_LARGE: &str = "row_too_large";

/// A value whose entry in an index is longer than a page takes.
pub(crate) const INDEX_ENTRY_TOO_LARGE: &str = "index_entry_too_large";

/// How the names of the server's files begin that raise "program limit exceeded" about an entry of an index: those that form it, and
/// those of the access methods. Unlike the message they are the same in every language.
const INDEX_FILES: [&str; 7] = ["indextuple", "nbt", "gin", "gist", "hash", "spg", "brin"];

/// The fields of an error response that may be shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ServerFault {
    /// `ERROR`, `FATAL` or `PANIC`.
    pub(crate) severity: String,
    /// Five characters.
    pub(crate) sqlstate: String,
    /// The primary message.
    pub(crate) message: String,
    /// Schema of the object at fault.
    pub(crate) schema: Option<String>,
    /// Table at fault.
    pub(crate) table: Option<String>,
    /// Column at fault.
    pub(crate) column: Option<String>,
    /// Constraint at fault.
    pub(crate) constraint: Option<String>,
    /// The file of the server's own source that raised it.
    pub(crate) file: Option<String>,
}

impl ServerFault {
    /// The error, as a step of what was attempted: `create slot "x"`.
    pub(crate) fn into_error(self, attempted: &str) -> ConnectorError {
        let (class, code, hint) = match () {
            () if self.is_of_index() => (ErrorClass::TaskDefinite, INDEX_ENTRY_TOO_LARGE, None),
            () if self.is_of_size() => (ErrorClass::TaskDefinite, ROW_TOO_LARGE, Some(SIZE_HINT)),
            () => meaning(&self.sqlstate),
        };
        let error = ConnectorError::new(class, code, format!("{attempted}: {}", self.text()));
        match hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }

    /// An allocation above the server's limit: `enlargeStringInfo` and `palloc`. Internal errors are not translated.
    fn is_of_size(&self) -> bool {
        self.sqlstate == "54000" || (self.sqlstate == "XX000" && self.message.starts_with("invalid memory alloc request size"))
    }

    fn is_of_index(&self) -> bool {
        let file = self.file.as_deref().map_or("", |path| path.rsplit(['/', '\\']).next().unwrap_or(path));
        self.sqlstate == "54000" && INDEX_FILES.iter().any(|name| file.starts_with(name))
    }

    /// One line without row values.
    fn text(&self) -> String {
        let said = described(&self.sqlstate).unwrap_or(&self.message);
        let mut text = format!("{} {}: {said}", self.severity, self.sqlstate);
        if let Some(table) = &self.table {
            match &self.schema {
                Some(schema) => text.push_str(&format!(", table \"{schema}.{table}\"")),
                None => text.push_str(&format!(", table \"{table}\"")),
            }
        }
        for (kind, name) in [("column", &self.column), ("constraint", &self.constraint)] {
            if let Some(name) = name {
                text.push_str(&format!(", {kind} \"{name}\""));
            }
        }
        text
    }
}

/// An error of the driver as a step of what was attempted.
///
/// Failures of the connection are transient, also unknown ones; what the server refused has the class of its SQLSTATE.
pub(crate) fn pg_error(attempted: &str, error: tokio_postgres::Error) -> ConnectorError {
    if let Some(db) = error.as_db_error() {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let fault = ServerFault {
            severity: db.severity().to_owned(),
            sqlstate: db.code().code().to_owned(),
            message: db.message().to_owned(),
            schema: owned(db.schema()),
            table: owned(db.table()),
            column: owned(db.column()),
            constraint: owned(db.constraint()),
            file: owned(db.file()),
        };
        return fault.into_error(attempted);
    }
    let said = error.to_string();
    let of_connection = match error.source() {
        None => true,
        Some(cause) => cause.is::<std::io::Error>(),
    };
    // The cause may be a conversion error that shows a value, so only a connection's own cause is passed on.
    match error.into_source() {
        Some(cause) if of_connection => ConnectorError::transient("connection_failed", format!("{attempted}: {said}")).caused_by(cause),
        _ if of_connection => ConnectorError::transient("connection_failed", format!("{attempted}: {said}")),
        _ => ConnectorError::definite("driver_refused", format!("{attempted}: {said}")),
    }
}

/// A failure of the connection itself.
pub(crate) fn io_error(attempted: &str, error: std::io::Error) -> ConnectorError {
    ConnectorError::transient("connection_failed", attempted.to_owned()).caused_by(error)
}

/// What to do about a row that PostgreSQL makes no message of.
const SIZE_HINT: &str = "PostgreSQL makes no message above 1 GB: the values of a row together, and with them those of the old row where the \
    table has replica identity full. Give the table a key as its replica identity, make the value smaller, or leave the column out; then load again";

/// Snapshots lock every table of a task, and the room for locks is bounded.
const MEMORY_HINT: &str =
    "if the server says \"shared memory\", it has no room for more locks: raise max_locks_per_transaction and restart it";

/// What takes room at a server that is read, beside its tables and its log.
const DISK_HINT: &str = "the server's disk is full: make room there. Of long transactions, a source keeps on disk what it decodes above \
    logical_decoding_work_mem (pg_replslot), and its log until the task has read it (pg_wal)";

fn meaning(sqlstate: &str) -> (ErrorClass, &'static str, Option<&'static str>) {
    use ErrorClass::{TaskDefinite, Transient};
    let class = sqlstate.get(..2).unwrap_or_default();
    match (class, sqlstate) {
        (_, "57P04") => (TaskDefinite, "database_missing", None),
        (_, "57P01" | "57P02" | "57P03" | "57P05" | "25P03" | "25P04") => (Transient, "server_restarting", None),
        (_, "57014") => (Transient, "query_cancelled", None),
        (_, "40001" | "40P01") => (Transient, "serialization", None),
        (_, "55P03" | "55006") => (Transient, "object_busy", None),
        (_, "0A000") => (TaskDefinite, "not_supported", None),
        (_, "25006") => (Transient, "read_only_server", Some("the server is a standby or read-only; connect to the primary")),
        ("08", _) => (Transient, "connection_failed", None),
        (_, "53200") => (Transient, "server_resources", Some(MEMORY_HINT)),
        (_, "53100") => (Transient, "server_resources", Some(DISK_HINT)),
        ("53", _) => (Transient, "server_resources", None),
        ("58", _) => (Transient, "server_io", None),
        (_, "28P01" | "28000") => (TaskDefinite, "password_refused", Some("check user, password and pg_hba.conf of the endpoint")),
        (_, "2BP01") => (TaskDefinite, "dependent_objects", Some("drop what depends on it: the server's log names it")),
        (_, "3D000") => (TaskDefinite, "database_missing", Some("check the endpoint's database name")),
        (_, "42501") => (TaskDefinite, "missing_privilege", Some("run the check of the task: it prints the grants that are missing")),
        (_, "42P01" | "3F000") => (TaskDefinite, "table_missing", None),
        (_, "42703" | "42704" | "42883") => (TaskDefinite, "object_missing", None),
        (_, "42P07" | "42710" | "42P06" | "42701") => (TaskDefinite, "object_exists", None),
        ("42", _) => (TaskDefinite, "statement_refused", None),
        ("22", _) => (TaskDefinite, "data_refused", None),
        ("23", _) => (TaskDefinite, "constraint_violated", None),
        ("P0", _) => (TaskDefinite, "raised_by_server_code", None),
        _ => (TaskDefinite, "server_refused", None),
    }
}

/// What to say instead of a primary message that may quote a row's value; `None` when it cannot.
fn described(sqlstate: &str) -> Option<&'static str> {
    Some(match sqlstate {
        "22001" => "text is longer than its column",
        "22003" => "number is out of its column's range",
        "22007" | "22008" => "date or time is not of its type's form or range",
        "22012" => "division by zero",
        "22021" | "22P05" => "character does not exist in the database's encoding",
        "22023" => "parameter value is not allowed",
        "22026" => "bit string has another length than its column",
        "22P02" => "text is not of its type's form",
        "22P03" => "binary value is not of its type's form",
        "22P04" => "COPY data is not of the format",
        "22P06" | "22025" | "22019" => "escape is not of the form",
        _ if sqlstate.starts_with("22") => "value does not fit its type",
        // A trigger or function wrote this message, and may have put a row into it.
        _ if sqlstate.starts_with("P0") => "a trigger or function raised an error (its text may hold row values and is not shown)",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(sqlstate: &str) -> ServerFault {
        ServerFault { severity: "ERROR".into(), sqlstate: sqlstate.into(), message: "value \"secret\"".into(), ..ServerFault::default() }
    }

    #[test]
    fn class_follows_the_sqlstate() {
        let cases = [
            ("40P01", ErrorClass::Transient, "serialization"),
            ("40001", ErrorClass::Transient, "serialization"),
            ("08006", ErrorClass::Transient, "connection_failed"),
            ("53300", ErrorClass::Transient, "server_resources"),
            ("57P01", ErrorClass::Transient, "server_restarting"),
            ("28P01", ErrorClass::TaskDefinite, "password_refused"),
            ("42501", ErrorClass::TaskDefinite, "missing_privilege"),
            ("42P01", ErrorClass::TaskDefinite, "table_missing"),
            ("23505", ErrorClass::TaskDefinite, "constraint_violated"),
            ("2BP01", ErrorClass::TaskDefinite, "dependent_objects"),
            ("XX000", ErrorClass::TaskDefinite, "server_refused"),
            ("54000", ErrorClass::TaskDefinite, "row_too_large"),
            ("", ErrorClass::TaskDefinite, "server_refused"),
        ];
        for (sqlstate, class, code) in cases {
            let error = fault(sqlstate).into_error("try");
            assert_eq!((error.class(), error.code()), (class, code), "{sqlstate}");
        }
    }

    #[test]
    fn an_entry_of_an_index_is_told_by_the_file_that_raised_it() {
        for (file, code) in
            [("nbtutils.c", INDEX_ENTRY_TOO_LARGE), ("../src/indextuple.c", INDEX_ENTRY_TOO_LARGE), ("stringinfo.c", ROW_TOO_LARGE)]
        {
            let fault = ServerFault { file: Some(file.into()), ..fault("54000") };
            assert_eq!(fault.into_error("try").code(), code, "{file}");
        }
    }

    #[test]
    fn row_values_in_messages_are_not_passed_on() {
        for sqlstate in ["22P02", "22003", "22999", "P0001"] {
            assert!(!fault(sqlstate).into_error("try").chain().contains("secret"), "{sqlstate}");
        }
        assert!(fault("42601").into_error("try").chain().contains("secret"));
    }
}
