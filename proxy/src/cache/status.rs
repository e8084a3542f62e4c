//! `Cache-Status` (RFC 9211): what the cache did about a request, for whoever looks at its answer.

use std::fmt::Write;
use std::time::Instant;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};

use super::freshness::Freshness;

/// The field.
pub const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Why a request was sent on (RFC 9211, 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    /// The route's responses are not looked up for such a request.
    Bypass,
    /// Its method is one whose responses are not kept.
    Method,
    /// Nothing is kept for its target.
    UriMiss,
    /// What is kept for its target is for other requests.
    VaryMiss,
    /// What is kept is not fresh.
    Stale,
    /// The request asks for more than what is kept.
    Request,
}

impl Forward {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Forward::Bypass => "bypass",
            Forward::Method => "method",
            Forward::UriMiss => "uri-miss",
            Forward::VaryMiss => "vary-miss",
            Forward::Stale => "stale",
            Forward::Request => "request",
        }
    }
}

/// What was done about a request.
#[derive(Clone, Copy, Debug)]
pub enum Did<'a> {
    /// It was answered from what is kept; with a word why, where that was stale.
    Hit(Option<&'a str>),
    /// It was sent on.
    Forwarded {
        /// Why.
        why: Forward,
        /// What came back.
        status: Option<u16>,
        /// Whether that is kept.
        stored: bool,
        /// Whether it shared the answer with another request.
        collapsed: bool,
        /// Why the answer is not kept.
        detail: Option<&'a str>,
    },
}

/// The value of the field. `freshness` is that of the response that is kept, if there is one; `key` is for people.
pub fn value(did: Did<'_>, freshness: Option<&Freshness>, now: Instant, key: &str) -> HeaderValue {
    let mut text = String::with_capacity(64 + key.len());
    text.push_str("outrigger");
    // Writing to a string cannot fail.
    let _ = match did {
        Did::Hit(detail) => {
            text.push_str("; hit");
            detail.map_or(Ok(()), |detail| write!(text, "; detail={detail}"))
        }
        Did::Forwarded { why, status, stored, collapsed, detail } => {
            let _ = write!(text, "; fwd={}", why.word());
            let _ = status.map(|status| write!(text, "; fwd-status={status}"));
            text.push_str(if stored { "; stored" } else { "" });
            text.push_str(if collapsed { "; collapsed" } else { "" });
            detail.map_or(Ok(()), |detail| write!(text, "; detail={detail}"))
        }
    };
    if let Some(freshness) = freshness {
        let _ = match freshness.left(now) {
            Ok(left) => write!(text, "; ttl={}", left.as_secs()),
            Err(stale) => write!(text, "; ttl=-{}", stale.as_secs()),
        };
    }
    if !key.is_empty() {
        let _ = write!(text, "; key=\"{key}\"");
    }
    HeaderValue::from_maybe_shared(Bytes::from(text)).unwrap_or(HeaderValue::from_static("outrigger"))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Did, Forward, value};
    use crate::cache::freshness::Freshness;

    #[test]
    fn each_answer_says_what_was_done() {
        let now = Instant::now();
        let freshness = Freshness { initial_age: Duration::from_secs(10), ..Freshness::plain(now) };
        let forwarded = |detail, stored| Did::Forwarded {
            why: Forward::UriMiss,
            status: Some(200),
            stored,
            collapsed: false,
            detail,
        };
        let later = now + Duration::from_secs(60);
        for (did, freshness, now, key, expected) in [
            (Did::Hit(None), Some(&freshness), now, "shop/", "outrigger; hit; ttl=50; key=\"shop/\""),
            (Did::Hit(Some("max-stale")), Some(&freshness), later, "", "outrigger; hit; detail=max-stale; ttl=-10"),
            (forwarded(None, true), None, now, "", "outrigger; fwd=uri-miss; fwd-status=200; stored"),
            (
                forwarded(Some("private"), false),
                None,
                now,
                "",
                "outrigger; fwd=uri-miss; fwd-status=200; detail=private",
            ),
        ] {
            assert_eq!(value(did, freshness, now, key), expected);
        }
    }
}
