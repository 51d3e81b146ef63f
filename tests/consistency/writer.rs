//! Random transactions, and what they should cause beside them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::SinkExt as _;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::model::{Change, Pricing, Service};
use super::oracle::Span;
use super::{ACME, SERVICES};
use crate::support::LIMIT;
use crate::support::postgres::Session;

const WRITERS: u64 = 8;

/// All of them, until they are ended.
pub struct Writers {
    clock: Arc<AtomicU64>,
    stop: CancellationToken,
    running: Vec<JoinHandle<Vec<Span>>>,
}

/// One session after another.
struct Writer {
    number: u64,
    url: String,
    rng: fastrand::Rng,
    clock: Arc<AtomicU64>,
    versions: u64,
    transactions: u64,
    /// What may be prepared by now.
    preparing: Option<String>,
}

/// What of a service is changed in a transaction that has its turn.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    organization: String,
    service: String,
    turn: String,
}

type Sql<T> = Result<T, tokio_postgres::Error>;

/// How a transaction ended.
enum End {
    Committed,
    RolledBack,
    Prepared(String),
}

impl Writers {
    pub fn start(url: &str, seed: u64) -> Self {
        let clock = Arc::<AtomicU64>::default();
        let stop = CancellationToken::new();
        let running = (0..WRITERS)
            .map(|number| {
                let rng = fastrand::Rng::with_seed(seed * 1000 + number);
                let writer = Writer::new(number, url, rng, Arc::clone(&clock));
                tokio::spawn(writer.run(stop.clone()))
            })
            .collect();
        Self {
            clock,
            stop,
            running,
        }
    }

    /// How many transactions began or ended so far.
    pub fn clock(&self) -> u64 {
        self.clock.load(Ordering::Relaxed)
    }

    /// Ends them; what they did.
    pub async fn end(self) -> Vec<Span> {
        self.stop.cancel();
        let mut spans = Vec::new();
        for writer in self.running {
            spans.extend(writer.await.expect("a writer that ends well"));
        }
        spans
    }
}

impl Writer {
    fn new(number: u64, url: &str, rng: fastrand::Rng, clock: Arc<AtomicU64>) -> Self {
        Self {
            number,
            url: url.to_owned(),
            rng,
            clock,
            versions: 0,
            transactions: 0,
            preparing: None,
        }
    }

    /// Writes until it is stopped.
    async fn run(mut self, stop: CancellationToken) -> Vec<Span> {
        let mut spans = Vec::new();
        let mut session = None;
        while !stop.is_cancelled() {
            let Some(open) = &session else {
                session = Session::try_connect(&self.url).await.ok();
                sleep(Duration::from_millis(20)).await;
                continue;
            };
            self.transactions += 1;
            let token = self.number + 1000 * self.transactions;
            let began = self.clock.fetch_add(1, Ordering::SeqCst);
            let mut ended = None;
            match self.transaction(open, token).await {
                Ok(End::Committed) => ended = Some(self.clock.fetch_add(1, Ordering::SeqCst)),
                Ok(End::RolledBack) => {}
                Ok(End::Prepared(name)) => self.settle(&name).await,
                // Whether it was committed, the oracle's table tells.
                Err(_) => {
                    session = None;
                    if let Some(name) = self.preparing.take() {
                        self.settle(&name).await;
                    }
                }
            }
            spans.push(Span {
                token,
                began,
                ended,
            });
            sleep(Duration::from_millis(self.rng.u64(..20))).await;
        }
        spans
    }

    async fn transaction(&mut self, session: &Session, token: u64) -> Sql<End> {
        let isolation = match self.rng.u8(..100) {
            0..10 => "repeatable read",
            10..15 => "serializable",
            _ => "read committed",
        };
        let begin = format!("begin isolation level {isolation}");
        session.try_sql(&begin).await?;
        if isolation == "read committed" && self.rng.u8(..100) == 0 {
            return self.truncate(session, token).await;
        }
        let prepared = self.rng.u8(..100) < 4;
        let replica = self.rng.u8(..100) < 10;
        if prepared || self.rng.u8(..100) < 5 {
            session
                .try_sql("set local space_events.wake = 'poll'")
                .await?;
        }
        if replica {
            session
                .try_sql("set local session_replication_role = replica")
                .await?;
        }
        let turns = self.take_turns(session).await?;
        let long = self.rng.u8(..100) < 3;
        let mut statement = 0;
        for _ in 0..self.rng.usize(1..=4) {
            if self.rng.u8(..100) < 15 {
                session.try_sql("savepoint s").await?;
                for _ in 0..self.rng.usize(1..=2) {
                    self.change(session, token, &mut statement, &turns, replica)
                        .await?;
                }
                let end = if self.rng.bool() {
                    "rollback to s"
                } else {
                    "release s"
                };
                session.try_sql(end).await?;
            } else {
                self.change(session, token, &mut statement, &turns, replica)
                    .await?;
            }
            if long {
                sleep(Duration::from_millis(self.rng.u64(..1000))).await;
            }
        }
        if self.rng.u8(..100) < 10 {
            session.try_sql("rollback").await?;
            return Ok(End::RolledBack);
        }
        if prepared {
            let name = format!("t{token}");
            self.preparing = Some(name.clone());
            session
                .try_sql(&format!("prepare transaction '{name}'"))
                .await?;
            self.preparing = None;
            return Ok(End::Prepared(name));
        }
        session.try_sql("commit").await?;
        Ok(End::Committed)
    }

    /// Of one service or two; or of those of one name in both organisations.
    async fn take_turns(&mut self, session: &Session) -> Sql<Vec<Turn>> {
        let name = |rng: &mut fastrand::Rng| format!("s{}", rng.usize(..SERVICES));
        let mut names = match self.rng.u8(..10) {
            0 => {
                let name = name(&mut self.rng);
                vec![("", name.clone()), (ACME, name)]
            }
            _ => (0..self.rng.usize(1..=2))
                .map(|_| {
                    let organization = if self.rng.u8(..3) == 0 { ACME } else { "" };
                    (organization, name(&mut self.rng))
                })
                .collect(),
        };
        names.sort();
        names.dedup();
        let mut turns = Vec::new();
        for (organization, service) in names {
            let take = format!(
                "update test.turns set turn = turn + 1
                where organization = '{organization}' and service = '{service}'
                returning turn"
            );
            turns.push(Turn {
                organization: organization.to_owned(),
                service,
                turn: session.try_sql(&take).await?.remove(0),
            });
        }
        Ok(turns)
    }

    /// Moves a service of two turns to the other organisation, if that has none of its
    /// name.
    async fn move_between(
        &mut self,
        session: &Session,
        token: u64,
        statement: &mut u32,
        turns: &[Turn],
    ) -> Sql<bool> {
        let [one, two] = turns else {
            return Ok(false);
        };
        if one.service != two.service || self.rng.bool() {
            return Ok(false);
        }
        let (first, second) = (state(session, one).await?, state(session, two).await?);
        let (from, to, service) = match (first.disabled, second.disabled) {
            (Some(_), None) => (one, two, first),
            (None, Some(_)) => (two, one, second),
            _ => return Ok(false),
        };
        let (sql, [left, arrived]) = service.moved(&to.organization);
        session.try_sql(&sql).await?;
        *statement += 1;
        expect(session, token, *statement, from, &left).await?;
        expect(session, token, *statement, to, &arrived).await?;
        Ok(true)
    }

    /// One statement, and beside it what it should cause.
    async fn change(
        &mut self,
        session: &Session,
        token: u64,
        statement: &mut u32,
        turns: &[Turn],
        replica: bool,
    ) -> Sql<()> {
        if !replica && self.move_between(session, token, statement, turns).await? {
            return Ok(());
        }
        let turn = &turns[self.rng.usize(..turns.len())];
        let service = state(session, turn).await?;
        // Those that name none write for that of the setting.
        let setting = format!(
            "set local space_events.organization = '{}'",
            turn.organization
        );
        session.try_sql(&setting).await?;
        let (number, versions) = (self.number, &mut self.versions);
        let change = service.change(&mut self.rng, replica, &mut || {
            *versions += 1;
            format!("{number}.{versions}")
        });
        let events = match change {
            Change::Sql(sql, events) => {
                session.try_sql(&sql).await?;
                events
            }
            Change::Copy(rows, events) => {
                let copy = "copy pricings (service_name, version) from stdin";
                let sink = session.client().copy_in::<_, bytes::Bytes>(copy).await?;
                let mut sink = std::pin::pin!(sink);
                sink.send(rows.concat().into()).await?;
                sink.finish().await?;
                events
            }
        };
        *statement += 1;
        expect(session, token, *statement, turn, &events).await
    }

    async fn truncate(&mut self, session: &Session, token: u64) -> Sql<End> {
        let services_too = self.rng.bool();
        let turns = session
            .try_sql("update test.turns set turn = turn + 1 returning concat_ws(' ', turn, service, organization)")
            .await?;
        for turn in turns {
            let [turn, service, organization] = turn.splitn(3, ' ').collect::<Vec<_>>()[..] else {
                panic!("{turn}");
            };
            let turn = Turn {
                organization: organization.to_owned(),
                service: service.to_owned(),
                turn: turn.to_owned(),
            };
            let events = state(session, &turn).await?.truncated(services_too);
            expect(session, token, 1, &turn, &events).await?;
        }
        let which = if services_too {
            "services cascade"
        } else {
            "pricings"
        };
        session
            .try_sql(&format!("truncate {which}; commit"))
            .await?;
        Ok(End::Committed)
    }

    /// Commits or rolls back what was prepared, through whatever happens.
    async fn settle(&mut self, name: &str) {
        let how = if self.rng.u8(..4) == 0 {
            "rollback"
        } else {
            "commit"
        };
        sleep(Duration::from_millis(self.rng.u64(..500))).await;
        let begun = Instant::now();
        loop {
            assert!(begun.elapsed() < LIMIT, "{name} stays prepared");
            if let Ok(session) = Session::try_connect(&self.url).await {
                let settled = session.try_sql(&format!("{how} prepared '{name}'")).await;
                let left = format!("select count(*) from pg_prepared_xacts where gid = '{name}'");
                if settled.is_ok() || session.try_sql(&left).await.is_ok_and(|left| left == ["0"]) {
                    return;
                }
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn state(session: &Session, turn: &Turn) -> Sql<Service> {
    let Turn {
        organization,
        service,
        ..
    } = turn;
    let disabled = session
        .try_sql(&format!(
            "select disabled from services where organization = '{organization}' and name = '{service}'"
        ))
        .await?;
    let pricings = session
        .try_sql(&format!("select availability || ' ' || version from pricings where organization = '{organization}' and service_name = '{service}' order by id"))
        .await?;
    Ok(Service {
        organization: organization.clone(),
        name: service.clone(),
        disabled: disabled.first().map(|disabled| disabled == "t"),
        pricings: pricings
            .iter()
            .map(|pricing| {
                let (availability, version) = pricing.split_once(' ').expect("two words");
                Pricing {
                    version: version.to_owned(),
                    active: availability == "active",
                }
            })
            .collect(),
    })
}

async fn expect(
    session: &Session,
    token: u64,
    statement: u32,
    turn: &Turn,
    events: &[String],
) -> Sql<()> {
    if events.is_empty() {
        return Ok(());
    }
    let Turn {
        organization,
        service,
        turn,
    } = turn;
    let values: Vec<String> = events
        .iter()
        .map(|event| {
            format!("({token}, {statement}, '{organization}', '{service}', {turn}, '{event}')")
        })
        .collect();
    let insert = format!(
        "insert into test.expected (token, statement, organization, service, turn, event) values {}",
        values.join(", ")
    );
    session.try_sql(&insert).await.map(|_| ())
}
