//! Tables that rules cut for their load: each row is in exactly one part.

use std::sync::Arc;

use tidegate_connector::{ConnectorError, CutParts, RangeCut, Snapshot, Source, SourceTable, TableCut};

use crate::fixture::{Fixture, public, scope, text};

fn ranges(columns: &[&str], boundaries: &[&[&str]]) -> CutParts {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    CutParts::Ranges(RangeCut { columns: texts(columns), boundaries: boundaries.iter().map(|boundary| texts(boundary)).collect() })
}

fn named(names: &[&str]) -> CutParts {
    CutParts::Named(names.iter().map(|name| (*name).to_owned()).collect())
}

/// The identifiers of each part's rows, and the bounds of all parts.
async fn parts(snapshot: &dyn Snapshot, table: &Arc<SourceTable>, parts: CutParts) -> Result<(Vec<Vec<u32>>, Vec<String>), ConnectorError> {
    let (mut found, mut bounds) = (Vec::new(), Vec::new());
    for chunk in snapshot.cut(table, &TableCut { rule: "7".into(), parts }, 1_000).await? {
        let mut reader = snapshot.read(table.clone(), &chunk).await?;
        let mut ids: Vec<u32> = Vec::new();
        while let Some(rows) = reader.next_rows().await? {
            ids.extend(rows.iter().map(|row| text(table, &row, "id").parse::<u32>().expect("a number")));
        }
        ids.sort_unstable();
        found.push(ids);
        bounds.push(chunk.bounds);
    }
    Ok((found, bounds))
}

fn check_once(found: &[Vec<u32>], rows: u32) {
    let mut all: Vec<u32> = found.iter().flatten().copied().collect();
    all.sort_unstable();
    assert_eq!(all, (1..=rows).collect::<Vec<_>>(), "{found:?}");
}

/// On the server of another test. `late_not_null`: the server knows NOT NULL that rows from before need not obey.
pub(crate) async fn every_row_is_in_one_part(fixture: &Fixture, late_not_null: bool) {
    fixture
        .run(
            "create table cut (id int primary key, region varchar(10), grade numeric, born date not null, at timestamptz, code uuid, ratio float8);
             insert into cut select row_number() over (), region, grade, born, now() + make_interval(secs => grade::float8 * 0.01), gen_random_uuid(), 0
             from unnest(array['AA', 'EU', 'eu', 'US', 'ZZ', null]) region, unnest(array[-5, 99.5, 100, 900, null]) grade,
             unnest(array[date '1824-02-29', 'infinity']) born;
             create table parted (id int, kind int, primary key (id, kind)) partition by list (kind);
             create table parted_one partition of parted for values in (1);
             create table parted_two partition of parted for values in (2) partition by range (id);
             create table parted_low partition of parted_two for values from (0) to (15);
             create table parted_high partition of parted_two for values from (15) to (100);
             insert into parted select n, 1 + n % 2 from generate_series(1, 30) n",
        )
        .await;
    if late_not_null {
        fixture.run("alter table cut add constraint known not null region not valid").await;
    }
    let tables = public(&["cut", "parted"]);
    let snapshot = fixture.source.snapshot(&scope(&tables)).await.expect("a snapshot");
    let described = fixture.source.describe(&tables).await.expect("described");
    let [cut, parted] = &described[..] else { panic!("two tables") };

    let boundaries: [&[&str]; 3] = [&["EU", "100"], &["EU", "900.00"], &["US", "100"]];
    let (found, _) = parts(&*snapshot, cut, ranges(&["region", "grade"], &boundaries)).await.expect("parts");
    assert_eq!(found.len(), 5, "four ranges, and rows with NULL");
    assert_eq!(found[4].len(), 20, "rows with NULL in a column");
    assert_eq!(found[1].len(), 2, "100 at the boundary is in the range that it begins, 900 in the next");
    check_once(&found, 60);
    for (columns, boundaries, count) in [
        // A boundary that moves on between two looks would leave rows out.
        (["at"], [["now"], ["tomorrow"]], 4),
        (["born"], [["1824-02-29"], ["2024-02-29"]], 3),
        (["code"], [["40000000-0000-4000-8000-000000000000"], ["80000000-0000-4000-8000-000000000000"]], 4),
    ] {
        let boundaries: Vec<&[&str]> = boundaries.iter().map(|boundary| &boundary[..]).collect();
        let (found, bounds) = parts(&*snapshot, cut, ranges(&columns, &boundaries)).await.expect("parts");
        assert_eq!(found.len(), count, "{columns:?}");
        assert!(!bounds.iter().any(|bounds| bounds.contains("x6e6f77")), "the word now is kept as the time that it was");
        check_once(&found, 60);
    }

    let (found, _) = parts(&*snapshot, parted, CutParts::Each { deep: false }).await.expect("parts");
    assert_eq!(found.len(), 3, "one for each partition that holds rows");
    check_once(&found, 30);
    for names in [&["parted_two"][..], &["parted_one", "parted_low"]] {
        let (found, _) = parts(&*snapshot, parted, named(names)).await.expect("parts");
        check_once(&found, 30);
    }
    check_once(&parts(&*snapshot, parted, ranges(&["id"], &[&["10"], &["20"]])).await.expect("parts").0, 30);
    let (found, _) = parts(&*snapshot, cut, CutParts::Each { deep: true }).await.expect("parts");
    assert_eq!(found.len(), 1, "a table without partitions is cut by its rows");

    for (table, parts_wanted, what) in [
        (cut, ranges(&["grade"], &[&["1"], &["secret"]]), "boundary 2: no value of column \"grade\", wanted one of the type numeric"),
        (cut, ranges(&["grade"], &[&["10"], &["9"]]), "boundary 2 does not lie behind the one before it"),
        (cut, ranges(&["grade"], &[&["10"], &["10.0"]]), "boundary 2 does not lie behind the one before it"),
        (cut, ranges(&["born"], &[&["2023-02-29"]]), "boundary 1: no value of column \"born\""),
        (cut, ranges(&["absent"], &[&["1"]]), "the table has no column \"absent\""),
        (cut, ranges(&["ratio"], &[&["1"]]), "column \"ratio\" of the type double precision cannot be cut"),
        (parted, named(&["parted_one", "parted"]), "no partition \"parted\""),
        (cut, named(&["parted_one"]), "no partition \"parted_one\""),
    ] {
        let error = parts(&*snapshot, table, parts_wanted).await.expect_err(what);
        let told = error.chain();
        assert_eq!(error.code(), "parallel_load", "{told}");
        assert!(told.contains(what) && told.contains("rule 7") && !told.contains("secret"), "{told}");
    }
}
