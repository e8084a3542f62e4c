//! OTLP over HTTP: `POST /v1/traces` and `POST /v1/metrics` with bodies in protobuf or JSON, plain or gzip.
//!
//! Answers speak what the request spoke, errors too, which are a `google.rpc.Status` as OTLP wants it. 503 tells the sender to try again; every
//! other error tells it not to.

use std::io::Read;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use prost::Message;

use super::MAX_MESSAGE;
use super::json::Fault;
use super::receiver::Receiver;
use super::signal::Signal;
use super::wire::Malformed;
use crate::inflow::{DELIVERY, NoBody, collect};

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

/// The two paths. `now` and the state of the mesh are the receiver's affair.
pub fn router(receiver: Receiver) -> Router {
    Router::new()
        .route("/v1/traces", post(|receiver, request| export(Signal::Traces, receiver, request)))
        .route("/v1/metrics", post(|receiver, request| export(Signal::Metrics, receiver, request)))
        .with_state(receiver)
}

/// `google.rpc.Status`, of which a sender shows the message.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(string, tag = "2")]
    message: String,
}

/// Why a message was not taken in.
#[derive(Clone, Copy, Debug, thiserror::Error)]
enum Refusal {
    #[error(
        "send protobuf with Content-Type {PROTOBUF}, or JSON with {JSON} (OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf or http/json)"
    )]
    ContentType,
    #[error("send the body plain or with Content-Encoding gzip")]
    ContentEncoding,
    #[error("a message may have at most {MAX_MESSAGE} bytes, before and after decompression")]
    TooLarge,
    #[error("the body is not what its Content-Encoding says, or broke off")]
    Broken,
    #[error("the message did not arrive within {} seconds", DELIVERY.as_secs())]
    TooSlow,
    #[error("too many messages at once; send this one again")]
    Busy,
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Malformed => Refusal::Malformed(Malformed),
            Fault::TooLarge => Refusal::TooLarge,
        }
    }
}

impl Refusal {
    fn answer(self, json: bool) -> Response {
        let status = match self {
            Refusal::ContentType | Refusal::ContentEncoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Refusal::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::Broken | Refusal::Malformed(_) => StatusCode::BAD_REQUEST,
            Refusal::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Refusal::Busy => StatusCode::SERVICE_UNAVAILABLE,
        };
        let message = self.to_string();
        match json {
            true => {
                let body = serde_json::json!({ "message": message }).to_string();
                (status, [(header::CONTENT_TYPE, JSON)], body).into_response()
            }
            false => {
                (status, [(header::CONTENT_TYPE, PROTOBUF)], RpcStatus { message }.encode_to_vec()).into_response()
            }
        }
    }
}

async fn export(signal: Signal, State(receiver): State<Receiver>, request: Request<Body>) -> Response {
    let json = match media_type(request.headers()).as_str() {
        PROTOBUF => false,
        JSON => true,
        _ => return Refusal::ContentType.answer(false),
    };
    match take(signal, json, &receiver, request).await {
        Ok(answer) => {
            let spoken = if json { JSON } else { PROTOBUF };
            ([(header::CONTENT_TYPE, spoken)], answer).into_response()
        }
        Err(refusal) => refusal.answer(json),
    }
}

async fn take(signal: Signal, json: bool, receiver: &Receiver, request: Request<Body>) -> Result<Bytes, Refusal> {
    let headers = request.headers();
    let compressed = match headers.get(header::CONTENT_ENCODING).map(|value| value.as_bytes()) {
        None | Some(b"identity") => false,
        Some(b"gzip") => true,
        Some(_) => return Err(Refusal::ContentEncoding),
    };
    let _place = receiver.place().await.ok_or(Refusal::Busy)?;
    let message = collect(request.into_body(), MAX_MESSAGE).await.map_err(|none| match none {
        NoBody::TooLarge => Refusal::TooLarge,
        NoBody::TooSlow => Refusal::TooSlow,
        NoBody::Broken => Refusal::Broken,
    })?;
    let message = if compressed { decompress(&message)? } else { message };
    match json {
        true => Ok(signal.take_json(&message, receiver)?),
        false => Ok(signal.take(&message, receiver)?),
    }
}

fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn decompress(body: &[u8]) -> Result<Bytes, Refusal> {
    let mut message = Vec::new();
    // One byte more than allowed tells a message of exactly the limit from a longer one.
    let limit = MAX_MESSAGE as u64 + 1;
    MultiGzDecoder::new(body).take(limit).read_to_end(&mut message).map_err(|_| Refusal::Broken)?;
    if message.len() > MAX_MESSAGE {
        return Err(Refusal::TooLarge);
    }
    Ok(message.into())
}
