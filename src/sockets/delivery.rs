//! How events get to a client that is not in the lane.
//!
//! While it polls, events go through Engine.IO, which answers its polls. So few are under
//! way at a time that its channel in Engine.IO is never full, and a heartbeat always fits.
//! On a websocket events are written past Engine.IO. Nobody broadcasts through Socket.IO's
//! own emitter, because it drops messages when a channel is full.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;
use socketioxide::{SendError, SocketError};
use tokio::time::sleep;

use super::Sources;
use super::client::{Client, Positions, position_frame};
use super::frames;
use super::link::Gone;
use crate::journal::{JournalEvent, Position};

/// The most events under way to a client that polls. With a ping and the answers
/// to CONNECT one response carries 16 packets at most: python-socketio ends the
/// connection at more.
const WINDOW_POLLED_EVENTS: u64 = 13;
/// The pause when a client's channel is full against expectation.
const FULL_PAUSE: Duration = Duration::from_millis(20);

/// The way to one client.
pub(super) struct Delivery {
    client: Arc<Client>,
    sources: Arc<Sources>,
    /// What it gets goes through Engine.IO, until all that did was taken and it has
    /// gone over to a websocket.
    polls: bool,
}

/// What goes to a client next, and where it is behind that.
#[derive(Default)]
pub(super) struct Outgoing<'e> {
    /// What it hears of some events.
    heard: Vec<Placed<'e>>,
    /// The last of all of them.
    last: Option<Placed<'e>>,
}

/// An event, and the place behind it if that is not the event's own.
#[derive(Clone)]
struct Placed<'e> {
    event: &'e JournalEvent,
    elsewhere: Option<Position>,
}

impl Delivery {
    /// Through Engine.IO at first, if the client has no websocket.
    pub(super) fn new(client: Arc<Client>, sources: Arc<Sources>) -> Self {
        Self {
            polls: !client.session.link().is_websocket(),
            client,
            sources,
        }
    }

    /// Whether events go through Engine.IO.
    pub(super) fn polls(&self) -> bool {
        self.polls
    }

    /// Writes past Engine.IO from now on, if the client has a websocket and nothing is
    /// on its way through Engine.IO.
    pub(super) fn go_over(&mut self) {
        let session = &self.client.session;
        if self.polls && session.link().is_websocket() && session.under_way() == 0 {
            self.polls = false;
        }
    }

    /// Waits until a client on a websocket has the answer to its CONNECT, and all that
    /// was written for it so far.
    ///
    /// # Errors
    ///
    /// The client is gone.
    pub(super) async fn written(&self) -> Result<(), Gone> {
        if self.polls {
            return Ok(());
        }
        let link = self.client.session.link();
        link.write(self.client.turn, Default::default()).await
    }

    /// Sends what the client hears. Returns where it is then, if it moved.
    ///
    /// # Errors
    ///
    /// The client is gone.
    pub(super) async fn send(&self, outgoing: Outgoing<'_>) -> Result<Option<Position>, Gone> {
        let Outgoing { heard, last } = outgoing;
        if self.polls {
            for placed in &heard {
                self.emit_event(placed).await?;
            }
        } else if !heard.is_empty() {
            let mut frames = Vec::new();
            for placed in &heard {
                let reference = self.reference(placed);
                frames::push_message(&mut frames, &placed.event.json, reference.as_deref());
            }
            let link = self.client.session.link();
            link.write(self.client.turn, frames.into()).await?;
            self.sources.metrics.delivered(heard.len());
        }
        if let Some(told) = heard.into_iter().last() {
            self.client.was_told(&told.place());
        }
        Ok(last.map(Placed::place))
    }

    /// Tells a client that asked for positions where it is, if it moved on without a
    /// message since it was told last; now and then.
    ///
    /// # Errors
    ///
    /// The client is gone.
    pub(super) async fn tell_position(&self, place: &Position) -> Result<(), Gone> {
        if !self.client.is_to_be_told(place) {
            return Ok(());
        }
        let text = place.encode(&self.sources.catch_up.key());
        self.client.was_told(place);
        if self.polls {
            return self.emit("position", &text).await;
        }
        let link = self.client.session.link();
        link.write(self.client.turn, position_frame(&text)).await
    }

    /// What is told beside an event; nothing to clients that did not ask for it.
    fn reference<'e>(&self, placed: &Placed<'e>) -> Option<Cow<'e, RawValue>> {
        if self.client.positions == Positions::Left {
            return None;
        }
        let key = self.sources.catch_up.key();
        Some(match &placed.elsewhere {
            None => Cow::Borrowed(placed.event.reference(&key)),
            Some(position) => Cow::Owned(placed.event.reference_at(position, &key)),
        })
    }

    async fn emit_event(&self, placed: &Placed<'_>) -> Result<(), Gone> {
        let json = &placed.event.json;
        match self.reference(placed) {
            None => self.emit("message", json).await?,
            Some(reference) => self.emit("message", &(json, &*reference)).await?,
        }
        self.sources.metrics.delivered(1);
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
    /// Adds an event, if the client hears it; it moves the client on in any case.
    /// `elsewhere` is the place behind it, if that is not the event's own.
    pub(super) fn add(
        &mut self,
        client: &Client,
        event: &'e JournalEvent,
        elsewhere: Option<Position>,
    ) {
        let placed = Placed { event, elsewhere };
        if client.hears(event) {
            self.heard.push(placed.clone());
        }
        self.last = Some(placed);
    }

    /// The first event that the client hears.
    pub(super) fn first(&self) -> Option<&'e JournalEvent> {
        self.heard.first().map(|placed| placed.event)
    }
}

impl Placed<'_> {
    fn place(self) -> Position {
        self.elsewhere.unwrap_or_else(|| self.event.position())
    }
}
