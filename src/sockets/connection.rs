//! A TCP connection that counts what was written, and gives up on a peer that
//! takes nothing.
//!
//! The Engine.IO writer waits for ever for a client that does not read, and
//! nothing above it can free that connection: this layer does, by an error once
//! a write has been waiting for too long.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::places::{Place, Places};
use crate::metrics::{Ended, Latency, Metrics};

/// The pause after a connection could not be taken: descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often it is logged that no more connections are taken.
const WARN_INTERVAL: Duration = Duration::from_secs(60);

/// Accepts connections that count.
#[derive(Debug)]
pub struct MeteredListener {
    listener: TcpListener,
    places: Places,
    write_timeout: Duration,
    metrics: Arc<Metrics>,
    /// When it was last logged that no more are taken.
    warned: Option<Instant>,
}

impl MeteredListener {
    /// A connection for which there is no place is closed at once; one whose peer
    /// takes nothing for `write_timeout`, then.
    pub fn new(
        listener: TcpListener,
        places: Places,
        write_timeout: Duration,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            listener,
            places,
            write_timeout,
            metrics,
            warned: None,
        }
    }

    /// The next connection that has a place. Cancel safe.
    pub async fn accept(&mut self) -> Connection {
        loop {
            let (stream, peer) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                // The peer gave up before it was its turn.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
                    ) =>
                {
                    continue;
                }
                Err(error) => {
                    self.warn(&error.to_string());
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let place = match self.places.take(peer.ip()) {
                Ok(place) => place,
                Err(refused) => {
                    self.metrics.refused(refused);
                    self.warn(&refused.to_string());
                    continue;
                }
            };
            if let Err(error) = stream.set_nodelay(true) {
                debug!(%error, "events may be held back for a few milliseconds");
            }
            return Connection::new(stream, peer.ip(), place, self.write_timeout, &self.metrics);
        }
    }

    /// Once a minute: whoever opens connections all the time shall not fill the log.
    fn warn(&mut self, cause: &str) {
        let now = Instant::now();
        if self
            .warned
            .is_none_or(|warned| now.duration_since(warned) > WARN_INTERVAL)
        {
            self.warned = Some(now);
            warn!(cause, "connections are refused");
        }
    }
}

/// What is known of a connection by those who do not own it.
#[derive(Debug, Default)]
pub struct Meter {
    written: AtomicU64,
    progress: Notify,
    closed: CancellationToken,
    hung_up: AtomicBool,
    /// Woken when there is nothing more to read: hung up, or given up.
    reader: AtomicWaker,
    change_to_write: Latency,
    /// Up to where the bytes are written when a timed message is; 0: none is timed.
    timed_end: AtomicU64,
    /// When the row of the timed message changed, in microseconds since 1970.
    timed_since_us: AtomicI64,
}

impl Meter {
    /// How many bytes the kernel has taken.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// Wakes whenever more was written; take it before looking at the count.
    pub fn progress(&self) -> &Notify {
        &self.progress
    }

    /// Cancelled when the connection is gone.
    pub fn closed(&self) -> &CancellationToken {
        &self.closed
    }

    /// Ends the connection as if its peer had: whoever reads from it finds the end.
    pub fn hang_up(&self) {
        self.hung_up.store(true, Ordering::Release);
        self.reader.wake();
    }

    /// Times from `changed_at` on until `end` bytes are written, unless it times
    /// another message.
    pub fn time(&self, changed_at: DateTime<Utc>, end: u64) {
        if self.timed_end.load(Ordering::Acquire) == 0 {
            let since_us = changed_at.timestamp_micros();
            self.timed_since_us.store(since_us, Ordering::Relaxed);
            self.timed_end.store(end, Ordering::Release);
        }
    }

    fn wrote(&self, bytes: u64) {
        let written = self.written.fetch_add(bytes, Ordering::AcqRel) + bytes;
        self.progress.notify_waiters();
        let end = self.timed_end.load(Ordering::Acquire);
        if end != 0 && written >= end {
            let since_us = self.timed_since_us.load(Ordering::Relaxed);
            let since = DateTime::from_timestamp_micros(since_us).unwrap_or_default();
            self.change_to_write.observe_between(since, Utc::now());
            self.timed_end.store(0, Ordering::Release);
        }
    }
}

/// Put beside each request: the connection that it came on.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionInfo {
    /// Where the peer is; a proxy, if there is one before us.
    pub address: IpAddr,
}

/// A TCP connection that counts.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    address: IpAddr,
    meter: Arc<Meter>,
    write_timeout: Duration,
    /// Runs while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
    given_up: bool,
    metrics: Arc<Metrics>,
    /// Free again when the connection is gone.
    _place: Place,
}

impl Connection {
    fn new(
        stream: TcpStream,
        address: IpAddr,
        place: Place,
        write_timeout: Duration,
        metrics: &Arc<Metrics>,
    ) -> Self {
        let meter = Meter {
            change_to_write: metrics.change_to_write(),
            ..Meter::default()
        };
        Self {
            stream,
            address,
            meter: Arc::new(meter),
            write_timeout,
            stalled: None,
            given_up: false,
            metrics: Arc::clone(metrics),
            _place: place,
        }
    }

    /// What the handlers of its requests may know of it.
    pub fn info(&self) -> ConnectionInfo {
        ConnectionInfo {
            address: self.address,
        }
    }

    /// What others may know of it once it is a websocket.
    pub fn meter(&self) -> Arc<Meter> {
        Arc::clone(&self.meter)
    }

    fn wrote(
        &mut self,
        written: Poll<io::Result<usize>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(bytes)) => {
                self.stalled = None;
                self.meter.wrote(bytes as u64);
                Poll::Ready(Ok(bytes))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                let write_timeout = self.write_timeout;
                let stalled = self
                    .stalled
                    .get_or_insert_with(|| Box::pin(sleep(write_timeout)));
                if stalled.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                self.give_up();
                Poll::Ready(Err(gone()))
            }
        }
    }

    /// What was not written is dropped, and the reader is told.
    fn give_up(&mut self) {
        self.given_up = true;
        debug!("a client took nothing for too long; closing its connection");
        self.metrics.ended(Ended::WriteTimeout);
        if let Err(error) = self.stream.set_zero_linger() {
            debug!(%error, "the connection lingers");
        }
        self.meter.reader.wake();
    }
}

fn gone() -> io::Error {
    io::Error::new(
        io::ErrorKind::TimedOut,
        "the peer took nothing for too long",
    )
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.meter.closed.cancel();
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.given_up {
            return Poll::Ready(Err(gone()));
        }
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if read.is_pending() {
            self.meter.reader.register(cx.waker());
            if self.meter.hung_up.load(Ordering::Acquire) {
                return Poll::Ready(Ok(()));
            }
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.given_up {
            return Poll::Ready(Err(gone()));
        }
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.wrote(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.given_up {
            return Poll::Ready(Err(gone()));
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.wrote(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
