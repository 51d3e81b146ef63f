//! Events into clients: the namespaces, the handshake, closing.
//!
//! A client is registered in the handshake, before its CONNECT is answered, so
//! that it hears every event that commits from the answer on. From then on one
//! task serves it, at its own pace.

pub mod connection;
pub mod places;
pub mod lines;
pub mod credit;
pub mod subscriber;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::middleware::from_fn_with_state;
use serde_json::Value;
use socketioxide::extract::{SocketRef, TryData};
use socketioxide::handler::ConnectHandler as _;
use socketioxide::socket::DisconnectReason;
use socketioxide::{ParserConfig, SocketIo, TransportType};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::info;

use crate::api_key::{self, ApiKeys};
use crate::journal::Position;
use crate::journal::history::PositionRefused;
use crate::metrics::Ended;
use connection::{ConnectionInfo, Meter};
use credit::Credit;
use lines::Lines;
use subscriber::{Positions, Sources, Subscription};

/// Where Engine.IO answers.
pub const PATH: &str = "/events";
/// Where the events are.
pub const NAMESPACE: &str = "/pricings";

/// How many packets Engine.IO keeps for a client.
const CHANNEL_PACKETS: usize = 512;
/// The longest message that a client may send: a handshake with its position.
const MAX_INCOMING_BYTES: usize = 16 * 1024;
/// What a client's websocket reads at a time; clients send next to nothing.
const READ_BUFFER_BYTES: usize = 1024;
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
}

/// The clients, and the way to close them.
#[derive(Debug)]
pub struct Sockets {
    io: SocketIo,
    lines: Arc<Lines>,
    subscribers: TaskTracker,
    stop: CancellationToken,
}

impl Sockets {
    /// Adds Socket.IO to `router`.
    pub fn mount(router: Router, sources: Arc<Sources>, options: &Options) -> (Router, Self) {
        let builder = SocketIo::builder()
            .req_path(PATH)
            .with_parser(
                ParserConfig::common()
                    .max_incoming_binaries(1)
                    .max_incoming_binary_buf_size(MAX_INCOMING_BYTES),
            )
            .max_buffer_size(CHANNEL_PACKETS)
            .max_payload(64 * 1024)
            .ws_read_buffer_size(READ_BUFFER_BYTES)
            .ws_max_message_size(MAX_INCOMING_BYTES)
            .ws_max_frame_size(MAX_INCOMING_BYTES);
        let builder = match options.transports.as_slice() {
            [TransportType::Websocket] => builder.transports([TransportType::Websocket]),
            [TransportType::Polling] => builder.transports([TransportType::Polling]),
            _ => builder,
        };
        let (layer, io) = builder.build_layer();
        let sockets = Self {
            io: io.clone(),
            lines: Arc::default(),
            subscribers: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        // Some client libraries open it, and hear nothing on it.
        io.ns("/", async || {});
        let handshake = Arc::new(Handshake {
            lines: Arc::clone(&sockets.lines),
            sources,
            access: options.access,
            keys: Arc::clone(&options.keys),
            subscribers: sockets.subscribers.clone(),
            stop: sockets.stop.clone(),
        });
        let lines = Arc::clone(&sockets.lines);
        let admit = {
            let handshake = Arc::clone(&handshake);
            async move |socket: SocketRef, auth: TryData<Value>| {
                handshake.admit(&socket, auth.0.ok().as_ref()).await
            }
        };
        let serve = async move |socket: SocketRef| handshake.serve(socket);
        io.ns(NAMESPACE, serve.with(admit));
        let router = router
            .layer(layer)
            .layer(from_fn_with_state(lines, lines::note));
        (router, sockets)
    }

    /// Counts the clients.
    pub fn clients(&self) -> Clients {
        Clients(self.io.clone())
    }

    /// Ends the websockets of all clients, within two seconds. Nobody takes leave by
    /// Engine.IO's own packet: python-socketio would not come back after it. For the
    /// same reason a poll that waits is not answered.
    pub async fn close(self) {
        self.subscribers.close();
        let clients = self.io.of(NAMESPACE).map(|clients| clients.sockets());
        for socket in clients.unwrap_or_default() {
            if let Some(websocket) = websocket_of(&socket, &self.lines) {
                websocket.hang_up();
            }
        }
        self.stop.cancel();
        let _ = timeout(CLOSE_TIMEOUT, self.subscribers.wait()).await;
        info!("the sockets are closed");
    }
}

/// The connection of a client's websocket; none if it polls.
fn websocket_of(socket: &SocketRef, lines: &Lines) -> Option<Arc<Meter>> {
    let request = socket.req_parts();
    let began_as_websocket = request
        .uri
        .query()
        .is_some_and(|query| query.contains("transport=websocket"));
    if !began_as_websocket {
        return lines.upgraded(socket.id.as_str());
    }
    let info = request.extensions.get::<ConnectInfo<ConnectionInfo>>();
    info.map(|info| Arc::clone(&info.0.meter))
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

/// Admits clients, and serves those that are in.
struct Handshake {
    lines: Arc<Lines>,
    sources: Arc<Sources>,
    access: Access,
    keys: Arc<ApiKeys>,
    subscribers: TaskTracker,
    stop: CancellationToken,
}

/// A client between its handshake and its task.
#[derive(Clone)]
struct Admitted {
    subscription: Arc<std::sync::Mutex<Option<Subscription>>>,
    closed: CancellationToken,
}

/// Why a client is refused; the text of its `connect_error`.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("UNAUTHORIZED: an API key is needed, as `auth: {{apiKey}}` or as the header x-api-key")]
    Unauthorized,
    #[error(transparent)]
    Position(#[from] PositionRefused),
}

impl Handshake {
    async fn admit(&self, socket: &SocketRef, auth: Option<&Value>) -> Result<(), Refusal> {
        if self.access == Access::Key && !self.knows_key(socket, auth) {
            return Err(Refusal::Unauthorized);
        }
        let subscription = self.subscription(auth).await?;
        // The connection may go before anybody can be told.
        let closed = match websocket_of(socket, &self.lines) {
            Some(websocket) => websocket.closed().child_token(),
            None => self.stop.child_token(),
        };
        let on_disconnect = closed.clone();
        let metrics = Arc::clone(&self.sources.metrics);
        socket.on_disconnect(async move |reason: DisconnectReason| {
            if let Some(reason) = ended(reason) {
                metrics.ended(reason);
            }
            on_disconnect.cancel();
        });
        socket.extensions.insert(Admitted {
            subscription: Arc::new(std::sync::Mutex::new(Some(subscription))),
            closed,
        });
        Ok(())
    }

    fn knows_key(&self, socket: &SocketRef, auth: Option<&Value>) -> bool {
        let given = auth
            .and_then(|auth| auth.get("apiKey"))
            .and_then(Value::as_str);
        let header = api_key::presented(&socket.req_parts().headers);
        [given, header]
            .into_iter()
            .flatten()
            .any(|key| self.keys.scope_of(key).is_some())
    }

    async fn subscription(&self, auth: Option<&Value>) -> Result<Subscription, Refusal> {
        let recent = &self.sources.recent;
        match auth.and_then(|auth| auth.get("since")) {
            None | Some(Value::Null) => Ok(Subscription::from_now(recent, Positions::Left)),
            Some(Value::String(since)) if since.is_empty() => {
                Ok(Subscription::from_now(recent, Positions::Sent))
            }
            Some(Value::String(since)) => {
                let position = self.sources.history.decode(since)?;
                self.check(&position).await?;
                Ok(Subscription::from_position(position))
            }
            Some(_) => Err(PositionRefused::Invalid("a text was expected").into()),
        }
    }

    /// Whether all that came after a position can be sent. While the database is
    /// away, what the feed knew last has to do: a client that is refused does not
    /// try again by itself.
    async fn check(&self, position: &Position) -> Result<(), PositionRefused> {
        match self.sources.history.check(position).await {
            Err(PositionRefused::Unavailable) => match self.sources.recent.kept_from() {
                Some(kept_from) if !position.base.covers(&kept_from) => {
                    Err(PositionRefused::Expired)
                }
                _ => Ok(()),
            },
            checked => checked,
        }
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
        let Some(subscription) = subscription else {
            return;
        };
        let websocket = websocket_of(&socket, &self.lines);
        let credit = Credit::new(socket.id.to_string(), Arc::clone(&self.lines), websocket);
        let closed = admitted.closed;
        let sources = Arc::clone(&self.sources);
        self.subscribers.spawn(subscriber::serve(
            socket,
            subscription,
            sources,
            credit,
            closed,
        ));
    }
}
