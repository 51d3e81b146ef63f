//! Events into clients: the namespaces, the handshake, closing.
//!
//! A client is registered in the handshake, before its CONNECT is answered, so
//! that it hears every event that commits from the answer on. From then on a task
//! serves it, at its own pace, until it has everything; then, if it is on a websocket,
//! the lane does.

pub mod frames;
pub mod wire;
pub mod link;
pub mod session;
pub mod filter;
pub mod websocket;
pub mod engine;
pub mod client;
pub mod subscriber;
pub mod lane;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use serde_json::Value;
use socketioxide::adapter::LocalAdapter;
use socketioxide::extract::{SocketRef, TryData};
use socketioxide::handler::{ConnectHandler as _, DisconnectHandler};
use socketioxide::socket::{DisconnectReason, Socket};
use socketioxide::{ParserConfig, SocketIo, TransportType};
use tokio::time::timeout;
use tracing::{debug, info};

use crate::api_key::{self, ApiKeys};
use crate::http::connection_limit::ConnectionLimit;
use crate::http::requests::SOCKETS_PATH;
use crate::journal::{PositionRefused, Since};
use crate::metrics::Ended;
use crate::organization::Organization;
use client::{Client, Positions};
use engine::Engine;
use filter::{Filter, FilterInvalid};
use lane::Lane;
use session::{Session, Sessions};
use subscriber::{Sources, Subscription};
use wire::Turn;

/// Where the events are.
pub const NAMESPACE: &str = "/pricings";

/// How many packets Engine.IO keeps for a client.
const CHANNEL_PACKETS: usize = 512;
/// The longest message that a client may send: a handshake with its position and the
/// part that it asks for.
const MAX_INCOMING_BYTES: usize = 16 * 1024;
/// The most that a POST may hold, and an answer to a poll with more than one packet.
const MAX_PAYLOAD_BYTES: u64 = 64 * 1024;
/// What a client's websocket reads at a time; clients send next to nothing.
const READ_BUFFER_BYTES: usize = 256;
/// How long a session may take until it has joined a namespace; a position is checked
/// meanwhile.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long closing may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Who may subscribe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody, as in SPACE.
    Public,
    /// Whoever has one of the keys.
    Key,
}

/// What the sockets are built with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The Engine.IO transports that are offered.
    pub transports: Vec<TransportType>,
    /// Who may subscribe.
    pub access: Access,
    /// The keys.
    pub keys: Arc<ApiKeys>,
    /// How many sessions there may be.
    pub sessions: ConnectionLimit,
}

/// The clients, and the way to close them.
#[derive(Debug)]
pub struct Sockets {
    io: SocketIo,
    lane: Arc<Lane>,
}

impl Sockets {
    /// Adds Socket.IO to `router`.
    pub fn mount(router: Router, sources: Arc<Sources>, options: &Options) -> (Router, Self) {
        let builder = SocketIo::builder()
            .req_path(SOCKETS_PATH)
            .with_parser(
                ParserConfig::common()
                    .max_incoming_binaries(1)
                    .max_incoming_binary_buf_size(MAX_INCOMING_BYTES),
            )
            .max_buffer_size(CHANNEL_PACKETS)
            .max_payload(MAX_PAYLOAD_BYTES)
            .connect_timeout(CONNECT_TIMEOUT)
            .ws_read_buffer_size(READ_BUFFER_BYTES)
            .ws_max_message_size(MAX_INCOMING_BYTES)
            .ws_max_frame_size(MAX_INCOMING_BYTES);
        let builder = match options.transports.as_slice() {
            [TransportType::Websocket] => builder.transports([TransportType::Websocket]),
            [TransportType::Polling] => builder.transports([TransportType::Polling]),
            _ => builder,
        };
        // What is not Engine.IO's never comes here.
        let (service, io) = builder.build_with_inner_svc(Router::new());
        let sockets = Self {
            io: io.clone(),
            lane: Arc::new(Lane::new(Arc::clone(&sources))),
        };
        // Some client libraries open it, and hear nothing on it.
        io.ns("/", async || {});
        let engine = Engine::new(
            service,
            Arc::new(Sessions::new(options.sessions.clone())),
            options.transports.contains(&TransportType::Websocket),
            Arc::clone(&sources.metrics),
        );
        let handshake = Arc::new(Handshake {
            sources,
            access: options.access,
            keys: Arc::clone(&options.keys),
            lane: Arc::clone(&sockets.lane),
        });
        let admit = {
            let handshake = Arc::clone(&handshake);
            async move |socket: SocketRef, auth: TryData<Value>| {
                let admitted = handshake.admit(&socket, auth.0.ok()).await;
                admitted.inspect_err(|refusal| handshake.note(&socket, refusal))
            }
        };
        let serve = async move |socket: SocketRef| handshake.serve(socket);
        io.ns(NAMESPACE, serve.with(admit));
        let router = router.layer(from_fn_with_state(engine, engine::answer));
        (router, sockets)
    }

    /// Counts the clients.
    pub fn clients(&self) -> Clients {
        Clients(self.io.clone())
    }

    /// What serves the clients that have everything, to be run.
    pub fn lane(&self) -> Arc<Lane> {
        Arc::clone(&self.lane)
    }

    /// Ends the websockets of all clients, and their tasks, within two seconds. Nobody
    /// takes leave by Engine.IO's own packet: python-socketio would not come back after
    /// it. For the same reason a poll that waits is not answered.
    pub async fn close(self) {
        self.lane.tasks.close();
        let clients = self.io.of(NAMESPACE).map(|clients| clients.sockets());
        for socket in clients.unwrap_or_default() {
            if let Some(session) = Session::of(&socket) {
                session.link().hang_up();
            }
        }
        let _ = timeout(CLOSE_TIMEOUT, self.lane.tasks.wait()).await;
        info!("the sockets are closed");
    }
}

/// The clients of the namespace, to be counted.
#[derive(Clone, Debug)]
pub struct Clients(SocketIo);

impl Clients {
    /// How many use a transport now.
    pub fn count(&self, transport: TransportType) -> usize {
        let sockets = self.0.of(NAMESPACE).map(|clients| clients.sockets());
        let sockets = sockets.unwrap_or_default().into_iter();
        sockets
            .filter(|socket| socket.transport_type() == transport)
            .count()
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

/// Admits clients, and serves those that are in.
struct Handshake {
    sources: Arc<Sources>,
    access: Access,
    keys: Arc<ApiKeys>,
    lane: Arc<Lane>,
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
    subscription: Arc<std::sync::Mutex<Option<(Asked, Subscription)>>>,
    turn: Turn,
}

/// What a client's handshake asked for.
type Asked = (Positions, Filter);

/// Why a client is refused; the text of its `connect_error`.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    /// Who asks for something shall not be taken for one that asks for nothing.
    #[error(
        "AUTH_INVALID: the handshake's `auth` must be a JSON object, such as {{\"since\": \"\"}}"
    )]
    Unreadable,
    #[error("UNAUTHORIZED: an API key is needed, as `auth: {{apiKey}}` or as the header x-api-key")]
    Unauthorized,
    /// Who gives a key expects to hear what is its own.
    #[error(
        "UNAUTHORIZED: the API key is unknown; a client without one hears the default organisation"
    )]
    UnknownKey,
    #[error(transparent)]
    Filter(#[from] FilterInvalid),
    #[error(transparent)]
    Position(#[from] PositionRefused),
}

impl Handshake {
    /// `auth` is what came with CONNECT: an empty object if nothing did, nothing if it
    /// could not be read.
    async fn admit(&self, socket: &SocketRef, auth: Option<Value>) -> Result<(), Refusal> {
        let auth = match &auth {
            Some(Value::Object(_)) => auth.as_ref(),
            Some(Value::Null) => None,
            _ => return Err(Refusal::Unreadable),
        };
        let organization = self.organization(socket, auth)?;
        let subscription = self.subscription(organization, auth).await?;
        let session = Session::of(socket);
        let turn = session.map_or(0, |session| session.link().admit());
        socket.on_disconnect(Leaving {
            turn,
            lane: Arc::clone(&self.lane),
        });
        socket.extensions.insert(Admitted {
            subscription: Arc::new(std::sync::Mutex::new(Some(subscription))),
            turn,
        });
        Ok(())
    }

    fn note(&self, socket: &SocketRef, refusal: &Refusal) {
        let text = refusal.to_string();
        let word = text.split(':').next().unwrap_or_default();
        self.sources.metrics.handshake_refused(word);
        debug!(client.id = %socket.id, client = address_of(socket), refusal = text, "a client was refused");
    }

    /// What it has to catch up on is counted in rows of the journal, some of which may
    /// mean no event.
    fn note_joined(&self, socket: &SocketRef, asked: Positions, subscription: &Subscription) {
        debug!(
            client.id = %socket.id,
            client = address_of(socket),
            transport = ?socket.transport_type(),
            positions = ?asked,
            behind_rows = self.sources.replay_buffer.rows_behind(subscription.place()),
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

    async fn subscription(
        &self,
        organization: Organization,
        auth: Option<&Value>,
    ) -> Result<(Asked, Subscription), Refusal> {
        let Sources {
            replay_buffer,
            catch_up,
            ..
        } = &*self.sources;
        let filter = Filter::from_auth(organization, auth)?;
        let (positions, subscription) = match Since::from_auth(auth, &catch_up.key())? {
            Since::Unsaid => (Positions::Left, Subscription::from_now(replay_buffer)),
            Since::Now => (Positions::Sent, Subscription::from_now(replay_buffer)),
            Since::Position(position) => {
                catch_up.check_or_ask_feed(&position).await?;
                (Positions::Sent, Subscription::from_position(position))
            }
        };
        Ok(((positions, filter), subscription))
    }

    fn serve(&self, socket: SocketRef) {
        let Some(admitted) = socket.extensions.remove::<Admitted>() else {
            return;
        };
        let subscription = admitted
            .subscription
            .lock()
            .ok()
            .and_then(|mut subscription| subscription.take());
        let (Some((asked, subscription)), Some(session)) = (subscription, Session::of(&socket))
        else {
            return;
        };
        // The program stops.
        if self.lane.tasks.is_closed() {
            return;
        }
        self.note_joined(&socket, asked.0, &subscription);
        let client = Client::new(socket, session, admitted.turn, asked);
        self.lane.serve(Arc::new(client), subscription);
    }
}
