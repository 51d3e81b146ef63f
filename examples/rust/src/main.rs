//! Prints every event, and goes on where it stopped when it is started again.
//!
//! `cargo run -- [<address>] [<file for the position>]`
//!
//! Socket.IO by hand, which a client that only listens can do in a page. The
//! first character of a frame is Engine.IO's: `0` open, `1` close, `2` ping, `3`
//! pong, `4` a packet of Socket.IO, whose type follows: `0` connected, `1`
//! disconnected, `2` an event, `4` refused.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

const PAUSE: Duration = Duration::from_secs(1);
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// The server pings every 25 seconds; longer silence means a dead connection.
const SILENCE_LIMIT: Duration = Duration::from_secs(45);

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments
        .next()
        .unwrap_or_else(|| "http://127.0.0.1:5403".to_owned());
    let file = PathBuf::from(
        arguments
            .next()
            .unwrap_or_else(|| "position.txt".to_owned()),
    );
    // Behind the last event that was dealt with; "": from now on.
    let mut since = match file.exists() {
        true => std::fs::read_to_string(&file).context("read the position")?,
        false => String::new(),
    };
    let mut reachable = true;
    loop {
        match connect(&address).await {
            Ok(socket) => {
                reachable = true;
                match subscribe(socket, &file, &mut since).await {
                    Ok(refusal) if refusal.starts_with("UNAUTHORIZED") => bail!(refusal),
                    Ok(refusal) => {
                        eprintln!("{refusal}");
                        if refusal.starts_with("POSITION_") {
                            // Expired, of another database, or of one that went back. Events
                            // may be lost: whoever keeps a state reads it anew now. Here, on
                            // from now.
                            since.clear();
                        }
                    }
                    Err(error) => eprintln!("disconnected: {error:#}"),
                }
            }
            Err(error) => {
                if reachable {
                    eprintln!("cannot reach {address}: {error}; trying again");
                }
                reachable = false;
            }
        }
        sleep(PAUSE).await;
    }
}

/// Opens a websocket of Engine.IO: `ws://…` for `http://…`.
async fn connect(address: &str) -> anyhow::Result<Socket> {
    let address = match address.strip_prefix("http") {
        Some(rest) => format!("ws{rest}"),
        None => address.to_owned(),
    };
    let url = format!("{address}/events/?EIO=4&transport=websocket");
    let connecting = timeout(CONNECT_LIMIT, connect_async(url)).await;
    let (socket, _) = connecting.context("no answer in time")??;
    Ok(socket)
}

/// Prints events until the connection ends, which is an error, or the server
/// refuses it, saying why.
async fn subscribe(mut socket: Socket, file: &Path, since: &mut String) -> anyhow::Result<String> {
    loop {
        let message = timeout(SILENCE_LIMIT, socket.next()).await?;
        let Message::Text(frame) = message.context("the end")?? else {
            continue;
        };
        if frame.starts_with('0') {
            let auth = json!({ "since": since, "apiKey": std::env::var("API_KEY").ok() });
            socket.send(format!("40/pricings,{auth}").into()).await?;
        } else if frame.as_str() == "2" {
            socket.send("3".into()).await?;
        } else if frame.starts_with("40/pricings,") {
            eprintln!("connected");
        } else if let Some(arguments) = frame.strip_prefix("42/pricings,") {
            let arguments: Vec<Value> = serde_json::from_str(arguments)?;
            let position = match arguments.as_slice() {
                [name, event, reference] if name == "message" => {
                    println!("{event}");
                    &reference["position"]
                }
                // Where we are without an event: first right after connecting.
                [name, position] if name == "position" => position,
                _ => continue,
            };
            // Kept when the event was dealt with: after a crash it may come again,
            // but it is never left out.
            *since = position.as_str().context("a position")?.to_owned();
            keep(file, since).context("keep the position")?;
        } else if let Some(refusal) = frame.strip_prefix("44/pricings,") {
            let refusal: Value = serde_json::from_str(refusal)?;
            return Ok(refusal["message"].as_str().unwrap_or_default().to_owned());
        } else if frame.starts_with("41/pricings,") || frame.starts_with('1') {
            bail!("by the server");
        }
    }
}

/// As a whole or not at all, whenever this program ends.
fn keep(file: &Path, position: &str) -> std::io::Result<()> {
    let new = file.with_extension("new");
    std::fs::write(&new, position)?;
    std::fs::rename(new, file)
}
