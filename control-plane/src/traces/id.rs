//! The identities of traces and spans: random bytes, written as lower-case hexadecimal digits (W3C Trace Context).

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The identity of a trace: 16 bytes, not all zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceId([u8; 16]);

/// The identity of a span in its trace: 8 bytes, not all zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanId([u8; 8]);

impl TraceId {
    /// From the bytes of OTLP; none if there are not 16 or all are zero.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().filter(|id| *id != [0; 16]).map(TraceId)
    }

    /// From 32 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        from_hex::<16>(text).and_then(|bytes| TraceId::from_bytes(&bytes))
    }
}

impl SpanId {
    /// From the bytes of OTLP; none if there are not 8 or all are zero.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().filter(|id| *id != [0; 8]).map(SpanId)
    }

    /// From 16 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        from_hex::<8>(text).and_then(|bytes| SpanId::from_bytes(&bytes))
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceId({self})")
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpanId({self})")
    }
}

impl Serialize for TraceId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for SpanId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TraceId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        TraceId::parse(&text).ok_or_else(|| de::Error::custom("not a trace id of 32 hexadecimal digits"))
    }
}

impl<'de> Deserialize<'de> for SpanId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        SpanId::parse(&text).ok_or_else(|| de::Error::custom("not a span id of 16 hexadecimal digits"))
    }
}

fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::{SpanId, TraceId};

    #[test]
    fn an_id_prints_as_it_was_read() {
        let text = "0af7651916cd43dd8448eb211c80319c";
        assert_eq!(TraceId::parse(text).expect("valid").to_string(), text);
        assert_eq!(SpanId::parse("B7AD6B7169203331").expect("valid").to_string(), "b7ad6b7169203331");
    }

    #[test]
    fn zeros_and_other_lengths_are_no_ids() {
        for bad in ["", "0", &"0".repeat(32), &"g".repeat(32), &"+1".repeat(16), &"ä".repeat(16), &"1".repeat(31)] {
            assert_eq!(TraceId::parse(bad), None, "{bad}");
        }
        assert_eq!(TraceId::from_bytes(&[1; 15]), None);
        assert_eq!(SpanId::from_bytes(&[0; 8]), None);
    }
}
