//! One statement about a definition, and what the server's refusal of it means.

use mysql_async::prelude::Queryable;
use mysql_async::{Error, ServerError};
use tidegate_connector::ConnectorError;

use crate::fault::driver;
use crate::target::session::Server;

/// Numbers that say nothing of the statement: locks, ends of servers and sessions, space, read-only servers. Source:
/// MySQL's "Server Error Message Reference", MariaDB's "Error Codes".
const PASSING: [u16; 27] = [
    1020, 1021, 1026, 1030, 1036, 1037, 1038, 1040, 1041, 1053, 1077, 1079, 1114, 1135, 1152, 1180, 1203, 1205, 1206, 1213, 1290, 1317,
    1614, 1799, 1836, 1927, 3024,
];

/// Numbers whose message may quote a row's value. Source: likewise.
const WITH_VALUES: [u16; 14] = [1062, 1264, 1265, 1292, 1366, 1367, 1406, 1411, 1525, 1586, 1690, 3140, 3141, 3156];

/// Characters of the server's words that are kept.
const WORDS_MAX: usize = 300;

/// Runs the statement; why, when the server refuses it for what it says.
pub(super) async fn attempt(server: &mut Server, sql: &str, attempted: &str) -> Result<Option<String>, ConnectorError> {
    match server.conn.query_drop(sql).await {
        Ok(()) => Ok(None),
        Err(Error::Server(told)) if !PASSING.contains(&told.code) => Ok(Some(words(&told))),
        Err(error) => Err(driver(attempted, error)),
    }
}

fn words(told: &ServerError) -> String {
    if WITH_VALUES.contains(&told.code) {
        return format!("the target refused it: error {} ({})", told.code, told.state);
    }
    let message: String = told.message.chars().take(WORDS_MAX).collect();
    format!("the target refused it: error {}: {message}", told.code)
}
