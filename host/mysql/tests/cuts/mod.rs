//! Tables that rules cut for their load: each row is in exactly one part.

use std::sync::Arc;

use tidegate_connector::{Chunk, ConnectorError, CutParts, RangeCut, Snapshot, Source, SourceTable, TableCut};
use tidegate_model::Cell;

use crate::support::{Bench, scope};

pub(crate) fn ranges(columns: &[&str], boundaries: &[&[&str]]) -> CutParts {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    CutParts::Ranges(RangeCut { columns: texts(columns), boundaries: boundaries.iter().map(|boundary| texts(boundary)).collect() })
}

pub(crate) fn rule(parts: CutParts) -> TableCut {
    TableCut { rule: "7".into(), parts }
}

fn named(names: &[&str]) -> CutParts {
    CutParts::Named(names.iter().map(|name| (*name).to_owned()).collect())
}

async fn ids(snapshot: &dyn Snapshot, table: &Arc<SourceTable>, chunk: &Chunk) -> Result<Vec<i64>, ConnectorError> {
    let mut reader = snapshot.read(table.clone(), chunk).await?;
    let mut ids = Vec::new();
    while let Some(rows) = reader.next_rows().await? {
        for row in rows.iter() {
            let Some(Cell::Binary(bytes)) = row.cell(0) else { panic!("a number comes first") };
            ids.push(i64::from_le_bytes(bytes.try_into().expect("eight bytes")));
        }
    }
    ids.sort_unstable();
    Ok(ids)
}

/// The identifiers of each part's rows.
async fn parts(bench: &Bench, table: &str, parts: CutParts) -> Result<Vec<Vec<i64>>, ConnectorError> {
    let snapshot = bench.source.snapshot(&scope(&[table])).await?;
    let table = bench.table(table).await;
    let mut found = Vec::new();
    for chunk in snapshot.cut(&table, &rule(parts), 1_000).await? {
        found.push(ids(&*snapshot, &table, &chunk).await?);
    }
    Ok(found)
}

fn check_once(found: &[Vec<i64>], rows: i64) {
    let mut all: Vec<i64> = found.iter().flatten().copied().collect();
    all.sort_unstable();
    assert_eq!(all, (1..=rows).collect::<Vec<_>>(), "{found:?}");
}

/// On the server of another test.
pub(crate) async fn every_row_is_in_one_part(bench: &Bench) {
    bench
        .run(&[
            "set session sql_mode = ''",
            "create table cut (id int auto_increment primary key, region varchar(10) character set latin1, grade decimal(10, 2), born date not null, \
             at timestamp(3) null, wide bigint unsigned, ratio double)",
            "insert into cut (region, grade, born, at, wide) select region, grade, born, '2024-02-29 10:00:00.500', 18446744073709551615 from \
             (select 'AA' region union all select 'EU' union all select 'eu' union all select 'ÜS' union all select null) r, \
             (select -5 grade union all select 99.5 union all select 100 union all select 900 union all select null) g, \
             (select '1824-02-29' born union all select '0000-00-00') b order by region, grade, born",
            "create table parted (id int, kind int, primary key (id, kind)) partition by range (kind) subpartition by hash (id) subpartitions 2 \
             (partition one values less than (2) (subpartition one_a, subpartition one_b), \
              partition two values less than (3) (subpartition two_a, subpartition two_b), \
              partition rest values less than maxvalue (subpartition rest_a, subpartition rest_b))",
            "insert into parted (id, kind) with recursive n (n) as (select 1 union all select n + 1 from n where n < 30) select n, 1 + n % 3 from n",
            "create table keyless (id int, grade int)",
            "insert into keyless values (1, 1), (2, null), (3, 30)",
        ])
        .await;
    let boundaries: [&[&str]; 3] = [&["EU", "100"], &["EU", "900.00"], &["ÜS", "100"]];
    let found = parts(bench, "cut", ranges(&["region", "grade"], &boundaries)).await.expect("parts");
    assert_eq!(found.len(), 5, "four ranges, and rows with NULL");
    assert_eq!(found[4].len(), 18, "rows with NULL in a column");
    check_once(&found, 50);
    for (columns, boundaries, count) in [
        // Zero dates of a NOT NULL column answer to `is null`.
        (&["grade", "born"][..], [&["1", "1900-01-01"][..], &["900", "1900-01-01"]], 4),
        (&["born"], [&["1824-02-29"], &["2024-02-29"]], 3),
        (&["at"], [&["2024-02-29 10:00:00.5"], &["2024-02-29T10:00:00.6"]], 4),
        (&["wide"], [&["-1"], &["18446744073709551615"]], 4),
    ] {
        let found = parts(bench, "cut", ranges(columns, &boundaries)).await.expect("parts");
        assert_eq!(found.len(), count, "{columns:?}");
        check_once(&found, 50);
    }
    assert_eq!(parts(bench, "keyless", ranges(&["grade"], &[&["5"]])).await.expect("parts"), [[1, 2, 3]], "by one reader");

    for (table, wanted, count) in [
        ("parted", CutParts::Each { deep: false }, 3),
        ("parted", CutParts::Each { deep: true }, 6),
        ("parted", named(&["TWO"]), 2),
        ("parted", named(&["one", "two_b"]), 3),
        ("parted", ranges(&["kind"], &[&["2"]]), 2),
        ("cut", CutParts::Each { deep: true }, 1),
        ("cut", CutParts::Whole, 1),
    ] {
        let found = parts(bench, table, wanted).await.expect("parts");
        assert_eq!(found.len(), count, "{table}");
        check_once(&found, if table == "cut" { 50 } else { 30 });
    }
    for (table, wanted, what) in [
        (
            "cut",
            ranges(&["grade"], &[&["1"], &["secret"]]),
            "boundary 2: no value of column \"grade\", wanted one of the type decimal(10,2)",
        ),
        ("cut", ranges(&["grade"], &[&["10"], &["9"]]), "boundary 2 does not lie behind the one before it"),
        ("cut", ranges(&["region"], &[&["eu"], &["EU"]]), "boundary 2 does not lie behind the one before it"),
        ("cut", ranges(&["born"], &[&["2023-02-29"]]), "boundary 1: no value of column \"born\""),
        ("cut", ranges(&["absent"], &[&["1"]]), "the table has no column \"absent\""),
        ("cut", ranges(&["ratio"], &[&["1"]]), "column \"ratio\" of the type double cannot be cut"),
        ("parted", named(&["one", "four"]), "no partition \"four\""),
        ("cut", named(&["one"]), "no partition \"one\""),
    ] {
        let error = parts(bench, table, wanted).await.expect_err(what);
        let told = error.chain();
        assert_eq!(error.code(), "parallel_load", "{told}");
        assert!(told.contains(what) && told.contains("rule 7") && !told.contains("secret"), "{told}");
    }

    // The same names, and other rows in them.
    let snapshot = bench.source.snapshot(&scope(&["parted"])).await.expect("a snapshot");
    let table = bench.table("parted").await;
    let chunks = snapshot.cut(&table, &rule(CutParts::Each { deep: false }), 1_000).await.expect("parts");
    assert!(ids(&*snapshot, &table, &chunks[2]).await.is_ok());
    bench
        .run(&[
            "alter table parted reorganize partition rest into (partition more values less than (4), partition rest values less than maxvalue)",
        ])
        .await;
    assert_eq!(ids(&*snapshot, &table, &chunks[2]).await.expect_err("another layout").code(), "chunks_outdated");
}
