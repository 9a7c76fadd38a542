//! The account's quotas and the events of its tasks.

use std::collections::HashMap;

use tidegate_catalog::{EventCategory, EventFilter, EventRecord, now_us};

use super::Call;
use super::caller::account_of;
use super::fault::{Fault, shortened};
use super::instances;
use super::page::{ListRequest, USUAL_PAGE, cut};
use super::shape::instance::{AccountAnswer, AccountQuota, Event, EventsAnswer, EventsRequest};
use super::shape::seconds;
use super::task_echo::TaskEcho;

/// DMS tells events of the last hour unless asked otherwise.
const DURATION_DEFAULT_MINUTES: i64 = 60;
/// Newest events that are looked at.
const EVENTS_MAX: u32 = 10_000;

/// DMS's own names and sizes; nothing here enforces them.
pub(crate) async fn attributes(call: &Call, _: ListRequest) -> Result<AccountAnswer, Fault> {
    let endpoints = call.catalog.list_endpoints().await?.len() as u64;
    let tasks = call.catalog.list_tasks().await?.len() as u64;
    let instances = call.catalog.list_resources(instances::RESOURCE).await?.len() as u64;
    let quota = |account_quota_name, used, max| AccountQuota { account_quota_name, used, max };
    Ok(AccountAnswer {
        account_quotas: vec![
            quota("ReplicationInstances", instances, 60),
            quota("Endpoints", endpoints, 1000),
            quota("ReplicationTasks", tasks, 600),
        ],
        unique_account_identifier: format!("tidegate-{}", account_of(call.catalog.tenant())),
    })
}

pub(crate) async fn events(call: &Call, request: EventsRequest) -> Result<EventsAnswer, Fault> {
    if request.start_time.is_some() || request.end_time.is_some() {
        return Err(Fault::value("StartTime and EndTime are not supported, give Duration in minutes"));
    }
    if request.filters.is_some_and(|filters| !filters.is_empty()) {
        return Err(Fault::value("DescribeEvents has no filters, give SourceIdentifier or EventCategories"));
    }
    match request.source_type.as_deref() {
        None | Some("replication-task") => {}
        Some("replication-instance") => return Ok(EventsAnswer { marker: None, events: Vec::new() }),
        Some(other) => {
            return Err(Fault::value(format!("SourceType must be replication-instance or replication-task, found: {}", shortened(other))));
        }
    }
    let minutes = request.duration.unwrap_or(DURATION_DEFAULT_MINUTES).clamp(0, 20_160);
    let filter = EventFilter { since_us: Some(now_us() - minutes * 60_000_000), ..EventFilter::default() };
    let records = call.catalog.list_events(&filter, EVENTS_MAX).await?;
    let names = identifiers(call).await?;
    let wanted = |event: &Event| {
        let source = request.source_identifier.as_ref().is_none_or(|wanted| event.source_identifier.as_ref() == Some(wanted));
        let category =
            request.event_categories.as_ref().is_none_or(|wanted| event.event_categories.iter().any(|c| wanted.iter().any(|w| w == c)));
        source && category
    };
    let all: Vec<Event> = records.iter().map(|record| shown(record, &names)).filter(wanted).collect();
    let page = cut(all, &ListRequest { max_records: request.max_records, marker: request.marker, ..ListRequest::default() }, USUAL_PAGE)?;
    Ok(EventsAnswer { marker: page.marker, events: page.items })
}

/// Identifiers as typed, by the catalog's names of tasks.
async fn identifiers(call: &Call) -> Result<HashMap<String, String>, Fault> {
    let records = call.catalog.list_tasks().await?;
    Ok(records.iter().map(|record| (record.definition.name.to_string(), TaskEcho::of(record, &call.caller).identifier)).collect())
}

fn shown(record: &EventRecord, names: &HashMap<String, String>) -> Event {
    let identifier = record.task.as_ref().map(|task| names.get(task).cloned().unwrap_or_else(|| task.clone()));
    Event {
        source_identifier: identifier,
        source_type: "replication-task",
        message: record.message.clone(),
        event_categories: vec![match record.category {
            EventCategory::Creation => "creation",
            EventCategory::Deletion => "deletion",
            EventCategory::ConfigurationChange => "configuration change",
            EventCategory::StateChange | EventCategory::Table => "state change",
            EventCategory::Failure => "failure",
        }],
        date: seconds(record.at_us),
    }
}
