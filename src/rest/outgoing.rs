//! Answers that clients have not taken yet, and how much memory they may hold.
//!
//! What is small is the kernel's a moment later. Of what is larger, all connections
//! together keep so many bytes; an answer that finds no room is a 503.

use std::sync::Arc;

use axum::body::{Body, Bytes, HttpBody as _, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Error;
use crate::pace::{Kept, Pace};

/// Up to here an answer is small.
const SMALL_BYTES: usize = 64 * 1024;
/// How much is kept of all others together.
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// What one permit stands for.
const PERMIT_BYTES: usize = 1024;

/// The memory for answers. Clones share it.
#[derive(Clone, Debug)]
pub struct Outgoing(Arc<Semaphore>);

impl Default for Outgoing {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_BYTES / PERMIT_BYTES)))
    }
}

/// Room for so many bytes.
#[derive(Debug)]
pub(super) struct Room(Option<OwnedSemaphorePermit>);

impl Outgoing {
    /// Room for an answer, if there is any now.
    pub(super) fn room(&self, bytes: usize) -> Result<Room, Error> {
        let Some(permits) = permits(bytes) else {
            return Ok(Room(None));
        };
        match Arc::clone(&self.0).try_acquire_many_owned(permits) {
            Ok(permit) => Ok(Room(Some(permit))),
            Err(_) => Err(Error::Busy(
                "many large answers are under way; try again in a moment".to_owned(),
            )),
        }
    }

    /// Room for the rest of an answer, once there is. Cancel safe.
    pub(super) async fn wait_for_room(&self, bytes: usize) -> Room {
        let Some(permits) = permits(bytes) else {
            return Room(None);
        };
        let permit = Arc::clone(&self.0).acquire_many_owned(permits).await;
        Room(Some(permit.expect("the semaphore is never closed")))
    }
}

/// None for what is small. What is larger than all there is has all of it.
fn permits(bytes: usize) -> Option<u32> {
    let permits = bytes.min(MAX_BYTES).div_ceil(PERMIT_BYTES);
    u32::try_from(permits).ok().filter(|_| bytes > SMALL_BYTES)
}

impl Room {
    /// The bytes that the room was for; it is free again when they are dropped.
    pub(super) fn fill(self, bytes: Vec<u8>, pace: Option<&Pace>) -> Bytes {
        match self.0 {
            None => bytes.into(),
            Some(permit) => Bytes::from_owner(Outstanding {
                _kept: pace.map(|pace| pace.keep(bytes.len())),
                _permit: permit,
                bytes: bytes.into(),
            }),
        }
    }
}

struct Outstanding {
    bytes: Bytes,
    _permit: OwnedSemaphorePermit,
    _kept: Option<Kept>,
}

impl AsRef<[u8]> for Outstanding {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Finds room for each answer that is whole in memory; for
/// `axum::middleware::from_fn_with_state`.
pub(super) async fn bound(
    State(outgoing): State<Outgoing>,
    request: Request,
    next: Next,
) -> Result<Response, Error> {
    let pace = request.extensions().get::<Pace>().cloned();
    let response = next.run(request).await;
    let length = response.body().size_hint().exact();
    let Some(length) = length.and_then(|length| usize::try_from(length).ok()) else {
        return Ok(response);
    };
    if length <= SMALL_BYTES {
        return Ok(response);
    }
    let room = outgoing.room(length)?;
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, length)
        .await
        .map_err(|error| Error::Fault(error.into()))?;
    let body = Body::from(room.fill(bytes.into(), pace.as_ref()));
    Ok(Response::from_parts(parts, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_so_much_room_and_it_frees_up() {
        let outgoing = Outgoing::default();
        let half = MAX_BYTES / 2;
        let first = outgoing.room(half).expect("room").fill(vec![1; half], None);
        let second = outgoing.room(half).expect("room").fill(vec![2; half], None);
        assert!(matches!(
            outgoing.room(SMALL_BYTES + 1),
            Err(Error::Busy(_))
        ));
        assert!(outgoing.room(SMALL_BYTES).is_ok());
        assert_eq!(second.first(), Some(&2));
        // A part of it keeps all of it.
        let part = first.slice(..1);
        drop(first);
        assert!(outgoing.room(SMALL_BYTES + 1).is_err());
        drop(part);
        assert!(outgoing.room(half).is_ok());
        drop(second);
        assert!(outgoing.room(usize::MAX).is_ok());
    }
}
