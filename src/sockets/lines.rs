//! Which connections an Engine.IO session uses.
//!
//! A session may begin with polling and go over to a websocket, which is
//! another connection than the one of its first request. This middleware sees
//! the requests of all sessions go by and notes what flow control has to know:
//! the connection of the websocket, and how often the client came to poll.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::Response;
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

/// How often a session's client came for what there is.
#[derive(Debug, Default)]
pub struct Polls {
    count: AtomicU64,
    progress: Notify,
}

impl Polls {
    /// How many requests there were.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Wakes at each request; take it before looking at the count.
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
        if parameter(query, "transport") == Some("websocket") {
            if let Some(ConnectInfo(info)) =
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
        } else if request.method() == axum::http::Method::GET
            && let Some(polls) = sessions.polling.get(session).and_then(Weak::upgrade)
        {
            polls.count.fetch_add(1, Ordering::AcqRel);
            polls.progress.notify_waiters();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The middleware: notes a request, and lets it pass.
pub async fn note(State(lines): State<Arc<Lines>>, request: Request, next: Next) -> Response {
    if request.uri().path().starts_with(super::PATH) {
        lines.note(&request);
    }
    next.run(request).await
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
