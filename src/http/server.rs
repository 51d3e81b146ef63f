//! HTTP over the connections that come: one task for each, until it is told to
//! stop.
//!
//! It does what `axum::serve` does, and has its own limits: how long the head of a request
//! may take, how large it may be, and how much is read of a body that nobody wants.

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tracing::debug;

use crate::http::connection::LimitedListener;
use crate::http::pace;
use crate::http::requests::without_trailing_slash;
use crate::http::unread_body;

/// The largest head of a request; a larger one is answered with 431.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// What a connection may take; one that takes more is closed.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long the first head of a request may take, from the beginning of the
    /// connection.
    pub first_head: Duration,
    /// How long each other may take, from the answer before: a connection may be idle
    /// for so long.
    pub next_head: Duration,
    /// How much is read of a body that was answered before it was read.
    pub unread_body: unread_body::Limits,
}

/// Serves until `stop`, then finishes the requests that have begun. It does not wait for
/// websockets.
pub async fn serve(
    mut listener: LimitedListener,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.next_head)
        .max_buf_size(MAX_HEAD_BYTES);
    let mut tasks = JoinSet::new();
    loop {
        let connection = tokio::select! {
            connection = listener.accept() => connection,
            Some(_) = tasks.join_next() => continue,
            () = stop.cancelled() => break,
        };
        let info = ConnectInfo(connection.info());
        let router = router.clone();
        let asked = Arc::new(AtomicBool::new(false));
        let has_asked = Arc::clone(&asked);
        let (pace, kept) = pace::of_a_connection();
        let (watch, unread_bodies) = unread_body::of_a_connection(limits.unread_body);
        let service = service_fn(move |request: Request<Incoming>| {
            asked.store(true, Ordering::Relaxed);
            let mut request = without_trailing_slash(watch.over(request));
            request.extensions_mut().insert(info);
            request.extensions_mut().insert(pace.clone());
            router.clone().oneshot(request)
        });
        let served = http
            .serve_connection(TokioIo::new(connection), service)
            .with_upgrades();
        let stop = stop.clone();
        tasks.spawn(async move {
            let mut served = pin!(served);
            let too_late = async {
                sleep(limits.first_head).await;
                if has_asked.load(Ordering::Relaxed) {
                    pending::<()>().await;
                }
            };
            let ended = tokio::select! {
                ended = served.as_mut() => ended,
                () = too_late => return,
                () = unread_bodies.read() => return,
                () = kept.too_slow() => {
                    debug!("a client takes its answer too slowly; closing its connection");
                    return;
                }
                () = stop.cancelled() => {
                    served.as_mut().graceful_shutdown();
                    served.await
                }
            };
            if let Err(error) = ended {
                debug!(%error, "a connection broke off");
            }
        });
    }
    drop(listener);
    while tasks.join_next().await.is_some() {}
}
