//! A task is started, watched and steered from its page.

use serde_json::json;
use tidegate_harness::{Browser, wait_for};

use crate::look::{DESKTOP, Look, check_keyboard, check_looks, check_no_faults};
use crate::world::{HOSTILE, LONG, ORDERS, PATIENCE, World, press_button, wait_state, wait_text};

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_started_watched_and_steered_from_its_page() {
    let (world, browser) = tokio::join!(World::start(), Browser::start(DESKTOP, 800));
    browser.open(&world.host.url()).await;
    wait_text(&browser, "not started").await;
    browser.evaluate("document.querySelector('a[href=\"#/tasks/shop\"]').click(); 0").await;
    wait_state(&browser, "not started").await;

    press_button(&browser, "Start").await;
    wait_state(&browser, "replicating").await;
    check_load_is_shown(&world, &browser).await;
    check_changes_are_shown(&world, &browser).await;
    check_row_errors(&browser).await;
    check_names_are_text(&browser).await;
    check_bounds(&world, &browser).await;
    check_stop_and_resume(&world, &browser).await;
    check_reload_of_a_table(&world, &browser).await;
    check_charts(&browser).await;
    check_keyboard(&browser).await;
    browser.evaluate("document.querySelectorAll('details').forEach((node) => (node.open = false)); 0").await;
    check_looks(&browser, "task", Look::Closely).await;
    check_no_faults(&browser);
    check_failure(&world, &browser).await;
}

/// The page says of each table what the databases say.
async fn check_load_is_shown(world: &World, browser: &Browser) {
    wait_text(browser, "4 tables").await;
    wait_text(browser, "30,000 rows").await;
    assert_eq!(world.counts("orders").await, (ORDERS, ORDERS));
    assert_eq!(world.counts("picky").await, (20, 19), "the target refuses one row");
    let loaded = browser.evaluate("[...document.querySelectorAll('.tables tbody .badge')].map((node) => node.lastChild.textContent)").await;
    assert_eq!(loaded, json!(["loaded", "loaded", "loaded", "loaded"]));
    let module = "document.querySelector('[data-label=\"Rows\"]')?.innerText ?? ''";
    browser.wait_until("the rules module's rows", PATIENCE, &format!("{module}.replace(/\\D/g, '') >= {ORDERS}"), module).await;
}

async fn check_changes_are_shown(world: &World, browser: &Browser) {
    world
        .server
        .sql_in("shop", "insert into orders select i, 'y' from generate_series(40001, 40100) i; update orders set text = 'z' where id <= 7; delete from orders where id = 8")
        .await;
    for words in ["100 inserted", "7 updated", "1 deleted"] {
        wait_text(browser, words).await;
    }
    wait_for("both sides to be equal", PATIENCE, async || {
        let counts = world.counts("orders").await;
        if counts.0 == counts.1 { Ok(()) } else { Err(counts) }
    })
    .await;
    wait_text(browser, "What it does with its time").await;
}

/// The row that the target refused, from its error table.
async fn check_row_errors(browser: &Browser) {
    wait_text(browser, "1 row was rejected in this run").await;
    press_button(browser, "List row errors").await;
    wait_text(browser, "{\"id\":13}").await;
    wait_text(browser, "1 row error listed.").await;
}

/// Names that are programs stay texts, and long ones stay whole.
async fn check_names_are_text(browser: &Browser) {
    let names = browser.evaluate("[...document.querySelectorAll('.tables tbody .pick span')].map((node) => node.textContent)").await;
    let names: Vec<&str> = names.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert!(
        names.contains(&format!("public.{HOSTILE}").as_str()) && names.contains(&format!("public.{}", &LONG[..63]).as_str()),
        "{names:?}"
    );
    let made = browser.evaluate("document.querySelectorAll('main script, main img, main b').length").await;
    assert_eq!(made, 0, "a name became markup");
}

/// Bounds of a running task: refused with a reason, and taken over by its plan.
async fn check_bounds(world: &World, browser: &Browser) {
    let fill = async |label: &str, value: &str| {
        browser
            .evaluate(&format!(
                "(() => {{ const label = [...document.querySelectorAll('label')].find((node) => node.textContent === {}); label.control.focus(); label.control.select(); }})()",
                json!(label)
            ))
            .await;
        browser.write(value).await;
    };
    fill("Fewest units", "7").await;
    press_button(browser, "Save bounds").await;
    wait_text(browser, "out_of_range").await;
    // Browsers log every refusal of a server by themselves.
    let logged = browser.take_faults();
    assert!(logged.len() == 1 && logged[0].contains("400"), "{logged:?}");
    assert_eq!(world.host.get("/v1/tasks/shop").await.ok()["min_units"], 0);

    fill("Fewest units", "1").await;
    fill("Most units", "6").await;
    fill("Longest lag, seconds", "45").await;
    press_button(browser, "Save bounds").await;
    wait_text(browser, "The bounds are saved.").await;
    let task = world.host.get("/v1/tasks/shop").await.ok();
    assert_eq!((&task["min_units"], &task["max_units"], &task["max_lag_seconds"]), (&json!(1), &json!(6), &json!(45)));
    wait_text(browser, "1 to 6 allowed").await;
    wait_text(browser, "objective 45 s").await;
    wait_for("the plan to obey", PATIENCE, async || {
        let lag = world.host.get("/v1/tasks/shop/lag").await.ok();
        if lag["capacity"]["units_max"] == 6 { Ok(()) } else { Err(lag) }
    })
    .await;
}

async fn check_stop_and_resume(world: &World, browser: &Browser) {
    press_button(browser, "Stop").await;
    wait_state(browser, "stopped").await;
    world.server.sql_in("shop", "insert into orders select i, 'w' from generate_series(50001, 50050) i").await;
    let focused = browser.evaluate("document.activeElement.textContent").await;
    assert_eq!(focused, "Resume", "the focus is where the button was");
    browser.press("Enter").await;
    wait_state(browser, "replicating").await;
    wait_for("both sides to be equal", PATIENCE, async || {
        let counts = world.counts("orders").await;
        if counts == (ORDERS + 149, ORDERS + 149) { Ok(()) } else { Err(counts) }
    })
    .await;
    let said = "document.getElementById('announcer').textContent";
    browser.wait_until("the new state to be said", PATIENCE, &format!("{said}.includes('replicating')"), said).await;
}

async fn check_reload_of_a_table(world: &World, browser: &Browser) {
    world.server.sql_in("copy", "delete from orders where id < 100").await;
    let boxes = "[...document.querySelectorAll('.tables tbody .pick')].find((node) => node.textContent === 'public.orders').control";
    browser.evaluate(&format!("{boxes}.focus(); 0")).await;
    browser.press(" ").await;
    press_button(browser, "Load 1 table again").await;
    browser.wait_until("the question", PATIENCE, "document.querySelector('dialog[open]')", "document.body.innerText").await;
    assert_eq!(browser.evaluate("document.activeElement.textContent").await, "Cancel", "the harmless answer has the focus");
    press_button(browser, "Load again").await;
    wait_text(browser, "1 table will be loaded again.").await;
    wait_for("the table to be whole again", PATIENCE, async || {
        let counts = world.counts("orders").await;
        if counts.0 == counts.1 { Ok(()) } else { Err(counts) }
    })
    .await;
    wait_state(browser, "replicating").await;
}

/// Three charts with lines, names for those who do not see them, figures as a table, and the reasons of changes.
async fn check_charts(browser: &Browser) {
    let lines = "document.querySelectorAll('.chart .line').length";
    browser.wait_until("lines in the charts", PATIENCE, &format!("{lines} >= 4"), lines).await;
    let names = browser.evaluate("[...document.querySelectorAll('.chart')].map((node) => node.getAttribute('aria-label'))").await;
    for (index, start) in ["Lag, last 5 minutes. lag: now ", "Throughput, last", "Units, last"].iter().enumerate() {
        assert!(names[index].as_str().unwrap().starts_with(start), "{names}");
    }
    assert!(names[0].as_str().unwrap().contains("objective 45 s"), "{names}");
    browser.evaluate("document.querySelectorAll('.figures').forEach((node) => (node.open = true)); 0").await;
    let rows = "document.querySelectorAll('.figures tbody tr').length";
    browser.wait_until("figures as a table", PATIENCE, &format!("{rows} > 3"), rows).await;
    let change = browser.evaluate("document.querySelector('.changes li .what').innerText").await;
    let mark = browser.evaluate("document.querySelector('.chart .event title').textContent").await;
    assert!(change.as_str().unwrap().contains(" wanted, ") && mark.as_str().unwrap().contains(" wanted, "), "{change}; {mark}");
}

/// A task that could not go on says why, and what helps.
async fn check_failure(world: &World, browser: &Browser) {
    world.host.post("/v1/tasks/lost/start", &json!({})).await.ok();
    browser.evaluate("(location.hash = '#/tasks/lost', 0)").await;
    wait_state(browser, "failed").await;
    let task = world.host.get("/v1/tasks/lost").await.ok();
    let code = task["failure"]["code"].as_str().unwrap();
    wait_text(browser, code).await;
    assert!(
        task["failure"].get("hint").is_none_or(|hint| hint.is_null())
            || browser.evaluate("document.querySelector('.page-head .help').innerText").await.as_str().unwrap().starts_with("What helps: ")
    );
    check_looks(browser, "failed-task", Look::Briefly).await;
    browser.evaluate("(location.hash = '#/', 0)").await;
    wait_text(browser, "1 failed, 0 behind").await;
    let first = browser.evaluate("document.querySelector('.fleet tbody tr').innerText").await;
    assert!(first.as_str().unwrap().starts_with("lost"), "what failed stands first: {first}");
    check_looks(browser, "fleet", Look::Closely).await;
    check_no_faults(browser);
}
