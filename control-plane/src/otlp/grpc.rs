//! OTLP over gRPC: the services a tonic server adds beside its own.
//!
//! They take gzip, read a message of at most [`MAX_MESSAGE`] bytes within ten seconds, and hold a place of the
//! receiver's while they do, so that many senders together are bounded as well.

use std::convert::Infallible;
use std::task::{Context, Poll};

use bytes::Bytes;
use tonic::codec::CompressionEncoding;
use tonic::codegen::{Body, BoxFuture, Service, StdError, http};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Request, Response, Status};

use super::codec::Raw;
use super::receiver::Receiver;
use super::signal::Signal;
use super::{MAX_MESSAGE, wire};
use crate::inflow::DELIVERY;

/// `opentelemetry.proto.collector.trace.v1.TraceService`.
#[derive(Clone, Debug)]
pub struct TraceService(Export);

/// `opentelemetry.proto.collector.metrics.v1.MetricsService`.
#[derive(Clone, Debug)]
pub struct MetricsService(Export);

/// `opentelemetry.proto.collector.logs.v1.LogsService`, for the records of our proxies.
#[derive(Clone, Debug)]
pub struct LogsService(Export);

/// The one method all have.
#[derive(Clone, Debug)]
struct Export {
    signal: Signal,
    receiver: Receiver,
}

impl TraceService {
    /// The service that hands traces to `receiver`.
    pub fn new(receiver: Receiver) -> Self {
        TraceService(Export { signal: Signal::Traces, receiver })
    }
}

impl MetricsService {
    /// The service that hands metrics to `receiver`.
    pub fn new(receiver: Receiver) -> Self {
        MetricsService(Export { signal: Signal::Metrics, receiver })
    }
}

impl LogsService {
    /// The service that hands records to `receiver`.
    pub fn new(receiver: Receiver) -> Self {
        LogsService(Export { signal: Signal::Logs, receiver })
    }
}

impl NamedService for LogsService {
    const NAME: &'static str = "opentelemetry.proto.collector.logs.v1.LogsService";
}

impl NamedService for TraceService {
    const NAME: &'static str = "opentelemetry.proto.collector.trace.v1.TraceService";
}

impl NamedService for MetricsService {
    const NAME: &'static str = "opentelemetry.proto.collector.metrics.v1.MetricsService";
}

impl<B> Service<http::Request<B>> for TraceService
where
    B: Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        Box::pin(serve(self.0.clone(), request))
    }
}

impl<B> Service<http::Request<B>> for LogsService
where
    B: Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        Box::pin(serve(self.0.clone(), request))
    }
}

impl<B> Service<http::Request<B>> for MetricsService
where
    B: Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        Box::pin(serve(self.0.clone(), request))
    }
}

impl UnaryService<Bytes> for Export {
    type Response = Bytes;
    type Future = std::future::Ready<Result<Response<Bytes>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let taken = self.signal.take(&request.into_inner(), &self.receiver);
        std::future::ready(
            taken.map(Response::new).map_err(|error: wire::Malformed| Status::invalid_argument(error.to_string())),
        )
    }
}

async fn serve<B>(export: Export, request: http::Request<B>) -> Result<http::Response<tonic::body::Body>, Infallible>
where
    B: Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    if !request.uri().path().ends_with("/Export") {
        return Ok(Status::unimplemented("the only method is Export").into_http());
    }
    let receiver = export.receiver.clone();
    let Some(_place) = receiver.place().await else {
        return Ok(Status::unavailable("too many messages at once; send this one again").into_http());
    };
    let mut grpc = Grpc::new(Raw).accept_compressed(CompressionEncoding::Gzip).max_decoding_message_size(MAX_MESSAGE);
    Ok(match tokio::time::timeout(DELIVERY, grpc.unary(export, request)).await {
        Ok(response) => response,
        Err(_) => Status::deadline_exceeded("the message did not arrive within 10 seconds").into_http(),
    })
}
