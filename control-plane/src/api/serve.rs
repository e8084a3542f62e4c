//! Serves the API on a listener, so that no client can hold more than its share for longer than its time.
//!
//! A client has ten seconds for the head of a request (and ten for its body, see `body`), a connection five minutes for
//! everything, so one that never reads its answers ends too; and there are at most [`MAX_CONNECTIONS`] of them.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The most connections at the same time; further ones wait in the kernel's queue.
pub const MAX_CONNECTIONS: usize = 512;

/// How long a client may take over the head of a request.
const HEAD: Duration = Duration::from_secs(10);

/// How long a connection lives before it is asked to end.
const AGE: Duration = Duration::from_secs(300);

/// How long a connection that was asked to end may take over it.
const GRACE: Duration = Duration::from_secs(5);

/// Accepts connections until `stop`, then lets running requests finish for a few seconds.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((stream, place)) = accepted else { continue };
        let (router, stop) = (router.clone(), stop.clone());
        connections.spawn(async move {
            connection(stream, router, stop).await;
            drop(place);
        });
    }
    connections.close();
    // The connections have seen `stop` and end by themselves; those that do not are dropped with the runtime.
    let _ = timeout(2 * GRACE, connections.wait()).await;
}

/// The next connection and its place. Cancelling loses none: what was not taken stays in the kernel's queue.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, place)),
        Err(error) => {
            // Out of file descriptors, most likely; trying again at once would only burn the processor.
            tracing::warn!(%error, "a connection to the API could not be accepted");
            sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

async fn connection(stream: TcpStream, router: Router, stop: CancellationToken) {
    // Answers are small and awaited: they should not wait for company.
    let _ = stream.set_nodelay(true);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(64 << 10);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(64).max_header_list_size(64 << 10);
    builder.http2().keep_alive_interval(HEAD).keep_alive_timeout(HEAD);
    let served = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = async { tokio::select! { () = stop.cancelled() => {}, () = sleep(AGE) => {} } } => {
            served.as_mut().graceful_shutdown();
            match timeout(GRACE, served).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the API ended early");
    }
}
