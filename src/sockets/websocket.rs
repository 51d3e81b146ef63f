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

use super::frames::push_text;
use super::session::Session;
use crate::http::connection::Connection;

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
    /// Once it is the websocket of a session, others write to it too.
    session: Option<Arc<Session>>,
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
        session: None,
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
        let mut answer = Vec::new();
        push_text(&mut answer, &[PROBE_ANSWER]);
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
    /// Makes it the websocket of a session.
    pub fn belong_to(mut self, session: Arc<Session>) -> Self {
        session.link().open(self.connection.tcp());
        self.session = Some(session);
        self
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(session) = &self.session {
            session.link().close();
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            let read = Pin::new(&mut self.connection).poll_read(cx, buf);
            let link = self.session.as_deref().map(Session::link);
            return match (read, link) {
                (Poll::Pending, Some(link)) if link.poll_hung_up(cx) => Poll::Ready(Ok(())),
                (read, _) => read,
            };
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
        let dropped = self.drops.min(buf.len());
        if dropped > 0 {
            self.drops -= dropped;
            return Poll::Ready(Ok(dropped));
        }
        let Self {
            connection,
            session,
            ..
        } = &mut *self;
        match session {
            None => Pin::new(connection).poll_write(cx, buf),
            Some(session) => {
                connection.poll_write_with(cx, |tcp| session.link().put_upper(tcp, buf))
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use tokio::net::{TcpSocket, TcpStream};
    use tungstenite::protocol::frame::FrameHeader;
    use tungstenite::protocol::frame::coding::{Data, OpCode};

    use super::*;
    use crate::http::connection::LimitedListener;
    use crate::http::connection_limit::ConnectionLimit;
    use crate::metrics::Metrics;
    use crate::sockets::frames::push_position;
    use crate::sockets::link::Gone;
    use crate::sockets::session::Sessions;

    const LIMIT: Duration = Duration::from_secs(60);
    /// With much less, TCP waits for its own timers.
    const BUFFER_BYTES: u32 = 8 * 1024;

    /// A websocket over a real connection with small buffers.
    async fn connect(write_timeout: Duration) -> (Stream, Arc<Session>, TcpStream, Arc<Metrics>) {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket
            .set_send_buffer_size(BUFFER_BYTES)
            .expect("a buffer size");
        socket
            .bind(([127, 0, 0, 1], 0).into())
            .expect("a free port");
        let listener = socket.listen(1).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let limit = || ConnectionLimit::new(1, None, Default::default());
        let metrics = Arc::new(Metrics::default());
        let mut listener =
            LimitedListener::new(listener, limit(), write_timeout, Arc::clone(&metrics));
        let client = TcpSocket::new_v4().expect("a socket");
        client
            .set_recv_buffer_size(BUFFER_BYTES)
            .expect("a buffer size");
        let (client, connection) = tokio::join!(client.connect(address), listener.accept());
        let session = Arc::new(Sessions::new(limit())).begin(IpAddr::from([127, 0, 0, 1]));
        let session = session.expect("a permit");
        let stream = Stream {
            connection,
            session: None,
            first: Bytes::new(),
            drops: 0,
        };
        let stream = stream.belong_to(Arc::clone(&session));
        (stream, session, client.expect("a connection"), metrics)
    }

    fn text(text: &str) -> Vec<u8> {
        let header = FrameHeader {
            opcode: OpCode::Data(Data::Text),
            ..FrameHeader::default()
        };
        let mut frame = Vec::new();
        header
            .format(text.len() as u64, &mut frame)
            .expect("a header");
        frame.extend(text.as_bytes());
        frame
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn frames_stay_whole_on_a_connection_that_takes_little_at_a_time() {
        const FRAMES: usize = 2_000;
        let (mut stream, session, mut client, _) = connect(LIMIT).await;
        let turn = session.link().admit();
        let upper = tokio::spawn(async move {
            for number in 0..FRAMES {
                if number == 100 {
                    let answer = text(r#"40/pricings,{"sid":"x"}"#);
                    stream.write_all(&answer).await.expect("written");
                }
                let pong = text(&format!("upper {number}{}", ".".repeat(number % 300)));
                stream.write_all(&pong).await.expect("written");
                if number % 10 == 0 {
                    // What it waits with goes first: it must not wait all the time.
                    sleep(Duration::from_millis(1)).await;
                }
            }
            stream
        });
        let events = tokio::spawn(async move {
            for number in 0..FRAMES {
                let mut frames = Vec::new();
                push_position(
                    &mut frames,
                    &format!("{number}{}", ".".repeat(number % 500)),
                );
                let written = session.link().write(turn, frames.into()).await;
                written.expect("written");
            }
        });
        let read = async {
            let (mut upper, mut events, mut is_answered) = (0, 0, false);
            while upper < FRAMES || events < FRAMES {
                let mut header = [0; 2];
                client.read_exact(&mut header).await.expect("a header");
                let length = match header[1] {
                    126 => client.read_u16().await.expect("a length"),
                    short => short.into(),
                };
                let mut payload = vec![0; length.into()];
                client.read_exact(&mut payload).await.expect("a payload");
                let payload = String::from_utf8(payload).expect("a text");
                if let Some(text) = payload.strip_prefix("upper ") {
                    assert_eq!(text.trim_end_matches('.'), upper.to_string());
                    upper += 1;
                } else if let Some(text) = payload.strip_prefix("42/pricings,[\"position\",\"") {
                    assert_eq!(text.trim_end_matches(['.', '"', ']']), events.to_string());
                    assert!(is_answered);
                    events += 1;
                } else {
                    assert_eq!(payload, r#"40/pricings,{"sid":"x"}"#);
                    is_answered = true;
                }
            }
        };
        timeout(LIMIT, read).await.expect("all in time");
        upper.await.expect("no panic");
        events.await.expect("no panic");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn whoever_waits_for_a_peer_that_takes_nothing_ends_the_connection_once() {
        let (mut stream, session, _client, metrics) = connect(Duration::from_millis(300)).await;
        let turn = session.link().admit();
        session
            .link()
            .pass([&br#"40/pricings,{"sid":"x"}"#[..]].into_iter());
        let events = async {
            let mut frames = Vec::new();
            push_position(&mut frames, &".".repeat(60_000));
            let frames = Bytes::from(frames);
            loop {
                if session.link().write(turn, frames.clone()).await == Err(Gone) {
                    return;
                }
            }
        };
        let upper = async {
            let ping = text("2");
            while stream.write_all(&ping).await.is_ok() {}
            let mut buffer = [0; 1];
            assert!(stream.read(&mut buffer).await.is_err());
        };
        let both = async { tokio::join!(events, upper) };
        timeout(LIMIT, both).await.expect("an end in time");
        let mut counted = String::new();
        metrics.write(&mut counted).expect("a text");
        let line = r#"disconnects_total{reason="write_timeout"} 1"#;
        assert!(counted.contains(line), "{counted}");
    }
}
