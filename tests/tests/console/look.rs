//! What must hold of every page, whatever is on it.

use serde_json::{Value, json};
use tidegate_harness::Browser;

/// Width of a small phone, pixels.
pub(crate) const PHONE: u32 = 360;

pub(crate) const DESKTOP: u32 = 1280;

/// Texts whose contrast with what is behind them is below WCAG's AA, and what reaches over the page's edge.
const SCRIPT: &str = include_str!("look.js");

/// The most controls that a page of these tests has.
const CONTROLS_MAX: usize = 150;

/// How closely a page is looked at: a picture takes a second on a busy machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// Wide and narrow, each in light and dark.
    Closely,
    /// Wide in light, narrow in dark.
    Briefly,
}

/// Nothing overflows, everything is readable, every control has a name. Keeps pictures.
pub(crate) async fn check_looks(browser: &Browser, name: &str, look: Look) {
    for (size, width, first) in [("phone", PHONE, "dark"), ("desktop", DESKTOP, "light")] {
        browser.resize(width, 800).await;
        let schemes = if look == Look::Closely { &["light", "dark"][..] } else { &[first] };
        for scheme in schemes.iter().copied() {
            browser.prefer_colours(scheme).await;
            // Charts are drawn anew when the size has changed, which the page is told with its next frame.
            browser.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(0))))").await;
            let path = browser.screenshot(&format!("{name}-{size}-{scheme}")).await;
            let found = browser.evaluate(&format!("({SCRIPT})()")).await;
            assert_eq!(found["over"], json!([]), "{name} at {width} px reaches over the edge; see {}", path.display());
            assert_eq!(found["pale"], json!([]), "{name} in {scheme} has texts that are hard to read; see {}", path.display());
            assert_eq!(found["unnamed"], json!([]), "{name} has controls without a name");
            assert!(found["texts"].as_u64().unwrap() > 10, "{name} shows next to nothing: {found}");
            let ground = found["ground"].as_f64().unwrap();
            assert_eq!(ground < 0.5, scheme == "dark", "{name} in {scheme} has a ground of luminance {ground}");
        }
    }
    browser.prefer_colours("light").await;
}

const CONTROLS: &str = "a[href], button:not(:disabled), input:not(:disabled), select, summary, [tabindex=\"0\"]";

/// Every control is reached with the Tab key, and it shows when it is. One that appeared behind the walk is reached by the next.
pub(crate) async fn check_keyboard(browser: &Browser) {
    let mut missed = walk(browser).await;
    if missed != json!([]) {
        missed = walk(browser).await;
    }
    assert_eq!(missed, json!([]), "controls that Tab does not reach");
}

/// Presses Tab until the walk closes; returns the controls that it did not come to.
async fn walk(browser: &Browser) -> Value {
    let mut unseen = Vec::new();
    for _ in 0..CONTROLS_MAX {
        browser.press("Tab").await;
        let step = browser
            .evaluate(
                "(() => { const now = document.activeElement; const style = getComputedStyle(now);
                  const back = now.hasAttribute('data-reached'); now.setAttribute('data-reached', '');
                  return {back, body: now === document.body, seen: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2,
                          what: now.outerHTML.slice(0, 120)}; })()",
            )
            .await;
        // Behind the last control comes the window's frame, then the first again.
        if step["body"] == true {
            continue;
        }
        if step["back"] == true {
            break;
        }
        if step["seen"] != true {
            unseen.push(step["what"].clone());
        }
    }
    let missed = browser
        .evaluate(&format!(
            "[...document.querySelectorAll('{CONTROLS}')].filter((node) => node.checkVisibility() && !node.hasAttribute('data-reached'))
             .map((node) => node.outerHTML.slice(0, 120))"
        ))
        .await;
    assert_eq!(unseen, Vec::<Value>::new(), "controls whose focus does not show");
    browser.evaluate("document.querySelectorAll('[data-reached]').forEach((node) => node.removeAttribute('data-reached')); 0").await;
    missed
}

/// Nothing was logged as an error, refused by the policy, or thrown.
pub(crate) fn check_no_faults(browser: &Browser) {
    assert_eq!(browser.take_faults(), Vec::<String>::new(), "the page complains");
}
