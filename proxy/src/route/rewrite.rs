//! What a path becomes when a part of it is replaced (Gateway API `HTTPPathModifier`).
//!
//! A rewritten path never leaves the subtree that the replacement names: what came behind the matched prefix is brought
//! into its normal form first, and a request whose dots would climb out of it is refused. Nothing is doubled: `/a`
//! replaced by `/` makes `/b` of `/a/b`.

use outrigger_config::matching::PathMatch;
use outrigger_config::rewrite::PathRewrite;

use crate::path::{dots, hides_dots, is_dots};

/// The rest of the path would leave the subtree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Climbs;

/// The path that `path`, which `matched` took, is rewritten to.
pub fn path(path: &str, matched: &PathMatch, rewrite: &PathRewrite) -> Result<String, Climbs> {
    let replacement = match rewrite {
        PathRewrite::Full(full) => return Ok(full.to_string()),
        PathRewrite::Prefix(replacement) => &**replacement,
    };
    let (base, rest) = match matched {
        PathMatch::Prefix(prefix) => (trimmed(replacement), path.strip_prefix(trimmed(prefix)).unwrap_or_default()),
        // Bytes are replaced by bytes; what is left of a cut segment belongs to the replacement's last.
        PathMatch::RawPrefix(prefix) => {
            let rest = path.strip_prefix(&**prefix).unwrap_or_default();
            return replace_bytes(replacement, rest);
        }
        PathMatch::Exact(_) | PathMatch::Regex(_) | PathMatch::Template(_) => (trimmed(replacement), ""),
    };
    join(base, rest)
}

fn replace_bytes(replacement: &str, rest: &str) -> Result<String, Climbs> {
    if replacement.ends_with('/') || rest.is_empty() || rest.starts_with('/') {
        let rest = if rest.is_empty() && !replacement.ends_with('/') { String::new() } else { format!("/{rest}") };
        return join(trimmed(replacement), &rest);
    }
    let end = rest.find('/').unwrap_or(rest.len());
    let (glued, rest) = rest.split_at(end);
    let base = format!("{replacement}{glued}");
    let last = base.rsplit('/').next().unwrap_or_default();
    if is_dots(last) || hides_dots(last) {
        return Err(Climbs);
    }
    join(&base, rest)
}

/// `base` and the normal form of `rest`, which is empty or begins with `/`.
fn join(base: &str, rest: &str) -> Result<String, Climbs> {
    let mut kept: Vec<&str> = Vec::new();
    let mut open = false;
    for segment in rest.split('/').skip(1) {
        open = segment.is_empty() || is_dots(segment);
        if segment.is_empty() {
            continue;
        }
        if hides_dots(segment) {
            return Err(Climbs);
        }
        match dots(segment) {
            Some(1) => {}
            Some(_) => drop(kept.pop().ok_or(Climbs)?),
            None => kept.push(segment),
        }
    }
    let mut made = String::with_capacity(base.len() + rest.len() + 1);
    made.push_str(base);
    for segment in kept {
        made.push('/');
        made.push_str(segment);
    }
    if open || made.is_empty() {
        made.push('/');
    }
    Ok(made)
}

fn trimmed(path: &str) -> &str {
    path.strip_suffix('/').unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use outrigger_config::matching::PathMatch;
    use outrigger_config::rewrite::PathRewrite;
    use proptest::prelude::{prop_assert, proptest};

    use super::{Climbs, path};

    fn prefix(given: &str, matched: &str, replacement: &str) -> Result<String, Climbs> {
        path(given, &PathMatch::Prefix(matched.into()), &PathRewrite::Prefix(replacement.into()))
    }

    #[test]
    fn the_table_of_gateway_api() {
        for (given, matched, replacement, expected) in [
            ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
            ("/foo", "/foo", "/xyz", "/xyz"),
            ("/foo/", "/foo", "/xyz", "/xyz/"),
            ("/foo/bar", "/foo", "/", "/bar"),
            ("/foo/", "/foo", "/", "/"),
            ("/foo", "/foo", "/", "/"),
            ("/bar", "/", "/xyz", "/xyz/bar"),
            ("/", "/", "/xyz", "/xyz/"),
        ] {
            assert_eq!(prefix(given, matched, replacement).as_deref(), Ok(expected), "{given} {matched} {replacement}");
        }
        let full = PathRewrite::Full("/one".into());
        assert_eq!(path("/foo/../bar", &PathMatch::Prefix("/foo".into()), &full).as_deref(), Ok("/one"));
    }

    #[test]
    fn what_comes_behind_is_brought_into_its_normal_form() {
        for (given, expected) in [
            ("/foo//bar", "/xyz/bar"),
            ("/foo/./bar/", "/xyz/bar/"),
            ("/foo/a/../bar", "/xyz/bar"),
            ("/foo/a/%2e%2E/bar", "/xyz/bar"),
            ("/foo/a/..", "/xyz/"),
            ("/foo/a%2Fb", "/xyz/a%2Fb"),
            ("/foo/...", "/xyz/..."),
        ] {
            assert_eq!(prefix(given, "/foo", "/xyz").as_deref(), Ok(expected), "{given}");
        }
    }

    #[test]
    fn nothing_climbs_out() {
        for given in
            ["/foo/..", "/foo/../a", "/foo/a/../../b", "/foo/%2e./b", "/foo/..%2fb", "/foo/a%5c..%5cb", "/foo/a\\..\\b"]
        {
            assert_eq!(prefix(given, "/foo", "/xyz"), Err(Climbs), "{given}");
        }
    }

    #[test]
    fn bytes_are_replaced_by_bytes() {
        let raw = |given: &str, matched: &str, replacement: &str| {
            path(given, &PathMatch::RawPrefix(matched.into()), &PathRewrite::Prefix(replacement.into()))
        };
        for (given, matched, replacement, expected) in [
            ("/api/v1", "/api/", "/", "/v1"),
            ("/api/v1", "/api", "/", "/v1"),
            ("/api/v1", "/api/v", "/version-", "/version-1"),
            ("/api", "/api", "/b", "/b"),
            ("/api/", "/api", "/b", "/b/"),
        ] {
            assert_eq!(raw(given, matched, replacement).as_deref(), Ok(expected), "{given} {matched} {replacement}");
        }
        assert_eq!(raw("/api../x", "/api", "/b/"), Err(Climbs));
        assert_eq!(raw("/api./x", "/api", "/."), Err(Climbs));
    }

    proptest! {
        #[test]
        fn whatever_comes_stays_in_the_subtree(rest in "(/(\\.|\\.\\.|%2e|%2E\\.|a|b%2f|\\.\\.%5c|)){0,8}") {
            if let Ok(made) = prefix(&format!("/foo{rest}"), "/foo", "/xyz") {
                prop_assert!(made == "/xyz" || made.starts_with("/xyz/"), "{made}");
                prop_assert!(!made.contains("//") && !made.split('/').any(crate::path::is_dots), "{made}");
            }
        }
    }
}
