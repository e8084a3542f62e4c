//! Which of the fields that the rooms ask for a message has: one pass over the names instead of a lookup for each
//! question. Most messages have almost none of them.

use http::HeaderMap;

/// A set of field names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fields(u16);

impl Fields {
    /// `Connection`.
    pub const CONNECTION: Fields = Fields(1);
    /// `TE`.
    pub const TE: Fields = Fields(1 << 1);
    /// `Transfer-Encoding`, `Keep-Alive`, `Proxy-Connection` or `Upgrade`: what else belongs to one hop.
    pub const HOP: Fields = Fields(1 << 2);
    /// `Upgrade`.
    pub const UPGRADE: Fields = Fields(1 << 3);
    /// `Transfer-Encoding`.
    pub const TRANSFER_ENCODING: Fields = Fields(1 << 4);
    /// Any field of a trace context, W3C's or B3's.
    pub const TRACE: Fields = Fields(1 << 5);
    /// `Expect`.
    pub const EXPECT: Fields = Fields(1 << 6);
    /// `Cookie`.
    pub const COOKIE: Fields = Fields(1 << 7);
    /// `Content-Type`.
    pub const CONTENT_TYPE: Fields = Fields(1 << 8);
    /// `X-Outrigger-Explain`.
    pub const EXPLAIN: Fields = Fields(1 << 9);
    /// A mark of a request that a layer above tries again: ours, or that of a gRPC client (gRFC A6).
    pub const MARK: Fields = Fields(1 << 10);
    /// Any field whose name begins with `x-envoy-`.
    pub const ENVOY: Fields = Fields(1 << 11);
    /// What a cache asks for: `Cache-Control`, `Pragma`, `Range`, and the conditions of a request.
    pub const CACHE: Fields = Fields(1 << 12);

    /// The fields of a message.
    pub fn of(headers: &HeaderMap) -> Self {
        headers.keys().fold(Fields::default(), |seen, name| Fields(seen.0 | Fields::from_name(name.as_str()).0))
    }

    fn from_name(name: &str) -> Self {
        // Most names are told apart by their length alone.
        match name.len() {
            2 if name == "te" => Fields::TE,
            2 if name == "b3" => Fields::TRACE,
            5 if name == "range" => Fields::CACHE,
            6 if name == "pragma" => Fields::CACHE,
            6 if name == "expect" => Fields::EXPECT,
            6 if name == "cookie" => Fields::COOKIE,
            7 if name == "upgrade" => Fields(Fields::UPGRADE.0 | Fields::HOP.0),
            8.. if name.starts_with("if-") => Fields::CACHE,
            13 if name == "cache-control" => Fields::CACHE,
            10 if name == "connection" => Fields::CONNECTION,
            10 if name == "keep-alive" => Fields::HOP,
            10 if name == "tracestate" => Fields::TRACE,
            11 if name == "traceparent" => Fields::TRACE,
            12 if name == "content-type" => Fields::CONTENT_TYPE,
            16 if name == "proxy-connection" => Fields::HOP,
            17 if name == "transfer-encoding" => Fields(Fields::TRANSFER_ENCODING.0 | Fields::HOP.0),
            19 if name == "x-outrigger-explain" => Fields::EXPLAIN,
            19 if name == "x-outrigger-attempt" => Fields::MARK,
            26 if name == "grpc-previous-rpc-attempts" => Fields::MARK,
            10.. if name.starts_with("x-envoy-") => Fields::ENVOY,
            10.. if name.starts_with("x-b3-") => Fields::TRACE,
            _ => Fields::default(),
        }
    }

    /// Whether one of `others` is there.
    pub fn any(self, others: Fields) -> bool {
        self.0 & others.0 != 0
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::Fields;

    #[test]
    fn every_name_is_told_from_its_neighbours() {
        let cases = [
            ("te", Fields::TE),
            ("b3", Fields::TRACE),
            ("x-b3-traceid", Fields::TRACE),
            ("tracestate", Fields::TRACE),
            ("traceparent", Fields::TRACE),
            ("connection", Fields::CONNECTION),
            ("keep-alive", Fields::HOP),
            ("proxy-connection", Fields::HOP),
            ("upgrade", Fields::UPGRADE),
            ("transfer-encoding", Fields::TRANSFER_ENCODING),
            ("expect", Fields::EXPECT),
            ("cookie", Fields::COOKIE),
            ("content-type", Fields::CONTENT_TYPE),
            ("x-outrigger-explain", Fields::EXPLAIN),
            ("x-outrigger-attempt", Fields::MARK),
            ("x-envoy-max-retries", Fields::ENVOY),
            ("x-envoy-retry-grpc-on-that", Fields::ENVOY),
            ("grpc-previous-rpc-attempts", Fields::MARK),
            ("cache-control", Fields::CACHE),
            ("pragma", Fields::CACHE),
            ("range", Fields::CACHE),
            ("if-range", Fields::CACHE),
            ("if-match", Fields::CACHE),
            ("if-none-match", Fields::CACHE),
        ];
        for (name, expected) in cases {
            let mut headers = HeaderMap::new();
            for neighbour in ["accept", "host", "x-request-id", "user-agent"] {
                headers.insert(neighbour, HeaderValue::from_static("1"));
            }
            assert!(!Fields::of(&headers).any(expected), "{name}");
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("1"));
            assert!(Fields::of(&headers).any(expected), "{name}");
        }
    }
}
