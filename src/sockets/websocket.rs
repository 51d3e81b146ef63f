//! The beginning of a websocket: the answer that makes a request one, and the trial
//! that a client which polls makes before it goes over.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::{sleep, timeout};
use tungstenite::handshake::derive_accept_key;

use super::connection::{Connection, Meter};

/// How long a client may take until it goes over to the websocket that it tries.
const PROBE_LIMIT: Duration = Duration::from_secs(10);
/// The pause before a poll is released for the second time; it doubles from there on.
const RELEASE_PAUSE: Duration = Duration::from_millis(100);
/// The longest payload of a frame whose header has no further bytes for the length.
const SHORT_BYTES: u8 = 125;
/// A whole text, and the bit that says that a client masked it (RFC 6455, 5.2).
const TEXT: u8 = 0x81;
const MASKED: u8 = 0x80;

const PROBE: &str = "2probe";
const PROBE_ANSWER: &str = "3probe";
const GO_OVER: &str = "5";

/// The answer to a request that asks for a websocket (RFC 6455, 4.2); none if it does
/// not. A proxy that does not know websockets drops the header `Upgrade`.
pub fn accept(request: &Request) -> Option<Response> {
    let headers = request.headers();
    let key = headers.get(header::SEC_WEBSOCKET_KEY)?;
    let is_websocket = request.method() == axum::http::Method::GET
        && has_word(headers, header::CONNECTION, "upgrade")
        && has_word(headers, header::UPGRADE, "websocket")
        && has_word(headers, header::SEC_WEBSOCKET_VERSION, "13")
        && request.extensions().get::<OnUpgrade>().is_some();
    if !is_websocket {
        return None;
    }
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::UPGRADE, "websocket")
        .header(header::CONNECTION, "Upgrade")
        .header(
            header::SEC_WEBSOCKET_ACCEPT,
            derive_accept_key(key.as_bytes()),
        )
        .body(Body::empty())
        .ok()
}

fn has_word(headers: &HeaderMap, name: HeaderName, word: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|value| value.trim().eq_ignore_ascii_case(word))
}

/// The stream of a websocket, as Engine.IO gets it.
#[derive(Debug)]
pub struct Stream {
    connection: Connection,
    /// Read before what the connection has.
    first: Bytes,
    /// How much of what is written first is dropped.
    drops: usize,
}

/// The stream of a request that was answered with [`accept`]; none if its connection
/// ended before.
pub async fn stream(upgrade: OnUpgrade) -> Option<Stream> {
    let upgraded = upgrade.await.ok()?;
    let parts = upgraded.downcast::<TokioIo<Connection>>().ok()?;
    Some(Stream {
        connection: parts.io.into_inner(),
        // Else it would hold hyper's buffer.
        first: Bytes::copy_from_slice(&parts.read_buf),
        drops: 0,
    })
}

/// Answers the trial of a client, and waits until it goes over. From the answer on
/// `release` is called again and again: the client waits for the answer to its poll
/// first, and that poll may still be on its way.
///
/// # Errors
///
/// The client did not go over.
pub async fn probe(mut stream: Stream, release: impl Fn()) -> io::Result<Stream> {
    let tried = async {
        expect(&mut stream, PROBE).await?;
        let mut answer = vec![TEXT, PROBE_ANSWER.len() as u8];
        answer.extend(PROBE_ANSWER.as_bytes());
        stream.write_all(&answer).await?;
        let releasing = async {
            let mut pause = RELEASE_PAUSE;
            loop {
                release();
                sleep(pause).await;
                pause *= 2;
            }
        };
        tokio::select! {
            gone_over = expect(&mut stream, GO_OVER) => gone_over,
            () = releasing => Ok(()),
        }
    };
    timeout(PROBE_LIMIT, tried).await??;
    // Engine.IO goes through the same again, with nobody but us.
    let mut first = masked(PROBE);
    first.extend(masked(GO_OVER));
    first.extend(&stream.first);
    stream.first = first.into();
    stream.drops = 2 + PROBE_ANSWER.len();
    Ok(stream)
}

/// Reads a short text, and no byte more.
async fn expect(stream: &mut Stream, expected: &str) -> io::Result<()> {
    let unexpected = || io::Error::new(io::ErrorKind::InvalidData, "not the expected frame");
    let mut header = [0; 2];
    stream.read_exact(&mut header).await?;
    let [kind, length] = header;
    let length = length.wrapping_sub(MASKED);
    if kind != TEXT || length > SHORT_BYTES {
        return Err(unexpected());
    }
    let mut mask = [0; 4];
    stream.read_exact(&mut mask).await?;
    let mut payload = vec![0; length.into()];
    stream.read_exact(&mut payload).await?;
    for (byte, mask) in payload.iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= mask;
    }
    if payload == expected.as_bytes() {
        Ok(())
    } else {
        Err(unexpected())
    }
}

/// A short text as a client sends it; the mask 0 leaves it as it is.
fn masked(text: &str) -> Vec<u8> {
    let mut frame = vec![TEXT, MASKED | text.len() as u8, 0, 0, 0, 0];
    frame.extend(text.as_bytes());
    frame
}

impl Stream {
    /// The meter of its connection.
    pub fn meter(&self) -> Arc<Meter> {
        self.connection.meter()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.connection).poll_read(cx, buf);
        }
        let bytes = self.first.len().min(buf.remaining());
        buf.put_slice(&self.first.split_to(bytes));
        if self.first.is_empty() {
            self.first = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.drops == 0 {
            return Pin::new(&mut self.connection).poll_write(cx, buf);
        }
        let dropped = self.drops.min(buf.len());
        self.drops -= dropped;
        Poll::Ready(Ok(dropped))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(cx)
    }
}
