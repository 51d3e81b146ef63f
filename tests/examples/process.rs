//! An example as a process of its own, and what it writes.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::LazyLock;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::support::LIMIT;

/// The one that is a program.
pub(super) const RUST: &str = "rust";

/// A running example, and what it writes.
pub(super) struct Example {
    process: Child,
    lines: mpsc::UnboundedReceiver<String>,
    /// Read already, for who asks for the next event.
    waiting: Option<Value>,
}

impl Example {
    pub(super) fn start(example: &str, arguments: &[&str]) -> Self {
        let mut process = command(example)
            .args(arguments)
            .env_remove("API_KEY")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{example}: {error}"));
        let (sender, lines) = mpsc::unbounded_channel();
        forward(process.stdout.take().expect("a pipe"), sender.clone());
        forward(process.stderr.take().expect("a pipe"), sender);
        Self {
            process,
            lines,
            waiting: None,
        }
    }

    /// Waits for a line that begins so, or is an event with that code. Another
    /// event, or a list that is not waited for, ends the test.
    pub(super) async fn line(&mut self, beginning: &str) {
        loop {
            let line = self.next_line().await;
            let event = line.starts_with('{');
            if line.starts_with(beginning) || event && line.contains(beginning) {
                return;
            }
            assert!(!event && !line.starts_with("listed"), "{line}");
        }
    }

    /// Waits for these versions' events, in their order and with no other between.
    pub(super) async fn prints(&mut self, versions: impl Iterator<Item = u32>) {
        for version in versions {
            assert_eq!(self.next_event().await, created(version));
        }
    }

    /// Waits for an event, and passes over it if it is this version's.
    pub(super) async fn may_print(&mut self, version: u32) {
        let event = self.next_event().await;
        if event != created(version) {
            self.waiting = Some(event);
        }
    }

    async fn next_event(&mut self) -> Value {
        if let Some(event) = self.waiting.take() {
            return event;
        }
        loop {
            let line = self.next_line().await;
            if line.starts_with('{') {
                return serde_json::from_str(&line).expect("JSON");
            }
        }
    }

    pub(super) async fn next_line(&mut self) -> String {
        let line = timeout(LIMIT, self.lines.recv()).await;
        line.expect("a line in time").expect("it runs")
    }

    /// Ends it as a crash would.
    pub(super) async fn kill(mut self) {
        self.process.kill().await.expect("it is killed");
    }
}

fn created(version: u32) -> Value {
    let details = json!({"serviceName": "Zoöm", "pricingVersion": version.to_string()});
    json!({"code": "PRICING_CREATED", "details": details})
}

fn forward(output: impl AsyncRead + Send + Unpin + 'static, lines: mpsc::UnboundedSender<String>) {
    tokio::spawn(async move {
        let mut output = BufReader::new(output).lines();
        while let Ok(Some(line)) = output.next_line().await {
            let _ = lines.send(line);
        }
    });
}

fn command(example: &str) -> Command {
    let clients = INSTALLED.as_path();
    if example == RUST {
        return Command::new(clients.join("rust/debug/space-events-example"));
    }
    let (program, script) = match example.ends_with(".py") {
        true => (clients.join("venv/bin/python"), examples().join(example)),
        false => (
            PathBuf::from("node"),
            clients.join("examples").join(example),
        ),
    };
    let mut command = Command::new(program);
    command.arg(script);
    command
}

fn examples() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/examples"))
}

/// Where the clients are, with the JavaScript examples below their packages: Node
/// looks for packages from the file that imports them upward.
static INSTALLED: LazyLock<PathBuf> = LazyLock::new(|| {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("a directory above");
    let clients = target.join("clients");
    for installed in [
        "node_modules/.installed",
        "venv/.installed",
        "rust/debug/space-events-example",
    ] {
        assert!(
            clients.join(installed).exists(),
            "the examples' clients are not installed; `make test` installs them and runs the tests"
        );
    }
    let copies = clients.join("examples/javascript");
    std::fs::create_dir_all(&copies).expect("a directory");
    for entry in examples().join("javascript").read_dir().expect("examples") {
        let script = entry.expect("an example").path();
        if script
            .extension()
            .is_some_and(|extension| extension == "mjs")
        {
            let copy = copies.join(script.file_name().expect("a name"));
            std::fs::copy(&script, copy).expect("a copy");
        }
    }
    clients
});
