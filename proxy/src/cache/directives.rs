//! `Cache-Control` (RFC 9111, 5.2; RFC 5861): what a request asks of a cache, and what a response allows it.
//!
//! Read once for each message that has it. What cannot be read counts as what keeps least: a lifetime that is no number
//! is none, of two the shorter one holds. A directive's name counts in any case, and never inside quotes.

use http::header::{self, HeaderMap};

/// The longest delta that is told apart from longer ones (RFC 9111, 1.2.2), seconds.
const MAX_DELTA: u64 = 1 << 31;

/// The directives of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Directives {
    /// `no-store`.
    pub no_store: bool,
    /// `no-cache`, with or without names of fields.
    pub no_cache: bool,
    /// `private`, with or without names of fields.
    pub private: bool,
    /// `public`.
    pub public: bool,
    /// `must-revalidate`.
    pub must_revalidate: bool,
    /// `proxy-revalidate`.
    pub proxy_revalidate: bool,
    /// `must-understand`.
    pub must_understand: bool,
    /// `only-if-cached`.
    pub only_if_cached: bool,
    /// `max-age`, seconds.
    pub max_age: Option<u64>,
    /// `s-maxage`, seconds.
    pub s_maxage: Option<u64>,
    /// `min-fresh`, seconds.
    pub min_fresh: Option<u64>,
    /// `max-stale`, seconds; without a number any.
    pub max_stale: Option<u64>,
    /// `stale-while-revalidate`, seconds.
    pub stale_while_revalidate: Option<u64>,
    /// `stale-if-error`, seconds.
    pub stale_if_error: Option<u64>,
}

impl Directives {
    /// The directives of these fields.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut all = Directives::default();
        for value in headers.get_all(header::CACHE_CONTROL) {
            let mut rest = value.as_bytes();
            while !rest.is_empty() {
                let (one, after) = split(rest);
                all.note(one);
                rest = after;
            }
        }
        all
    }

    /// Whether a stale response may never stand in for a fresh one.
    pub fn forbids_stale(&self) -> bool {
        self.must_revalidate || self.proxy_revalidate || self.no_cache
    }

    fn note(&mut self, directive: &[u8]) {
        let (name, value) = match directive.iter().position(|byte| *byte == b'=') {
            Some(at) => (&directive[..at], Some(&directive[at + 1..])),
            None => (directive, None),
        };
        let name = name.trim_ascii().to_ascii_lowercase();
        let least = |known: Option<u64>| {
            let read = value.and_then(delta).unwrap_or(0);
            Some(known.map_or(read, |known| known.min(read)))
        };
        match name.as_slice() {
            b"no-store" => self.no_store = true,
            b"no-cache" => self.no_cache = true,
            b"private" => self.private = true,
            b"public" => self.public = true,
            b"must-revalidate" => self.must_revalidate = true,
            b"proxy-revalidate" => self.proxy_revalidate = true,
            b"must-understand" => self.must_understand = true,
            b"only-if-cached" => self.only_if_cached = true,
            b"max-age" => self.max_age = least(self.max_age),
            b"s-maxage" => self.s_maxage = least(self.s_maxage),
            b"stale-while-revalidate" => self.stale_while_revalidate = least(self.stale_while_revalidate),
            b"stale-if-error" => self.stale_if_error = least(self.stale_if_error),
            // The more is asked for, the less is served from here.
            b"min-fresh" => self.min_fresh = Some(value.and_then(delta).unwrap_or(MAX_DELTA)),
            b"max-stale" => self.max_stale = Some(value.map_or(MAX_DELTA, |value| delta(value).unwrap_or(0))),
            _ => {}
        }
    }
}

/// The first element of a list, and what is left after its comma; commas in quotes are none.
fn split(list: &[u8]) -> (&[u8], &[u8]) {
    let (mut quoted, mut escaped) = (false, false);
    for (index, byte) in list.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => return (&list[..index], &list[index + 1..]),
            _ => {}
        }
    }
    (list, &[])
}

/// A number of seconds, in quotes or not.
fn delta(value: &[u8]) -> Option<u64> {
    let value = value.trim_ascii();
    let value = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = value.iter().try_fold(0u64, |sum, digit| sum.checked_mul(10)?.checked_add(u64::from(digit - b'0')));
    Some(number.unwrap_or(MAX_DELTA).min(MAX_DELTA))
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, header};
    use proptest::prelude::*;

    use super::{Directives, MAX_DELTA};

    fn read(lines: &[&str]) -> Directives {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::CACHE_CONTROL, HeaderValue::from_str(line).expect("a value"));
        }
        Directives::of(&headers)
    }

    #[test]
    fn directives_are_read_as_the_standard_has_them() {
        for (line, max_age) in [
            ("max-age=60", Some(60)),
            ("MaX-AgE=\"60\"", Some(60)),
            ("max-age=0060", Some(60)),
            ("max-age=99999999999999999999", Some(MAX_DELTA)),
            ("max-age=-1", Some(0)),
            ("max-age='60'", Some(0)),
            ("max-age=60.5", Some(0)),
            ("max-age", Some(0)),
            ("a=\"b, max-age=60\"", None),
            ("a=\"b\\\", max-age=60\", max-age=1", Some(1)),
            ("max-age=60, max-age=1", Some(1)),
            ("x-max-age=60", None),
        ] {
            assert_eq!(read(&[line]).max_age, max_age, "{line}");
        }
        let all = read(&["No-Store , private=\"set-cookie\"", "s-maxage=5,, must-revalidate"]);
        assert!(all.no_store && all.private && all.must_revalidate && all.s_maxage == Some(5) && !all.no_cache);
        assert_eq!(read(&["max-stale"]).max_stale, Some(MAX_DELTA));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let mut headers = HeaderMap::new();
                headers.insert(header::CACHE_CONTROL, value);
                Directives::of(&headers);
            }
        }
    }
}
