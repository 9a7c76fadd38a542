//! Replication instances, tags, the account and its events.

use serde::{Deserialize, Serialize};

use super::{Tag, Timestamp};
use crate::dms::page::Filter;

/// Create-, Modify- and DeleteReplicationInstance.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct InstanceRequest {
    pub(crate) replication_instance_arn: Option<String>,
    pub(crate) replication_instance_identifier: Option<String>,
    pub(crate) replication_instance_class: Option<String>,
    pub(crate) allocated_storage: Option<i64>,
    #[serde(rename = "MultiAZ")]
    pub(crate) multi_az: Option<bool>,
    pub(crate) engine_version: Option<String>,
    pub(crate) auto_minor_version_upgrade: Option<bool>,
    pub(crate) publicly_accessible: Option<bool>,
    pub(crate) preferred_maintenance_window: Option<String>,
    pub(crate) availability_zone: Option<String>,
    pub(crate) resource_identifier: Option<String>,
    pub(crate) tags: Option<Vec<Tag>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Instance {
    pub(crate) replication_instance_identifier: String,
    pub(crate) replication_instance_class: String,
    pub(crate) replication_instance_status: &'static str,
    pub(crate) allocated_storage: i64,
    pub(crate) instance_create_time: f64,
    pub(crate) availability_zone: Option<String>,
    pub(crate) preferred_maintenance_window: Option<String>,
    #[serde(rename = "MultiAZ")]
    pub(crate) multi_az: bool,
    pub(crate) engine_version: String,
    pub(crate) auto_minor_version_upgrade: bool,
    pub(crate) replication_instance_arn: String,
    pub(crate) publicly_accessible: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct InstanceAnswer {
    pub(crate) replication_instance: Instance,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct InstancesAnswer {
    pub(crate) marker: Option<String>,
    pub(crate) replication_instances: Vec<Instance>,
}

/// AddTagsToResource, RemoveTagsFromResource, ListTagsForResource.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct TagsRequest {
    pub(crate) resource_arn: Option<String>,
    pub(crate) resource_arn_list: Option<Vec<String>>,
    pub(crate) tags: Option<Vec<Tag>>,
    pub(crate) tag_keys: Option<Vec<String>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct TagsAnswer {
    pub(crate) tag_list: Vec<Tag>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct AccountQuota {
    pub(crate) account_quota_name: &'static str,
    pub(crate) used: u64,
    pub(crate) max: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct AccountAnswer {
    pub(crate) account_quotas: Vec<AccountQuota>,
    pub(crate) unique_account_identifier: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct EventsRequest {
    pub(crate) source_identifier: Option<String>,
    pub(crate) source_type: Option<String>,
    pub(crate) start_time: Option<Timestamp>,
    pub(crate) end_time: Option<Timestamp>,
    /// Minutes before now.
    pub(crate) duration: Option<i64>,
    pub(crate) event_categories: Option<Vec<String>>,
    pub(crate) filters: Option<Vec<Filter>>,
    pub(crate) max_records: Option<i64>,
    pub(crate) marker: Option<String>,
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Event {
    pub(crate) source_identifier: Option<String>,
    pub(crate) source_type: &'static str,
    pub(crate) message: String,
    pub(crate) event_categories: Vec<&'static str>,
    pub(crate) date: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct EventsAnswer {
    pub(crate) marker: Option<String>,
    pub(crate) events: Vec<Event>,
}
