//! `GET /metrics`: what was counted, and how things are, for Prometheus.
//!
//! At each request the database is asked for what only it knows, within a time limit.
//! While it is away, the answer has everything else and `space_events_database_up 0`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use prometheus_client::encoding::prometheus_text;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use socketioxide::TransportType;
use tokio::time::timeout;
use tracing::{debug, error};

use crate::api_key::{self, ApiKeys, KEY_NEEDED};
use crate::http::failure::{FAULT, failed};
use crate::journal::ReplayBuffer;
use crate::metrics::process::Process;
use crate::metrics::{Metrics, PREFIX};
use crate::sockets::Clients;
use crate::store::journal::Vitals;
use crate::store::{self, Pool};

/// How long the database may take.
const TIME_LIMIT: Duration = Duration::from_secs(2);

/// What is looked at.
#[derive(Clone, Debug)]
pub struct ScrapeState {
    /// What was counted.
    pub metrics: Arc<Metrics>,
    /// Where the feed is.
    pub replay_buffer: Arc<ReplayBuffer>,
    /// Who is there.
    pub clients: Clients,
    /// The database, and the connections to it.
    pub pool: Pool,
    /// Who may know; empty: everybody.
    pub keys: Arc<ApiKeys>,
    /// What the settings allow.
    pub limits: Limits,
}

/// What the settings allow.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections, and as many sessions.
    pub connections: usize,
    /// Those of one address.
    pub connections_per_address: usize,
    /// How long the journal is kept.
    pub retention: Duration,
}

/// The route.
pub fn router(state: ScrapeState) -> Router {
    Router::new()
        .route("/metrics", get(scrape))
        .with_state(state)
}

async fn scrape(State(state): State<ScrapeState>, headers: HeaderMap) -> Response {
    if !state.keys.is_empty() && !knows_key(&state.keys, &headers) {
        let mut response = failed(StatusCode::UNAUTHORIZED, KEY_NEEDED);
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        return response;
    }
    let database = match timeout(TIME_LIMIT, ask(&state.pool)).await {
        Ok(Ok(database)) => Some(database),
        Ok(Err(error)) => {
            debug!(%error, "the database is away for a scrape");
            None
        }
        Err(_) => {
            debug!("the database is too slow for a scrape");
            None
        }
    };
    let mut text = String::new();
    let written = state
        .metrics
        .write(&mut text)
        .and_then(|()| state.write(database.as_ref(), &mut text));
    if let Err(error) = written {
        error!(%error, "request failed");
        return failed(StatusCode::INTERNAL_SERVER_ERROR, FAULT);
    }
    let headers = [
        (header::CONTENT_TYPE, prometheus_text::CONTENT_TYPE),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, text).into_response()
}

/// Any key will do, as the API takes it, or as Prometheus can send it.
fn knows_key(keys: &ApiKeys, headers: &HeaderMap) -> bool {
    [
        api_key::presented(headers),
        api_key::presented_as_bearer(headers),
    ]
    .into_iter()
    .flatten()
    .any(|key| keys.find(key).is_some())
}

/// What the database says.
struct Database {
    vitals: Vitals,
    triggers_are_right: bool,
}

async fn ask(pool: &Pool) -> sqlx::Result<Database> {
    let mut tx = store::begin_read(pool).await?;
    Ok(Database {
        vitals: store::journal::vitals(&mut tx).await?,
        triggers_are_right: store::capture::faults(&mut tx).await?.is_empty(),
    })
}

impl ScrapeState {
    /// How things are now.
    fn write(&self, database: Option<&Database>, text: &mut String) -> fmt::Result {
        let mut now = Registry::with_prefix(PREFIX);
        let clients = Family::<[(&'static str, &'static str); 1], Gauge>::default();
        for (name, transport) in [
            ("websocket", TransportType::Websocket),
            ("polling", TransportType::Polling),
        ] {
            clients
                .get_or_create(&[("transport", name)])
                .set(whole(self.clients.count(transport)));
        }
        now.register(
            "clients",
            "Clients that are connected to the namespace",
            clients,
        );
        let follows = i64::from(self.replay_buffer.follows());
        now.register(
            "listening",
            "Whether the connection that listens is there: 1 or 0",
            gauge(follows),
        );
        now.register_with_unit(
            "behind",
            "How long ago everything that could be read in the journal was published; below two if all is well",
            Unit::Seconds,
            float_gauge(self.replay_buffer.behind().as_secs_f64()),
        );
        let pool = Family::<[(&'static str, &'static str); 1], Gauge>::default();
        let (open, idle, most) = self.pool.counts();
        for (state, count) in [("in_use", open.saturating_sub(idle)), ("idle", idle)] {
            pool.get_or_create(&[("state", state)]).set(whole(count));
        }
        now.register(
            "pool_connections",
            "Connections to the database for REST and for looking after the journal",
            pool,
        );
        now.register(
            "pool_connections_max",
            "How many such connections there may be",
            gauge(whole(most)),
        );
        for (name, help, value) in [
            (
                "connections_max",
                "How many TCP connections there may be: MAX_CONNECTIONS, or fewer if the limit of open files is lower",
                self.limits.connections,
            ),
            (
                "connections_per_address_max",
                "How many TCP connections there may be from one address: MAX_CONNECTIONS_PER_ADDRESS, or all of them if it is 0",
                self.limits.connections_per_address,
            ),
        ] {
            now.register(name, help, gauge(whole(value)));
        }
        now.register_with_unit(
            "journal_retention",
            "How long rows are kept in the journal: EVENT_RETENTION",
            Unit::Seconds,
            gauge(i64::try_from(self.limits.retention.as_secs()).unwrap_or(i64::MAX)),
        );
        now.register(
            "database_up",
            "Whether the database answered in time for this scrape: 1 or 0; at 0 the metrics that come from it are missing",
            gauge(database.is_some().into()),
        );
        if let Some(database) = database {
            database.register(&mut now);
        }
        prometheus_text::encode(text, &now)?;
        if let Some(process) = Process::read() {
            let mut now = Registry::default();
            process.register(&mut now);
            prometheus_text::encode(text, &now)?;
        }
        Ok(())
    }
}

impl Database {
    fn register(&self, now: &mut Registry) {
        now.register(
            "triggers_ok",
            "Whether all triggers are as they should be: 1 or 0; at 0, changes are not announced",
            gauge(self.triggers_are_right.into()),
        );
        now.register(
            "journal_rows",
            "Rows in the journal, as the statistics of Postgres have it",
            gauge(self.vitals.rows),
        );
        now.register_with_unit(
            "journal_size",
            "The size of the journal on disk, with its indexes and the space of removed rows",
            Unit::Bytes,
            gauge(self.vitals.bytes),
        );
        now.register_with_unit(
            "oldest_transaction_age",
            "How long the oldest transaction of this database has been open, a prepared one too; it holds back vacuuming, so the journal grows. Sessions of other users are seen only by a role with pg_read_all_stats; 0 if there is none",
            Unit::Seconds,
            float_gauge(self.vitals.oldest_transaction_age_s),
        );
        now.register_with_unit(
            "journal_oldest_row_age",
            "How long ago the oldest row of the journal was written, by the clock of the database; 0 if there is none",
            Unit::Seconds,
            float_gauge(self.vitals.oldest_age_s),
        );
        now.register(
            "notify_queue_usage_ratio",
            "How full the queue of NOTIFY is, from 0 to 1, in the whole cluster; writers fail at 1",
            float_gauge(self.vitals.notify_queue_usage),
        );
    }
}

fn gauge(value: i64) -> Gauge {
    let gauge = Gauge::default();
    gauge.set(value);
    gauge
}

fn float_gauge(value: f64) -> Gauge<f64, AtomicU64> {
    let gauge = Gauge::<f64, AtomicU64>::default();
    gauge.set(value);
    gauge
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
