//! Which connections an Engine.IO session uses.
//!
//! A session may begin with polling and go over to a websocket, which is
//! another connection than the one of its first request. This middleware sees
//! the requests of all sessions go by and notes what flow control has to know:
//! the connection of the websocket, and how often the client came to poll.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tokio::sync::Notify;

use super::connection::{ConnectionInfo, Meter};

/// The sessions that are known.
#[derive(Debug, Default)]
pub struct Lines {
    sessions: Mutex<Sessions>,
}

#[derive(Debug, Default)]
struct Sessions {
    /// Those that went over to a websocket.
    upgraded: HashMap<String, Weak<Meter>>,
    /// Those that poll, while somebody holds their [`Polls`].
    polling: HashMap<String, Weak<Polls>>,
}

/// What a session's client came for.
#[derive(Debug, Default)]
pub struct Polls {
    taken: AtomicU64,
    progress: Notify,
}

impl Polls {
    /// How many events were put into responses.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Acquire)
    }

    /// Wakes at each response; take it before looking at the count.
    pub fn progress(&self) -> &Notify {
        &self.progress
    }
}

impl Lines {
    /// Counts the polls of a session from now on.
    pub fn polls(&self, session: &str) -> Arc<Polls> {
        let polls = Arc::<Polls>::default();
        let mut sessions = self.lock();
        sessions.polling.retain(|_, polls| polls.strong_count() > 0);
        sessions
            .polling
            .insert(session.to_owned(), Arc::downgrade(&polls));
        polls
    }

    /// The websocket that a session went over to.
    pub fn upgraded(&self, session: &str) -> Option<Arc<Meter>> {
        self.lock().upgraded.get(session)?.upgrade()
    }

    fn note(&self, request: &Request) {
        let query = request.uri().query().unwrap_or_default();
        let Some(session) = parameter(query, "sid") else {
            return;
        };
        let mut sessions = self.lock();
        if parameter(query, "transport") == Some("websocket")
            && let Some(ConnectInfo(info)) =
                request.extensions().get::<ConnectInfo<ConnectionInfo>>()
        {
            sessions
                .upgraded
                .retain(|_, meter| meter.strong_count() > 0);
            // The first keeps the session; Engine.IO refuses a second.
            sessions
                .upgraded
                .entry(session.to_owned())
                .or_insert_with(|| Arc::downgrade(&info.meter));
        }
    }

    fn polls_of(&self, session: &str) -> Option<Arc<Polls>> {
        self.lock().polling.get(session)?.upgrade()
    }

    fn lock(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The middleware: notes a request, and lets it pass.
pub async fn note(State(lines): State<Arc<Lines>>, mut request: Request, next: Next) -> Response {
    if !request.uri().path().starts_with(super::PATH) {
        return next.run(request).await;
    }
    detach(&mut request);
    lines.note(&request);
    let session = polling_session(&request);
    let response = next.run(request).await;
    // Only now: a poll may have been waiting since before the client joined.
    let Some(polls) = session.and_then(|session| lines.polls_of(&session)) else {
        return response;
    };
    let (parts, body) = response.into_parts();
    // Engine.IO made it whole, within the size that it was told.
    let Ok(body) = to_bytes(body, usize::MAX).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let events = body
        .split(|byte| *byte == PACKET_SEPARATOR)
        .filter(|packet| packet.starts_with(EVENT_PACKET))
        .count();
    polls.taken.fetch_add(events as u64, Ordering::AcqRel);
    polls.progress.notify_waiters();
    Response::from_parts(parts, Body::from(body))
}

/// Engine.IO keeps the head of a session's first request, and each part of it the
/// buffer that hyper read it into: 8 to 16 KiB for as long as a client is connected.
/// So the parts are copied.
fn detach(request: &mut Request) {
    for value in request.headers_mut().values_mut() {
        if let Ok(copy) = HeaderValue::from_bytes(value.as_bytes()) {
            *value = copy;
        }
    }
    if let Ok(copy) = request.uri().to_string().parse() {
        *request.uri_mut() = copy;
    }
}

/// The session whose events a request came for.
fn polling_session(request: &Request) -> Option<String> {
    if request.method() != axum::http::Method::GET {
        return None;
    }
    let query = request.uri().query()?;
    if parameter(query, "transport") != Some("polling") {
        return None;
    }
    parameter(query, "sid").map(str::to_owned)
}

/// Between the packets of a response; JSON never holds it as it is.
const PACKET_SEPARATOR: u8 = 0x1e;
/// How the packet of an event begins.
const EVENT_PACKET: &[u8] = b"42/pricings,";

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
