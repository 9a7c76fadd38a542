//! What brings a catalog's tables up to date: the files of `migrations/`, in their order.
//!
//! Which of them a database has had stands in sqlx's own table, `_sqlx_migrations`, with a checksum of each: a file that was
//! released never changes again. The list here is sqlx's macro spelled out, which reads the folder at the price of a second
//! SQLite for the machine of the compiler, and of a client for PostgreSQL.

use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

/// The files, compiled in.
macro_rules! files {
    ($($name:literal,)*) => { [$(($name, include_str!(concat!("../migrations/", $name)))),*] };
}

const FILES: [(&str, &str); 6] = files![
    "0001_catalog.sql",
    "0002_module_aliases.sql",
    "0003_leases_and_changes.sql",
    "0004_tenants.sql",
    "0005_nodes.sql",
    "0006_turns.sql",
];

/// Applies to a database what it has not had, and refuses one that has had something else.
pub(crate) fn migrator() -> Migrator {
    Migrator::with_migrations(FILES.iter().filter_map(|(name, sql)| migration(name, sql)).collect())
}

/// `0002_module_aliases.sql` is the second, with the description `module aliases`.
fn migration(name: &str, sql: &'static str) -> Option<Migration> {
    let (version, description) = name.strip_suffix(".sql")?.split_once('_')?;
    let description = description.replace('_', " ").into();
    Some(Migration::new(version.parse().ok()?, description, MigrationType::Simple, sql.into_sql_str(), false))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops where its setup fails")]

    use std::path::Path;

    use sqlx::sqlite::SqliteConnectOptions;
    use sqlx::{Connection, SqliteConnection};
    use tempfile::TempDir;

    use super::*;
    use crate::Catalog;

    /// As every catalog has had them: version, description, SHA-384 of the file.
    const APPLIED: [(i64, &str, &str); 6] = [
        (1, "catalog", "87b43244a41a1440d390eae764722c4687d339e21c5e8d617f9c58f3ff99f20f60f4f038760bd9c1932da37ec40b7543"),
        (2, "module aliases", "c9615eb93e776d9db751882931e1014e8b192e5d80cf1902c1b39e56c57b3d4d383d189700af33013df74df05e1d36d0"),
        (3, "leases and changes", "bee1e2973959bec9cc963b7465952e68c48d94ffd4f5f2bf9bc089d85a5c9a820b8fd907afea833776a74df2b325ca5c"),
        (4, "tenants", "5a019b7a3615093d56241281c3f0064aabbafd1c1ae941aad13b88fc036b962d6f5e0bfcef99ddfcdfc526d891178b9b"),
        (5, "nodes", "c28e874f520006d7fb5bb579fd79de47b295c60361b01c7c62d3974a92fcf252a07d9ddb430e4f58d77e0de4f1c44f1a"),
        (6, "turns", "4f247212a8455435117522f98bd451692d536520fd7c94a4d80759a94061143043ac70c314a8eed01b08faffec09a3ba"),
    ];

    async fn database(dir: &Path) -> SqliteConnection {
        let options = SqliteConnectOptions::new().filename(dir.join("catalog.sqlite")).create_if_missing(true);
        SqliteConnection::connect_with(&options).await.unwrap()
    }

    async fn applied(dir: &Path) -> Vec<(i64, String, String, bool)> {
        let statement = "SELECT version, description, lower(hex(checksum)), success FROM _sqlx_migrations ORDER BY version";
        sqlx::query_as(statement).fetch_all(&mut database(dir).await).await.unwrap()
    }

    fn expected() -> Vec<(i64, String, String, bool)> {
        APPLIED.iter().map(|(version, description, checksum)| (*version, (*description).into(), (*checksum).into(), true)).collect()
    }

    #[tokio::test]
    async fn every_file_of_the_folder_is_a_migration_as_sqlx_reads_it() {
        let folder = Migrator::new(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations"))).await.unwrap();
        let all = |migrator: &Migrator| {
            let one =
                |found: &Migration| (found.version, found.description.clone(), found.migration_type, found.no_tx, found.checksum.clone());
            migrator.iter().map(one).collect::<Vec<_>>()
        };
        assert_eq!(all(&migrator()), all(&folder));
        assert_eq!(migrator().iter().count(), FILES.len(), "every name says a version");
    }

    #[tokio::test]
    async fn a_new_catalog_records_the_checksums_that_released_ones_have() {
        let dir = TempDir::new().unwrap();
        Catalog::open(dir.path()).await.unwrap().close().await;
        assert_eq!(applied(dir.path()).await, expected());
    }

    /// As sqlx's macro left it: the first three files, and their rows.
    #[tokio::test]
    async fn a_catalog_of_an_earlier_version_gets_what_it_lacks_and_keeps_its_rows() {
        let dir = TempDir::new().unwrap();
        let mut earlier = database(dir.path()).await;
        let table = "CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL, installed_on TIMESTAMP NOT NULL
                     DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL, checksum BLOB NOT NULL, execution_time BIGINT NOT NULL)";
        sqlx::raw_sql(table).execute(&mut earlier).await.unwrap();
        for ((version, description, checksum), (_, sql)) in APPLIED.iter().zip(FILES).take(3) {
            sqlx::raw_sql(sql).execute(&mut earlier).await.unwrap();
            let row = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES ($1, $2, TRUE, unhex($3), 1)";
            sqlx::query(row).bind(version).bind(description).bind(checksum).execute(&mut earlier).await.unwrap();
        }
        sqlx::raw_sql("INSERT INTO facts (name, value) VALUES ('kept', x'4711')").execute(&mut earlier).await.unwrap();
        earlier.close().await.unwrap();

        Catalog::open(dir.path()).await.unwrap().close().await;

        assert_eq!(applied(dir.path()).await, expected());
        let kept: Vec<u8> =
            sqlx::query_scalar("SELECT value FROM facts WHERE name = 'kept'").fetch_one(&mut database(dir.path()).await).await.unwrap();
        assert_eq!(kept, [0x47, 0x11]);
    }

    #[tokio::test]
    async fn a_catalog_with_another_checksum_is_refused() {
        let dir = TempDir::new().unwrap();
        Catalog::open(dir.path()).await.unwrap().close().await;
        let change = "UPDATE _sqlx_migrations SET checksum = x'00' WHERE version = 3";
        sqlx::raw_sql(change).execute(&mut database(dir.path()).await).await.unwrap();
        assert!(Catalog::open(dir.path()).await.is_err());
    }
}
