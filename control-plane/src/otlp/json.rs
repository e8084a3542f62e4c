//! OTLP in JSON, made into the protobuf that everything behind here reads and sends on.
//!
//! The text is walked element by element, as [`super::wire`] walks protobuf: what is decoded is never more than one
//! resource, scope, span or data point, of bounded size, by the crate that has OTLP's types. One that makes no sense
//! becomes an empty one, which the receiver leaves out and counts like any other. Fields that nobody knows are passed
//! over, and `null` is as good as absent.

use std::fmt;

use bytes::Bytes;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::metrics::v1::{HistogramDataPoint, NumberDataPoint};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::MAX_MESSAGE;
use super::convert::MAX_LEAF;

/// The longest text of a resource, scope, span or data point. Text is about twice as long as protobuf.
const MAX_TEXT: usize = 2 * MAX_LEAF;

/// Why there is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The text is no JSON, or none of OTLP.
    Malformed,
    /// As protobuf it would be larger than a message may be: numbers can be shorter in text.
    TooLarge,
}

/// An object of the tree above spans and data points. No name means two things there, so one shape serves all.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Node<'a> {
    #[serde(borrow)]
    resource_spans: Option<&'a RawValue>,
    #[serde(borrow)]
    resource_metrics: Option<&'a RawValue>,
    #[serde(borrow)]
    resource: Option<&'a RawValue>,
    #[serde(borrow)]
    scope_spans: Option<&'a RawValue>,
    #[serde(borrow)]
    scope_metrics: Option<&'a RawValue>,
    #[serde(borrow)]
    scope: Option<&'a RawValue>,
    #[serde(borrow)]
    schema_url: Option<&'a RawValue>,
    #[serde(borrow)]
    spans: Option<&'a RawValue>,
    #[serde(borrow)]
    metrics: Option<&'a RawValue>,
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    sum: Option<&'a RawValue>,
    #[serde(borrow)]
    histogram: Option<&'a RawValue>,
    #[serde(borrow)]
    data_points: Option<&'a RawValue>,
    #[serde(borrow)]
    aggregation_temporality: Option<&'a RawValue>,
}

/// An `ExportTraceServiceRequest`.
pub(super) fn traces(text: &[u8]) -> Result<Bytes, Fault> {
    let mut message = Vec::new();
    each(root(text)?.resource_spans, |group| {
        let group = node(group)?;
        let mut resource_spans = of_resource(&group)?;
        each(group.scope_spans, |scoped| {
            let scoped = node(scoped)?;
            let mut scope_spans = of_scope(&scoped)?;
            each(scoped.spans, |span| field(&mut scope_spans, 2, &leaf::<Span>(span).unwrap_or_default()))?;
            field(&mut resource_spans, 2, &scope_spans)
        })?;
        field(&mut message, 1, &resource_spans)
    })?;
    Ok(message.into())
}

/// An `ExportMetricsServiceRequest`, with those kinds of metrics that are read here.
pub(super) fn metrics(text: &[u8]) -> Result<Bytes, Fault> {
    let mut message = Vec::new();
    each(root(text)?.resource_metrics, |group| {
        let group = node(group)?;
        let mut resource_metrics = of_resource(&group)?;
        each(group.scope_metrics, |scoped| {
            let scoped = node(scoped)?;
            let mut scope_metrics = of_scope(&scoped)?;
            each(scoped.metrics, |metric| field(&mut scope_metrics, 2, &of_metric(&node(metric)?)?))?;
            field(&mut resource_metrics, 2, &scope_metrics)
        })?;
        field(&mut message, 1, &resource_metrics)
    })?;
    Ok(message.into())
}

fn of_resource(group: &Node<'_>) -> Result<Vec<u8>, Fault> {
    let mut out = Vec::new();
    if let Some(resource) = group.resource {
        // Whose spans they are cannot be left out.
        field(&mut out, 1, &leaf::<Resource>(resource).ok_or(Fault::Malformed)?)?;
    }
    text_field(&mut out, 3, group.schema_url)?;
    Ok(out)
}

fn of_scope(scoped: &Node<'_>) -> Result<Vec<u8>, Fault> {
    let mut out = Vec::new();
    if let Some(scope) = scoped.scope {
        field(&mut out, 1, &leaf::<InstrumentationScope>(scope).unwrap_or_default())?;
    }
    text_field(&mut out, 3, scoped.schema_url)?;
    Ok(out)
}

fn of_metric(metric: &Node<'_>) -> Result<Vec<u8>, Fault> {
    let mut out = Vec::new();
    text_field(&mut out, 1, metric.name)?;
    if let Some(sum) = metric.sum {
        field(&mut out, 7, &of_points::<NumberDataPoint>(&node(sum)?)?)?;
    }
    if let Some(histogram) = metric.histogram {
        field(&mut out, 9, &of_points::<HistogramDataPoint>(&node(histogram)?)?)?;
    }
    Ok(out)
}

fn of_points<M: Message + DeserializeOwned>(data: &Node<'_>) -> Result<Vec<u8>, Fault> {
    let mut out = Vec::new();
    if let Some(temporality) = data.aggregation_temporality {
        let number: u8 = serde_json::from_str(temporality.get()).map_err(|_| Fault::Malformed)?;
        // A varint in field 2; the few kinds there are take one byte.
        out.extend([2 << 3, number & 0x7f]);
    }
    each(data.data_points, |point| field(&mut out, 1, &leaf::<M>(point).unwrap_or_default()))?;
    Ok(out)
}

fn root(text: &[u8]) -> Result<Node<'_>, Fault> {
    object(std::str::from_utf8(text).map_err(|_| Fault::Malformed)?)
}

fn node(text: &RawValue) -> Result<Node<'_>, Fault> {
    object(text.get())
}

fn object(text: &str) -> Result<Node<'_>, Fault> {
    // An array would do for serde, too, as the fields in their order.
    if !text.trim_start().starts_with('{') {
        return Err(Fault::Malformed);
    }
    serde_json::from_str(text).map_err(|_| Fault::Malformed)
}

/// The protobuf of one message; none if it is too long or not what it should be.
fn leaf<M: Message + DeserializeOwned>(text: &RawValue) -> Option<Vec<u8>> {
    if text.get().len() > MAX_TEXT {
        return None;
    }
    let value: Value = serde_json::from_str(text.get()).ok()?;
    let message: M = serde_json::from_value(without_nulls(value)).ok()?;
    Some(message.encode_to_vec())
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let there = fields.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(there.map(|(name, value)| (name, without_nulls(value))).collect())
        }
        Value::Array(values) => Value::Array(values.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

fn text_field(out: &mut Vec<u8>, number: u8, text: Option<&RawValue>) -> Result<(), Fault> {
    let Some(text) = text else { return Ok(()) };
    let text: String = serde_json::from_str(text.get()).map_err(|_| Fault::Malformed)?;
    field(out, number, text.as_bytes())
}

/// Appends a field that holds a text or a message.
fn field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) -> Result<(), Fault> {
    if out.len() + bytes.len() > MAX_MESSAGE {
        return Err(Fault::TooLarge);
    }
    out.push(number << 3 | 2);
    prost::encode_length_delimiter(bytes.len(), out).map_err(|_| Fault::TooLarge)?;
    out.extend_from_slice(bytes);
    Ok(())
}

/// Calls `visit` with each element of an array, until it finds a fault.
fn each<'a>(array: Option<&'a RawValue>, visit: impl FnMut(&'a RawValue) -> Result<(), Fault>) -> Result<(), Fault> {
    let Some(array) = array else { return Ok(()) };
    let mut text = serde_json::Deserializer::from_str(array.get());
    text.deserialize_seq(Each(visit)).map_err(|_| Fault::Malformed)?
}

struct Each<F>(F);

impl<'a, F: FnMut(&'a RawValue) -> Result<(), Fault>> Visitor<'a> for Each<F> {
    type Value = Result<(), Fault>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'a>>(mut self, mut elements: A) -> Result<Self::Value, A::Error> {
        while let Some(element) = elements.next_element()? {
            if let Err(fault) = (self.0)(element) {
                while elements.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(Err(fault));
            }
        }
        Ok(Ok(()))
    }
}

#[cfg(test)]
mod tests;
