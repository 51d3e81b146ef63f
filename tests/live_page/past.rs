//! The page opens on what was, and shows a part of it where that is asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;

use super::browser::Browser;
use crate::support::{Database, TestApp};

fn created(versions: impl Iterator<Item = usize>) -> Vec<String> {
    versions
        .map(|n| format!("PRICING_CREATED Zoom {n}"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_opens_on_the_last_events_and_loads_older_ones() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    database
        .sql(
            "insert into services (name) values ('Zoom');
            insert into pricings (service_name, version) select 'Zoom', n from generate_series(1, 120) n",
        )
        .await;
    let mut browser = Browser::open(&app).await;
    browser.has_rows(50).await;
    assert_eq!(browser.shown().await, created((71..=120).rev()));
    browser.is("live").await;
    let first = "return page.locator('#rows tr').first().innerText()";
    let first = browser.run(first).await;
    let first = first.as_str().expect("a text").to_owned();
    assert!(first.contains("Live from here"), "{first}");

    // What happens now is above the line, and counts as heard.
    database
        .sql("insert into pricings (service_name, version) values ('Zoom', 121)")
        .await;
    browser.has_rows(51).await;
    let line = "return page.locator('#rows tr').evaluateAll((rows) => rows.findIndex((row) => row.className === 'begin'))";
    assert_eq!(browser.run(line).await, 1);
    assert_eq!(browser.total().await, "1");

    browser.click("Load older").await;
    browser.has_rows(101).await;
    browser.click("Load older").await;
    browser.has_rows(121).await;
    assert_eq!(browser.shown().await, created((1..=121).rev()));
    browser.sees("Nothing older is kept.").await;

    // After a clearing the past is still there for who asks.
    browser.click("Clear").await;
    browser.has_rows(0).await;
    browser.click("Load older").await;
    browser.has_rows(50).await;
    assert_eq!(browser.shown().await, created((72..=121).rev()));
    browser.close().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn between_what_was_and_what_comes_nothing_is_missing_or_twice() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    database.add_service("Zoom").await;
    // Changes commit one by one while the page opens, and until it has heard some.
    let writer = database.connect().await;
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let writing = tokio::spawn(async move {
        let mut count = 0;
        while !stopped.load(Ordering::Relaxed) {
            count += 1;
            let sql =
                format!("insert into pricings (service_name, version) values ('Zoom', '{count}')");
            writer.sql(&sql).await;
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        count
    });
    let mut browser = Browser::open(&app).await;
    browser
        .run("await page.locator('#total:not(:text-is(\"0\"))').waitFor()")
        .await;
    stop.store(true, Ordering::Relaxed);
    let count = writing.await.expect("the writer ends");
    browser.row(&format!("PRICING_CREATED Zoom {count}")).await;
    // Both ways of hearing had their part.
    let heard = browser.total().await;
    let heard = heard.as_str().expect("a number").to_owned();
    assert!(heard != "0" && heard != count.to_string(), "{heard}");
    while browser.shown().await.len() < count {
        browser.click("Load older").await;
        browser
            .run("await page.locator('#older:not([aria-busy])').waitFor({ state: 'attached' })")
            .await;
    }
    assert_eq!(browser.shown().await, created((1..=count).rev()));
    browser.close().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_is_in_the_address_and_reaches_back_as_far_as_all() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    database
        .sql(
            "insert into services (name) values ('Wire'), ('Zoom');
            insert into pricings (service_name, version) values ('Wire', '1'), ('Wire', '2');
            update pricings set availability = 'archived' where service_name = 'Wire' and version = '1';
            insert into pricings (service_name, version) select 'Zoom', n from generate_series(1, 100) n",
        )
        .await;
    // Longer ago than the last fifty, and found by the address.
    let mut browser = Browser::open_at(&app, "/?service=wire").await;
    browser.has_rows(3).await;
    browser
        .run("await page.getByRole('checkbox', { name: 'PRICING_CREATED' }).uncheck()")
        .await;
    browser.has_rows(1).await;
    assert_eq!(browser.shown().await, ["PRICING_ARCHIVED Wire 1"]);
    let query = browser.run("return new URL(page.url()).search").await;
    assert_eq!(
        query,
        "?service=wire&code=PRICING_ACTIVED&code=PRICING_ARCHIVED&code=SERVICE_DISABLED"
    );
    browser.run("await page.reload()").await;
    browser.has_rows(1).await;
    browser.is("live").await;

    // What comes is held against it too.
    database
        .sql(
            "insert into pricings (service_name, version) values ('Zoom', 'x');
            update services set disabled = true where name = 'Wire'",
        )
        .await;
    browser.row("SERVICE_DISABLED Wire").await;
    browser.has_rows(2).await;

    browser.follow("Nobody").await;
    browser
        .sees("Nothing matches: service “Nobody”, code")
        .await;
    assert_eq!(
        browser
            .run("return page.locator('#empty').isVisible()")
            .await,
        json!(true)
    );
    browser.click("Show everything").await;
    browser.row("PRICING_CREATED Zoom 100").await;
    browser.row("SERVICE_DISABLED Wire").await;
    assert_eq!(browser.run("return new URL(page.url()).search").await, "");
    assert_eq!(browser.run("return seen.complaints").await, json!([]));
    browser.close().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_without_anything_says_so() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let mut browser = Browser::open(&app).await;
    browser.sees("Nothing yet.").await;
    assert_eq!(
        browser
            .run("return page.locator('#older').isVisible()")
            .await,
        json!(false)
    );
    browser.close().await;
    app.stop().await;
}
