//! A shared cache of responses (RFC 9111), kept by the caller's proxy.
//!
//! A response that says how long it is fresh needs none of this; the policy switches the cache on, and says what to do
//! where responses say nothing, or not what they should.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use super::{Mode, Origin};
use crate::error::{Code, Problem};
use crate::value::Percent;

/// The most names that a list of key parts has: each is looked up for every request.
pub const MAX_KEY_PARTS: usize = 16;

/// What is kept of a route's responses, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    /// Where the policy came from.
    pub origin: Origin,
    /// Whether it acts.
    pub mode: Mode,
    /// How long responses are fresh, whatever they say themselves.
    pub ttl: Option<Duration>,
    /// How long responses are fresh that do not say it.
    pub default_ttl: Option<Duration>,
    /// How long responses are fresh that say only when they were last changed: this share of the time since then.
    pub heuristic: Percent,
    /// For how long after its freshness a response is served while it is asked for anew, where it does not say it itself
    /// (RFC 5861).
    pub stale_while_revalidate: Option<Duration>,
    /// For how long after its freshness a response is served in the place of a failure, where it does not say it itself
    /// (RFC 5861).
    pub stale_if_error: Option<Duration>,
    /// The longest response that is kept, bytes.
    pub max_bytes: u32,
    /// What tells requests of the same target apart.
    pub key: CacheKey,
    /// What is kept beyond what is safe without asking.
    pub also_store: BTreeSet<AlsoStore>,
    /// Whether what is kept is shared with other proxies, where a proxy knows of a place for that.
    pub shared: bool,
}

/// What tells requests apart, beside their host, path and query. A response's `Vary` tells them apart further.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheKey {
    /// Header fields, by lower-case name.
    pub headers: Vec<Arc<str>>,
    /// The parameters of the query that count, in any order; none: the whole query, as it is.
    pub query: Option<Vec<Arc<str>>>,
    /// Cookies, by name.
    pub cookies: Vec<Arc<str>>,
}

/// What is not kept unless a policy asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlsoStore {
    /// Responses to requests with `Authorization` that do not allow it themselves (RFC 9111, 3.5).
    Authorized,
    /// Responses to requests with a `Cookie` outside the key, that do not say themselves how long they are fresh.
    Cookies,
    /// Responses with `Set-Cookie`; every caller is given the same cookie.
    SetCookie,
    /// Responses with `Cache-Control: private`.
    Private,
}

impl AlsoStore {
    /// Everything that may be asked for, with its word in documents.
    pub const ALL: [(&'static str, AlsoStore); 4] = [
        ("Authorized", AlsoStore::Authorized),
        ("Cookies", AlsoStore::Cookies),
        ("SetCookie", AlsoStore::SetCookie),
        ("Private", AlsoStore::Private),
    ];
}

impl Cache {
    /// The longest response that is kept where nothing is said, bytes.
    pub const DEFAULT_MAX_BYTES: u32 = 1 << 20;
    /// The most that may be said, bytes.
    pub const MOST_MAX_BYTES: u32 = 64 << 20;

    /// A cache that does as responses say.
    pub fn with_defaults(origin: Origin) -> Self {
        Cache {
            origin,
            mode: Mode::Enforce,
            ttl: None,
            default_ttl: None,
            heuristic: Percent::ZERO,
            stale_while_revalidate: None,
            stale_if_error: None,
            max_bytes: Cache::DEFAULT_MAX_BYTES,
            key: CacheKey::default(),
            also_store: BTreeSet::new(),
            shared: false,
        }
    }

    /// It can keep something, and its key is made of names that there can be.
    pub fn check(&self) -> Result<(), Problem> {
        let durations = [
            ("ttl", self.ttl),
            ("defaultTtl", self.default_ttl),
            ("staleWhileRevalidate", self.stale_while_revalidate),
            ("staleIfError", self.stale_if_error),
        ];
        if let Some((field, _)) = durations.iter().find(|(_, length)| length.is_some_and(|length| length.is_zero())) {
            return Err(Problem::invalid("0s", "must be longer than zero").at_field(field));
        }
        if self.ttl.is_some() && self.default_ttl.is_some() {
            let reason = "means nothing beside ttl, which holds for every response";
            return Err(Problem::new(Code::Conflict, reason).at_field("defaultTtl"));
        }
        if !(1..=Cache::MOST_MAX_BYTES).contains(&self.max_bytes) {
            let reason = format!("must be between 1 and {}", Cache::MOST_MAX_BYTES);
            return Err(Problem::invalid(self.max_bytes, reason).at_field("maxBytes"));
        }
        self.key.check().map_err(|problem| problem.at_field("key"))
    }
}

impl CacheKey {
    fn check(&self) -> Result<(), Problem> {
        let query = self.query.as_deref().unwrap_or_default();
        check_names(&self.headers, field_name).map_err(|problem| problem.at_field("headers"))?;
        check_names(query, parameter).map_err(|problem| problem.at_field("query"))?;
        check_names(&self.cookies, cookie).map_err(|problem| problem.at_field("cookies"))
    }
}

fn check_names(names: &[Arc<str>], check: fn(&str) -> Result<(), Problem>) -> Result<(), Problem> {
    if names.len() > MAX_KEY_PARTS {
        return Err(Problem::invalid(names.len(), format!("must have at most {MAX_KEY_PARTS} names")));
    }
    for (index, name) in names.iter().enumerate() {
        check(name).map_err(|problem| problem.at_index(index))?;
        if names[..index].contains(name) {
            return Err(Problem::new(Code::Conflict, "is named twice").with_value(name).at_index(index));
        }
    }
    Ok(())
}

fn field_name(name: &str) -> Result<(), Problem> {
    match HeaderName::from_lowercase(name.as_bytes()) {
        Ok(_) => Ok(()),
        Err(_) => Err(Problem::invalid(name, "must be the name of a header field, in lower case")),
    }
}

/// A name that no parameter has would take all that it was to tell apart for the same.
fn parameter(name: &str) -> Result<(), Problem> {
    match name.is_empty() || name.chars().any(|char| "&=;#".contains(char) || char.is_control()) {
        false => Ok(()),
        true => Err(Problem::invalid(name, "must be the name of a parameter, without '&', '=', ';' and '#'")),
    }
}

/// The same of a cookie.
fn cookie(name: &str) -> Result<(), Problem> {
    match name.is_empty() || name.chars().any(|char| "=;,\"".contains(char) || !char.is_ascii_graphic()) {
        false => Ok(()),
        true => {
            Err(Problem::invalid(name, "must be the name of a cookie, of visible ASCII without '=', ';', ',' and '\"'"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Cache, CacheKey};
    use crate::policy::Origin;

    #[test]
    fn a_cache_can_keep_something_by_a_key_that_can_be() {
        let plain = Cache::with_defaults(Origin::default());
        assert_eq!(plain.check(), Ok(()));
        let second = Some(Duration::from_secs(1));
        let key = |headers: &[&str], query: &[&str]| {
            let names = |list: &[&str]| list.iter().map(|name| (*name).into()).collect::<Vec<_>>();
            CacheKey { headers: names(headers), query: Some(names(query)), cookies: Vec::new() }
        };
        for (wrong, path) in [
            (Cache { ttl: Some(Duration::ZERO), ..plain.clone() }, "ttl"),
            (Cache { ttl: second, default_ttl: second, ..plain.clone() }, "defaultTtl"),
            (Cache { max_bytes: 0, ..plain.clone() }, "maxBytes"),
            (Cache { key: key(&["X-Tenant"], &[]), ..plain.clone() }, "key.headers[0]"),
            (Cache { key: key(&["a b"], &[]), ..plain.clone() }, "key.headers[0]"),
            (Cache { key: key(&[], &["page", "page"]), ..plain.clone() }, "key.query[1]"),
            (Cache { key: key(&[], &[""]), ..plain.clone() }, "key.query[0]"),
            (Cache { key: key(&[], &["page", "a&b"]), ..plain.clone() }, "key.query[1]"),
            (Cache { key: CacheKey { cookies: vec!["a;b".into()], ..CacheKey::default() }, ..plain }, "key.cookies[0]"),
        ] {
            assert_eq!(wrong.check().expect_err(path).path, path);
        }
    }
}
