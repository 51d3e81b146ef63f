//! A TCP connection that counts what was written, and gives up on a peer that
//! takes nothing.
//!
//! The Engine.IO writer waits for ever for a client that does not read, and
//! nothing above it can free that connection: this layer does, by an error once
//! a write has been waiting for too long.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::{Sleep, sleep};
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// Accepts connections that count.
#[derive(Debug)]
pub struct MeteredListener {
    listener: TcpListener,
    write_timeout: Duration,
}

impl MeteredListener {
    /// A connection whose peer takes nothing for `write_timeout` is closed.
    pub fn new(listener: TcpListener, write_timeout: Duration) -> Self {
        Self {
            listener,
            write_timeout,
        }
    }
}

impl Listener for MeteredListener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.listener).await;
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "events may be held back for a few milliseconds");
        }
        (Connection::new(stream, self.write_timeout), address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        TcpListener::local_addr(&self.listener)
    }
}

/// What is known of a connection by those who do not own it.
#[derive(Debug, Default)]
pub struct Meter {
    written: AtomicU64,
    progress: Notify,
    closed: CancellationToken,
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
}

/// Put beside each request: the meter of the connection that it came on.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// The meter.
    pub meter: Arc<Meter>,
}

impl Connected<IncomingStream<'_, MeteredListener>> for ConnectionInfo {
    fn connect_info(stream: IncomingStream<'_, MeteredListener>) -> Self {
        Self {
            meter: Arc::clone(&stream.io().meter),
        }
    }
}

/// A TCP connection that counts.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    meter: Arc<Meter>,
    write_timeout: Duration,
    /// Runs while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Woken when the connection is given up.
    reader: Option<Waker>,
    given_up: bool,
}

impl Connection {
    fn new(stream: TcpStream, write_timeout: Duration) -> Self {
        Self {
            stream,
            meter: Arc::default(),
            write_timeout,
            stalled: None,
            reader: None,
            given_up: false,
        }
    }

    fn wrote(
        &mut self,
        written: Poll<io::Result<usize>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(bytes)) => {
                self.stalled = None;
                self.meter.written.fetch_add(bytes as u64, Ordering::AcqRel);
                self.meter.progress.notify_waiters();
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
        if let Err(error) = self.stream.set_zero_linger() {
            debug!(%error, "the connection lingers");
        }
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
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
            self.reader = Some(cx.waker().clone());
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
