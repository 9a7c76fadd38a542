//! Whether the target has what the sources have.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tidegate_harness::{Comparison, Database, PostgresServer, WorkloadPlan, compare_databases};

use crate::{MASK_KEY, Stream};

/// Masked values that were looked at.
pub(crate) struct Masks {
    pub(crate) checked: u64,
    pub(crate) wrong: u64,
}

/// A table whose only row is written last: once it is in the target, everything before it is too.
pub(crate) async fn create_marker(source: &Database<'_>) {
    run(source, "create table marker (id integer not null primary key)").await;
}

pub(crate) async fn write_marker(source: &Database<'_>) {
    run(source, "insert into marker values (1)").await;
}

pub(crate) async fn marker_arrived(target: &PostgresServer, schema: &str) -> bool {
    let found = target.rows(&format!("select to_regclass('{schema}.marker')")).await;
    found != [[None]] && target.value(&format!("select count(*) from {schema}.marker")).await == "1"
}

/// Every table and column but the masked one, which must differ.
pub(crate) async fn compare(stream: &Stream<'_>, target: &PostgresServer) -> Comparison {
    let pairs = WorkloadPlan::table_pairs(stream.schema, stream.task);
    // Only `accounts` has this column.
    let pairs: Vec<_> = pairs.into_iter().map(|pair| pair.without("email")).collect();
    compare_databases(&stream.source, &Database::Postgres(target), &pairs).await
}

/// Computes the masks of the source's addresses once more, without the module.
pub(crate) async fn wrong_masks(stream: &Stream<'_>, target: &PostgresServer) -> Masks {
    let source = match stream.source {
        Database::Postgres(server) => server.rows("select id, email from accounts order by id").await,
        Database::Mysql(server) => server.rows("select id, email from accounts order by id").await,
    };
    let target = target.rows(&format!("select id, email from {}.accounts order by id", stream.task)).await;
    let wanted: Vec<_> = source.into_iter().map(|row| vec![row[0].clone(), row[1].as_deref().map(mask)]).collect();
    let different = wanted.iter().zip(&target).filter(|(wanted, found)| wanted != found).count();
    Masks { checked: wanted.len() as u64, wrong: (different + wanted.len().abs_diff(target.len())) as u64 }
}

/// As `guest-transforms/examples/mask-email` documents it.
fn mask(email: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(MASK_KEY.as_bytes()).expect("HMAC takes keys of every length");
    mac.update(email.trim().to_lowercase().as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn run(source: &Database<'_>, statement: &str) {
    match source {
        Database::Postgres(server) => server.sql(statement).await,
        Database::Mysql(server) => server.sql(statement).await,
    }
}
