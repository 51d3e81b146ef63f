//! One reading of a Postgres URL for both drivers.
//!
//! sqlx and tokio-postgres each refuse options that the other takes, and fill
//! gaps differently. Here the URL is read once, the way libpq (psql) reads it,
//! and each driver is handed the result, so that they open the same database
//! as the same user, with the same TLS:
//!
//! - What a URL leaves out comes from `PGHOST`, `PGPORT`, `PGUSER`, `PGPASSWORD`,
//!   `PGDATABASE`, `PGSSLMODE`, `PGSSLROOTCERT`, `PGSSLCERT` and `PGSSLKEY`;
//!   settings in `PGOPTIONS` come before those of the URL. A password file is not read.
//! - `application_name` is always ours; one in the URL is ignored.
//! - `sslmode=require` with `sslrootcert` checks the chain, as in libpq;
//!   `sslrootcert=system` means the system's certificates and `verify-full`.
//! - Neither driver can bind channels. `channel_binding=require` keeps the same
//!   attacker out by other means: it raises `sslmode` to `verify-full`.
//! - Over a unix socket `sslmode` means nothing, as in libpq.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tokio_postgres::config::{SslMode, TargetSessionAttrs};

use self::text::{Given, invalid, read_port, several_hosts};
use super::tls::{TlsMode, TlsSettings, TlsStream};

mod text;

const DEFAULT_PORT: u16 = 5432;

/// What drives a [`tokio_postgres::Client`]: poll it as a future, or by
/// `poll_message` for notifications. One type with and without TLS.
pub type Connection =
    tokio_postgres::Connection<tokio_postgres::Socket, TlsStream<tokio_postgres::Socket>>;

/// Where a database is, and how to connect to it.
///
/// Shown by `Display` as `postgres://user@host:5432/database`, and by `Debug`
/// likewise: never with the password.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl {
    user: String,
    password: Option<String>,
    host: Host,
    port: u16,
    database: String,
    tls: TlsSettings,
    /// The server's settings for the session, from `options`, in order.
    parameters: Vec<(String, String)>,
    target_session_attrs: TargetSessionAttrs,
    connect_timeout: Duration,
    tcp_user_timeout: Duration,
    keepalive: Option<Keepalive>,
    statement_cache_capacity: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    /// A name or an address, IPv6 without brackets.
    Tcp(String),
    /// The directory of a unix socket.
    Socket(PathBuf),
}

/// When TCP asks whether the server is still there: together about 11 seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Keepalive {
    idle: Duration,
    interval: Duration,
    retries: u32,
}

/// What is wrong with a database URL: one sentence, which names the option and
/// never the password. The caller puts the variable's name before it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidDatabaseUrl(String);

impl DatabaseUrl {
    /// Reads a URL: `postgres://user:password@host:port/database?option=value&…`,
    /// each part but the scheme optional. A host that starts with `/` (written
    /// `%2F`, or given as `?host=/…`) is the directory of a unix socket.
    ///
    /// # Errors
    ///
    /// Another scheme, several hosts, a malformed part, an unknown option, an
    /// option's value that is none of those it can have.
    pub fn parse(url: &str) -> Result<Self, InvalidDatabaseUrl> {
        Self::read(url, &|name| std::env::var(name).ok())
    }

    fn read(
        url: &str,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, InvalidDatabaseUrl> {
        // As in libpq, an empty variable is none.
        let environment = |name| environment(name).filter(|value| !value.is_empty());
        let mut given = Given::read(url)?;

        given.sslmode = given.sslmode.or_else(|| environment("PGSSLMODE"));
        given.sslrootcert = given.sslrootcert.or_else(|| environment("PGSSLROOTCERT"));
        given.sslcert = given.sslcert.or_else(|| environment("PGSSLCERT"));
        given.sslkey = given.sslkey.or_else(|| environment("PGSSLKEY"));

        let port = match given.port.clone().or_else(|| environment("PGPORT")) {
            Some(port) => read_port(&port)?,
            None => DEFAULT_PORT,
        };
        let host = given.host.clone().or_else(|| environment("PGHOST"));
        let host = Host::read(host.unwrap_or_else(|| local_host(port)))?;
        let user = given.user.clone().or_else(|| environment("PGUSER"));
        let user = user
            .or_else(os_user)
            .ok_or_else(|| invalid("no user is named"))?;
        if user.is_empty() {
            return Err(invalid("the user is empty"));
        }
        let database = given.database.clone().or_else(|| environment("PGDATABASE"));

        Ok(Self {
            password: given.password.clone().or_else(|| environment("PGPASSWORD")),
            database: database.unwrap_or_else(|| user.clone()),
            tls: given.tls(&host)?,
            user,
            host,
            port,
            parameters: given.parameters,
            target_session_attrs: given.target_session_attrs,
            connect_timeout: given.connect_timeout,
            tcp_user_timeout: given.tcp_user_timeout,
            keepalive: given.keepalives.then_some(given.keepalive),
            statement_cache_capacity: given.statement_cache_capacity,
        })
    }

    /// How long a connection may take until it can be used: `connect_timeout`,
    /// 10 seconds by default and where it is 0.
    pub fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// The options for sqlx. The session's name starts with `space-events`:
    /// `application_name` itself if it does, else `space-events ` and it.
    pub fn sqlx_options(&self, application_name: &str) -> PgConnectOptions {
        let options = PgConnectOptions::new_without_pgpass()
            .username(&self.user)
            .port(self.port)
            .database(&self.database)
            .application_name(&session_name(application_name))
            .ssl_mode(match self.tls.mode {
                TlsMode::Off => PgSslMode::Disable,
                TlsMode::Preferred => PgSslMode::Prefer,
                TlsMode::Unchecked => PgSslMode::Require,
                TlsMode::Chain => PgSslMode::VerifyCa,
                TlsMode::ChainAndHost => PgSslMode::VerifyFull,
            })
            // The server's own default is as exact, and poolers refuse to set it.
            .extra_float_digits(None);
        // Without any, sqlx would send an empty text, which poolers refuse too.
        let options = match self.parameters.is_empty() {
            true => options,
            false => options.options(self.parameters.iter().map(|(name, value)| (name, value))),
        };
        let options = match &self.host {
            Host::Tcp(host) => options.host(host),
            Host::Socket(directory) => options.socket(directory),
        };
        let options = match &self.password {
            Some(password) => options.password(password),
            None => options,
        };
        let options = match &self.tls.root_cert {
            Some(path) => options.ssl_root_cert(path),
            // sqlx has taken PGSSLROOTCERT, which `sslrootcert=system` must outdo.
            None => options.ssl_root_cert_from_pem(Vec::new()),
        };
        let options = match &self.tls.client_cert {
            Some(client) => options
                .ssl_client_cert(&client.cert)
                .ssl_client_key(&client.key),
            None => options,
        };
        match self.statement_cache_capacity {
            Some(capacity) => options.statement_cache_capacity(capacity),
            None => options,
        }
    }

    /// The configuration for tokio-postgres, the session named as in
    /// [`sqlx_options`](Self::sqlx_options). Its TLS is in [`connect`](Self::connect).
    pub fn tokio_postgres_config(&self, application_name: &str) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        config
            .user(&self.user)
            .port(self.port)
            .dbname(&self.database)
            .application_name(session_name(application_name))
            .ssl_mode(match self.tls.mode {
                TlsMode::Off => SslMode::Disable,
                TlsMode::Preferred => SslMode::Prefer,
                TlsMode::Unchecked | TlsMode::Chain | TlsMode::ChainAndHost => SslMode::Require,
            })
            .target_session_attrs(self.target_session_attrs)
            .connect_timeout(self.connect_timeout)
            .tcp_user_timeout(self.tcp_user_timeout)
            .keepalives(self.keepalive.is_some());
        match &self.host {
            Host::Tcp(host) => config.host(host),
            Host::Socket(directory) => config.host_path(directory),
        };
        if let Some(password) = &self.password {
            config.password(password);
        }
        if let Some(Keepalive {
            idle,
            interval,
            retries,
        }) = self.keepalive
        {
            config
                .keepalives_idle(idle)
                .keepalives_interval(interval)
                .keepalives_retries(retries);
        }
        // sqlx writes the settings as text, with PGOPTIONS before them: the same text here.
        if let Some(options) = self.sqlx_options(application_name).get_options() {
            config.options(options);
        }
        config
    }

    /// Connects with tokio-postgres. Nothing happens on the connection until the
    /// second part is polled. Cancel safe.
    ///
    /// # Errors
    ///
    /// The server cannot be reached, refuses, has no TLS or an untrusted
    /// certificate where `sslmode` asks for them, or takes longer than
    /// [`connect_timeout`](Self::connect_timeout); a certificate file that cannot be read.
    pub async fn connect(
        &self,
        application_name: &str,
    ) -> anyhow::Result<(tokio_postgres::Client, Connection)> {
        let connecting = async {
            let tls = self.tls.connector().await?;
            let config = self.tokio_postgres_config(application_name);
            anyhow::Ok(config.connect(tls).await?)
        };
        // The drivers' own limit is for the TCP connection alone: a server that
        // accepts and says nothing would hold us for ever.
        match tokio::time::timeout(self.connect_timeout, connecting).await {
            Ok(connected) => connected,
            Err(_) => Err(anyhow::anyhow!(
                "no answer within {:?}",
                self.connect_timeout
            )),
        }
        .with_context(|| format!("connect to {self}"))
    }
}

impl FromStr for DatabaseUrl {
    type Err = InvalidDatabaseUrl;

    fn from_str(url: &str) -> Result<Self, InvalidDatabaseUrl> {
        Self::parse(url)
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (user, database) = (encoded(&self.user), encoded(&self.database));
        match &self.host {
            Host::Tcp(host) if host.contains(':') => {
                write!(f, "postgres://{user}@[{host}]:{}/{database}", self.port)
            }
            Host::Tcp(host) => write!(f, "postgres://{user}@{host}:{}/{database}", self.port),
            Host::Socket(directory) => {
                let directory = directory.display();
                write!(
                    f,
                    "postgres://{user}@/{database}?host={directory}&port={}",
                    self.port
                )
            }
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({self}, {:?})", self.tls)
    }
}

impl Host {
    fn read(host: String) -> Result<Self, InvalidDatabaseUrl> {
        if host.starts_with('/') {
            return Ok(Self::Socket(host.into()));
        }
        if host.contains(',') {
            return Err(several_hosts());
        }
        let odd = |c: char| c.is_whitespace() || c.is_control() || "/@?#%[]".contains(c);
        if host.is_empty() || host.contains(odd) {
            return Err(invalid("the host is malformed"));
        }
        Ok(Self::Tcp(host))
    }
}

fn session_name(application_name: &str) -> String {
    match application_name.starts_with("space-events") {
        true => application_name.to_owned(),
        false => format!("space-events {application_name}"),
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

fn encoded(text: &str) -> String {
    use fmt::Write;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(byte.into());
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn a_url_is_read_into_its_parts() {
        let long = "postgresql://ada:secret@h:5433/space";
        for (url, shown, password) in [
            (long, "postgres://ada@h:5433/space", Some("secret")),
            ("postgres://", "postgres://ada@db.example:5432/ada", None),
            ("postgres://h", "postgres://ada@h:5432/ada", None),
            ("postgres://bob@h", "postgres://bob@h:5432/bob", None),
            ("postgres://bob:@h/", "postgres://bob@h:5432/bob", None),
            (
                "postgres://bob@/space",
                "postgres://bob@db.example:5432/space",
                None,
            ),
            (
                "postgres://127.0.0.1:1/x",
                "postgres://ada@127.0.0.1:1/x",
                None,
            ),
            ("postgres://[::1]/x", "postgres://ada@[::1]:5432/x", None),
            ("postgres://[::1]:9/x", "postgres://ada@[::1]:9/x", None),
            (
                "postgres://h/x?host=::1",
                "postgres://ada@[::1]:5432/x",
                None,
            ),
            (
                "postgres://%2Frun%2Fpg/x",
                "postgres://ada@/x?host=/run/pg&port=5432",
                None,
            ),
            (
                "postgres://%2frun:7/x",
                "postgres://ada@/x?host=/run&port=7",
                None,
            ),
            (
                "postgres:///x?host=/run/pg",
                "postgres://ada@/x?host=/run/pg&port=5432",
                None,
            ),
            ("postgres://h/x?host=g&port=8", "postgres://ada@g:8/x", None),
            (
                "postgres://b%40d:p%3a%2F%25@h",
                "postgres://b%40d@h:5432/b%40d",
                Some("p:/%"),
            ),
            (
                "postgres://bob:p@ss:w#rd@h",
                "postgres://bob@h:5432/bob",
                Some("p@ss:w#rd"),
            ),
            (
                "postgres://bob:p+q@h",
                "postgres://bob@h:5432/bob",
                Some("p+q"),
            ),
            (
                "postgres:///?user=bob&password=a%26b&dbname=y&host=h",
                "postgres://bob@h:5432/y",
                Some("a&b"),
            ),
            (
                "postgres://h/%C3%A9t%C3%A9",
                "postgres://ada@h:5432/%C3%A9t%C3%A9",
                None,
            ),
        ] {
            let read = read(url).expect(url);
            assert_eq!(read.to_string(), shown, "{url}");
            assert_eq!(read.password.as_deref(), password, "{url}");
            let shown = format!("{read} {read:?}");
            assert!(
                password.is_none_or(|password| !shown.contains(password)),
                "{shown}"
            );
        }
    }

    #[test]
    fn both_drivers_are_given_the_same() {
        let url =
            "postgres://bob:pw@[::1]:9/x?options=-c%20search_path%3Da%5C%20b&options[geqo]=off";
        let url = DatabaseUrl::parse(url).expect(url);
        let sqlx = url.sqlx_options("reader");
        let tokio = url.tokio_postgres_config("space-events listener");
        assert_eq!(sqlx.get_host(), "::1");
        assert_eq!(
            tokio.get_hosts(),
            [tokio_postgres::config::Host::Tcp("::1".into())]
        );
        assert_eq!((sqlx.get_port(), tokio.get_ports()), (9, &[9][..]));
        assert_eq!(
            (sqlx.get_username(), tokio.get_user()),
            ("bob", Some("bob"))
        );
        assert_eq!(
            (sqlx.get_database(), tokio.get_dbname()),
            (Some("x"), Some("x"))
        );
        assert_eq!(tokio.get_password(), Some(&b"pw"[..]));
        assert_eq!(sqlx.get_application_name(), Some("space-events reader"));
        assert_eq!(tokio.get_application_name(), Some("space-events listener"));
        assert_eq!(sqlx.get_options(), tokio.get_options());
        let options = sqlx.get_options().unwrap_or_default();
        assert!(
            options.ends_with("-c search_path=a\\ b -c geqo=off"),
            "{options}"
        );

        let socket = DatabaseUrl::parse("postgres://bob@%2Frun/x").expect("a socket");
        let directory = PathBuf::from("/run");
        assert_eq!(socket.sqlx_options("").get_socket(), Some(&directory));
        let hosts = [tokio_postgres::config::Host::Unix(directory)];
        assert_eq!(socket.tokio_postgres_config("").get_hosts(), hosts);
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
                "ssl-mode=require&ssl-root-cert=/ca",
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
            assert_eq!(read.tls.mode, mode, "{options}");
            assert_eq!(
                read.tls.root_cert.as_deref(),
                root.map(Path::new),
                "{options}"
            );
        }
    }

    #[test]
    fn options_that_other_programs_want_are_taken() {
        let url = "postgres://h/?application_name=x&fallback_application_name=y&client_encoding=UTF8\
                   &load_balance_hosts=random&sslnegotiation=postgres&gssencmode=prefer\
                   &target_session_attrs=read-write&connect_timeout=3&tcp_user_timeout=4000\
                   &keepalives=1&keepalives_idle=30&keepalives_interval=0&keepalives_count=9\
                   &statement-cache-capacity=0&";
        let url = read(url).expect(url);
        assert_eq!(url.connect_timeout(), Duration::from_secs(3));
        assert_eq!(url.statement_cache_capacity, Some(0));
        let config = url.tokio_postgres_config("feed");
        assert_eq!(
            config.get_target_session_attrs(),
            TargetSessionAttrs::ReadWrite
        );
        assert_eq!(config.get_tcp_user_timeout(), Some(&Duration::from_secs(4)));
        assert_eq!(config.get_keepalives_idle(), Duration::from_secs(30));
        assert_eq!(
            config.get_keepalives_interval(),
            Some(Duration::from_secs(2))
        );
        assert_eq!(config.get_keepalives_retries(), Some(9));
        let config = read("postgres://h/?keepalives=0").expect("off");
        assert!(!config.tokio_postgres_config("feed").get_keepalives());
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
        assert_eq!(all.to_string(), "postgres://ada@/space?host=/run/pg&port=7");
        assert_eq!(all.password.as_deref(), Some("pw"));
        let some = read_with("postgres://bob:mine@h:1/x", &environment).expect("some from there");
        assert_eq!(some.to_string(), "postgres://bob@h:1/x");
        assert_eq!(some.password.as_deref(), Some("mine"));
        assert_eq!(some.tls.mode, TlsMode::ChainAndHost);
        assert_eq!(some.tls.root_cert, Some("/ca".into()));
        assert!(some.tls.client_cert.is_some());
    }

    #[test]
    fn a_bad_url_is_refused_in_one_sentence_without_its_password() {
        let encode =
            "`/`, `?` and `@` must be written %2F, %3F and %40 in the user, password and database";
        let port = "the port must be a number from 1 to 65535";
        let several = "several hosts are named; only one is supported";
        for (url, expected) in [
            ("", "it must start with postgres:// or postgresql://"),
            (
                "mysql://ada:secret@h/x",
                "it must start with postgres:// or postgresql://",
            ),
            (
                "host=h password=secret",
                "it must start with postgres:// or postgresql://",
            ),
            ("postgres://:secret@h/x", "the user is empty"),
            ("postgres://h/x?user=", "the user is empty"),
            ("postgres://h1,h2/x", several),
            ("postgres://h1:1,h2:2/x", several),
            ("postgres://h/x?host=a,b", several),
            ("postgres://h/x?port=1,2", several),
            ("postgres://h:0/x", port),
            ("postgres://h:65536/x", port),
            ("postgres://ada:secret/x", port),
            ("postgres://ada:secret/more@h/x", encode),
            ("postgres://ada:secr@et/more@h/x", encode),
            ("postgres://ada:secr?et@h/x", port),
            (
                "postgres://ada:1?secret@h/x",
                "the name of an option is malformed",
            ),
            (
                "postgres://[::g]/x",
                "the host in brackets is not an IPv6 address",
            ),
            ("postgres://[::1/x", "the host is malformed"),
            ("postgres://[::1]x/x", "the host is malformed"),
            ("postgres://a%20b/x", "the host is malformed"),
            (
                "postgres://ada:100%secret@h",
                "`%` in the password must be followed by two hexadecimal digits; write %25 for `%`",
            ),
            ("postgres://ada:%ff@h", "the password is not UTF-8"),
            ("postgres://h/a%00b", "a zero byte in the database"),
            ("postgres://h/x?sslmode", "option `sslmode` has no value"),
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
                "option `channel_binding` is `maybe`; it must be one of disable, prefer, require",
            ),
            (
                "postgres://h/x?sslnegotiation=direct",
                "option `sslnegotiation` is `direct`; it must be postgres",
            ),
            (
                "postgres://h/x?gssencmode=require",
                "option `gssencmode` is `require`; it must be disable or prefer",
            ),
            (
                "postgres://h/x?target_session_attrs=standby",
                "option `target_session_attrs` is `standby`; it must be any or read-write",
            ),
            (
                "postgres://h/x?connect_timeout=soon",
                "option `connect_timeout` is `soon`; it must be a whole number",
            ),
            (
                "postgres://h/x?keepalives=yes",
                "option `keepalives` is `yes`; it must be 0 or 1",
            ),
            (
                "postgres://h/x?options=-d",
                "option `options` takes settings, each written `-c name=value`",
            ),
            ("postgres://h/x?schema=public", "unknown option `schema`"),
            (
                "postgres://h/x?password=secret&pgbouncer=true",
                "unknown option `pgbouncer`",
            ),
        ] {
            let error = read(url).expect_err(url).to_string();
            assert_eq!(error, expected, "{url}");
        }
    }
}
