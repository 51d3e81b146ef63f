//! One reading of a database URL for both drivers.
//!
//! tokio-postgres reads the URL, as libpq (psql) does; here the options that it does
//! not know are taken out before, and sqlx is given what it has read. So both open
//! the same database as the same user, with the same TLS:
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
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context as _;
use percent_encoding::percent_decode_str;
use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tokio::time::timeout;
use tokio_postgres::config::{Host, LoadBalanceHosts, SslNegotiation};
use tokio_postgres::{Client, Config, SimpleQueryMessage};

use url::form_urlencoded::byte_serialize;

use super::tls::{TlsOptions, TlsSettings, TlsStream};

const DEFAULT_PORT: u16 = 5432;
/// How long connecting to a host may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The same where there are others to try.
const CONNECT_TIMEOUT_OF_SEVERAL: Duration = Duration::from_secs(2);
/// How long sent data may stay unacknowledged before the connection counts as dead.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(10);
/// When TCP asks whether the server is still there: idle for so long, then so many
/// times, with such a pause between.
const KEEPALIVE: (Duration, u32, Duration) = (Duration::from_secs(5), 3, Duration::from_secs(2));

/// What drives a [`Client`]: poll it as a future, or by `poll_message` for
/// notifications. One type with and without TLS.
pub type Connection =
    tokio_postgres::Connection<tokio_postgres::Socket, TlsStream<tokio_postgres::Socket>>;

/// Where a database is, and how to connect to it.
///
/// Shown by `Display` as `user@host:5432,other:5433/database`, and by `Debug`
/// likewise: never with the password.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl {
    /// All but the hosts.
    config: Config,
    hosts: Vec<(Host, u16)>,
    tls: TlsSettings,
    /// Whether a host must let its sessions write by default.
    writes: bool,
}

/// What is wrong with a database URL: one sentence, which names the option and
/// never the password. The caller puts the variable's name before it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidDatabaseUrl(String);

/// Why a server that answers is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// It answers nothing.
    #[error("no answer within {0:?}")]
    Silent(Duration),
    /// It copies a primary.
    #[error("it is a standby")]
    Standby,
    /// Its sessions do not write, where `target_session_attrs=read-write` asks for it.
    #[error("it is read-only, and target_session_attrs is read-write")]
    ReadOnly,
}

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
        // As in libpq, an empty variable is none.
        let environment = |name: &str| environment(name).filter(|value| !value.is_empty());
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
        let mut given = Given::default();
        let mut others = String::new();
        for option in options.split('&').filter(|option| !option.is_empty()) {
            if !given.take(option)? {
                others += &format!("&{}", option.replace('@', "%40"));
            }
        }
        let mut config = parsed(&format!(
            "{credentials}/{database}?{}",
            others.trim_start_matches('&')
        ))?;
        let hosts = given.hosts(authority, &environment)?;

        if config.get_user().is_none_or(str::is_empty) {
            let user = environment("PGUSER").or_else(os_user);
            config.user(user.ok_or_else(|| invalid("no user is named"))?);
        }
        if config.get_dbname().is_none() {
            let user = config.get_user().map(str::to_owned);
            config.dbname(environment("PGDATABASE").or(user).unwrap_or_default());
        }
        if config.get_password().is_none_or(<[u8]>::is_empty)
            && let Some(password) = environment("PGPASSWORD")
        {
            config.password(password);
        }
        if std::str::from_utf8(config.get_password().unwrap_or_default()).is_err() {
            return Err(invalid("the password is not UTF-8"));
        }
        if config.get_ssl_negotiation() != SslNegotiation::Postgres {
            return Err(invalid("option `sslnegotiation` must be postgres"));
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(match hosts.as_slice() {
                [_] => CONNECT_TIMEOUT,
                _ => CONNECT_TIMEOUT_OF_SEVERAL,
            });
        }
        let (idle, retries, interval) = KEEPALIVE;
        if config.get_keepalives_idle() == Config::new().get_keepalives_idle() {
            config.keepalives_idle(idle);
        }
        let retries = given
            .keepalives_count
            .or(config.get_keepalives_retries())
            .unwrap_or(retries);
        let interval = config.get_keepalives_interval().unwrap_or(interval);
        config
            .keepalives_retries(retries)
            .keepalives_interval(interval)
            .tcp_user_timeout(given.tcp_user_timeout.unwrap_or(TCP_USER_TIMEOUT));
        Ok(Self {
            tls: TlsSettings::read(given.tls, &environment)?,
            config,
            hosts,
            writes: given.writes,
        })
    }

    /// The same database, at one host after another.
    fn each_host(&self) -> Vec<Self> {
        let mut hosts = self.hosts.clone();
        if self.config.get_load_balance_hosts() == LoadBalanceHosts::Random {
            fastrand::shuffle(&mut hosts);
        }
        let at = |host| Self {
            hosts: vec![host],
            ..self.clone()
        };
        hosts.into_iter().map(at).collect()
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

    /// How long connecting to a host may take until the connection can be used.
    fn connect_timeout(&self) -> Duration {
        let timeout = self.config.get_connect_timeout();
        timeout.copied().unwrap_or(CONNECT_TIMEOUT)
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

    /// Connects with tokio-postgres to the first host that is a primary. Nothing
    /// happens on the connection until the second part is polled. Cancel safe.
    ///
    /// # Errors
    ///
    /// As those of [`connect_to_primary`](Self::connect_to_primary).
    pub async fn connect(&self, application_name: &str) -> anyhow::Result<(Client, Connection)> {
        let (_, client, connection) = self.connect_to_primary(application_name).await?;
        Ok((client, connection))
    }

    /// Connects with sqlx to the first host that is a primary.
    ///
    /// # Errors
    ///
    /// As those of [`connect_to_primary`](Self::connect_to_primary).
    pub async fn connect_sqlx(&self, application_name: &str) -> anyhow::Result<PgConnection> {
        let (primary, ..) = self.connect_to_primary(application_name).await?;
        let connecting = primary.sqlx_options(application_name).connect().await;
        connecting.with_context(|| format!("connect to {primary}"))
    }

    /// As [`connect`](Self::connect); the URL that is returned names the host alone.
    ///
    /// # Errors
    ///
    /// What the last host answered, or that one is [`Unusable::Standby`], since then
    /// the primary may come: the server cannot be reached, refuses, has no TLS or an
    /// untrusted certificate where `sslmode` asks for them, or takes longer than
    /// `connect_timeout`; a certificate file that cannot be read.
    pub async fn connect_to_primary(
        &self,
        application_name: &str,
    ) -> anyhow::Result<(Self, Client, Connection)> {
        let mut why: Option<anyhow::Error> = None;
        for url in self.each_host() {
            // The drivers' own limit is for the TCP connection alone: a server that
            // accepts and says nothing would hold us for ever.
            let limit = self.connect_timeout();
            let connected = match timeout(limit, url.connect_to_host(application_name)).await {
                Ok(connected) => connected,
                Err(_) => Err(Unusable::Silent(limit).into()),
            };
            match connected.with_context(|| format!("connect to {url}")) {
                Ok((client, connection)) => return Ok((url, client, connection)),
                Err(error) => {
                    if why.as_ref().is_none_or(|why| !is_standby(why)) {
                        why = Some(error);
                    }
                }
            }
        }
        Err(why.expect("a URL has a host"))
    }

    async fn connect_to_host(
        &self,
        application_name: &str,
    ) -> anyhow::Result<(Client, Connection)> {
        let (host, port) = self.host();
        let tls = self.tls.on(host);
        let mut config = self.config.clone();
        config
            .port(*port)
            .application_name(application_name)
            .ssl_mode(tls.tokio_postgres_mode());
        match host {
            Host::Tcp(host) => config.host(host),
            Host::Unix(directory) => config.host_path(directory),
        };
        if let Some(options) = self.sqlx_options(application_name).get_options() {
            config.options(options);
        }
        let (client, mut connection) = config.connect(tls.connector().await?).await?;
        let answer = tokio::select! {
            answer = client.simple_query(
                "select pg_is_in_recovery(), current_setting('transaction_read_only')",
            ) => answer?,
            ended = &mut connection => {
                ended?;
                anyhow::bail!("the server ended the connection");
            }
        };
        let row = answer.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some((row.get(0), row.get(1))),
            _ => None,
        });
        match row {
            Some((Some("f"), Some("off"))) => {}
            Some((Some("f"), _)) if !self.writes => {}
            Some((Some("f"), _)) => return Err(Unusable::ReadOnly.into()),
            _ => return Err(Unusable::Standby.into()),
        }
        Ok((client, connection))
    }
}

fn is_standby(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Unusable>() == Some(&Unusable::Standby)
}

/// What tokio-postgres does not know, or reads otherwise than libpq.
#[derive(Debug, Default)]
struct Given {
    hosts: Option<String>,
    ports: Option<String>,
    tls: TlsOptions,
    writes: bool,
    tcp_user_timeout: Option<Duration>,
    keepalives_count: Option<u32>,
}

impl Given {
    /// Whether the option is one of these.
    fn take(&mut self, option: &str) -> Result<bool, InvalidDatabaseUrl> {
        let (name, value) = option
            .split_once('=')
            .ok_or_else(|| invalid("an option has no value"))?;
        // Whatever else stands here may be part of a password that was not encoded.
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(invalid("the name of an option is malformed"));
        }
        let value = percent_decode_str(value)
            .decode_utf8()
            .map_err(|_| invalid(format!("option `{name}` is not UTF-8")))?
            .into_owned();
        let must_be = |allowed: &str| {
            invalid(format!(
                "option `{name}` is `{value}`; it must be {allowed}"
            ))
        };
        match name {
            "host" => self.hosts = Some(value),
            "port" => self.ports = Some(value),
            "sslmode" => self.tls.mode = Some(value),
            "sslrootcert" => self.tls.root_cert = Some(value),
            "sslcert" => self.tls.cert = Some(value),
            "sslkey" => self.tls.key = Some(value),
            // JDBC's word, which libpq takes too.
            "ssl" if value == "true" => self.tls.mode = Some("require".to_owned()),
            "channel_binding" => match value.as_str() {
                "disable" | "prefer" => self.tls.binds_channel = false,
                "require" => self.tls.binds_channel = true,
                _ => return Err(must_be("disable, prefer or require")),
            },
            "target_session_attrs" => match value.as_str() {
                "any" | "primary" => self.writes = false,
                "read-write" => self.writes = true,
                _ => {
                    return Err(must_be(
                        "any, primary or read-write, since a standby is never used",
                    ));
                }
            },
            "tcp_user_timeout" => {
                let milliseconds = value.parse().map_err(|_| must_be("a whole number"))?;
                self.tcp_user_timeout =
                    Some(Duration::from_millis(milliseconds)).filter(|limit| !limit.is_zero());
            }
            "keepalives_count" => {
                self.keepalives_count = Some(value.parse().map_err(|_| must_be("a whole number"))?);
            }
            "gssencmode" if value == "require" => return Err(must_be("disable or prefer")),
            "hostaddr" => return Err(invalid("option `hostaddr` is not supported; use `host`")),
            // Without effect here: the name is ours, and the encoding always UTF-8.
            "application_name" | "fallback_application_name" | "client_encoding" | "gssencmode" => {
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The hosts: those of options before those of the address, as in libpq.
    fn hosts(
        &self,
        authority: &str,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Vec<(Host, u16)>, InvalidDatabaseUrl> {
        let mut config = match (&self.hosts, authority) {
            (Some(_), _) => Config::new(),
            (None, authority) => parsed(authority)?,
        };
        let hosts = self.hosts.clone().or_else(|| environment("PGHOST"));
        let hosts = hosts.filter(|_| config.get_hosts().is_empty());
        for host in hosts.iter().flat_map(|hosts| hosts.split(',')) {
            config.host(host);
        }
        let no_port = config.get_ports().is_empty();
        let ports = self
            .ports
            .clone()
            .or_else(|| environment("PGPORT").filter(|_| no_port));
        let ports: Vec<u16> = match &ports {
            None => config.get_ports().to_vec(),
            Some(ports) => ports
                .split(',')
                .map(|port| {
                    if port.is_empty() {
                        Ok(DEFAULT_PORT)
                    } else {
                        port.parse()
                    }
                })
                .collect::<Result<_, _>>()
                .map_err(|_| invalid(PORT))?,
        };
        if ports.contains(&0) {
            return Err(invalid(PORT));
        }
        let first = ports.first().copied().unwrap_or(DEFAULT_PORT);
        if config.get_hosts().is_empty() {
            config.host(local_host(first));
        }
        let hosts = config.get_hosts();
        if ports.len() > 1 && ports.len() != hosts.len() {
            return Err(invalid("there must be one port, or as many as hosts"));
        }
        let located = hosts.iter().enumerate().map(|(i, host)| {
            let port = ports.get(i).copied().unwrap_or(first);
            match host {
                Host::Tcp(name) if name.is_empty() => Ok((Host::Tcp(local_host(port)), port)),
                Host::Tcp(name)
                    if name.contains(|c: char| !c.is_alphanumeric() && !"-._:".contains(c)) =>
                {
                    Err(invalid("a host is malformed"))
                }
                host => Ok((host.clone(), port)),
            }
        });
        located.collect()
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

impl FromStr for DatabaseUrl {
    type Err = InvalidDatabaseUrl;

    fn from_str(url: &str) -> Result<Self, InvalidDatabaseUrl> {
        Self::parse(url)
    }
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

/// Where a server on this machine listens: its socket's directory, if there is
/// one in the usual places, else `localhost`.
fn local_host(port: u16) -> String {
    ["/var/run/postgresql", "/private/tmp", "/tmp"]
        .into_iter()
        .find(|directory| {
            Path::new(directory)
                .join(format!(".s.PGSQL.{port}"))
                .exists()
        })
        .unwrap_or("localhost")
        .to_owned()
}

fn os_user() -> Option<String> {
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid());
    user.ok().flatten().map(|user| user.name)
}

pub(super) fn invalid(message: impl Into<String>) -> InvalidDatabaseUrl {
    InvalidDatabaseUrl(message.into())
}
#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::store::tls::TlsMode;

    const ENVIRONMENT: [(&str, &str); 3] = [
        ("PGUSER", "ada"),
        ("PGHOST", "db.example"),
        ("PGPASSWORD", ""),
    ];

    fn read(url: &str) -> Result<DatabaseUrl, InvalidDatabaseUrl> {
        read_with(url, &ENVIRONMENT)
    }

    fn read_with(url: &str, pairs: &[(&str, &str)]) -> Result<DatabaseUrl, InvalidDatabaseUrl> {
        DatabaseUrl::read(url, &|name| {
            let pair = pairs.iter().find(|(variable, _)| *variable == name);
            pair.map(|(_, value)| (*value).to_owned())
        })
    }

    fn password_of(url: &DatabaseUrl) -> &str {
        let password = url.config.get_password().unwrap_or_default();
        std::str::from_utf8(password).expect("UTF-8")
    }

    #[test]
    fn a_url_is_read_into_its_parts() {
        for (url, shown, password) in [
            (
                "postgresql://ada:secret@h:5433/space",
                "ada@h:5433/space",
                "secret",
            ),
            ("postgres://", "ada@db.example:5432/ada", ""),
            ("postgres://h", "ada@h:5432/ada", ""),
            ("postgres://bob@h", "bob@h:5432/bob", ""),
            ("postgres://bob:@h/", "bob@h:5432/bob", ""),
            ("postgres://bob@/space", "bob@db.example:5432/space", ""),
            ("postgres://127.0.0.1:1/x", "ada@127.0.0.1:1/x", ""),
            ("postgres://[::1]/x", "ada@[::1]:5432/x", ""),
            ("postgres://[::1]:9/x", "ada@[::1]:9/x", ""),
            ("postgres://h/x?host=::1", "ada@[::1]:5432/x", ""),
            ("postgres://%2Frun%2Fpg/x", "ada@/run/pg:5432/x", ""),
            ("postgres://%2frun:7/x", "ada@/run:7/x", ""),
            ("postgres:///x?host=/run/pg", "ada@/run/pg:5432/x", ""),
            ("postgres://h/x?host=g&port=8", "ada@g:8/x", ""),
            ("postgres://b%40d:p%3a%2F%25@h", "b@d@h:5432/b@d", "p:/%"),
            ("postgres://bob:p:w#r?d@h", "bob@h:5432/bob", "p:w#r?d"),
            ("postgres://:secret@h/x", "ada@h:5432/x", "secret"),
            ("postgres://bob:p+q@h", "bob@h:5432/bob", "p+q"),
            (
                "postgres:///?user=bob&password=a%26b%40&dbname=y&host=h",
                "bob@h:5432/y",
                "a&b@",
            ),
            ("postgres://h/%C3%A9t%C3%A9", "ada@h:5432/été", ""),
            (
                "postgres://h1,h2:2,[::3]:3/x",
                "ada@h1:5432,h2:2,[::3]:3/x",
                "",
            ),
            (
                "postgres:///x?host=a,%2Frun&port=1,2",
                "ada@a:1,/run:2/x",
                "",
            ),
            ("postgres://h/x?host=a,b&port=7", "ada@a:7,b:7/x", ""),
        ] {
            let read = read(url).expect(url);
            assert_eq!(read.to_string(), shown, "{url}");
            assert_eq!(password_of(&read), password, "{url}");
            let shown = format!("{read} {read:?}");
            assert!(password.is_empty() || !shown.contains(password), "{shown}");
        }
    }

    #[test]
    fn sqlx_is_given_what_tokio_postgres_has_read() {
        let url =
            "postgres://bob:pw@[::1]:9/x?options=-c%20search_path%3Da%5C%20b%20--work-mem%3D1MB";
        let options = DatabaseUrl::parse(url)
            .expect(url)
            .sqlx_options("space-events reader");
        assert_eq!(options.get_host(), "::1");
        assert_eq!(options.get_port(), 9);
        assert_eq!(options.get_username(), "bob");
        assert_eq!(options.get_database(), Some("x"));
        assert_eq!(options.get_application_name(), Some("space-events reader"));
        let settings = options.get_options().unwrap_or_default();
        assert!(
            settings.ends_with("-c search_path=a\\ b --work-mem=1MB"),
            "{settings}"
        );

        let socket = DatabaseUrl::parse("postgres://bob@%2Frun/x").expect("a socket");
        let options = socket.sqlx_options("");
        assert_eq!(options.get_socket(), Some(&PathBuf::from("/run")));
        // Not even an empty text: PgBouncer refuses it.
        if std::env::var_os("PGOPTIONS").is_none() {
            assert_eq!(options.get_options(), None);
        }
    }

    #[test]
    fn tls_is_what_sslmode_and_its_companions_say() {
        for (options, mode, root) in [
            ("", TlsMode::Preferred, None),
            ("sslmode=disable", TlsMode::Off, None),
            ("sslmode=allow", TlsMode::Off, None),
            (
                "sslmode=prefer&sslrootcert=/ca",
                TlsMode::Preferred,
                Some("/ca"),
            ),
            ("sslmode=require", TlsMode::Unchecked, None),
            ("ssl=true", TlsMode::Unchecked, None),
            (
                "sslmode=require&sslrootcert=/ca",
                TlsMode::Chain,
                Some("/ca"),
            ),
            ("sslmode=verify-ca", TlsMode::Chain, None),
            (
                "sslmode=verify-full&sslrootcert=/ca",
                TlsMode::ChainAndHost,
                Some("/ca"),
            ),
            ("sslrootcert=system", TlsMode::ChainAndHost, None),
            (
                "sslmode=require&channel_binding=require",
                TlsMode::ChainAndHost,
                None,
            ),
            (
                "sslmode=require&channel_binding=prefer",
                TlsMode::Unchecked,
                None,
            ),
            ("sslmode=verify-full&host=/run", TlsMode::Off, None),
        ] {
            let read = read(&format!("postgres://h/?{options}")).expect(options);
            let tls = read.tls.on(&read.host().0);
            assert_eq!(tls.mode, mode, "{options}");
            assert_eq!(tls.root_cert.as_deref(), root.map(Path::new), "{options}");
        }
    }

    #[test]
    fn options_that_other_programs_want_are_taken() {
        let url = "postgres://h/?application_name=x&fallback_application_name=y&client_encoding=UTF8\
                   &load_balance_hosts=random&sslnegotiation=postgres&gssencmode=prefer\
                   &target_session_attrs=read-write&connect_timeout=3&tcp_user_timeout=4000\
                   &keepalives=1&keepalives_idle=30&keepalives_interval=0&keepalives_count=9&";
        let url = read(url).expect(url);
        assert!(url.writes);
        let config = &url.config;
        assert_eq!(config.get_connect_timeout(), Some(&Duration::from_secs(3)));
        assert_eq!(config.get_tcp_user_timeout(), Some(&Duration::from_secs(4)));
        assert_eq!(config.get_keepalives_idle(), Duration::from_secs(30));
        assert_eq!(
            config.get_keepalives_interval(),
            Some(Duration::from_secs(2))
        );
        assert_eq!(config.get_keepalives_retries(), Some(9));
        assert!(
            !read("postgres://h/?keepalives=0")
                .expect("off")
                .config
                .get_keepalives()
        );
        for (url, limit) in [("postgres://h", 10), ("postgres://h,i", 2)] {
            assert_eq!(
                read(url).expect(url).connect_timeout(),
                Duration::from_secs(limit)
            );
        }
    }

    #[test]
    fn what_a_url_leaves_out_comes_from_the_environment() {
        let environment = [
            ("PGUSER", "ada"),
            ("PGPASSWORD", "pw"),
            ("PGHOST", "/run/pg"),
            ("PGPORT", "7"),
            ("PGDATABASE", "space"),
            ("PGSSLMODE", "verify-full"),
            ("PGSSLROOTCERT", "/ca"),
            ("PGSSLCERT", "/cert"),
            ("PGSSLKEY", "/key"),
        ];
        let all = read_with("postgres://", &environment).expect("all from there");
        assert_eq!(all.to_string(), "ada@/run/pg:7/space");
        assert_eq!(password_of(&all), "pw");
        let some = read_with("postgres://bob:mine@h:1/x", &environment).expect("some from there");
        assert_eq!(some.to_string(), "bob@h:1/x");
        assert_eq!(password_of(&some), "mine");
        assert_eq!(some.tls.mode, TlsMode::ChainAndHost);
        assert_eq!(some.tls.root_cert, Some("/ca".into()));
        assert!(some.tls.client_cert.is_some());
    }

    #[test]
    fn a_bad_url_is_refused_in_one_sentence_without_its_password() {
        let scheme = "it must start with postgres:// or postgresql://";
        let encode = "`/` and `@` must be written %2F and %40 in the user, password and database";
        for (url, expected) in [
            ("", scheme),
            ("mysql://ada:secret@h/x", scheme),
            ("host=h password=secret", scheme),
            ("postgres://h:0/x", PORT),
            ("postgres://h:65536/x", PORT),
            ("postgres://h/x?port=1x", PORT),
            ("postgres://ada:secret/x", PORT),
            ("postgres://ada:secret/more@h/x", encode),
            ("postgres://ada:secr@et/more@h/x", encode),
            ("postgres://ada:secr@et@h/x", encode),
            (
                "postgres://ada?se-cret=1",
                "the name of an option is malformed",
            ),
            (
                "postgres://h1:1,h2:2/x?port=1,2,3",
                "there must be one port, or as many as hosts",
            ),
            ("postgres://[::1/x", "invalid value for option `host`"),
            ("postgres://[::1]x/x", "invalid value for option `host`"),
            ("postgres://a%20b/x", "a host is malformed"),
            ("postgres://ada:%ff@h", "the password is not UTF-8"),
            ("postgres://h/x?connect_timeout", "an option has no value"),
            (
                "postgres://h/x?sslmode=on",
                "option `sslmode` is `on`; it must be one of disable, allow, prefer, require, verify-ca, verify-full",
            ),
            (
                "postgres://h/x?sslcert=/c",
                "sslcert and sslkey must be given together",
            ),
            (
                "postgres://h/x?sslrootcert=system&sslmode=require",
                "sslrootcert=system needs sslmode=verify-full, not `require`",
            ),
            (
                "postgres://h/x?channel_binding=require&sslmode=allow",
                "channel_binding=require needs TLS, which sslmode=allow turns off",
            ),
            (
                "postgres://h/x?channel_binding=maybe",
                "option `channel_binding` is `maybe`; it must be disable, prefer or require",
            ),
            (
                "postgres://h/x?sslnegotiation=direct",
                "option `sslnegotiation` must be postgres",
            ),
            (
                "postgres://h/x?gssencmode=require",
                "option `gssencmode` is `require`; it must be disable or prefer",
            ),
            (
                "postgres://h/x?target_session_attrs=standby",
                "option `target_session_attrs` is `standby`; it must be any, primary or read-write, since a standby is never used",
            ),
            (
                "postgres://h/x?connect_timeout=soon",
                "invalid value for option `connect_timeout`",
            ),
            (
                "postgres://h/x?keepalives=yes",
                "invalid value for option `keepalives`",
            ),
            ("postgres://h/x?schema=public", "unknown option `schema`"),
            (
                "postgres://h/x?password=secret&pgbouncer=true",
                "unknown option `pgbouncer`",
            ),
            (
                "postgres://h/x?hostaddr=::1",
                "option `hostaddr` is not supported; use `host`",
            ),
        ] {
            let error = read(url).expect_err(url).to_string();
            assert_eq!(error, expected, "{url}");
        }
    }
}
