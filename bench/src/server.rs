//! A server as a process of its own: where it listens, its memory, its CPU time.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// How long a server may take until it listens.
const START_LIMIT: Duration = Duration::from_secs(20);
/// What `/proc/PID/stat` counts in: USER_HZ, which is 100 wherever Linux runs.
const TICKS_PER_SECOND: f64 = 100.0;

/// A server; it ends when this is dropped.
pub(crate) struct Server {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    process: u32,
    _child: Child,
}

impl Server {
    /// Starts it, and waits until it says where it listens.
    pub(crate) async fn start(mut command: Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("start the server")?;
        let process = child.id().context("the server ended at once")?;
        let stdout = child.stdout.take().context("the server's output")?;
        let mut lines = BufReader::new(stdout).lines();
        let address = async {
            let mut said = String::new();
            while let Some(line) = lines.next_line().await? {
                if let Some((_, address)) = line.split_once("listening on http://") {
                    return address.trim().parse().context("read the server's address");
                }
                said = line;
            }
            bail!("the server ended: {said}");
        };
        let address = timeout(START_LIMIT, address)
            .await
            .context("the server does not listen")??;
        // A full pipe would hold it up.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self {
            address,
            process,
            _child: child,
        })
    }

    /// The memory that is resident now, in megabytes.
    pub(crate) fn resident(&self) -> Result<f64> {
        self.status("VmRSS:")
    }

    /// The most that was ever resident, in megabytes.
    pub(crate) fn peak_resident(&self) -> Result<f64> {
        self.status("VmHWM:")
    }

    fn status(&self, name: &str) -> Result<f64> {
        let path = format!("/proc/{}/status", self.process);
        let status = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|value| value.trim().strip_suffix(" kB"));
        let kib: f64 = kib
            .with_context(|| format!("find {name} in {path}"))?
            .trim()
            .parse()?;
        Ok(kib * 1024.0 / 1e6)
    }

    /// The CPU time that all its threads took, in seconds.
    pub(crate) fn cpu_seconds(&self) -> Result<f64> {
        let stat = stat(self.process)?;
        Ok(stat.own_seconds)
    }
}

/// What a process took and where it comes from.
struct Stat {
    parent: u32,
    own_seconds: f64,
    /// Of its children that have ended.
    ended_seconds: f64,
}

/// The CPU time of a process and of its children, also those that have ended.
pub(crate) fn cpu_seconds_of_family(process: u32) -> Result<f64> {
    let parent = stat(process)?;
    let mut seconds = parent.own_seconds + parent.ended_seconds;
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let id = name.to_str().and_then(|name| name.parse().ok());
        // One that has just ended is counted next time.
        if let Some(child) = id.and_then(|id| stat(id).ok())
            && child.parent == process
        {
            seconds += child.own_seconds + child.ended_seconds;
        }
    }
    Ok(seconds)
}

fn stat(process: u32) -> Result<Stat> {
    let path = format!("/proc/{process}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    // The name of the process, in brackets, may hold anything.
    let (_, fields) = stat.rsplit_once(')').context("read the fields")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    // The first here is the third of all.
    let field = |number: usize| fields.get(number - 3).context("find a field");
    let seconds = |number| -> Result<f64> { Ok(field(number)?.parse::<f64>()? / TICKS_PER_SECOND) };
    Ok(Stat {
        parent: field(4)?.parse()?,
        own_seconds: seconds(14)? + seconds(15)?,
        ended_seconds: seconds(16)? + seconds(17)?,
    })
}
