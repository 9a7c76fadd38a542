//! Provisioned replication tasks.

use serde::{Deserialize, Serialize};

use super::replication::{Stats, TableStatistics};
use super::{Tag, Timestamp};

/// Every operation on one replication task.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct TaskRequest {
    pub(crate) replication_task_arn: Option<String>,
    pub(crate) replication_task_identifier: Option<String>,
    pub(crate) source_endpoint_arn: Option<String>,
    pub(crate) target_endpoint_arn: Option<String>,
    pub(crate) replication_instance_arn: Option<String>,
    pub(crate) migration_type: Option<String>,
    pub(crate) table_mappings: Option<String>,
    pub(crate) replication_task_settings: Option<String>,
    pub(crate) start_replication_task_type: Option<String>,
    pub(crate) cdc_start_time: Option<Timestamp>,
    pub(crate) cdc_start_position: Option<String>,
    pub(crate) cdc_stop_position: Option<String>,
    pub(crate) tags: Option<Vec<Tag>>,
    pub(crate) task_data: Option<String>,
    pub(crate) resource_identifier: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ReplicationTask {
    pub(crate) replication_task_identifier: String,
    pub(crate) source_endpoint_arn: String,
    pub(crate) target_endpoint_arn: String,
    pub(crate) replication_instance_arn: String,
    pub(crate) migration_type: &'static str,
    pub(crate) table_mappings: Option<String>,
    pub(crate) replication_task_settings: Option<String>,
    pub(crate) status: &'static str,
    pub(crate) last_failure_message: Option<String>,
    pub(crate) stop_reason: Option<&'static str>,
    pub(crate) replication_task_creation_date: f64,
    pub(crate) replication_task_start_date: Option<f64>,
    pub(crate) cdc_start_position: Option<String>,
    pub(crate) cdc_stop_position: Option<String>,
    pub(crate) recovery_checkpoint: Option<String>,
    pub(crate) replication_task_arn: String,
    pub(crate) replication_task_stats: Stats,
    pub(crate) task_data: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct TaskAnswer {
    pub(crate) replication_task: ReplicationTask,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct TasksAnswer {
    pub(crate) marker: Option<String>,
    pub(crate) replication_tasks: Vec<ReplicationTask>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct TaskTablesAnswer {
    pub(crate) replication_task_arn: String,
    pub(crate) marker: Option<String>,
    pub(crate) table_statistics: Vec<TableStatistics>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ReloadTaskAnswer {
    pub(crate) replication_task_arn: String,
}
