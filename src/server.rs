//! HTTP over the connections that come: one task for each, until it is told to
//! stop.
//!
//! As `axum::serve` does it, with two limits of its own: how long the head of a
//! request may take, and how large it may be.

use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tracing::debug;

use crate::sockets::connection::MeteredListener;

/// The largest head of a request; a larger one is answered with 431.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// Serves until `stop`, then finishes the requests that have begun. What became
/// a websocket is waited for by nobody.
///
/// A connection on which no whole head of a request arrives within `head_limit`,
/// from its beginning or from the answer before, is closed.
pub async fn serve(
    mut listener: MeteredListener,
    router: Router,
    head_limit: Duration,
    stop: CancellationToken,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(head_limit)
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
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(info.clone());
            router.clone().oneshot(request.map(Body::new))
        });
        let served = http
            .serve_connection(TokioIo::new(connection), service)
            .with_upgrades();
        let stop = stop.clone();
        tasks.spawn(async move {
            let mut served = pin!(served);
            let ended = tokio::select! {
                ended = served.as_mut() => ended,
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
