//! The program as a process of its own.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::LIMIT;

/// The program, and the lines that it logs.
pub struct Program {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

/// A command that runs the program with no settings but those that are given.
pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_space-events"));
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .current_dir(std::env::temp_dir())
        .stdin(Stdio::null());
    command
}

impl Program {
    /// Starts it, on a free port unless the settings say otherwise.
    pub fn start(settings: &[(&str, &str)]) -> Self {
        Self::start_by(command(), settings)
    }

    /// As [`Program::start`], by another command.
    pub fn start_by(mut command: Command, settings: &[(&str, &str)]) -> Self {
        let mut child = command
            .env("PORT", "0")
            .envs(settings.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let lines = BufReader::new(child.stdout.take().expect("its output"));
        Self { child, lines }
    }

    /// Reads the log up to a line with this text; the rest of that line.
    pub fn line_after(&mut self, text: &str) -> String {
        loop {
            let mut line = String::new();
            let read = self.lines.read_line(&mut line).expect("a line");
            assert_ne!(read, 0, "the log ended without `{text}`");
            if let Some((_, rest)) = line.split_once(text) {
                return rest.trim().to_owned();
            }
        }
    }

    /// Where it listens.
    pub fn address(&mut self) -> SocketAddr {
        self.line_after("listening on http://")
            .parse()
            .expect("an address")
    }

    /// How to reach its embedded Postgres.
    pub fn embedded_url(&mut self) -> String {
        let psql = self.line_after("the embedded Postgres: psql -h ");
        let (host, _) = psql.split_once(' ').expect("a directory");
        let host = host.replace('/', "%2F");
        format!("postgres://postgres@{host}/space_events")
    }

    /// Sends a signal such as `-TERM`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([name, &self.child.id().to_string()])
            .status()
            .expect("kill runs");
        assert!(sent.success());
    }

    /// Its process number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end; its exit code.
    pub fn wait(self) -> Option<i32> {
        self.wait_and_read().0
    }

    /// Waits for its end; its exit code, and what it logged that was not yet read.
    pub fn wait_and_read(mut self) -> (Option<i32>, String) {
        // A full pipe would hold it up.
        let mut rest = String::new();
        let _ = self.lines.read_to_string(&mut rest);
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return (status.code(), rest);
            }
            assert!(begun.elapsed() < LIMIT, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
