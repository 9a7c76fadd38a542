//! Pages without a database behind them: no tasks, a thousand, a server that is gone, a key, and the figures' words.

use serde_json::{Value, json};
use tidegate_harness::{Browser, Tenant, Tidegate};

use crate::look::{DESKTOP, Look, check_keyboard, check_looks, check_no_faults};
use crate::world::{PATIENCE, endpoint, press_button, selection, task, wait_text};

#[tokio::test(flavor = "multi_thread")]
async fn pages_stand_without_tasks_with_a_thousand_and_without_a_server() {
    let (mut host, browser) = tokio::join!(Tidegate::serve_in_own_dir(), Browser::start(DESKTOP, 800));
    browser.open(&host.url()).await;
    wait_text(&browser, "No tasks yet").await;
    check_welcome_is_true(&host, &browser).await;
    check_looks(&browser, "welcome", Look::Briefly).await;
    check_keyboard(&browser).await;
    check_words(&browser).await;
    check_clock(&browser).await;
    check_colours(&browser).await;

    multiply_tasks(&host, &browser).await;
    check_long_list(&browser).await;
    check_no_faults(&browser);
    check_nobody(&host, &browser).await;
    check_silence(&mut host, &browser).await;
}

/// The commands that a new user is shown are ones that the server takes.
async fn check_welcome_is_true(host: &Tidegate, browser: &Browser) {
    let commands = browser.evaluate("[...document.querySelectorAll('.welcome pre')].map((node) => node.textContent)").await;
    let commands: Vec<&str> = commands.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    assert_eq!(commands.len(), 3);
    for (path, body) in bodies(&commands[..2].join("\n")) {
        host.post(&path, &body).await.ok();
    }
    assert!(commands[2].ends_with("/v1/tasks/shop-to-copy/check"));
    wait_text(browser, "shop-to-copy").await;
    host.delete("/v1/tasks/shop-to-copy?cleanup=best-effort").await;
    for name in ["shop", "copy"] {
        host.delete(&format!("/v1/endpoints/{name}")).await;
    }
    wait_text(browser, "No tasks yet").await;
}

/// Paths and bodies of `curl … -d '…'` commands.
fn bodies(commands: &str) -> Vec<(String, Value)> {
    let parts = commands.split("curl -sS ").skip(1);
    parts
        .map(|part| {
            let (url, rest) = part.split_once(' ').unwrap();
            let (_, body) = rest.split_once("-d '").unwrap();
            let path = url.splitn(4, '/').nth(3).unwrap();
            (format!("/{path}"), serde_json::from_str(body.trim().trim_end_matches('\'')).unwrap())
        })
        .collect()
}

/// Figures have their units.
async fn check_words(browser: &Browser) {
    let said = browser
        .evaluate(
            "import('/console/format.js').then((format) => [
               ...[0, 0.4, 12, 185, 7380, 360000, NaN].map(format.seconds),
               ...[0, 0.25, 9999, 12345, 4560000].map(format.rate),
               ...[0, 1023, 1536, 5 * 2 ** 30].map(format.bytes),
               ...[0, 0.034, 1, 2.5].map(format.percent),
               format.count(1234567), format.counted(1, 'table'), format.counted(2, 'table'), format.ago(1e6, 3.7e9), format.sentence('it is so'),
             ])",
        )
        .await;
    assert_eq!(
        said,
        json!([
            "0 s",
            "0.4 s",
            "12 s",
            "3 min 05 s",
            "2 h 03 min",
            "4 d 4 h",
            "–",
            "0 rows/s",
            "0.3 rows/s",
            "9,999 rows/s",
            "12.3 k rows/s",
            "4.6 M rows/s",
            "0 B",
            "1,023 B",
            "1.5 KiB",
            "5.0 GiB",
            "0 %",
            "3.4 %",
            "100 %",
            "250 %",
            "1,234,567",
            "1 table",
            "2 tables",
            "1 h ago",
            "It is so."
        ])
    );
}

/// Ages are told by the server's clock, whatever this machine's says.
async fn check_clock(browser: &Browser) {
    let skew = browser
        .evaluate(
            "import('/console/server-clock.js').then((clock) => {
               const learnt = (ms) => { clock.learnTime(new Date(Date.now() + ms).toUTCString()); return Math.round((clock.nowUs() / 1000 - Date.now()) / 60e3); };
               return [learnt(-3600e3), learnt(600e3), learnt(0)]; })",
        )
        .await;
    assert_eq!(skew, json!([-60, 10, 0]), "minutes");
}

/// The button wins over the system, and the choice stays.
async fn check_colours(browser: &Browser) {
    let ground = "getComputedStyle(document.body).backgroundColor";
    let light = browser.evaluate(ground).await;
    press_button(browser, "Colours: system").await;
    press_button(browser, "Colours: light").await;
    let dark = browser.evaluate(ground).await;
    assert_ne!(light, dark);
    browser.reload().await;
    browser.wait_until("the page to come back as it was", PATIENCE, &format!("{ground} === '{}'", dark.as_str().unwrap()), ground).await;
    press_button(browser, "Colours: dark").await;
    assert_eq!(browser.evaluate(ground).await, light);
}

/// One real task, which the page's `fetch` turns into a thousand: to make so many takes a catalog on a busy disk a minute.
async fn multiply_tasks(host: &Tidegate, browser: &Browser) {
    for (name, role) in [("shop", "source"), ("copy", "target")] {
        endpoint(host, name, role, 1).await;
    }
    task(host, "task", &[selection("public")]).await;
    let many = "const single = fetch; globalThis.fetch = async (path, options) => {
                  const answer = await single(path, options);
                  if (!path.startsWith('/v1/tasks?')) return answer;
                  const {tasks: [task]} = await answer.json();
                  const names = [...Array(999).keys()].map((index) => 'task-' + String(index).padStart(4, '0'));
                  return Response.json({tasks: [...names, 'z'.repeat(63)].map((name) => ({...task, name}))}); };";
    browser.call("Page.addScriptToEvaluateOnNewDocument", json!({"source": many})).await;
    browser.reload().await;
}

async fn check_long_list(browser: &Browser) {
    let rows = "document.querySelectorAll('.fleet tbody tr').length";
    wait_text(browser, "1,000 tasks").await;
    assert_eq!(browser.evaluate(rows).await, 50);
    press_button(browser, "Next page").await;
    wait_text(browser, "Page 2 of 20").await;
    let first = "document.querySelector('.fleet tbody tr a').textContent";
    assert_eq!(browser.evaluate(first).await, "task-0050");
    browser.evaluate("(document.querySelector('input[type=search]').focus(), 0)").await;
    browser.write("zzz").await;
    wait_text(browser, "1 of 1,000 tasks").await;
    assert_eq!(browser.evaluate(rows).await, 1);
    // The address keeps what was chosen.
    browser.reload().await;
    wait_text(browser, "1 of 1,000 tasks").await;
    assert_eq!(browser.evaluate("document.querySelector('input[type=search]').value").await, "zzz");
    check_looks(browser, "long-name", Look::Briefly).await;
    browser.evaluate("(document.querySelector('input[type=search]').select(), 0)").await;
    browser.write("task-00").await;
    wait_text(browser, "100 of 1,000 tasks").await;
    check_looks(browser, "many", Look::Briefly).await;
}

/// The page of a task that does not exist says so.
async fn check_nobody(host: &Tidegate, browser: &Browser) {
    browser.open(&format!("{}/#/tasks/nobody", host.url())).await;
    wait_text(browser, "task_not_found").await;
    browser.take_faults();
    browser.evaluate("(location.hash = '#/', 0)").await;
    wait_text(browser, "1,000 tasks").await;
}

/// A server that is gone is told, with the age of what is shown; when it comes back, the page goes on by itself.
async fn check_silence(host: &mut Tidegate, browser: &Browser) {
    let banner = "document.getElementById('banner')";
    host.kill().await;
    browser
        .wait_until(
            "the silence to be told",
            PATIENCE,
            &format!("{banner}.checkVisibility() && {banner}.innerText.includes('does not answer')"),
            banner,
        )
        .await;
    check_looks(browser, "silent", Look::Briefly).await;
    assert_eq!(browser.evaluate("document.querySelectorAll('.fleet tbody tr').length").await, 50, "what was known stays");
    host.restart().await;
    browser.wait_until("the page to go on", PATIENCE, &format!("!{banner}.checkVisibility()"), &format!("{banner}.innerText")).await;
    browser.take_faults();
}

/// The first key closes the door: the page asks for one, says when it is wrong, and shows what its tenant may see.
#[tokio::test(flavor = "multi_thread")]
async fn the_page_asks_for_a_key_and_shows_what_its_tenant_may_see() {
    let (host, browser) = tokio::join!(Tidegate::serve_in_own_dir(), Browser::start(DESKTOP, 800));
    endpoint(&host, "shop", "source", 1).await;
    endpoint(&host, "copy", "target", 1).await;
    task(&host, "ledger", &[selection("public")]).await;
    let (acme, default) = (Tenant::create(&host, "acme", &[]).await, Tenant::create(&host, "default", &[]).await);
    let question = async |words: &str| {
        let is_asked =
            format!("document.querySelector('dialog[open] input') && document.querySelector('dialog').innerText.includes('{words}')");
        browser.wait_until("the question for a key", PATIENCE, &is_asked, "document.body.innerText").await;
    };
    let answer = async |key: &str| {
        browser.write(key).await;
        browser.press("Enter").await;
    };
    browser.open(&host.url()).await;
    question("only to those who have a key").await;
    check_looks(&browser, "key", Look::Briefly).await;
    answer("tgk_of_nobody").await;
    question("did not accept the key").await;
    answer(acme.key()).await;
    wait_text(&browser, "No tasks yet").await;
    let stored = "[Object.values(localStorage).join(), sessionStorage.getItem('tidegate-key')]";
    assert_eq!(browser.evaluate(stored).await, json!(["", acme.key()]), "the key is kept for this tab alone");
    browser.evaluate("sessionStorage.clear()").await;
    browser.open(&host.url()).await;
    question("only to those who have a key").await;
    answer(default.key()).await;
    wait_text(&browser, "ledger").await;
    // The browser itself complains of each answer 401.
    browser.take_faults();
}
