//! One reading of a database URL for both drivers.
//!
//! tokio-postgres reads the URL, as libpq (psql) does; the options that it does not
//! know are taken out before (`options.rs`), and sqlx is given what it has read. So
//! both open the same database as the same user, with the same TLS:
//!
//! - What a URL leaves out comes from `PGHOST`, `PGPORT`, `PGUSER`, `PGPASSWORD`,
//!   `PGDATABASE`, `PGSSLMODE`, `PGSSLROOTCERT`, `PGSSLCERT` and `PGSSLKEY`;
//!   settings in `PGOPTIONS` come before those of the URL. A password file is not read.
//! - `application_name` is always ours.
//! - Several hosts may be named. Whatever `target_session_attrs` says, a standby is
//!   never used: the first host that is a primary is.
//! - What is about TLS is in [`TlsSettings`]. Over a unix socket there is none.

use std::fmt;
use std::path::Path;

use sqlx::postgres::PgConnectOptions;
use tokio_postgres::Config;
use tokio_postgres::config::Host;
use url::form_urlencoded::byte_serialize;

use self::options::Options;
use super::tls::TlsSettings;

pub use self::connect::{Connection, Unusable};

pub(super) mod options;
mod connect;
#[cfg(test)]
mod tests;

/// How soon a server that is gone is noticed, where the URL does not say it, in seconds.
const LIMITS: &str =
    "tcp_user_timeout=10&keepalives_idle=5&keepalives_interval=2&keepalives_retries=3";

/// Where a database is, and how to connect to it.
///
/// Shown by `Display` as `user@host:5432,other:5433/database`, and by `Debug`
/// likewise: never with the password.
#[derive(Clone)]
pub struct DatabaseUrl {
    /// All but the hosts.
    config: Config,
    hosts: Vec<(Host, u16)>,
    tls: TlsSettings,
}

/// What is wrong with a database URL: one sentence, which names the option and
/// never the password. The caller puts the variable's name before it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidDatabaseUrl(String);

impl DatabaseUrl {
    /// Reads a URL: `postgres://user:password@host:port,…/database?option=value&…`,
    /// each part but the scheme optional. A host that starts with `/` (written
    /// `%2F`, or given as `?host=/…`) is the directory of a unix socket.
    ///
    /// # Errors
    ///
    /// Another scheme, a malformed part, an option that is not known or that one of
    /// the drivers cannot do.
    pub fn parse(url: &str) -> Result<Self, InvalidDatabaseUrl> {
        Self::read(url, &|name| std::env::var(name).ok())
    }

    fn read(
        url: &str,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, InvalidDatabaseUrl> {
        let rest = url
            .strip_prefix("postgres://")
            .or_else(|| url.strip_prefix("postgresql://"))
            .ok_or_else(|| invalid("it must start with postgres:// or postgresql://"))?;
        // As libpq does, so that a password may hold a `?`.
        let (credentials, rest) = match rest.find(['@', '/']) {
            Some(end) if rest.as_bytes().get(end) == Some(&b'@') => rest.split_at(end + 1),
            _ => ("", rest),
        };
        let (address, options) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = address.split_once('/').unwrap_or((address, ""));
        if authority.contains('@') || database.contains(['/', '@']) {
            return Err(invalid(
                "`/` and `@` must be written %2F and %40 in the user, password and database",
            ));
        }
        let (options, others) = Options::take(options, environment)?;
        let hosts = options.hosts(authority)?;
        // Shorter where there are others to try.
        let connect_timeout = if hosts.len() == 1 { 10 } else { 2 };
        let limits = format!("connect_timeout={connect_timeout}&{LIMITS}");
        // Of an option that is given twice, the last holds.
        let mut config = parsed(&format!("{credentials}/{database}?{limits}&{others}"))?;
        complete_identity(&mut config, &options)?;
        Ok(Self {
            tls: TlsSettings::read(&options, config.get_channel_binding())?,
            config,
            hosts,
        })
    }

    /// The hosts and their ports, as they are written in a URL.
    pub fn hosts(&self) -> String {
        let written = self.hosts.iter().map(|(host, port)| match host {
            Host::Tcp(host) if host.contains(':') => format!("[{host}]:{port}"),
            Host::Tcp(host) => format!("{host}:{port}"),
            Host::Unix(directory) => format!("{}:{port}", directory.display()),
        });
        written.collect::<Vec<_>>().join(",")
    }

    /// Who connects.
    pub fn user(&self) -> &str {
        self.config.get_user().unwrap_or_default()
    }

    /// The database's name.
    pub fn database(&self) -> &str {
        self.config.get_dbname().unwrap_or_default()
    }

    fn host(&self) -> &(Host, u16) {
        self.hosts.first().expect("a URL has a host")
    }

    /// The options for sqlx, which knows one host: the first.
    pub fn sqlx_options(&self, application_name: &str) -> PgConnectOptions {
        let (host, port) = self.host();
        let config = &self.config;
        // It takes the text of `options`, with PGOPTIONS before it, from a URL alone; an
        // empty one would be sent, and poolers refuse it.
        let mut options = match config.get_options() {
            None | Some("") => PgConnectOptions::new_without_pgpass(),
            Some(text) => {
                let text: String = byte_serialize(text.as_bytes()).collect();
                let url = format!("postgres://localhost?options={text}");
                url.parse().expect("a URL of its form")
            }
        };
        options = options
            .port(*port)
            .username(self.user())
            .password(&String::from_utf8_lossy(
                config.get_password().unwrap_or_default(),
            ))
            .database(self.database())
            .application_name(application_name)
            // The server's own default is as exact, and poolers refuse to set it.
            .extra_float_digits(None);
        options = match host {
            Host::Tcp(host) => options.host(host),
            Host::Unix(directory) => options.socket(directory),
        };
        self.tls.on(host).set(options)
    }
}

const PORT: &str = "a port must be a number from 1 to 65535";

/// Reads what stands behind `postgres://`.
fn parsed(rest: &str) -> Result<Config, InvalidDatabaseUrl> {
    format!("postgres://{rest}")
        .parse()
        .map_err(|error: tokio_postgres::Error| {
            let why = std::error::Error::source(&error).map(ToString::to_string);
            match why {
                // Where an `@` was forgotten, it is the password.
                Some(why) if why.contains("`port`") => invalid(PORT),
                Some(why) => invalid(why),
                None => invalid(error.to_string()),
            }
        })
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}/{}", self.user(), self.hosts(), self.database())
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({self}, {:?})", self.tls)
    }
}

/// A host and its port; without a name, where a server on this machine listens: its
/// socket's directory, if it is in a usual place, else `localhost`.
fn located(host: &Host, port: u16) -> Result<(Host, u16), InvalidDatabaseUrl> {
    let allowed = |c: char| c.is_alphanumeric() || "-._:".contains(c);
    let is_there = |directory: &&str| {
        Path::new(directory)
            .join(format!(".s.PGSQL.{port}"))
            .exists()
    };
    let host = match host {
        _ if port == 0 => return Err(invalid(PORT)),
        Host::Tcp(name) if name.is_empty() => {
            let directories = ["/var/run/postgresql", "/private/tmp", "/tmp"];
            match directories.into_iter().find(is_there) {
                Some(directory) => Host::Unix(directory.into()),
                None => Host::Tcp("localhost".to_owned()),
            }
        }
        Host::Tcp(name) if !name.chars().all(allowed) => {
            return Err(invalid("a host is malformed"));
        }
        host => host.clone(),
    };
    Ok((host, port))
}

/// Who connects to what, where the URL does not say it.
fn complete_identity(config: &mut Config, options: &Options<'_>) -> Result<(), InvalidDatabaseUrl> {
    if config.get_user().is_none_or(str::is_empty) {
        let user = options.variable("PGUSER").or_else(os_user);
        config.user(user.ok_or_else(|| invalid("no user is named"))?);
    }
    if config.get_dbname().is_none() {
        let user = config.get_user().map(str::to_owned);
        config.dbname(options.variable("PGDATABASE").or(user).unwrap_or_default());
    }
    if config.get_password().is_none_or(<[u8]>::is_empty)
        && let Some(password) = options.variable("PGPASSWORD")
    {
        config.password(password);
    }
    match std::str::from_utf8(config.get_password().unwrap_or_default()) {
        Ok(_) => Ok(()),
        Err(_) => Err(invalid("the password is not UTF-8")),
    }
}

fn os_user() -> Option<String> {
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid());
    user.ok().flatten().map(|user| user.name)
}

pub(in crate::store) fn invalid(message: impl Into<String>) -> InvalidDatabaseUrl {
    InvalidDatabaseUrl(message.into())
}
