//! The closed set of engines: which connector serves which endpoint.

use std::sync::Arc;

use tidegate_connector::{ConnectorError, ServerSettings, Source, Target};
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
    match server.engine {
        Engine::Postgres => Ok(Arc::new(PostgresSource::connect(server).await?)),
        Engine::Mysql | Engine::Mariadb => Ok(Arc::new(MysqlSource::connect(server).await?)),
    }
}

/// Connects to a server as a target.
///
/// # Errors
/// The connector's: unreachable, refused, not fit.
pub(crate) async fn target(server: ServerSettings) -> Result<Arc<dyn Target>, ConnectorError> {
    match server.engine {
        Engine::Postgres => Ok(Arc::new(PostgresTarget::connect(server).await?)),
        Engine::Mysql | Engine::Mariadb => Ok(Arc::new(MysqlTarget::connect(server).await?)),
    }
}
