//! Serves one caller's connection: hyper or h2 speaks the protocol, every request goes through the stack.
//!
//! A connection ends when its caller leaves it, when its scope drains (HTTP/1: the answer under way says
//! `Connection: close`; HTTP/2: GOAWAY), or when half a request head has been waiting for too long.

mod http1;
mod http2;

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;

use http::Version;
use hyper::body::Incoming;
use hyper::service::Service as HyperService;
use tokio::net::TcpStream;
use tower::Service;

use crate::body::Body;
use crate::clock;
use crate::detect::{Protocol, Undetected, detect};
use crate::exchange::{Connection, Request, Response};
use crate::io::Side;
use crate::stack::HttpService;

/// Serves requests on one connection.
#[derive(Clone, Debug)]
struct Handler {
    connection: Arc<Connection>,
    stack: HttpService,
}

impl HyperService<http::Request<Incoming>> for Handler {
    type Response = Response;
    type Error = Infallible;
    type Future = <HttpService as Service<Request>>::Future;

    fn call(&self, request: http::Request<Incoming>) -> Self::Future {
        self.answer(Request::new(request.map(Body::from_caller), Arc::clone(&self.connection)))
    }
}

impl Handler {
    fn answer(&self, request: Request) -> <HttpService as Service<Request>>::Future {
        self.stack.clone().call(request)
    }
}

/// Serves `tcp` until it ends. `connection` says where it came in; what hyper hides is added here. No `async fn`, whose
/// arguments would be held twice as long as the connection lives.
pub fn serve(
    mut tcp: TcpStream,
    mut connection: Box<Connection>,
    stack: HttpService,
) -> impl Future<Output = ()> + Send {
    let began = clock::now();
    async move {
        // Each in a box of its own: a connection lives long, and what it does not use would be held all that time.
        let detected = Box::pin(async {
            tokio::select! {
                detected = detect(&mut tcp) => detected,
                // Nothing was asked yet, so nothing is lost.
                () = connection.drain.draining() => Err(Undetected::Left),
            }
        });
        let detected = detected.await;
        let detection = &connection.shared.telemetry.metrics.detection;
        let (protocol, ahead) = match detected {
            Ok(known) => known,
            Err(Undetected::Left) => return,
            Err(Undetected::Silent) => return detection.timed_out(),
        };
        let version = if protocol == Protocol::Http2 { Version::HTTP_2 } else { Version::HTTP_11 };
        detection.known(version, clock::now().saturating_duration_since(began));
        match protocol {
            Protocol::Http1 => {
                let side = Arc::new(Side::default());
                connection.side = Some(Arc::clone(&side));
                let handler = Handler { connection: Arc::new(*connection), stack };
                Box::pin(http1::serve(tcp, ahead, side, handler)).await;
            }
            Protocol::Http2 => {
                let handler = Handler { connection: Arc::new(*connection), stack };
                Box::pin(http2::serve(tcp, ahead, handler)).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    /// What a connection that rests holds beside its socket, bytes.
    #[test]
    fn a_connection_that_rests_is_small() {
        fn of<A, B, C, D, F>(_: fn(A, B, C, D) -> F) -> usize {
            size_of::<F>()
        }
        fn around<A, B, C, F>(_: fn(A, B, C) -> F) -> usize {
            size_of::<F>()
        }
        let (rests, serves) = (of(super::http1::serve), around(super::serve));
        assert!(rests <= 512 && serves <= 512, "{rests} and {serves}");
    }
}
