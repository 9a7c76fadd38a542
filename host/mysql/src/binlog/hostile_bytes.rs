//! Decoders meet random and damaged bytes: they answer, they never panic.

use ::bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use tidegate_model::{Cell, TableName};

use super::bytes::Reader;
use super::cell::{Layout, layout_of, write_cell};
use super::event::{RawEvent, mariadb_gtid, mysql_gtid, mysql_tagged_gtid, query};
use super::json::write_json;
use super::payload::{mariadb_compressed, transaction_payload};
use super::rows::{Logged, RowsKind, Side, image, rows_event};
use super::statement::{NameCase, Said, judge};
use super::table_map::table_map_head;
use super::words::SqlModes;
use crate::charset::{Charset, Collations};

fn layouts() -> Vec<Layout> {
    let labels = vec!["a".to_owned(), "b".to_owned()];
    let mut all = vec![
        Layout::Float,
        Layout::Double,
        Layout::Year,
        Layout::Date,
        Layout::OldTime,
        Layout::OldDateTime,
        Layout::OldTimestamp,
        Layout::Uuid,
        Layout::Json,
        Layout::Inet { bytes: 4 },
        Layout::Inet { bytes: 16 },
        Layout::Bits { bytes: 8 },
        Layout::Bytes { prefix: 1, pad: 16 },
        Layout::Decimal { precision: 65, scale: 30 },
        Layout::Decimal { precision: 10, scale: 10 },
        Layout::Enumeration { bytes: 1, labels: labels.clone() },
        Layout::SetOf { bytes: 8, labels },
    ];
    all.extend([1, 2, 3, 4, 8].map(|bytes| Layout::Int { bytes, unsigned: bytes % 2 == 0 }));
    for fraction in 0..=6 {
        all.extend([Layout::Time { fraction }, Layout::DateTime { fraction }, Layout::Timestamp { fraction }]);
    }
    for name in ["utf8mb4", "latin1", "utf16", "utf16le", "utf32"] {
        all.push(Layout::Text { prefix: 2, charset: Charset::by_name(name).expect("listed") });
    }
    all
}

/// A true TABLE_MAP body with full metadata: `test.m (id int, c char(3) latin1, e enum('a','b'))`.
fn table_map_body() -> Vec<u8> {
    let mut body = vec![0x6c, 0, 0, 0, 0, 0, 1, 0];
    body.extend_from_slice(b"\x04test\0\x01m\0");
    body.extend_from_slice(&[3, 3, 254, 254, 4, 254, 3, 247, 1, 0b110]);
    body.extend_from_slice(&[1, 1, 0, 2, 1, 8, 4, 7, 2, b'i', b'd', 1, b'c', 1, b'e', 6, 5, 2, 1, b'a', 1, b'b', 8, 1, 0, 10, 1, 8]);
    body
}

fn said(modes: u64) -> Said<'static> {
    let names = if modes.is_multiple_of(2) { NameCase::Exact } else { NameCase::Folded };
    Said { database: "a", modes: SqlModes::of(modes), names }
}

fn collations() -> Collations {
    Collations::new([(8, "latin1".to_owned()), (45, "utf8mb4".to_owned())])
}

fn logged(index: usize, layout: Layout) -> Logged {
    Logged { layout, is_wanted: !index.is_multiple_of(5), identifies: index.is_multiple_of(3), is_generated: index.is_multiple_of(7) }
}

#[test]
fn a_true_table_map_is_read() {
    let body = table_map_body();
    let map = table_map_head(&body).and_then(|head| head.read(&collations(), false)).expect("well formed");
    assert_eq!(map.table, TableName::new("test", "m"));
    assert_eq!(map.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>(), ["id", "c", "e"]);
    assert_eq!(map.columns[2].labels, ["a", "b"]);
    assert_eq!(map.primary_key, [0]);
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..600)) {
        let _ = (mysql_gtid(&bytes), mysql_tagged_gtid(&bytes), mariadb_gtid(&bytes, 1), query(&bytes));
        let _ = (transaction_payload(&bytes, 1 << 20), mariadb_compressed(&bytes, 1 << 20));
        let _ = RawEvent::inner(&mut Bytes::copy_from_slice(&bytes));
        let _ = write_json(&bytes, &mut BytesMut::new());
        let columns: Vec<Logged> =
            layouts().into_iter().enumerate().map(|(index, layout)| logged(index, layout)).collect();
        for present in [&[0xff; 8][..], &bytes] {
            let _ = image(present, Cell::Unchanged, &mut Reader::new(&bytes, "image"), &columns, &bytes::Bytes::new());
        }
        for kind in [RowsKind::Write, RowsKind::Update, RowsKind::Delete] {
            for event in [rows_event(&bytes, kind, 1), rows_event(&bytes, kind, 2)].into_iter().flatten() {
                let _ = event.completeness(kind, &columns);
                let _ = event.image(Side::After, &mut Reader::new(event.images, "image"), &columns, &bytes::Bytes::new());
            }
        }
        let _ = table_map_head(&bytes).and_then(|head| head.read(&collations(), true));
        let scope = [TableName::new("a", "b")];
        let _ = judge(&bytes, &said(bytes.len() as u64), scope.iter());
        for layout in layouts() {
            let _ = write_cell(&layout, &mut Reader::new(&bytes, "cell"), &mut BytesMut::new());
        }
    }

    #[test]
    fn damaged_json_never_panics(kind in 0_u8..16, bytes in vec(0_u8..40, 0..200)) {
        let mut document = vec![kind];
        document.extend(bytes);
        let _ = write_json(&document, &mut BytesMut::new());
    }

    #[test]
    fn damaged_table_maps_never_panic(at in 0_usize..70, byte in any::<u8>(), cut in 0_usize..70) {
        let mut body = table_map_body();
        let length = body.len();
        body[at % length] = byte;
        body.truncate(length - cut % 4);
        if let Ok(map) = table_map_head(&body).and_then(|head| head.read(&collations(), true)) {
            for column in &map.columns {
                let _ = layout_of(column);
            }
        }
    }

    #[test]
    fn random_statements_never_panic(text in "[a-zA-Z`\"'\\\\/*!# .,;()-]{0,80}", modes in any::<u64>()) {
        let scope = [TableName::new("a", "b")];
        for verb in ["DROP TABLE ", "ALTER TABLE ", "RENAME TABLE ", "TRUNCATE ", ""] {
            let _ = judge(format!("{verb}{text}").as_bytes(), &said(modes), scope.iter());
        }
    }
}
