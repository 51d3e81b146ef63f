//! The task of one client that is not in the lane: where it is, what it gets next,
//! what happens when it is slow.
//!
//! A client that keeps up takes from the replay buffer. One that fell behind
//! them, or came back with a position, reads the journal page by page until it
//! reaches what is visible now, and then takes from the replay buffer again:
//! those that the journal showed it already are left out. Once a client on a websocket
//! has everything, it enters the [lane](super::lane), and its task ends.

use std::borrow::Cow;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::FutureExt as _;
use serde::Serialize;
use socketioxide::{SendError, SocketError};
use tokio::sync::futures::Notified;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{debug, error, warn};

use super::client::{Client, Positions, position_frame};
use super::frames;
use super::lane::Lane;
use super::link::Gone;
use super::session::Session;
use crate::journal::bounds::Gap;
use crate::journal::catch_up::SharedPage;
use crate::journal::replay_buffer::{Cursor, Missed};
use crate::journal::{CatchUp, JournalEvent, Position, ReplayBuffer, Watermark};
use crate::metrics::{CatchUpCause, Ended, Metrics};

/// How many events are taken, and written, at a time.
const TAKE_EVENTS: usize = 64;
/// The most events under way to a client that polls. With a ping and the answers
/// to CONNECT one response carries 16 packets at most: python-socketio ends the
/// connection at more.
const WINDOW_POLLED_EVENTS: u64 = 13;
/// The pause after the journal could not be read.
const PAUSE: Duration = Duration::from_millis(500);
/// The pause when a client's channel is full against expectation.
const FULL_PAUSE: Duration = Duration::from_millis(20);

/// Where a client is: it hears all from here on.
#[derive(Debug)]
pub struct Subscription {
    /// What it has seen, with what it does not hear.
    place: Position,
    mode: Mode,
    /// Why it reads the journal next.
    cause: CatchUpCause,
}

#[derive(Debug)]
enum Mode {
    /// Takes from the replay buffer, less what the journal showed it before it joined.
    Live(Cursor, Option<Joined>),
    /// Reads the journal.
    Journal,
}

/// A client that joined the replay buffer from the journal.
#[derive(Clone, Debug)]
struct Joined {
    /// What the journal showed it.
    seen: Arc<Watermark>,
}

impl Joined {
    /// Whether nothing that the journal showed is published behind a place. The other
    /// way round would not do: of a place that a notification led to, only the ids tell
    /// what was seen there, not the transactions.
    fn is_over(&self, place: &Watermark) -> bool {
        place.covers(&self.seen)
    }

    /// The place behind an event, if the journal has not shown it.
    fn behind(&self, event: &JournalEvent) -> Option<Position> {
        if self.seen.has(event.row.id, event.xid) {
            return None;
        }
        let next = &event.batch.next;
        Some(Position::within(&self.seen, next, event.through))
    }
}

impl Subscription {
    /// What it has seen.
    pub fn place(&self) -> &Position {
        &self.place
    }

    /// A client that hears all from now on.
    pub fn from_now(replay_buffer: &ReplayBuffer) -> Self {
        let (cursor, place) = replay_buffer.join();
        Self {
            place,
            mode: Mode::Live(cursor, None),
            cause: CatchUpCause::FellBehind,
        }
    }

    /// A client that comes back.
    pub fn from_position(place: Position) -> Self {
        Self {
            place,
            mode: Mode::Journal,
            cause: CatchUpCause::CameBack,
        }
    }

    /// A client whose next event in the replay buffer has the number `next`; `place` is
    /// the one before it.
    pub fn at(replay_buffer: &ReplayBuffer, next: u64, place: Position) -> Self {
        let cursor = replay_buffer.join_at(next);
        Self {
            place,
            mode: cursor.map_or(Mode::Journal, |cursor| Mode::Live(cursor, None)),
            cause: CatchUpCause::FellBehind,
        }
    }
}

/// What the subscribers share.
#[derive(Debug)]
pub struct Sources {
    /// The last events.
    pub replay_buffer: Arc<ReplayBuffer>,
    /// The journal.
    pub catch_up: Arc<CatchUp>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// Serves one client until it is in the lane or gone. Should that fail through a fault
/// of ours, its session ends: it comes back, where it would have been connected and
/// silent.
pub async fn serve(client: Arc<Client>, subscription: Subscription, lane: Arc<Lane>) {
    let served = Arc::clone(&client);
    let metrics = Arc::clone(&lane.sources.metrics);
    let subscriber = Subscriber {
        polls: !client.session.link().is_websocket(),
        client: Arc::clone(&client),
        subscription,
        lane,
    };
    let serving = async {
        tokio::select! {
            biased;
            // It is in the lane, or gone.
            _ = subscriber.run() => {}
            () = served.session.link().gone(served.turn) => {}
        }
    };
    unless_it_panics(serving, &served.session, &metrics).await;
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
    client: Arc<Client>,
    subscription: Subscription,
    lane: Arc<Lane>,
    /// What it gets goes through Engine.IO, until all that did was taken and it has
    /// gone over to a websocket.
    polls: bool,
}

/// What goes to a client next, and where it is behind that.
struct Outgoing<'e> {
    /// What it hears of some events.
    heard: Vec<Step<'e>>,
    /// The last of all of them.
    last: Option<Step<'e>>,
}

/// An event, and the place behind it if that is not the event's own.
type Step<'e> = (&'e JournalEvent, Option<Position>);

/// A client took from the replay buffer and cannot any more, or needs not.
enum Ends {
    FellBehind,
    InTheLane,
}

impl Subscriber {
    async fn run(mut self) -> Result<(), Gone> {
        self.begin().await?;
        loop {
            self.tell_position().await?;
            match self.subscription.mode {
                Mode::Live(..) => match self.take_recent().await? {
                    Ends::InTheLane => return Ok(()),
                    // The feed waits for it no more.
                    Ends::FellBehind => self.subscription.mode = Mode::Journal,
                },
                // Large, and most clients never need it.
                Mode::Journal => Box::pin(self.catch_up()).await?,
            }
        }
    }

    /// Waits until the client has the answer to its CONNECT.
    async fn begin(&self) -> Result<(), Gone> {
        if self.polls {
            return Ok(());
        }
        let link = self.client.session.link();
        link.write(self.client.turn, Default::default()).await
    }

    /// Returns when the client has all that could be seen in the journal.
    async fn catch_up(&mut self) -> Result<(), Gone> {
        let metrics = Arc::clone(&self.lane.sources.metrics);
        let _reading = metrics.reading_journal(self.subscription.cause);
        self.subscription.cause = CatchUpCause::FellBehind;
        while matches!(self.subscription.mode, Mode::Journal) {
            self.read_journal().await?;
        }
        Ok(())
    }

    async fn take_recent(&mut self) -> Result<Ends, Gone> {
        let replay_buffer = Arc::clone(&self.lane.sources.replay_buffer);
        let client = Arc::clone(&self.client);
        let mut published = replay_buffer.watch();
        loop {
            published.mark_unchanged();
            let progress = client.session.link().progress();
            self.go_over();
            let Mode::Live(cursor, _) = &self.subscription.mode else {
                return Ok(Ends::FellBehind);
            };
            let taken = match replay_buffer.take(cursor.next(), TAKE_EVENTS) {
                Ok(taken) => taken,
                Err(Missed::FellBehind) => return Ok(Ends::FellBehind),
                Err(Missed::BeganAnew) => return Err(self.end(Ended::JournalWentBack)),
            };
            self.send_recent(&taken.events).await?;
            if let Some(seen) = taken.place {
                self.come_to(seen);
            }
            self.tell_position().await?;
            if !taken.is_all || !taken.events.is_empty() {
                continue;
            }
            if !self.polls && matches!(&self.subscription.mode, Mode::Live(_, None)) {
                if self.enter().await? {
                    return Ok(Ends::InTheLane);
                }
            } else {
                self.wait(&mut published, progress).await?;
            }
        }
    }

    /// Enters the lane, unless there are new events.
    async fn enter(&self) -> Result<bool, Gone> {
        // All that it has is written then.
        self.begin().await?;
        match &self.subscription.mode {
            Mode::Live(cursor, _) => self.lane.join(&self.client, cursor.next()),
            Mode::Journal => Ok(false),
        }
    }

    /// Comes to the place between two batches.
    fn come_to(&mut self, seen: Arc<Watermark>) {
        if let Mode::Live(_, joined) = &mut self.subscription.mode {
            joined.take_if(|joined| joined.is_over(&seen));
            if joined.is_none() {
                self.subscription.place = Position::after(seen);
            }
        }
    }

    /// Waits until something was published, or the client went over to a websocket.
    async fn wait(
        &self,
        published: &mut watch::Receiver<()>,
        progress: Notified<'_>,
    ) -> Result<(), Gone> {
        let is_joining = matches!(&self.subscription.mode, Mode::Live(_, Some(_)));
        tokio::select! {
            changed = published.changed() => changed.map_err(|_| Gone),
            () = progress, if self.polls => Ok(()),
            // The feed reads on, also where nothing is published.
            () = sleep(PAUSE), if is_joining => Ok(()),
        }
    }

    /// Writes past Engine.IO from now on, if nothing is on its way through it.
    fn go_over(&mut self) {
        let session = &self.client.session;
        if self.polls && session.link().is_websocket() && session.under_way() == 0 {
            self.polls = false;
        }
    }

    async fn send_recent(&mut self, events: &[Arc<JournalEvent>]) -> Result<(), Gone> {
        // The feed waits for clients that move: one that polls does with each event.
        let at_a_time = if self.polls { 1 } else { TAKE_EVENTS };
        for events in events.chunks(at_a_time) {
            let outgoing = self.outgoing(events);
            let first = outgoing.heard.first().map(|(event, _)| event.changed_at);
            self.send(outgoing).await?;
            if let Mode::Live(cursor, _) = &self.subscription.mode {
                cursor.move_to(cursor.next() + events.len() as u64);
            }
            self.time(first);
        }
        Ok(())
    }

    fn time(&self, changed_at: Option<DateTime<Utc>>) {
        if let Some(changed_at) = changed_at.filter(|_| !self.polls) {
            let written = self.lane.sources.metrics.change_to_write();
            written.observe_between(changed_at, Utc::now());
        }
    }

    /// What the client hears from the replay buffer, less what the journal showed it.
    fn outgoing<'e>(&mut self, events: &'e [Arc<JournalEvent>]) -> Outgoing<'e> {
        let mut outgoing = Outgoing::nothing();
        let Mode::Live(_, joined) = &mut self.subscription.mode else {
            return outgoing;
        };
        for event in events {
            joined.take_if(|joined| joined.is_over(&event.batch.base));
            let Some(joined) = joined else {
                outgoing.add(&self.client, event, None);
                continue;
            };
            if let Some(place) = joined.behind(event) {
                outgoing.add(&self.client, event, Some(place));
            }
        }
        outgoing
    }

    /// Reads a page, and joins the replay buffer if it was the last.
    async fn read_journal(&mut self) -> Result<(), Gone> {
        let catch_up = &self.lane.sources.catch_up;
        let SharedPage { page, head } = match catch_up.shared_page(&self.subscription.place).await {
            Ok(Ok(shared)) => shared,
            Ok(Err(Gap::WentBack)) => return Err(self.end(Ended::JournalWentBack)),
            Ok(Err(Gap::Pruned)) => {
                // It is refused when it comes back, and so told of the gap.
                warn!("a client fell behind what the journal keeps; disconnecting it");
                let _ = self.client.socket.clone().disconnect();
                return Err(Gone);
            }
            Err(error) => {
                // One line for each client would be too many; the feed says it too.
                debug!(error = format!("{error:#}"), "a client cannot catch up yet");
                sleep(PAUSE.mul_f64(0.5 + fastrand::f64())).await;
                return Ok(());
            }
        };
        for events in page.events.chunks(TAKE_EVENTS) {
            let mut outgoing = Outgoing::nothing();
            for event in events {
                outgoing.add(&self.client, event, None);
            }
            self.send(outgoing).await?;
            self.go_over();
        }
        self.lane.sources.metrics.replayed(page.events.len());
        self.subscription.place = page.end.clone();
        if page.reached_now {
            // What was published before `head` was visible to the page. Later events may
            // have been too.
            if let Some(cursor) = self.lane.sources.replay_buffer.join_at(head) {
                let joined = Joined {
                    seen: Arc::clone(&self.subscription.place.base),
                };
                self.subscription.mode = Mode::Live(cursor, Some(joined));
            }
        }
        Ok(())
    }

    /// Ends its session as if its connection had been lost, so that it comes back by
    /// itself: with its position, or from now on.
    fn end(&self, why: Ended) -> Gone {
        self.lane.sources.metrics.ended(why);
        self.client.session.end();
        Gone
    }

    async fn send(&mut self, outgoing: Outgoing<'_>) -> Result<(), Gone> {
        let Outgoing { heard, last } = outgoing;
        if self.polls {
            for (event, elsewhere) in &heard {
                self.emit_event(event, elsewhere.as_ref()).await?;
            }
        } else if !heard.is_empty() {
            let mut frames = Vec::new();
            for (event, elsewhere) in &heard {
                let reference = self.reference(event, elsewhere.as_ref());
                frames::push_message(&mut frames, &event.json, reference.as_deref());
            }
            let link = self.client.session.link();
            link.write(self.client.turn, frames.into()).await?;
            self.lane.sources.metrics.delivered(heard.len());
        }
        if let Some(told) = heard.into_iter().last() {
            self.client.was_told(&behind(told));
        }
        if let Some(last) = last {
            self.subscription.place = behind(last);
        }
        Ok(())
    }

    /// What is told beside an event; nothing to clients that did not ask for it.
    fn reference<'e>(
        &self,
        event: &'e JournalEvent,
        elsewhere: Option<&Position>,
    ) -> Option<Cow<'e, serde_json::value::RawValue>> {
        if self.client.positions == Positions::Left {
            return None;
        }
        let key = self.lane.sources.catch_up.key();
        Some(match elsewhere {
            None => Cow::Borrowed(event.reference(&key)),
            Some(position) => Cow::Owned(event.reference_at(position, &key)),
        })
    }

    /// Tells a client that asked for positions where it is, if it moved on without a
    /// message since it was told last; now and then.
    async fn tell_position(&mut self) -> Result<(), Gone> {
        let place = &self.subscription.place;
        if !self.client.is_to_be_told(place) {
            return Ok(());
        }
        let text = place.encode(&self.lane.sources.catch_up.key());
        self.client.was_told(place);
        if self.polls {
            return self.emit("position", &text).await;
        }
        let link = self.client.session.link();
        link.write(self.client.turn, position_frame(&text)).await
    }

    async fn emit_event(
        &self,
        event: &JournalEvent,
        elsewhere: Option<&Position>,
    ) -> Result<(), Gone> {
        match self.reference(event, elsewhere) {
            None => self.emit("message", &event.json).await?,
            Some(reference) => self.emit("message", &(&event.json, &*reference)).await?,
        }
        self.lane.sources.metrics.delivered(1);
        Ok(())
    }

    /// Emits an event through Engine.IO, when few enough are on their way.
    async fn emit(&self, name: &str, arguments: &(impl Serialize + ?Sized)) -> Result<(), Gone> {
        let session = &self.client.session;
        loop {
            let progress = session.link().progress();
            tokio::pin!(progress);
            progress.as_mut().enable();
            if session.under_way() < WINDOW_POLLED_EVENTS {
                break;
            }
            progress.await;
        }
        loop {
            match self.client.socket.emit(name, arguments) {
                Ok(()) => break,
                Err(SendError::Socket(SocketError::InternalChannelFull)) => sleep(FULL_PAUSE).await,
                Err(_) => return Err(Gone),
            }
        }
        session.sends();
        Ok(())
    }
}

impl<'e> Outgoing<'e> {
    fn nothing() -> Self {
        Self {
            heard: Vec::new(),
            last: None,
        }
    }

    /// Adds an event, if the client hears it; it moves the client on in any case.
    fn add(&mut self, client: &Client, event: &'e JournalEvent, elsewhere: Option<Position>) {
        if client.hears(event) {
            self.heard.push((event, elsewhere.clone()));
        }
        self.last = Some((event, elsewhere));
    }
}

fn behind((event, elsewhere): Step<'_>) -> Position {
    elsewhere.unwrap_or_else(|| event.position())
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::http::connection_limit::ConnectionLimit;
    use crate::journal::witness::Witness;
    use crate::sockets::session::Sessions;

    #[test]
    fn what_the_journal_showed_is_left_out_until_a_place_covers_it() {
        let place = |snapshot, max_id| Watermark::parse(snapshot, 0, max_id).expect("a snapshot");
        // A transaction runs, and one that began later has committed.
        let joined = Joined {
            seen: Arc::new(place("22:31:22", 105)),
        };
        let told = place("20:20:", 100).with_next(25, Witness::new(101, 25, 0));
        for (place, is_over) in [
            (place("20:20:", 100), false),
            (told.expect("the next row"), false),
            (place("22:31:22", 105), true),
            (place("31:31:", 106), true),
        ] {
            assert_eq!(joined.is_over(&place), is_over, "{place:?}");
        }
    }

    #[tokio::test]
    async fn a_task_that_panics_ends_its_session_and_is_counted() {
        let limit = ConnectionLimit::new(1, None, Default::default());
        let sessions = Arc::new(Sessions::new(limit));
        let session = sessions.begin(IpAddr::from([127, 0, 0, 1]));
        let session = session.expect("a permit");
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
