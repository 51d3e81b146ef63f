//! A browser with the page, which `tests/clients/browser.mjs` drives.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::time::timeout;

use crate::clients::command;
use crate::support::{LIMIT, TestApp};

/// Events and notices, but for the line where the page began to hear.
const ROWS: &str = "#rows tr:not(.begin)";

/// A browser in a process of its own, with one page.
pub(super) struct Browser {
    process: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Browser {
    /// Opens the root of the program, which leads to the page.
    pub(super) async fn open(app: &TestApp) -> Self {
        Self::open_at(app, "/").await
    }

    pub(super) async fn open_at(app: &TestApp, path: &str) -> Self {
        let mut process = command("browser.mjs")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("node starts");
        let mut browser = Self {
            input: process.stdin.take().expect("its input"),
            lines: BufReader::new(process.stdout.take().expect("its output")).lines(),
            process,
        };
        assert_eq!(browser.line().await, json!({"ready": true}));
        let url = format!("http://{}{path}", app.address);
        browser
            .run(&format!("await page.goto({})", json!(url)))
            .await;
        browser
    }

    /// Runs JavaScript with `page`; what it returns. It waits as long as a test may.
    pub(super) async fn run(&mut self, code: &str) -> Value {
        let line = format!("{}\n", json!(code));
        let sent = self.input.write_all(line.as_bytes()).await;
        sent.expect("the browser is there");
        let mut answer = self.line().await;
        assert!(answer["failed"].is_null(), "{code}: {answer}");
        answer["returned"].take()
    }

    pub(super) async fn line(&mut self) -> Value {
        let line = timeout(2 * LIMIT, self.lines.next_line()).await;
        let line = line.expect("a line in time").expect("a line");
        serde_json::from_str(&line.expect("the browser is there")).expect("JSON")
    }

    /// Waits until the connection is said to be so.
    pub(super) async fn is(&mut self, state: &str) {
        self.run(&format!("await page.locator('#state.{state}').waitFor()"))
            .await;
    }

    /// Waits for a row of the table: code, service and version.
    pub(super) async fn row(&mut self, text: &str) {
        let code = format!(
            "const found = async () => (await page.locator('#rows tr').evaluateAll((rows) => rows.map((row) =>
                ['code', 'service', 'version'].map((part) => row.querySelector('.' + part)?.lastChild?.textContent ?? '').join(' ').trim()
            ))).includes({text});
            for (const end = Date.now() + 60000; !(await found());) {{
                if (Date.now() > end) throw new Error(await page.locator('#rows').innerText());
                await page.waitForTimeout(20);
            }}",
            text = json!(text)
        );
        self.run(&code).await;
    }

    /// Waits for a notice among the events.
    pub(super) async fn says(&mut self, text: &str) {
        let notice = "page.locator('#rows .notice').filter({ hasText: TEXT })";
        let code = format!("await {notice}.first().waitFor()");
        self.run(&code.replace("TEXT", &json!(text).to_string()))
            .await;
    }

    /// Waits until it asks for a key, and says why.
    pub(super) async fn alert(&mut self, text: &str) {
        let alert = "page.getByRole('alert').filter({ hasText: TEXT })";
        let code = format!("await {alert}.waitFor()");
        self.run(&code.replace("TEXT", &json!(text).to_string()))
            .await;
    }

    pub(super) async fn enter_key(&mut self, key: &str) {
        let code = format!(
            "await page.getByLabel('API key').fill({});
            await page.getByRole('button', {{ name: 'Use it' }}).click()",
            json!(key)
        );
        self.run(&code).await;
    }

    /// Shows one service alone; an empty name: all.
    pub(super) async fn follow(&mut self, service: &str) {
        self.run(&format!(
            "await page.getByLabel('Only events of this service').fill({});
            await page.getByLabel('Only events of this service').press('Enter')",
            json!(service)
        ))
        .await;
    }

    pub(super) async fn rows(&mut self) -> Value {
        self.run(&format!("return page.locator('{ROWS}').count()"))
            .await
    }

    /// Waits for so many rows.
    pub(super) async fn has_rows(&mut self, count: usize) {
        let code = format!(
            "for (const end = Date.now() + 60000; await page.locator('{ROWS}').count() !== {count};) {{
                if (Date.now() > end) throw new Error(await page.locator('#rows').innerText());
                await page.waitForTimeout(20);
            }}"
        );
        self.run(&code).await;
    }

    /// The rows as they stand, the newest first: code, service and version.
    pub(super) async fn shown(&mut self) -> Vec<String> {
        let rows = self
            .run(
                "return page.locator('#rows tr.event').evaluateAll((rows) => rows.map((row) =>
                    ['code', 'service', 'version'].map((part) => row.querySelector('.' + part).lastChild?.textContent ?? '').join(' ').trim()))",
            )
            .await;
        let rows = rows.as_array().expect("rows").iter();
        rows.map(|row| row.as_str().expect("a text").to_owned())
            .collect()
    }

    /// Clicks a button.
    pub(super) async fn click(&mut self, button: &str) {
        let button = json!(button);
        self.run(&format!(
            "await page.getByRole('button', {{ name: {button}, exact: true }}).click()"
        ))
        .await;
    }

    /// Waits until a text is to be seen.
    pub(super) async fn sees(&mut self, text: &str) {
        let text = json!(text);
        self.run(&format!(
            "await page.getByText({text}).filter({{ visible: true }}).first().waitFor()"
        ))
        .await;
    }

    /// Waits until these and no others are the changes that are shown, the newest first:
    /// service, what changed, and what came of it.
    pub(super) async fn changes(&mut self, expected: &[&str]) {
        let code = "const now = () => page.locator('#change-rows tr').evaluateAll((rows) => rows.map((row) => {
                const text = (part) => [...row.querySelector('.' + part).childNodes].map((node) => node.classList?.contains('code') ? node.lastChild.textContent : node.textContent).join('');
                return ['service', 'changed', 'outcome'].map(text).join(' | ');
            }));
            for (const end = Date.now() + 60000; JSON.stringify(await now()) !== JSON.stringify(EXPECTED);) {
                if (Date.now() > end) throw new Error(JSON.stringify(await now()));
                await page.waitForTimeout(20);
            }";
        self.run(&code.replace("EXPECTED", &json!(expected).to_string()))
            .await;
    }

    /// Waits until something is said in the item of a service.
    pub(super) async fn says_at(&mut self, service: &str, text: &str) {
        let (service, text) = (json!(service), json!(text));
        self.run(&format!(
            "await page.locator('.service-item').filter({{ has: page.getByRole('heading', {{ name: {service}, exact: true }}) }}).locator('.status').filter({{ hasText: {text} }}).waitFor()"
        ))
        .await;
    }

    /// Lets the test read what was copied.
    pub(super) async fn allow_clipboard(&mut self) {
        self.run("await context.grantPermissions(['clipboard-read', 'clipboard-write'])")
            .await;
    }

    /// What was copied last.
    pub(super) async fn clipboard(&mut self) -> String {
        let text = self
            .run("return page.evaluate(() => navigator.clipboard.readText())")
            .await;
        text.as_str().expect("a text").to_owned()
    }

    /// Waits until the strip says so of one part of the server's health.
    pub(super) async fn health(&mut self, name: &str, condition: &str, text: &str) {
        let text = json!(text);
        self.run(&format!(
            "await page.locator('#health-{name}[data-condition={condition}] dd').filter({{ hasText: {text} }}).waitFor()"
        ))
        .await;
    }

    /// How many events it says it heard.
    pub(super) async fn total(&mut self) -> Value {
        self.run("return page.locator('#total').innerText()").await
    }

    pub(super) async fn asked_only(&mut self, app: &TestApp) {
        let own = [
            json!(format!("http://{}", app.address)),
            json!(format!("ws://{}", app.address)),
        ];
        let addresses = self
            .run("return [...seen.addresses].filter((address) => address !== 'null')")
            .await;
        let addresses = addresses.as_array().expect("addresses");
        assert!(!addresses.is_empty());
        for address in addresses {
            assert!(own.contains(address), "{address}");
        }
    }

    /// Ends the browser, so that it takes its profile with it.
    pub(super) async fn close(mut self) {
        drop(self.input);
        let ended = timeout(LIMIT, self.process.wait()).await;
        assert!(ended.expect("it ends").expect("a process").success());
    }
}
