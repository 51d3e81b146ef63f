//! Answers that clients have not taken yet, and how much memory they may hold.
//!
//! A small answer is not counted: the kernel has it a moment later. The larger ones of
//! all connections together have so much memory. When it is full, the client that has
//! kept some of it for longest is disconnected, if it had time enough. An answer that
//! finds no room then is a 503.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::Error;
use crate::http::pace::{Kept, Pace};

/// The largest answer that is small.
const SMALL_BYTES: usize = 64 * 1024;
/// How much memory all others have together.
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// What one permit stands for.
const PERMIT_BYTES: usize = 1024;
/// How long a client may keep what others need.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often somebody who waits for room looks for such a client.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// The memory for answers. Clones share it.
#[derive(Clone, Debug)]
pub struct Outgoing(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    permits: Arc<Semaphore>,
    clients: Mutex<Clients>,
}

/// Those that have not taken what is kept for them, the oldest first.
#[derive(Debug, Default)]
struct Clients {
    since: BTreeMap<u64, (Instant, Pace)>,
    next: u64,
}

impl Default for Outgoing {
    fn default() -> Self {
        Self(Arc::new(Shared {
            permits: Arc::new(Semaphore::new(MAX_BYTES / PERMIT_BYTES)),
            clients: Mutex::default(),
        }))
    }
}

/// Room for so many bytes.
#[derive(Debug)]
pub(super) struct Room {
    shared: Arc<Shared>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Outgoing {
    /// Room for an answer, if there is any now.
    pub(super) fn room(&self, bytes: usize) -> Result<Room, Error> {
        let Some(permits) = permits(bytes) else {
            return Ok(self.filled_with(None));
        };
        match Arc::clone(&self.0.permits).try_acquire_many_owned(permits) {
            Ok(permit) => Ok(self.filled_with(Some(permit))),
            Err(_) => {
                self.0.end_slowest();
                Err(Error::Busy(
                    "many large answers are under way; try again in a moment".to_owned(),
                ))
            }
        }
    }

    /// Room for the rest of an answer, once there is. Cancel safe.
    pub(super) async fn wait_for_room(&self, bytes: usize) -> Room {
        let Some(permits) = permits(bytes) else {
            return self.filled_with(None);
        };
        let permit = Arc::clone(&self.0.permits).acquire_many_owned(permits);
        tokio::pin!(permit);
        loop {
            match timeout(LOOK_AGAIN, permit.as_mut()).await {
                Ok(permit) => {
                    let permit = permit.expect("the semaphore is never closed");
                    return self.filled_with(Some(permit));
                }
                Err(_) => self.0.end_slowest(),
            }
        }
    }

    fn filled_with(&self, permit: Option<OwnedSemaphorePermit>) -> Room {
        Room {
            shared: Arc::clone(&self.0),
            permit,
        }
    }
}

/// How many permits an answer needs: none if it is small, all of them if it is larger
/// than the whole memory.
fn permits(bytes: usize) -> Option<u32> {
    let permits = bytes.min(MAX_BYTES).div_ceil(PERMIT_BYTES);
    u32::try_from(permits).ok().filter(|_| bytes > SMALL_BYTES)
}

impl Shared {
    fn clients(&self) -> MutexGuard<'_, Clients> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end_slowest(&self) {
        let mut clients = self.clients();
        let Some(oldest) = clients.since.first_entry() else {
            return;
        };
        if oldest.get().0.elapsed() > PATIENCE {
            let (_, pace) = oldest.remove();
            pace.end();
        }
    }
}

impl Room {
    /// The bytes that the room was for, or fewer; it is free again when they are
    /// dropped.
    pub(super) fn fill(self, bytes: Vec<u8>, pace: Option<&Pace>) -> Bytes {
        let permit = match (permits(bytes.len()), self.permit) {
            (Some(permits), Some(mut permit)) => permit
                .split(usize::try_from(permits).unwrap_or(usize::MAX))
                .or(Some(permit)),
            _ => None,
        };
        let Some(permit) = permit else {
            return bytes.into();
        };
        let kept = pace.map(|pace| {
            let mut clients = self.shared.clients();
            let number = clients.next;
            clients.next += 1;
            clients.since.insert(number, (Instant::now(), pace.clone()));
            (number, pace.keep(bytes.len()))
        });
        Bytes::from_owner(Outstanding {
            bytes: bytes.into(),
            kept,
            shared: self.shared,
            _permit: permit,
        })
    }
}

struct Outstanding {
    bytes: Bytes,
    /// The client's number among those that are watched.
    kept: Option<(u64, Kept)>,
    shared: Arc<Shared>,
    _permit: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Outstanding {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Outstanding {
    fn drop(&mut self) {
        if let Some((number, _)) = &self.kept {
            self.shared.clients().since.remove(number);
        }
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
    use crate::http::pace;

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

    #[test]
    fn what_is_not_needed_is_free_at_once() {
        let outgoing = Outgoing::default();
        let room = outgoing.room(MAX_BYTES).expect("room");
        let bytes = room.fill(vec![1; MAX_BYTES / 2], None);
        assert!(outgoing.room(MAX_BYTES / 2).is_ok());
        assert!(outgoing.room(MAX_BYTES / 2 + PERMIT_BYTES).is_err());
        drop(bytes);
    }

    #[tokio::test(start_paused = true)]
    async fn who_keeps_what_others_need_is_disconnected() {
        let outgoing = Outgoing::default();
        let (pace, watch) = pace::of_a_connection();
        let connection = tokio::spawn(watch.too_slow());
        let room = outgoing.room(MAX_BYTES).expect("room");
        let kept = room.fill(vec![1; MAX_BYTES], Some(&pace));
        tokio::time::sleep(PATIENCE * 2).await;
        assert!(!connection.is_finished());
        let waiting = outgoing.wait_for_room(MAX_BYTES);
        let connection = async {
            connection.await.expect("no panic");
            drop(kept);
        };
        tokio::join!(waiting, connection);
    }
}
