//! Proxies that do not know websockets, or break them: a client that begins with
//! polling hears everything all the same.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use space_events::config::Settings;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

use crate::clients::PublishedClient;
use crate::deploy::tool;
use crate::support::postgres::new_directory;
use crate::support::{Database, TestApp, wait_until};

/// More than Engine.IO's channel and the window of a client that polls have room for.
const EVENTS: usize = 600;

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_bare_nginx_every_client_hears_all() {
    all_hear_all("", "proxy_pass http://space_events;", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_bare_nginx_that_keeps_its_connections_every_client_hears_all() {
    all_hear_all(
        "keepalive 8;",
        "proxy_pass http://space_events; proxy_http_version 1.1; proxy_set_header Connection '';",
        false,
    )
    .await;
}

/// As in <https://socket.io/docs/v4/reverse-proxy/>.
const DOCUMENTED: &str = "
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header Host $host;
    proxy_pass http://space_events;
    proxy_http_version 1.1;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection \"upgrade\";";

#[tokio::test(flavor = "multi_thread")]
async fn behind_nginx_as_socket_io_documents_it_every_client_hears_all() {
    all_hear_all("", DOCUMENTED, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_nginx_as_socket_io_documents_it_that_keeps_its_connections_every_client_hears_all()
{
    all_hear_all("keepalive 8;", DOCUMENTED, true).await;
}

async fn all_hear_all(upstream: &str, location: &str, upgrades: bool) {
    let (database, app) = start().await;
    let nginx = Nginx::start(app.address, upstream, location).await;
    let url = format!("http://127.0.0.1:{}", nginx.port);
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = PublishedClient::start("socket_io_client.mjs", &[&url, "{}"]).await;
        if upgrades {
            client.upgraded().await;
        }
        clients.push(client);
        clients.push(PublishedClient::start("python_socketio.py", &[&url]).await);
    }
    insert(&database).await;
    for client in &mut clients {
        hears_all(client).await;
    }
    drop(nginx);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_proxy_that_cuts_websockets_a_client_polls_on() {
    polls_on_behind(Fault::Cut).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_proxy_that_swallows_what_websockets_say_a_client_polls_on() {
    polls_on_behind(Fault::Swallow).await;
}

async fn polls_on_behind(fault: Fault) {
    let (database, app) = start().await;
    let proxy = break_websockets(app.address, fault).await;
    let url = format!("http://{}", proxy.0);
    let mut client = PublishedClient::start("socket_io_client.mjs", &[&url, "{}"]).await;
    insert(&database).await;
    hears_all(&mut client).await;
    app.stop().await;
}

async fn start() -> (Database, TestApp) {
    let database = Database::create().await;
    // Without keys the program would refuse the name that a bare proxy sends as Host.
    let settings = Settings {
        api_keys: Some("secret:ALL".to_owned()),
        ..Settings::default()
    };
    let app = TestApp::start_with(&database, settings).await;
    (database, app)
}

/// Half of the events in one statement, the other half one by one.
async fn insert(database: &Database) {
    database.add_service("Zoom").await;
    database.add_pricings("Zoom", 0..EVENTS / 2).await;
    for version in EVENTS / 2..EVENTS {
        database.add_pricing("Zoom", version).await;
    }
}

/// In any order: python-socketio calls each handler in a thread of its own.
async fn hears_all(client: &mut PublishedClient) {
    let mut heard = Vec::with_capacity(EVENTS);
    for _ in 0..EVENTS {
        let event: Value = client.heard().await;
        let version = event[0]["details"]["pricingVersion"].as_str();
        let version = version.expect("a version").parse::<usize>();
        heard.push(version.expect("a number"));
    }
    heard.sort_unstable();
    assert!(heard.into_iter().eq(0..EVENTS), "each once");
}

/// A running nginx; it ends with this value, and with the test's process.
struct Nginx {
    port: u16,
    process: Child,
}

impl Nginx {
    async fn start(program: SocketAddr, upstream: &str, location: &str) -> Self {
        let nginx = tool("nginx").expect("nginx, which `make test` installs");
        let folder = new_directory("nginx");
        std::fs::create_dir(&folder).expect("a directory");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let folder = folder.to_str().expect("a path");
        let conf = format!("{folder}/nginx.conf");
        let text = format!(
            "daemon off; master_process off; pid {folder}/pid; error_log stderr;
            events {{}}
            http {{
                access_log off;
                client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
                fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
                upstream space_events {{ server {program}; {upstream} }}
                server {{ listen 127.0.0.1:{port}; location / {{ {location} }} }}
            }}"
        );
        std::fs::write(&conf, text).expect("a file");
        let process = Command::new("sh")
            .args([
                "-c",
                r#"trap '' INT TERM; "$@" & cat > /dev/null; kill $!; wait"#,
                "sh",
            ])
            .arg(nginx)
            .args(["-e", "stderr", "-p", folder, "-c", &conf])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("sh starts");
        wait_until("nginx listens", async || {
            TcpStream::connect(("127.0.0.1", port)).await.is_ok()
        })
        .await;
        Self { port, process }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// What becomes of a websocket after its 101.
#[derive(Clone, Copy)]
enum Fault {
    Cut,
    Swallow,
}

/// A proxy that forwards HTTP as it is.
async fn break_websockets(to: SocketAddr, fault: Fault) -> (SocketAddr, AbortOnDropHandle<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a port");
    let address = listener.local_addr().expect("an address");
    let accepting = tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(forward(client, to, fault));
        }
    });
    (address, AbortOnDropHandle::new(accepting))
}

async fn forward(mut client: TcpStream, to: SocketAddr, fault: Fault) -> std::io::Result<()> {
    let mut server = TcpStream::connect(to).await?;
    let mut first = Vec::new();
    client.read_buf(&mut first).await?;
    let is_websocket = String::from_utf8_lossy(&first).contains("transport=websocket");
    server.write_all(&first).await?;
    if !is_websocket {
        return tokio::io::copy_bidirectional(&mut client, &mut server)
            .await
            .map(|_| ());
    }
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        if server.read_buf(&mut answer).await? == 0 {
            break;
        }
    }
    client.write_all(&answer).await?;
    match fault {
        Fault::Cut => {}
        Fault::Swallow => {
            copy(&mut client, &mut tokio::io::sink()).await?;
        }
    }
    Ok(())
}
