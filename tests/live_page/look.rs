//! How the page looks, alone and beside that of the interface, and where it leads.

use serde_json::json;

use super::browser::Browser;
use crate::support::{Database, TestApp};

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_look_alike_and_lead_to_all_that_there_is() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let mut browser = Browser::open(&app).await;
    browser.is("live").await;
    let version = format!("space-events {}", env!("CARGO_PKG_VERSION"));
    let name = "return page.getByRole('heading', { level: 1 }).innerText()";
    let colours = "const colours = [];
        for (const colorScheme of ['light', 'dark']) {
            await page.emulateMedia({ colorScheme });
            colours.push(await page.evaluate(() => [document.body, document.querySelector('nav a')].map((element) => {
                const { color, backgroundColor, fontFamily } = getComputedStyle(element);
                return [color, backgroundColor, fontFamily];
            })));
        }
        return colours";
    let links = "const links = await page.locator('nav a').evaluateAll((links) => links.map(({ href }) => href));
        return page.evaluate((links) => Promise.all(links.map(async (link) => [new URL(link).pathname, (await fetch(link)).status])), links)";
    let leads_to = |pages: [&str; 5]| json!(pages.map(|page| json!([page, 200])));

    assert_eq!(browser.run(name).await, version);
    assert_eq!(
        browser.run(links).await,
        leads_to([
            "/api/v1/docs",
            "/api/v1/openapi.json",
            "/api/v1/asyncapi.json",
            "/metrics",
            "/readyz"
        ])
    );
    let live = browser.run(colours).await;
    assert_ne!(live[0], live[1]);
    browser
        .run(
            "await page.getByRole('link', { name: 'REST API' }).click();
            await page.locator('#services summary, summary').first().waitFor()",
        )
        .await;
    assert_eq!(browser.run(name).await, version);
    assert_eq!(browser.run(colours).await, live);
    assert_eq!(
        browser.run(links).await,
        leads_to([
            "/api/v1/events/client",
            "/api/v1/openapi.json",
            "/api/v1/asyncapi.json",
            "/metrics",
            "/readyz"
        ])
    );
    browser.asked_only(&app).await;
    browser.close().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_narrow_screen_nothing_is_cut_off() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let long = "x".repeat(200);
    database
        .sql(&format!(
            "insert into services (name) values ('{long}');
            insert into pricings (service_name, version) values ('{long}', '{long}');
            update pricings set availability = 'archived'"
        ))
        .await;
    let mut browser = Browser::open(&app).await;
    browser
        .run("await page.setViewportSize({ width: 320, height: 700 })")
        .await;
    let width = "return page.evaluate(() => document.documentElement.scrollWidth)";
    for path in ["/", "/?tab=changes", "/api/v1/docs"] {
        let url = format!("http://{}{path}", app.address);
        browser
            .run(&format!("await page.goto({})", json!(url)))
            .await;
        browser
            .run("await page.locator('#rows tr.event, #change-rows tr, summary').filter({ visible: true }).first().waitFor()")
            .await;
        assert_eq!(browser.run(width).await, 320, "{path}");
    }
    // Nor in the details.
    browser
        .run(
            "await page.goBack();
            await page.locator('#change-rows tr').first().click();
            await page.locator('#details-row-rows tr').first().waitFor()",
        )
        .await;
    let inner = "return page.evaluate(() => { const { scrollWidth, clientWidth } = document.getElementById('details'); return scrollWidth - clientWidth; })";
    assert_eq!(browser.run(inner).await, 0);
    browser.close().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_median_is_of_the_last_minute() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let mut browser = Browser::open(&app).await;
    browser
        .run("await page.clock.install(); await page.reload()")
        .await;
    browser.is("live").await;
    database.add_service("Zoom").await;
    database.add_pricing("Zoom", 1).await;
    browser
        .run(
            "await page.locator('#median').filter({ hasText: /\\d ms/ }).waitFor();
            await page.clock.fastForward(61_000);
            await page.locator('#median').filter({ hasText: /^–$/ }).waitFor()",
        )
        .await;
    browser.close().await;
    app.stop().await;
}
