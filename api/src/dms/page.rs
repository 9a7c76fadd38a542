//! Pages and filters of the Describe operations.
//!
//! A marker is opaque to clients: it is the count of items before the page, in base64 with a version, so that a
//! marker of another origin is refused rather than misread. Lists here are short (one tenant's resources, one task's
//! tables); they are made in full and cut.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::fault::{Fault, shortened};

/// Page sizes of most operations. Source: DMS API reference, `MaxRecords`.
pub(crate) const USUAL_PAGE: PageBounds = PageBounds { default: 100, min: 20, max: 100 };
/// Page sizes of the two table statistics operations.
pub(crate) const STATISTICS_PAGE: PageBounds = PageBounds { default: 100, min: 20, max: 500 };

/// What `MaxRecords` may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageBounds {
    default: usize,
    min: usize,
    max: usize,
}

/// One filter: its values are alternatives; several filters must all match.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Filter {
    pub(crate) name: String,
    pub(crate) values: Vec<String>,
}

/// `Filters`, `MaxRecords` and `Marker`: the whole request of most Describe operations.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct ListRequest {
    pub(crate) filters: Option<Vec<Filter>>,
    pub(crate) max_records: Option<i64>,
    pub(crate) marker: Option<String>,
    /// Leaves mappings and settings out of tasks.
    pub(crate) without_settings: Option<bool>,
}

/// A page, and the marker of the next one when there is one.
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    pub(crate) marker: Option<String>,
}

/// Cuts one page out of the list.
///
/// # Errors
/// A fault when the size is out of bounds or the marker is none of ours.
pub(crate) fn cut<T>(items: Vec<T>, request: &ListRequest, bounds: PageBounds) -> Result<Page<T>, Fault> {
    let size = page_size(request.max_records, bounds)?;
    let start = request.marker.as_deref().filter(|marker| !marker.is_empty()).map_or(Ok(0), read_marker)?;
    let total = items.len();
    let items: Vec<T> = items.into_iter().skip(start).take(size).collect();
    let end = start.saturating_add(items.len());
    Ok(Page { items, marker: (end < total && end > start).then(|| write_marker(end)) })
}

fn page_size(max_records: Option<i64>, bounds: PageBounds) -> Result<usize, Fault> {
    let Some(wanted) = max_records else { return Ok(bounds.default) };
    match usize::try_from(wanted) {
        Ok(size) if (bounds.min..=bounds.max).contains(&size) => Ok(size),
        _ => Err(Fault::value(format!("MaxRecords must be between {} and {}, found: {wanted}", bounds.min, bounds.max))),
    }
}

fn write_marker(index: usize) -> String {
    URL_SAFE_NO_PAD.encode(format!("v1:{index}"))
}

fn read_marker(marker: &str) -> Result<usize, Fault> {
    let bytes = URL_SAFE_NO_PAD.decode(marker).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    let index = text.as_deref().and_then(|text| text.strip_prefix("v1:")).and_then(|index| index.parse().ok());
    index.ok_or_else(|| Fault::value(format!("Invalid Marker: {}", shortened(marker))))
}

/// Keeps the items that every filter matches. `value` gives an item's value for a filter name of `known`.
///
/// # Errors
/// A fault when a filter's name is not known; `ResourceNotFoundFault` when filters were given and nothing matches:
/// the `*_deleted` waiters and Terraform wait for exactly this.
pub(crate) fn filtered<T>(
    items: Vec<T>,
    filters: Option<&[Filter]>,
    known: &[&str],
    plural: &str,
    values: impl Fn(&T, &str) -> Vec<String>,
) -> Result<Vec<T>, Fault> {
    let filters = filters.unwrap_or_default();
    if let Some(filter) = filters.iter().find(|filter| !known.contains(&filter.name.as_str())) {
        return Err(Fault::value(format!("Invalid filter name {}, valid names are {}", shortened(&filter.name), known.join(", "))));
    }
    let matches = |item: &T| filters.iter().all(|filter| values(item, &filter.name).iter().any(|value| filter.values.contains(value)));
    let kept: Vec<T> = items.into_iter().filter(matches).collect();
    if kept.is_empty() && !filters.is_empty() {
        return Err(Fault::not_found(format!("No {plural} found matching provided filters")));
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_joined_by_markers_give_the_whole_list() {
        let all: Vec<usize> = (0..45).collect();
        let mut seen = Vec::new();
        let mut request = ListRequest { max_records: Some(20), ..ListRequest::default() };
        loop {
            let page = cut(all.clone(), &request, USUAL_PAGE).unwrap();
            seen.extend(page.items);
            let Some(marker) = page.marker else { break };
            request.marker = Some(marker);
        }
        assert_eq!(seen, all);
    }

    #[test]
    fn sizes_out_of_bounds_and_foreign_markers_are_refused() {
        for size in [-1, 0, 19, 101] {
            let request = ListRequest { max_records: Some(size), ..ListRequest::default() };
            assert!(cut(vec![1], &request, USUAL_PAGE).is_err(), "{size}");
        }
        for marker in ["x", "20", "djI6MjA", "djE6LTE"] {
            let request = ListRequest { marker: Some(marker.into()), ..ListRequest::default() };
            assert!(cut(vec![1], &request, USUAL_PAGE).is_err(), "{marker}");
        }
    }

    #[test]
    fn filters_are_joined_by_and_their_values_by_or() {
        let filter = |name: &str, values: &[&str]| Filter { name: name.into(), values: values.iter().map(|v| (*v).into()).collect() };
        let items = vec![("a", "1"), ("a", "2"), ("b", "1")];
        let value = |item: &(&str, &str), name: &str| vec![if name == "x" { item.0 } else { item.1 }.to_owned()];
        let run = |filters: &[Filter]| filtered(items.clone(), Some(filters), &["x", "y"], "Things", value);
        assert_eq!(run(&[filter("x", &["a"]), filter("y", &["1", "2"])]).unwrap().len(), 2);
        assert_eq!(run(&[filter("x", &["c"])]).unwrap_err().code(), "ResourceNotFoundFault");
        assert_eq!(run(&[filter("z", &["c"])]).unwrap_err().code(), "InvalidParameterValueException");
        assert_eq!(run(&[]).unwrap().len(), 3);
    }
}
