//! An endpoint and a task as tests of the catalog want them where nothing depends on the rest.

use serde_json::Value;
use tidegate_catalog::{EndpointSpec, Migration, Preparation, Role, Secret, TaskDefinition, TlsChoice, TlsMode};
use tidegate_model::{Engine, TaskId};

/// An endpoint of this name.
pub(crate) fn endpoint(name: &str, role: Role) -> EndpointSpec {
    EndpointSpec {
        name: name.to_owned(),
        role,
        engine: Engine::Postgres,
        host: "db.example".to_owned(),
        port: 5432,
        username: "repl".to_owned(),
        password: Secret::new("none"),
        database: Some("shop".to_owned()),
        tls: TlsChoice { mode: TlsMode::Disable, authorities_pem: None },
        dms: Value::Null,
    }
}

/// A task of this name between the endpoints `left` and `right`.
pub(crate) fn task(name: &str) -> TaskDefinition {
    TaskDefinition {
        name: TaskId::new(name).unwrap(),
        source: "left".to_owned(),
        target: "right".to_owned(),
        migration: Migration::FullLoadAndCdc,
        preparation: Preparation::DropAndCreate,
        table_mappings: "{ \"rules\": [] }".to_owned(),
        settings: Value::Null,
        start_position: None,
        stop_position: None,
        min_units: 0,
        max_units: 4,
        max_lag_seconds: Some(10),
        tags: Default::default(),
        dms: Value::Null,
    }
}
