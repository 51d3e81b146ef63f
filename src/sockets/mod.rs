//! Events into clients: the namespaces, and closing.
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
mod subscription;
mod delivery;
mod subscriber;
mod chunk;
pub mod lane;
mod handshake;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use serde_json::Value;
use socketioxide::extract::{SocketRef, TryData};
use socketioxide::handler::ConnectHandler as _;
use socketioxide::{ParserConfig, SocketIo, TransportType};
use tokio::time::timeout;
use tracing::info;

use crate::api_key::ApiKeys;
use crate::http::connection_limit::ConnectionLimit;
use crate::http::requests::SOCKETS_PATH;
use crate::journal::{CatchUp, ReplayBuffer};
use crate::metrics::Metrics;
use engine::Engine;
use handshake::Handshake;
use lane::Lane;
use session::{Session, Sessions};

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

/// Where events come from, and where they are counted.
#[derive(Debug)]
pub struct Sources {
    /// The last events.
    pub replay_buffer: Arc<ReplayBuffer>,
    /// The journal.
    pub catch_up: Arc<CatchUp>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
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
            access: options.access,
            keys: Arc::clone(&options.keys),
            lane: Arc::clone(&sockets.lane),
        });
        let admit = {
            let handshake = Arc::clone(&handshake);
            async move |socket: SocketRef, auth: TryData<Value>| {
                handshake.admit(&socket, auth.0.ok()).await
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
