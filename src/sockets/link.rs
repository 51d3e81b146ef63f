//! The way to one client's websocket, for Engine.IO and for those who deliver events.
//!
//! The rules are those of the [`Wire`]; here are the socket, the lock and the waiting.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Context;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::wire::{Put, Turn, Wire};
use crate::http::connection::Tcp;

/// The way to a client that polls, or has a websocket.
#[derive(Debug, Default)]
pub struct Link {
    state: Mutex<State>,
    /// Woken when the upper layer has written, an answer to a poll was taken, or a
    /// client is gone.
    progress: Notify,
    hung_up: AtomicBool,
    /// Woken when it is hung up.
    reader: AtomicWaker,
}

#[derive(Debug, Default)]
struct State {
    wire: Wire,
    /// Where its websocket is.
    tcp: Websocket,
}

#[derive(Debug, Default)]
enum Websocket {
    #[default]
    NotYet,
    Open(Arc<Tcp>),
    Gone,
}

/// The client went away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

impl Link {
    /// A websocket has been opened.
    pub fn open(&self, tcp: Arc<Tcp>) {
        self.lock().tcp = Websocket::Open(tcp);
        self.progress.notify_waiters();
    }

    /// Whether a websocket was ever opened.
    pub fn is_websocket(&self) -> bool {
        !matches!(self.lock().tcp, Websocket::NotYet)
    }

    /// The connection of its websocket is gone.
    pub fn close(&self) {
        self.lock().tcp = Websocket::Gone;
        self.progress.notify_waiters();
    }

    /// Ends the websocket as if its peer had: whoever reads from it finds the end.
    pub fn hang_up(&self) {
        self.lock().wire.close();
        self.hung_up.store(true, Ordering::Release);
        self.reader.wake();
        self.progress.notify_waiters();
    }

    /// Whether it is hung up; if not, the context is woken when it is.
    pub fn poll_hung_up(&self, cx: &Context<'_>) -> bool {
        self.reader.register(cx.waker());
        self.hung_up.load(Ordering::Acquire)
    }

    /// Has the processor fetch what a write needs: reading any part of the lock does.
    pub fn prefetch(&self) {
        std::hint::black_box(self.state.is_poisoned());
    }

    /// A CONNECT is admitted, and will be answered.
    pub fn admit(&self) -> Turn {
        self.lock().wire.admit()
    }

    /// Nothing is written for this client any more.
    pub fn leave(&self, client: Turn) {
        self.lock().wire.leave(client);
        self.progress.notify_waiters();
    }

    /// Whether nothing will be written for this client any more.
    pub fn is_gone(&self, client: Turn) -> bool {
        let state = self.lock();
        matches!(state.tcp, Websocket::Gone) || state.wire.is_gone(client)
    }

    /// Waits until nothing will be written for this client any more.
    pub async fn gone(&self, client: Turn) {
        loop {
            let progress = self.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            if self.is_gone(client) {
                return;
            }
            progress.await;
        }
    }

    /// Packets went to the client in the answer to a poll.
    pub fn pass<'p>(&self, packets: impl Iterator<Item = &'p [u8]>) {
        let mut state = self.lock();
        packets.for_each(|packet| state.wire.pass(packet));
        drop(state);
        self.progress.notify_waiters();
    }

    /// How many events went to the client through Engine.IO.
    pub fn events(&self) -> u64 {
        self.lock().wire.events()
    }

    /// Wakes when something of the upper layer went to the client, and when a
    /// websocket was opened; take it before looking.
    pub fn progress(&self) -> Notified<'_> {
        self.progress.notified()
    }

    /// Writes frames now, or says what is in the way.
    pub fn put(&self, client: Turn, frames: &Bytes) -> Put {
        let State { wire, tcp } = &mut *self.lock();
        match tcp {
            Websocket::NotYet => Put::NotYet,
            Websocket::Open(tcp) => wire.put(client, frames, |bytes| tcp.try_write(bytes)),
            Websocket::Gone => Put::Never,
        }
    }

    /// Writes frames when it is their turn, and waits until all is written. If this is
    /// dropped they may be written or not, but never a part of one.
    ///
    /// # Errors
    ///
    /// The client is gone; also if it took nothing for too long.
    pub async fn write(&self, client: Turn, mut frames: Bytes) -> Result<(), Gone> {
        loop {
            let progress = self.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            match self.put(client, &frames) {
                Put::Whole => return Ok(()),
                Put::Part => frames = Bytes::new(),
                Put::Full => self.tcp()?.writable().await.map_err(|_| Gone)?,
                Put::NotYet => progress.await,
                Put::Never => return Err(Gone),
            }
        }
    }

    /// Writes for the upper layer.
    ///
    /// # Errors
    ///
    /// What the kernel says; `WouldBlock` if it takes nothing now.
    pub fn put_upper(&self, tcp: &Tcp, bytes: &[u8]) -> io::Result<usize> {
        let put = self
            .lock()
            .wire
            .put_upper(bytes, |bytes| tcp.try_write(bytes));
        if put.is_ok() {
            self.progress.notify_waiters();
        }
        put
    }

    fn tcp(&self) -> Result<Arc<Tcp>, Gone> {
        match &self.lock().tcp {
            Websocket::Open(tcp) => Ok(Arc::clone(tcp)),
            Websocket::NotYet | Websocket::Gone => Err(Gone),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
