//! Websocket frames as bytes (RFC 6455, 5.2).

use anyhow::{Result, bail, ensure};

/// A whole text.
pub(crate) const TEXT: u8 = 0x1;
/// The other side closes.
pub(crate) const CLOSE: u8 = 0x8;
/// Wants a pong.
pub(crate) const PING: u8 = 0x9;
/// Answers a ping.
pub(crate) const PONG: u8 = 0xA;

/// A frame from a server, and the bytes after it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) opcode: u8,
    pub(crate) payload: &'a [u8],
    pub(crate) rest: &'a [u8],
}

/// Splits the first frame off; `None` if it is not whole yet.
pub(crate) fn first(bytes: &[u8]) -> Result<Option<Frame<'_>>> {
    let [head, length, rest @ ..] = bytes else {
        return Ok(None);
    };
    ensure!(head & 0xF0 == 0x80, "a frame in parts, or compressed");
    let (length, rest) = match length {
        0..=125 => (usize::from(*length), rest),
        126 => match rest.split_first_chunk() {
            Some((length, rest)) => (usize::from(u16::from_be_bytes(*length)), rest),
            None => return Ok(None),
        },
        127 => match rest.split_first_chunk() {
            Some((length, rest)) => (usize::try_from(u64::from_be_bytes(*length))?, rest),
            None => return Ok(None),
        },
        _ => bail!("a masked frame from a server"),
    };
    let Some((payload, rest)) = rest.split_at_checked(length) else {
        return Ok(None);
    };
    Ok(Some(Frame {
        opcode: head & 0x0F,
        payload,
        rest,
    }))
}

/// Adds a frame from a client, masked with zeros.
pub(crate) fn push(bytes: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    const MASKED: u8 = 0x80;
    bytes.push(0x80 | opcode);
    match u16::try_from(payload.len()) {
        Ok(length @ 0..=125) => bytes.push(MASKED | length as u8),
        Ok(length) => {
            bytes.push(MASKED | 126);
            bytes.extend(length.to_be_bytes());
        }
        Err(_) => {
            bytes.push(MASKED | 127);
            bytes.extend((payload.len() as u64).to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_of_each_length_is_split_off() {
        for (length, head) in [
            (3, vec![0x81, 3]),
            (300, vec![0x81, 126, 1, 44]),
            (70_000, vec![0x81, 127, 0, 0, 0, 0, 0, 1, 17, 112]),
        ] {
            let payload = vec![b'x'; length];
            let mut bytes = [head, payload.clone()].concat();
            assert_eq!(first(&bytes[..bytes.len() - 1]).unwrap(), None);
            bytes.push(0x89);
            let frame = first(&bytes).unwrap().unwrap();
            assert_eq!((frame.opcode, frame.rest), (TEXT, &[0x89][..]));
            assert_eq!(frame.payload, payload);
        }
    }
}
