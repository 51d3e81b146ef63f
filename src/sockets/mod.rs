//! Events into clients: the namespaces, the handshake, closing.
//!
//! A client is registered in the handshake, before its CONNECT is answered, so
//! that it hears every event that commits from the answer on. From then on one
//! task serves it, at its own pace.

pub mod connection;
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
use socketioxide::{ParserConfig, SocketIo, TransportType};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info};

use crate::api_key::ApiKeys;
use crate::journal::Position;
use crate::journal::history::PositionRefused;
use connection::ConnectionInfo;
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
            subscribers: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        // Some client libraries open it, and hear nothing on it.
        io.ns("/", async || {});
        let handshake = Arc::new(Handshake {
            lines: Arc::default(),
            sources,
            access: options.access,
            keys: Arc::clone(&options.keys),
            subscribers: sockets.subscribers.clone(),
            stop: sockets.stop.clone(),
        });
        let lines = Arc::clone(&handshake.lines);
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

    /// Closes all clients, telling them, within two seconds.
    pub async fn close(self) {
        self.subscribers.close();
        self.stop.cancel();
        if timeout(CLOSE_TIMEOUT, self.io.close()).await.is_err() {
            debug!("some clients did not take their leave");
        }
        let _ = timeout(CLOSE_TIMEOUT, self.subscribers.wait()).await;
        info!("the sockets are closed");
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
        let closed = self.stop.child_token();
        let on_disconnect = closed.clone();
        socket.on_disconnect(async move || on_disconnect.cancel());
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
        let header = socket.req_parts().headers.get("x-api-key");
        let header = header.and_then(|value| value.to_str().ok());
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
        let meter = socket
            .req_parts()
            .extensions
            .get::<ConnectInfo<ConnectionInfo>>()
            .map(|info| Arc::clone(&info.0.meter));
        let began_as_websocket = socket
            .req_parts()
            .uri
            .query()
            .is_some_and(|query| query.contains("transport=websocket"));
        let websocket = meter.filter(|_| began_as_websocket);
        let gone = websocket.as_ref().map(|meter| meter.closed().clone());
        let session = socket.id.to_string();
        let credit = Credit::new(session, Arc::clone(&self.lines), websocket);
        let closed = admitted.closed;
        let sources = Arc::clone(&self.sources);
        self.subscribers.spawn(subscriber::serve(
            socket,
            subscription,
            sources,
            credit,
            closed,
            gone,
        ));
    }
}
