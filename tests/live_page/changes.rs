//! The tab that answers why there was no event.

use serde_json::json;

use super::browser::Browser;
use crate::support::{Database, TestApp};

#[tokio::test(flavor = "multi_thread")]
async fn each_recorded_change_is_shown_with_its_event_or_the_reason_why_it_has_none() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    database
        .sql(
            "insert into services (name) values ('Zoom'), ('Other');
            insert into pricings (service_name, version) values ('Zoom', '1'), ('Other', '1');
            update pricings set availability = 'archived' where service_name = 'Zoom';
            update services set disabled = true where name = 'Zoom';",
        )
        .await;
    let mut browser = Browser::open(&app).await;
    // By the keyboard, as tabs are used.
    browser
        .run("await page.getByRole('tab', { name: 'Events' }).press('ArrowRight')")
        .await;
    browser
        .changes(&[
            "Zoom | disabled | SERVICE_DISABLED",
            "Zoom | 1: active → archived | PRICING_ARCHIVED",
            "Other | 1 added, active | PRICING_CREATED",
            "Zoom | 1 added, active | PRICING_CREATED",
        ])
        .await;
    assert_eq!(
        browser.run("return new URL(page.url()).search").await,
        "?tab=changes"
    );

    // What is not announced comes by itself, too.
    database
        .sql("insert into pricings (service_name, version) values ('Zoom', '2')")
        .await;
    let silent = "Zoom | 2 added, active | No event The service is disabled, so nothing about its pricings is announced.";
    browser
        .changes(&[
            silent,
            "Zoom | disabled | SERVICE_DISABLED",
            "Zoom | 1: active → archived | PRICING_ARCHIVED",
            "Other | 1 added, active | PRICING_CREATED",
            "Zoom | 1 added, active | PRICING_CREATED",
        ])
        .await;
    browser
        .run("await page.getByLabel('Only those without an event').check()")
        .await;
    browser.changes(&[silent]).await;
    browser
        .run("await page.getByLabel('Only those without an event').uncheck()")
        .await;
    browser.follow("other").await;
    browser
        .changes(&["Other | 1 added, active | PRICING_CREATED"])
        .await;
    browser.follow("Nobody").await;
    browser
        .sees("No change is recorded of service “Nobody”.")
        .await;

    // What is not recorded by design is said there.
    for text in [
        "The same value once more:",
        "A renamed service:",
        "Whatever is rolled back,",
    ] {
        browser.sees(text).await;
    }
    // The address opens the tab.
    browser.run("await page.reload()").await;
    browser
        .sees("No change is recorded of service “Nobody”.")
        .await;
    assert_eq!(browser.run("return seen.complaints").await, json!([]));
    browser.close().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn older_changes_are_loaded_until_there_are_no_more() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    database
        .sql(
            "insert into services (name) values ('Zoom');
            insert into pricings (service_name, version) select 'Zoom', n from generate_series(1, 110) n",
        )
        .await;
    let mut browser = Browser::open_at(&app, "/?tab=changes").await;
    for count in [50, 100] {
        browser
            .run(&format!(
                "await page.locator('#change-rows tr:nth-child({count})').waitFor();
                await page.locator('#older-changes').click()"
            ))
            .await;
    }
    browser.sees("Nothing older is kept.").await;
    let all: Vec<String> = (1..=110)
        .rev()
        .map(|n| format!("Zoom | {n} added, active | PRICING_CREATED"))
        .collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    browser.changes(&all).await;
    browser.close().await;
    app.stop().await;
}
