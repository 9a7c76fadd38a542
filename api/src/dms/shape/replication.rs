//! Replication configs, their replications, and table statistics.

use serde::{Deserialize, Serialize};

use super::{Tag, Timestamp};
use crate::dms::page::Filter;

/// Create-, Modify- and DeleteReplicationConfig.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct ConfigRequest {
    pub(crate) replication_config_arn: Option<String>,
    pub(crate) replication_config_identifier: Option<String>,
    pub(crate) source_endpoint_arn: Option<String>,
    pub(crate) target_endpoint_arn: Option<String>,
    pub(crate) compute_config: Option<ComputeConfig>,
    pub(crate) replication_type: Option<String>,
    pub(crate) table_mappings: Option<String>,
    pub(crate) replication_settings: Option<String>,
    pub(crate) supplemental_settings: Option<String>,
    pub(crate) resource_identifier: Option<String>,
    pub(crate) tags: Option<Vec<Tag>>,
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct ComputeConfig {
    pub(crate) availability_zone: Option<String>,
    pub(crate) dns_name_servers: Option<String>,
    pub(crate) kms_key_id: Option<String>,
    pub(crate) max_capacity_units: Option<i64>,
    pub(crate) min_capacity_units: Option<i64>,
    #[serde(rename = "MultiAZ")]
    pub(crate) multi_az: Option<bool>,
    pub(crate) preferred_maintenance_window: Option<String>,
    pub(crate) replication_subnet_group_id: Option<String>,
    pub(crate) vpc_security_group_ids: Option<Vec<String>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ReplicationConfig {
    pub(crate) replication_config_identifier: String,
    pub(crate) replication_config_arn: String,
    pub(crate) source_endpoint_arn: String,
    pub(crate) target_endpoint_arn: String,
    pub(crate) replication_type: &'static str,
    pub(crate) compute_config: ComputeConfig,
    pub(crate) replication_settings: String,
    pub(crate) supplemental_settings: Option<String>,
    pub(crate) table_mappings: String,
    pub(crate) replication_config_create_time: f64,
    pub(crate) replication_config_update_time: f64,
    pub(crate) is_read_only: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ConfigAnswer {
    pub(crate) replication_config: ReplicationConfig,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ConfigsAnswer {
    pub(crate) marker: Option<String>,
    pub(crate) replication_configs: Vec<ReplicationConfig>,
}

/// Start- and StopReplication.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct StartRequest {
    pub(crate) replication_config_arn: Option<String>,
    pub(crate) start_replication_type: Option<String>,
    pub(crate) premigration_assessment_settings: Option<String>,
    pub(crate) cdc_start_time: Option<Timestamp>,
    pub(crate) cdc_start_position: Option<String>,
    pub(crate) cdc_stop_position: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Replication {
    pub(crate) replication_config_identifier: String,
    pub(crate) replication_config_arn: String,
    pub(crate) source_endpoint_arn: String,
    pub(crate) target_endpoint_arn: String,
    pub(crate) replication_type: &'static str,
    pub(crate) status: &'static str,
    pub(crate) provision_data: Option<ProvisionData>,
    pub(crate) stop_reason: Option<&'static str>,
    pub(crate) failure_messages: Vec<String>,
    pub(crate) replication_stats: Stats,
    pub(crate) start_replication_type: Option<&'static str>,
    pub(crate) cdc_start_position: Option<String>,
    pub(crate) cdc_stop_position: Option<String>,
    pub(crate) recovery_checkpoint: Option<String>,
    pub(crate) replication_create_time: f64,
    pub(crate) replication_update_time: f64,
    pub(crate) replication_last_stop_time: Option<f64>,
    pub(crate) is_read_only: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ProvisionData {
    pub(crate) provision_state: &'static str,
    pub(crate) provisioned_capacity_units: u32,
    pub(crate) date_provisioned: Option<f64>,
    pub(crate) is_new_provisioning_available: bool,
}

/// `ReplicationStats` of replications, `ReplicationTaskStats` of tasks.
#[derive(Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Stats {
    pub(crate) full_load_progress_percent: i64,
    pub(crate) elapsed_time_millis: i64,
    pub(crate) tables_loaded: usize,
    pub(crate) tables_loading: usize,
    pub(crate) tables_queued: usize,
    pub(crate) tables_errored: usize,
    pub(crate) fresh_start_date: Option<f64>,
    pub(crate) start_date: Option<f64>,
    pub(crate) stop_date: Option<f64>,
    pub(crate) full_load_start_date: Option<f64>,
    pub(crate) full_load_finish_date: Option<f64>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ReplicationAnswer {
    pub(crate) replication: Replication,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ReplicationsAnswer {
    pub(crate) marker: Option<String>,
    pub(crate) replications: Vec<Replication>,
}

/// The two statistics and the two reload operations; each has the ARN of its own kind.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct TablesRequest {
    pub(crate) replication_config_arn: Option<String>,
    pub(crate) replication_task_arn: Option<String>,
    pub(crate) tables_to_reload: Option<Vec<TableToReload>>,
    pub(crate) reload_option: Option<String>,
    pub(crate) filters: Option<Vec<Filter>>,
    pub(crate) max_records: Option<i64>,
    pub(crate) marker: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct TableToReload {
    pub(crate) schema_name: Option<String>,
    pub(crate) table_name: Option<String>,
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct TableStatistics {
    pub(crate) schema_name: String,
    pub(crate) table_name: String,
    pub(crate) inserts: u64,
    pub(crate) deletes: u64,
    pub(crate) updates: u64,
    pub(crate) ddls: u64,
    pub(crate) applied_inserts: u64,
    pub(crate) applied_deletes: u64,
    pub(crate) applied_updates: u64,
    pub(crate) applied_ddls: u64,
    pub(crate) full_load_rows: u64,
    pub(crate) full_load_condtnl_chk_failed_rows: u64,
    pub(crate) full_load_error_rows: u64,
    pub(crate) full_load_start_time: Option<f64>,
    pub(crate) full_load_end_time: Option<f64>,
    pub(crate) full_load_reloaded: bool,
    pub(crate) last_update_time: Option<f64>,
    pub(crate) table_state: &'static str,
    pub(crate) validation_pending_records: u64,
    pub(crate) validation_failed_records: u64,
    pub(crate) validation_suspended_records: u64,
    pub(crate) validation_state: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ReplicationTablesAnswer {
    pub(crate) replication_config_arn: String,
    pub(crate) marker: Option<String>,
    pub(crate) replication_table_statistics: Vec<TableStatistics>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ReloadReplicationAnswer {
    pub(crate) replication_config_arn: String,
}
