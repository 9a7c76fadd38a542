//! What would stop or falsify writing to a target. Reads only.

pub(super) mod rights;
mod tables;

use std::sync::Arc;

use tidegate_connector::{ConnectorError, Finding, Severity, TablePreparation, TargetTable};
use tidegate_model::{Engine, TaskId};

use super::objects::built_keys;
use super::session::{Facts, Server};
use crate::connect::row;

/// Rows above this are nothing unusual; servers of old have a bound of 1 to 16 MB.
const PACKET_BYTES_WANTED: usize = 64 << 20;

/// Refuses servers that are too old for what we write.
pub(crate) fn version(facts: &Facts) -> Result<(), ConnectorError> {
    let (wanted, name) = match facts.engine {
        Engine::Mariadb => ((10, 5, 0), "MariaDB 10.5"),
        // The first with a binary collation without padding.
        Engine::Mysql | Engine::Postgres => ((8, 0, 17), "MySQL 8.0.17"),
    };
    if facts.version >= wanted {
        return Ok(());
    }
    let (major, minor, patch) = facts.version;
    Err(ConnectorError::definite("server_version", format!("found version {major}.{minor}.{patch} as target, wanted {name} or later"))
        .hint("upgrade the server"))
}

pub(crate) async fn check(
    server: &mut Server,
    task: &TaskId,
    all: &[Arc<TargetTable>],
    preparation: TablePreparation,
) -> Result<Vec<Finding>, ConnectorError> {
    let mut findings = Vec::new();
    check_server(server, all, &mut findings).await?;
    rights::check(server, all, &mut findings).await?;
    tables::check_together(all, server.facts(), &mut findings);
    let built = built_keys(server, task).await?;
    let beside = tables::Beside { all, preparation, built };
    for table in all {
        beside.check(server, table, &mut findings).await?;
    }
    Ok(findings)
}

async fn check_server(server: &mut Server, tables: &[Arc<TargetTable>], findings: &mut Vec<Finding>) -> Result<(), ConnectorError> {
    let what = "check the target's server";
    let (read_only, log_bin, format): (u8, u8, String) =
        row(&mut server.conn, what, "select @@global.read_only, @@global.log_bin, @@global.binlog_format").await?;
    if read_only != 0 {
        let finding = Finding::error("read_only_server", "setting \"read_only\"", "ON", "OFF: the primary server");
        findings.push(finding.fix("set global read_only = OFF, where the server is no replica"));
    }
    if log_bin != 0 && format.eq_ignore_ascii_case("statement") {
        let finding = Finding::error("binlog_format", "setting \"binlog_format\" of the target", format, "ROW or MIXED");
        findings.push(finding.fix("set global binlog_format = 'ROW'"));
    }
    let facts = server.facts().clone();
    if facts.engine == Engine::Mysql {
        let needs_key: u8 = row(&mut server.conn, what, "select @@sql_require_primary_key").await?;
        for table in tables.iter().filter(|table| needs_key != 0 && table.primary_key.is_empty()) {
            let found = "a table without a primary key, while sql_require_primary_key is ON";
            let finding = Finding::error("key_required", format!("table \"{}\"", table.name), found, "a primary key");
            findings.push(finding.fix("set global sql_require_primary_key = OFF, or define a key with a define-primary-key rule"));
        }
    }
    if facts.packet_bytes_max < PACKET_BYTES_WANTED {
        let found = format!("{}: larger rows stop their table", facts.packet_bytes_max);
        let finding = Finding::warning("max_allowed_packet", "setting \"max_allowed_packet\" of the target", found, "1073741824");
        findings.push(finding.fix("set global max_allowed_packet = 1073741824"));
    }
    if !facts.takes_files {
        let finding =
            Finding::warning("local_infile", "setting \"local_infile\" of the target", "OFF: rows are loaded by statements", "ON");
        findings.push(Finding { severity: Severity::Info, ..finding.fix("set global local_infile = ON") });
    }
    Ok(())
}
