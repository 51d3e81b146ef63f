//! The sessions of Engine.IO: which there are, and how each is connected.
//!
//! A session may begin with polling and go over to a websocket. It counts against a
//! limit from its first request until Engine.IO has forgotten it: Engine.IO keeps
//! that request's extensions as long as the session, and the [`Session`] is one.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use socketioxide::socket::{Sid, Socket};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::link::Link;
use crate::http::connection_limit::{ConnectionLimit, Permit};
use crate::metrics::Refused;

/// The sessions that began with polling, by the id that their requests carry.
#[derive(Debug)]
pub struct Sessions {
    limit: ConnectionLimit,
    polling: Mutex<HashMap<Sid, Weak<Session>>>,
}

/// A session, until Engine.IO has forgotten it and nobody serves it.
#[derive(Debug)]
pub struct Session {
    sessions: Arc<Sessions>,
    /// Set once it is registered: its requests carry it.
    id: OnceLock<Sid>,
    link: Link,
    /// Whether a websocket is being tried.
    probed: AtomicBool,
    /// How many events were given to Engine.IO.
    sent: AtomicU64,
    /// Woken to end a poll that waits.
    release: Notify,
    ended: AtomicBool,
    address: IpAddr,
    _permit: Permit,
}

/// A websocket is being tried for a session; no other one, until this is dropped.
#[derive(Debug)]
pub struct Probe(Arc<Session>);

impl Sessions {
    /// As many as there are permits.
    pub fn new(limit: ConnectionLimit) -> Self {
        Self {
            limit,
            polling: Mutex::default(),
        }
    }

    /// A session that is to begin.
    ///
    /// # Errors
    ///
    /// There is no permit for it.
    pub fn begin(self: &Arc<Self>, address: IpAddr) -> Result<Arc<Session>, Refused> {
        let permit = self.limit.take(address)?;
        Ok(Arc::new(Session {
            sessions: Arc::clone(self),
            id: OnceLock::new(),
            link: Link::default(),
            probed: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            release: Notify::new(),
            ended: AtomicBool::new(false),
            address,
            _permit: permit,
        }))
    }

    /// Has a session found by its id.
    pub fn register(&self, id: Sid, session: &Arc<Session>) {
        if session.id.set(id).is_ok() {
            self.lock().insert(id, Arc::downgrade(session));
        }
    }

    /// The session of an id, if it began with polling.
    pub fn find(&self, id: Sid) -> Option<Arc<Session>> {
        let found = self.lock().get(&id).cloned();
        found?.upgrade()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Sid, Weak<Session>>> {
        self.polling.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// The session of a client.
    pub fn of(socket: &Socket) -> Option<Arc<Self>> {
        socket.req_parts().extensions.get().map(Arc::clone)
    }

    /// Where its client is; a proxy, if there is one before us.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The way to its client.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Tries a websocket; none if it has one or another is being tried.
    pub fn probe(self: &Arc<Self>) -> Option<Probe> {
        let is_free = !self.link.is_websocket() && !self.probed.swap(true, Ordering::AcqRel);
        is_free.then(|| Probe(Arc::clone(self)))
    }

    /// Says that an event is given to Engine.IO.
    pub fn sends(&self) {
        self.sent.fetch_add(1, Ordering::AcqRel);
    }

    /// How many events are between Engine.IO and its client.
    pub fn under_way(&self) -> u64 {
        let sent = self.sent.load(Ordering::Acquire);
        sent.saturating_sub(self.link.events())
    }

    /// Ends the poll that waits, if there is one: a client waits for its answer before
    /// it goes over to a websocket.
    pub fn release_poll(&self) {
        self.release.notify_waiters();
    }

    /// Wakes when the poll that waits has to end.
    pub fn poll_released(&self) -> Notified<'_> {
        self.release.notified()
    }

    /// Ends the session as if its connection had been lost, so that its client comes
    /// back by itself.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.link.hang_up();
        self.release_poll();
    }

    /// Whether [`Session::end`] was called.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(id) = self.id.get() {
            self.sessions.lock().remove(id);
        }
    }
}

impl Probe {
    /// The session.
    pub fn session(&self) -> &Arc<Session> {
        &self.0
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.0.probed.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sessions(most: usize) -> Arc<Sessions> {
        let limit = ConnectionLimit::new(most, None, Default::default());
        Arc::new(Sessions::new(limit))
    }

    #[test]
    fn a_session_is_found_and_counted_until_it_is_dropped() {
        let sessions = sessions(1);
        let address = IpAddr::from([127, 0, 0, 1]);
        let session = sessions.begin(address).expect("a permit");
        let id = Sid::new();
        sessions.register(id, &session);
        assert!(sessions.find(id).is_some());
        assert_eq!(sessions.begin(address).err(), Some(Refused::TooMany));
        drop(session);
        assert!(sessions.find(id).is_none());
        assert!(sessions.lock().is_empty());
        assert!(sessions.begin(address).is_ok());
    }

    #[test]
    fn one_websocket_is_tried_at_a_time() {
        let sessions = sessions(1);
        let session = sessions.begin(IpAddr::from([127, 0, 0, 1]));
        let session = session.expect("a permit");
        let probe = session.probe().expect("the first");
        assert!(session.probe().is_none());
        drop(probe);
        assert!(session.probe().is_some());
    }
}
