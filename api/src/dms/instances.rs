//! Replication instances: a name that clients need before they may test a connection, and nothing else.
//!
//! There is no machine behind one. Tasks run in the host's shared pool whatever their instance is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidegate_catalog::{CatalogError, ResourceRecord, new_id};

use super::arn::{Arn, Kind, identifier, resource_identifier};
use super::fault::{Fault, required, shortened};
use super::page::{ListRequest, USUAL_PAGE, cut, filtered};
use super::shape::instance::{Instance, InstanceAnswer, InstanceRequest, InstancesAnswer};
use super::shape::seconds;
use super::task_echo::TaskEcho;
use super::{Call, connections, tags};

/// The kind of the catalog's resources.
pub(crate) const RESOURCE: &str = "dms-replication-instance";
const IDENTIFIER_CHARS_MAX: usize = 63;
/// DMS's own default, in GB.
const STORAGE_DEFAULT: i64 = 50;
/// What clients are told: a version of DMS that has the operations here.
const ENGINE_VERSION: &str = "3.6.1";

const FILTERS: &[&str] = &["replication-instance-arn", "replication-instance-id", "replication-instance-class", "engine-version"];

/// The document of an instance.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct InstanceDocument {
    region: String,
    class: String,
    allocated_storage: i64,
    multi_az: bool,
    engine_version: String,
    auto_minor_version_upgrade: bool,
    publicly_accessible: bool,
    availability_zone: Option<String>,
    maintenance_window: Option<String>,
    #[serde(default)]
    pub(crate) tags: BTreeMap<String, String>,
}

impl InstanceDocument {
    pub(crate) fn of(record: &ResourceRecord) -> Result<Self, Fault> {
        serde_json::from_value(record.document.clone()).map_err(|error| {
            tracing::error!(instance = record.name, %error, "stored replication instance does not read back");
            Fault::internal()
        })
    }

    pub(crate) fn arn(&self, record: &ResourceRecord) -> String {
        Arn::new(&record.tenant, &self.region, Kind::Instance, &record.id).to_string()
    }

    pub(crate) fn value(&self) -> serde_json::Value {
        serde_json::to_value(self).expect("the document has string keys only")
    }

    fn change(&mut self, request: InstanceRequest) -> Result<(), Fault> {
        let storage = request.allocated_storage.unwrap_or(self.allocated_storage);
        if !(5..=6144).contains(&storage) {
            return Err(Fault::value(format!("AllocatedStorage must be between 5 and 6144, found: {storage}")));
        }
        self.allocated_storage = storage;
        self.class = request.replication_instance_class.unwrap_or_else(|| self.class.clone());
        if !self.class.starts_with("dms.") || self.class.len() > 30 {
            return Err(Fault::value(format!("ReplicationInstanceClass must be like dms.t3.medium, found: {}", shortened(&self.class))));
        }
        self.multi_az = request.multi_az.unwrap_or(self.multi_az);
        self.engine_version = request.engine_version.unwrap_or_else(|| self.engine_version.clone());
        self.auto_minor_version_upgrade = request.auto_minor_version_upgrade.unwrap_or(self.auto_minor_version_upgrade);
        self.publicly_accessible = request.publicly_accessible.unwrap_or(self.publicly_accessible);
        self.availability_zone = request.availability_zone.or(self.availability_zone.take());
        self.maintenance_window = request.preferred_maintenance_window.or(self.maintenance_window.take());
        Ok(())
    }
}

pub(crate) async fn create(call: &Call, mut request: InstanceRequest) -> Result<InstanceAnswer, Fault> {
    let name = required(request.replication_instance_identifier.take(), "ReplicationInstanceIdentifier")?.to_ascii_lowercase();
    identifier(&name, "ReplicationInstanceIdentifier", IDENTIFIER_CHARS_MAX)?;
    let class = required(request.replication_instance_class.take(), "ReplicationInstanceClass")?;
    let id = resource_identifier(request.resource_identifier.take())?.unwrap_or_else(new_id);
    let mut document = InstanceDocument {
        region: call.caller.region.clone(),
        class,
        allocated_storage: STORAGE_DEFAULT,
        multi_az: false,
        engine_version: ENGINE_VERSION.to_owned(),
        auto_minor_version_upgrade: true,
        publicly_accessible: true,
        availability_zone: None,
        maintenance_window: None,
        tags: tags::checked(request.tags.take())?,
    };
    document.change(request)?;
    let record =
        call.catalog.create_resource(RESOURCE, &id, &name, &document.value()).await.map_err(|error| already_exists(error, &name))?;
    Ok(InstanceAnswer { replication_instance: shown(&record, &document, "available") })
}

pub(crate) async fn modify(call: &Call, mut request: InstanceRequest) -> Result<InstanceAnswer, Fault> {
    let (record, mut document) = find(call, request.replication_instance_arn.take()).await?;
    let name = request.replication_instance_identifier.take().unwrap_or_else(|| record.name.clone()).to_ascii_lowercase();
    identifier(&name, "ReplicationInstanceIdentifier", IDENTIFIER_CHARS_MAX)?;
    document.change(request)?;
    let updated = call.catalog.update_resource(RESOURCE, &record.id, &name, &document.value()).await;
    let record = updated.map_err(|error| already_exists(error, &name))?;
    Ok(InstanceAnswer { replication_instance: shown(&record, &document, "available") })
}

pub(crate) async fn delete(call: &Call, request: InstanceRequest) -> Result<InstanceAnswer, Fault> {
    let (record, document) = find(call, request.replication_instance_arn).await?;
    let arn = document.arn(&record);
    let tasks = call.catalog.list_tasks().await?;
    let user = tasks.iter().map(|task| TaskEcho::of(task, &call.caller)).find(|echo| echo.instance_arn.as_deref() == Some(&arn));
    if let Some(echo) = user {
        return Err(Fault::state(format!("Replication instance {} is used by replication task {}", record.name, echo.identifier)));
    }
    call.catalog.delete_resource(RESOURCE, &record.id).await?;
    connections::forget_instance(call, &record.id).await?;
    Ok(InstanceAnswer { replication_instance: shown(&record, &document, "deleting") })
}

pub(crate) async fn describe(call: &Call, request: ListRequest) -> Result<InstancesAnswer, Fault> {
    let records = call.catalog.list_resources(RESOURCE).await?;
    let all =
        records.iter().map(|record| Ok(shown(record, &InstanceDocument::of(record)?, "available"))).collect::<Result<Vec<_>, Fault>>()?;
    let kept = filtered(all, request.filters.as_deref(), FILTERS, "Replication Instances", |instance, name| match name {
        "replication-instance-arn" => vec![instance.replication_instance_arn.clone()],
        "replication-instance-id" => vec![instance.replication_instance_identifier.clone()],
        "replication-instance-class" => vec![instance.replication_instance_class.clone()],
        _ => vec![instance.engine_version.clone()],
    })?;
    let page = cut(kept, &request, USUAL_PAGE)?;
    Ok(InstancesAnswer { marker: page.marker, replication_instances: page.items })
}

/// The instance behind the required member `ReplicationInstanceArn`.
pub(crate) async fn find(call: &Call, arn: Option<String>) -> Result<(ResourceRecord, InstanceDocument), Fault> {
    let text = required(arn, "ReplicationInstanceArn")?;
    let arn = Arn::parse_kind(&text, Kind::Instance, "ReplicationInstanceArn")?;
    match call.catalog.get_resource(RESOURCE, &arn.id).await {
        Ok(record) => {
            let document = InstanceDocument::of(&record)?;
            Ok((record, document))
        }
        Err(CatalogError::NotFound { .. }) => Err(Fault::not_found(format!("Replication instance {} not found.", shortened(&text)))),
        Err(error) => Err(error.into()),
    }
}

fn shown(record: &ResourceRecord, document: &InstanceDocument, status: &'static str) -> Instance {
    Instance {
        replication_instance_identifier: record.name.clone(),
        replication_instance_class: document.class.clone(),
        replication_instance_status: status,
        allocated_storage: document.allocated_storage,
        instance_create_time: seconds(record.created_at_us),
        availability_zone: document.availability_zone.clone(),
        preferred_maintenance_window: document.maintenance_window.clone(),
        multi_az: document.multi_az,
        engine_version: document.engine_version.clone(),
        auto_minor_version_upgrade: document.auto_minor_version_upgrade,
        replication_instance_arn: document.arn(record),
        publicly_accessible: document.publicly_accessible,
    }
}

fn already_exists(error: CatalogError, name: &str) -> Fault {
    match error {
        CatalogError::AlreadyExists { .. } => Fault::exists(format!("Replication Instance {name} already exists.")),
        other => other.into(),
    }
}
