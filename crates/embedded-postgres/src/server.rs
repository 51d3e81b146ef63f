//! Running servers: what their lock file `postmaster.pid` tells, and how they are ended.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Command;
use tokio::time::{Instant, sleep};
use tracing::info;

use super::data_dir::remove_if_there;

/// How a server is asked to end, and how long each way may take: a fast stop,
/// one without a checkpoint (the next start recovers), no choice.
pub(crate) const WAYS_TO_END: [(Signal, Duration); 3] = [
    (Signal::SIGINT, Duration::from_secs(4)),
    (Signal::SIGQUIT, Duration::from_secs(2)),
    (Signal::SIGKILL, Duration::from_secs(2)),
];
/// Between two looks at a server.
pub(crate) const POLL_PAUSE: Duration = Duration::from_millis(10);

/// Sends a signal; that the process has ended is fine.
pub(crate) fn send(pid: Option<u32>, signal: Signal) {
    if let Some(pid) = pid.and_then(|pid| i32::try_from(pid).ok()) {
        // It may have ended by itself just now.
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

/// Ends the server that an earlier run left, or removes the lock file of one
/// that was killed: Postgres obeys that file whenever any process has its
/// number by now, and where it is empty.
pub(crate) async fn end_leftover_server(data: &Path) -> Result<()> {
    let lock_file = data.join("postmaster.pid");
    if let Some(pid) = fs::read_to_string(&lock_file)
        .ok()
        .as_deref()
        .and_then(postmaster_pid)
        && is_server_of(pid, data).await
    {
        info!(
            process.id = pid,
            "ending the Postgres that an earlier run left"
        );
        let mut ways = WAYS_TO_END.into_iter();
        let mut patience_until = Instant::now();
        while is_server_of(pid, data).await {
            if Instant::now() >= patience_until {
                let (signal, limit) = ways
                    .next()
                    .with_context(|| format!("process {pid} does not end"))?;
                send(Some(pid), signal);
                patience_until = Instant::now() + limit;
            }
            sleep(POLL_PAUSE).await;
        }
    }
    remove_if_there(&lock_file)
}

/// The first line of a server's lock file; negative for a server in single-user mode.
fn postmaster_pid(lock_file: &str) -> Option<u32> {
    let pid: i32 = lock_file.lines().next()?.trim().parse().ok()?;
    Some(pid.unsigned_abs()).filter(|&pid| pid > 1)
}

/// Whether process `pid` is a server of these files, and not another program
/// that got the number later. A server's current directory is its data.
async fn is_server_of(pid: u32, data: &Path) -> bool {
    let process = PathBuf::from(format!("/proc/{pid}"));
    if Path::new("/proc/self/cwd").exists() {
        let command = fs::read(process.join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command);
        let program = Path::new(command.split('\0').next().unwrap_or_default()).file_name();
        let is_postgres = program.is_some_and(|name| name == "postgres" || name == "postmaster");
        let data = fs::canonicalize(data).ok();
        return is_postgres && data.is_some() && fs::read_link(process.join("cwd")).ok() == data;
    }
    let mut ps = Command::new("ps");
    ps.args(["-ww", "-o", "command=", "-p", &pid.to_string()])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let command = ps
        .output()
        .await
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    command.is_ok_and(|command| {
        command.contains("postgres") && command.contains(&*data.to_string_lossy())
    })
}

/// Whether the server's lock file says that process `pid` accepts connections:
/// its eighth line, which `pg_ctl` waits for as well. A standby says so in another word.
pub(crate) fn is_ready(data: &Path, pid: Option<u32>) -> bool {
    let lock_file = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    let status = lock_file.lines().nth(7).map(str::trim);
    matches!(status, Some("ready" | "standby"))
        && pid.is_some()
        && postmaster_pid(&lock_file) == pid
}
