//! What is counted while the program runs, for `GET /metrics`.
//!
//! Everything here is a plain atomic: counting holds nobody up. All parts count here,
//! so this uses none of them. What has to be asked of the database is asked when
//! somebody wants to know, where `GET /metrics` is answered.

mod latency;
pub mod process;
mod reasons;

use std::fmt::{self, Debug};
use std::hash::Hash;
use std::time::Duration;

use chrono::{DateTime, Utc};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry, Unit};

use crate::event::{Event, Reason};
use latency::Latency;
pub use reasons::{CatchUpCause, Ended, Refused};
use reasons::{Label, REFUSALS, outcome};

/// What each name begins with.
pub const PREFIX: &str = "space_events";

/// How a request was answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answer {
    route: String,
    method: &'static str,
    status: u32,
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    route: String,
    method: &'static str,
}

/// The counts of one running program.
#[derive(Debug)]
pub struct Metrics {
    created: Counter,
    archived: Counter,
    activated: Counter,
    disabled: Counter,
    silent: Family<Label, Counter>,
    change_to_publish: Latency,
    change_to_write: Latency,
    deliveries: Counter,
    replayed: Counter,
    catch_ups: Family<Label, Counter>,
    handshakes_refused: Family<[(&'static str, String); 1], Counter>,
    reading_journal: Gauge,
    in_lane: Gauge,
    ended: Family<Label, Counter>,
    connections: Gauge,
    sessions: Gauge,
    refused: Family<Label, Counter>,
    reconnections: Counter,
    pruned: Counter,
    answers: Family<Answer, Counter>,
    durations: Family<Asked, Latency>,
    registry: Registry,
}

impl Default for Metrics {
    /// Nothing was counted. `GET /metrics` has them in the order in which they are made here.
    fn default() -> Self {
        let mut all = Registered(Registry::with_prefix(PREFIX));
        all.0.register(
            "build",
            "The program",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        let published: Family<Label, Counter> = all.add(
            "published",
            "Events handed to the clients of this instance, each counted once",
        );
        let code = |code| published.get_or_create_owned(&[("code", code)]);
        Self {
            created: code("PRICING_CREATED"),
            archived: code("PRICING_ARCHIVED"),
            activated: code("PRICING_ACTIVED"),
            disabled: code("SERVICE_DISABLED"),
            silent: all.add_known(
                "changes_not_announced",
                "Recorded changes that mean no event, by the reason that GET /api/v1/changes gives; those that mean one are counted in published",
                Reason::ALL.map(outcome),
            ),
            change_to_publish: all.add_seconds(
                "change_to_publish",
                "From when the trigger recorded a change, by the clock of the database, until its event was handed to the clients, by the clock of this program. It includes the rest of the writer's transaction and any difference of the two clocks (below zero counts as zero)",
            ),
            change_to_write: all.add_seconds(
                "change_to_write",
                "From when the trigger recorded a change (as in change_to_publish) until the kernel took its frame for a client on a websocket. It is a sample: the first change of each write, without changes that a client reads from the journal",
            ),
            deliveries: all.add(
                "deliveries",
                "Events written for a client on a websocket, or handed to Engine.IO for a client that polls, counted once for each client",
            ),
            replayed: all.add(
                "replayed",
                "Deliveries that were read from the journal, for clients that came back or fell behind; they are counted in deliveries too",
            ),
            catch_ups: all.add_known(
                "catch_ups",
                "How often a client began to read the journal",
                CatchUpCause::ALL.map(CatchUpCause::label),
            ),
            handshakes_refused: all.add_known(
                "handshakes_refused",
                "Clients that were refused in their handshake, by the first word of their connect_error",
                REFUSALS.map(|refusal| [("reason", refusal.to_owned())]),
            ),
            reading_journal: all.add(
                "clients_reading_journal",
                "Clients that came back or fell behind, and are reading the journal now",
            ),
            in_lane: all.add(
                "clients_in_lane",
                "Clients on websockets that have everything, and get what is published at once",
            ),
            ended: all.add_known(
                "disconnects",
                "Connections that the program ended; write_timeout counts connections of any kind, the other reasons clients of the namespace",
                Ended::ALL.map(Ended::label),
            ),
            connections: all.add("connections", "TCP connections that are open"),
            sessions: all.add(
                "sessions",
                "Engine.IO sessions, also those of clients that are between two polls",
            ),
            refused: all.add_known(
                "connections_refused",
                "TCP connections that were closed at once, and sessions that were refused, by the setting whose limit was reached",
                Refused::ALL.map(Refused::label),
            ),
            reconnections: all.add(
                "listen_reconnections",
                "How often the connection that listens was lost and made again",
            ),
            pruned: all.add(
                "journal_pruned_rows",
                "Rows that this instance removed from the journal because they were too old",
            ),
            answers: all.add(
                "http_requests",
                "Requests that were answered; the route is a pattern, /events for Engine.IO, or none",
            ),
            durations: all.add_seconds(
                "http_request_duration",
                "How long requests took until their answer began; with Engine.IO this includes waiting for events",
            ),
            registry: all.0,
        }
    }
}

/// Makes what is counted, each with its name and help.
struct Registered(Registry);

impl Registered {
    fn add<M: Metric + Clone + Default>(&mut self, name: &str, help: &str) -> M {
        let metric = M::default();
        self.0.register(name, help, metric.clone());
        metric
    }

    fn add_seconds<M: Metric + Clone + Default>(&mut self, name: &str, help: &str) -> M {
        let metric = M::default();
        self.0
            .register_with_unit(name, help, Unit::Seconds, metric.clone());
        metric
    }

    /// Counts by a label. A count that is there from the start can be seen to rise.
    fn add_known<L>(
        &mut self,
        name: &str,
        help: &str,
        labels: impl IntoIterator<Item = L>,
    ) -> Family<L, Counter>
    where
        L: Clone + Hash + Eq + EncodeLabelSet + Debug + Send + Sync + 'static,
    {
        let family: Family<L, Counter> = self.add(name, help);
        for label in labels {
            drop(family.get_or_create(&label));
        }
        family
    }
}

impl Metrics {
    /// Writes all counts in Prometheus' text format.
    ///
    /// # Errors
    ///
    /// As `text` has them.
    pub fn write(&self, text: &mut String) -> fmt::Result {
        prometheus_client::encoding::prometheus_text::encode(text, &self.registry)
    }

    /// Events are handed to the clients now; with each, when its row changed.
    pub fn published<'e>(&self, events: impl Iterator<Item = (&'e Event, DateTime<Utc>)>) {
        let now = Utc::now();
        for (event, changed_at) in events {
            let counter = match event {
                Event::PricingCreated(_) => &self.created,
                Event::PricingArchived(_) => &self.archived,
                Event::PricingActivated(_) => &self.activated,
                Event::ServiceDisabled(_) => &self.disabled,
            };
            counter.inc();
            self.change_to_publish.observe_between(changed_at, now);
        }
    }

    /// So many events were written for clients, or handed to Engine.IO for them.
    pub fn delivered(&self, events: usize) {
        self.deliveries.inc_by(events as u64);
    }

    /// So many clients have everything, and get what is published at once.
    pub fn in_lane(&self, clients: usize) {
        self.in_lane.set(i64::try_from(clients).unwrap_or(i64::MAX));
    }

    /// So many of these were read from the journal.
    pub fn replayed(&self, events: usize) {
        self.replayed.inc_by(events as u64);
    }

    /// Changes that mean no event were passed over.
    pub fn passed_over(&self, reasons: &[Reason]) {
        for reason in reasons {
            self.silent.get_or_create(&outcome(*reason)).inc();
        }
    }

    /// A handshake was refused, by a word such as `POSITION_EXPIRED`.
    pub fn handshake_refused(&self, word: &str) {
        let label = [("reason", word.to_ascii_lowercase())];
        self.handshakes_refused.get_or_create(&label).inc();
    }

    /// A client reads the journal, until the guard is dropped.
    pub fn reading_journal(&self, cause: CatchUpCause) -> Counted<'_> {
        self.catch_ups.get_or_create(&cause.label()).inc();
        self.reading_journal.inc();
        Counted(&self.reading_journal)
    }

    /// The program ended a connection.
    pub fn ended(&self, reason: Ended) {
        self.ended.get_or_create(&reason.label()).inc();
    }

    /// A connection was closed as soon as it came.
    pub fn refused(&self, reason: Refused) {
        self.refused.get_or_create(&reason.label()).inc();
    }

    /// How many TCP connections are open.
    pub fn connections(&self) -> Gauge {
        self.connections.clone()
    }

    /// How many sessions of Engine.IO there are.
    pub fn sessions(&self) -> Gauge {
        self.sessions.clone()
    }

    /// The connection that listens was made again.
    pub fn listens_again(&self) {
        self.reconnections.inc();
    }

    /// Rows of the journal were removed.
    pub fn pruned(&self, rows: u64) {
        self.pruned.inc_by(rows);
    }

    /// A request was answered. `route` is a pattern, never a path as it came;
    /// methods that HTTP does not know are counted as one.
    pub fn answered(&self, route: &str, method: &str, status: u16, took: Duration) {
        const METHODS: [&str; 9] = [
            "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE",
        ];
        let known = METHODS.into_iter().find(|known| *known == method);
        let asked = Asked {
            route: route.to_owned(),
            method: known.unwrap_or("other"),
        };
        self.durations.get_or_create(&asked).observe(took);
        let answer = Answer {
            route: asked.route,
            method: asked.method,
            status: status.into(),
        };
        self.answers.get_or_create(&answer).inc();
    }

    /// A frame was written to a client on a websocket; when the row of its first event
    /// changed.
    pub fn written(&self, changed_at: DateTime<Utc>) {
        self.change_to_write.observe_between(changed_at, Utc::now());
    }
}

/// Counts while it is there.
#[derive(Debug)]
pub struct Counted<'m>(&'m Gauge);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_counted_up_to_its_bound() {
        let metrics = Metrics::default();
        for took_us in [0, 500, 501, 300_000_000, 300_000_001] {
            let took = Duration::from_micros(took_us);
            metrics.answered("/x", "GET", 200, took);
        }
        metrics.answered("/x", "BREW", 405, Duration::ZERO);
        let mut text = String::new();
        metrics.write(&mut text).expect("text");
        for line in [
            r#"space_events_http_request_duration_seconds_bucket{route="/x",method="GET",le="0.0005"} 2"#,
            r#"space_events_http_request_duration_seconds_bucket{route="/x",method="GET",le="0.001"} 3"#,
            r#"space_events_http_request_duration_seconds_bucket{route="/x",method="GET",le="300"} 4"#,
            r#"space_events_http_request_duration_seconds_bucket{route="/x",method="GET",le="+Inf"} 5"#,
            r#"space_events_http_request_duration_seconds_count{route="/x",method="GET"} 5"#,
            r#"space_events_http_request_duration_seconds_sum{route="/x",method="GET"} 600.001002"#,
            r#"space_events_http_requests_total{route="/x",method="other",status="405"} 1"#,
            r#"space_events_disconnects_total{reason="write_timeout"} 0"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
