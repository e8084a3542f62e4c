//! The one form of a path (RFC 3986, 6.2.2): what routes, policies and the upstream read, made once by admission.
//!
//! Dot segments are resolved, be their dots encoded or followed by parameters (`..;x`). Encoded unreserved characters
//! are decoded, a backslash is a slash, and what no path may contain is encoded. `//` stays, and so does an encoded slash
//! or backslash: both are other paths to those who mind. That is Envoy's `normalize_path` with `merge_slashes` off and
//! `path_with_escaped_slashes_action` KEEP_UNCHANGED, and refuses three things more: a path that climbs above its root,
//! dots that whoever decodes `%2F` would climb by, and an escape that only decoding makes.

use std::borrow::Cow;

use http::Uri;
use http::uri::PathAndQuery;

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its dot segments climb above the root.
    Climbs,
    /// Dots stand behind an encoded slash, or an escape behind another.
    Hidden,
    /// A byte that no path has: NUL, or one that is not ASCII.
    Byte,
}

impl Refusal {
    /// What is told to the caller.
    pub fn detail(self) -> &'static str {
        match self {
            Refusal::Climbs => "the path climbs above its root",
            Refusal::Hidden => "the path hides dots or an escape behind an escape",
            Refusal::Byte => "the path has a byte that must be encoded",
        }
    }
}

/// What a byte asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Nothing.
    Plain,
    /// A look at what comes behind it.
    Slash,
    /// The same.
    Percent,
    /// Another form.
    Other,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Other; 256];
    let mut byte = 0x21;
    while byte < 0x7f {
        classes[byte] = match byte as u8 {
            b'/' => Class::Slash,
            b'%' => Class::Percent,
            b'\\' | b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}' => Class::Other,
            _ => Class::Plain,
        };
        byte += 1;
    }
    classes
};

/// The normal form of a path that begins with `/`; the same text where it has it already, which costs one look at each
/// byte and no allocation.
pub fn normal(path: &str) -> Result<Cow<'_, str>, Refusal> {
    if is_normal(path.as_bytes()) {
        return Ok(Cow::Borrowed(path));
    }
    let decoded = decode(path.as_bytes())?;
    let mut kept: Vec<&str> = Vec::new();
    let mut open = false;
    for segment in decoded.split('/').skip(1) {
        if hides_dots(segment) {
            return Err(Refusal::Hidden);
        }
        open = true;
        match dots(segment) {
            Some(1) => {}
            Some(_) => drop(kept.pop().ok_or(Refusal::Climbs)?),
            None => {
                open = false;
                kept.push(segment);
            }
        }
    }
    let mut made = String::with_capacity(decoded.len());
    for segment in kept {
        made.push('/');
        made.push_str(segment);
    }
    if open || made.is_empty() {
        made.push('/');
    }
    Ok(Cow::Owned(made))
}

/// Gives a target another path; its query stays.
pub fn put(target: &mut Uri, mut path: String) -> Result<(), http::Error> {
    if let Some(query) = target.query() {
        path.push('?');
        path.push_str(query);
    }
    let mut parts = std::mem::take(target).into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path)?);
    *target = Uri::from_parts(parts)?;
    Ok(())
}

fn is_normal(path: &[u8]) -> bool {
    let mut at = 0;
    while let Some(byte) = path.get(at) {
        let boundary = match CLASSES[usize::from(*byte)] {
            Class::Plain => None,
            Class::Slash => Some(at + 1),
            Class::Percent => match escaped(&path[at..]) {
                Some(0) => return false,
                Some(byte) if is_unreserved(byte) => return false,
                Some(b'/' | b'\\') => Some(at + 3),
                _ => None,
            },
            Class::Other => return false,
        };
        if boundary.is_some_and(|boundary| begins_with_dots(&path[boundary..])) {
            return false;
        }
        at += 1;
    }
    true
}

/// Whether one or two dots stand there, and then the end, parameters, or a slash in whatever form.
fn begins_with_dots(rest: &[u8]) -> bool {
    let rest = match rest {
        [b'.', b'.', rest @ ..] | [b'.', rest @ ..] => rest,
        _ => return false,
    };
    match rest {
        [] | [b'/' | b'\\' | b';', ..] => true,
        rest => matches!(escaped(rest), Some(b'/' | b'\\' | b'.')),
    }
}

/// Everything but the dot segments.
fn decode(path: &[u8]) -> Result<String, Refusal> {
    let mut made = String::with_capacity(path.len() + 8);
    // Behind a `%` that begins no escape nothing may be decoded, or the two might begin one.
    let mut stray = None;
    let mut at = 0;
    while let Some(byte) = path.get(at).copied() {
        at += 1;
        match byte {
            b'%' => match escaped(&path[at - 1..]) {
                Some(0) => return Err(Refusal::Byte),
                Some(byte) if is_unreserved(byte) => {
                    if stray.is_some_and(|stray| made.len() <= stray + 2) {
                        return Err(Refusal::Hidden);
                    }
                    made.push(char::from(byte));
                    at += 2;
                }
                Some(_) => {
                    made.extend(path[at - 1..at + 2].iter().copied().map(char::from));
                    at += 2;
                }
                None => {
                    stray = Some(made.len());
                    made.push('%');
                }
            },
            b'\\' => made.push('/'),
            0x21..0x7f if CLASSES[usize::from(byte)] == Class::Other => {
                made.push('%');
                made.extend([byte >> 4, byte & 15].map(|digit| char::from(b"0123456789ABCDEF"[usize::from(digit)])));
            }
            0x21..0x7f => made.push(char::from(byte)),
            _ => return Err(Refusal::Byte),
        }
    }
    Ok(made)
}

/// The byte that an escape at the beginning of `text` stands for.
fn escaped(text: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    match text {
        [b'%', high, low, ..] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    }
}

/// RFC 3986, 2.3: encoded or not, it is the same.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// How many dots a segment of nothing else has, one or two, encoded or not (RFC 3986, 5.2.4); parameters behind them
/// change nothing, since servers take them off first.
pub fn dots(segment: &str) -> Option<usize> {
    let (mut rest, mut count) = (segment.split(';').next().unwrap_or_default().as_bytes(), 0);
    while !rest.is_empty() {
        rest = match rest {
            [b'.', rest @ ..] | [b'%', b'2', b'e' | b'E', rest @ ..] => rest,
            _ => return None,
        };
        count += 1;
    }
    matches!(count, 1 | 2).then_some(count)
}

/// Whether a segment is nothing but dots.
pub fn is_dots(segment: &str) -> bool {
    dots(segment).is_some()
}

/// Whether whoever takes an encoded slash, or a backslash, for a slash would find dots in it.
pub fn hides_dots(segment: &str) -> bool {
    let slashes = ["%2f", "%2F", "%5c", "%5C", "\\"];
    if !slashes.iter().any(|slash| segment.contains(slash)) {
        return false;
    }
    let plain = slashes.iter().fold(segment.to_owned(), |text, slash| text.replace(slash, "/"));
    plain.split('/').any(is_dots)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use proptest::prelude::{ProptestConfig, prop_assert, prop_assert_eq, proptest};

    use super::{Refusal, is_dots, normal};

    #[test]
    fn what_is_normal_stays_the_very_same() {
        for path in [
            "/",
            "/a",
            "/a/",
            "/a//b",
            "//",
            "/a.b/.c/..d/...",
            "/a%2Fb",
            "/a%5cb",
            "/a%20b",
            "/%3f%25",
            "/a%zz",
            "/a%",
            "/a;b=.;c",
            "/shop.Catalog/Get",
            "/a:b@c!$&'()*+,=",
            "/a/;/b",
            "/%252e%252e",
            "/a%2Fb.c%2F.d",
            "/a[b]",
        ] {
            assert!(matches!(normal(path), Ok(Cow::Borrowed(same)) if same == path), "{path}: {:?}", normal(path));
        }
    }

    #[test]
    fn a_path_takes_one_form() {
        for (given, expected) in [
            ("/a/../b", "/b"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/.%2e", "/"),
            ("/%2e/x", "/x"),
            ("/a/.", "/a/"),
            ("/a/..", "/"),
            ("/a//../b", "/a/b"),
            ("/%41%7e%2D%5f", "/A~-_"),
            ("/A%2Eb", "/A.b"),
            ("/a\\b", "/a/b"),
            ("/a\\..\\b", "/b"),
            ("/a/..;/b", "/b"),
            ("/a/.;x/b", "/a/b"),
            ("/a/..;x=1;y", "/"),
            ("/a/%2e%2e;x/b", "/b"),
            ("/a/b/..;/..;/c", "/c"),
            ("/a|b\"{}^", "/a%7Cb%22%7B%7D%5E"),
            ("/a/%2e%2e/a%2Fb", "/a%2Fb"),
        ] {
            assert_eq!(normal(given).as_deref(), Ok(expected), "{given}");
        }
    }

    #[test]
    fn what_would_confuse_is_refused() {
        for (given, refusal) in [
            ("/..", Refusal::Climbs),
            ("/../a", Refusal::Climbs),
            ("/a/../../b", Refusal::Climbs),
            ("/..;/a", Refusal::Climbs),
            ("/..%2fadmin", Refusal::Hidden),
            ("/a/..%5Cb", Refusal::Hidden),
            ("/a%2F..%2fb", Refusal::Hidden),
            ("/a%2f.;x", Refusal::Hidden),
            ("/a/%2e%2e%2fb", Refusal::Hidden),
            ("/%%32e%%32e/b", Refusal::Hidden),
            ("/%2%65", Refusal::Hidden),
            ("/a%00", Refusal::Byte),
            ("/a\u{e4}", Refusal::Byte),
            ("/a\u{7f}", Refusal::Byte),
        ] {
            assert_eq!(normal(given), Err(refusal), "{given}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn the_form_is_a_form(
            path in "/(/|\\.|\\.\\.|%|%2|%2e|%2E|%2f|%5C|%41|%00|%25|32|e|;|;x|a|b|\\\\|\\||\u{e4}|2){0,12}"
        ) {
            let Ok(made) = normal(&path) else { return Ok(()) };
            prop_assert!(made.starts_with('/'));
            prop_assert!(matches!(normal(&made), Ok(Cow::Borrowed(_))), "{path} -> {made} -> {:?}", normal(&made));
            // Nor does whoever takes every escape and every slash for what it may mean find dots in it.
            let lower = made.to_ascii_lowercase();
            prop_assert!(!lower.replace("%2f", "/").replace("%5c", "/").split('/').any(is_dots), "{path} -> {made}");
            prop_assert!(!lower.contains("%2e") && !lower.contains('\\'), "{path} -> {made}");
        }

        #[test]
        fn resolving_is_rfc_3986s(segments in proptest::collection::vec("(\\.|\\.\\.|a|b|)", 0..8)) {
            let path = format!("/{}", segments.join("/"));
            // 5.2.4, step by step, with a climb refused.
            let (mut input, mut output) = (path.clone(), String::new());
            let climbs = loop {
                if input.is_empty() { break false }
                if let Some(rest) = input.strip_prefix("/./") { input = format!("/{rest}") }
                else if input == "/." { input = "/".into() }
                else if input.starts_with("/../") || input == "/.." {
                    if output.is_empty() { break true }
                    input = if input == "/.." { "/".into() } else { input[3..].to_owned() };
                    output.truncate(output.rfind('/').unwrap_or(0));
                } else {
                    let end = input[1..].find('/').map_or(input.len(), |at| at + 1);
                    output.push_str(&input[..end]);
                    input = input[end..].to_owned();
                }
            };
            prop_assert_eq!(normal(&path).ok().map(Cow::into_owned), (!climbs).then_some(output));
        }
    }
}
