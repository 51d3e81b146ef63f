//! The disk under Postgres: as it is, slower, or never waited for.
//!
//! What NOTIFY costs depends on how long a flush takes, since commits that notify
//! wait for each other's. So some rows are measured on a slower disk too. A setting
//! such as `commit_delay` would not do: it waits before a flush, and takes along who
//! comes meanwhile; a disk takes longer within it. So a few lines of C are loaded into
//! the server's processes, which makes each `fsync` and `fdatasync` take longer.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::HERE;
use crate::sql::Session;

/// Where the files of [`SlowFlushes`] are, for the program that was started with them.
const DIRECTORY: &str = "SPACE_EVENTS_BENCH_FLUSH";

/// How much longer a flush of the slow disk takes.
const SLOWER_BY: Duration = Duration::from_millis(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disk {
    AsItIs,
    /// Each flush takes two milliseconds more.
    Slow,
    /// Nobody waits for it: `fsync = off`.
    NotWaitedFor,
}

/// What makes flushes slower.
#[derive(Debug)]
pub(crate) struct SlowFlushes {
    directory: PathBuf,
}

impl SlowFlushes {
    /// Compiles the library and starts this program again with it; after that, what was
    /// made.
    ///
    /// # Errors
    ///
    /// There is no C compiler, or no second start.
    pub(crate) fn load() -> Result<Self> {
        if let Some(directory) = std::env::var_os(DIRECTORY) {
            let directory = directory.into();
            return Ok(Self { directory });
        }
        let directory = std::env::temp_dir();
        let directory = directory.join(format!("space-events-bench-flush-{}", std::process::id()));
        fs::create_dir(&directory).context("make a directory for the library")?;
        let made = Self { directory };
        let library = made.compile()?;
        let error = Command::new(std::env::current_exe()?)
            .args(std::env::args_os().skip(1))
            .env(DIRECTORY, &made.directory)
            .env("LD_PRELOAD", library)
            .exec();
        Err(error).context("start again with the library")
    }

    fn compile(&self) -> Result<PathBuf> {
        // Postgres runs as another user if this one is root.
        fs::set_permissions(&self.directory, Permissions::from_mode(0o755))?;
        let delay_file = self.delay_file();
        fs::write(&delay_file, 0u32.to_ne_bytes())?;
        fs::set_permissions(&delay_file, Permissions::from_mode(0o644))?;
        let library = self.directory.join("flush.so");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O2", "-o"])
            .arg(&library)
            .arg(format!("-DDELAY_FILE=\"{}\"", delay_file.display()))
            .arg(Path::new(HERE).join("flush.c"))
            .output()
            .context("start cc")?;
        let said = String::from_utf8_lossy(&compiled.stderr);
        ensure!(compiled.status.success(), "compile flush.c: {said}");
        Ok(library)
    }

    fn delay_file(&self) -> PathBuf {
        self.directory.join("delay")
    }

    /// From now on, for all of Postgres. The file is mapped: it must not be made anew.
    fn set(&self, delay: Duration) -> Result<()> {
        use std::io::Write as _;
        let us = u32::try_from(delay.as_micros())?;
        let mut file = fs::OpenOptions::new().write(true).open(self.delay_file())?;
        file.write_all(&us.to_ne_bytes())?;
        Ok(())
    }
}

impl Drop for SlowFlushes {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl Disk {
    /// Gives Postgres this disk.
    pub(crate) async fn set(self, slow: &SlowFlushes, admin: &Session) -> Result<()> {
        let delay = match self {
            Self::Slow => SLOWER_BY,
            Self::AsItIs | Self::NotWaitedFor => Duration::ZERO,
        };
        slow.set(delay).context("change how long a flush takes")?;
        let fsync = match self {
            Self::NotWaitedFor => "off",
            Self::AsItIs | Self::Slow => "on",
        };
        if admin.text("show fsync").await? != fsync {
            admin
                .run(&format!("alter system set fsync = {fsync}"))
                .await?;
            admin.run("select pg_reload_conf()").await?;
            while admin.text("show fsync").await? != fsync {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        Ok(())
    }
}
