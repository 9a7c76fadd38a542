//! The web console at `/`: static files in the binary, which ask the native API for everything that they show.
//!
//! The files hold no data, so they are served to whoever may reach the server. The policy in [`POLICY`] lets them load nothing from
//! elsewhere, run no script that is not one of these files, and make no markup out of text: `require-trusted-types-for` makes a browser that
//! knows it refuse `innerHTML` altogether.

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sha2::{Digest, Sha256};

use crate::problem::Problem;

/// Everything that is not named here is refused by the browser.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// A file of the console.
struct Asset {
    name: &'static str,
    kind: &'static str,
    text: &'static str,
}

macro_rules! asset {
    ($name:literal, $kind:literal) => {
        Asset { name: $name, kind: $kind, text: include_str!(concat!("../console/", $name)) }
    };
}

const PAGE: Asset = asset!("index.html", "text/html; charset=utf-8");

const ASSETS: &[Asset] = &[
    asset!("api.js", "text/javascript; charset=utf-8"),
    asset!("base.css", "text/css; charset=utf-8"),
    asset!("chart.js", "text/javascript; charset=utf-8"),
    asset!("charts.css", "text/css; charset=utf-8"),
    asset!("dialog.js", "text/javascript; charset=utf-8"),
    asset!("dom.js", "text/javascript; charset=utf-8"),
    asset!("events.js", "text/javascript; charset=utf-8"),
    asset!("fleet.js", "text/javascript; charset=utf-8"),
    asset!("format.js", "text/javascript; charset=utf-8"),
    asset!("history.js", "text/javascript; charset=utf-8"),
    asset!("icon.svg", "image/svg+xml"),
    asset!("lag.js", "text/javascript; charset=utf-8"),
    asset!("listing.js", "text/javascript; charset=utf-8"),
    asset!("live.js", "text/javascript; charset=utf-8"),
    asset!("main.js", "text/javascript; charset=utf-8"),
    asset!("modules.js", "text/javascript; charset=utf-8"),
    asset!("narrow.css", "text/css; charset=utf-8"),
    asset!("notice.js", "text/javascript; charset=utf-8"),
    asset!("parts.css", "text/css; charset=utf-8"),
    asset!("row-errors.js", "text/javascript; charset=utf-8"),
    asset!("server-clock.js", "text/javascript; charset=utf-8"),
    asset!("state.js", "text/javascript; charset=utf-8"),
    asset!("tables.js", "text/javascript; charset=utf-8"),
    asset!("task-actions.js", "text/javascript; charset=utf-8"),
    asset!("task.js", "text/javascript; charset=utf-8"),
    asset!("theme.js", "text/javascript; charset=utf-8"),
    asset!("tile.js", "text/javascript; charset=utf-8"),
    asset!("welcome.js", "text/javascript; charset=utf-8"),
];

/// `GET /` and `GET /console/{file}`.
pub(crate) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/", get(page)).route("/console/{file}", get(file))
}

async fn page(headers: HeaderMap) -> Response {
    answer(&PAGE, &headers)
}

async fn file(Path(name): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    match ASSETS.iter().find(|asset| asset.name == name) {
        Some(asset) => Ok(answer(asset, &headers)),
        None => Err(Problem::new(StatusCode::NOT_FOUND, "path_not_found", "the console has no such file").hint("the console is at /")),
    }
}

/// The browser asks each time whether its copy is still the server's, so that a new version is never mixed with an old one.
fn answer(asset: &Asset, headers: &HeaderMap) -> Response {
    let tag = etag(asset);
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()).is_some_and(|tags| tags.contains(&tag));
    let mut response = if known { StatusCode::NOT_MODIFIED.into_response() } else { asset.text.into_response() };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, asset.kind),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(header::ETAG, HeaderValue::from_str(&tag).expect("hexadecimal digits in quotes make a header value"));
    response
}

fn etag(asset: &Asset) -> String {
    let digest = Sha256::digest(asset.text.as_bytes());
    let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hex}\"")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// The longest file that one reads without losing the thread, as in `tests/tests/tidy.rs`.
    const LINES_MAX: usize = 500;

    #[test]
    fn every_file_of_the_folder_is_served() {
        let folder = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("console")).unwrap();
        let found: BTreeSet<String> = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let served: BTreeSet<String> = ASSETS.iter().chain([&PAGE]).map(|asset| asset.name.to_owned()).collect();
        assert_eq!(found, served);
    }

    #[test]
    fn files_are_short_and_make_no_markup_out_of_text() {
        let words = ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "javascript:", "https://"];
        for asset in ASSETS.iter().chain([&PAGE]) {
            assert!(asset.text.lines().count() <= LINES_MAX, "{} has more than {LINES_MAX} lines", asset.name);
            for word in words {
                assert!(!asset.text.contains(word), "{} contains {word}", asset.name);
            }
        }
        // What the policy forbids would silently not work.
        for word in ["<style", "style=", "onclick=", "onload="] {
            assert!(!PAGE.text.contains(word), "the page contains {word}");
        }
    }

    #[test]
    fn modules_import_only_files_that_are_served() {
        for asset in ASSETS.iter().filter(|asset| asset.name.ends_with(".js")) {
            for line in asset.text.lines().filter(|line| line.starts_with("import ") || line.starts_with("} from ")) {
                let name = line
                    .rsplit_once("\"./")
                    .and_then(|(_, rest)| rest.strip_suffix("\";"))
                    .unwrap_or_else(|| panic!("{}: {line}", asset.name));
                assert!(ASSETS.iter().any(|other| other.name == name), "{} imports {name}", asset.name);
            }
        }
    }
}
