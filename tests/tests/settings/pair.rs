//! From PostgreSQL into a target of either dialect, on the servers of another test.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_harness::wait_for;

use crate::world::{Source, World};

pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A source and a target, and the names of their endpoints.
pub(crate) struct Pair<'a> {
    pub(crate) world: &'a World,
    pub(crate) source: &'a Source,
    pub(crate) target: &'a Source,
    endpoints: (&'static str, &'static str),
}

impl<'a> Pair<'a> {
    /// The world's own.
    pub(crate) fn of(world: &'a World) -> Pair<'a> {
        Pair { world, source: &world.source, target: &world.target, endpoints: ("source", "target") }
    }

    /// A name as the target's SQL has it.
    pub(crate) fn quoted(&self, name: &str) -> String {
        match self.target {
            Source::Postgres(_) => format!("\"{name}\""),
            Source::Mysql(_) => format!("`{name}`"),
        }
    }

    /// Makes a schema at the source and a schema `NAME_copy` (or database) in the target, each with these tables.
    pub(crate) async fn prepare(&self, schema: &str, source: &[&str], target: &[&str]) {
        let word = if matches!(self.target, Source::Postgres(_)) { "schema" } else { "database" };
        self.source.sql(&format!("create schema {schema}")).await;
        self.target.sql(&format!("create {word} {schema}_copy")).await;
        for table in source {
            self.source.sql(&format!("create table {schema}.{table}")).await;
        }
        for table in target {
            self.target.sql(&format!("create table {schema}_copy.{table}")).await;
        }
    }

    /// Creates and starts a task of the same name over the schema, whose tables go to `NAME_copy`.
    pub(crate) async fn start(&self, schema: &str, settings: Value) {
        self.start_with(schema, settings, &[]).await;
    }

    /// The same with further rules.
    pub(crate) async fn start_with(&self, schema: &str, mut settings: Value, more: &[Value]) {
        settings["target_schema"] = json!(format!("{schema}_copy"));
        let mut rules = vec![json!({"rule-type": "selection", "rule-id": "1", "rule-name": "1", "rule-action": "include",
            "object-locator": {"schema-name": schema, "table-name": "%"}})];
        rules.extend_from_slice(more);
        let task = json!({"name": schema, "source": self.endpoints.0, "target": self.endpoints.1, "migration_type": "full-load-and-cdc",
            "settings": settings, "table_mappings": {"rules": rules}});
        self.world.host.post("/v1/tasks", &task).await.ok();
        self.world.start_task(schema).await;
    }

    /// Waits until a query of the target answers this: cells joined by commas, rows by bars.
    pub(crate) async fn wait(&self, query: &str, wanted: &str) {
        wait_for(&format!("{query}\n to be {wanted}"), PATIENCE, async || {
            let found = self.ask(query).await?;
            if found == wanted { Ok(()) } else { Err(found) }
        })
        .await;
    }

    /// What a query of the target answers, in the same form.
    pub(crate) async fn ask(&self, query: &str) -> Result<String, String> {
        let rows = self.target.try_rows(query).await?;
        let row =
            |row: Vec<Option<String>>| row.into_iter().map(|cell| cell.unwrap_or_else(|| "NULL".into())).collect::<Vec<_>>().join(",");
        Ok(rows.into_iter().map(row).collect::<Vec<_>>().join("|"))
    }
}
