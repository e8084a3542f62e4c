//! A span and a trace, as they are kept, answered by the API and drawn by the command line: one shape for all three.

use std::collections::HashSet;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::id::{SpanId, TraceId};

/// The most attributes a span keeps.
pub const MAX_ATTRIBUTES: usize = 64;

/// The longest text a span keeps, in bytes: a name, a service, the key or the value of an attribute.
pub const MAX_TEXT: usize = 1024;

/// Attributes whose values are secrets of the application's users; applications that record headers send them.
const SECRETS: [&str; 5] = ["authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key"];

/// One trace: everything that is known of one request on its way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// Its identity.
    pub trace_id: TraceId,
    /// From the first start to the last end, in milliseconds.
    pub duration_ms: f64,
    /// The first start, in nanoseconds since 1970.
    pub start_unix_ns: u64,
    /// Every service that took part, in the order of their first spans.
    pub services: Vec<String>,
    /// Whether any span failed, the attempt of a request that succeeded in the end included.
    pub error: bool,
    /// Whether whoever began the trace saw it fail: a span at its top failed, and no later attempt made up for it.
    pub failed: bool,
    /// Spans that were not kept, because the trace was too long.
    pub dropped_spans: u64,
    /// The spans by start.
    pub spans: Vec<Span>,
}

/// One step of a trace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// Its identity in the trace.
    pub span_id: SpanId,
    /// The step it is a part of; none for the first.
    pub parent_span_id: Option<SpanId>,
    /// What was done: `GET /products/{id}`.
    pub name: String,
    /// The role of the service.
    pub kind: Kind,
    /// The service that did it.
    pub service: String,
    /// Which instance of the service; empty when it did not say.
    pub instance: String,
    /// When it began, in nanoseconds since 1970 by the clock of its machine.
    pub start_unix_ns: u64,
    /// How long it took, in milliseconds.
    pub duration_ms: f64,
    /// How it ended.
    pub status: Status,
    /// What else is known.
    pub attributes: Attributes,
}

/// What the attempts of one request have in common; requests made one after the other may have it in common, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Call<'a> {
    /// The step they are a part of.
    parent: Option<SpanId>,
    /// What was done.
    name: &'a str,
    /// What was asked.
    to: Option<&'a str>,
}

/// The role of a service in a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It answered.
    Server,
    /// It asked.
    Client,
    /// Neither.
    Internal,
    /// It sent a message.
    Producer,
    /// It took a message.
    Consumer,
}

/// How a span ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Nobody said otherwise.
    Unset,
    /// Somebody said it is well.
    Ok,
    /// It failed.
    Error,
}

/// The attributes of a span, in the order they came in; keys are distinct.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attributes(Vec<(String, Attribute)>);

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Attribute {
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A finite number.
    Float(f64),
    /// Text, and everything else as text.
    Text(String),
}

impl Trace {
    /// A trace of these spans, which must not be empty for the times to mean anything.
    pub fn new(trace_id: TraceId, mut spans: Vec<Span>, dropped_spans: u64) -> Self {
        spans.sort_by_key(|span| (span.start_unix_ns, span.span_id));
        let Extent { start_unix_ns, duration_ms } = Extent::of(&spans);
        Trace {
            trace_id,
            duration_ms,
            start_unix_ns,
            services: services(&spans),
            error: spans.iter().any(|span| span.status == Status::Error),
            failed: failed(&spans),
            dropped_spans,
            spans,
        }
    }
}

/// When spans ran, all together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    /// The first start.
    pub(super) start_unix_ns: u64,
    /// From there to the last end.
    pub(super) duration_ms: f64,
}

impl Extent {
    pub(super) fn of(spans: &[Span]) -> Self {
        let start_unix_ns = spans.iter().map(|span| span.start_unix_ns).min().unwrap_or(0);
        let duration_ms = spans.iter().map(|span| span.end_ms(start_unix_ns)).fold(0.0, f64::max);
        Extent { start_unix_ns, duration_ms }
    }
}

/// The spans at the top: those whose parents are not here.
pub(super) fn top(spans: &[Span]) -> impl Iterator<Item = &Span> {
    let ids: HashSet<SpanId> = spans.iter().map(|span| span.span_id).collect();
    spans.iter().filter(move |span| span.parent_span_id.is_none_or(|parent| !ids.contains(&parent)))
}

/// Whether a span at the top failed for good.
pub(super) fn failed(spans: &[Span]) -> bool {
    let top: Vec<&Span> = top(spans).collect();
    let made_up_for = |failed: &Span| {
        let again = |other: &&Span| other.call() == failed.call() && other.resend_count() > failed.resend_count();
        top.iter().any(again)
    };
    top.iter().any(|span| span.status == Status::Error && !made_up_for(span))
}

/// Every service of the spans, in the order of their first spans.
pub(super) fn services(spans: &[Span]) -> Vec<String> {
    let mut services: Vec<String> = Vec::new();
    for span in spans {
        if !services.contains(&span.service) {
            services.push(span.service.clone());
        }
    }
    services
}

impl Span {
    /// When it ended, in milliseconds after `origin_unix_ns`.
    pub fn end_ms(&self, origin_unix_ns: u64) -> f64 {
        self.start_unix_ns.saturating_sub(origin_unix_ns) as f64 / 1e6 + self.duration_ms
    }

    /// What was done, for people: the name, and with it the path where the name says no more than the method.
    ///
    /// Names are for grouping and leave the path of a request without a route out; one trace needs no grouping.
    pub fn title(&self) -> String {
        match (self.attributes.text("http.request.method"), self.attributes.text("url.path")) {
            (Some(method), Some(path)) if method == self.name => format!("{method} {path}"),
            _ => self.name.clone(),
        }
    }

    /// What it has in common with the other attempts of its request.
    pub fn call(&self) -> Call<'_> {
        Call { parent: self.parent_span_id, name: &self.name, to: self.attributes.text("server.address") }
    }

    /// Which repetition of a request it is, from 1; none for a first attempt.
    pub fn resend_count(&self) -> Option<i64> {
        match self.attributes.get("http.request.resend_count") {
            Some(Attribute::Int(count)) if *count > 0 => Some(*count),
            _ => None,
        }
    }

    /// The HTTP status it was answered with.
    pub fn http_status(&self) -> Option<i64> {
        match self.attributes.get("http.response.status_code") {
            Some(Attribute::Int(code)) => Some(*code),
            _ => None,
        }
    }

    /// Cuts what is too long and covers what is secret, and gives back the memory.
    pub(super) fn cap(&mut self) {
        for text in [&mut self.name, &mut self.service, &mut self.instance] {
            cut(text);
        }
        self.attributes.cap();
    }

    /// The memory it takes, in bytes, without the part that is the same for every span.
    pub(super) fn bytes(&self) -> usize {
        heap(&self.name) + heap(&self.service) + heap(&self.instance) + self.attributes.bytes()
    }
}

impl Attributes {
    /// The value under `key`.
    pub fn get(&self, key: &str) -> Option<&Attribute> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, value)| value)
    }

    /// The text under `key`; none if there is something else.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.get(key) {
            Some(Attribute::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// Each key and value, in the order they came in.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Attribute)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    fn cap(&mut self) {
        self.0.truncate(MAX_ATTRIBUTES);
        self.0.shrink_to_fit();
        for (key, value) in &mut self.0 {
            cut(key);
            match value {
                // `http.request.header.authorization`, and the same word from a library with other habits.
                Attribute::Text(text) if SECRETS.contains(&last_word(key).as_str()) => *text = "[redacted]".to_owned(),
                Attribute::Text(text) => cut(text),
                Attribute::Bool(_) | Attribute::Int(_) | Attribute::Float(_) => {}
            }
        }
    }

    fn bytes(&self) -> usize {
        let texts = self.0.iter().map(|(key, value)| match value {
            Attribute::Text(text) => heap(key) + heap(text),
            _ => heap(key),
        });
        ALLOCATION + self.0.capacity() * size_of::<(String, Attribute)>() + texts.sum::<usize>()
    }
}

impl FromIterator<(String, Attribute)> for Attributes {
    /// Of two values under one key the first stays.
    fn from_iter<I: IntoIterator<Item = (String, Attribute)>>(attributes: I) -> Self {
        let mut distinct = Attributes::default();
        for (key, value) in attributes {
            if distinct.0.len() < MAX_ATTRIBUTES && distinct.get(&key).is_none() {
                distinct.0.push((key, value));
            }
        }
        distinct
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Attribute::Bool(value) => write!(f, "{value}"),
            Attribute::Int(value) => write!(f, "{value}"),
            Attribute::Float(value) => write!(f, "{value}"),
            Attribute::Text(value) => f.write_str(value),
        }
    }
}

impl Serialize for Attributes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Attributes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AttributesVisitor;

        impl<'de> Visitor<'de> for AttributesVisitor {
            type Value = Attributes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of attributes")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Attributes, A::Error> {
                let mut attributes = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    attributes.push(entry);
                }
                Ok(attributes.into_iter().collect())
            }
        }

        deserializer.deserialize_map(AttributesVisitor)
    }
}

fn last_word(key: &str) -> String {
    key.rsplit('.').next().unwrap_or_default().to_ascii_lowercase().replace('_', "-")
}

/// What an allocation costs beside what it holds: the allocator's own note of it, and rounding up.
const ALLOCATION: usize = 16;

fn heap(text: &String) -> usize {
    ALLOCATION + text.capacity()
}

fn cut(text: &mut String) {
    text.truncate(text.floor_char_boundary(MAX_TEXT));
    text.shrink_to_fit();
}
