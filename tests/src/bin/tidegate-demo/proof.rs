//! The end of the demo: are source and target equal, row by row?

use std::collections::{HashMap, HashSet};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tidegate_harness::{Database, PostgresServer, TablePair, compare_databases};

use crate::live::grouped;
use crate::shop::TABLES;
use crate::source::Source;
use crate::tasks::{MASK_KEY, Task};

/// Compares every table of a task, prints a line for each, and returns the number of differences.
///
/// A column that a module changes cannot be compared and is left out: see [`check_masked`].
pub(crate) async fn compare(source: Source<'_>, target: &PostgresServer, task: Task, masked: Option<(&str, &str)>) -> u64 {
    let mut differences = 0;
    for (table, what) in TABLES {
        let mut pair = TablePair::new(("shop", table), (task.target_schema, table));
        let mut note = what.to_owned();
        if let Some((_, column)) = masked.filter(|(of, _)| *of == table) {
            pair = pair.without(column);
            note += ", see below";
        }
        let found = compare_databases(&source.database(), &Database::Postgres(target), &[pair]).await;
        let name = format!("{}.{table}", task.target_schema);
        let verdict = if found.differences == 0 { "equal".to_owned() } else { format!("{} DIFFERENT", found.differences) };
        let rows = if found.rows == 1 { "row " } else { "rows" };
        println!("    {name:<24} {:>9} {rows}  {verdict:<6} ({note})", grouped(found.rows));
        found.described.iter().for_each(|difference| println!("         {difference}"));
        differences += found.differences;
    }
    differences
}

/// Proves that the addresses of the source's customers became their pseudonyms, computed here without the module, and
/// that no table of the target has an address. Returns how many rows say otherwise.
pub(crate) async fn check_masked(source: Source<'_>, target: &PostgresServer, task: Task) -> u64 {
    let addresses: HashMap<_, _> = source.rows("select id, email from shop.customers").await.into_iter().map(pair).collect();
    let query = format!("select id, email from {}.customers", task.target_schema);
    let pseudonyms: HashMap<_, _> = target.rows(&query).await.into_iter().map(pair).collect();
    // A row that is missing was counted by the comparison of the other columns.
    let both = addresses.iter().filter_map(|(id, address)| Some((address, pseudonyms.get(id)?)));
    let wrong = both.filter(|(address, found)| pseudonym(address) != **found).count() as u64;
    // Nothing else in the shop has this character, so this finds addresses that customers had for a moment as well.
    let mut readable = 0;
    for (table, _) in TABLES {
        let query = format!("select count(*) from {}.{table} t where t::text like '%@%'", task.target_schema);
        readable += target.value(&query).await.parse::<u64>().expect("a count is a number");
    }
    let addresses: HashSet<String> = addresses.values().map(|address| address.to_lowercase()).collect();
    let [addresses, pseudonyms] = [addresses.len(), pseudonyms.values().collect::<HashSet<_>>().len()].map(|count| grouped(count as u64));
    let name = format!("{}.customers", task.target_schema);
    println!("    {name:<24} {addresses:>9} e-mail addresses became {pseudonyms} pseudonyms, {} of them wrong", grouped(wrong));
    println!("    {:<24} {:>9} of the copy's rows show an address", "", grouped(readable));
    wrong + readable
}

/// As `guest-transforms/examples/mask-email` documents it.
fn pseudonym(address: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(MASK_KEY.as_bytes()).expect("HMAC takes keys of every length");
    mac.update(address.trim().to_lowercase().as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn pair(mut row: Vec<Option<String>>) -> (String, String) {
    let second = row.pop().flatten().unwrap_or_default();
    (row.pop().flatten().unwrap_or_default(), second)
}
