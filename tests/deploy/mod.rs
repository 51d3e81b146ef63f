//! What stands in `deploy/` is right: checked by the tools that read it, and
//! against the program as it is.

mod proxies;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use clap::CommandFactory as _;
use reqwest::Method;
use serde_json::Value;
use space_events::config::{CommandLine, Settings};

use crate::clients;
use crate::support::postgres::new_directory;
use crate::support::repository::ROOT;
use crate::support::{Database, TestApp};

const UNIT: &str = include_str!("../../deploy/systemd/space-events.service");
const KUBERNETES: &str = include_str!("../../deploy/kubernetes/space-events.yaml");
const ALERTS: &str = include_str!("../../deploy/prometheus/alerts.yaml");
const DASHBOARD: &str = include_str!("../../deploy/grafana/space-events.json");

#[test]
fn systemd_takes_the_unit_and_finds_it_closed() {
    let Some(analyze) = tool("systemd-analyze") else {
        return;
    };
    let directory = new_directory("unit");
    std::fs::create_dir(&directory).expect("a directory");
    let file = directory.join("space-events.service");
    let (_, settings) = UNIT.split_once("\nExecStart=").expect("a command");
    assert!(settings.starts_with("/usr/bin/space-events\n"));
    let here = UNIT.replace("/usr/bin/space-events", env!("CARGO_BIN_EXE_space-events"));
    std::fs::write(&file, here).expect("a file");
    let verified = Command::new(&analyze).arg("verify").arg(&file).output();
    let said = good(verified);
    assert!(!said.contains("space-events"), "{said}");
    // 1.1, in tenths; the higher, the more is open.
    let rated = Command::new(&analyze)
        .args(["security", "--offline=yes", "--threshold=12", "--no-pager"])
        .arg(&file)
        .output();
    good(rated);
    std::fs::remove_dir_all(&directory).expect("it goes");
}

#[test]
fn kubernetes_takes_the_manifests() {
    let validate = clients::installed().join("venv/bin/kubernetes-validate");
    for version in ["1.31", "1.37"] {
        let checked = Command::new(&validate)
            .args(["--strict", "--kubernetes-version", version])
            .arg(Path::new(ROOT).join("deploy/kubernetes/space-events.yaml"))
            .output();
        good(checked);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manifests_say_what_the_program_does() {
    let parts: Vec<Value> = serde_saphyr::from_multiple(KUBERNETES).expect("YAML");
    let part = |kind: &str| {
        parts
            .iter()
            .find(|part| part["kind"] == kind)
            .expect("a part")
    };
    let pod = &part("Deployment")["spec"]["template"];
    let container = &pod["spec"]["containers"][0];

    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let path = container[probe]["httpGet"]["path"]
            .as_str()
            .expect("a path");
        assert_eq!(app.get(path).await.0, 200, "{path}");
        assert_eq!(container[probe]["httpGet"]["port"], "http");
    }
    app.stop().await;

    let known = settings();
    for variable in container["env"].as_array().expect("a list") {
        let name = variable["name"].as_str().expect("a name");
        assert!(known.contains(name), "{name}");
    }
    assert_eq!(container["ports"][0]["containerPort"], 5403);
    assert_eq!(pod["spec"]["securityContext"]["runAsNonRoot"], true);
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);

    // All of them mean these instances.
    let labels = &pod["metadata"]["labels"];
    assert_eq!(&part("Service")["spec"]["selector"], labels);
    for kind in ["Deployment", "PodDisruptionBudget"] {
        assert_eq!(
            &part(kind)["spec"]["selector"]["matchLabels"],
            labels,
            "{kind}"
        );
    }
}

#[test]
fn prometheus_takes_the_alerts_and_each_fires_when_it_should() {
    let Some(promtool) = tool("promtool") else {
        return;
    };
    let folder = Path::new(ROOT).join("deploy/prometheus");
    for arguments in [
        ["check", "rules", "alerts.yaml"],
        ["test", "rules", "alerts.test.yaml"],
    ] {
        good(
            Command::new(&promtool)
                .args(arguments)
                .current_dir(&folder)
                .output(),
        );
    }
    let tests = std::fs::read_to_string(folder.join("alerts.test.yaml")).expect("a file");
    for alert in ALERTS.lines().filter_map(|line| line.split_once("alert: ")) {
        assert!(
            tests.contains(&format!("'{}'", alert.1)),
            "{} has no test",
            alert.1
        );
    }

    // What the dashboard asks is what Prometheus can read, too.
    let directory = new_directory("dashboard");
    std::fs::create_dir(&directory).expect("a directory");
    let file = directory.join("rules.json");
    let rules: Vec<Value> = expressions()
        .iter()
        .enumerate()
        .map(|(number, expression)| {
            let expression = expression.replace("$__rate_interval", "5m");
            serde_json::json!({"record": format!("panel_{number}"), "expr": expression})
        })
        .collect();
    assert!(rules.len() > 20, "{rules:?}");
    let groups = serde_json::json!({"groups": [{"name": "dashboard", "rules": rules}]});
    std::fs::write(&file, groups.to_string()).expect("a file");
    good(
        Command::new(&promtool)
            .args(["check", "rules"])
            .arg(&file)
            .output(),
    );
    std::fs::remove_dir_all(&directory).expect("it goes");
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_and_dashboard_ask_for_metrics_that_there_are() {
    let database = Database::create().await;
    let app = TestApp::start_with(&database, Settings::default()).await;
    app.get("/services").await;
    let scrape = app.request(Method::GET, "/metrics").send().await;
    let scrape = scrape.expect("an answer").text().await.expect("a text");
    app.stop().await;
    // The name is all up to the labels or the value.
    let there: BTreeSet<&str> = scrape
        .lines()
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();
    for text in [ALERTS, DASHBOARD] {
        let mut asked = 0;
        for word in text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')) {
            if word.starts_with("space_events_") {
                // A histogram's buckets are there once it has counted.
                assert!(there.contains(word), "{word}");
                asked += 1;
            }
        }
        assert!(asked > 10);
    }
}

#[test]
fn the_dashboards_panels_are_beside_each_other() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let mut taken = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        assert!(ids.insert(panel["id"].as_u64()), "{panel}");
        let place = |name: &str| panel["gridPos"][name].as_u64().expect("a number");
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                assert!(x < 24 && taken.insert((x, y)), "{panel}");
            }
        }
    }
}

#[test]
fn the_service_has_settings_that_the_program_has() {
    let known = settings();
    for line in UNIT.lines() {
        if let Some(setting) = line.strip_prefix("Environment=") {
            let (name, _) = setting.split_once('=').expect("a value");
            assert!(known.contains(name), "{name}");
        }
    }
    // Those of the package are those of .env.example.
    let example = include_str!("../../.env.example");
    for line in example.lines().filter_map(|line| line.strip_prefix('#')) {
        if let Some((name, _)) = line.split_once('=').filter(|(name, _)| !name.contains(' ')) {
            assert!(known.contains(name), "{name}");
        }
    }
}

/// The expressions of the dashboard's panels.
fn expressions() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array())
        .flatten()
        .map(|target| target["expr"].as_str().expect("an expression").to_owned())
        .collect()
}

/// The variables that the program reads.
fn settings() -> BTreeSet<String> {
    let command = CommandLine::command();
    let variables = command.get_arguments().filter_map(clap::Arg::get_env);
    variables
        .map(|name| name.to_str().expect("a name").to_owned())
        .collect()
}

/// A program from PATH, or from what `make test` unpacked; none: its test says that
/// it was skipped.
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let unpacked = clients::installed().with_file_name("tools").join("usr/bin");
    let found = std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), unpacked])
        .map(|folder| folder.join(name))
        .find(|program| program.is_file());
    if found.is_none() {
        eprintln!("skipped: there is no {name}");
    }
    found
}

/// What a tool said that found nothing wrong.
fn good(output: std::io::Result<Output>) -> String {
    let output = output.expect("it starts");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{said}");
    said
}
