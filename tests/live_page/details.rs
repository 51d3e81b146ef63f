//! The details of an event, and what can be copied: clients that run as they are.

use std::process::Stdio;

use serde_json::{Value, json};
use space_events::config::Settings;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use super::browser::Browser;
use crate::clients::installed;
use crate::support::{Database, LIMIT, Server, TestApp};

const ZOOM: &str = "insert into services (name) values ('Zoom');
    insert into pricings (service_name, version) values ('Zoom', '1')";

#[tokio::test(flavor = "multi_thread")]
async fn a_click_opens_what_is_known_of_an_event() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    database.sql(ZOOM).await;
    let mut browser = Browser::open(&app).await;
    browser.is("live").await;
    // The writer's transaction stays open for a second and a half.
    database
        .sql(
            "begin; update pricings set availability = 'archived';
            select pg_sleep(1.5); commit",
        )
        .await;
    browser.row("PRICING_ARCHIVED Zoom 1").await;

    // By the keyboard, and back to where one was.
    let open = "page.getByRole('button', { name: 'Details of PRICING_ARCHIVED Zoom 1' })";
    browser.run(&format!("await {open}.press('Enter')")).await;
    let row = "page.locator('#details-row-rows tr').filter({ hasText: 'availability' })";
    browser.run(&format!("await {row}.waitFor()")).await;
    assert_eq!(
        browser
            .run(&format!("return {row}.locator('td').allInnerTexts()"))
            .await,
        json!(["active", "archived"])
    );
    let fact = |name: &str| {
        format!(
            "return page.locator('#details-facts > div').filter({{ has: page.getByText('{name}', {{ exact: true }}) }}).locator('dd').innerText()"
        )
    };
    let (_, events) = app.get("/api/v1/events?order=desc&limit=1").await;
    let event = &events["events"][0];
    assert_eq!(browser.run(&fact("Id")).await, event["id"]);
    // A place may be written in several ways: what came before it counts.
    let position = browser.run(&fact("Position")).await;
    let position = position.as_str().expect("a text").to_owned();
    let path = format!("/api/v1/events?order=desc&since={position}&limit=1");
    let (_, before) = app.get(&path).await;
    assert_eq!(before["events"][0]["id"], event["id"]);
    let (_, after) = app.get(&format!("/api/v1/events?since={position}")).await;
    assert_eq!(after["events"], json!([]));
    let committed_at = browser.run(&fact("Committed at")).await;
    let committed_at = committed_at.as_str().expect("a text");
    let seconds = &event["committedAt"].as_str().expect("a time")[17..23];
    assert!(committed_at.contains(seconds), "{committed_at}: {seconds}");

    // What the writer took is told apart from what came after it.
    let taken = browser.run(&fact("Time taken")).await;
    let taken = taken.as_str().expect("a text");
    let (writer, rest) = taken
        .split_once(" until the writer's transaction committed; ")
        .unwrap_or_else(|| panic!("{taken}"));
    let writer: u64 = writer
        .replace([',', ' ', 'm', 's'], "")
        .parse()
        .expect("ms");
    assert!(writer >= 1500, "{taken}");
    let delay = browser
        .run("return page.locator('#rows tr.event .delay').first().innerText()")
        .await;
    assert!(
        rest.starts_with(delay.as_str().expect("a text")),
        "{taken}: {delay}"
    );

    browser.allow_clipboard().await;
    browser.click("Copy as JSON").await;
    browser.sees("Copied.").await;
    let copied = browser.clipboard().await;
    let copied: Value = serde_json::from_str(&copied).expect("JSON");
    let mut expected = event.clone();
    expected["position"] = json!(position);
    assert_eq!(copied, expected);
    browser.run("await page.keyboard.press('Escape')").await;
    assert_eq!(
        browser
            .run(&format!(
                "return {open}.evaluate((button) => button === document.activeElement)"
            ))
            .await,
        json!(true)
    );

    // A click on a row does the same, and leads on to its service.
    browser
        .run("await page.locator('#rows tr.event .version').first().click()")
        .await;
    browser
        .run("await page.locator('#details-follow').click()")
        .await;
    assert_eq!(
        browser.run("return new URL(page.url()).search").await,
        "?service=Zoom"
    );
    assert_eq!(browser.run("return seen.complaints").await, json!([]));
    browser.close().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_without_an_event_opens_with_its_reason() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    database
        .sql(&format!(
            "{ZOOM}; update services set disabled = true;
            insert into pricings (service_name, version) values ('Zoom', '2')"
        ))
        .await;
    let mut browser = Browser::open_at(&app, "/?tab=changes").await;
    browser
        .run("await page.getByRole('button', { name: 'Details of Zoom 2 added, active' }).click()")
        .await;
    browser
        .run("await page.locator('#details-why').getByText('The service is disabled, so nothing about its pricings is announced.').waitFor()")
        .await;
    assert_eq!(
        browser
            .run("return page.locator('#details-row-rows td').allInnerTexts()")
            .await,
        json!(["no row", "2", "no row", "active", "no row", "disabled"])
    );
    browser.close().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_times_of_commits_nothing_is_called_committed() {
    let server = Server::start(&["track_commit_timestamp = off"]).await;
    let app = TestApp::start_at(&server.url, Settings::default()).await;
    let mut browser = Browser::open(&app).await;
    browser.is("live").await;
    let session = server.connect().await;
    session.sql(ZOOM).await;
    browser.row("PRICING_CREATED Zoom 1").await;
    browser
        .run("await page.locator('#rows tr.event .delay').filter({ hasText: /\\d/ }).waitFor()")
        .await;
    browser
        .sees("Delay: from the change in Postgres until the event reached this page. It includes the rest of the transaction")
        .await;
    browser
        .run("await page.locator('#rows tr.event').click()")
        .await;
    browser.sees("Not kept by this Postgres.").await;
    browser
        .sees("until it was heard here, including the writer's transaction")
        .await;
    browser.close().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clients_that_can_be_copied_go_on_from_there() {
    let database = Database::create().await;
    let settings = Settings {
        api_keys: Some("it's \"secret\":EVALUATION".to_owned()),
        socket_auth: Some("key".to_owned()),
        ..Settings::default()
    };
    let app = TestApp::start_with(&database, settings).await;
    database.sql(ZOOM).await;
    let mut browser = Browser::open(&app).await;
    browser.alert("This server asks for an API key.").await;
    browser.enter_key("it's \"secret\"").await;
    browser.is("live").await;
    browser.allow_clipboard().await;
    browser
        .run("await page.locator('#rows tr.event').click()")
        .await;
    database
        .sql(
            "insert into pricings (service_name, version) values ('Zoom', '2');
            update pricings set availability = 'archived' where version = '2'",
        )
        .await;
    let expected = ["PRICING_CREATED", "PRICING_ARCHIVED"];
    let node = installed().join(format!("copied-{}.mjs", app.address.port()));
    let python = installed().join("venv/bin/python");
    for kind in ["JavaScript", "Python", "curl"] {
        browser
            .run(&format!(
                "await page.getByRole('dialog').getByRole('button', {{ name: '{kind}', exact: true }}).click()"
            ))
            .await;
        // The key is not for whoever looks over one's shoulder.
        let shown = browser
            .run("return page.getByRole('dialog').locator('pre').innerText()")
            .await;
        assert!(
            !shown.as_str().expect("a text").contains("secret"),
            "{shown}"
        );
        browser
            .run(&format!(
                "await page.getByRole('dialog').getByRole('button', {{ name: 'Copy as {kind}' }}).click();
                await page.getByRole('dialog').getByText('Copied.').waitFor()"
            ))
            .await;
        let text = browser.clipboard().await;
        let mut command = match kind {
            "JavaScript" => {
                std::fs::write(&node, &text).expect("a file");
                let mut command = Command::new("node");
                command.arg(&node);
                command
            }
            "Python" => {
                let mut command = Command::new(&python);
                command.args(["-c", &text]);
                command
            }
            _ => {
                let mut command = Command::new("sh");
                command.args(["-c", &text]);
                command
            }
        };
        assert_eq!(codes_of(&mut command, 2).await, expected, "{text}");
    }
    std::fs::remove_file(&node).expect("the file");

    // One that hears a part, as the page does, from where the page is now.
    browser.run("await page.keyboard.press('Escape')").await;
    browser.follow("zoom").await;
    browser
        .run("await page.getByRole('checkbox', { name: 'PRICING_CREATED' }).uncheck()")
        .await;
    browser.row("PRICING_ARCHIVED Zoom 2").await;
    browser
        .run(
            "await page.locator('#connect').getByRole('button', { name: 'Python', exact: true }).click();
            await page.locator('#connect').getByRole('button', { name: 'Copy as Python' }).click();
            await page.locator('#connect').getByText('Copied.').waitFor()",
        )
        .await;
    let text = browser.clipboard().await;
    database
        .sql(
            "insert into services (name) values ('Other');
            insert into pricings (service_name, version, availability) values ('Other', '1', 'active'), ('Zoom', '3', 'active');
            update pricings set availability = 'archived'",
        )
        .await;
    let mut command = Command::new(&python);
    command.args(["-c", &text]);
    let codes = codes_of(&mut command, 2).await;
    assert_eq!(codes, ["PRICING_ARCHIVED", "PRICING_ARCHIVED"], "{text}");
    browser.close().await;
    app.stop().await;
}

/// Runs a client until it has printed so many events; their codes. `curl` prints all
/// of them at once.
async fn codes_of(command: &mut Command, count: usize) -> Vec<String> {
    let mut process = command
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(process.stdout.take().expect("its output")).lines();
    let mut codes = Vec::new();
    while codes.len() < count {
        let line = timeout(LIMIT, lines.next_line()).await;
        let line = line.expect("a line in time").expect("a text");
        let line = line.expect("all that is to come");
        let Ok(said) = serde_json::from_str::<Value>(&line) else {
            assert_eq!(line, "connected");
            continue;
        };
        let events = match said["events"].as_array() {
            Some(events) => events.clone(),
            None => vec![said],
        };
        let code = |event: &Value| event["code"].as_str().expect("a code").to_owned();
        codes.extend(events.iter().map(code));
    }
    codes
}
