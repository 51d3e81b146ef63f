//! Clients that generators make out of the OpenAPI document call the program, and
//! get what there is. `make test` installs the generators.

use std::path::Path;

use serde_json::{Value, json};
use space_events::config::Settings;
use tokio::process::Command;

use super::judges::{Directory, run, said};
use crate::clients::{INSTALLED, command};
use crate::support::{Database, TestApp};

/// What a client says that adds a service of its name, archives its pricing, and
/// reads services and events.
fn expected(name: &str) -> Vec<Value> {
    let before = [
        json!(["PRICING_CREATED", "Zoom", "2024"]),
        json!(["SERVICE_DISABLED", "Zoom", null]),
    ];
    let own = [
        json!(["PRICING_CREATED", name, "1"]),
        json!(["PRICING_ARCHIVED", name, "1"]),
    ];
    let events = [before, own].concat();
    vec![
        json!({ "created": name }),
        json!({ "archived": ["1"] }),
        json!({ "services": [name] }),
        json!({ "events": events }),
        json!({ "since": events[1..] }),
        json!({ "created": [events[2], events[0]] }),
        json!({ "changes": events }),
    ]
}

/// The program, with two events in its past, and its document in a file.
async fn start(database: &Database, directory: &Directory) -> (TestApp, String) {
    let settings = Settings {
        api_keys: Some("writes:MANAGEMENT".to_owned()),
        ..Settings::default()
    };
    let app = TestApp::start_with(database, settings).await;
    let (_, document) = app.get("/api/v1/openapi.json").await;
    let file = directory.write(&document);
    database
        .sql("insert into services (name) values ('Zoom'); insert into pricings (service_name, version) values ('Zoom', '2024'); update services set disabled = true")
        .await;
    (app, file.to_str().expect("a path").to_owned())
}

/// Runs a client; what it says, line by line.
async fn lines(directory: &Directory, mut client: Command) -> Vec<Value> {
    client
        .current_dir(directory.path())
        .stdin(std::process::Stdio::piped());
    let mut child = client
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    // The scripts end with the test.
    let _input = child.stdin.take();
    let output = child.wait_with_output().await.expect("an end");
    let lines = String::from_utf8(output.stdout).expect("a text");
    assert!(output.status.success(), "{lines}");
    let lines = lines.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_client_that_is_made_out_of_the_document_gets_what_there_is() {
    let database = Database::create().await;
    let directory = Directory::new();
    let (app, document) = start(&database, &directory).await;
    let making = [
        "generate",
        "--path",
        &document,
        "--output-path",
        "made",
        "--meta=none",
    ];
    let made = run(&directory, "openapi-python-client", &making).await;
    let warnings = said(&made);
    assert!(made.status.success(), "{warnings}");
    // It knows no YAML, and makes the operation without; nothing else is missing.
    let missing = warnings.lines().filter(|line| line.starts_with("WARNING"));
    for line in missing {
        let after = warnings.split(line).nth(1).expect("its reason");
        let reason = after.trim_start().lines().next();
        assert_eq!(
            reason,
            Some("Unsupported content type application/yaml"),
            "{warnings}"
        );
    }
    let mut client = command("generated_client.py");
    client.args([
        directory.path().to_str().expect("a path"),
        &format!("http://{}", app.address),
        "writes",
    ]);
    assert_eq!(lines(&directory, client).await, expected("Python"));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_typescript_client_that_is_made_out_of_the_document_gets_what_there_is() {
    let database = Database::create().await;
    let directory = Directory::new();
    let (app, document) = start(&database, &directory).await;
    let node = async |arguments: &[&str]| {
        let output = Command::new("node")
            .args(arguments)
            .current_dir(directory.path())
            .kill_on_drop(true)
            .output();
        let output = output.await.expect("node runs");
        assert!(output.status.success(), "{}", said(&output));
    };
    let packages = INSTALLED.join("node_modules");
    std::os::unix::fs::symlink(&packages, directory.path().join("node_modules")).expect("a link");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/generated_client.mts");
    std::fs::copy(source, directory.path().join("generated_client.mts")).expect("a copy");
    let maker = "node_modules/openapi-typescript/bin/cli.js";
    node(&[maker, &document, "--output", "made.d.ts"]).await;
    let compiler = "node_modules/typescript/bin/tsc";
    let strict = [
        compiler,
        "--strict",
        "--skipLibCheck",
        "--target",
        "es2022",
        "--module",
        "nodenext",
        "generated_client.mts",
    ];
    node(&strict).await;
    let mut client = Command::new("node");
    client.args([
        "generated_client.mjs",
        &format!("http://{}", app.address),
        "writes",
    ]);
    assert_eq!(lines(&directory, client).await, expected("TypeScript"));
    app.stop().await;
}
