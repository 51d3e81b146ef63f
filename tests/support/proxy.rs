//! A TCP proxy before a Postgres: it can stop forwarding without closing.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::server::Server;

/// Listens on loopback; forwards to the unix socket of a server.
pub struct Proxy {
    pub url: String,
    lines: watch::Sender<Lines>,
    accepted: Arc<AtomicU64>,
    socket: Arc<Mutex<PathBuf>>,
    _accepting: AbortOnDropHandle<()>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Lines {
    /// Connections below this number forward nothing any more, for ever.
    silent_below: u64,
    /// Whether none forwards, nor is a new one answered, for now.
    held: bool,
}

impl Proxy {
    /// Before a server.
    pub async fn start(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let socket = Arc::new(Mutex::new(socket_of(server)));
        let lines = watch::Sender::new(Lines::default());
        let accepted = Arc::<AtomicU64>::default();
        let accepting = accept(
            listener,
            Arc::clone(&socket),
            lines.subscribe(),
            Arc::clone(&accepted),
        );
        Self {
            url: format!("postgres://postgres@127.0.0.1:{port}/space_events?sslmode=disable"),
            lines,
            accepted,
            socket,
            _accepting: AbortOnDropHandle::new(tokio::spawn(accepting)),
        }
    }

    /// New connections go to another server from now on, as after a failover.
    pub fn switch_to(&self, server: &Server) {
        *self.socket.lock().expect("no panic") = socket_of(server);
    }

    /// Nothing is forwarded from now on, old connections or new, and none closed.
    pub fn hold(&self) {
        self.lines.send_modify(|lines| lines.held = true);
    }

    /// All is forwarded again, what waited too.
    pub fn resume(&self) {
        self.lines.send_modify(|lines| lines.held = false);
    }

    /// The connections that are there now stay open and silent for ever; new
    /// ones work.
    pub fn silence(&self) {
        let accepted = self.accepted.load(Ordering::Relaxed);
        self.lines
            .send_modify(|lines| lines.silent_below = accepted);
    }
}

fn socket_of(server: &Server) -> PathBuf {
    PathBuf::from(server.socket_directory()).join(".s.PGSQL.5432")
}

async fn accept(
    listener: TcpListener,
    socket: Arc<Mutex<PathBuf>>,
    lines: watch::Receiver<Lines>,
    accepted: Arc<AtomicU64>,
) {
    loop {
        if let Ok((client, _)) = listener.accept().await {
            let number = accepted.fetch_add(1, Ordering::Relaxed);
            let socket = socket.lock().expect("no panic").clone();
            tokio::spawn(join(client, socket, number, lines.clone()));
        }
    }
}

async fn join(client: TcpStream, socket: PathBuf, number: u64, lines: watch::Receiver<Lines>) {
    let mut opening = lines.clone();
    if open(&mut opening, number).await.is_none() {
        return;
    }
    let Ok(server) = UnixStream::connect(socket).await else {
        return;
    };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = forward(from_client, to_server, number, lines.clone()) => {}
        () = forward(from_server, to_client, number, lines) => {}
    }
}

/// Ends when either side ends.
async fn forward(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    number: u64,
    mut lines: watch::Receiver<Lines>,
) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        if open(&mut lines, number).await.is_none() {
            return;
        }
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            changed = lines.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        };
        let Ok(bytes @ 1..) = read else {
            return;
        };
        if open(&mut lines, number).await.is_none() {
            return;
        }
        if to.write_all(&buffer[..bytes]).await.is_err() {
            return;
        }
    }
}

/// Waits until a connection may forward; `None` if the proxy is gone.
async fn open(lines: &mut watch::Receiver<Lines>, number: u64) -> Option<()> {
    lines
        .wait_for(|lines| !lines.held && number >= lines.silent_below)
        .await
        .ok()
        .map(|_| ())
}
