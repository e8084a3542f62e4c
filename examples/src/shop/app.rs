//! One process of the shop: `demo shop --service catalog --name catalog-1 --listen 127.0.0.1:8101 ...`.
//! One thread, HTTP/1.1 and HTTP/2 on one port, and for the fault switch a second one. It serves until it is told to
//! stop, and drops what is under way: callers are meant to cope.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use clap::Parser;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpListener;

use super::caller::{Caller, Way};
use super::fault::{Fault, Switch};
use super::pricing;
use super::service::{Kind, Service};

/// One service of the shop.
#[derive(Debug, Parser)]
#[command(name = "demo shop")]
pub(crate) struct Arguments {
    /// Which service to be.
    #[arg(long, value_enum)]
    service: Kind,
    /// The instance's name.
    #[arg(long)]
    name: String,
    /// The version to call itself.
    #[arg(long, default_value = "")]
    version: String,
    /// Where to serve; port 0 asks the system for one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Where to take orders about faults.
    #[arg(long)]
    control: Option<SocketAddr>,
    /// The sidecar that all calls go through.
    #[arg(long, value_parser = parse_outbound, conflicts_with = "direct")]
    outbound: Option<SocketAddr>,
    /// Without a sidecar: where a service is, `catalog=127.0.0.1:8101,127.0.0.1:8102`.
    #[arg(long, value_parser = parse_direct)]
    direct: Vec<(String, Vec<SocketAddr>)>,
}

fn parse_outbound(text: &str) -> Result<SocketAddr> {
    let address = text.trim_start_matches("http://").trim_end_matches('/');
    address.parse().with_context(|| format!("{text} is not an address such as http://127.0.0.1:15001"))
}

fn parse_direct(text: &str) -> Result<(String, Vec<SocketAddr>)> {
    let (service, addresses) = text.split_once('=').context("it has the form SERVICE=ADDRESS,ADDRESS")?;
    let addresses: Result<Vec<SocketAddr>, _> = addresses.split(',').map(str::parse).collect();
    Ok((service.to_owned(), addresses.with_context(|| format!("the addresses of {service}"))?))
}

/// Serves until SIGTERM.
pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let way = match arguments.outbound {
        Some(address) => Way::Sidecar(address),
        None => Way::Direct(arguments.direct.into_iter().collect::<BTreeMap<_, _>>()),
    };
    let service = Arc::new(Service {
        kind: arguments.service,
        name: arguments.name,
        version: arguments.version,
        caller: Caller::new(way, "pricing")?,
        fault: Switch::default(),
    });
    let listener = bind(arguments.listen).await?;
    if let Some(address) = arguments.control {
        let control = bind(address).await?;
        let service = Arc::clone(&service);
        tokio::spawn(accept(control, move |request| order(Arc::clone(&service), request)));
    }
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        () = accept(listener, move |request| serve(Arc::clone(&service), request)) => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
}

type Body = UnsyncBoxBody<Bytes, tonic::Status>;

async fn accept<F, S>(listener: TcpListener, serve: S)
where
    S: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, most likely: a moment later there may be one again.
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            continue;
        };
        // Only latency depends on it.
        let _ = stream.set_nodelay(true);
        let serve = serve.clone();
        tokio::spawn(async move {
            let answer = service_fn(move |request| {
                let answer = serve(request);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            // A connection that breaks is its caller's to notice.
            let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

async fn serve(service: Arc<Service>, request: Request<Incoming>) -> Response<Body> {
    if service.kind == Kind::Pricing && request.method() == Method::POST {
        return pricing::serve(request, &service.name).await.map(UnsyncBoxBody::new);
    }
    if request.uri().path() == "/healthz" {
        return text(StatusCode::OK, "ok");
    }
    let (head, _) = request.into_parts();
    let answer = service.answer(head.uri.path(), &head.headers).await;
    answer.map(|body| body.map_err(|never| match never {}).boxed_unsync())
}

/// `GET /fault` reads the counts, `POST /fault` turns the switch.
async fn order(service: Arc<Service>, request: Request<Incoming>) -> Response<Body> {
    if request.method() == Method::POST {
        let Ok(body) = request.into_body().collect().await else {
            return text(StatusCode::BAD_REQUEST, "the order broke off");
        };
        match serde_json::from_slice::<Fault>(&body.to_bytes()) {
            Ok(fault) => service.fault.set(fault),
            Err(error) => return text(StatusCode::BAD_REQUEST, &error.to_string()),
        }
    }
    text(StatusCode::OK, &serde_json::json!(service.fault.counts()).to_string())
}

fn text(status: StatusCode, text: &str) -> Response<Body> {
    let body = Full::new(Bytes::from(text.to_owned()));
    let mut response = Response::new(body.map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::{parse_direct, parse_outbound};

    #[test]
    fn addresses_are_read() {
        assert_eq!(parse_outbound("http://127.0.0.1:15001").expect("an address").port(), 15_001);
        assert!(parse_outbound("http://localhost").is_err());
        let (service, addresses) = parse_direct("catalog=127.0.0.1:1,127.0.0.1:2").expect("two addresses");
        assert_eq!((service.as_str(), addresses.len()), ("catalog", 2));
        assert!(parse_direct("catalog").is_err());
        assert!(parse_direct("catalog=here").is_err());
    }
}
