//! What modules may ask about a change beside its rows, as text and times.
//!
//! Everything comes from the log, so a change that is sent again has the same headers. Only a loaded row has the time
//! of its load, read once for a chunk: a chunk that is loaded again was not in the target before.

use std::sync::Arc;

use tidegate_connector::RejectedOperation;
use tidegate_model::{ImageKind, TxMark, Value};
use tidegate_sandbox::Header;

/// Changes of one transaction that the sequence number tells apart before it runs into the next transaction's.
const CHANGES_APART: u64 = 100_000_000;
/// Positions that the sequence number tells apart within a hundredth of a second; with [`CHANGES_APART`], 19 digits.
const POSITIONS_APART: u64 = 100_000_000_000;

/// Where an image comes from.
#[derive(Debug, Clone)]
pub(crate) enum ImageHeader {
    /// Nobody asks.
    None,
    /// A row of the full load, read at this time (microseconds since 1970, UTC).
    Loaded { at_us: i64 },
    /// A row of the error table that is replayed at this time. What is kept of its change is what it did.
    Replayed { at_us: i64, kind: ImageKind },
    /// A change: its transaction, and its number there.
    Logged { transaction: Arc<TransactionHeader>, number: u64 },
}

/// A transaction of the source.
#[derive(Debug)]
pub(crate) struct TransactionHeader {
    pub(crate) mark: TxMark,
    /// Microseconds since 1970, UTC.
    pub(crate) committed_at_us: i64,
}

impl ImageHeader {
    /// Of a row that is replayed.
    pub(crate) fn replayed(operation: RejectedOperation, at_us: i64) -> Self {
        let kind = match operation {
            RejectedOperation::Load => ImageKind::Snapshot,
            RejectedOperation::Insert => ImageKind::Insert,
            RejectedOperation::Update => ImageKind::UpdateAfter,
            RejectedOperation::Delete => ImageKind::Delete,
        };
        ImageHeader::Replayed { at_us, kind }
    }

    /// What a change that brings a whole row is to a module: an insert, unless the row is replayed.
    pub(crate) fn kind_of_row(&self) -> ImageKind {
        match self {
            ImageHeader::Replayed { kind, .. } => *kind,
            ImageHeader::None | ImageHeader::Loaded { .. } | ImageHeader::Logged { .. } => ImageKind::Insert,
        }
    }

    /// The value of a header; `None` where nobody said where the image comes from.
    pub(crate) fn value(&self, header: Header) -> Option<Value<'static>> {
        Some(match (header, self) {
            (_, ImageHeader::None) => return None,
            (Header::Timestamp | Header::CommitTimestamp, ImageHeader::Loaded { at_us } | ImageHeader::Replayed { at_us, .. }) => {
                Value::TimestampTz(*at_us)
            }
            (Header::Timestamp | Header::CommitTimestamp, ImageHeader::Logged { transaction, .. }) => {
                Value::TimestampTz(transaction.committed_at_us)
            }
            (Header::StreamPosition | Header::ChangeSequence, ImageHeader::Loaded { .. } | ImageHeader::Replayed { .. }) => {
                Value::OwnedText(String::new())
            }
            (Header::StreamPosition, ImageHeader::Logged { transaction, .. }) => Value::OwnedText(transaction.mark.to_string()),
            (Header::ChangeSequence, ImageHeader::Logged { transaction, number }) => Value::OwnedText(transaction.sequence(*number)),
        })
    }
}

impl TransactionHeader {
    fn sequence(&self, number: u64) -> String {
        let position = match &self.mark {
            TxMark::Postgres { end } => end.0,
            TxMark::Mysql { sequence, .. } | TxMark::Mariadb { sequence, .. } => *sequence,
        };
        // A transaction of more changes runs into the numbers of the next position, which has another time or is far.
        let counter = (position % POSITIONS_APART * CHANGES_APART).wrapping_add(number) % (POSITIONS_APART * CHANGES_APART);
        format!("{}{counter:019}", hundredths(self.committed_at_us))
    }
}

/// `YYYYMMDDhhmmssff` in UTC.
fn hundredths(us: i64) -> String {
    // Four digits for the year, whatever a server's clock says.
    let us = us.clamp(0, 253_402_300_799_999_999);
    let (days, of_day) = (us.div_euclid(86_400_000_000), us.rem_euclid(86_400_000_000) / 10_000);
    let (year, month, day) = civil(days);
    let (seconds, part) = (of_day / 100, of_day % 100);
    format!("{year:04}{month:02}{day:02}{:02}{:02}{:02}{part:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Year, month and day of a count of days since 1970-01-01.
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_model::Lsn;

    fn logged(mark: TxMark, committed_at_us: i64, number: u64) -> ImageHeader {
        ImageHeader::Logged { transaction: Arc::new(TransactionHeader { mark, committed_at_us }), number }
    }

    #[test]
    fn headers_of_a_change_come_from_its_transaction() {
        let header = logged(TxMark::Postgres { end: Lsn(0x16B_3748) }, 1_709_210_096_789_012, 3);
        assert_eq!(header.value(Header::CommitTimestamp), Some(Value::TimestampTz(1_709_210_096_789_012)));
        assert_eq!(header.value(Header::StreamPosition), Some(Value::OwnedText("0/16B3748".into())));
        let sequence = header.value(Header::ChangeSequence);
        assert_eq!(sequence, Some(Value::OwnedText(format!("2024022912345678{:019}", 0x16B_3748_u64 * 100_000_000 + 3))));
        let mark = TxMark::Mariadb { domain: 2, server: 1, sequence: 7 };
        assert_eq!(logged(mark, 0, 0).value(Header::StreamPosition), Some(Value::OwnedText("2-1-7".into())));
    }

    #[test]
    fn a_sequence_has_35_digits_whatever_its_parts_are() {
        for (at, position, number) in [(0, 0, 0), (253_402_300_799_999_999, u64::MAX, u64::from(u32::MAX)), (1, 1 << 40, 1 << 40)] {
            let header = logged(TxMark::Postgres { end: Lsn(position) }, at, number);
            let Some(Value::OwnedText(text)) = header.value(Header::ChangeSequence) else { panic!("a text is wanted") };
            assert!(text.len() == 35 && text.bytes().all(|byte| byte.is_ascii_digit()), "{text}");
        }
    }

    #[test]
    fn a_loaded_row_has_the_time_of_its_load_and_no_place() {
        let header = ImageHeader::Loaded { at_us: 5 };
        assert_eq!(header.value(Header::Timestamp), Some(Value::TimestampTz(5)));
        assert_eq!(header.value(Header::StreamPosition), Some(Value::OwnedText(String::new())));
        assert_eq!(header.value(Header::ChangeSequence), Some(Value::OwnedText(String::new())));
        assert_eq!(ImageHeader::None.value(Header::Timestamp), None);
    }
}
