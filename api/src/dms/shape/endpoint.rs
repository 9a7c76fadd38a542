//! Endpoints, connections and schemas.

use serde::{Deserialize, Serialize};

use super::Tag;
use crate::dms::page::Filter;

/// CreateEndpoint and ModifyEndpoint.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct EndpointRequest {
    pub(crate) endpoint_arn: Option<String>,
    pub(crate) endpoint_identifier: Option<String>,
    pub(crate) endpoint_type: Option<String>,
    pub(crate) engine_name: Option<String>,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) server_name: Option<String>,
    pub(crate) port: Option<i64>,
    pub(crate) database_name: Option<String>,
    pub(crate) extra_connection_attributes: Option<String>,
    pub(crate) kms_key_id: Option<String>,
    pub(crate) tags: Option<Vec<Tag>>,
    pub(crate) certificate_arn: Option<String>,
    pub(crate) ssl_mode: Option<String>,
    pub(crate) resource_identifier: Option<String>,
    pub(crate) exact_settings: Option<bool>,
    #[serde(rename = "MySQLSettings")]
    pub(crate) mysql_settings: Option<MysqlSettings>,
    #[serde(rename = "PostgreSQLSettings")]
    pub(crate) postgres_settings: Option<PostgresSettings>,
}

/// An endpoint in an answer. There is no member for a password, here or in the settings.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Endpoint {
    pub(crate) endpoint_identifier: String,
    pub(crate) endpoint_type: &'static str,
    pub(crate) engine_name: String,
    pub(crate) engine_display_name: &'static str,
    pub(crate) username: String,
    pub(crate) server_name: String,
    pub(crate) port: u16,
    pub(crate) database_name: Option<String>,
    pub(crate) extra_connection_attributes: Option<String>,
    pub(crate) status: &'static str,
    pub(crate) kms_key_id: Option<String>,
    pub(crate) endpoint_arn: String,
    pub(crate) certificate_arn: Option<String>,
    pub(crate) ssl_mode: &'static str,
    pub(crate) is_read_only: bool,
    #[serde(rename = "MySQLSettings")]
    pub(crate) mysql_settings: Option<MysqlSettings>,
    #[serde(rename = "PostgreSQLSettings")]
    pub(crate) postgres_settings: Option<PostgresSettings>,
}

/// Settings of MySQL and MariaDB endpoints.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct MysqlSettings {
    pub(crate) after_connect_script: Option<String>,
    pub(crate) clean_source_metadata_on_mismatch: Option<bool>,
    pub(crate) database_name: Option<String>,
    pub(crate) events_poll_interval: Option<i64>,
    pub(crate) target_db_type: Option<String>,
    pub(crate) max_file_size: Option<i64>,
    pub(crate) parallel_load_threads: Option<i64>,
    #[serde(skip_serializing)]
    pub(crate) password: Option<String>,
    pub(crate) port: Option<i64>,
    pub(crate) server_name: Option<String>,
    pub(crate) server_timezone: Option<String>,
    pub(crate) username: Option<String>,
    pub(crate) secrets_manager_secret_id: Option<String>,
    pub(crate) execute_timeout: Option<i64>,
    pub(crate) authentication_method: Option<String>,
}

/// Settings of PostgreSQL endpoints.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct PostgresSettings {
    pub(crate) after_connect_script: Option<String>,
    pub(crate) capture_ddls: Option<bool>,
    pub(crate) max_file_size: Option<i64>,
    pub(crate) database_name: Option<String>,
    pub(crate) ddl_artifacts_schema: Option<String>,
    pub(crate) execute_timeout: Option<i64>,
    pub(crate) fail_tasks_on_lob_truncation: Option<bool>,
    pub(crate) heartbeat_enable: Option<bool>,
    pub(crate) heartbeat_schema: Option<String>,
    pub(crate) heartbeat_frequency: Option<i64>,
    #[serde(skip_serializing)]
    pub(crate) password: Option<String>,
    pub(crate) port: Option<i64>,
    pub(crate) server_name: Option<String>,
    pub(crate) username: Option<String>,
    pub(crate) slot_name: Option<String>,
    pub(crate) plugin_name: Option<String>,
    pub(crate) secrets_manager_secret_id: Option<String>,
    pub(crate) trim_space_in_char: Option<bool>,
    pub(crate) map_boolean_as_boolean: Option<bool>,
    pub(crate) map_jsonb_as_clob: Option<bool>,
    pub(crate) map_long_varchar_as: Option<String>,
    pub(crate) database_mode: Option<String>,
    pub(crate) babelfish_database_name: Option<String>,
    pub(crate) disable_unicode_source_filter: Option<bool>,
    pub(crate) authentication_method: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct EndpointAnswer {
    pub(crate) endpoint: Endpoint,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct EndpointsAnswer {
    pub(crate) marker: Option<String>,
    pub(crate) endpoints: Vec<Endpoint>,
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct EndpointType {
    pub(crate) engine_name: &'static str,
    #[serde(rename = "SupportsCDC")]
    pub(crate) supports_cdc: bool,
    pub(crate) endpoint_type: &'static str,
    pub(crate) engine_display_name: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct EndpointTypesAnswer {
    pub(crate) marker: Option<String>,
    pub(crate) supported_endpoint_types: Vec<EndpointType>,
}

/// TestConnection, DeleteConnection, RefreshSchemas, DescribeRefreshSchemasStatus, DescribeSchemas, DeleteEndpoint.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct ConnectionRequest {
    pub(crate) replication_instance_arn: Option<String>,
    pub(crate) endpoint_arn: Option<String>,
    pub(crate) filters: Option<Vec<Filter>>,
    pub(crate) max_records: Option<i64>,
    pub(crate) marker: Option<String>,
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Connection {
    pub(crate) replication_instance_arn: String,
    pub(crate) endpoint_arn: String,
    pub(crate) status: &'static str,
    pub(crate) last_failure_message: Option<String>,
    pub(crate) endpoint_identifier: String,
    pub(crate) replication_instance_identifier: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ConnectionAnswer {
    pub(crate) connection: Connection,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ConnectionsAnswer {
    pub(crate) marker: Option<String>,
    pub(crate) connections: Vec<Connection>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct RefreshSchemasStatus {
    pub(crate) endpoint_arn: String,
    pub(crate) replication_instance_arn: Option<String>,
    pub(crate) status: &'static str,
    pub(crate) last_refresh_date: Option<f64>,
    pub(crate) last_failure_message: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct RefreshAnswer {
    pub(crate) refresh_schemas_status: RefreshSchemasStatus,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct SchemasAnswer {
    pub(crate) marker: Option<String>,
    pub(crate) schemas: Vec<String>,
}
