//! The rest of a request's body, when nobody wants it any more.
//!
//! An answer may come before the body was read, for example to a wrong key. hyper closes
//! such a connection, and a client that is still writing gets a broken pipe instead of
//! its answer. So the rest of the body is read while the answer goes out, within limits.
//! Afterwards the connection can be used again.

use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

/// How much of a body is read though nobody wants it. A connection whose body has
/// more, or takes longer, is closed.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many bytes.
    pub bytes: usize,
    /// For how long.
    pub time: Duration,
}

/// The bodies of one connection that were not read to their end: those that watch
/// for them, and those that read them.
pub(crate) fn of_a_connection(limits: Limits) -> (Watch, UnreadBodies) {
    let (unread, left) = unbounded_channel();
    (Watch(unread), UnreadBodies { left, limits })
}

/// Keeps the bodies that are dropped too early.
#[derive(Clone, Debug)]
pub(crate) struct Watch(UnboundedSender<Incoming>);

impl Watch {
    /// Keeps the body of this request, should it be dropped too early.
    pub(crate) fn over(&self, request: Request<Incoming>) -> Request {
        // Such a client sends nothing until somebody wants to read, and must not be
        // told to send what nobody wants.
        let waits = request.headers().contains_key(header::EXPECT);
        request.map(|body| {
            Body::new(Watched {
                body: Some(body),
                waits,
                unread: self.0.clone(),
            })
        })
    }
}

/// Reads them.
#[derive(Debug)]
pub(crate) struct UnreadBodies {
    left: UnboundedReceiver<Incoming>,
    limits: Limits,
}

impl UnreadBodies {
    /// Reads each up to its end or the limits, for ever.
    pub(crate) async fn read(mut self) {
        while let Some(body) = self.left.recv().await {
            let _ = timeout(self.limits.time, skip(body, self.limits.bytes)).await;
        }
        pending().await
    }
}

async fn skip(mut body: Incoming, most_bytes: usize) {
    let mut left = most_bytes;
    while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        match left.checked_sub(bytes) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

/// A body that is given back if it is dropped before its end.
#[derive(Debug)]
struct Watched {
    body: Option<Incoming>,
    waits: bool,
    unread: UnboundedSender<Incoming>,
}

impl hyper::body::Body for Watched {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.waits = false;
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(SizeHint::default, Incoming::size_hint)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let unread = self.body.take().filter(|body| !body.is_end_stream());
        if let Some(body) = unread.filter(|_| !self.waits) {
            // Nobody reads any more when the connection ends.
            let _ = self.unread.send(body);
        }
    }
}
