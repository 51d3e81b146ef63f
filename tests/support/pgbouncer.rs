//! A real PgBouncer before a server, with its default settings.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::postgres::{Session, new_directory};
use super::server::Server;
use super::wait_until;

/// A pooler, on a unix socket of its own.
pub struct PgBouncer {
    pub url: String,
    directory: PathBuf,
    process: Child,
}

impl PgBouncer {
    /// Starts it, with `pool_mode` such as `transaction`.
    pub async fn start(server: &Server, pool_mode: &str) -> Self {
        Self::start_before(server, &server.socket_directory(), 5432, pool_mode).await
    }

    /// As [`PgBouncer::start`], before a proxy that is before the server.
    pub async fn start_before(server: &Server, host: &str, port: u16, pool_mode: &str) -> Self {
        let directory = new_directory("pgbouncer");
        fs::create_dir_all(&directory).expect("a directory");
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).expect("its mode");
        let socket = server.socket_directory();
        // It refuses root, as Postgres does: it runs as the user of the server.
        let owner = fs::metadata(&socket).expect("the server's directory");
        let (uid, gid) = (owner.uid(), owner.gid());
        chown(&directory, Some(uid), Some(gid)).expect("the owner of the server");
        let here = directory.display();
        let settings = format!(
            "[databases]\n* = host={host} port={port}\n[pgbouncer]\npool_mode = {pool_mode}\n\
             listen_port = 6432\nunix_socket_dir = {here}\nlogfile = {here}/log\n\
             auth_type = trust\nauth_file = {here}/users\n"
        );
        for (name, text) in [
            ("pgbouncer.ini", settings.as_str()),
            ("users", "\"postgres\" \"\"\n"),
        ] {
            fs::write(directory.join(name), text).expect("a file");
        }
        let mut command = Command::new("pgbouncer");
        // Debian has it where an ordinary user's PATH does not look.
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/sbin"));
        if nix::unistd::geteuid().is_root() {
            command.uid(uid).gid(gid);
        }
        let process = command
            .arg("--quiet")
            .arg(directory.join("pgbouncer.ini"))
            .current_dir("/")
            .stderr(Stdio::null())
            .spawn()
            .expect("pgbouncer starts");
        let host = directory.display().to_string().replace('/', "%2F");
        let bouncer = Self {
            url: format!("postgres://postgres@{host}:6432/space_events"),
            directory,
            process,
        };
        wait_until("the pooler answers", async || {
            Session::try_connect(&bouncer.url).await.is_ok()
        })
        .await;
        bouncer
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}
