//! What a request asks of a cache, beside its target: how fresh an answer must be, and what its caller has already
//! (RFC 9111, 5.2.1; RFC 9110, 13.1). Read only for the few requests that have such fields.

use std::time::{Duration, Instant};

use http::header::{self, HeaderMap};

use super::date::date;
use super::directives::Directives;
use super::freshness::Freshness;

/// What a request asks.
#[derive(Clone, Debug, Default)]
pub struct Demand {
    /// It is not answered from what is kept, nor is its answer kept.
    pub passes: bool,
    /// What is kept must be confirmed first.
    pub confirmed: bool,
    /// Nobody is to be asked.
    pub only_if_cached: bool,
    /// The oldest answer it takes.
    pub max_age: Option<Duration>,
    /// For how long the answer must stay fresh.
    pub min_fresh: Duration,
    /// For how long it takes an answer that is not fresh any more.
    pub max_stale: Duration,
    /// Its caller has a response already, and asks for another one.
    pub conditional: bool,
}

impl Demand {
    /// What the fields of a request ask.
    pub fn of(headers: &HeaderMap) -> Self {
        let said = Directives::of(headers);
        let pragma = !headers.contains_key(header::CACHE_CONTROL)
            && headers.get_all(header::PRAGMA).iter().any(|value| value.as_bytes().eq_ignore_ascii_case(b"no-cache"));
        // Parts of a representation, and conditions that are for the one who has the original.
        let passes = [header::RANGE, header::IF_RANGE, header::IF_MATCH, header::IF_UNMODIFIED_SINCE];
        Demand {
            passes: said.no_store || passes.iter().any(|name| headers.contains_key(name)),
            confirmed: said.no_cache || pragma,
            only_if_cached: said.only_if_cached,
            max_age: said.max_age.map(Duration::from_secs),
            min_fresh: Duration::from_secs(said.min_fresh.unwrap_or(0)),
            max_stale: Duration::from_secs(said.max_stale.unwrap_or(0)),
            conditional: headers.contains_key(header::IF_NONE_MATCH) || headers.contains_key(header::IF_MODIFIED_SINCE),
        }
    }

    /// Whether its caller takes a response that is stale.
    pub fn takes_stale(&self, freshness: &Freshness, now: Instant) -> bool {
        !freshness.strict
            && freshness.left(now).is_err_and(|stale| stale <= self.max_stale && !self.max_stale.is_zero())
    }

    /// Whether it says nothing of how fresh its answer must be.
    pub fn is_plain(&self) -> bool {
        self.max_age.is_none() && self.min_fresh.is_zero() && !self.only_if_cached
    }
}

/// Whether the caller, by the conditions of its request, has the response with these fields already (RFC 9110, 13.2.2).
pub fn has_already(request: &HeaderMap, response: &HeaderMap) -> bool {
    if request.contains_key(header::IF_NONE_MATCH) {
        let tag = response.get(header::ETAG).map(|tag| tag.as_bytes());
        let mut lists = request.get_all(header::IF_NONE_MATCH).iter();
        return lists.any(|list| matches_tag(list.as_bytes(), tag));
    }
    let Some(since) = date(request, &header::IF_MODIFIED_SINCE) else { return false };
    let changed = date(response, &header::LAST_MODIFIED).or_else(|| date(response, &header::DATE));
    changed.is_some_and(|changed| changed <= since)
}

/// Whether a list of entity tags has one that is, weakly compared, the same (RFC 9110, 8.8.3.2).
fn matches_tag(mut list: &[u8], tag: Option<&[u8]>) -> bool {
    if list.trim_ascii() == b"*" {
        return true;
    }
    let Some(tag) = tag.map(opaque) else { return false };
    while !list.is_empty() {
        list = list.trim_ascii_start();
        // A comma may stand in a tag, so that the end is where the quotes end.
        let quoted = opaque(list);
        let length = match quoted.first() {
            Some(b'"') => quoted[1..].iter().position(|byte| *byte == b'"').map_or(quoted.len(), |end| end + 2),
            _ => quoted.iter().position(|byte| *byte == b',').unwrap_or(quoted.len()),
        };
        if quoted[..length].trim_ascii_end() == tag {
            return true;
        }
        list = quoted[length..].trim_ascii_start();
        list = list.strip_prefix(b",").unwrap_or(if list.len() == quoted.len() { &[] } else { list });
    }
    false
}

/// A tag without the mark of a weak one.
pub fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::{Demand, has_already, matches_tag};

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let field = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"))
        };
        fields.iter().map(field).collect()
    }

    #[test]
    fn tags_are_compared_weakly_and_whole() {
        for (list, tag, same) in [
            ("\"a\"", "\"a\"", true),
            ("W/\"a\"", "\"a\"", true),
            ("\"a\"", "W/\"a\"", true),
            ("\"b\", \"a\"", "\"a\"", true),
            ("\"b\",W/\"c\" ,\"a\"", "\"a\"", true),
            ("\"b,\"a\"\"", "\"a\"", false),
            ("\"ab\"", "\"a\"", false),
            ("a", "\"a\"", false),
            ("", "\"a\"", false),
            ("*", "\"a\"", true),
        ] {
            assert_eq!(matches_tag(list.as_bytes(), Some(tag.as_bytes())), same, "{list} {tag}");
        }
        assert!(matches_tag(b"*", None) && !matches_tag(b"\"a\"", None));
    }

    #[test]
    fn a_tag_counts_before_a_date() {
        let (old, new) = ("Tue, 01 Jan 2030 00:00:00 GMT", "Wed, 02 Jan 2030 00:00:00 GMT");
        let response = headers(&[("etag", "\"a\""), ("last-modified", old)]);
        assert!(has_already(&headers(&[("if-modified-since", old)]), &response));
        assert!(has_already(&headers(&[("if-modified-since", new)]), &response));
        assert!(!has_already(&headers(&[("if-none-match", "\"b\""), ("if-modified-since", new)]), &response));
        assert!(has_already(&headers(&[("if-none-match", "\"a\""), ("if-modified-since", "never")]), &response));
        assert!(!has_already(&headers(&[("if-modified-since", "never")]), &response));
        assert!(has_already(&headers(&[("if-modified-since", new)]), &headers(&[("date", old)])));
    }

    #[test]
    fn ranges_and_conditions_of_the_original_pass() {
        for field in ["range", "if-range", "if-match", "if-unmodified-since"] {
            assert!(Demand::of(&headers(&[(field, "x")])).passes, "{field}");
        }
        assert!(Demand::of(&headers(&[("cache-control", "no-store")])).passes);
        assert!(Demand::of(&headers(&[("pragma", "No-Cache")])).confirmed);
        assert!(!Demand::of(&headers(&[("pragma", "no-cache"), ("cache-control", "x")])).confirmed);
        assert!(Demand::of(&headers(&[("if-none-match", "\"a\"")])).conditional);
    }

    proptest! {
        #[test]
        fn any_list_of_tags_is_read_to_its_end(list in prop::collection::vec(any::<u8>(), 0..40)) {
            matches_tag(&list, Some(b"\"a\""));
        }
    }
}
