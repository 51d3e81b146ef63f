//! Frames stay whole, whatever the kernel takes and whoever writes.

use super::*;
use crate::sockets::frames::push_position;
use proptest::prelude::*;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tungstenite::protocol::frame::{Frame as Framed, FrameHeader};

/// A kernel with room for some bytes.
#[derive(Default)]
struct Kernel {
    room: usize,
    has: Vec<u8>,
}

impl Kernel {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let taken = bytes.len().min(self.room);
        self.room -= taken;
        self.has.extend(bytes.get(..taken).unwrap_or_default());
        Ok(taken)
    }

    /// The frames that it has, each whole.
    fn frames(&self) -> Vec<String> {
        let mut bytes = self.has.as_slice();
        let mut frames = Vec::new();
        while let [first, second, rest @ ..] = bytes {
            let (length, rest) = match second {
                126 => {
                    let (length, rest) = rest.split_at(2);
                    (u16::from_be_bytes([length[0], length[1]]).into(), rest)
                }
                short => (usize::from(*short), rest),
            };
            let (payload, rest) = rest.split_at_checked(length).expect("a whole frame");
            let kind = match first {
                0x81 => "",
                0x8a => "pong ",
                0x88 => "close ",
                other => panic!("{other} begins a frame"),
            };
            let text = str::from_utf8(payload).expect("text of one frame");
            frames.push(format!("{kind}{text}"));
            bytes = rest;
        }
        assert!(bytes.is_empty(), "{bytes:?} at the end");
        frames
    }
}

/// What the upper layer has to write.
#[derive(Default)]
struct Upper {
    queue: Vec<u8>,
    said: Vec<String>,
}

impl Upper {
    fn say(&mut self, opcode: OpCode, kind: &str, text: &str) {
        let header = FrameHeader {
            opcode,
            ..FrameHeader::default()
        };
        let frame = Framed::from_payload(header, text.to_owned().into());
        frame.format(&mut self.queue).expect("a frame");
        self.said.push(format!("{kind}{text}"));
    }

    fn text(&mut self, text: &str) {
        self.say(OpCode::Data(Data::Text), "", text);
    }

    fn write(&mut self, wire: &mut Wire, kernel: &mut Kernel) {
        while !self.queue.is_empty() {
            match wire.put_upper(&self.queue, |bytes| kernel.write(bytes)) {
                Ok(written) => drop(self.queue.drain(..written)),
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    return;
                }
            }
        }
    }
}

fn event(client: Turn, number: usize) -> (Bytes, String) {
    // Longer and shorter than what a header's second byte can tell.
    let text = format!("{client}.{number}{}", ".".repeat(number % 5 * 50));
    let mut frame = Vec::new();
    push_position(&mut frame, &text);
    (
        frame.into(),
        format!("42/pricings,[\"position\",\"{text}\"]"),
    )
}

#[derive(Clone, Debug)]
enum Step {
    Room(usize),
    Connect,
    Ping,
    Pong,
    Message(usize),
    Disconnect,
    Close,
    Write,
    Deliver,
    Leave,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..400_usize).prop_map(Step::Room),
        2 => Just(Step::Connect),
        3 => Just(Step::Ping),
        2 => Just(Step::Pong),
        2 => (0..300_usize).prop_map(Step::Message),
        1 => Just(Step::Disconnect),
        1 => Just(Step::Close),
        8 => Just(Step::Write),
        12 => Just(Step::Deliver),
        1 => Just(Step::Leave),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn frames_stay_whole_and_each_writer_has_its_own_order(
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let (mut wire, mut kernel) = (Wire::default(), Kernel::default());
        let mut upper = Upper::default();
        let (mut client, mut left) = (0, 0);
        let mut delivered = Vec::new();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Room(bytes) => kernel.room += bytes,
                Step::Connect => {
                    client = wire.admit();
                    upper.text(r#"40/pricings,{"sid":"x"}"#);
                }
                Step::Ping => upper.text("2"),
                Step::Pong => upper.say(OpCode::Control(Control::Pong), "pong ", "41/pricings,"),
                Step::Message(bytes) => upper.text(&format!("44/other,{}", "x".repeat(bytes))),
                Step::Disconnect => upper.text("41/pricings,"),
                Step::Close => upper.say(OpCode::Control(Control::Close), "close ", ""),
                Step::Write => upper.write(&mut wire, &mut kernel),
                Step::Leave => {
                    wire.leave(client);
                    left = client;
                }
                Step::Deliver => {
                    let (frame, text) = event(client, number);
                    match wire.put(client, &frame, |bytes| kernel.write(bytes)) {
                        Put::Whole | Put::Part => {
                            prop_assert!(client > left);
                            delivered.push(text);
                        }
                        Put::Full => prop_assert_eq!(kernel.room, 0),
                        Put::NotYet | Put::Never => {}
                    }
                }
            }
        }
        // All that was begun is ended.
        kernel.room = usize::MAX;
        upper.text("2");
        upper.write(&mut wire, &mut kernel);
        let frames = kernel.frames();
        let is_event = |frame: &&String| frame.starts_with("42");
        let events: Vec<_> = frames.iter().filter(is_event).cloned().collect();
        prop_assert_eq!(events, delivered);
        let others: Vec<_> = frames.iter().filter(|frame| !is_event(frame)).cloned().collect();
        prop_assert_eq!(others, upper.said);
        let (mut answered, mut disconnected, mut closed) = (0, 0, false);
        for frame in frames {
            if frame.starts_with("40") {
                answered += 1;
            } else if frame.starts_with("41") {
                disconnected = answered;
            } else if frame.starts_with("close") {
                closed = true;
            } else if let Some((_, text)) = frame.split_once("\"position\",\"") {
                let of: Turn = text.split('.').next().expect("a client").parse().expect("a number");
                prop_assert!(of > disconnected && of <= answered && !closed);
            }
        }
    }
}

/// A wire whose client has its answer.
fn connected(kernel: &mut Kernel) -> (Wire, Turn) {
    let mut wire = Wire::default();
    let client = wire.admit();
    let mut upper = Upper::default();
    upper.text(r#"40/pricings,{"sid":"x"}"#);
    kernel.room += 100;
    upper.write(&mut wire, kernel);
    assert!(upper.queue.is_empty());
    (wire, client)
}

fn put(wire: &mut Wire, kernel: &mut Kernel, client: Turn) -> Put {
    let (frame, _) = event(client, 0);
    wire.put(client, &frame, |bytes| kernel.write(bytes))
}

#[test]
fn a_client_waits_for_its_own_answer() {
    let mut kernel = Kernel::default();
    let (mut wire, first) = connected(&mut kernel);
    assert_eq!(put(&mut wire, &mut kernel, first), Put::Whole);
    let second = wire.admit();
    wire.leave(first);
    assert_eq!(put(&mut wire, &mut kernel, first), Put::Never);
    assert_eq!(put(&mut wire, &mut kernel, second), Put::NotYet);
    // It may have come by a poll.
    wire.pass(br#"40/pricings,{"sid":"y"}"#);
    assert_eq!(put(&mut wire, &mut kernel, second), Put::Whole);
    wire.close();
    assert_eq!(put(&mut wire, &mut kernel, second), Put::Never);
}

#[test]
fn what_the_upper_layer_waits_with_goes_first() {
    let mut kernel = Kernel::default();
    let (mut wire, client) = connected(&mut kernel);
    kernel.room = 0;
    let mut upper = Upper::default();
    upper.text("2");
    upper.write(&mut wire, &mut kernel);
    kernel.room = 100;
    assert_eq!(put(&mut wire, &mut kernel, client), Put::NotYet);
    upper.write(&mut wire, &mut kernel);
    assert_eq!(put(&mut wire, &mut kernel, client), Put::Whole);
}

#[test]
fn what_is_left_of_a_frame_goes_first() {
    let mut kernel = Kernel::default();
    let (mut wire, client) = connected(&mut kernel);
    kernel.room = 7;
    assert_eq!(put(&mut wire, &mut kernel, client), Put::Part);
    assert_eq!(put(&mut wire, &mut kernel, client), Put::Full);
    let nothing = Bytes::new();
    let rest = |kernel: &mut Kernel, wire: &mut Wire| {
        wire.put(client, &nothing, |bytes| kernel.write(bytes))
    };
    assert_eq!(rest(&mut kernel, &mut wire), Put::Full);
    kernel.room = 100;
    assert_eq!(rest(&mut kernel, &mut wire), Put::Whole);
    assert_eq!(kernel.frames().len(), 2);
}

#[test]
fn the_packet_that_ends_a_session_is_the_end() {
    let mut kernel = Kernel::default();
    let (mut wire, client) = connected(&mut kernel);
    let mut upper = Upper::default();
    upper.text("1");
    upper.write(&mut wire, &mut kernel);
    assert_eq!(put(&mut wire, &mut kernel, client), Put::Never);
}
