//! Every setting, read once, from flags, environment variables and `.env`.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail, ensure};
use clap::{Args, Parser, Subcommand};
use embedded_postgres::default_data_dir;
use socketioxide::TransportType;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use url::{Host, Url};

use crate::api_key::ApiKeys;
use crate::asking::{Explain, Tail};
use crate::rest::pricing_url::AllowedHost;
use crate::sockets::Access;
use crate::store::database_url::DatabaseUrl;

/// Enough for commits that share a flush of the disk.
const DATABASE_POOL_SIZE: NonZeroU32 = NonZeroU32::new(20).expect("a number from 1 on");

/// A Postgres change-data-capture emitter that speaks SPACE's Socket.IO protocol.
#[derive(Debug, Parser)]
#[command(version, about, args_conflicts_with_subcommands = false)]
pub struct CommandLine {
    /// What to do [default: serve].
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The settings.
    #[command(flatten)]
    pub settings: Settings,
}

/// What the program can do.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Apply the migrations, then serve REST and Socket.IO until a signal.
    Serve,
    /// Apply the migrations and exit.
    Migrate,
    /// Ask the instance at HOST and PORT whether it serves, and exit with 0 or 1.
    Healthcheck,
    /// Print the events of the instance at HOST and PORT as they come.
    Tail(Tail),
    /// Print what the instance at HOST and PORT recorded of a service, and why it was
    /// announced or not.
    Explain(Explain),
}

/// The settings as they were given: text that is not checked yet. An empty one counts
/// as not given.
#[derive(Args, Clone, Debug, Default)]
pub struct Settings {
    /// The database to use [default: an embedded Postgres].
    #[arg(long, env, global = true, hide_env_values = true)]
    pub database_url: Option<String>,
    /// A direct connection for LISTEN and migrations, if DATABASE_URL leads to a
    /// transaction pooler [default: DATABASE_URL].
    #[arg(long, env, global = true, hide_env_values = true)]
    pub database_listen_url: Option<String>,
    /// Where the embedded Postgres keeps its files [default: .space-events; as
    /// root: /var/lib/space-events].
    #[arg(long, env, global = true)]
    pub data_dir: Option<PathBuf>,
    /// The address to listen on [default: 127.0.0.1].
    #[arg(long, env, global = true)]
    pub host: Option<String>,
    /// The port to listen on; 0 takes a free one [default: 5403].
    #[arg(long, env, global = true)]
    pub port: Option<String>,
    /// The API keys, separated by commas: `key:SCOPE` or `name=key:SCOPE@organization`
    /// with SCOPE one of ALL, MANAGEMENT, EVALUATION. Without `@` a key belongs to the
    /// default organisation. The log shows the names [default: none; then no key is
    /// needed, and the program listens only on loopback].
    #[arg(long, env, global = true, hide_env_values = true)]
    pub api_keys: Option<String>,
    /// The origins whose pages may read answers in a browser, separated by commas
    /// [default: *].
    #[arg(long, env, global = true)]
    pub cors_origins: Option<String>,
    /// The Engine.IO transports to offer [default: websocket,polling].
    #[arg(long, env, global = true)]
    pub socket_transports: Option<String>,
    /// Who may subscribe: public for anybody, key for clients with one of API_KEYS
    /// [default: public].
    #[arg(long, env, global = true)]
    pub socket_auth: Option<String>,
    /// How long the journal is kept for clients that come back: a number and
    /// one of s, m, h, d, w [default: 7d].
    #[arg(long, env, global = true)]
    pub event_retention: Option<String>,
    /// Hosts on loopback or in private networks from which pricings may be fetched,
    /// separated by commas [default: none].
    #[arg(long, env, global = true)]
    pub pricing_url_allow: Option<String>,
    /// How many connections to the database requests may use at once [default: 20].
    #[arg(long, env, global = true)]
    pub database_pool_size: Option<String>,
    /// How many client connections may be open; more are closed at once [default:
    /// 20000].
    #[arg(long, env, global = true)]
    pub max_connections: Option<String>,
    /// How many of them may come from one address; 0 means no such limit [default: 0].
    #[arg(long, env, global = true)]
    pub max_connections_per_address: Option<String>,
    /// Which log lines are written [default: info].
    #[arg(long, env, global = true)]
    pub rust_log: Option<String>,
    /// The format of log lines: text or json [default: text].
    #[arg(long, env, global = true)]
    pub log_format: Option<String>,
}

/// The settings, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the tables are.
    pub database: Database,
    /// Where to listen.
    pub listen: Vec<SocketAddr>,
    /// Who may do what over REST; if it is empty, no key is needed.
    pub keys: Arc<ApiKeys>,
    /// The origins whose pages may read answers in a browser; none: all.
    pub cors_origins: Option<Vec<String>>,
    /// The Engine.IO transports offered.
    pub transports: Vec<TransportType>,
    /// Who may subscribe.
    pub access: Access,
    /// How long the journal is kept.
    pub retention: Duration,
    /// The hosts in private networks from which pricings may be fetched.
    pub pricing_url_allow: Vec<AllowedHost>,
    /// How many connections to the database REST may use at once.
    pub database_pool_size: NonZeroU32,
    /// How many connections may be open; none: 20,000, or as many as the limit of open
    /// files allows.
    pub max_connections: Option<usize>,
    /// How many of them from one address; none: as many as there may be.
    pub max_connections_per_address: Option<usize>,
}

/// Where the tables are.
#[derive(Clone, Debug)]
pub enum Database {
    /// In an embedded Postgres with its files here.
    Embedded(PathBuf),
    /// In this database.
    Given(Box<Urls>),
}

/// How to reach a database.
#[derive(Clone, Debug)]
pub struct Urls {
    /// For REST.
    pub url: DatabaseUrl,
    /// A direct connection, for migrations, listening and the journal; none: `url`.
    pub listen_url: Option<DatabaseUrl>,
}

impl Urls {
    /// The direct connection, and the variable that it comes from.
    pub fn direct(&self) -> (&'static str, &DatabaseUrl) {
        match &self.listen_url {
            Some(url) => ("DATABASE_LISTEN_URL", url),
            None => ("DATABASE_URL", &self.url),
        }
    }
}

impl Config {
    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// One line that names the variable and says what is wrong with it.
    pub async fn check(settings: Settings) -> anyhow::Result<Self> {
        let keys = given(settings.api_keys).unwrap_or_default();
        let keys = Arc::new(ApiKeys::parse(&keys).map_err(|error| anyhow!("API_KEYS: {error}"))?);
        let access = match given(settings.socket_auth).as_deref() {
            None | Some("public") => Access::Public,
            Some("key") if keys.is_empty() => bail!("SOCKET_AUTH: `key` needs API_KEYS"),
            Some("key") => Access::Key,
            Some(other) => bail!("SOCKET_AUTH: expected public or key, found `{other}`"),
        };
        let listen = listen_addresses(given(settings.host), given(settings.port)).await?;
        if keys.is_empty() && !listen.iter().all(|address| address.ip().is_loopback()) {
            bail!("API_KEYS: needed to listen beyond loopback; set it, or HOST to 127.0.0.1");
        }
        Ok(Self {
            database: database(
                given(settings.database_url),
                given(settings.database_listen_url),
                settings.data_dir,
            )?,
            listen,
            keys,
            cors_origins: cors_origins(given(settings.cors_origins))?,
            transports: transports(given(settings.socket_transports))?,
            access,
            retention: retention(given(settings.event_retention))?,
            pricing_url_allow: AllowedHost::parse_list(
                &given(settings.pricing_url_allow).unwrap_or_default(),
            )
            .map_err(|error| anyhow!("PRICING_URL_ALLOW: {error}"))?,
            database_pool_size: match given(settings.database_pool_size) {
                None => DATABASE_POOL_SIZE,
                Some(text) => text.parse().with_context(|| {
                    format!("DATABASE_POOL_SIZE: expected a number from 1 on, found `{text}`")
                })?,
            },
            max_connections: match given(settings.max_connections) {
                None => None,
                Some(text) => Some(text.parse().ok().filter(|most| *most > 0).with_context(|| {
                    format!("MAX_CONNECTIONS: expected a number from 1 on, found `{text}`")
                })?),
            },
            max_connections_per_address: match given(settings.max_connections_per_address) {
                None => None,
                Some(text) => Some(text.parse().ok().with_context(|| {
                    format!("MAX_CONNECTIONS_PER_ADDRESS: expected a number, or 0 for no limit, found `{text}`")
                })?)
                .filter(|most| *most > 0),
            },
        })
    }
}

/// A setting, unless it is empty.
pub fn given(setting: Option<String>) -> Option<String> {
    setting
        .map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty())
}

fn database(
    url: Option<String>,
    listen_url: Option<String>,
    data_dir: Option<PathBuf>,
) -> anyhow::Result<Database> {
    let Some(url) = url else {
        ensure!(
            listen_url.is_none(),
            "DATABASE_LISTEN_URL: needs DATABASE_URL too"
        );
        let data_dir = data_dir.filter(|path| !path.as_os_str().is_empty());
        return Ok(Database::Embedded(
            data_dir.unwrap_or_else(default_data_dir),
        ));
    };
    let url = DatabaseUrl::parse(&url).map_err(|error| anyhow!("DATABASE_URL: {error}"))?;
    let listen_url = listen_url
        .map(|url| DatabaseUrl::parse(&url))
        .transpose()
        .map_err(|error| anyhow!("DATABASE_LISTEN_URL: {error}"))?;
    Ok(Database::Given(Box::new(Urls { url, listen_url })))
}

/// Where HOST and PORT are.
///
/// # Errors
///
/// One line that names the variable.
pub async fn listen_addresses(
    host: Option<String>,
    port: Option<String>,
) -> anyhow::Result<Vec<SocketAddr>> {
    let port = match port {
        None => 5403,
        Some(port) => port
            .parse::<u16>()
            .map_err(|_| anyhow!("PORT: expected a number from 0 to 65535, found `{port}`"))?,
    };
    let host = host.unwrap_or_else(|| "127.0.0.1".to_owned());
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((name, port))
        .await
        .map_err(|error| anyhow!("HOST: no address for `{host}`: {error}"))?
        .collect();
    ensure!(!addresses.is_empty(), "HOST: no address for `{host}`");
    Ok(addresses)
}

fn cors_origins(origins: Option<String>) -> anyhow::Result<Option<Vec<String>>> {
    let Some(origins) = origins.filter(|origins| origins != "*") else {
        return Ok(None);
    };
    origins
        .split(',')
        .map(|origin| {
            let origin = origin.trim();
            let parsed = Url::parse(origin).ok().filter(|url| {
                matches!(url.host(), Some(Host::Domain(_) | Host::Ipv4(_) | Host::Ipv6(_)))
                    && url.origin().ascii_serialization() == origin.to_ascii_lowercase()
            });
            match parsed {
                Some(url) => Ok(url.origin().ascii_serialization()),
                None => Err(anyhow!(
                    "CORS_ORIGINS: expected * or origins such as https://example.com, separated by commas, found `{origin}`"
                )),
            }
        })
        .collect::<anyhow::Result<Vec<_>>>()
        .map(Some)
}

fn transports(transports: Option<String>) -> anyhow::Result<Vec<TransportType>> {
    let Some(transports) = transports else {
        return Ok(vec![TransportType::Websocket, TransportType::Polling]);
    };
    let mut offered = Vec::new();
    for name in transports.split(',') {
        let transport = match name.trim() {
            "websocket" => TransportType::Websocket,
            "polling" => TransportType::Polling,
            other => bail!("SOCKET_TRANSPORTS: expected websocket or polling, found `{other}`"),
        };
        if !offered.contains(&transport) {
            offered.push(transport);
        }
    }
    Ok(offered)
}

fn retention(retention: Option<String>) -> anyhow::Result<Duration> {
    let text = retention.unwrap_or_else(|| "7d".to_owned());
    let wrong = || {
        anyhow!(
            "EVENT_RETENTION: expected a number and one of s, m, h, d, w, such as 7d, found `{text}`"
        )
    };
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return Err(wrong()),
    };
    let number = text.strip_suffix(unit).ok_or_else(wrong)?;
    let number: u64 = number.trim().parse().map_err(|_| wrong())?;
    let whole = number
        .checked_mul(seconds)
        .filter(|seconds| (1..=u64::from(u32::MAX)).contains(seconds));
    whole.map(Duration::from_secs).ok_or_else(wrong)
}

/// Starts the log as RUST_LOG and LOG_FORMAT say.
///
/// # Errors
///
/// One line that names the variable.
pub fn start_log(settings: &Settings) -> anyhow::Result<()> {
    let directives = given(settings.rust_log.clone()).unwrap_or_else(|| "info".to_owned());
    let wrong = || {
        format!(
            "RUST_LOG: expected error, warn, info, debug, trace or off, or parts such as space_events=debug, separated by commas, found `{directives}`"
        )
    };
    // A single word that is no level would be taken for the name of a part.
    let is_level = |word: &str| word.trim().parse::<LevelFilter>().is_ok();
    let is_word = |part: &&str| !part.contains(['=', '[', ':']) && !is_level(part);
    ensure!(directives.split(',').find(is_word).is_none(), wrong());
    let filter: Targets = directives.parse().map_err(|_| anyhow!(wrong()))?;
    // The store tells of an outage once, so the pool need not.
    let filter = filter.with_target("sqlx_core::pool", LevelFilter::ERROR);
    let log = tracing_subscriber::registry().with(filter);
    match given(settings.log_format.clone()).as_deref() {
        None | Some("text") => {
            let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stdout());
            log.with(fmt::layer().with_ansi(is_terminal)).init();
        }
        Some("json") => log.with(fmt::layer().json().flatten_event(true)).init(),
        Some(other) => bail!("LOG_FORMAT: expected text or json, found `{other}`"),
    }
    Ok(())
}
