//! The services beside the events: many of them, disabled ones, and what is said where
//! somebody acts.

use serde_json::json;

use super::browser::Browser;
use crate::support::{Database, TestApp, pricing};

#[tokio::test(flavor = "multi_thread")]
async fn disabled_services_are_listed_and_can_be_enabled() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    app.upload("/services", &pricing("Zoom", "1")).await;
    app.upload("/services", &pricing("Wire", "1")).await;
    database
        .sql("update services set disabled = true where name = 'Wire'")
        .await;
    let mut browser = Browser::open(&app).await;
    browser.is("live").await;
    let disabled = "return page.locator('#disabled-list h3').allInnerTexts()";
    browser
        .run(
            "await page.locator('#disabled-list').getByRole('heading', { name: 'Wire' }).waitFor()",
        )
        .await;
    browser.click("Enable Wire").await;
    browser.row("PRICING_ACTIVED Wire 1").await;
    browser.says_at("Wire", "Enabled.").await;
    browser
        .run("await page.locator('#service-list').getByRole('heading', { name: 'Wire' }).waitFor()")
        .await;
    assert_eq!(browser.run(disabled).await, json!([]));

    // And the other way, with its pricings as they are.
    browser.click("Disable Zoom").await;
    browser.row("SERVICE_DISABLED Zoom").await;
    browser.says_at("Zoom", "Disabled.").await;
    browser
        .run(
            "await page.locator('#disabled-list').getByRole('heading', { name: 'Zoom' }).waitFor()",
        )
        .await;
    // One that is disabled or deleted elsewhere goes where it belongs.
    database
        .sql(
            "update services set disabled = not disabled; delete from services where name = 'Zoom'",
        )
        .await;
    browser
        .run(
            "await page.locator('#disabled-list').getByRole('heading', { name: 'Wire' }).waitFor();
            await page.getByRole('heading', { name: 'Zoom' }).waitFor({ state: 'detached' })",
        )
        .await;
    browser.close().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_services_are_searched_opened_and_told_what_happened_where_one_acts() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let long = "A name ".repeat(30);
    let long = long.trim();
    database
        .sql(&format!(
            "insert into services (name) select 'Service ' || n from generate_series(1, 300) n;
            insert into services (name) values ('{long}');
            insert into pricings (service_name, version) select name, repeat('1.', 60) || '0' from services"
        ))
        .await;
    let mut browser = Browser::open(&app).await;
    browser
        .run("await page.locator('#services-count').filter({ hasText: '(301)' }).waitFor()")
        .await;

    // The list scrolls by itself, and each name takes one line, however long.
    let sizes = browser
        .run(&format!(
            "const height = async (locator) => (await locator.first().boundingBox()).height;
            const heading = (name) => page.getByRole('heading', {{ name, exact: true }});
            await page.locator('#rows tr.event').nth(1).waitFor();
            const rows = page.locator('#rows tr.event');
            return [
                await page.evaluate(() => document.documentElement.scrollHeight < 4 * innerHeight),
                await height(heading({long})) === await height(heading('Service 7')),
                await height(rows.filter({{ hasText: {long} }})) === await height(rows.filter({{ hasText: 'Service 290' }})),
                await page.getByRole('button', {{ name: /^Archive/ }}).count(),
            ]",
            long = json!(long)
        ))
        .await;
    assert_eq!(sizes, json!([true, true, true, 0]));

    // Searched for, opened by the keyboard, and acted on: what came of it is said in
    // sight, in its own item.
    browser
        .run(
            "await page.getByLabel('Search the services').fill('service 27');
            await page.locator('#services-count').filter({ hasText: '(11)' }).waitFor();
            await page.getByRole('button', { name: 'Service 277', exact: true }).press('Enter')",
        )
        .await;
    database
        .sql("insert into pricings (service_name, version) values ('Service 277', '2')")
        .await;
    browser.click("Archive Service 277 2").await;
    browser.row("PRICING_ARCHIVED Service 277 2").await;
    browser.says_at("Service 277", "Archived 2.").await;

    // The last of all, with a fault: a trigger of somebody else's refuses the change.
    database
        .sql(
            "create function refuse() returns trigger language plpgsql as 'begin raise ''no''; end';
            create trigger refuse before update on pricings for each row execute function refuse()",
        )
        .await;
    browser
        .run(
            "await page.getByLabel('Search the services').fill('');
            await page.getByRole('button', { name: 'Service 300', exact: true }).click();
            await page.getByRole('button', { name: /^Archive Service 300/ }).click()",
        )
        .await;
    browser
        .says_at("Service 300", "That did not work. The server has a fault.")
        .await;
    let fault = browser
        .run(
            "const said = page.locator('.service-item .fault');
            const box = await said.boundingBox();
            const red = await said.evaluate((element) => getComputedStyle(element).color === getComputedStyle(document.querySelector('.danger')).color);
            return [red, box.y >= 0 && box.y + box.height <= page.viewportSize().height]",
        )
        .await;
    assert_eq!(fault, json!([true, true]));
    browser.close().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_double_click_acts_once_and_what_fails_is_said_in_words() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let mut browser = Browser::open(&app).await;
    browser.is("live").await;
    browser
        .run("await page.getByRole('button', { name: 'Add it' }).dblclick()")
        .await;
    browser.row("PRICING_CREATED Zoom 1.0").await;
    browser
        .run("await page.locator('#upload-said:not(.fault)').filter({ hasText: 'Added Zoom 1.0.' }).waitFor()")
        .await;
    browser
        .run("await page.getByRole('button', { name: 'Archive Zoom 1.0' }).dblclick()")
        .await;
    browser.says_at("Zoom", "Archived 1.0.").await;
    // Nothing but these two: the next event is that of the next click.
    browser
        .run("await page.getByRole('button', { name: 'Add it' }).click()")
        .await;
    browser.row("PRICING_CREATED Zoom 1.1").await;
    assert_eq!(
        browser.shown().await,
        [
            "PRICING_CREATED Zoom 1.1",
            "PRICING_ARCHIVED Zoom 1.0",
            "PRICING_CREATED Zoom 1.0"
        ]
    );

    // What is refused is said in red and in a sentence.
    for (document, said) in [
        (
            pricing("Zoom", "1.0"),
            "Not added. Pricing “1.0” already exists.",
        ),
        ("saasName: [".to_owned(), "Not added. "),
    ] {
        browser
            .run(&format!(
                "await page.locator('#pricing').fill({});
                await page.getByRole('button', {{ name: 'Add it' }}).click();
                await page.locator('#upload-said.fault').filter({{ hasText: {} }}).waitFor()",
                json!(document),
                json!(said)
            ))
            .await;
    }
    browser.close().await;
    app.stop().await;
}
