//! Prints events as they come: a Socket.IO client that comes back with its position.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Map, Value, json};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

use super::{Access, first, print, shown};
use crate::http::requests::SOCKETS_PATH;
use crate::sockets::NAMESPACE;

/// How long it may take to connect and to be let in.
const TIME_LIMIT: Duration = Duration::from_secs(10);
/// A server that sends nothing for this long is gone: it sends a ping every 25 s.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);
/// The pause before the second attempt; it doubles from there on.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What to print.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Tail {
    /// A position to go on from, as `--json` prints it [default: from now on].
    #[arg(long)]
    pub since: Option<String>,
    /// Only events of this service, without regard to case; several separated by commas.
    #[arg(long, value_delimiter = ',')]
    pub service: Vec<String>,
    /// Only events with this code; several separated by commas.
    #[arg(long, value_delimiter = ',')]
    pub code: Vec<String>,
    /// Print one JSON object on each line: code, details, id, occurredAt, position.
    #[arg(long)]
    pub json: bool,
    /// The key, if one is needed.
    #[command(flatten)]
    pub access: Access,
}

/// How a connection ends.
enum End {
    /// It was lost, so it is tried again.
    Lost(anyhow::Error),
    /// To try again would be useless.
    Final(anyhow::Error),
}

/// Prints events until it is dropped.
///
/// # Errors
///
/// The server refuses the key, the position or the filter, or nobody reads what is
/// printed.
pub async fn tail(addresses: &[SocketAddr], tail: &Tail) -> anyhow::Result<()> {
    let address = first(addresses)?;
    let mut since = tail.since.clone().unwrap_or_default();
    let mut pause = FIRST_PAUSE;
    let mut told = false;
    loop {
        let mut joined = false;
        let end = follow(address, tail, &mut since, &mut joined).await;
        if joined {
            pause = FIRST_PAUSE;
            told = false;
        }
        match end {
            End::Final(error) => return Err(error),
            End::Lost(error) if !told => {
                eprintln!("{error:#}; trying again");
                told = true;
            }
            End::Lost(_) => {}
        }
        sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Follows over one connection. `since` moves on with what was printed.
async fn follow(address: SocketAddr, tail: &Tail, since: &mut String, joined: &mut bool) -> End {
    let url = format!("ws://{address}{SOCKETS_PATH}/?EIO=4&transport=websocket");
    let connected = timeout(TIME_LIMIT, connect_async(url)).await;
    let mut socket = match connected {
        Ok(Ok((socket, _))) => socket,
        Ok(Err(error)) => {
            let context = format!("cannot reach space-events at {address}");
            return End::Lost(anyhow::Error::new(error).context(context));
        }
        Err(_) => return End::Lost(anyhow::anyhow!("no answer in time from {address}")),
    };
    let connect = format!("40{NAMESPACE},{}", auth(tail, since));
    loop {
        let limit = if *joined { SILENCE_LIMIT } else { TIME_LIMIT };
        let text = match timeout(limit, socket.next()).await {
            Ok(Some(Ok(Message::Text(text)))) => text,
            Ok(Some(Ok(Message::Close(_))) | None) => {
                return End::Lost(anyhow::anyhow!("{address} ended the connection"));
            }
            Ok(Some(Ok(_))) => continue,
            Ok(Some(Err(error))) => {
                return End::Lost(anyhow::Error::new(error).context("the connection broke off"));
            }
            Err(_) => return End::Lost(anyhow::anyhow!("nothing came from {address} in time")),
        };
        let answer = match Packet::read(&text) {
            Packet::Open => Some(connect.as_str()),
            Packet::Ping => Some("3"),
            Packet::Connected => {
                *joined = true;
                eprintln!("connected to {address}");
                None
            }
            Packet::Refused(message) if message.starts_with("UNAVAILABLE") => {
                return End::Lost(anyhow::anyhow!(message));
            }
            Packet::Refused(message) => return End::Final(anyhow::anyhow!(message)),
            Packet::Position(position) => {
                *since = position;
                None
            }
            Packet::Event(event) => {
                if let Err(error) = print(&line(tail, &event)) {
                    return End::Final(anyhow::Error::new(error).context("print an event"));
                }
                if let Some(position) = event.get("position").and_then(Value::as_str) {
                    position.clone_into(since);
                }
                None
            }
            Packet::Other => None,
        };
        if let Some(answer) = answer
            && let Err(error) = socket.send(Message::text(answer)).await
        {
            return End::Lost(anyhow::Error::new(error).context("the connection broke off"));
        }
    }
}

fn auth(tail: &Tail, since: &str) -> Value {
    let list = |list: &[String]| (!list.is_empty()).then(|| json!(list));
    let parts = [
        ("since", Some(json!(since))),
        ("apiKey", tail.access.api_key.as_ref().map(|key| json!(key))),
        ("services", list(&tail.service)),
        ("codes", list(&tail.code)),
    ];
    let given = parts
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(given.collect())
}

fn line(tail: &Tail, event: &Map<String, Value>) -> String {
    if tail.json {
        return Value::Object(event.clone()).to_string();
    }
    let text = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or_default();
    let detail = |name: &str| {
        let details = event.get("details");
        let detail = details.and_then(|details| details.get(name)?.as_str());
        detail.map(shown).unwrap_or_default()
    };
    let (service, version) = (detail("serviceName"), detail("pricingVersion"));
    format!(
        "{} {:16} {service} {version}",
        text("occurredAt"),
        text("code")
    )
    .trim_end()
    .to_owned()
}

/// What the server says.
#[derive(Debug, PartialEq)]
enum Packet {
    Open,
    Ping,
    Connected,
    Refused(String),
    /// The event, and beside it what came with it.
    Event(Map<String, Value>),
    Position(String),
    Other,
}

impl Packet {
    fn read(text: &str) -> Self {
        if text.starts_with('0') {
            return Self::Open;
        }
        if text == "2" {
            return Self::Ping;
        }
        let of_namespace = |kind: &str| {
            let rest = text.strip_prefix(kind)?.strip_prefix(NAMESPACE)?;
            rest.strip_prefix(',')
        };
        if of_namespace("40").is_some() {
            return Self::Connected;
        }
        if let Some(body) = of_namespace("44") {
            let body: Value = serde_json::from_str(body).unwrap_or_default();
            let message = body.get("message").and_then(Value::as_str);
            return Self::Refused(message.unwrap_or("refused").to_owned());
        }
        let arguments = of_namespace("42").and_then(|body| serde_json::from_str(body).ok());
        let arguments: Vec<Value> = arguments.unwrap_or_default();
        match arguments.as_slice() {
            [name, Value::String(position)] if name == "position" => {
                Self::Position(position.clone())
            }
            [name, Value::Object(event), rest @ ..] if name == "message" => {
                let mut event = event.clone();
                match rest.first() {
                    Some(Value::Object(beside)) => event.extend(beside.clone()),
                    Some(position) => drop(event.insert("position".to_owned(), position.clone())),
                    None => {}
                }
                Self::Event(event)
            }
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_packet_is_read() {
        for (text, packet) in [
            (r#"0{"sid":"a"}"#, Packet::Open),
            ("2", Packet::Ping),
            (r#"40/pricings,{"sid":"b"}"#, Packet::Connected),
            (
                r#"44/pricings,{"message":"POSITION_EXPIRED: x"}"#,
                Packet::Refused("POSITION_EXPIRED: x".to_owned()),
            ),
            (
                r#"42/pricings,["position","p"]"#,
                Packet::Position("p".to_owned()),
            ),
            ("42/pricings,nonsense", Packet::Other),
            ("41/pricings,", Packet::Other),
        ] {
            assert_eq!(Packet::read(text), packet, "{text}");
        }
        let text = r#"42/pricings,["message",{"code":"SERVICE_DISABLED","details":{"serviceName":"My Zoom"}},{"position":"p","id":"1-a","occurredAt":"2026-01-02T03:04:05.678Z"}]"#;
        let Packet::Event(event) = Packet::read(text) else {
            panic!("no event");
        };
        let mut tail = Tail {
            since: None,
            service: Vec::new(),
            code: Vec::new(),
            json: false,
            access: Access { api_key: None },
        };
        assert_eq!(
            line(&tail, &event),
            "2026-01-02T03:04:05.678Z SERVICE_DISABLED \"My Zoom\""
        );
        tail.json = true;
        let printed: Value = serde_json::from_str(&line(&tail, &event)).expect("JSON");
        assert_eq!(printed["position"], "p");
        assert_eq!(printed["details"]["serviceName"], "My Zoom");
    }
}
