//! Websocket frames (RFC 6455, 5.2): those of events, written at once for many
//! clients, and those of the upper layer, read while they go by.

use serde_json::value::RawValue;

/// So many bytes of a packet tell which it is.
pub const BEGINNING_BYTES: usize = 13;
/// The longest header of a frame, with a mask.
const HEADER_BYTES: usize = 14;

const FINAL: u8 = 0x80;
const OPCODE: u8 = 0x0f;
const TEXT: u8 = 0x1;
const CLOSE: u8 = 0x8;
/// From here on opcodes are those of control frames.
const CONTROL: u8 = 0x8;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;
/// How a length is told that is longer than the header's second byte has room for.
const TWO_MORE: u8 = 126;
const EIGHT_MORE: u8 = 127;

/// Adds an event `message`: the JSON of an event, and of what is told beside it.
pub fn push_message(frames: &mut Vec<u8>, event: &RawValue, reference: Option<&RawValue>) {
    let event = event.get();
    match reference {
        None => push_text(frames, &["42/pricings,[\"message\",", event, "]"]),
        Some(reference) => push_text(
            frames,
            &[
                "42/pricings,[\"message\",",
                event,
                ",",
                reference.get(),
                "]",
            ],
        ),
    }
}

/// Adds an event `position`; the text of a position is JSON as it is.
pub fn push_position(frames: &mut Vec<u8>, position: &str) {
    push_text(frames, &["42/pricings,[\"position\",\"", position, "\"]"]);
}

/// Adds a text, the parts one behind the other.
pub fn push_text(frames: &mut Vec<u8>, parts: &[&str]) {
    let bytes = parts.iter().map(|part| part.len()).sum::<usize>();
    frames.reserve(HEADER_BYTES + bytes);
    frames.push(FINAL | TEXT);
    match (u8::try_from(bytes), u16::try_from(bytes)) {
        (Ok(short), _) if short < TWO_MORE => frames.push(short),
        (_, Ok(medium)) => {
            frames.push(TWO_MORE);
            frames.extend(medium.to_be_bytes());
        }
        _ => {
            frames.push(EIGHT_MORE);
            frames.extend((bytes as u64).to_be_bytes());
        }
    }
    for part in parts {
        frames.extend(part.as_bytes());
    }
}

/// A frame that went by.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    /// The end of the websocket.
    Close,
    /// A ping or a pong of the websocket.
    Control,
    /// A message, or a part of one: its first bytes.
    Message(Beginning),
}

/// The first bytes of a payload, as many as there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beginning {
    bytes: [u8; BEGINNING_BYTES],
    count: u8,
}

impl std::ops::Deref for Beginning {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes
            .get(..usize::from(self.count))
            .unwrap_or_default()
    }
}

/// Reads the frames of one writer as they go by, in pieces of any size.
#[derive(Debug, Default)]
pub struct FrameReader {
    header: [u8; HEADER_BYTES],
    header_bytes: u8,
    /// How much of the payload is to come, once the header is whole.
    left: Option<u64>,
    beginning: Beginning,
    /// The last fragment of a message is still to come.
    message_goes_on: bool,
}

impl FrameReader {
    /// Whether a frame or a message has begun and not ended.
    pub fn is_within(&self) -> bool {
        self.header_bytes > 0 || self.message_goes_on
    }

    /// Takes bytes up to the end of a frame; the frame, if they have its end.
    pub fn next_frame(&mut self, bytes: &mut &[u8]) -> Option<Frame> {
        while self.left.is_none() {
            let (byte, rest) = bytes.split_first()?;
            *bytes = rest;
            self.take_header(*byte);
        }
        self.take_payload(bytes);
        if self.left != Some(0) {
            return None;
        }
        let ended = std::mem::take(self);
        let [first, ..] = ended.header;
        let opcode = first & OPCODE;
        // Control frames may stand between the fragments of a message.
        self.message_goes_on = match opcode {
            CONTROL.. => ended.message_goes_on,
            _ => first & FINAL == 0,
        };
        Some(if opcode == CLOSE {
            Frame::Close
        } else if opcode >= CONTROL {
            Frame::Control
        } else {
            Frame::Message(ended.beginning)
        })
    }

    fn take_header(&mut self, byte: u8) {
        let at = usize::from(self.header_bytes);
        if let Some(place) = self.header.get_mut(at) {
            *place = byte;
        }
        self.header_bytes += 1;
        let [_, second, further @ ..] = &self.header;
        let length_bytes = match second & LENGTH {
            TWO_MORE => 2,
            EIGHT_MORE => 8,
            _ => 0,
        };
        let mask_bytes = if second & MASKED == 0 { 0 } else { 4 };
        if usize::from(self.header_bytes) < 2 + length_bytes + mask_bytes {
            return;
        }
        let further = further.iter().take(length_bytes);
        self.left = Some(match length_bytes {
            0 => u64::from(second & LENGTH),
            _ => further.fold(0, |length, byte| length << 8 | u64::from(*byte)),
        });
    }

    fn take_payload(&mut self, bytes: &mut &[u8]) {
        let left = self.left.unwrap_or_default();
        let taken = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
        let (payload, rest) = bytes.split_at(taken);
        *bytes = rest;
        self.left = Some(left - taken as u64);
        let Beginning { bytes, count } = &mut self.beginning;
        for (place, byte) in bytes.iter_mut().skip(usize::from(*count)).zip(payload) {
            *place = *byte;
            *count += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tungstenite::protocol::frame::coding::{Control, Data, OpCode};
    use tungstenite::protocol::frame::{Frame as Framed, FrameHeader};

    fn frame(opcode: OpCode, is_final: bool, payload: &[u8]) -> Vec<u8> {
        let header = FrameHeader {
            is_final,
            opcode,
            ..FrameHeader::default()
        };
        let frame = Framed::from_payload(header, payload.to_vec().into());
        let mut bytes = Vec::new();
        frame.format(&mut bytes).expect("a frame");
        bytes
    }

    #[test]
    fn a_text_is_framed_as_the_library_does_it() {
        for length in [
            0, 1, 98, 99, 125, 126, 127, 255, 256, 65_535, 65_536, 70_000,
        ] {
            let text = "x".repeat(length);
            let mut frames = Vec::new();
            push_text(&mut frames, &[&text]);
            let expected = frame(OpCode::Data(Data::Text), true, text.as_bytes());
            assert!(frames == expected, "{length}");
        }
    }

    fn any_frame() -> impl Strategy<Value = (u8, Vec<u8>)> {
        let length = prop_oneof![0..20_usize, 120..130_usize, 65_530..65_540_usize];
        (0..4_u8, length).prop_map(|(kind, length)| (kind, vec![b'a' + kind; length]))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn frames_are_followed_in_pieces_of_any_size(
            frames in prop::collection::vec(any_frame(), 1..12),
            pieces in prop::collection::vec(1..40_000_usize, 1..20),
        ) {
            let mut bytes = Vec::new();
            let mut ends = Vec::new();
            let mut expected = Vec::new();
            for (kind, payload) in frames {
                let opcode = match kind {
                    0 => OpCode::Control(Control::Close),
                    1 => OpCode::Control(Control::Pong),
                    _ => OpCode::Data(Data::Text),
                };
                bytes.extend(frame(opcode, true, &payload));
                ends.push(bytes.len());
                expected.push(match kind {
                    0 => (Frame::Close, payload),
                    1 => (Frame::Control, payload),
                    _ => (Frame::Message(Beginning::default()), payload),
                });
            }
            let mut reader = FrameReader::default();
            let mut followed = Vec::new();
            let mut at = 0;
            for piece in pieces.into_iter().cycle() {
                let mut piece = bytes.get(at..bytes.len().min(at + piece)).unwrap_or_default();
                if piece.is_empty() {
                    break;
                }
                at += piece.len();
                while let Some(frame) = reader.next_frame(&mut piece) {
                    followed.push(frame);
                }
                prop_assert_eq!(reader.is_within(), !ends.contains(&at));
            }
            prop_assert_eq!(followed.len(), expected.len());
            for (followed, (kind, payload)) in followed.into_iter().zip(expected) {
                match (followed, kind) {
                    (Frame::Message(beginning), Frame::Message(_)) => {
                        let length = payload.len().min(BEGINNING_BYTES);
                        prop_assert_eq!(&*beginning, &payload[..length]);
                    }
                    (followed, kind) => prop_assert_eq!(followed, kind),
                }
            }
        }
    }

    #[test]
    fn a_message_in_fragments_goes_on_behind_control_frames() {
        let mut reader = FrameReader::default();
        let pong = OpCode::Control(Control::Pong);
        for (bytes, goes_on) in [
            (frame(OpCode::Data(Data::Text), false, b"a"), true),
            (frame(pong, true, b""), true),
            (frame(OpCode::Data(Data::Continue), false, b"b"), true),
            (frame(OpCode::Data(Data::Continue), true, b"c"), false),
        ] {
            assert!(reader.next_frame(&mut &*bytes).is_some());
            assert_eq!(reader.is_within(), goes_on);
        }
    }
}
