//! TCP connections: their number is limited, and each is closed if its peer takes
//! nothing for too long.
//!
//! The Engine.IO writer waits for ever for a client that does not read, and nothing above
//! it can free that connection. So this layer fails a write that has waited for too long.

use std::io;
use std::net::{IpAddr, Shutdown};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tracing::{debug, warn};

use super::connection_limit::{ConnectionLimit, Permit};
use crate::metrics::{Ended, Metrics};

/// The pause after a connection could not be accepted because open files ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often it is logged that no more connections are taken.
const WARN_INTERVAL: Duration = Duration::from_secs(60);

/// Accepts as many connections as there are permits.
#[derive(Debug)]
pub struct LimitedListener {
    listener: TcpListener,
    limit: ConnectionLimit,
    write_timeout: Duration,
    metrics: Arc<Metrics>,
    /// When it was last logged that no more are taken.
    warned: Option<Instant>,
}

impl LimitedListener {
    /// A connection for which there is no permit is closed at once. Any other is closed
    /// when its peer has taken nothing for `write_timeout`.
    pub fn new(
        listener: TcpListener,
        limit: ConnectionLimit,
        write_timeout: Duration,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            listener,
            limit,
            write_timeout,
            metrics,
            warned: None,
        }
    }

    /// The next connection that has a permit. Cancel safe.
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
            let permit = match self.limit.take(peer.ip()) {
                Ok(permit) => permit,
                Err(refused) => {
                    self.metrics.refused(refused);
                    self.warn(&refused.to_string());
                    continue;
                }
            };
            if let Err(error) = stream.set_nodelay(true) {
                debug!(%error, "events may be held back for a few milliseconds");
            }
            return Connection::new(stream, peer.ip(), permit, self.write_timeout, &self.metrics);
        }
    }

    /// Once a minute, so that nobody can fill the log by opening connections.
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

/// Put beside each request: the connection that it came on.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionInfo {
    /// Where the peer is; a proxy, if there is one before us.
    pub address: IpAddr,
}

/// The socket of a connection, for several that write to it in turn.
#[derive(Debug)]
pub struct Tcp {
    stream: TcpStream,
    write_timeout: Duration,
    given_up: AtomicBool,
    metrics: Arc<Metrics>,
}

impl Tcp {
    /// Writes as much as the kernel takes now.
    ///
    /// # Errors
    ///
    /// What the kernel says: `WouldBlock` if it takes nothing.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        if self.given_up.load(Ordering::Acquire) {
            return Err(gone());
        }
        // Mostly the kernel takes them. What Tokio keeps of the socket, in memory of its
        // own, is needed only if not.
        match SockRef::from(&self.stream).send(bytes) {
            // Then Tokio has to ask: it wakes those only whom it has seen asking in vain.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.stream.try_write(bytes),
            sent => sent,
        }
    }

    /// Waits until the kernel takes more. Cancel safe.
    ///
    /// # Errors
    ///
    /// The connection is gone; also if it took nothing for too long.
    pub async fn writable(&self) -> io::Result<()> {
        match timeout(self.write_timeout, self.stream.writable()).await {
            Ok(writable) => writable,
            Err(_) => Err(self.give_up()),
        }
    }

    /// What was not written is dropped, and whoever reads or writes finds the end.
    fn give_up(&self) -> io::Error {
        if !self.given_up.swap(true, Ordering::AcqRel) {
            debug!("a client took nothing for too long; closing its connection");
            self.metrics.ended(Ended::WriteTimeout);
            let socket = SockRef::from(&self.stream);
            let ended = self.stream.set_zero_linger();
            if let Err(error) = ended.and_then(|()| socket.shutdown(Shutdown::Both)) {
                debug!(%error, "the connection lingers");
            }
        }
        gone()
    }
}

/// A TCP connection that has a permit.
#[derive(Debug)]
pub struct Connection {
    tcp: Arc<Tcp>,
    address: IpAddr,
    /// Runs while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Free again when the connection is gone.
    _permit: Permit,
}

impl Connection {
    fn new(
        stream: TcpStream,
        address: IpAddr,
        permit: Permit,
        write_timeout: Duration,
        metrics: &Arc<Metrics>,
    ) -> Self {
        Self {
            tcp: Arc::new(Tcp {
                stream,
                write_timeout,
                given_up: AtomicBool::new(false),
                metrics: Arc::clone(metrics),
            }),
            address,
            stalled: None,
            _permit: permit,
        }
    }

    /// What the handlers of its requests may know of it.
    pub fn info(&self) -> ConnectionInfo {
        ConnectionInfo {
            address: self.address,
        }
    }

    /// Its socket.
    pub fn tcp(&self) -> Arc<Tcp> {
        Arc::clone(&self.tcp)
    }

    /// Writes by a function that says `WouldBlock` while the kernel takes nothing; it
    /// is called until then.
    pub fn poll_write_with(
        &mut self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(&Tcp) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            match write(&self.tcp) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => {
                    self.stalled = None;
                    return Poll::Ready(written);
                }
            }
            if let Poll::Ready(writable) = self.tcp.stream.poll_write_ready(cx) {
                writable?;
                continue;
            }
            let write_timeout = self.tcp.write_timeout;
            let stalled = self
                .stalled
                .get_or_insert_with(|| Box::pin(sleep(write_timeout)));
            ready!(stalled.as_mut().poll(cx));
            return Poll::Ready(Err(self.tcp.give_up()));
        }
    }
}

fn gone() -> io::Error {
    io::Error::new(
        io::ErrorKind::TimedOut,
        "the peer took nothing for too long",
    )
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if self.tcp.given_up.load(Ordering::Acquire) {
                return Poll::Ready(Err(gone()));
            }
            match self.tcp.stream.try_read_buf(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read.map(|_| ())),
            }
            ready!(self.tcp.stream.poll_read_ready(cx))?;
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |tcp| tcp.try_write(buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |tcp| {
            if tcp.given_up.load(Ordering::Acquire) {
                return Err(gone());
            }
            tcp.stream.try_write_vectored(bufs)
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = SockRef::from(&self.tcp.stream);
        Poll::Ready(socket.shutdown(Shutdown::Write))
    }
}
