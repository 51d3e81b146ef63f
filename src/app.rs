//! Builds the parts, joins them, stops them in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use axum::Router;
use axum::http::{HeaderName, HeaderValue, Method};
use axum::middleware::from_fn;
use embedded_postgres::EmbeddedPostgres;
use sqlx::Connection as _;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower_http::cors::{AllowOrigin, Any, CorsLayer};
use tracing::{info, warn};

use crate::api_key::API_KEY;
use crate::config::{Config, Database, Urls};
use crate::feed::Feed;
use crate::http::connection::LimitedListener;
use crate::http::connection_limit::ConnectionLimit;
use crate::http::requests::{self, REQUEST_ID};
use crate::http::{loopback, open_files, server, unread_body};
use crate::journal::{CatchUp, JournalKey, ReplayBuffer, retention};
use crate::metrics::Metrics;
use crate::operations::readiness::{self, Checks};
use crate::operations::scrape::{self, Limits, ScrapeState};
use crate::operations::{capture, memory};
use crate::rest::pricing_url::PricingFetcher;
use crate::rest::{self, Api, Outgoing};
use crate::sockets::{self, Sockets, Sources};
use crate::store::database_url::DatabaseUrl;
use crate::store::{self, Pool, preflight};

/// A client that takes nothing for this long is disconnected.
const WRITE_TIMEOUT: Duration = Duration::from_secs(15);
/// Proxies keep idle connections for a minute, and treat it as an error if the other
/// side closes them first. Of a body that nobody wants, as much is read as the
/// largest upload has.
const SERVER_LIMITS: server::Limits = server::Limits {
    first_head: Duration::from_secs(30),
    next_head: Duration::from_secs(75),
    unread_body: unread_body::Limits {
        bytes: rest::MAX_BODY_BYTES,
        time: Duration::from_secs(10),
    },
};
/// How long a request may take until its answer begins. Everything ends before that: the
/// longest work, which is a body that takes a minute to arrive and then two minutes in
/// the database, and a poll of Engine.IO. A websocket is answered at once.
const REQUEST_LIMIT: Duration = Duration::from_secs(240);
/// How long fetching a pricing by URL may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// How long requests that have begun may take to finish at a stop.
const FINISH_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the feed may take to finish its chunk at a stop.
const FEED_TIMEOUT: Duration = Duration::from_secs(1);

/// The running program.
#[derive(Debug)]
pub struct App {
    address: SocketAddr,
    /// Without the feed or the server there is no service: one that ends early
    /// ends the program.
    tasks: JoinSet<anyhow::Result<()>>,
    server: CancellationToken,
    feed: CancellationToken,
    sockets: Sockets,
    pool: Pool,
    postgres: Option<(JoinHandle<()>, CancellationToken)>,
}

/// Applies the migrations to the database of the settings.
///
/// # Errors
///
/// The database cannot be reached, or a migration fails.
pub async fn migrate(config: &Config) -> anyhow::Result<()> {
    match &config.database {
        Database::Given(urls) => {
            let (variable, url) = urls.direct();
            preflight::check_direct(variable, url).await?;
            apply_migrations(variable, url).await
        }
        Database::Embedded(data_dir) => {
            let postgres = EmbeddedPostgres::start(data_dir).await?;
            let applied = match DatabaseUrl::parse(&postgres.url()) {
                Ok(url) => apply_migrations("DATA_DIR", &url).await,
                Err(error) => Err(error.into()),
            };
            postgres.stop().await?;
            applied
        }
    }
}

/// Several instances may do so at once: they take turns by an advisory lock.
async fn apply_migrations(variable: &str, url: &DatabaseUrl) -> anyhow::Result<()> {
    let doing = |what| format!("{variable}: {what} at {}", url.hosts());
    let mut connection = url
        .connect_sqlx("space-events migrations")
        .await
        .context("open the database")?;
    store::migrations::apply(&mut connection)
        .await
        .with_context(|| doing("apply the migrations"))?;
    let adopted = store::journal::adopt(&mut connection)
        .await
        .with_context(|| doing("check whose journal it is"))?;
    if adopted {
        warn!(
            "the journal came from another database: it is emptied, and its positions are refused"
        );
    }
    connection.close().await.context("close the database")
}

impl App {
    /// Starts every part; each connection is tried once before this returns.
    ///
    /// # Errors
    ///
    /// What could not be started, in one line.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        let (urls, postgres) = match &config.database {
            Database::Given(urls) => (Urls::clone(urls), None),
            Database::Embedded(data_dir) => {
                let postgres = EmbeddedPostgres::start(data_dir).await?;
                let url = DatabaseUrl::parse(&postgres.url())?;
                let urls = Urls {
                    url,
                    listen_url: None,
                };
                (urls, Some(postgres))
            }
        };
        let psql_command = postgres.as_ref().map(EmbeddedPostgres::psql_command);
        let postgres = postgres.map(|postgres| {
            let stop = CancellationToken::new();
            (tokio::spawn(keep_running(postgres, stop.clone())), stop)
        });
        match Self::start_on(&config, urls).await {
            Ok(app) => {
                info!("listening on http://{}", app.address);
                if let Some(psql_command) = psql_command {
                    info!("the embedded Postgres: {psql_command}");
                }
                Ok(Self { postgres, ..app })
            }
            Err(error) => {
                stop_postgres(postgres).await;
                Err(error)
            }
        }
    }

    async fn start_on(config: &Config, urls: Urls) -> anyhow::Result<Self> {
        let (variable, listen_url) = urls.direct();
        let direct = preflight::check_direct(variable, listen_url).await?;
        let found = match &urls.listen_url {
            None => direct,
            Some(_) => {
                let found = preflight::check("DATABASE_URL", &urls.url).await?;
                ensure!(
                    found.database == direct.database,
                    "DATABASE_LISTEN_URL: names another database than DATABASE_URL does"
                );
                found
            }
        };
        apply_migrations(variable, listen_url).await?;
        let listen_url = listen_url.clone();
        let (pool, mut watch) =
            Pool::new(urls.url.clone(), found.sessions, config.database_pool_size);
        watch.find().await.context("open the database for REST")?;
        capture::check(&pool).await.context("check the triggers")?;
        let mut tx = store::begin_read(&pool)
            .await
            .context("open the database for REST")?;
        let key = store::journal::key(&mut tx)
            .await
            .context("read the key of the journal")?;
        drop(tx);
        let key = JournalKey::new(key);
        let (feed, bounds) = Feed::start(listen_url.clone()).await?;
        let metrics = Arc::new(Metrics::default());
        let replay_buffer = Arc::new(ReplayBuffer::new(bounds, Arc::clone(&metrics)));
        let catch_up = Arc::new(CatchUp::new(listen_url, key, Arc::clone(&replay_buffer)));
        let sources = Arc::new(Sources {
            replay_buffer: Arc::clone(&replay_buffer),
            catch_up: Arc::clone(&catch_up),
            metrics: Arc::clone(&metrics),
        });
        let api = Api {
            pool: pool.clone(),
            catch_up: Arc::clone(&catch_up),
            keys: Arc::clone(&config.keys),
            fetcher: Arc::new(PricingFetcher::new(
                config.pricing_url_allow.clone(),
                rest::MAX_PRICING_BYTES,
                FETCH_TIMEOUT,
            )),
            outgoing: Outgoing::default(),
        };
        let most = most_connections(config);
        let limit = |count| ConnectionLimit::new(most, config.max_connections_per_address, count);
        let connections = limit(metrics.connections());
        let options = sockets::Options {
            sessions: limit(metrics.sessions()),
            transports: config.transports.clone(),
            access: config.access,
            keys: Arc::clone(&config.keys),
        };
        let checks = Checks {
            pool: pool.clone(),
            replay_buffer: Arc::clone(&replay_buffer),
            faults: Arc::default(),
        };
        let router = rest::router(api, readiness::routes().into_openapi());
        let router = router.merge(readiness::router(checks));
        let (router, sockets) = Sockets::mount(router, sources, &options);
        let state = ScrapeState {
            metrics: Arc::clone(&metrics),
            replay_buffer: Arc::clone(&replay_buffer),
            clients: sockets.clients(),
            pool: pool.clone(),
            keys: Arc::clone(&config.keys),
            limits: Limits {
                connections: most,
                connections_per_address: config.max_connections_per_address.unwrap_or(0),
                retention: config.retention,
            },
        };
        let router = router.merge(scrape::router(state));
        let router = requests::around(guard(router, config)?, Arc::clone(&metrics), REQUEST_LIMIT);

        let listener = TcpListener::bind(config.listen.as_slice())
            .await
            .with_context(|| format!("PORT: listen on {:?}", config.listen))?;
        let address = listener.local_addr().context("read the port")?;
        let listener =
            LimitedListener::new(listener, connections, WRITE_TIMEOUT, Arc::clone(&metrics));
        let mut tasks = JoinSet::new();
        let stop_server = CancellationToken::new();
        let stop_feed = CancellationToken::new();
        let serving = server::serve(listener, router, SERVER_LIMITS, stop_server.clone());
        tasks.spawn(async move {
            serving.await;
            Ok(())
        });
        let delivering = sockets.lane().run(stop_feed.clone());
        tasks.spawn(async move {
            delivering.await;
            Ok(())
        });
        let following = feed.run(replay_buffer, catch_up, stop_feed.clone());
        tasks.spawn(async move {
            following.await;
            Ok(())
        });
        let trimming = memory::run(metrics.sessions(), stop_feed.clone());
        let keeping = retention::run(pool.clone(), config.retention, metrics, stop_feed.clone());
        let watching = capture::run(pool.clone(), stop_feed.clone());
        tasks.spawn(async move {
            tokio::join!(keeping, watching, trimming);
            Ok(())
        });
        let stop_watch = stop_feed.clone();
        tasks.spawn(async move {
            watch.run(stop_watch).await;
            Ok(())
        });
        Ok(Self {
            address,
            tasks,
            server: stop_server,
            feed: stop_feed,
            sockets,
            pool,
            postgres: None,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `signalled`, then stops in order, within five seconds.
    ///
    /// # Errors
    ///
    /// A part ended by itself.
    pub async fn run_until(mut self, signalled: impl Future<Output = ()>) -> anyhow::Result<()> {
        let ended = tokio::select! {
            () = signalled => None,
            ended = self.tasks.join_next() => ended,
        };
        info!("stopping");
        self.stop().await;
        match ended {
            None => Ok(()),
            Some(Ok(Ok(()))) => anyhow::bail!("a part of the program ended by itself"),
            Some(Ok(Err(error))) => Err(error),
            Some(Err(panic)) => Err(panic).context("a part of the program failed"),
        }
    }

    /// Accepts no more, finishes requests, tells the clients, lets the feed
    /// finish its chunk, and stops the embedded Postgres last.
    async fn stop(mut self) {
        self.server.cancel();
        self.sockets.close().await;
        // The server ends when its requests have; the feed only when it is told.
        let finished = timeout(FINISH_TIMEOUT, self.tasks.join_next()).await;
        if finished.is_err() {
            warn!("some requests did not finish in time");
        }
        self.feed.cancel();
        let _ = timeout(FEED_TIMEOUT, async {
            while self.tasks.join_next().await.is_some() {}
        })
        .await;
        self.tasks.shutdown().await;
        let _ = timeout(FEED_TIMEOUT, self.pool.close()).await;
        stop_postgres(self.postgres).await;
        info!("stopped");
    }
}

/// How many connections there may be: as the settings say, but fewer than the limit of
/// open files. Some files are left so that the database can be reached when all
/// connections are taken.
fn most_connections(config: &Config) -> usize {
    const OTHER_FILES: usize = 128;
    const USUAL_CONNECTIONS: usize = 20_000;
    let files = usize::try_from(open_files::raise_limit()).unwrap_or(usize::MAX);
    let most = files.saturating_sub(OTHER_FILES).max(files / 2);
    let Some(wanted) = config.max_connections else {
        return most.min(USUAL_CONNECTIONS);
    };
    if most < wanted {
        warn!(
            MAX_CONNECTIONS = wanted,
            connections = most,
            "the limit of open files (ulimit -n) allows fewer connections"
        );
    }
    most.min(wanted)
}

/// What stands before REST and Socket.IO alike.
fn guard(router: Router, config: &Config) -> anyhow::Result<Router> {
    let origins = match &config.cors_origins {
        None => AllowOrigin::from(Any),
        Some(origins) => AllowOrigin::list(
            origins
                .iter()
                .map(|origin| HeaderValue::from_str(origin))
                .collect::<Result<Vec<_>, _>>()
                .context("CORS_ORIGINS")?,
        ),
    };
    let cors = CorsLayer::new()
        .allow_origin(origins)
        // Clients of origins that are named may also send cookies (`withCredentials`). A
        // browser does not allow that with `*`.
        .allow_credentials(config.cors_origins.is_some())
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers([HeaderName::from_static("content-type"), API_KEY, REQUEST_ID])
        .expose_headers([rest::EVENT_POSITION, REQUEST_ID]);
    let router = router.layer(cors);
    Ok(if config.keys.is_empty() {
        router.layer(from_fn(loopback::guard))
    } else {
        router
    })
}

/// Starts the embedded Postgres again when it ends, until it is told to stop.
async fn keep_running(mut postgres: EmbeddedPostgres, stop: CancellationToken) {
    stop.run_until_cancelled(postgres.supervise()).await;
    if let Err(error) = postgres.stop().await {
        warn!(
            error = format!("{error:#}"),
            "the embedded Postgres did not stop as it should"
        );
    }
}

async fn stop_postgres(postgres: Option<(JoinHandle<()>, CancellationToken)>) {
    if let Some((task, stop)) = postgres {
        stop.cancel();
        let _ = task.await;
    }
}
