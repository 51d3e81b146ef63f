//! A Socket.IO client that shows the frames as they are.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::LIMIT;

const POSITION: &str = "42/pricings,[\"position\",\"";

/// Connected over a websocket; answers pings whenever it reads.
pub struct Client {
    /// What the last event `position` told; empty if none came.
    pub position: String,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Client {
    /// Opens Engine.IO.
    pub async fn open(address: SocketAddr) -> Self {
        let url = format!("ws://{address}/events/?EIO=4&transport=websocket");
        let (socket, _) = timeout(LIMIT, connect_async(url))
            .await
            .expect("a websocket in time")
            .expect("a websocket");
        let mut client = Self {
            position: String::new(),
            socket,
        };
        let open = client.next_frame().await;
        assert!(open.starts_with("0{"), "{open}");
        client
    }

    /// Opens, sends a CONNECT packet such as `40/pricings,`, and waits for the
    /// namespace's answer.
    pub async fn join(address: SocketAddr, connect: &str) -> Self {
        let mut client = Self::open(address).await;
        client.send(connect).await;
        let answer = client.next_frame().await;
        assert!(answer.starts_with("40/pricings,{"), "{answer}");
        client
    }

    /// As [`Client::join`], where it may fail: why it did.
    pub async fn try_join(address: SocketAddr, connect: &str) -> Result<Self, String> {
        let url = format!("ws://{address}/events/?EIO=4&transport=websocket");
        let joined = async {
            let (socket, _) = connect_async(url)
                .await
                .map_err(|error| error.to_string())?;
            let mut client = Self {
                position: String::new(),
                socket,
            };
            let ended = || "the connection ended".to_owned();
            client.frame_or_end().await.ok_or_else(ended)?;
            client
                .socket
                .send(Message::text(connect))
                .await
                .map_err(|error| error.to_string())?;
            let answer = client.frame_or_end().await.ok_or_else(ended)?;
            if answer.starts_with("40/pricings,{") {
                Ok(client)
            } else {
                Err(answer)
            }
        };
        timeout(LIMIT, joined).await.expect("an answer in time")
    }

    /// Sends a text frame.
    pub async fn send(&mut self, text: &str) {
        assert!(self.try_send(text).await, "the frame is sent");
    }

    /// Sends a text frame, unless the other side cuts the connection meanwhile.
    pub async fn try_send(&mut self, text: &str) -> bool {
        self.socket.send(Message::text(text)).await.is_ok()
    }

    /// The next text that is no ping, and no event `position`: that is kept.
    pub async fn next_frame(&mut self) -> String {
        self.next_frame_or_end()
            .await
            .expect("a frame, not the end")
    }

    /// The next text that is no ping; `None` at the end of the connection.
    pub async fn next_frame_or_end(&mut self) -> Option<String> {
        timeout(LIMIT, self.frame_or_end())
            .await
            .expect("a frame in time")
    }

    /// As [`Client::next_frame_or_end`], without a limit. Cancel safe.
    pub async fn frame_or_end(&mut self) -> Option<String> {
        loop {
            match self.socket.next().await? {
                Ok(Message::Text(text)) if text.as_str() == "2" => {
                    self.socket.send(Message::text("3")).await.ok()?;
                }
                Ok(Message::Text(text)) => match text.strip_prefix(POSITION) {
                    Some(rest) => self.position = rest.trim_end_matches("\"]").to_owned(),
                    None => return Some(text.as_str().to_owned()),
                },
                Ok(Message::Close(_)) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// Reads for a moment, in which nothing may come but an event `position`.
    pub async fn hears_nothing(&mut self) {
        let frame = timeout(Duration::from_millis(50), self.frame_or_end());
        if let Ok(frame) = frame.await {
            panic!("heard {frame:?}");
        }
    }

    /// The next event, in short: `CREATED WireMock 2024`.
    pub async fn next_event(&mut self) -> String {
        in_short(&self.next_frame().await)
    }

    /// Hears the creation of these versions of a service, in their order and with
    /// nothing between, as a client that asks for no positions.
    pub async fn hears_created(&mut self, service_name: &str, versions: Range<usize>) {
        for version in versions {
            let expected = format!(
                r#"42/pricings,["message",{{"code":"PRICING_CREATED","details":{{"serviceName":"{service_name}","pricingVersion":"{version}"}}}}]"#
            );
            assert_eq!(self.next_frame().await, expected);
        }
    }

    /// The events before the next that is `last`, in short.
    pub async fn events_before(&mut self, last: &str) -> Vec<String> {
        let mut events = Vec::new();
        loop {
            let event = self.next_event().await;
            if event == last {
                return events;
            }
            events.push(event);
        }
    }

    /// The next events, in short.
    pub async fn next_events(&mut self, count: usize) -> Vec<String> {
        let mut events = Vec::with_capacity(count);
        for _ in 0..count {
            events.push(self.next_event().await);
        }
        events
    }
}

/// A CONNECT that asks for what came after a position.
pub fn since(position: &str) -> String {
    format!("40/pricings,{{\"since\":\"{position}\"}}")
}

/// An event's frame in short: `CREATED WireMock 2024`, `DISABLED Zoom`; a frame
/// of another form as it is.
pub fn in_short(frame: &str) -> String {
    let Some(arguments) = frame.strip_prefix("42/pricings,") else {
        return frame.to_owned();
    };
    let arguments: serde_json::Value = serde_json::from_str(arguments).expect("JSON");
    assert_eq!(arguments[0], "message", "{frame}");
    let event = &arguments[1];
    let code = event["code"].as_str().expect("a code");
    let kind = code.split_once('_').expect("two words").1;
    let name = event["details"]["serviceName"].as_str().expect("a name");
    match event["details"]["pricingVersion"].as_str() {
        Some(version) => format!("{kind} {name} {version}"),
        None => format!("{kind} {name}"),
    }
}

/// The second argument of an event's frame.
pub fn reference_of(frame: &str) -> serde_json::Value {
    let arguments = frame.strip_prefix("42/pricings,").expect("an event");
    let mut arguments: Vec<_> = serde_json::from_str(arguments).expect("JSON");
    assert_eq!(arguments.len(), 3, "{frame}");
    arguments.remove(2)
}

/// The position in an event's frame.
pub fn position_of(frame: &str) -> String {
    let reference = reference_of(frame);
    reference["position"]
        .as_str()
        .expect("a position")
        .to_owned()
}
