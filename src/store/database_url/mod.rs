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
use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use tokio_postgres::Config;
use tokio_postgres::config::Host;

use url::form_urlencoded::byte_serialize;

use self::options::Options;
use super::tls::TlsSettings;

pub use self::connect::{Connection, Unusable};

pub(super) mod options;
mod connect;

/// How long connecting to a host may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The same where there are others to try.
const CONNECT_TIMEOUT_OF_SEVERAL: Duration = Duration::from_secs(2);
/// How long sent data may stay unacknowledged before the connection counts as dead.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(10);
/// When TCP asks whether the server is still there: idle for so long, then so many
/// times, with such a pause between.
const KEEPALIVE: (Duration, u32, Duration) = (Duration::from_secs(5), 3, Duration::from_secs(2));

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
        let mut config = parsed(&format!("{credentials}/{database}?{others}"))?;
        let address = parsed(&options.address(authority)?)?;
        let hosts = address.get_hosts().iter().zip(address.get_ports());
        let hosts: Vec<_> = hosts
            .map(|(host, port)| located(host, *port))
            .collect::<Result<_, _>>()?;
        complete_identity(&mut config, &options)?;
        complete_limits(&mut config, hosts.len());
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

/// How soon a server that is gone is noticed, where the URL does not say it.
fn complete_limits(config: &mut Config, hosts: usize) {
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(match hosts {
            1 => CONNECT_TIMEOUT,
            _ => CONNECT_TIMEOUT_OF_SEVERAL,
        });
    }
    let (idle, retries, interval) = KEEPALIVE;
    if config.get_keepalives_idle() == Config::new().get_keepalives_idle() {
        config.keepalives_idle(idle);
    }
    let retries = config.get_keepalives_retries().unwrap_or(retries);
    let interval = config.get_keepalives_interval().unwrap_or(interval);
    let unacknowledged = config.get_tcp_user_timeout().copied();
    config
        .keepalives_retries(retries)
        .keepalives_interval(interval)
        .tcp_user_timeout(unacknowledged.unwrap_or(TCP_USER_TIMEOUT));
}

fn os_user() -> Option<String> {
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid());
    user.ok().flatten().map(|user| user.name)
}

pub(in crate::store) fn invalid(message: impl Into<String>) -> InvalidDatabaseUrl {
    InvalidDatabaseUrl(message.into())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use tokio_postgres::config::TargetSessionAttrs;

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
            (
                "postgres://h:1,[::2]:3,[::4]/x?port=7,8,",
                "ada@h:7,[::2]:8,[::4]:5432/x",
                "",
            ),
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
        let config = &url.config;
        assert_eq!(
            config.get_target_session_attrs(),
            TargetSessionAttrs::ReadWrite
        );
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
        let nothing = read_with("postgres://", &[("PGUSER", "ada")]).expect("this machine");
        assert!(nothing.to_string().ends_with(":5432/ada"), "{nothing}");
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
