//! What the servers' error numbers mean to a task.
//!
//! The number decides, never the text. The server's text is passed on only for numbers whose text holds no row
//! values: access, names, positions. Numbers: MySQL's "Server Error Message Reference", MariaDB's "Error Codes".

use mysql_async::{DriverError, Error, IoError, ServerError};
use tidegate_connector::{ConnectorError, ErrorClass};
use tidegate_model::TableName;

use crate::binlog::bytes::Fault;

/// An error of the driver while doing `what`.
pub(crate) fn driver(what: &str, error: Error) -> ConnectorError {
    match error {
        Error::Server(error) => server(what, &error),
        Error::Io(IoError::Tls(error)) => ConnectorError::definite("tls_failed", format!("{what}: TLS handshake failed")).caused_by(error),
        Error::Io(IoError::Io(error)) if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) => {
            ConnectorError::definite("tls_failed", format!("{what}: TLS failed"))
                .caused_by(error)
                .hint("give the endpoint the authority that signed the server's certificate")
        }
        Error::Io(error) => ConnectorError::transient("connection_lost", format!("{what}: the connection broke")).caused_by(error),
        // These two carry what they could not convert or parse: row values.
        Error::Driver(DriverError::FromValue { .. } | DriverError::FromRow { .. }) => {
            ConnectorError::definite("unexpected_answer", format!("{what}: the server's answer has another type than asked for"))
        }
        Error::Driver(DriverError::UnexpectedPacket { .. }) => {
            ConnectorError::transient("connection_lost", format!("{what}: the server sent an unexpected packet"))
        }
        Error::Driver(error @ DriverError::UnknownAuthPlugin { .. }) => {
            ConnectorError::definite("auth_unsupported", format!("{what}: the server asks for an unsupported login method"))
                .caused_by(error)
                .hint(
                    "give the endpoint's user another method: alter user <user> identified with caching_sha2_password by '<password>', \
                     in MariaDB: identified via mysql_native_password using password('<password>')",
                )
        }
        Error::Driver(DriverError::NoClientSslFlagFromServer) => {
            ConnectorError::definite("tls_unavailable", format!("{what}: the server offers no TLS, wanted TLS"))
                .hint("give the server a certificate, or set the endpoint's TLS mode to disable")
        }
        Error::Driver(error) => ConnectorError::transient("connection_lost", format!("{what}: the driver failed")).caused_by(error),
        Error::Url(_) | Error::Other(_) => ConnectorError::transient("connection_lost", format!("{what}: the driver failed")),
    }
}

/// An error that the server answered.
fn server(what: &str, error: &ServerError) -> ConnectorError {
    use ErrorClass::{TableDefinite, TaskDefinite, Transient};
    let (class, code, shown) = match error.code {
        // The last two are locked accounts.
        1045 | 1698 | 1820 | 1862 | 3118 | 4151 => (TaskDefinite, "password_refused", true),
        1044 | 1142 | 1143 | 1227 | 1370 | 3530 => (TaskDefinite, "missing_privilege", true),
        1049 => (TaskDefinite, "database_missing", true),
        1051 | 1146 => (TableDefinite, "table_missing", true),
        1054 => (TableDefinite, "column_missing", true),
        // The table was rewritten or emptied since the reader's view: a new view has it as it is, and a definition that is another is
        // noticed by whoever describes it again.
        1412 => (Transient, "table_changed", false),
        1020 | 1205 | 1213 | 1614 | 3024 | 1317 | 1969 => (Transient, "lock_wait", false),
        1040 | 1203 | 1226 | 1129 => (Transient, "too_many_connections", true),
        // No room on a disk or in a tablespace; no memory, no threads.
        1021 | 1026 | 1114 | 1037 | 1038 | 1041 | 1135 => (Transient, "server_resources", false),
        // Of the options that the first of them can name, ours meet only read_only and super_read_only.
        1290 | 1836 => (Transient, "read_only_server", true),
        1053 | 1077 | 1079 | 1152 | 1158..=1161 | 1184 | 2006 | 2013 | 1927 | 3169 => (Transient, "connection_lost", false),
        1236 => return dump(what, error),
        // MariaDB: GTID not in the binary log, requested GTID diverged, replica with the same server_id.
        1945 | 1947 | 1950 | 1951 | 1955 => return dump(what, error),
        4052 => (Transient, "stream_replaced", false),
        1153 => (TaskDefinite, "packet_too_large", true),
        1064 | 1193 | 1231 | 1235 => (TaskDefinite, "statement_refused", false),
        _ => (TaskDefinite, "server_error", false),
    };
    let hint = match code {
        "password_refused" => Some("check user and password of the endpoint; on the server: alter user <user> identified by '<password>'"),
        "missing_privilege" => Some("run the check of the task: it prints the grants that are missing"),
        "database_missing" => Some("check the endpoint's database name: show databases"),
        "server_resources" => {
            Some("the server has no room on its disk or in its tablespace (errors 1021, 1026, 1114), or no memory: make room there")
        }
        "read_only_server" => Some("the server is a replica or read-only; connect to the primary"),
        _ => None,
    };
    let text = if shown { format!(": {}", error.message) } else { String::new() };
    let error = ConnectorError::new(class, code, format!("{what}: the server answered error {} ({}){text}", error.code, error.state));
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// Error 1236 and its MariaDB kin stand for many things; the server's text, which holds no row values, tells which.
fn dump(what: &str, error: &ServerError) -> ConnectorError {
    let text = error.message.to_ascii_lowercase();
    let (class, code, hint) = if text.contains("same server_uuid") || text.contains("same server_id") || text.contains("same uuid") {
        (ErrorClass::Transient, "stream_replaced", "another reader uses the same server id; stop it")
    } else if ["more gtids", "diverged", "not in the master's binlog"].iter().any(|part| text.contains(part)) {
        (ErrorClass::TaskDefinite, "source_changed", "the source has another history than the one that was replicated; load the task again")
    } else if text.contains("max_allowed_packet") {
        (ErrorClass::TaskDefinite, "packet_too_large", "raise max_allowed_packet on the source to 1G")
    } else {
        (ErrorClass::TaskDefinite, "position_lost", "the source no longer has its binary log from there; load the task again")
    };
    ConnectorError::new(class, code, format!("{what}: the server answered error {}: {}", error.code, error.message)).hint(hint)
}

/// A value or event that could not be decoded. `place` says where in the log, or which read.
pub(crate) fn decode(table: Option<&TableName>, column: Option<&str>, place: &str, fault: &Fault) -> ConnectorError {
    let column = column.map(|name| format!(" column \"{name}\"")).unwrap_or_default();
    match (fault, table) {
        (Fault::Value { code, .. }, Some(table)) => {
            ConnectorError::table(table, code, format!("table \"{table}\"{column} has {fault} {place}")).hint(value_hint(code))
        }
        (_, Some(table)) => ConnectorError::definite("binlog_malformed", format!("{fault} for table \"{table}\"{column} {place}")),
        (Fault::Value { code, .. }, None) => ConnectorError::definite(code, format!("{fault} {place}")),
        (Fault::Malformed(_) | Fault::Unlearned(_), None) => ConnectorError::definite("binlog_malformed", format!("{fault} {place}")),
    }
}

fn value_hint(code: &str) -> &'static str {
    match code {
        "enum_empty" => "give the row one of the enumeration's labels at the source and reload the table",
        "row_metadata" => "set global binlog_row_metadata = 'FULL' and reload the table",
        "charset_unsupported" => "convert the column to utf8mb4, or take it out of the task",
        _ => "take the column out of the task, or change it at the source, and reload the table",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(code: u16, message: &str) -> ConnectorError {
        driver("read", Error::Server(ServerError { code, message: message.into(), state: "HY000".into() }))
    }

    #[test]
    fn numbers_decide_the_class() {
        let cases = [
            (1045, "x", ErrorClass::TaskDefinite, "password_refused"),
            (1227, "x", ErrorClass::TaskDefinite, "missing_privilege"),
            (1146, "x", ErrorClass::TableDefinite, "table_missing"),
            (1213, "x", ErrorClass::Transient, "lock_wait"),
            (1053, "x", ErrorClass::Transient, "connection_lost"),
            (1114, "x", ErrorClass::Transient, "server_resources"),
            (1021, "x", ErrorClass::Transient, "server_resources"),
            (1020, "x", ErrorClass::Transient, "lock_wait"),
            (1290, "x", ErrorClass::Transient, "read_only_server"),
            (1236, "requested to start from GTID 0-1-9, which is not in the master's binlog", ErrorClass::TaskDefinite, "source_changed"),
            (1236, "the master has purged binary logs", ErrorClass::TaskDefinite, "position_lost"),
            (1236, "A replica with the same server_uuid/server_id as this replica has connected", ErrorClass::Transient, "stream_replaced"),
        ];
        for (number, text, class, code) in cases {
            let error = mapped(number, text);
            assert_eq!((error.class(), error.code()), (class, code), "{number}");
        }
    }

    #[test]
    fn texts_that_may_hold_values_are_left_out() {
        assert!(!mapped(1062, "Duplicate entry 'secret' for key").chain().contains("secret"));
        assert!(!mapped(1064, "near 'secret'").chain().contains("secret"));
    }
}
