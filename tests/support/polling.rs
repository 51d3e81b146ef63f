//! A Socket.IO client that polls, by hand.

use std::collections::VecDeque;
use std::net::SocketAddr;

use reqwest::{Method, Response, StatusCode};
use tokio::time::timeout;

use super::client::in_short;
use super::{LIMIT, http_client};

/// A session of Engine.IO; answers pings whenever it polls.
pub struct Polling {
    http: reqwest::Client,
    address: SocketAddr,
    pub sid: String,
    frames: VecDeque<String>,
    /// How often it polled.
    pub polls: usize,
}

impl Polling {
    /// Opens a session.
    pub async fn open(address: SocketAddr) -> Self {
        let http = http_client();
        let mut client = Self {
            http,
            address,
            sid: String::new(),
            frames: VecDeque::new(),
            polls: 0,
        };
        let open = client.request(Method::GET, "").await;
        assert_eq!(open.status(), StatusCode::OK);
        assert_eq!(open.headers()["cache-control"], "no-store");
        let open = open.text().await.expect("a text");
        client.sid = open.split('"').nth(3).expect("a session").to_owned();
        client
    }

    /// Opens a session and joins `/pricings`.
    pub async fn join(address: SocketAddr) -> Self {
        let mut client = Self::open(address).await;
        client.send("40/pricings,").await;
        let answer = client.next_frame().await;
        assert!(answer.starts_with("40/pricings,{"), "{answer}");
        client
    }

    /// Sends a packet.
    pub async fn send(&self, packet: &str) {
        let answer = self.request(Method::POST, packet).await;
        assert_eq!(answer.status(), StatusCode::OK);
    }

    /// Polls once, and keeps what came.
    pub async fn poll(&mut self) {
        self.polls += 1;
        let answer = self.request(Method::GET, "").await;
        let status = answer.status();
        let text = answer.text().await.expect("a text");
        assert_eq!(status, StatusCode::OK, "{text}");
        for packet in text.split('\u{1e}') {
            match packet {
                "2" => self.send("3").await,
                "6" | "" => {}
                frame => self.frames.push_back(frame.to_owned()),
            }
        }
    }

    /// The next packet that is no ping and says something.
    pub async fn next_frame(&mut self) -> String {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return frame;
            }
            self.poll().await;
        }
    }

    /// What came and was not looked at so far.
    pub fn polled(&mut self) -> Vec<String> {
        self.frames.drain(..).collect()
    }

    /// The next event, in short: `CREATED WireMock 2024`.
    pub async fn next_event(&mut self) -> String {
        in_short(&self.next_frame().await)
    }

    /// The address of a websocket for its session.
    pub fn websocket_url(&self, address: SocketAddr) -> String {
        let sid = &self.sid;
        format!("ws://{address}/events/?EIO=4&transport=websocket&sid={sid}")
    }

    async fn request(&self, method: Method, body: &str) -> Response {
        let mut url = format!("http://{}/events/?EIO=4&transport=polling", self.address);
        if !self.sid.is_empty() {
            url = format!("{url}&sid={}", self.sid);
        }
        let request = self.http.request(method, url).body(body.to_owned());
        let answer = timeout(LIMIT, request.send()).await;
        answer.expect("an answer in time").expect("an answer")
    }
}
