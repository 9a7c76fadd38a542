//! Names of transactions: as errors spell them, and as XA statements do.

use tidegate_model::TxMark;
use tidegate_model::position::uuid_text;

use crate::binlog::bytes::{Fault, Reader};

/// Whether an XA PREPARE event stands for a commit in one phase, and the transaction's name.
pub(super) fn xa_prepared(body: &[u8]) -> Result<(bool, String), Fault> {
    let mut reader = Reader::new(body, "XA prepare event");
    let one_phase = reader.u8()? != 0;
    let format = reader.u32()?;
    let (global, branch) = (reader.u32()? as usize, reader.u32()? as usize);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let (global, branch) = (hex(reader.take(global)?), hex(reader.take(branch)?));
    Ok((one_phase, format!("x'{global}',x'{branch}',{format}")))
}

/// A transaction's GTID.
pub(super) fn mark_text(mark: &TxMark) -> String {
    match mark {
        TxMark::Mysql { source, sequence } if source.tag.is_empty() => format!("{}:{sequence}", uuid_text(&source.uuid)),
        TxMark::Mysql { source, sequence } => format!("{}:{}:{sequence}", uuid_text(&source.uuid), source.tag),
        TxMark::Mariadb { domain, server, sequence } => format!("{domain}-{server}-{sequence}"),
        TxMark::Postgres { end } => end.to_string(),
    }
}
