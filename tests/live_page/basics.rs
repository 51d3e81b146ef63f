//! What the page shows of events and services, how it comes back, and its rules.

use reqwest::Method;
use serde_json::json;
use space_events::config::Settings;

use super::browser::Browser;
use crate::support::{Database, TestApp, pricing};

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_events_and_changes_services() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    app.upload("/services", &pricing("Zoom", "2024")).await;
    let mut browser = Browser::open(&app).await;
    browser.is("live").await;

    // What is written in SQL appears, with the time that it took.
    database.add_service("WireMock").await;
    database.add_pricing("WireMock", 1).await;
    browser.row("PRICING_CREATED WireMock 1").await;
    let delay = browser
        .run("const cell = page.locator('#rows .delay').filter({ hasText: /\\d/ }).first(); return cell.innerText()")
        .await;
    let delay = delay.as_str().expect("a text");
    assert!(delay.ends_with("ms") || delay.ends_with('s'), "{delay}");

    // A service that was listed changes by its button, and the event comes.
    browser
        .run("await page.getByRole('button', { name: 'Archive Zoom 2024' }).click()")
        .await;
    browser.row("PRICING_ARCHIVED Zoom 2024").await;
    browser
        .run("await page.getByRole('button', { name: 'Activate Zoom 2024' }).press('Enter')")
        .await;
    browser.row("PRICING_ACTIVED Zoom 2024").await;
    // One that came by an event too.
    browser
        .run("await page.getByRole('button', { name: 'Disable WireMock' }).click()")
        .await;
    browser.row("SERVICE_DISABLED WireMock").await;
    browser
        .run("await page.getByRole('button', { name: 'Enable WireMock' }).waitFor()")
        .await;

    // The example is there: as another version of what exists, twice.
    for version in ["1.0", "1.1"] {
        browser
            .run("await page.getByRole('button', { name: 'Add it' }).click()")
            .await;
        browser
            .row(&format!("PRICING_CREATED Zoom {version}"))
            .await;
    }

    // Names are text.
    let name = "<img src=x onerror=\"document.title=1\">&lt;b>";
    database
        .sql(&format!(
            "insert into services (name) values ('{name}');
            insert into pricings (service_name, version) values ('{name}', '<script>document.title=2</script>')"
        ))
        .await;
    browser
        .row(&format!(
            "PRICING_CREATED {name} <script>document.title=2</script>"
        ))
        .await;
    browser
        .run(&format!(
            "await page.getByRole('heading', {{ name: {}, exact: true }}).waitFor()",
            json!(name)
        ))
        .await;
    assert_eq!(
        browser
            .run("return page.locator('main img, main script, main b').count()")
            .await,
        0
    );
    assert_eq!(
        browser.run("return page.title()").await,
        "space-events, live"
    );

    // Filters hide, and counts stay.
    assert_eq!(browser.rows().await, 8);
    browser.follow("zoom").await;
    browser.has_rows(5).await;
    browser
        .run("await page.getByRole('checkbox', { name: 'PRICING_CREATED' }).uncheck()")
        .await;
    browser.has_rows(2).await;
    browser.follow("").await;
    browser.has_rows(3).await;
    assert_eq!(browser.total().await, "7");
    browser
        .run("await page.getByRole('checkbox', { name: 'PRICING_CREATED' }).check()")
        .await;

    // While it is paused nothing moves; then all is there.
    browser
        .run("await page.getByRole('button', { name: 'Pause' }).click()")
        .await;
    database
        .sql("update pricings set availability = 'archived' where version = '1.0'")
        .await;
    browser
        .run("await page.getByRole('button', { name: 'Go on (1 new)' }).waitFor()")
        .await;
    browser.has_rows(8).await;
    browser
        .run("await page.getByRole('button', { name: 'Go on' }).click()")
        .await;
    browser.row("PRICING_ARCHIVED Zoom 1.0").await;
    browser
        .run("await page.getByRole('button', { name: 'Clear' }).click()")
        .await;
    browser.has_rows(0).await;
    assert_eq!(browser.total().await, "0");

    // It asked nobody else, and broke none of its rules.
    assert_eq!(browser.run("return seen.complaints").await, json!([]));
    browser.asked_only(&app).await;
    browser.close().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_comes_back_with_its_position_and_bears_a_burst() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let mut browser = Browser::open(&app).await;
    browser.is("live").await;
    database.add_service("Zoom").await;
    database.add_pricing("Zoom", 1).await;
    browser.row("PRICING_CREATED Zoom 1").await;

    let restarted = Settings {
        port: Some(app.address.port().to_string()),
        ..Settings::default()
    };
    app.stop().await;
    browser.is("lost").await;
    database
        .sql(
            "insert into pricings (service_name, version) values ('Zoom', '2'), ('Zoom', '3');
            update pricings set availability = 'archived' where version = '1'",
        )
        .await;
    let app = TestApp::start_with(&database, restarted.clone()).await;
    browser.is("live").await;
    browser.says(": caught up 3 events.").await;
    browser.row("PRICING_ARCHIVED Zoom 1").await;
    assert_eq!(browser.total().await, "4");

    // In the middle of a burst it answers; the rows are few and the count is true.
    database
        .sql(
            "insert into pricings (service_name, version)
            select 'Zoom', 'burst ' || n from generate_series(1, 10000) n order by n",
        )
        .await;
    browser
        .run("await page.getByRole('button', { name: 'Pause' }).click()")
        .await;
    browser
        .run("await page.getByRole('button', { name: 'Go on' }).click()")
        .await;
    browser.row("PRICING_CREATED Zoom burst 10000").await;
    assert_eq!(browser.total().await, "10,004");
    assert_eq!(browser.rows().await, 200);
    browser
        .run("await page.getByText('and 9,991 older versions').waitFor()")
        .await;

    // A screen reader is told of all of them at once, or of a few times many.
    browser
        .run("await page.getByRole('status').filter({ hasText: 'the last: PRICING_CREATED Zoom burst 10000' }).waitFor({ state: 'attached' })")
        .await;

    // Another database has another journal: it says so, and hears what comes now.
    let other = Database::create().await;
    app.stop().await;
    let app = TestApp::start_with(&other, restarted).await;
    browser.says("A gap: events may have been missed").await;
    browser.is("live").await;
    other
        .sql(
            "insert into services (name) values ('WireMock');
            insert into pricings (service_name, version) values ('WireMock', '1')",
        )
        .await;
    browser.row("PRICING_CREATED WireMock 1").await;
    browser.asked_only(&app).await;
    browser.close().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_asks_for_a_key_where_keys_are_set() {
    let database = Database::create().await;
    let settings = Settings {
        api_keys: Some("reads:EVALUATION,writes:MANAGEMENT".to_owned()),
        socket_auth: Some("key".to_owned()),
        ..Settings::default()
    };
    let app = TestApp::start_with(&database, settings).await;
    database.add_service("Zoom").await;
    database.add_pricing("Zoom", 1).await;
    let mut browser = Browser::open(&app).await;
    browser.is("refused").await;
    browser.alert("This server asks for an API key.").await;
    browser.enter_key("x").await;
    browser.alert("The server does not know this key.").await;
    browser.enter_key("reads").await;
    browser.is("live").await;
    database
        .sql("insert into pricings (service_name, version) values ('Zoom', '2')")
        .await;
    browser.row("PRICING_CREATED Zoom 2").await;

    // A key that may not is told so, and another may take its place.
    browser
        .run("await page.getByRole('button', { name: 'Archive Zoom 1' }).click()")
        .await;
    browser.alert("Another key is needed").await;
    browser.enter_key("writes").await;
    browser
        .run("await page.getByRole('button', { name: 'Archive Zoom 1' }).click()")
        .await;
    browser.row("PRICING_ARCHIVED Zoom 1").await;
    assert_eq!(
        browser
            .run("return page.evaluate(() => [localStorage.length, document.cookie])")
            .await,
        json!([0, ""])
    );
    browser.asked_only(&app).await;
    browser.close().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_root_leads_to_a_page_that_runs_its_own_script_alone() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let page = app.request(Method::GET, "/").send().await.expect("a page");
    assert_eq!(page.url().path(), "/api/v1/events/client");
    assert_eq!(page.status(), 200);
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    let policy = page.headers()["content-security-policy"].to_str();
    let policy = policy.expect("a text").to_owned();
    let rest = policy
        .strip_prefix("default-src 'none'; script-src 'nonce-")
        .expect("a nonce");
    let (nonce, rest) = rest.split_once('\'').expect("an end");
    assert_eq!(
        rest,
        format!(
            "; style-src 'nonce-{nonce}'; connect-src 'self'; img-src data:; base-uri 'none'; \
             form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
             trusted-types 'none'"
        )
    );
    let page = page.text().await.expect("a page");
    assert_eq!(page.matches("<script").count(), 2);
    let with_nonce = format!("<script nonce=\"{nonce}\">");
    assert_eq!(page.matches(&with_nonce).count(), 2);
    let again = app.request(Method::GET, "/").send().await.expect("a page");
    assert_ne!(again.headers()["content-security-policy"], *policy);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bundled_client_is_the_published_one() {
    let bundled = include_str!("../../src/live_page/socket.io.min.js");
    let path = "node_modules/socket.io-client/dist/socket.io.min.js";
    let published = std::fs::read_to_string(crate::clients::installed().join(path));
    assert!(published.expect("the package") == bundled);
}
