//! Clients of `/pricings`, many and lean: a task, a socket and a few bytes each.
//!
//! Each client checks what it gets. Its task goes on when it has all, so that
//! pings are answered and what comes twice is noticed.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::frames;

/// The service whose versions are counted.
pub(crate) const SERVICE: &str = "Zoom";

/// How an event begins that tells a client where it is.
const POSITION: &[u8] = br#"42/pricings,["position","#;

/// How many clients connect at the same time.
const CONNECTING: usize = 64;
/// How long all may take to connect.
const CONNECT_LIMIT: Duration = Duration::from_secs(60);
/// How long messages that are only counted may take.
const COUNT_LIMIT: Duration = Duration::from_secs(10);
/// How often they are counted.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// More than a frame, and more than a socket gives at a time.
const BUFFER_BYTES: usize = 128 * 1024;

thread_local! {
    /// What is read is parsed at once; a client keeps only a frame's beginning.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; BUFFER_BYTES]);
}

/// What each client is to get.
#[derive(Clone, Debug)]
pub(crate) enum Expected {
    /// These versions of [`SERVICE`] created, each once, in order.
    Created(Range<u64>),
    /// As many versions from 0 on as can be timed, likewise.
    Timed(Arc<Times>),
    /// Any messages.
    Any,
}

/// How long each client waited for each message.
#[derive(Debug)]
pub(crate) struct Times {
    /// When each version was sent.
    sent: Vec<OnceLock<Instant>>,
    /// In milliseconds.
    took: Mutex<Vec<f64>>,
}

impl Times {
    pub(crate) fn of(versions: u64) -> Self {
        Self {
            sent: (0..versions).map(|_| OnceLock::new()).collect(),
            took: Mutex::default(),
        }
    }

    /// Says that a version is sent now.
    pub(crate) fn send(&self, version: u64) {
        if let Some(sent) = self.sent.get(version as usize) {
            let _ = sent.set(Instant::now());
        }
    }

    fn arrived(&self, version: u64, at: Instant) {
        if let Some(sent) = self.sent.get(version as usize).and_then(OnceLock::get) {
            let took = at.saturating_duration_since(*sent).as_secs_f64() * 1e3;
            self.took
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(took);
        }
    }

    /// All that came so far.
    pub(crate) fn took(&self) -> Vec<f64> {
        std::mem::take(&mut self.took.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A message, where somebody wants to see it.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) at: Instant,
    pub(crate) text: String,
}

/// Connected clients; they leave when this is dropped.
pub(crate) struct Swarm {
    shared: Arc<Shared>,
    clients: usize,
    _tasks: JoinSet<()>,
}

struct Shared {
    address: SocketAddr,
    /// The packet that joins the namespace.
    connect: String,
    expected: Expected,
    /// The text of an expected message up to its version.
    before_version: Vec<u8>,
    arrivals: Option<mpsc::UnboundedSender<Arrival>>,
    connecting: Semaphore,
    received: AtomicU64,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    joined: usize,
    /// How many have all.
    finished: usize,
    last_at: Option<Instant>,
    failure: Option<String>,
}

impl Swarm {
    /// Connects clients, and waits until all have joined.
    pub(crate) async fn join(
        address: SocketAddr,
        clients: usize,
        expected: Expected,
    ) -> Result<Self> {
        let swarm = Self::begin(address, clients, "40/pricings,", expected, None);
        swarm.all_joined().await?;
        Ok(swarm)
    }

    /// One client, and its messages as they come.
    pub(crate) async fn listen(
        address: SocketAddr,
        connect: &str,
        expected: Expected,
    ) -> Result<(Self, mpsc::UnboundedReceiver<Arrival>)> {
        let (sender, arrivals) = mpsc::unbounded_channel();
        let swarm = Self::begin(address, 1, connect, expected, Some(sender));
        swarm.all_joined().await?;
        Ok((swarm, arrivals))
    }

    /// Lets clients connect, with a packet of one's own.
    pub(crate) fn begin(
        address: SocketAddr,
        clients: usize,
        connect: &str,
        expected: Expected,
        arrivals: Option<mpsc::UnboundedSender<Arrival>>,
    ) -> Self {
        let shared = Arc::new(Shared {
            address,
            connect: connect.to_owned(),
            expected,
            before_version: format!(
                r#"42/pricings,["message",{{"code":"PRICING_CREATED","details":{{"serviceName":"{SERVICE}","pricingVersion":""#
            )
            .into_bytes(),
            arrivals,
            connecting: Semaphore::new(CONNECTING),
            received: AtomicU64::new(0),
            state: Mutex::default(),
            changed: Notify::new(),
        });
        let mut tasks = JoinSet::new();
        for _ in 0..clients {
            let shared = Arc::clone(&shared);
            tasks.spawn(async move {
                let Err(error) = run(&shared).await;
                shared.change(|state| {
                    state.failure.get_or_insert(format!("a client: {error:#}"));
                });
            });
        }
        Self {
            shared,
            clients,
            _tasks: tasks,
        }
    }

    /// Waits until all have joined.
    pub(crate) async fn all_joined(&self) -> Result<()> {
        self.until(CONNECT_LIMIT, |state| state.joined == self.clients)
            .await
            .context("connect the clients")
    }

    /// When the last client had all that is expected.
    pub(crate) async fn all_received(&self, limit: Duration) -> Result<Instant> {
        self.until(limit, |state| state.finished == self.clients)
            .await?;
        self.shared.state().last_at.context("there are no clients")
    }

    /// Waits until as many messages came, to all clients together, and fails if
    /// more come within a moment.
    pub(crate) async fn received_in_all(&self, messages: u64) -> Result<()> {
        let begun = Instant::now();
        while self.received() < messages && begun.elapsed() < COUNT_LIMIT {
            self.check()?;
            sleep(LOOK_AGAIN).await;
        }
        sleep(LOOK_AGAIN).await;
        let received = self.received();
        ensure!(
            received == messages,
            "{received} messages came instead of {messages}"
        );
        self.check()
    }

    /// How many messages came, to all clients together.
    fn received(&self) -> u64 {
        self.shared.received.load(Ordering::Relaxed)
    }

    /// Fails if a client got something else than expected, or was cut.
    pub(crate) fn check(&self) -> Result<()> {
        match &self.shared.state().failure {
            Some(failure) => bail!("{failure}"),
            None => Ok(()),
        }
    }

    async fn until(&self, limit: Duration, reached: impl Fn(&State) -> bool) -> Result<()> {
        let waiting = async {
            loop {
                let changed = self.shared.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                self.check()?;
                if reached(&self.shared.state()) {
                    return Ok(());
                }
                changed.await;
            }
        };
        let Ok(waited) = timeout(limit, waiting).await else {
            let state = self.shared.state();
            bail!(
                "after {} s: of {} clients {} joined and {} have all; {} messages came",
                limit.as_secs(),
                self.clients,
                state.joined,
                state.finished,
                self.received(),
            );
        };
        waited
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_waiters();
    }
}

/// Serves one client until it is cut.
async fn run(shared: &Shared) -> Result<Infallible> {
    let turn = shared.connecting.acquire().await?;
    let mut stream = TcpStream::connect(shared.address)
        .await
        .context("connect")?;
    stream.set_nodelay(true)?;
    // Thousands of ports would wait for a minute otherwise.
    stream.set_zero_linger()?;
    upgrade(&mut stream, shared.address).await?;
    let mut client = Client {
        shared,
        begun: Vec::new(),
        answers: Vec::new(),
        joined: false,
        next_version: match &shared.expected {
            Expected::Created(versions) => versions.start,
            Expected::Timed(_) | Expected::Any => 0,
        },
    };
    let mut turn = Some(turn);
    loop {
        stream.readable().await?;
        BUFFER.with_borrow_mut(|buffer| client.read(&stream, buffer))?;
        if !client.answers.is_empty() {
            stream.write_all(&client.answers).await?;
            client.answers.clear();
        }
        if client.joined {
            turn.take();
        }
    }
}

/// Asks for a websocket. The server sends nothing behind its answer until this
/// returns, or it is read again: the answer is looked at, then taken to its end.
async fn upgrade(stream: &mut TcpStream, address: SocketAddr) -> Result<()> {
    let request = format!(
        "GET /events/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {address}\r\n\
        Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: c3BhY2UtZXZlbnRzLWJlbg==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = [0; 1024];
    loop {
        let seen = stream.peek(&mut answer).await?;
        ensure!(seen > 0, "closed instead of upgraded");
        let head = &answer[..seen];
        if let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") {
            let line = String::from_utf8_lossy(head);
            ensure!(line.starts_with("HTTP/1.1 101"), "not upgraded: {line}");
            let taken = stream.try_read(&mut answer[..end + 4])?;
            ensure!(taken == end + 4, "a part of the answer");
            return Ok(());
        }
        ensure!(seen < answer.len(), "a long answer");
        sleep(Duration::from_millis(1)).await;
    }
}

struct Client<'a> {
    shared: &'a Shared,
    /// A frame that is not whole yet.
    begun: Vec<u8>,
    /// What is to be written.
    answers: Vec<u8>,
    joined: bool,
    next_version: u64,
}

impl Client<'_> {
    /// Reads what is there, once.
    fn read(&mut self, stream: &TcpStream, buffer: &mut [u8]) -> Result<()> {
        let kept = self.begun.len();
        buffer[..kept].copy_from_slice(&self.begun);
        let read = match stream.try_read(&mut buffer[kept..]) {
            Ok(0) => bail!("the server closed the connection"),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let at = Instant::now();
        let mut bytes = &buffer[..kept + read];
        let mut messages = 0;
        while let Some(frame) = frames::first(bytes)? {
            bytes = frame.rest;
            match frame.opcode {
                frames::TEXT => messages += u64::from(self.take(frame.payload, at)?),
                frames::PING => frames::push(&mut self.answers, frames::PONG, frame.payload),
                frames::CLOSE => bail!("the server closes the websocket"),
                _ => {}
            }
        }
        self.begun.clear();
        self.begun.extend_from_slice(bytes);
        if messages > 0 {
            self.shared.received.fetch_add(messages, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Takes a packet; whether it was a message.
    fn take(&mut self, packet: &[u8], at: Instant) -> Result<bool> {
        // Where it is without an event; who listens may want to know.
        if packet.starts_with(POSITION) && self.shared.arrivals.is_none() {
            return Ok(false);
        }
        if packet.starts_with(b"42/pricings,") {
            self.take_message(packet, at)?;
            return Ok(true);
        }
        match packet {
            b"2" => frames::push(&mut self.answers, frames::TEXT, b"3"),
            [b'0', ..] => frames::push(
                &mut self.answers,
                frames::TEXT,
                self.shared.connect.as_bytes(),
            ),
            packet if packet.starts_with(b"40/pricings,{") => {
                self.joined = true;
                self.shared.change(|state| state.joined += 1);
            }
            _ => bail!("unexpected: {}", String::from_utf8_lossy(packet)),
        }
        Ok(false)
    }

    fn take_message(&mut self, packet: &[u8], at: Instant) -> Result<()> {
        if let Some(arrivals) = &self.shared.arrivals {
            let text = String::from_utf8_lossy(packet).into_owned();
            let _ = arrivals.send(Arrival { at, text });
        }
        let versions = match &self.shared.expected {
            Expected::Created(versions) => versions.clone(),
            Expected::Timed(times) => 0..times.sent.len() as u64,
            Expected::Any => return Ok(()),
        };
        let version = created(packet, &self.shared.before_version)
            .with_context(|| format!("unexpected: {}", String::from_utf8_lossy(packet)))?;
        ensure!(
            version == self.next_version && version < versions.end,
            "got version {version} instead of {} of {}",
            self.next_version,
            versions.end,
        );
        self.next_version += 1;
        if let Expected::Timed(times) = &self.shared.expected {
            times.arrived(version, at);
        }
        if self.next_version == versions.end {
            self.shared.change(|state| {
                state.finished += 1;
                state.last_at = state.last_at.max(Some(at));
            });
        }
        Ok(())
    }
}

/// The version in a message.
fn created(packet: &[u8], before: &[u8]) -> Option<u64> {
    let rest = packet.strip_prefix(before)?;
    let mut version = 0u64;
    for (nth, byte) in rest.iter().enumerate() {
        match byte {
            b'0'..=b'9' => version = version.checked_mul(10)? + u64::from(byte - b'0'),
            b'"' if nth > 0 => return Some(version),
            _ => return None,
        }
    }
    None
}
