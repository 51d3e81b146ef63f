//! The program as a process of its own.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use super::{LIMIT, signal};

/// The program, and the lines that it logs.
pub struct Program {
    child: Child,
    lines: Receiver<String>,
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
        let log = BufReader::new(child.stdout.take().expect("its output"));
        let (line, lines) = channel();
        // A full pipe would hold the program up, whether anybody looks or not.
        std::thread::spawn(move || {
            for text in log.lines().map_while(Result::ok) {
                let _ = line.send(text);
            }
        });
        Self { child, lines }
    }

    /// Reads the log up to a line with this text; the rest of that line.
    pub fn line_after(&mut self, text: &str) -> String {
        let lines = self.lines_up_to(text);
        let rest = lines.last().and_then(|line| line.split_once(text));
        rest.expect("the line").1.trim().to_owned()
    }

    /// Reads the log up to a line with this text.
    pub fn lines_up_to(&mut self, text: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self.lines.recv_timeout(LIMIT);
            lines.push(line.unwrap_or_else(|_| panic!("no `{text}` in the log: {lines:#?}")));
            if lines.last().is_some_and(|line| line.contains(text)) {
                return lines;
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

    /// `kill -9`, and its end.
    pub fn kill(&mut self) {
        self.child.kill().expect("a signal");
        self.child.wait().expect("an end");
    }

    /// The most memory that it had resident so far, in MiB; where the system does
    /// not tell, 0.
    pub fn peak_resident_mib(&self) -> u64 {
        self.status_kib("VmHWM:").map_or(0, |kib| kib / 1024)
    }

    /// The memory that it has resident, in KiB; only where the system tells.
    pub fn resident_kib(&self) -> u64 {
        self.status_kib("VmRSS:").expect("a size")
    }

    fn status_kib(&self, field: &str) -> Option<u64> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).ok()?;
        let value = status.lines().find_map(|line| line.strip_prefix(field))?;
        value.trim().strip_suffix(" kB")?.trim().parse().ok()
    }

    /// Sends a signal such as `-TERM`.
    pub fn signal(&self, name: &str) {
        signal(name, &[self.child.id().to_string()]);
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
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                let rest: Vec<String> = self.lines.iter().collect();
                return (status.code(), rest.join("\n"));
            }
            assert!(begun.elapsed() < LIMIT, "the program does not end");
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
