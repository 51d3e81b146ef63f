//! How many messages may be under way to one client.
//!
//! Engine.IO keeps what is to be written in a channel, and cuts a client whose
//! channel is full. So few messages are put there at a time, and more only when
//! those were really written: counted in bytes on a websocket, and in the
//! responses to a client that polls.

use std::collections::VecDeque;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::connection::Meter;
use super::session::Session;

/// The most messages under way: a quarter of the channel, so that heartbeats
/// always fit.
const WINDOW_MESSAGES: usize = super::CHANNEL_PACKETS / 4;
/// The most messages under way to a client that polls. With a ping and the answers
/// to CONNECT one response carries 16 packets at most: python-socketio ends the
/// connection at more.
const WINDOW_POLLED_MESSAGES: u64 = 13;

/// What is under way to one client.
#[derive(Debug)]
pub struct Credit {
    session: Arc<Session>,
    transport: Transport,
}

#[derive(Debug)]
enum Transport {
    Websocket {
        meter: Arc<Meter>,
        /// Where each message ends in the bytes of the connection.
        ends: VecDeque<u64>,
        last_end: u64,
    },
    Polling {
        /// How many events were sent, and taken by others before.
        sent: u64,
    },
}

impl Credit {
    /// For a client of this session.
    pub fn new(session: Arc<Session>) -> Self {
        let transport = match session.websocket() {
            Some(meter) => Transport::websocket(Arc::clone(meter)),
            None => Transport::Polling {
                sent: session.taken(),
            },
        };
        Self { session, transport }
    }

    /// Waits until one more message may be sent. Cancel safe.
    pub async fn available(&mut self, is_websocket: impl Fn() -> bool) {
        loop {
            if matches!(self.transport, Transport::Polling { .. })
                && is_websocket()
                && let Some(meter) = self.session.websocket()
            {
                // What was under way may have gone either way; it is within what
                // the channel has room for.
                self.transport = Transport::websocket(Arc::clone(meter));
            }
            match &mut self.transport {
                Transport::Websocket {
                    meter,
                    ends,
                    last_end,
                } => {
                    if ends.len() < WINDOW_MESSAGES {
                        // Before the message is there: it may be written at once.
                        *last_end = meter.written().max(*last_end);
                        return;
                    }
                    let progress = meter.progress().notified();
                    tokio::pin!(progress);
                    progress.as_mut().enable();
                    let written = meter.written();
                    while ends.front().is_some_and(|end| *end <= written) {
                        ends.pop_front();
                    }
                    // Let it drain by half, so that it goes on in batches.
                    if ends.len() > WINDOW_MESSAGES / 2 {
                        progress.await;
                    }
                }
                Transport::Polling { sent } => {
                    let progress = self.session.progress();
                    tokio::pin!(progress);
                    progress.as_mut().enable();
                    if sent.saturating_sub(self.session.taken()) < WINDOW_POLLED_MESSAGES {
                        return;
                    }
                    progress.await;
                }
            }
        }
    }

    /// Ends the session as if its connection had been lost.
    pub fn hang_up(&self) {
        self.session.end();
    }

    /// Has it timed, as one of many, how long after a change its message is written:
    /// the next, of about so many bytes.
    pub fn time(&self, changed_at: DateTime<Utc>, text_bytes: usize) {
        if let Transport::Websocket {
            meter, last_end, ..
        } = &self.transport
        {
            let begin = meter.written().max(*last_end);
            meter.time(changed_at, begin + frame_bytes(text_bytes));
        }
    }

    /// Says that a message of so many bytes, as one websocket text, was sent.
    pub fn spend(&mut self, text_bytes: usize) {
        match &mut self.transport {
            Transport::Websocket { ends, last_end, .. } => {
                *last_end += frame_bytes(text_bytes);
                ends.push_back(*last_end);
            }
            Transport::Polling { sent } => *sent += 1,
        }
    }
}

impl Transport {
    fn websocket(meter: Arc<Meter>) -> Self {
        Self::Websocket {
            last_end: meter.written(),
            meter,
            ends: VecDeque::new(),
        }
    }
}

/// A server's frame: its header (RFC 6455, 5.2) and the text.
fn frame_bytes(text_bytes: usize) -> u64 {
    let header = match text_bytes {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => 10,
    };
    (header + text_bytes) as u64
}
