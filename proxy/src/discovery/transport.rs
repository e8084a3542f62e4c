//! One ADS stream over gRPC: connecting, sending requests, hearing answers. It knows nothing of what they mean.

use std::net::SocketAddr;
use std::time::Duration;

use http::uri::PathAndQuery;
use outrigger_config::xds::transport::{
    DELTA_PATH, DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, STREAM_PATH,
};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::codec::Streaming;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use crate::discovery::session::{Answer, Ask, Variant};

/// The longest response that is read, bytes.
const MAX_RESPONSE: usize = 64 * 1024 * 1024;
/// Requests that may wait to be sent; a server that reads none of so many is as good as gone.
const QUEUE: usize = 256;
const CONNECT: Duration = Duration::from_secs(1);
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));

/// A stream.
#[derive(Debug)]
pub struct Transport {
    send: Send,
    hear: Hear,
}

#[derive(Debug)]
enum Send {
    Delta(mpsc::Sender<DeltaDiscoveryRequest>),
    Sotw(mpsc::Sender<DiscoveryRequest>),
}

#[derive(Debug)]
enum Hear {
    Delta(Streaming<DeltaDiscoveryResponse>),
    Sotw(Streaming<DiscoveryResponse>),
}

/// Connects to a control plane.
pub async fn connect(address: SocketAddr) -> Result<Channel, tonic::transport::Error> {
    Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(CONNECT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE.0)
        .keep_alive_timeout(KEEPALIVE.1)
        .keep_alive_while_idle(true)
        .connect()
        .await
}

impl Transport {
    /// Opens a stream with its first requests: a server may answer none before it has one.
    pub async fn open(channel: Channel, variant: Variant, first: Vec<Ask>) -> Result<Self, Status> {
        let mut grpc = Grpc::new(channel).max_decoding_message_size(MAX_RESPONSE);
        grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let (send, hear) = match variant {
            Variant::Delta => {
                let (sender, receiver) = mpsc::channel(QUEUE);
                let send = Send::Delta(sender);
                send.all(first)?;
                let path = PathAndQuery::from_static(DELTA_PATH);
                let request = Request::new(ReceiverStream::new(receiver));
                (send, Hear::Delta(grpc.streaming(request, path, ProstCodec::default()).await?.into_inner()))
            }
            Variant::Sotw => {
                let (sender, receiver) = mpsc::channel(QUEUE);
                let send = Send::Sotw(sender);
                send.all(first)?;
                let path = PathAndQuery::from_static(STREAM_PATH);
                let request = Request::new(ReceiverStream::new(receiver));
                (send, Hear::Sotw(grpc.streaming(request, path, ProstCodec::default()).await?.into_inner()))
            }
        };
        Ok(Transport { send, hear })
    }

    /// Sends requests, in order.
    pub fn send(&self, asks: Vec<Ask>) -> Result<(), Status> {
        self.send.all(asks)
    }

    /// The next answer; none when the server has closed the stream in order. Cancel safe.
    pub async fn hear(&mut self) -> Option<Result<Answer, Status>> {
        match &mut self.hear {
            Hear::Delta(stream) => stream.next().await.map(|answer| answer.map(Answer::Delta)),
            Hear::Sotw(stream) => stream.next().await.map(|answer| answer.map(Answer::Sotw)),
        }
    }
}

impl Send {
    fn all(&self, asks: Vec<Ask>) -> Result<(), Status> {
        let full = || Status::resource_exhausted("the control plane does not read what it is sent");
        for ask in asks {
            match (self, ask) {
                (Send::Delta(queue), Ask::Delta(ask)) => queue.try_send(ask).map_err(|_| full())?,
                (Send::Sotw(queue), Ask::Sotw(ask)) => queue.try_send(ask).map_err(|_| full())?,
                // A session speaks the variant that its stream was opened with.
                _ => return Err(Status::internal("a request of the other variant")),
            }
        }
        Ok(())
    }
}
