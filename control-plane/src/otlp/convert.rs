//! From OTLP's messages to our own: a resource, a span, a data point.
//!
//! What cannot be converted is `None`; the caller counts it. Nothing here looks at a clock or keeps anything.

use bytes::Bytes;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{HistogramDataPoint, NumberDataPoint};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1 as otlp;
use prost::Message;

use crate::graph::{EdgeKey, ServiceKey};
use crate::traces::{Attribute, Kind, Span, SpanId, Status, TraceId};

/// The largest resource, span or data point that is decoded, in bytes. Decoded it may take a hundred times as much, for
/// as long as it is converted.
pub(super) const MAX_LEAF: usize = 128 << 10;

/// The most buckets of a histogram that are read.
const MAX_BOUNDS: usize = 256;

/// Who speaks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sender {
    pub(super) service: String,
    pub(super) namespace: String,
    pub(super) version: String,
    pub(super) instance: String,
    /// Whether it is one of our proxies. What others measure would count the same request twice.
    pub(super) is_proxy: bool,
}

/// Requests of one outcome, from one data point.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Requests {
    pub(super) to: ServiceKey,
    pub(super) bounds: Vec<f64>,
    pub(super) counts: Vec<u64>,
    pub(super) code: Option<u16>,
    pub(super) grpc: Option<String>,
    pub(super) reason: Option<String>,
}

/// Further attempts, from one data point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Retries {
    pub(super) to: ServiceKey,
    pub(super) reason: String,
    pub(super) count: u64,
}

/// What policies in Observe would have done, from one data point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Observed {
    pub(super) to: ServiceKey,
    pub(super) what: String,
    /// Whether the service's own proxy says it, and not its caller's.
    pub(super) inbound: bool,
    pub(super) count: u64,
}

impl Sender {
    pub(super) fn from_otlp(resource: Option<Bytes>) -> Option<Self> {
        let resource: Resource = leaf(resource.unwrap_or_default())?;
        let text = |key| text(&resource.attributes, key).unwrap_or_default();
        let service = text("service.name");
        Some(Sender {
            service: if service.is_empty() { "unknown_service".to_owned() } else { service },
            namespace: text("service.namespace"),
            version: text("service.version"),
            instance: text("service.instance.id"),
            is_proxy: text("telemetry.distro.name") == "outrigger",
        })
    }

    /// The edge from here.
    pub(super) fn edge(&self, destination: ServiceKey) -> EdgeKey {
        EdgeKey { source: self.service.clone(), source_namespace: self.namespace.clone(), destination }
    }
}

/// A span and its trace.
pub(super) fn span(message: Bytes, sender: &Sender) -> Option<(TraceId, Span)> {
    let span: otlp::Span = leaf(message)?;
    let trace_id = TraceId::from_bytes(&span.trace_id)?;
    let kind = match span.kind() {
        otlp::span::SpanKind::Server => Kind::Server,
        otlp::span::SpanKind::Client => Kind::Client,
        otlp::span::SpanKind::Producer => Kind::Producer,
        otlp::span::SpanKind::Consumer => Kind::Consumer,
        otlp::span::SpanKind::Internal | otlp::span::SpanKind::Unspecified => Kind::Internal,
    };
    let status = match span.status.as_ref().map(otlp::Status::code) {
        Some(otlp::status::StatusCode::Error) => Status::Error,
        Some(otlp::status::StatusCode::Ok) => Status::Ok,
        Some(otlp::status::StatusCode::Unset) | None => Status::Unset,
    };
    // What the sender says beside the code is kept where the convention has no attribute for it.
    let said = span.status.map(|status| status.message).filter(|message| !message.is_empty());
    let said = said.map(|message| ("otel.status_description".to_owned(), Attribute::Text(message)));
    let nanoseconds = span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano);
    let converted = Span {
        span_id: SpanId::from_bytes(&span.span_id)?,
        parent_span_id: SpanId::from_bytes(&span.parent_span_id),
        name: span.name,
        kind,
        service: sender.service.clone(),
        instance: sender.instance.clone(),
        start_unix_ns: span.start_time_unix_nano,
        duration_ms: nanoseconds as f64 / 1e6,
        status,
        attributes: said.into_iter().chain(span.attributes.into_iter().filter_map(attribute)).collect(),
    };
    Some((trace_id, converted))
}

/// The text of a proxy's record of a decision; none for another event, or one without a text.
pub(super) fn decision(message: Bytes) -> Option<String> {
    let log: LogRecord = leaf(message)?;
    match log.body?.value? {
        Value::StringValue(text) if log.event_name == "outrigger.decision" => Some(text),
        _ => None,
    }
}

/// A data point of a duration histogram. `own` says whether the sender measures its own service, and not one it calls.
pub(super) fn requests(message: Bytes, sender: &Sender, own: bool) -> Option<Requests> {
    let point: HistogramDataPoint = leaf(message)?;
    let bounds_hold = point.explicit_bounds.len() <= MAX_BOUNDS
        && point.bucket_counts.len() == point.explicit_bounds.len() + 1
        && point.explicit_bounds.iter().all(|bound| bound.is_finite())
        && point.explicit_bounds.is_sorted();
    if !bounds_hold {
        return None;
    }
    let to = match destination(&point.attributes) {
        Some(to) => to,
        None if own => ServiceKey {
            service: sender.service.clone(),
            namespace: sender.namespace.clone(),
            version: sender.version.clone(),
        },
        None => return None,
    };
    let code = point.attributes.iter().find(|attribute| attribute.key == "http.response.status_code");
    let code = match code.and_then(|attribute| attribute.value.as_ref()?.value.as_ref()) {
        Some(Value::IntValue(code)) => u16::try_from(*code).ok().filter(|code| (100..1000).contains(code)),
        _ => None,
    };
    let grpc = text(&point.attributes, "rpc.response.status_code").filter(|status| !status.is_empty());
    let reason = text(&point.attributes, "error.type").filter(|reason| !reason.is_empty());
    Some(Requests { to, bounds: point.explicit_bounds, counts: point.bucket_counts, code, grpc, reason })
}

/// A data point of the counter of retries.
pub(super) fn retries(message: Bytes) -> Option<Retries> {
    let point: NumberDataPoint = leaf(message)?;
    let reason = text(&point.attributes, "outrigger.retry.reason").unwrap_or_default();
    Some(Retries { to: destination(&point.attributes)?, reason, count: count(&point)? })
}

/// A data point of the counter of what would have been done.
pub(super) fn observed(message: Bytes) -> Option<Observed> {
    let point: NumberDataPoint = leaf(message)?;
    let what = text(&point.attributes, "outrigger.would").filter(|what| !what.is_empty())?;
    let inbound = text(&point.attributes, "outrigger.hop").is_some_and(|hop| hop == "inbound");
    Some(Observed { to: destination(&point.attributes)?, what, inbound, count: count(&point)? })
}

fn count(point: &NumberDataPoint) -> Option<u64> {
    match point.value {
        Some(Number::AsInt(count)) => u64::try_from(count).ok(),
        // In the range of u64, and the fraction of a request is none.
        Some(Number::AsDouble(count)) if (0.0..1e15).contains(&count) => Some(count as u64),
        _ => None,
    }
}

fn destination(attributes: &[KeyValue]) -> Option<ServiceKey> {
    Some(ServiceKey {
        service: text(attributes, "outrigger.destination.service").filter(|service| !service.is_empty())?,
        namespace: text(attributes, "outrigger.destination.namespace").unwrap_or_default(),
        version: text(attributes, "outrigger.destination.version").unwrap_or_default(),
    })
}

fn leaf<M: Message + Default>(message: Bytes) -> Option<M> {
    if message.len() > MAX_LEAF {
        return None;
    }
    M::decode(message).ok()
}

fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        _ => None,
    }
}

fn attribute(attribute: KeyValue) -> Option<(String, Attribute)> {
    let value = match attribute.value?.value? {
        Value::StringValue(text) => Attribute::Text(text),
        Value::BoolValue(value) => Attribute::Bool(value),
        Value::IntValue(value) => Attribute::Int(value),
        Value::DoubleValue(value) if value.is_finite() => Attribute::Float(value),
        Value::DoubleValue(value) => Attribute::Text(value.to_string()),
        Value::ArrayValue(list) => Attribute::Text(listed(&list.values)),
        Value::BytesValue(bytes) => Attribute::Text(format!("{} bytes", bytes.len())),
        Value::KvlistValue(list) => Attribute::Text(format!("{} entries", list.values.len())),
        Value::StringValueStrindex(_) => return None,
    };
    Some((attribute.key, value))
}

/// The first few of a list, as `a, b, 3`.
fn listed(values: &[AnyValue]) -> String {
    let texts = values.iter().take(16).map(|value| match &value.value {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::BoolValue(value)) => value.to_string(),
        Some(Value::IntValue(value)) => value.to_string(),
        Some(Value::DoubleValue(value)) => value.to_string(),
        _ => "...".to_owned(),
    });
    texts.collect::<Vec<_>>().join(", ")
}
