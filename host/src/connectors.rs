//! The closed set of engines: which connector serves which endpoint.

use std::sync::Arc;

use tidegate_connector::{ConnectorError, Loopback, ServerSettings, Source, Target};
use tidegate_model::Engine;
use tidegate_mysql::MysqlSource;
use tidegate_mysql::target::MysqlTarget;
use tidegate_postgres::source::PostgresSource;
use tidegate_postgres::target::PostgresTarget;

/// Connects to a server as a source.
///
/// # Errors
/// The connector's: unreachable, refused, not fit.
pub(crate) async fn source(server: ServerSettings) -> Result<Arc<dyn Source>, ConnectorError> {
    source_of(server, None).await
}

/// The same for a task.
///
/// # Errors
/// As for [`source`].
pub(crate) async fn source_of(server: ServerSettings, loopback: Option<&Loopback>) -> Result<Arc<dyn Source>, ConnectorError> {
    let left_out = loopback.map(|loopback| loopback.source.clone());
    match server.engine {
        Engine::Postgres => Ok(Arc::new(PostgresSource::connect(server).await?.leaving_out(left_out))),
        Engine::Mysql | Engine::Mariadb => Ok(Arc::new(MysqlSource::connect(server).await?.leaving_out(left_out))),
    }
}

/// Connects to a server as a target.
///
/// # Errors
/// The connector's: unreachable, refused, not fit.
pub(crate) async fn target(server: ServerSettings) -> Result<Arc<dyn Target>, ConnectorError> {
    target_of(server, None).await
}

/// The same for a task.
///
/// # Errors
/// As for [`target`].
pub(crate) async fn target_of(server: ServerSettings, loopback: Option<&Loopback>) -> Result<Arc<dyn Target>, ConnectorError> {
    let mark = loopback.map(|loopback| loopback.target.clone());
    match server.engine {
        Engine::Postgres => Ok(Arc::new(PostgresTarget::connect(server).await?.marking(mark))),
        Engine::Mysql | Engine::Mariadb => Ok(Arc::new(MysqlTarget::connect(server).await?.marking(mark))),
    }
}
