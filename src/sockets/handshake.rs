//! The handshake of a client: whose events it hears, which of them, and from where on;
//! and what happens when it leaves.

use std::sync::{Arc, Mutex};

use serde_json::Value;
use socketioxide::adapter::LocalAdapter;
use socketioxide::extract::SocketRef;
use socketioxide::handler::DisconnectHandler;
use socketioxide::socket::{DisconnectReason, Socket};
use tracing::debug;

use super::client::{Client, Positions};
use super::filter::{Filter, FilterInvalid};
use super::lane::Lane;
use super::session::Session;
use super::subscription::Subscription;
use super::wire::Turn;
use super::{Access, Sources};
use crate::api_key::{self, ApiKeys};
use crate::journal::{PositionRefused, Since};
use crate::metrics::Ended;
use crate::organization::Organization;

/// Admits clients, and serves those that are in.
pub(super) struct Handshake {
    /// Who may subscribe.
    pub(super) access: Access,
    /// The keys.
    pub(super) keys: Arc<ApiKeys>,
    /// What serves those that are in, and where events come from.
    pub(super) lane: Arc<Lane>,
}

/// What happens when a client leaves the namespace.
struct Leaving {
    turn: Turn,
    lane: Arc<Lane>,
}

/// Which kind of handler [`Leaving`] is.
struct AtOnce;

impl DisconnectHandler<LocalAdapter, AtOnce> for Leaving {
    /// Within the call: a handler in a task of its own would still run when the next
    /// packet is read, and a CONNECT that follows at once would be ignored.
    fn call_with_defer(
        &self,
        socket: Arc<Socket>,
        reason: DisconnectReason,
        forget: fn(Arc<Socket>),
    ) {
        debug!(client.id = %socket.id, reason = %reason, "a client left");
        if let Some(reason) = ended(reason) {
            self.lane.sources.metrics.ended(reason);
        }
        if let Some(session) = Session::of(&socket) {
            session.link().leave(self.turn);
        }
        self.lane.leave(socket.id);
        forget(socket);
    }
}

/// A client between its handshake and its task.
#[derive(Clone)]
struct Admitted {
    asked: Arc<Mutex<Option<Asked>>>,
    turn: Turn,
}

/// What a client's handshake asked for, and from where on.
struct Asked {
    positions: Positions,
    filter: Filter,
    subscription: Subscription,
}

/// Why a client is refused; the text of its `connect_error`.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// Who asks for something shall not be taken for one that asks for nothing.
    #[error(
        "AUTH_INVALID: the handshake's `auth` must be a JSON object, such as {{\"since\": \"\"}}"
    )]
    Unreadable,
    /// Only who has a key may subscribe.
    #[error("UNAUTHORIZED: an API key is needed, as `auth: {{apiKey}}` or as the header x-api-key")]
    Unauthorized,
    /// Who gives a key expects to hear what is its own.
    #[error(
        "UNAUTHORIZED: the API key is unknown; a client without one hears the default organisation"
    )]
    UnknownKey,
    /// By what it asked to hear.
    #[error(transparent)]
    Filter(#[from] FilterInvalid),
    /// By the position from which it asked to hear.
    #[error(transparent)]
    Position(#[from] PositionRefused),
}

impl Handshake {
    /// Takes a client's place in the stream, or refuses the client. `auth` is what came
    /// with CONNECT: an empty object if nothing did, nothing if it could not be read.
    ///
    /// # Errors
    ///
    /// Why it is refused.
    pub(super) async fn admit(
        &self,
        socket: &SocketRef,
        auth: Option<Value>,
    ) -> Result<(), Refusal> {
        let admitted = self.take_place(socket, auth).await;
        admitted.inspect_err(|refusal| self.note_refused(socket, refusal))
    }

    async fn take_place(&self, socket: &SocketRef, auth: Option<Value>) -> Result<(), Refusal> {
        let auth = match &auth {
            Some(Value::Object(_)) => auth.as_ref(),
            Some(Value::Null) => None,
            _ => return Err(Refusal::Unreadable),
        };
        let organization = self.organization(socket, auth)?;
        let asked = self.asked(organization, auth).await?;
        let session = Session::of(socket);
        let turn = session.map_or(0, |session| session.link().admit());
        socket.on_disconnect(Leaving {
            turn,
            lane: Arc::clone(&self.lane),
        });
        socket.extensions.insert(Admitted {
            asked: Arc::new(Mutex::new(Some(asked))),
            turn,
        });
        Ok(())
    }

    fn note_refused(&self, socket: &SocketRef, refusal: &Refusal) {
        let text = refusal.to_string();
        let word = text.split(':').next().unwrap_or_default();
        self.lane.sources.metrics.handshake_refused(word);
        debug!(client.id = %socket.id, client = address_of(socket), refusal = text, "a client was refused");
    }

    /// What it has to catch up on is counted in rows of the journal, some of which may
    /// mean no event.
    fn note_joined(&self, socket: &SocketRef, asked: &Asked) {
        debug!(
            client.id = %socket.id,
            client = address_of(socket),
            transport = ?socket.transport_type(),
            positions = ?asked.positions,
            behind_rows = self.lane.sources.replay_buffer.rows_behind(&asked.subscription.place),
            "a client joined"
        );
    }

    /// Whose events a client hears, by the key in its `auth`, or else in its header.
    /// Where the program has no keys, none is looked at.
    fn organization(
        &self,
        socket: &SocketRef,
        auth: Option<&Value>,
    ) -> Result<Organization, Refusal> {
        let headers = &socket.req_parts().headers;
        let in_auth = auth
            .and_then(|auth| auth.get("apiKey"))
            .filter(|key| !key.is_null());
        let given = match in_auth {
            Some(key) => key.as_str(),
            None => api_key::presented(headers),
        };
        let gives_one = in_auth.is_some() || headers.contains_key(api_key::API_KEY);
        match (given.and_then(|key| self.keys.find(key)), self.access) {
            (Some(known), _) => Ok(known.organization.clone()),
            (None, Access::Key) => Err(Refusal::Unauthorized),
            (None, Access::Public) if gives_one && !self.keys.is_empty() => {
                Err(Refusal::UnknownKey)
            }
            (None, Access::Public) => Ok(Organization::default()),
        }
    }

    async fn asked(
        &self,
        organization: Organization,
        auth: Option<&Value>,
    ) -> Result<Asked, Refusal> {
        let Sources {
            replay_buffer,
            catch_up,
            ..
        } = &*self.lane.sources;
        let filter = Filter::from_auth(organization, auth)?;
        let (positions, subscription) = match Since::from_auth(auth, &catch_up.key())? {
            Since::Unsaid => (Positions::Left, Subscription::from_now(replay_buffer)),
            Since::Now => (Positions::Sent, Subscription::from_now(replay_buffer)),
            Since::Position(position) => {
                catch_up.check_or_ask_feed(&position).await?;
                (Positions::Sent, Subscription::from_position(position))
            }
        };
        Ok(Asked {
            positions,
            filter,
            subscription,
        })
    }

    /// Serves a client that was admitted and has its answer.
    pub(super) fn serve(&self, socket: SocketRef) {
        let Some(Admitted { asked, turn }) = socket.extensions.remove::<Admitted>() else {
            return;
        };
        let asked = asked.lock().ok().and_then(|mut asked| asked.take());
        let (Some(asked), Some(session)) = (asked, Session::of(&socket)) else {
            return;
        };
        // The program stops.
        if self.lane.tasks.is_closed() {
            return;
        }
        self.note_joined(&socket, &asked);
        let client = Client::new(socket, session, turn, asked.positions, asked.filter);
        self.lane.serve(Arc::new(client), asked.subscription);
    }
}

/// Why the program disconnected a client; none if the client went by itself or
/// was lost, or the program stops.
fn ended(reason: DisconnectReason) -> Option<Ended> {
    match reason {
        DisconnectReason::HeartbeatTimeout => Some(Ended::Heartbeat),
        DisconnectReason::PacketParsingError | DisconnectReason::MultipleHttpPollingError => {
            Some(Ended::Protocol)
        }
        // Nothing else disconnects a client alone.
        DisconnectReason::ServerNSDisconnect => Some(Ended::BehindTheJournal),
        DisconnectReason::TransportClose
        | DisconnectReason::TransportError
        | DisconnectReason::ClientNSDisconnect
        | DisconnectReason::ClosingServer => None,
    }
}

/// Where the client is; a proxy, if there is one before us.
fn address_of(socket: &SocketRef) -> Option<impl tracing::Value> {
    let session = Session::of(socket)?;
    Some(tracing::field::display(session.address()))
}
