//! The directory of an embedded Postgres: whose it is, who uses it, what is in it.
//!
//! ```text
//! DATA_DIR/lock          locked by the program that uses the directory
//! DATA_DIR/data/         the server's files
//! DATA_DIR/data.new-…/   the same while initdb makes them, renamed once complete
//! DATA_DIR/socket/       the server's socket, mode 0700
//! DATA_DIR/postgres.log  what the server says
//! ```

use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use nix::unistd::geteuid;
use tokio::process::Command;

use super::account::{Account, give};

/// The longest socket path that all systems take, in bytes: 103 on macOS, 107 on Linux.
const MAX_SOCKET_PATH_BYTES: usize = 103;
/// At the next start, a longer log is emptied.
const MAX_LOG_BYTES: u64 = 10 * 1024 * 1024;
/// The server's socket and its lock file; both carry the port's number.
const SOCKET_FILES: [&str; 2] = [".s.PGSQL.5432", ".s.PGSQL.5432.lock"];
/// Half-made data; the rest of the name is a time.
const NEW_DATA_PREFIX: &str = "data.new-";

/// A data directory that this process, and no other, uses.
#[derive(Debug)]
pub(crate) struct DataDir {
    /// Absolute, without symbolic links.
    pub(crate) path: PathBuf,
    /// Whom the server runs as, where it is not who we are.
    pub(crate) account: Option<Account>,
    /// Where the server's socket is.
    pub(crate) socket: PathBuf,
    /// The lock ends with the process, even when it is killed.
    _lock: File,
}

impl DataDir {
    /// Makes the directory where there is none, and locks it.
    ///
    /// # Errors
    ///
    /// The server's user cannot enter it, it belongs to somebody else, another
    /// process uses it, or it cannot be made.
    pub(crate) async fn open(path: &Path) -> Result<Self> {
        let path = std::path::absolute(path).context("read DATA_DIR")?;
        if path.join("PG_VERSION").exists() {
            bail!(
                "`{}` is itself the data directory of a Postgres: set DATA_DIR to another",
                path.display()
            );
        }
        let account = Account::of_server(&path.join("data"))?;
        if let Some(account) = &account {
            account.check_can_enter(&path).await?;
        }
        make_dir(&path, account.as_ref())
            .with_context(|| format!("create DATA_DIR `{}`", path.display()))?;
        let path = fs::canonicalize(&path).context("resolve DATA_DIR")?;
        let lock = lock(&path, account.as_ref())?;
        let socket = socket_dir(&path, account.as_ref())?;
        let dir = Self {
            path,
            account,
            socket,
            _lock: lock,
        };
        dir.remove_half_made_data();
        Ok(dir)
    }

    /// The server's files.
    pub(crate) fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    /// The major version of the data, or `None` before the first start.
    pub(crate) fn data_major(&self) -> Result<Option<u32>> {
        let data = self.data();
        match fs::read_to_string(data.join("PG_VERSION")) {
            Ok(version) => version
                .trim()
                .parse()
                .map(Some)
                .context("read the version of the data"),
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).context("read the version of the data")
            }
            // An empty folder is fine: a rename replaces it.
            Err(_) if fs::read_dir(&data).is_ok_and(|mut entries| entries.next().is_some()) => {
                bail!(
                    "`{}` contains something other than the files of a Postgres: move it away",
                    data.display()
                )
            }
            Err(_) => Ok(None),
        }
    }

    /// A command that runs as the server's user, with none of our environment
    /// (it may hold keys), and out of reach of the terminal's Ctrl-C.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        // English messages; and macOS wants a locale that exists.
        command.env_clear().env("LC_ALL", "C");
        for name in ["PATH", "LD_LIBRARY_PATH", "LD_PRELOAD"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
            .stdin(Stdio::null())
            .current_dir("/")
            .process_group(0);
        if let Some(account) = &self.account {
            account.own(&mut command);
        }
        command
    }

    /// An empty folder of mode 0700 for the server's user. Its name is a new one:
    /// an initdb whose parent was killed may still be writing to the last one.
    pub(crate) fn make_new_data(&self) -> Result<PathBuf> {
        self.remove_half_made_data();
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let folder = self
            .path
            .join(format!("{NEW_DATA_PREFIX}{}", now.as_nanos()));
        DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .context("create the folder for initdb")?;
        give(&folder, self.account.as_ref())?;
        Ok(folder)
    }

    /// Removes what interrupted first starts left, as far as nobody writes to it.
    fn remove_half_made_data(&self) {
        for entry in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            if entry
                .file_name()
                .to_string_lossy()
                .starts_with(NEW_DATA_PREFIX)
            {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    /// Puts complete files in their place, durably.
    pub(crate) fn rename_to_data(&self, made: &Path) -> Result<()> {
        fs::rename(made, self.data()).context("move the new data into place")?;
        File::open(&self.path)
            .and_then(|folder| folder.sync_all())
            .context("sync DATA_DIR")
    }

    /// The socket's directory: mode 0700, the server's user's, without old sockets.
    pub(crate) fn prepare_socket_dir(&self) -> Result<()> {
        let place = self.socket.display();
        match DirBuilder::new().mode(0o700).create(&self.socket) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(error)
                    .with_context(|| format!("create the socket's directory `{place}`"));
            }
            _ => {}
        }
        // Below a temporary directory, anybody could have made it.
        let found = fs::symlink_metadata(&self.socket).context("look at the socket's directory")?;
        let server = self
            .account
            .as_ref()
            .map_or_else(|| geteuid().as_raw(), |account| account.uid);
        if !found.is_dir() || ![server, geteuid().as_raw()].contains(&found.uid()) {
            bail!(
                "`{place}`, the place of the socket, belongs to somebody else: set DATA_DIR to another directory"
            );
        }
        fs::set_permissions(&self.socket, Permissions::from_mode(0o700))
            .context("close the socket's directory")?;
        give(&self.socket, self.account.as_ref())?;
        for name in SOCKET_FILES {
            remove_if_there(&self.socket.join(name))?;
        }
        Ok(())
    }

    /// Removes the socket's directory where it is not in DATA_DIR.
    pub(crate) fn remove_outer_socket_dir(&self) {
        if !self.socket.starts_with(&self.path) {
            // What stays is empty, and used again at the next start.
            let _ = fs::remove_dir(&self.socket);
        }
    }

    /// The server's log, to append to.
    pub(crate) fn open_log(&self) -> Result<File> {
        let path = self.path.join("postgres.log");
        let log = File::options()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .context("open postgres.log")?;
        if log.metadata()?.len() > MAX_LOG_BYTES {
            log.set_len(0).context("empty postgres.log")?;
        }
        give(&path, self.account.as_ref())?;
        Ok(log)
    }

    /// What the server logged after the first `skip` bytes.
    pub(crate) fn read_log(&self, skip: u64) -> String {
        let log = fs::read(self.path.join("postgres.log")).unwrap_or_default();
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        String::from_utf8_lossy(log.get(skip..).unwrap_or_default()).into_owned()
    }
}

/// Removes a file; that there is none is fine.
pub(crate) fn remove_if_there(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove `{}`", file.display()))
        }
        _ => Ok(()),
    }
}

/// Makes `path` and its parents. Under root the server's user can enter them
/// whatever the umask is; the files within are closed to others.
fn make_dir(path: &Path, account: Option<&Account>) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let missing: Vec<&Path> = path
        .ancestors()
        .take_while(|folder| !folder.exists())
        .collect();
    fs::create_dir_all(path)?;
    if let Some(account) = account {
        for folder in missing {
            fs::set_permissions(folder, Permissions::from_mode(0o755))?;
        }
        lchown(path, Some(account.uid), Some(account.gid))?;
    }
    Ok(())
}

fn lock(dir: &Path, account: Option<&Account>) -> Result<File> {
    let path = dir.join("lock");
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("open `{}`", path.display()))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            bail!(
                "another space-events, process {}, uses `{}`: stop it, or set DATA_DIR to another directory",
                holder.trim(),
                dir.display()
            );
        }
        result => result.with_context(|| format!("lock `{}`", path.display()))?,
    }
    give(&path, account)?;
    file.set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .context("write the lock file")?;
    Ok(file)
}

/// `DATA_DIR/socket`, unless its path is too long for a socket, or would need
/// quotes in a shell, a URL or a setting: then a short name in a temporary directory.
fn socket_dir(dir: &Path, account: Option<&Account>) -> Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    dir.hash(&mut hasher);
    // Root's own temporary directory may be closed to the server's user.
    let temporary = if account.is_some() {
        PathBuf::from("/tmp")
    } else {
        std::env::temp_dir()
    };
    let places = [
        dir.join("socket"),
        temporary.join(format!("space-events-{:016x}", hasher.finish())),
    ];
    places.into_iter().find(|place| is_fit_for_sockets(place)).with_context(|| {
        format!("neither DATA_DIR nor `{}` can hold a socket: choose shorter paths of plain letters", temporary.display())
    })
}

fn is_fit_for_sockets(place: &Path) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    place.join(".s.PGSQL.5432").as_os_str().len() <= MAX_SOCKET_PATH_BYTES
        && place.to_str().is_some_and(|text| text.bytes().all(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_in_the_data_directory_where_its_path_allows() {
        assert!(is_fit_for_sockets(Path::new(
            "/var/lib/space-events/socket"
        )));
        for unfit in [
            "/a b/socket",
            "/a,b/socket",
            "/é/socket",
            &format!("/{}/socket", "x".repeat(90)),
        ] {
            assert!(!is_fit_for_sockets(Path::new(unfit)), "{unfit}");
        }
        let place = socket_dir(Path::new("/a b"), None).expect("the temporary directory is fit");
        assert!(place.starts_with(std::env::temp_dir()), "{place:?}");
    }
}
