//! What a service hands on from the call it serves to the calls it makes: the trace context and the request's id.
//! Nothing is read or changed; a tracing library would do the same.

use http::{HeaderMap, HeaderName, HeaderValue};
use tonic::metadata::{MetadataKey, MetadataMap};

const HANDED_ON: [&str; 9] = [
    "traceparent",
    "tracestate",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
    "x-request-id",
];

/// The fields of one call that go on to the next.
#[derive(Clone, Debug, Default)]
pub(crate) struct Passage(Vec<(HeaderName, HeaderValue)>);

impl Passage {
    /// Picks them out of a call's fields.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let pick = |name: &'static str| {
            let value = headers.get(name)?;
            Some((HeaderName::from_static(name), value.clone()))
        };
        Passage(HANDED_ON.into_iter().filter_map(pick).collect())
    }

    /// As fields of an HTTP call.
    pub(crate) fn fields(&self) -> &[(HeaderName, HeaderValue)] {
        &self.0
    }

    /// Into the metadata of a gRPC call.
    pub(crate) fn write(&self, metadata: &mut MetadataMap) {
        for (name, value) in &self.0 {
            let key = MetadataKey::from_bytes(name.as_str().as_bytes());
            let value = value.to_str().ok().and_then(|text| text.parse().ok());
            if let (Ok(key), Some(value)) = (key, value) {
                metadata.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};
    use tonic::metadata::MetadataMap;

    use super::Passage;

    #[test]
    fn trace_context_goes_on_and_nothing_else() {
        let mut headers = HeaderMap::new();
        for name in ["traceparent", "b3", "x-request-id", "authorization", "x-client"] {
            headers.insert(name, HeaderValue::from_static("value"));
        }
        let passage = Passage::of(&headers);
        let names: Vec<&str> = passage.fields().iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["traceparent", "b3", "x-request-id"]);
        let mut metadata = MetadataMap::new();
        passage.write(&mut metadata);
        assert_eq!(metadata.len(), 3);
        assert_eq!(metadata.get("traceparent").and_then(|value| value.to_str().ok()), Some("value"));
    }
}
