//! Writers of all kinds, at all rates, and readers that fall asleep and wake up
//! beside them: each commit is heard once, and none waits for the poll.
//!
//! `NOTIFYING_SECONDS=…` says for how long, and that nothing runs beside it.

#![expect(
    clippy::print_stdout,
    reason = "figures, for whoever looks at them with --nocapture"
)]

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::support::client::{Client, in_short};
use crate::support::postgres::{Session, listen};
use crate::support::{Program, Server, wait_until};

const WRITERS: u64 = 12;
const USUAL_SECONDS: u64 = 10;
/// What a commit may take to be heard, where this test alone runs: a feed that was
/// killed connects again in less, and the poll may take twice as long.
const LONGEST: Duration = Duration::from_millis(500);
/// The same beside other tests; the poll still takes longer now and then.
const LONGEST_BESIDE_OTHERS: Duration = Duration::from_millis(900);

/// When what happened, in the order in which it did.
type Times = Arc<Mutex<HashMap<String, Vec<Instant>>>>;

fn note(times: &Times, event: String) {
    let mut times = times.lock().expect("no panic");
    times.entry(event).or_default().push(Instant::now());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_commit_is_lost_or_waits_for_the_poll() {
    let (seconds, longest) = match std::env::var("NOTIFYING_SECONDS") {
        Ok(text) => (text.parse().expect("a number"), LONGEST),
        Err(_) => (USUAL_SECONDS, LONGEST_BESIDE_OTHERS),
    };
    let server = Server::start(&["max_prepared_transactions = 20"]).await;
    let program = || Program::start(&[("DATABASE_URL", &server.url)]);
    let mut instances = [program(), program(), program()];
    // The third is killed now and then, and stands still: nobody listens to it.
    let heard = [Times::default(), Times::default()];
    let mut clients = Vec::new();
    for (instance, heard) in instances.iter_mut().zip(&heard) {
        let mut client = Client::join(instance.address(), "40/pricings,").await;
        let heard = Arc::clone(heard);
        clients.push(AbortOnDropHandle::new(tokio::spawn(async move {
            while let Some(frame) = client.frame_or_end().await {
                note(&heard, in_short(&frame));
            }
        })));
    }
    let session = server.connect().await;
    session
        .sql(&format!(
            "insert into services (name) select 'Service ' || n from generate_series(1, {WRITERS}) n;
            insert into services (name) select 'Switched ' || n from generate_series(1, {WRITERS}) n"
        ))
        .await;
    let control = Control::start(&server).await;

    let stop = CancellationToken::new();
    // The longest pause of a writer between two transactions, in milliseconds.
    let pause = Arc::<AtomicU64>::default();
    let committed = Times::default();
    let polled = Times::default();
    let writers: Vec<_> = (1..=WRITERS)
        .map(|number| {
            let writer = Writer {
                number,
                rng: fastrand::Rng::new(),
                committed: Arc::clone(&committed),
                polled: Arc::clone(&polled),
                versions: 0,
                disabled: false,
            };
            tokio::spawn(writer.run(server.url.clone(), Arc::clone(&pause), stop.clone()))
        })
        .collect();
    let begun = Instant::now();
    let mut faults = 0;
    while begun.elapsed() < Duration::from_secs(seconds) {
        pause.store(
            fastrand::choice([0, 0, 20, 200, 1000]).unwrap_or(0),
            Ordering::Relaxed,
        );
        sleep(Duration::from_millis(fastrand::u64(50..800))).await;
        faults += 1;
        match fastrand::u8(..10) {
            0 => {
                session
                    .sql("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'space-events feed'")
                    .await;
            }
            1 => {
                instances[2].kill();
                instances[2] = program();
            }
            2 => {
                instances[2].signal("-STOP");
                sleep(Duration::from_millis(fastrand::u64(..500))).await;
                instances[2].signal("-CONT");
            }
            _ => faults -= 1,
        }
    }
    stop.cancel();
    for writer in writers {
        writer.await.expect("a writer that ends well");
    }
    let count = |times: &Times| {
        times
            .lock()
            .expect("no panic")
            .values()
            .map(Vec::len)
            .sum::<usize>()
    };
    let expected = count(&committed) + count(&polled);
    for heard in &heard {
        wait_until("all is heard", async || count(heard) >= expected).await;
    }
    drop(clients);
    let stall = control.longest();
    let committed = committed.lock().expect("no panic");
    let polled = polled.lock().expect("no panic");
    let mut latencies = Vec::new();
    for heard in &heard {
        let heard = heard.lock().expect("no panic");
        for (event, times) in committed.iter() {
            let heard = heard.get(event).map_or(&[][..], Vec::as_slice);
            assert_eq!(heard.len(), times.len(), "{event}");
            for (heard, committed) in heard.iter().zip(times) {
                latencies.push(heard.saturating_duration_since(*committed));
            }
        }
        for (event, times) in polled.iter() {
            assert_eq!(heard.get(event).map(Vec::len), Some(times.len()), "{event}");
        }
    }
    latencies.sort_unstable();
    let quantile = |part: f64| latencies[((latencies.len() - 1) as f64 * part) as usize];
    println!(
        "{} events, {faults} faults: p50 {:?}, p99 {:?}, greatest {:?}; a plain NOTIFY took up to {stall:?}",
        expected,
        quantile(0.5),
        quantile(0.99),
        quantile(1.0)
    );
    // Where the machine stands still, both do.
    assert!(
        quantile(1.0) < longest + 10 * stall,
        "a commit was heard only after {:?}",
        quantile(1.0)
    );
}

/// How long a notification takes on this machine, whatever this program does.
struct Control {
    longest_us: Arc<AtomicU64>,
    _task: AbortOnDropHandle<()>,
}

impl Control {
    async fn start(server: &Server) -> Self {
        let (mut told, listening) = listen(&server.url, "control").await;
        let session = server.connect().await;
        let longest_us = Arc::<AtomicU64>::default();
        let noted = Arc::clone(&longest_us);
        let task = AbortOnDropHandle::new(tokio::spawn(async move {
            let _listening = listening;
            loop {
                let begun = Instant::now();
                session.sql("notify control").await;
                told.recv().await;
                let took_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
                noted.fetch_max(took_us, Ordering::Relaxed);
                sleep(Duration::from_millis(20)).await;
            }
        }));
        Self {
            longest_us,
            _task: task,
        }
    }

    fn longest(&self) -> Duration {
        Duration::from_micros(self.longest_us.load(Ordering::Relaxed))
    }
}

struct Writer {
    number: u64,
    rng: fastrand::Rng,
    /// The events of what notifies …
    committed: Times,
    /// … and of what chose not to.
    polled: Times,
    versions: u64,
    disabled: bool,
}

impl Writer {
    async fn run(mut self, url: String, pause: Arc<AtomicU64>, stop: CancellationToken) {
        let session = Session::connect(&url).await;
        let switched = format!("Switched {}", self.number);
        session.add_pricing(&switched, "1").await;
        note(&self.committed, format!("CREATED {switched} 1"));
        while !stop.is_cancelled() {
            let (times, events) = self.transaction(&session).await;
            for event in events {
                note(&times, event);
            }
            let pause = pause.load(Ordering::Relaxed);
            if pause > 0 {
                sleep(Duration::from_millis(self.rng.u64(..pause))).await;
            }
        }
    }

    /// One of many kinds; what it causes, and whom it concerns.
    async fn transaction(&mut self, session: &Session) -> (Times, Vec<String>) {
        let committed = Arc::clone(&self.committed);
        let name = format!("Service {}", self.number);
        let created = |version: &String| format!("CREATED {name} {version}");
        let insert = |versions: &[String]| {
            let rows: Vec<_> = versions
                .iter()
                .map(|version| format!("('{name}', '{version}')"))
                .collect();
            format!(
                "insert into pricings (service_name, version) values {}",
                rows.join(", ")
            )
        };
        match self.rng.u8(..100) {
            // Several statements; some for long, some not for good.
            0..20 => {
                let mut events = Vec::new();
                session.sql("begin").await;
                for _ in 0..self.rng.u8(1..5) {
                    let version = self.fresh(1);
                    if self.rng.bool() {
                        let insert = insert(&version);
                        session
                            .sql(&format!("savepoint a; {insert}; rollback to a"))
                            .await;
                    } else {
                        session.sql(&insert(&version)).await;
                        events.extend(version.iter().map(created));
                    }
                }
                if self.rng.u8(..10) == 0 {
                    sleep(Duration::from_millis(self.rng.u64(..4000))).await;
                }
                session.sql("commit").await;
                (committed, events)
            }
            20..25 => {
                let versions = self.fresh(50);
                session.sql(&insert(&versions)).await;
                (committed, versions.iter().map(created).collect())
            }
            25..30 => {
                let version = self.fresh(1);
                session
                    .sql(&format!("begin; {}; rollback", insert(&version)))
                    .await;
                (committed, Vec::new())
            }
            30..40 => {
                self.disabled = !self.disabled;
                let name = format!("Switched {}", self.number);
                let update = format!(
                    "update services set disabled = {} where name = '{name}'",
                    self.disabled
                );
                session.sql(&update).await;
                let event = if self.disabled {
                    format!("DISABLED {name}")
                } else {
                    format!("ACTIVED {name} 1")
                };
                (committed, vec![event])
            }
            40..43 => {
                let version = self.fresh(1);
                let insert = insert(&version);
                let id = &version[0];
                session
                    .sql(&format!("begin; set local space_events.wake = 'poll'; {insert}; prepare transaction '{id}'"))
                    .await;
                session.sql(&format!("commit prepared '{id}'")).await;
                (
                    Arc::clone(&self.polled),
                    version.iter().map(created).collect(),
                )
            }
            _ => {
                let version = self.fresh(1);
                session.sql(&insert(&version)).await;
                (committed, version.iter().map(created).collect())
            }
        }
    }

    fn fresh(&mut self, count: u64) -> Vec<String> {
        let first = self.versions;
        self.versions += count;
        let number = self.number;
        (first..self.versions)
            .map(|version| format!("{number}.{version}"))
            .collect()
    }
}
