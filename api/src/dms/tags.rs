//! Tags of endpoints, replication instances, replication configs and tasks.

use std::collections::BTreeMap;

use super::arn::{Arn, Kind};
use super::fault::{Fault, missing, shortened};
use super::shape::instance::{TagsAnswer, TagsRequest};
use super::shape::{Nothing, Tag};
use super::task_echo::{TaskForm, find};
use super::{Call, endpoints, instances};

/// Tags of one resource. Source: AWS's general limit.
const TAGS_MAX: usize = 50;

pub(crate) async fn add(call: &Call, request: TagsRequest) -> Result<Nothing, Fault> {
    let new = checked(Some(request.tags.ok_or_else(|| missing("Tags"))?))?;
    change(call, request.resource_arn, |tags| tags.extend(new)).await
}

pub(crate) async fn remove(call: &Call, request: TagsRequest) -> Result<Nothing, Fault> {
    let keys = request.tag_keys.ok_or_else(|| missing("TagKeys"))?;
    change(call, request.resource_arn, |tags| tags.retain(|key, _| !keys.contains(key))).await
}

pub(crate) async fn list(call: &Call, request: TagsRequest) -> Result<TagsAnswer, Fault> {
    let mut tag_list = Vec::new();
    for arn in request.resource_arn_list.iter().flatten() {
        let tags = read(call, arn.clone()).await?;
        tag_list.extend(tags.into_iter().map(|(key, value)| Tag { key: Some(key), value: Some(value), resource_arn: Some(arn.clone()) }));
    }
    if let Some(arn) = request.resource_arn {
        let tags = read(call, arn).await?;
        tag_list.extend(tags.into_iter().map(|(key, value)| Tag { key: Some(key), value: Some(value), resource_arn: None }));
    } else if request.resource_arn_list.is_none() {
        return Err(missing("ResourceArn"));
    }
    Ok(TagsAnswer { tag_list })
}

/// Tags in the bounds of DMS: a key of 1 to 128 characters that starts with neither `aws:` nor `dms:`, a value of 256.
///
/// # Errors
/// A fault that names the key.
pub(crate) fn checked(tags: Option<Vec<Tag>>) -> Result<BTreeMap<String, String>, Fault> {
    let mut checked = BTreeMap::new();
    for tag in tags.into_iter().flatten() {
        let key = tag.key.unwrap_or_default();
        let value = tag.value.unwrap_or_default();
        let reserved = ["aws:", "dms:"].iter().any(|prefix| key.to_ascii_lowercase().starts_with(prefix));
        if !(1..=128).contains(&key.chars().count()) || reserved {
            return Err(Fault::value(format!(
                "Tag key must have 1 to 128 characters and start with neither aws: nor dms:, found: {}",
                shortened(&key)
            )));
        }
        if value.chars().count() > 256 {
            return Err(Fault::value(format!("The value of tag {} has more than 256 characters", shortened(&key))));
        }
        checked.insert(key, value);
    }
    within_bounds(&checked)?;
    Ok(checked)
}

fn within_bounds(tags: &BTreeMap<String, String>) -> Result<(), Fault> {
    if tags.len() <= TAGS_MAX { Ok(()) } else { Err(Fault::value(format!("A resource may have at most {TAGS_MAX} tags"))) }
}

fn form(kind: Kind) -> Option<TaskForm> {
    match kind {
        Kind::Config => Some(TaskForm::Config),
        Kind::Task => Some(TaskForm::Task),
        Kind::Endpoint | Kind::Instance | Kind::Certificate => None,
    }
}

fn untagged(kind: Kind) -> Fault {
    Fault::value(format!("A {} has no tags here yet", kind.noun().to_lowercase()))
}

async fn read(call: &Call, text: String) -> Result<BTreeMap<String, String>, Fault> {
    let arn = Arn::parse(&text, "ResourceArn")?;
    if let Some(form) = form(arn.kind) {
        return Ok(find(call, Some(text), form, "ResourceArn").await?.0.definition.tags);
    }
    match arn.kind {
        Kind::Endpoint => Ok(endpoints::find(call, Some(text)).await?.1.tags),
        Kind::Instance => Ok(instances::find(call, Some(text)).await?.1.tags),
        Kind::Config | Kind::Task | Kind::Certificate => Err(untagged(arn.kind)),
    }
}

async fn change(call: &Call, arn: Option<String>, edit: impl FnOnce(&mut BTreeMap<String, String>)) -> Result<Nothing, Fault> {
    let text = arn.ok_or_else(|| missing("ResourceArn"))?;
    let arn = Arn::parse(&text, "ResourceArn")?;
    if let Some(form) = form(arn.kind) {
        let (record, _) = find(call, Some(text), form, "ResourceArn").await?;
        let mut definition = record.definition;
        edit(&mut definition.tags);
        within_bounds(&definition.tags)?;
        call.catalog.update_task(record.revision, &definition).await?;
    } else if arn.kind == Kind::Endpoint {
        let (record, mut echo) = endpoints::find(call, Some(text)).await?;
        edit(&mut echo.tags);
        within_bounds(&echo.tags)?;
        let mut spec = record.spec;
        spec.dms = echo.document();
        call.catalog.update_endpoint(&record.id, record.revision, &spec).await?;
    } else if arn.kind == Kind::Certificate {
        return Err(untagged(arn.kind));
    } else {
        let (record, mut document) = instances::find(call, Some(text)).await?;
        edit(&mut document.tags);
        within_bounds(&document.tags)?;
        call.catalog.update_resource(instances::RESOURCE, &record.id, &record.name, &document.value()).await?;
    }
    Ok(Nothing {})
}
