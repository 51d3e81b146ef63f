//! What stands before Engine.IO: it sees each request of each session.
//!
//! Engine.IO keeps the sessions and answers polls. What it is not trusted with is
//! done here: how many sessions there may be, what is kept of their requests, and
//! which request is a websocket. Engine.IO ends a session whose websocket fails
//! before it is used, so it hears of a websocket only when its client goes over to it.

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use socketioxide::service::SocketIoService;
use socketioxide::socket::Sid;
use tower::{Service as _, ServiceExt as _};
use tracing::debug;

use super::session::{Probe, Session, Sessions};
use super::websocket;
use super::wire::CLOSE_PACKET;
use crate::api_key::API_KEY;
use crate::http::connection::ConnectionInfo;
use crate::http::requests::SOCKETS_PATH;
use crate::metrics::{Metrics, Refused};

/// Between the packets of an answer; JSON never holds it as it is.
const PACKET_SEPARATOR: u8 = 0x1e;
/// The packet that says nothing.
const NOOP_PACKET: &str = "6";

/// Answers the requests of Engine.IO. Clones share the sessions.
#[derive(Clone)]
pub struct Engine {
    service: SocketIoService<Router>,
    sessions: Arc<Sessions>,
    offers_websocket: bool,
    metrics: Arc<Metrics>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("sessions", &self.sessions)
            .finish_non_exhaustive()
    }
}

/// The middleware: answers what belongs to Engine.IO, and lets the rest pass.
pub async fn answer(State(engine): State<Engine>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let is_ours = path
        .strip_prefix(SOCKETS_PATH)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if !is_ours {
        return next.run(request).await;
    }
    let mut response = engine.answer(request).await;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        // A proxy that keeps an answer would give two clients one session.
        response
            .headers_mut()
            .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

impl Engine {
    /// Before this service.
    pub fn new(
        service: SocketIoService<Router>,
        sessions: Arc<Sessions>,
        offers_websocket: bool,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            service,
            sessions,
            offers_websocket,
            metrics,
        }
    }

    async fn answer(self, request: Request) -> Response {
        let query = request.uri().query().unwrap_or_default();
        let is_websocket = parameter(query, "transport") == Some("websocket");
        let Some(id) = parameter(query, "sid") else {
            return if is_websocket {
                self.open_websocket(request)
            } else {
                self.open_polling(request).await
            };
        };
        let Some(session) = id.parse().ok().and_then(|id| self.sessions.find(id)) else {
            return Refusal::UnknownSession.into_response();
        };
        match (is_websocket, request.method()) {
            (true, _) => self.try_websocket(session, request),
            (false, &Method::GET) => self.poll(&session, request).await,
            (false, _) if session.has_ended() => Refusal::UnknownSession.into_response(),
            (false, _) => self.ask(request).await,
        }
    }

    async fn open_polling(self, request: Request) -> Response {
        let session = match self.begin(&request) {
            Ok(session) => session,
            Err(refusal) => return refusal.into_response(),
        };
        let mut first = request_of(request.uri(), Body::empty());
        *first.method_mut() = request.method().clone();
        *first.headers_mut() = kept(request.headers());
        first.extensions_mut().insert(Arc::clone(&session));
        let sessions = Arc::clone(&self.sessions);
        let (head, body) = self.ask(first).await.into_parts();
        let Some(body) = whole(body).await else {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        };
        if let Some(id) = session_id(&body) {
            sessions.register(id, &session);
        }
        Response::from_parts(head, Body::from(body))
    }

    fn open_websocket(self, mut request: Request) -> Response {
        let response = match self.accept(&request) {
            Ok(response) => response,
            Err(refusal) => return refusal.into_response(),
        };
        let session = match self.begin(&request) {
            Ok(session) => session,
            Err(refusal) => return refusal.into_response(),
        };
        let mut first = request_of(request.uri(), ());
        *first.headers_mut() = kept(request.headers());
        first.extensions_mut().insert(Arc::clone(&session));
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            if let Some(stream) = websocket::stream(upgrade).await {
                self.hand_over(stream.belong_to(session), first);
            }
        });
        response
    }

    /// Tries whether frames reach the client and come back, as Engine.IO's clients ask
    /// for it: `2probe`, `3probe`, `5`. Until the `5` the session polls as before, and
    /// whatever goes wrong changes nothing of that.
    fn try_websocket(self, session: Arc<Session>, mut request: Request) -> Response {
        let response = match self.accept(&request) {
            Ok(response) => response,
            Err(refusal) => return refusal.into_response(),
        };
        let Some(probe) = session.probe() else {
            return Refusal::BadRequest.into_response();
        };
        drop(session);
        let second = request_of(request.uri(), ());
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let Some(stream) = websocket::stream(upgrade).await else {
                return;
            };
            match self.probed(&probe, stream, second).await {
                Ok(()) => debug!("a client went over to a websocket"),
                Err(error) => debug!(%error, "a client's websocket failed; it polls on"),
            }
        });
        response
    }

    async fn probed(
        self,
        probe: &Probe,
        stream: websocket::Stream,
        second: Request<()>,
    ) -> std::io::Result<()> {
        let session = probe.session();
        let stream = websocket::probe(stream, || session.release_poll()).await?;
        let stream = stream.belong_to(Arc::clone(session));
        self.hand_over(stream, second);
        Ok(())
    }

    async fn poll(self, session: &Session, request: Request) -> Response {
        let released = session.poll_released();
        tokio::pin!(released);
        released.as_mut().enable();
        if session.has_ended() {
            return self.end(request).await;
        }
        let asked = self.clone().ask(request_of(request.uri(), Body::empty()));
        let response = tokio::select! {
            // In this order: what Engine.IO has taken from its channel is not dropped.
            biased;
            response = asked => response,
            () = released => {
                if session.has_ended() {
                    return self.end(request).await;
                }
                return NOOP_PACKET.into_response();
            }
        };
        let (head, body) = response.into_parts();
        let Some(body) = whole(body).await else {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        };
        let packets = body.split(|byte| *byte == PACKET_SEPARATOR);
        session.link().pass(packets);
        Response::from_parts(head, Body::from(body))
    }

    /// Ends a session in Engine.IO too, as if its client had closed it; to the client
    /// it is unknown.
    async fn end(self, poll: Request) -> Response {
        let mut close = request_of(poll.uri(), Body::from(CLOSE_PACKET));
        *close.method_mut() = Method::POST;
        self.ask(close).await;
        Refusal::UnknownSession.into_response()
    }

    /// The answer that makes a request a websocket, if it is one.
    fn accept(&self, request: &Request) -> Result<Response, Refusal> {
        let query = request.uri().query().unwrap_or_default();
        let speaks_ours = parameter(query, "EIO") == Some("4") && self.offers_websocket;
        websocket::accept(request)
            .filter(|_| speaks_ours)
            .ok_or(Refusal::BadRequest)
    }

    fn begin(&self, request: &Request) -> Result<Arc<Session>, Refusal> {
        let info = request.extensions().get::<ConnectInfo<ConnectionInfo>>();
        let ConnectInfo(info) = info.ok_or(Refusal::BadRequest)?;
        self.sessions.begin(info.address).map_err(|refused| {
            self.metrics.refused(refused);
            Refusal::NoPermit(refused)
        })
    }

    fn hand_over(mut self, stream: websocket::Stream, request: Request<()>) {
        // Its tasks are spawned at once; what it says of the query was looked at.
        drop(self.service.call((stream, request)));
    }

    async fn ask(self, request: Request) -> Response {
        let answered = self.service.oneshot(request).await;
        answered.map_or_else(|never| match never {}, |answer| answer.map(Body::new))
    }
}

/// Why a request is refused, in the words that Engine.IO's clients know.
enum Refusal {
    UnknownSession,
    BadRequest,
    NoPermit(Refused),
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        const JSON: (HeaderName, &str) = (header::CONTENT_TYPE, "application/json");
        let refuse = |reason: &'static str| (StatusCode::BAD_REQUEST, [JSON], reason);
        match self {
            Self::UnknownSession => {
                refuse(r#"{"code":1,"message":"Session ID unknown"}"#).into_response()
            }
            Self::BadRequest => refuse(r#"{"code":3,"message":"Bad request"}"#).into_response(),
            Self::NoPermit(refused) => {
                let headers = [JSON, (header::RETRY_AFTER, "5")];
                let body = format!(r#"{{"error":"{refused}"}}"#);
                (StatusCode::SERVICE_UNAVAILABLE, headers, body).into_response()
            }
        }
    }
}

/// A request for Engine.IO, which keeps a session's first for as long as the session.
/// Each part of it as it came would hold the buffer that hyper read it into, 8 to
/// 16 KiB, so what is needed is copied.
fn request_of<B>(uri: &Uri, body: B) -> Request<B> {
    let mut request = Request::new(body);
    *request.uri_mut() = uri.to_string().parse().unwrap_or_default();
    request
}

fn kept(headers: &HeaderMap) -> HeaderMap {
    let keys = headers.get_all(API_KEY).iter();
    let copied = keys.filter_map(|key| HeaderValue::from_bytes(key.as_bytes()).ok());
    copied.map(|key| (API_KEY, key)).collect()
}

/// A body that Engine.IO made whole, within the size that it was told.
async fn whole(body: Body) -> Option<axum::body::Bytes> {
    to_bytes(body, usize::MAX).await.ok()
}

/// The session's id in the packet that opens it: `0{"sid":"…", …}`.
fn session_id(open: &[u8]) -> Option<Sid> {
    #[derive(serde::Deserialize)]
    struct Open<'o> {
        sid: &'o str,
    }
    let open: Open<'_> = serde_json::from_slice(open.strip_prefix(b"0")?).ok()?;
    open.sid.parse().ok()
}

fn parameter<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find_map(|(key, value)| (key == name).then_some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_found_by_its_whole_name() {
        let query = "EIO=4&xsid=1&transport=polling&sid=abc&sid=def";
        assert_eq!(parameter(query, "sid"), Some("abc"));
        assert_eq!(parameter(query, "transport"), Some("polling"));
        assert_eq!(parameter(query, "t"), None);
        assert_eq!(parameter("sid", "sid"), None);
    }
}
