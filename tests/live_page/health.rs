//! The page tells how the server is, and is never green while it cannot do its work.

use serde_json::json;
use space_events::config::Settings;

use super::browser::Browser;
use crate::support::{End, Server, TestApp};

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_green_only_while_the_server_is_ready() {
    let mut server = Server::start(&[]).await;
    let app = TestApp::start_at(&server.url, Settings::default()).await;
    let mut browser = Browser::open(&app).await;
    browser.is("live").await;
    for name in ["database", "listen", "triggers", "lag"] {
        browser.health(name, "ok", "ok").await;
    }
    browser.health("clients", "none", "1").await;
    let other = app.join().await;
    browser.health("clients", "none", "2").await;
    drop(other);

    server.stop(End::Fast).await;
    browser.health("database", "bad", "").await;
    browser
        .health("triggers", "unknown", "ok when last seen")
        .await;
    browser.is("unready").await;
    browser.sees("The database is away.").await;
    // Whoever acts now is told, where they act, in words.
    browser.click("Add it").await;
    browser
        .run("await page.locator('#upload-said.fault').filter({ hasText: 'The database is away. Try again in a moment.' }).waitFor()")
        .await;
    assert_eq!(
        browser
            .run("return page.locator('#state.live').count()")
            .await,
        json!(0)
    );
    server.start_again().await;
    browser.health("database", "ok", "ok").await;

    browser.is("live").await;

    // A trigger that rests is told; the page is connected all the same.
    let session = server.connect().await;
    session
        .sql("alter table pricings disable trigger user")
        .await;
    browser.is("unready").await;
    browser.sees("The triggers are not as they should be").await;
    drop(session);

    // Without the server nothing is known.
    app.stop().await;
    browser.is("lost").await;
    browser.health("database", "unknown", "not known").await;
    browser.health("clients", "unknown", "not known").await;
    browser.close().await;
}
