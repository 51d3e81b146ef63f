//! One client: where it is, what it gets next, what happens when it is slow.
//!
//! A client that keeps up takes from the recent events. One that fell behind
//! them, or came back with a position, reads the journal page by page until it
//! reaches what is visible now, and then takes from the recent events again:
//! those that the journal showed it already are left out.

use std::borrow::Cow;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use serde::Serialize;
use socketioxide::extract::SocketRef;
use socketioxide::{SendError, SocketError, TransportType};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use super::credit::Credit;
use super::filter::Filter;
use super::session::Session;
use crate::journal::history::SharedPage;
use crate::journal::reader::Gap;
use crate::journal::recent::{Cursor, MOVE_ON, Missed};
use crate::journal::{History, JournalEvent, Position, Recent, Seen};
use crate::metrics::{CatchUp, Ended, Metrics};

/// How many recent events are taken at a time.
const TAKE_EVENTS: usize = 64;
/// The pause after the journal could not be read.
const PAUSE: Duration = Duration::from_millis(500);
/// The pause when a client's channel is full against expectation.
const FULL_PAUSE: Duration = Duration::from_millis(20);
/// The text around an event's JSON: `42/pricings,["message",` and `]`.
const MESSAGE_TEXT_BYTES: usize = 24;
/// The text around a position: `42/pricings,["position","` and `"]`.
const POSITION_TEXT_BYTES: usize = 27;

/// What a client's handshake asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Positions {
    /// Each message has its position and more beside it, and there are events
    /// `position`.
    Sent,
    /// The messages as SPACE sends them.
    Left,
}

/// A client that is registered: it hears all from here on.
#[derive(Debug)]
pub struct Subscription {
    /// Whether it is told positions.
    pub positions: Positions,
    /// Which events it hears.
    filter: Filter,
    /// What it has seen, with what it does not hear.
    place: Position,
    mode: Mode,
}

#[derive(Debug)]
enum Mode {
    /// Takes recent events. What the journal showed it before it joined is left
    /// out of the batches up to a number.
    Live(Cursor, Option<Joined>),
    /// Reads the journal.
    Journal,
}

#[derive(Clone, Debug)]
struct Joined {
    /// What the journal showed.
    seen: Arc<Seen>,
    /// Batches above this number began where all of it was visible.
    until: u64,
}

/// The client went away.
#[derive(Debug)]
struct Gone;

impl Subscription {
    /// What it has seen.
    pub fn place(&self) -> &Position {
        &self.place
    }

    /// A client that hears all from now on.
    pub fn from_now(recent: &Recent, positions: Positions, filter: Filter) -> Self {
        let (cursor, place) = recent.join();
        Self {
            positions,
            filter,
            place,
            mode: Mode::Live(cursor, None),
        }
    }

    /// A client that comes back.
    pub fn from_position(place: Position, filter: Filter) -> Self {
        Self {
            positions: Positions::Sent,
            filter,
            place,
            mode: Mode::Journal,
        }
    }
}

/// What the subscribers share.
#[derive(Debug)]
pub struct Sources {
    /// The last events.
    pub recent: Arc<Recent>,
    /// The journal.
    pub history: Arc<History>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// Serves one client until it goes away or `closed` is cancelled. Should that fail
/// through a fault of ours, its session ends: it comes back, where it would have been
/// connected and silent.
pub async fn serve(
    socket: SocketRef,
    session: Arc<Session>,
    subscription: Subscription,
    sources: Arc<Sources>,
    closed: CancellationToken,
) {
    let metrics = Arc::clone(&sources.metrics);
    let subscriber = Subscriber {
        socket,
        subscription,
        sources,
        credit: Credit::new(Arc::clone(&session)),
        told: None,
    };
    let serving = async {
        tokio::select! {
            biased;
            Gone = subscriber.run() => {}
            () = closed.cancelled() => {}
        }
    };
    unless_it_panics(serving, &session, &metrics).await;
}

async fn unless_it_panics(serving: impl Future<Output = ()>, session: &Session, metrics: &Metrics) {
    // All that it held is dropped, so nobody sees it half changed.
    let served = AssertUnwindSafe(serving).catch_unwind().await;
    if served.is_err() {
        error!("serving a client failed; ending its session");
        metrics.ended(Ended::Panic);
        session.end();
    }
}

struct Subscriber {
    socket: SocketRef,
    subscription: Subscription,
    sources: Arc<Sources>,
    credit: Credit,
    /// The position that it was told last, and when.
    told: Option<(Position, Instant)>,
}

impl Subscriber {
    async fn run(mut self) -> Gone {
        let mut cause = CatchUp::CameBack;
        loop {
            if let Err(gone) = self.tell_position().await {
                return gone;
            }
            let served = match self.subscription.mode {
                Mode::Live(..) => {
                    let served = self.take_recent().await;
                    cause = CatchUp::FellBehind;
                    served
                }
                // Large, and most clients never need it.
                Mode::Journal => Box::pin(self.catch_up(cause)).await,
            };
            if let Err(gone) = served {
                return gone;
            }
        }
    }

    /// Returns when the client has all that could be seen in the journal.
    async fn catch_up(&mut self, cause: CatchUp) -> Result<(), Gone> {
        let metrics = Arc::clone(&self.sources.metrics);
        let _reading = metrics.reading_journal(cause);
        while matches!(self.subscription.mode, Mode::Journal) {
            self.read_journal().await?;
        }
        Ok(())
    }

    /// Returns when the client has fallen behind.
    async fn take_recent(&mut self) -> Result<(), Gone> {
        let recent = Arc::clone(&self.sources.recent);
        let mut published = recent.watch();
        loop {
            published.mark_unchanged();
            let Mode::Live(cursor, _) = &self.subscription.mode else {
                return Ok(());
            };
            let taken = match recent.take(cursor.next(), TAKE_EVENTS) {
                Ok(taken) => taken,
                Err(Missed::FellBehind) => {
                    // The feed waits for it no more.
                    self.subscription.mode = Mode::Journal;
                    return Ok(());
                }
                Err(Missed::BeganAnew) => return Err(self.end(Ended::JournalWentBack)),
            };
            for event in taken.events {
                self.send_recent(&event).await?;
                if let Mode::Live(cursor, _) = &self.subscription.mode {
                    cursor.advance();
                }
            }
            if let Some((seen, reads)) = taken.place
                && !matches!(&self.subscription.mode, Mode::Live(_, Some(joined)) if joined.until > reads)
            {
                self.subscription.place = Position::after(seen);
            }
            self.tell_position().await?;
            if taken.is_all && published.changed().await.is_err() {
                return Err(Gone);
            }
        }
    }

    async fn send_recent(&mut self, event: &JournalEvent) -> Result<(), Gone> {
        let joined = match &mut self.subscription.mode {
            Mode::Live(_, joined) => {
                // A batch that began behind what the journal showed has nothing of
                // it, and more than it before: the places in it are its own.
                joined.take_if(|joined| {
                    event.batch.number > joined.until || !joined.seen.covers(&event.batch.base)
                });
                joined.clone()
            }
            Mode::Journal => None,
        };
        let elsewhere = match joined {
            Some(joined) if joined.seen.has(event.row.id, event.xid) => return Ok(()),
            Some(joined) => Some(Position::within(
                &joined.seen,
                &event.batch.next,
                event.through,
            )),
            None => None,
        };
        if !self.subscription.filter.hears(&event.event) {
            self.subscription.place = elsewhere.unwrap_or_else(|| event.position());
            return Ok(());
        }
        self.credit.time(
            event.changed_at,
            MESSAGE_TEXT_BYTES + event.json.get().len(),
        );
        self.send(event, elsewhere).await
    }

    /// Reads a page, and joins the recent events if it was the last.
    async fn read_journal(&mut self) -> Result<(), Gone> {
        let history = &self.sources.history;
        let SharedPage { page, head } = match history.shared_page(&self.subscription.place).await {
            Ok(Ok(shared)) => shared,
            Ok(Err(Gap::WentBack)) => return Err(self.end(Ended::JournalWentBack)),
            Ok(Err(Gap::Pruned)) => {
                // It is refused when it comes back, and so told of the gap.
                warn!("a client fell behind what the journal keeps; disconnecting it");
                let _ = self.socket.clone().disconnect();
                return Err(Gone);
            }
            Err(error) => {
                // One line for each client would be too many; the feed says it too.
                debug!(error = format!("{error:#}"), "a client cannot catch up yet");
                sleep(PAUSE.mul_f64(0.5 + fastrand::f64())).await;
                return Ok(());
            }
        };
        let reads = self.sources.recent.reads();
        for event in &page.events {
            if self.subscription.filter.hears(&event.event) {
                self.send(event, None).await?;
            }
        }
        self.sources.metrics.replayed(page.events.len());
        self.subscription.place = page.end.clone();
        if page.reached_now {
            // What was published before `head` was visible to the page. Later
            // events may have been too, in the batch under way and the next.
            if let Some(cursor) = self.sources.recent.join_at(head) {
                let joined = Joined {
                    seen: Arc::clone(&self.subscription.place.base),
                    until: reads + 2,
                };
                self.subscription.mode = Mode::Live(cursor, Some(joined));
            }
        }
        Ok(())
    }

    /// Ends its session as if its connection had been lost, so that it comes back by
    /// itself: with its position, or from now on.
    fn end(&self, why: Ended) -> Gone {
        self.sources.metrics.ended(why);
        self.credit.hang_up();
        Gone
    }

    /// Sends an event. `elsewhere` is the place behind it, unless it is the event's
    /// own.
    async fn send(
        &mut self,
        event: &JournalEvent,
        elsewhere: Option<Position>,
    ) -> Result<(), Gone> {
        let json = &event.json;
        let mut bytes = MESSAGE_TEXT_BYTES + json.get().len();
        match self.subscription.positions {
            Positions::Left => self.emit("message", json, bytes).await?,
            Positions::Sent => {
                let key = self.sources.history.key();
                let reference = match &elsewhere {
                    None => Cow::Borrowed(event.reference(&key)),
                    Some(position) => Cow::Owned(event.reference_at(position, &key)),
                };
                bytes += 1 + reference.get().len();
                self.emit("message", &(json, &*reference), bytes).await?;
            }
        }
        self.sources.metrics.delivered();
        self.subscription.place = elsewhere.unwrap_or_else(|| event.position());
        if self.subscription.positions == Positions::Sent {
            self.told = Some((self.subscription.place.clone(), Instant::now()));
        }
        Ok(())
    }

    /// Tells a client that asked for positions where it is, if it moved on without a
    /// message since it was told last; now and then.
    async fn tell_position(&mut self) -> Result<(), Gone> {
        let place = &self.subscription.place;
        let is_told = |(told, at): &(Position, Instant)| told == place || at.elapsed() < MOVE_ON;
        if self.subscription.positions == Positions::Left || self.told.as_ref().is_some_and(is_told)
        {
            return Ok(());
        }
        let text = place.encode(&self.sources.history.key());
        self.told = Some((place.clone(), Instant::now()));
        self.emit("position", &text, POSITION_TEXT_BYTES + text.len())
            .await
    }

    /// Emits a Socket.IO event, a text of so many bytes.
    async fn emit(
        &mut self,
        name: &str,
        arguments: &(impl Serialize + ?Sized),
        bytes: usize,
    ) -> Result<(), Gone> {
        let is_websocket = || self.socket.transport_type() == TransportType::Websocket;
        self.credit.available(is_websocket).await;
        loop {
            match self.socket.emit(name, arguments) {
                Ok(()) => break,
                Err(SendError::Socket(SocketError::InternalChannelFull)) => sleep(FULL_PAUSE).await,
                Err(_) => return Err(Gone),
            }
        }
        self.credit.spend(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::sockets::places::Places;
    use crate::sockets::session::Sessions;

    #[tokio::test]
    async fn a_task_that_panics_ends_its_session_and_is_counted() {
        let places = Places::new(1, None, Default::default());
        let sessions = Arc::new(Sessions::new(places));
        let session = sessions.begin(IpAddr::from([127, 0, 0, 1]));
        let session = session.expect("a place");
        let metrics = Metrics::default();
        unless_it_panics(async {}, &session, &metrics).await;
        assert!(!session.has_ended());
        unless_it_panics(async { panic!("a fault of ours") }, &session, &metrics).await;
        assert!(session.has_ended());
        let mut counted = String::new();
        metrics.write(&mut counted).expect("a text");
        let line = r#"disconnects_total{reason="panic"} 1"#;
        assert!(counted.contains(line), "{counted}");
    }
}
