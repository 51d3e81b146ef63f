//! Others' judgement: the specifications' own rules for the documents, and
//! schemathesis, which makes requests out of one. `make test` installs them.

use std::path::{Path, PathBuf};
use std::process::Output;

use axum::Router;
use axum::routing::get;
use chrono::Utc;
use jsonschema::Draft;
use serde_json::{Value, json};
use space_events::config::Settings;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::time::timeout;

use crate::clients::INSTALLED;
use crate::support::postgres::new_directory;
use crate::support::{Database, LIMIT, TestApp, pricing};

/// A directory that is removed.
pub(super) struct Directory(PathBuf);

impl Directory {
    pub(super) fn new() -> Self {
        let path = new_directory("judges");
        std::fs::create_dir(&path).expect("a directory");
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn write(&self, document: &Value) -> PathBuf {
        let path = self.0.join("document.json");
        std::fs::write(&path, document.to_string()).expect("a file");
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs one of the installed Python programs, in a directory.
pub(super) async fn run(directory: &Directory, program: &str, arguments: &[&str]) -> Output {
    let running = Command::new(INSTALLED.join("venv/bin").join(program))
        .args(arguments)
        .current_dir(&directory.0)
        .kill_on_drop(true)
        .output();
    let output = timeout(LIMIT * 5, running).await.expect("an end in time");
    output.expect("the program runs")
}

pub(super) fn said(output: &Output) -> String {
    let said = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    said.concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_openapi_document_keeps_to_its_specification() {
    let database = Database::create().await;
    let directory = Directory::new();
    for api_keys in [None, Some("a:ALL".to_owned())] {
        let settings = Settings {
            api_keys,
            ..Settings::default()
        };
        let app = TestApp::start_with(&database, settings).await;
        let (_, mut document) = app.get("/api/v1/openapi.json").await;
        let file = directory.write(&document);
        let file = file.to_str().expect("a path");
        let judgement = run(&directory, "openapi-spec-validator", &[file]).await;
        assert!(judgement.status.success(), "{}", said(&judgement));
        // It sees what is wrong.
        document["components"]["schemas"]["Service"] = Value::Null;
        directory.write(&document);
        let judgement = run(&directory, "openapi-spec-validator", &[file]).await;
        assert!(!judgement.status.success(), "{}", said(&judgement));
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_asyncapi_document_keeps_to_its_specification() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let (_, mut document) = app.get("/api/v1/asyncapi.json").await;
    let rules = INSTALLED.join("node_modules/@asyncapi/specs/schemas/3.0.0.json");
    let rules = std::fs::read(rules).expect("the rules");
    let rules: Value = serde_json::from_slice(&rules).expect("JSON");
    let rules = jsonschema::options()
        .with_draft(Draft::Draft7)
        .build(&rules)
        .expect("a schema");
    if let Err(error) = rules.validate(&document) {
        panic!("{error} at {}", error.instance_path());
    }
    every_reference_leads_somewhere(&document, &document);
    // They see what is wrong.
    document["operations"]["announce"]["action"] = json!("shout");
    assert!(!rules.is_valid(&document));
    app.stop().await;
}

fn every_reference_leads_somewhere(document: &Value, part: &Value) {
    match part {
        Value::Object(object) => {
            super::resolved(document, part);
            for part in object.values() {
                every_reference_leads_somewhere(document, part);
            }
        }
        Value::Array(parts) => {
            for part in parts {
                every_reference_leads_somewhere(document, part);
            }
        }
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_nothing() {
    let database = Database::create().await;
    let files = Files::serve().await;
    let settings = Settings {
        api_keys: Some("all:ALL".to_owned()),
        pricing_url_allow: Some("127.0.0.1".to_owned()),
        ..Settings::default()
    };
    let app = TestApp::start_with(&database, settings).await;
    let (_, mut document) = app.get("/api/v1/openapi.json").await;
    files.narrow(&mut document);
    let directory = Directory::new();
    let file = directory.write(&document);
    let url = format!("--url=http://{}", app.address);
    let examine = async |which| {
        let arguments = [
            "run",
            file.to_str().expect("a path"),
            &url,
            "--header=x-api-key: all",
            which,
            // What would leave nothing to delete.
            "--exclude-operation-id=pruneServices",
            "--checks=all",
            // A text may be no pricing, whatever its schema says.
            "--exclude-checks=positive_data_acceptance",
            // Each request for itself: a series may take away what it made, by a new name.
            "--phases=examples,coverage,fuzzing",
            "--max-examples=15",
            "--seed=1",
            "--generation-database=none",
            "--continue-on-failure",
            // How fast it is, and how fast we are, depends on the machine.
            "--suppress-health-check=all",
            "--request-timeout=60",
            "--no-color",
        ];
        run(&directory, "schemathesis", &arguments).await
    };
    // What deletes is examined apart, or there would be nothing left to change.
    for which in ["--exclude-method=DELETE", "--include-method=DELETE"] {
        database
            .sql(
                "delete from services; insert into services (name) values ('Zoom'), ('a/b');
                insert into pricings (service_name, version, availability) values
                    ('Zoom', '2024', 'active'), ('Zoom', '2025', 'archived'), ('a/b', '2024', 'archived')",
            )
            .await;
        let judgement = examine(which).await;
        assert!(judgement.status.success(), "{}", said(&judgement));
        assert!(said(&judgement).contains("passed"), "{}", said(&judgement));
    }
    // It sees what is wrong.
    document["components"]["schemas"]["Message"]["properties"]["message"]["type"] =
        json!("integer");
    directory.write(&document);
    let judgement = examine("--include-path=/api/v1/healthcheck").await;
    assert!(!judgement.status.success(), "{}", said(&judgement));
    app.stop().await;
}

/// Pricings to be fetched, on this machine.
struct Files {
    url: String,
}

impl Files {
    async fn serve() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let file = async || pricing("Zoom", "by URL");
        let router = Router::new().route("/zoom.yml", get(file));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            url: format!("http://{address}"),
        }
    }

    /// Says what to send besides anything at all: names and pricings that meet,
    /// and no URL that leads away from this machine.
    fn narrow(&self, document: &mut Value) {
        let url = &self.url;
        document["components"]["schemas"]["UploadUrl"]["properties"]["pricing"] = json!({
            "enum": [format!("{url}/zoom.yml"), format!("{url}/none"), "http://127.0.0.1:1/", "ftp://127.0.0.1/"]
        });
        let or_else =
            |values: Value, schema: &Value| json!({ "anyOf": [{ "enum": values }, schema] });
        let any = json!({ "type": "string" });
        let names = or_else(json!(["Zoom", "zoom", "a/b"]), &any);
        let versions = or_else(json!(["2024", "2025", "by URL"]), &any);
        let schemas = &mut document["components"]["schemas"];
        let name = &mut schemas["ServiceChange"]["properties"]["name"];
        *name = or_else(json!(["Zoom", "a/b"]), name);
        let file = &mut schemas["UploadForm"]["properties"]["pricing"];
        *file = or_else(json!([pricing("Form", "1"), pricing("Zoom", "2026")]), file);
        let yaml = |name, version| {
            let yaml = pricing(name, version);
            pricing2yaml::parse(yaml.as_bytes(), Utc::now())
                .expect("a pricing")
                .json
        };
        let pricings = json!([yaml("Zoom", "2027"), yaml("a/b", "2"), yaml("Wire", "1")]);
        let yaml = &mut schemas["Pricing2Yaml"];
        *yaml = or_else(pricings, yaml);
        let paths = document["paths"].as_object_mut().expect("paths");
        let operations = paths.values_mut().filter_map(Value::as_object_mut);
        for operation in operations.flat_map(|item| item.values_mut()) {
            let parameters = operation
                .get_mut("parameters")
                .and_then(Value::as_array_mut);
            for parameter in parameters.into_iter().flatten() {
                match parameter["name"].as_str() {
                    Some("serviceName") => parameter["schema"] = names.clone(),
                    Some("version") => parameter["schema"] = versions.clone(),
                    _ => {}
                }
            }
        }
    }
}
