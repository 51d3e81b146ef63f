//! What may be written to one client's websocket, and when.
//!
//! Two write to it. Engine.IO, called the upper layer here, writes what belongs to the
//! session: the answer to CONNECT, pings, pongs, closes. Whoever delivers events writes
//! their frames past it. The rules:
//!
//! - The websocket carries whole frames of one writer at a time. The upper layer's frames
//!   are followed by their headers, and nothing is put between the bytes of one.
//! - What is left of an event's frame goes before anything else. What the upper layer waits
//!   to write goes before the next event.
//! - Events for a client are written only after the answer to its own CONNECT. A connection
//!   may carry several clients, one after the other, and each has its [`Turn`].
//! - After a Close frame or a DISCONNECT no event follows.
//!
//! There is no socket here. Each write comes with a function that hands bytes to the
//! kernel, and says how many it took.

#[cfg(test)]
mod tests;

use std::io;

use bytes::Bytes;

use super::frames::{Frame, FrameReader};

/// How the packets begin that are looked for, as Socket.IO has them.
const ANSWER: &[u8] = b"40/pricings,{";
const DISCONNECT: &[u8] = b"41/pricings,";
const EVENT: &[u8] = b"42/pricings,";
/// The packet of Engine.IO that ends a session.
pub const CLOSE_PACKET: &str = "1";

/// One of the clients that a connection carries, one after the other: each CONNECT
/// begins one. Counted from 1.
pub type Turn = u64;

/// What became of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// They are written.
    Whole,
    /// A part is; the rest goes before anything else.
    Part,
    /// None is: the kernel takes no more now.
    Full,
    /// None is: something of the upper layer comes first.
    NotYet,
    /// None is, and none will be: the client is gone.
    Never,
}

/// What may be written to one websocket.
#[derive(Debug, Default)]
pub struct Wire {
    upper: FrameReader,
    /// The upper layer has something to write that the kernel did not take.
    upper_waits: bool,
    /// What is left of an event's frame.
    rest: Bytes,
    /// How many CONNECTs were admitted.
    admitted: Turn,
    /// How many of them the client has the answer of.
    answered: Turn,
    /// So many of them are gone.
    left: Turn,
    /// How many events went through the upper layer, answers to polls too.
    events: u64,
    /// The end of the websocket is written, or nobody shall hear any more.
    is_closing: bool,
}

impl Wire {
    /// A CONNECT is admitted, and will be answered.
    pub fn admit(&mut self) -> Turn {
        self.admitted += 1;
        self.admitted
    }

    /// Nothing is written for this client and those before it any more.
    pub fn leave(&mut self, client: Turn) {
        self.left = self.left.max(client);
    }

    /// Whether nothing will be written for this client any more.
    pub fn is_gone(&self, client: Turn) -> bool {
        self.is_closing || client <= self.left
    }

    /// Nothing is written for anybody any more, but what the upper layer has.
    pub fn close(&mut self) {
        self.is_closing = true;
    }

    /// How many events went through the upper layer, answers to polls too.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// A packet went to the client through the upper layer; its beginning is enough.
    pub fn pass(&mut self, packet: &[u8]) {
        if packet.starts_with(ANSWER) {
            self.answered += 1;
        } else if packet.starts_with(DISCONNECT) {
            self.left = self.left.max(self.answered);
        } else if packet.starts_with(EVENT) {
            self.events += 1;
        }
    }

    /// Writes whole frames for a client, or none if something is in the way. No frames
    /// at all are whole once all before them is written.
    pub fn put(
        &mut self,
        client: Turn,
        frames: &Bytes,
        mut write: impl FnMut(&[u8]) -> io::Result<usize>,
    ) -> Put {
        if self.is_gone(client) {
            return Put::Never;
        }
        match self.flush(&mut write) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Put::Full,
            Err(_) => return Put::Never,
        }
        if client > self.answered || self.upper_waits || self.upper.is_within() {
            return Put::NotYet;
        }
        if frames.is_empty() {
            return Put::Whole;
        }
        match write(frames) {
            Ok(0) => Put::Full,
            Ok(written) if written < frames.len() => {
                self.rest = frames.slice(written..);
                Put::Part
            }
            Ok(_) => Put::Whole,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Put::Full,
            Err(_) => Put::Never,
        }
    }

    /// Writes for the upper layer, behind what is left of an event's frame.
    ///
    /// # Errors
    ///
    /// What the kernel says; `WouldBlock` if it takes nothing now.
    pub fn put_upper(
        &mut self,
        bytes: &[u8],
        mut write: impl FnMut(&[u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let put = match self.flush(&mut write) {
            Ok(()) => write(bytes),
            Err(error) => Err(error),
        };
        match &put {
            Ok(written) => {
                self.upper_waits = false;
                self.upper_wrote(bytes.get(..*written).unwrap_or(bytes));
            }
            Err(error) => self.upper_waits = error.kind() == io::ErrorKind::WouldBlock,
        }
        put
    }

    fn flush(&mut self, write: &mut impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<()> {
        while !self.rest.is_empty() {
            match write(&self.rest)? {
                0 => return Err(io::ErrorKind::WouldBlock.into()),
                written => drop(self.rest.split_to(written)),
            }
        }
        // Else it would hold what it is a part of.
        self.rest = Bytes::new();
        Ok(())
    }

    fn upper_wrote(&mut self, mut bytes: &[u8]) {
        while let Some(frame) = self.upper.next_frame(&mut bytes) {
            match frame {
                Frame::Close => self.is_closing = true,
                Frame::Control => {}
                Frame::Message(packet) if *packet == *CLOSE_PACKET.as_bytes() => {
                    self.is_closing = true
                }
                Frame::Message(packet) => self.pass(&packet),
            }
        }
    }
}
