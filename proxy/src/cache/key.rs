//! What requests must have in common to be given the same response: host, path and query, and what a policy adds.
//!
//! A key is bytes, written anew for each request into a buffer that the thread keeps, so that looking up allocates
//! nothing. A request's bytes hold no NUL: it ends a part, and no two different requests have the same key.
//!
//! Where fields of the request are part of it, one target has many keys, which must all be forgotten when it is changed
//! (RFC 9111, 4.4). So each of them has a number of the target's in it, and when that is another none is found again.

use std::borrow::Cow;
use std::cell::RefCell;
use std::ops::Range;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use outrigger_config::policy::cache::CacheKey;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Ends a part of a key.
const END: u8 = 0;

/// Where in a key the target's number is, after the table's eight bytes; no number is in the key of the target itself.
const NUMBER: Range<usize> = 8..16;

/// Where in a key that has fields after its target it says where the target ends.
const TARGET: Range<usize> = 16..20;

/// How a route makes keys.
#[derive(Debug)]
pub struct KeyRule {
    /// What the keys of one table of routes begin with.
    table: [u8; 8],
    headers: Box<[HeaderName]>,
    query: Option<Box<[Box<str>]>>,
    cookies: Box<[Box<str>]>,
}

impl KeyRule {
    /// As a policy says; the keys of two tables are never the same.
    pub fn new(table: &str, config: &CacheKey) -> Self {
        let names = |names: &[std::sync::Arc<str>]| names.iter().map(|name| Box::from(&**name)).collect::<Box<[_]>>();
        let digest = *blake3::hash(table.as_bytes()).as_bytes();
        KeyRule {
            table: std::array::from_fn(|index| digest[index]),
            headers: config.headers.iter().filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok()).collect(),
            query: config.query.as_deref().map(names),
            cookies: names(&config.cookies),
        }
    }

    /// Whether cookies are part of the key.
    pub fn has_cookies(&self) -> bool {
        !self.cookies.is_empty()
    }

    /// Whether one target has many keys.
    fn has_fields(&self) -> bool {
        !self.headers.is_empty() || self.has_cookies()
    }

    /// Gives the key of a request to `then`. `number` finds the number of the target whose key it is given; it is not
    /// asked where each target has one key alone.
    pub fn with<T>(
        &self,
        authority: &HeaderValue,
        target: Option<&PathAndQuery>,
        headers: &HeaderMap,
        number: impl FnOnce(&[u8]) -> u64,
        then: impl FnOnce(&[u8]) -> T,
    ) -> T {
        in_buffer(|key| {
            self.write_target(key, authority, target);
            if self.has_fields() {
                let number = number(key).to_le_bytes();
                let end = u32::try_from(key.len()).unwrap_or(u32::MAX).to_le_bytes();
                key[NUMBER].copy_from_slice(&number);
                key[TARGET].copy_from_slice(&end);
                self.write_fields(key, headers);
            }
            then(key)
        })
    }

    /// Gives the key of a target to `then`: by it everything that is kept of the target is forgotten. Where no field is
    /// part of the key, it is the key of each request for it.
    pub fn with_target<T>(
        &self,
        authority: &HeaderValue,
        target: Option<&PathAndQuery>,
        then: impl FnOnce(&[u8]) -> T,
    ) -> T {
        in_buffer(|key| {
            self.write_target(key, authority, target);
            then(key)
        })
    }

    fn write_target(&self, key: &mut Vec<u8>, authority: &HeaderValue, target: Option<&PathAndQuery>) {
        key.extend_from_slice(&self.table);
        key.extend_from_slice(&[0; TARGET.end - NUMBER.start]);
        key.extend_from_slice(authority.as_bytes());
        key.push(END);
        match (target, &self.query) {
            (None, _) => key.push(b'/'),
            (Some(target), None) => key.extend_from_slice(target.as_str().as_bytes()),
            (Some(target), Some(names)) => {
                key.extend_from_slice(target.path().as_bytes());
                let query = target.query().unwrap_or_default();
                // Some services take `;` for `&`: where there is one, it cannot be told which parameters they see.
                if query.contains(';') {
                    key.extend([END, b';']);
                    key.extend_from_slice(query.as_bytes());
                }
                for name in names {
                    key.push(END);
                    write_parameter(key, query, name);
                }
            }
        }
    }

    fn write_fields(&self, key: &mut Vec<u8>, headers: &HeaderMap) {
        for name in &self.headers {
            key.push(END);
            write_field(key, headers, name);
        }
        for name in &self.cookies {
            key.push(END);
            write_cookie(key, headers, name);
        }
    }
}

fn in_buffer<T>(then: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    BUFFER.with(|buffer| match buffer.try_borrow_mut() {
        Ok(mut buffer) => {
            buffer.clear();
            then(&mut buffer)
        }
        // One key inside another's use.
        Err(_) => then(&mut Vec::new()),
    })
}

/// All values of a parameter, in their order; one that is absent differs from one that is empty.
fn write_parameter(key: &mut Vec<u8>, query: &str, name: &str) {
    for pair in query.split('&') {
        let (given, value) = pair.split_once('=').unwrap_or((pair, ""));
        if is_spelled(given, name) {
            // No value has it in it.
            key.push(b'&');
            key.extend_from_slice(value.as_bytes());
        }
    }
}

/// Whether this is the name, as it is or encoded: the service sees the same.
fn is_spelled(given: &str, name: &str) -> bool {
    if given == name || !given.bytes().any(|byte| byte == b'%' || byte == b'+') {
        return given == name;
    }
    let (mut rest, mut wanted) = (given.as_bytes(), name.bytes());
    while let Some(byte) = next_decoded(&mut rest) {
        if wanted.next() != Some(byte) {
            return false;
        }
    }
    wanted.next().is_none()
}

/// The next byte of a form's text, decoded.
fn next_decoded(text: &mut &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (byte, rest) = match *text {
        [b'%', high, low, rest @ ..] => match (digit(*high), digit(*low)) {
            (Some(high), Some(low)) => (high << 4 | low, rest),
            _ => (b'%', &text[1..]),
        },
        [b'+', rest @ ..] => (b' ', rest),
        [byte, rest @ ..] => (*byte, rest),
        [] => return None,
    };
    *text = rest;
    Some(byte)
}

fn write_field(key: &mut Vec<u8>, headers: &HeaderMap, name: &HeaderName) {
    if let Some(value) = joined(headers, name) {
        key.push(b'=');
        key.extend_from_slice(&value);
    }
}

fn write_cookie(key: &mut Vec<u8>, headers: &HeaderMap, name: &str) {
    for crumbs in headers.get_all(header::COOKIE) {
        for crumb in crumbs.as_bytes().split(|byte| *byte == b';') {
            let end = crumb.iter().position(|byte| *byte == b'=').unwrap_or(crumb.len());
            if crumb[..end].trim_ascii() == name.as_bytes() {
                // No value has it in it.
                key.push(b';');
                key.extend_from_slice(crumb[end..].trim_ascii_end());
            }
        }
    }
}

/// All lines of a field as one, which means the same (RFC 9110, 5.3); none where there is none.
pub fn joined<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Cow<'a, [u8]>> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next()?;
    let Some(second) = lines.next() else { return Some(Cow::Borrowed(first.as_bytes())) };
    let mut all = first.as_bytes().to_vec();
    for line in std::iter::once(second).chain(lines) {
        all.extend_from_slice(b", ");
        all.extend_from_slice(line.as_bytes());
    }
    Some(Cow::Owned(all))
}

/// A key as its target's, which other proxies know too, and the fields that are part of it.
pub fn divided(key: &[u8]) -> (Cow<'_, [u8]>, &[u8]) {
    let end = key.get(TARGET).and_then(|end| end.try_into().ok()).map_or(0, u32::from_le_bytes);
    let end = usize::try_from(end).unwrap_or(usize::MAX);
    match key.split_at_checked(end).filter(|_| end >= TARGET.end) {
        Some((target, part)) => {
            let mut target = target.to_vec();
            target[NUMBER.start..TARGET.end].fill(0);
            (Cow::Owned(target), part)
        }
        None => (Cow::Borrowed(key), &[]),
    }
}

/// A key for people, as the content of a structured field's string: printable ASCII, quotes escaped.
pub fn shown(key: &[u8]) -> String {
    let mut text = String::with_capacity(key.len());
    for byte in key.iter().skip(TARGET.end).take(512) {
        match byte {
            b'"' | b'\\' => text.extend(['\\', char::from(*byte)]),
            // Between host and path nothing stands, between further parts something must.
            &END if !text.contains('/') => {}
            &END => text.push(' '),
            0x20..0x7f => text.push(char::from(*byte)),
            _ => text.push('?'),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue, Uri};
    use outrigger_config::policy::cache::CacheKey;
    use proptest::prelude::*;

    use super::{KeyRule, divided, shown};

    fn rule(headers: &[&str], query: Option<&[&str]>, cookies: &[&str]) -> KeyRule {
        let names = |names: &[&str]| names.iter().map(|name| (*name).into()).collect::<Vec<_>>();
        let key = CacheKey { headers: names(headers), query: query.map(names), cookies: names(cookies) };
        KeyRule::new("table", &key)
    }

    fn key(rule: &KeyRule, target: &str, fields: &[(&str, &str)]) -> Vec<u8> {
        let uri: Uri = target.parse().expect("a target");
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            headers.append(name, HeaderValue::from_str(value).expect("a value"));
        }
        rule.with(&HeaderValue::from_static("shop"), uri.path_and_query(), &headers, |_| 7, <[u8]>::to_vec)
    }

    #[test]
    fn no_key_of_a_target_is_found_again_when_its_number_is_another() {
        let target = |rule: &KeyRule| {
            let uri = Uri::from_static("/a");
            rule.with_target(&HeaderValue::from_static("shop"), uri.path_and_query(), <[u8]>::to_vec)
        };
        let plain = rule(&[], None, &[]);
        assert_eq!(key(&plain, "/a", &[]), target(&plain));
        let keyed = rule(&["x-tenant"], None, &[]);
        let mut keys = std::collections::BTreeSet::new();
        for (number, tenant) in [(1, "t"), (1, "u"), (2, "t"), (2, "u")] {
            let headers =
                HeaderMap::from_iter([(HeaderName::from_static("x-tenant"), HeaderValue::from_static(tenant))]);
            let uri = Uri::from_static("/a");
            let number = |of: &[u8]| {
                assert_eq!(of, target(&plain));
                number
            };
            let host = HeaderValue::from_static("shop");
            keys.insert(keyed.with(&host, uri.path_and_query(), &headers, number, <[u8]>::to_vec));
        }
        keys.insert(target(&keyed));
        assert_eq!(keys.len(), 5);
        // Other proxies have other numbers.
        let parts: std::collections::BTreeSet<_> = keys.iter().map(|key| divided(key).1).collect();
        assert_eq!(parts, [&b""[..], b"\0=t", b"\0=u"].into());
        assert!(keys.iter().all(|key| divided(key).0 == target(&plain)));
    }

    #[test]
    fn only_what_counts_tells_requests_apart() {
        let plain = rule(&[], None, &[]);
        assert_ne!(key(&plain, "/a?b=1", &[]), key(&plain, "/a?b=2", &[]));
        assert_eq!(key(&plain, "/a", &[("x-tenant", "1")]), key(&plain, "/a", &[]));
        let named = rule(&["x-tenant"], Some(&["page", "size"]), &["lang"]);
        assert_eq!(key(&named, "/a?page=1&utm=x", &[]), key(&named, "/a?utm=y&page=1", &[]));
        assert_eq!(key(&named, "/a?size=2&page=1", &[]), key(&named, "/a?page=1&size=2", &[]));
        assert_ne!(key(&named, "/a?page=1%3D2&page=2", &[]), key(&named, "/a?page=1%3D2%26page=2", &[]));
        assert_ne!(key(&named, "/a?page=1=2", &[]), key(&named, "/a?page=1&page=2", &[]));
        for other in ["/a", "/a?page=2", "/a?page=1&page=2", "/a?page=", "/a?size=1"] {
            assert_ne!(key(&named, "/a?page=1", &[]), key(&named, other, &[]), "{other}");
        }
        assert_ne!(key(&named, "/a", &[("x-tenant", "1")]), key(&named, "/a", &[("x-tenant", "2")]));
        assert_ne!(key(&named, "/a", &[("x-tenant", "")]), key(&named, "/a", &[]));
        assert_ne!(key(&named, "/a", &[("cookie", "lang=de")]), key(&named, "/a", &[("cookie", "lang=en")]));
        assert_eq!(key(&named, "/a", &[("cookie", "a=1; lang=de")]), key(&named, "/a", &[("cookie", "lang=de; a=2")]));
        let elsewhere = KeyRule::new("another table", &CacheKey::default());
        assert_ne!(key(&plain, "/a", &[]), key(&elsewhere, "/a", &[]));
    }

    #[test]
    fn another_spelling_of_a_parameter_is_no_way_around_the_key() {
        let named = rule(&[], Some(&["page"]), &["lang"]);
        // Services decode names, and some take `;` for `&`.
        for cloaked in ["/a?page=1&p%61ge=2", "/a?page=1&%70age=2", "/a?page=1&x=1;page=2", "/a?page=1;page=2"] {
            assert_ne!(key(&named, "/a?page=1", &[]), key(&named, cloaked, &[]), "{cloaked}");
        }
        assert_ne!(key(&named, "/a?x=1;page=2", &[]), key(&named, "/a?x=1;page=3", &[]));
        assert_ne!(key(&named, "/a", &[("cookie", "lang =de")]), key(&named, "/a", &[]));
    }

    #[test]
    fn people_can_read_a_key() {
        let named = rule(&["x-tenant"], None, &[]);
        assert_eq!(shown(&key(&named, "/a?b", &[("x-tenant", "\"7")])), "shop/a?b =\\\"7");
    }

    proptest! {
        #[test]
        fn different_parts_make_different_keys(
            one in ("/[a-c]{0,3}", prop::option::of("[a-b=&]{0,6}"), prop::option::of("[a-b=]{0,3}")),
            two in ("/[a-c]{0,3}", prop::option::of("[a-b=&]{0,6}"), prop::option::of("[a-b=]{0,3}")),
        ) {
            let rule = rule(&["x-a"], None, &[]);
            let make = |(path, query, field): &(String, Option<String>, Option<String>)| {
                let target = query.as_ref().map_or_else(|| path.clone(), |query| format!("{path}?{query}"));
                let fields: Vec<_> = field.iter().map(|value| ("x-a", value.as_str())).collect();
                key(&rule, &target, &fields)
            };
            prop_assert_eq!(one == two, make(&one) == make(&two));
        }
    }
}
