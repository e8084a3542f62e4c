//! From a [`SpanRecord`] to OpenTelemetry: names and attributes of the semantic conventions, and our own under
//! `outrigger.`. Off the request path.
//!
//! A span's name has no path in it, which would make one name for each product: `GET`, or for gRPC the full method. The
//! query is nowhere, because that is where secrets are.

use std::borrow::Cow;
use std::sync::Arc;

use http::Method;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind as Kind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, StringValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::{EnvResourceDetector, ResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use outrigger_config::listener::Identity;

use crate::telemetry::span::{SpanKind, SpanRecord};
use crate::telemetry::would::{Would, grpc_name};
use crate::telemetry::{direction_word, protocol};

/// Attributes that a span mostly has; more of them cost another allocation.
const USUAL: usize = 18;

/// The scope of our spans.
pub fn scope() -> InstrumentationScope {
    InstrumentationScope::builder("outrigger-proxy").with_version(env!("CARGO_PKG_VERSION")).build()
}

/// Whose spans they are: the workload beside the proxy, not the proxy. What the environment says counts where the
/// workload says nothing, `OTEL_SERVICE_NAME` before `OTEL_RESOURCE_ATTRIBUTES`: a proxy may stand beside several
/// workloads, and who they are is the configuration's to say.
pub fn resource(identity: Option<&Identity>) -> Resource {
    let mut attributes = vec![
        KeyValue::new("telemetry.distro.name", "outrigger"),
        KeyValue::new("telemetry.distro.version", env!("CARGO_PKG_VERSION")),
    ];
    if let Some(identity) = identity {
        attributes.push(KeyValue::new("service.name", Arc::clone(&identity.service)));
        attributes.push(KeyValue::new("service.namespace", identity.workload.namespace().to_owned()));
        attributes.push(KeyValue::new("service.instance.id", identity.workload.to_string()));
        if !identity.version.is_empty() {
            attributes.push(KeyValue::new("service.version", Arc::clone(&identity.version)));
        }
    } else if let Some(name) = std::env::var("OTEL_SERVICE_NAME").ok().filter(|name| !name.is_empty()) {
        attributes.push(KeyValue::new("service.name", name));
    }
    let detectors: [Box<dyn ResourceDetector>; 2] =
        [Box::new(TelemetryResourceDetector), Box::new(EnvResourceDetector::new())];
    let nobody = Resource::builder_empty().with_service_name("outrigger-proxy");
    nobody.with_detectors(&detectors).with_attributes(attributes).build()
}

/// The span.
pub fn convert(record: &SpanRecord, scope: &InstrumentationScope) -> SpanData {
    let state = record.state.as_ref().and_then(|state| state.parse::<TraceState>().ok());
    let flags = TraceFlags::SAMPLED;
    let (trace, span) = (TraceId::from_bytes(record.trace_id), SpanId::from_bytes(record.span_id));
    SpanData {
        span_context: SpanContext::new(trace, span, flags, false, state.unwrap_or_default()),
        parent_span_id: record.parent.map_or(SpanId::INVALID, SpanId::from_bytes),
        parent_span_is_remote: record.parent.is_some() && record.kind == SpanKind::Server,
        span_kind: match record.kind {
            SpanKind::Server => Kind::Server,
            SpanKind::Client => Kind::Client,
            SpanKind::Internal => Kind::Internal,
        },
        name: name(record),
        start_time: record.start,
        end_time: record.start + record.duration,
        attributes: attributes(record),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        // No description: the status code and the reason say it.
        status: if record.is_error() { Status::error("") } else { Status::Unset },
        instrumentation_scope: scope.clone(),
    }
}

fn name(record: &SpanRecord) -> Cow<'static, str> {
    if record.kind == SpanKind::Internal {
        return format!("outrigger.outbound {}", record.host.as_deref().unwrap_or("unrouted")).into();
    }
    if record.grpc {
        return record.path.trim_start_matches('/').to_owned().into();
    }
    method(&record.method).map_or("HTTP", |known| known).into()
}

fn attributes(record: &SpanRecord) -> Vec<KeyValue> {
    let mut all = Vec::with_capacity(USUAL);
    let mut add = |key: &'static str, value: Value| all.push(KeyValue::new(key, value));
    add("outrigger.hop", direction_word(record.direction).into());
    if record.grpc {
        add("rpc.system.name", "grpc".into());
        add("rpc.method", record.path.trim_start_matches('/').to_owned().into());
        if let Some(status) = record.grpc_status {
            add("rpc.response.status_code", grpc_name(status).into());
        }
    } else {
        match method(&record.method) {
            Some(known) => add("http.request.method", known.into()),
            None => {
                add("http.request.method", "_OTHER".into());
                add("http.request.method_original", record.method.as_str().to_owned().into());
            }
        }
        add("url.path", record.path.to_string().into());
        add("url.scheme", "http".into());
    }
    if record.status != 0 {
        add("http.response.status_code", i64::from(record.status).into());
    }
    if record.attempt > 0 && record.kind == SpanKind::Client {
        add("http.request.resend_count", i64::from(record.attempt).into());
    }
    match record.reason {
        Some(reason) => add("error.type", reason.word().into()),
        None if record.is_error() => add("error.type", failure(record)),
        None => {}
    }
    if let Some(cause) = record.retry_of {
        add("outrigger.retry.reason", cause.to_string().into());
    }
    if record.lost {
        add("outrigger.hedge", "cancelled".into());
    }
    if let Some(why) = record.withheld {
        add("outrigger.retry.withheld", why.word().into());
    }
    if let Some(host) = &record.host {
        add("server.address", shared(host));
    }
    if let Some(peer) = record.peer {
        add("network.peer.address", peer.ip().to_string().into());
        add("network.peer.port", i64::from(peer.port()).into());
    }
    add("network.protocol.version", protocol(record.version).into());
    if let Some(route) = &record.route {
        add("outrigger.route", shared(route));
    }
    if let Some(cache) = record.cache {
        add("outrigger.cache", cache.word().into());
    }
    if !record.would.is_empty() {
        let words: Vec<StringValue> = record.would.iter().map(|what: Would| what.word().into()).collect();
        add("outrigger.would", Value::Array(words.into()));
    }
    add("outrigger.snapshot", i64::try_from(record.snapshot).unwrap_or(i64::MAX).into());
    all
}

/// What `error.type` says of a failure that the proxy has no word for: the status that the answer had.
fn failure(record: &SpanRecord) -> Value {
    match record.grpc_status {
        Some(status) if status != 0 => grpc_name(status).into(),
        _ => record.status.to_string().into(),
    }
}

fn shared(text: &Arc<str>) -> Value {
    Value::String(Arc::clone(text).into())
}

/// The methods that the conventions know.
fn method(method: &Method) -> Option<&'static str> {
    const KNOWN: [&str; 10] = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "CONNECT", "TRACE", "QUERY"];
    KNOWN.into_iter().find(|known| *known == method.as_str())
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use http::Method;
    use opentelemetry_sdk::trace::SpanData;

    use super::{convert, resource, scope};
    use crate::reason::Reason;
    use crate::telemetry::span::tests::{attempt, call, refused};
    use crate::telemetry::span::{SpanKind, SpanRecord};

    fn shown(span: &SpanData) -> String {
        let mut text = format!("{} {:?} {:?} parent={}\n", span.name, span.span_kind, span.status, span.parent_span_id);
        for attribute in &span.attributes {
            writeln!(text, "  {} = {:?}", attribute.key, attribute.value).expect("a string grows");
        }
        text
    }

    #[test]
    fn spans_say_what_happened() {
        let root = SpanRecord { kind: SpanKind::Internal, parent: None, attempt: 0, retry_of: None, ..attempt() };
        let lost = SpanRecord {
            status: 0,
            reason: Some(Reason::ConnectionRefused),
            method: Method::from_bytes(b"PURGE").expect("a method"),
            ..attempt()
        };
        let records = [attempt(), refused(), root, lost, call(SpanKind::Client, 14), call(SpanKind::Server, 0)];
        let text: Vec<_> = records.iter().map(|record| shown(&convert(record, &scope()))).collect();
        insta::assert_snapshot!(text.join("\n"));
    }

    #[test]
    fn what_vendors_carry_goes_along() {
        let record = SpanRecord { state: Some("congo=t61rcWkgMzE".into()), ..attempt() };
        let span = convert(&record, &scope());
        assert_eq!(span.span_context.trace_state().get("congo"), Some("t61rcWkgMzE"));
        assert_eq!(span.end_time.duration_since(span.start_time).expect("later"), record.duration);
    }

    #[test]
    fn spans_are_the_workloads() {
        let resource = resource(attempt().identity.as_deref());
        let get = |key: &'static str| resource.get(&key.into()).map(|value| value.to_string()).unwrap_or_default();
        for (key, value) in [
            ("service.name", "storefront"),
            ("service.namespace", "shop"),
            ("service.instance.id", "shop/storefront-1"),
            ("service.version", "v1"),
            ("telemetry.distro.name", "outrigger"),
        ] {
            assert_eq!(get(key), value, "{key}");
        }
    }

    #[test]
    fn spans_of_no_workload_are_the_proxys() {
        let name = resource(None).get(&"service.name".into()).map(|value| value.to_string());
        assert_eq!(name.as_deref(), Some("outrigger-proxy"));
    }
}
