//! Whether a response may be kept, and for how long it is fresh (RFC 9111, 3 and 4.2; RFC 5861).
//!
//! `http-cache-semantics` decides what may be stored and works the lifetime out. It is told only what it reads as the
//! newest standard has it: directives in one canonical form (it knows them in lower case alone, and any comma ends one),
//! dates in the one current format, no `Age`, and a final status it has no word for as
//! 200, where the response says itself how long it is fresh (RFC 9111 lets a cache keep every status then; the library
//! follows its predecessor). What policies add stands here.

use std::time::{Duration, Instant, SystemTime};

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_cache_semantics::{CacheOptions, CachePolicy};
use outrigger_config::policy::Cache as Policy;
use outrigger_config::policy::cache::AlsoStore;

use super::date::date;
use super::directives::Directives;

/// An age beyond every lifetime, seconds.
const ANCIENT: u64 = 1 << 32;

/// Statuses that are kept where the response says nothing of how long (RFC 9110, 15.1), without 206.
const BY_DEFAULT: [u16; 11] = [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501];

/// How long a response that is kept may be served, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// When its head came.
    pub received: Instant,
    /// How old it was then.
    pub initial_age: Duration,
    /// Up to what age it is fresh.
    pub lifetime: Duration,
    /// For how long after that it is served while it is asked for anew.
    pub while_revalidate: Duration,
    /// For how long after that it is served in the place of a failure.
    pub if_error: Duration,
    /// It is never served without being confirmed.
    pub confirm: bool,
    /// It is never served stale, not even to callers who would take it.
    pub strict: bool,
}

impl Freshness {
    /// How old it is.
    pub fn age(&self, now: Instant) -> Duration {
        self.initial_age + now.saturating_duration_since(self.received)
    }

    /// For how long it stays fresh, or for how long it has not been.
    pub fn left(&self, now: Instant) -> Result<Duration, Duration> {
        let age = self.age(now);
        if age < self.lifetime { Ok(self.lifetime - age) } else { Err(age - self.lifetime) }
    }

    /// Whether it may be served at `now` in the place of a failure.
    pub fn stands_in(&self, now: Instant) -> bool {
        self.left(now).is_ok_and(|_| !self.confirm) || self.left(now).is_err_and(|stale| stale < self.if_error)
    }
}

/// Why a response is not kept, in a word for `Cache-Status`.
pub type Refusal = &'static str;

/// A request whose response may be kept.
#[derive(Debug)]
pub struct Asked<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its fields.
    pub headers: &'a HeaderMap,
    /// When it went out.
    pub sent: Instant,
    /// Whether its cookies are part of its key.
    pub keyed_by_cookies: bool,
}

/// Whether the response with this head may be kept, and for how long it is fresh; it came at `now`.
pub fn judge(
    policy: &Policy,
    asked: &Asked<'_>,
    status: StatusCode,
    headers: &HeaderMap,
    (now, wall): (Instant, SystemTime),
) -> Result<Freshness, Refusal> {
    if status == StatusCode::PARTIAL_CONTENT || status == StatusCode::NOT_MODIFIED || status.is_informational() {
        return Err("status");
    }
    let told = |what| policy.also_store.contains(&what);
    let said = Directives::of(headers);
    if said.no_store {
        return Err("no-store");
    }
    if said.private && !told(AlsoStore::Private) {
        return Err("private");
    }
    if headers.contains_key(header::SET_COOKIE) && !told(AlsoStore::SetCookie) {
        return Err("set-cookie");
    }
    if headers.contains_key(header::TRAILER) {
        return Err("trailers");
    }
    let explicit = said.max_age.is_some() || said.s_maxage.is_some() || headers.contains_key(header::EXPIRES);
    let cookies = asked.headers.contains_key(header::COOKIE) && !asked.keyed_by_cookies;
    if cookies && !explicit && !said.public && !told(AlsoStore::Cookies) {
        return Err("cookies");
    }
    let by_default = BY_DEFAULT.contains(&status.as_u16());
    let understood = by_default || matches!(status.as_u16(), 302 | 303 | 307);
    if (said.must_understand && !understood) || !(by_default || explicit || said.public) {
        return Err("status");
    }
    let library = consult(policy, asked, (status, headers), &said, wall);
    if !library.is_storable() {
        return Err(if asked.headers.contains_key(header::AUTHORIZATION) { "authorization" } else { "not-storable" });
    }
    let response_delay = now.saturating_duration_since(asked.sent);
    let age = match headers.contains_key(header::AGE) {
        true => Duration::from_secs(age(headers)) + response_delay,
        false => Duration::ZERO,
    };
    // A date has no parts of a second, so that one second says nothing.
    let apparent = date(headers, &header::DATE).and_then(|date| wall.duration_since(date).ok()).unwrap_or_default();
    let initial_age = age.max(apparent.saturating_sub(Duration::from_secs(1)));
    let lifetime = match (policy.ttl, policy.default_ttl) {
        (Some(ttl), _) => ttl,
        (None, Some(ttl)) if !explicit && by_default && !said.no_cache => ttl,
        // It knows of no age: all of the lifetime is left.
        _ => library.time_to_live(wall),
    };
    // A shared cache takes s-maxage for proxy-revalidate (RFC 9111, 5.2.2.10), but where a response says both that and
    // how long it may be stale, that is what it means.
    let strict = said.must_revalidate || said.proxy_revalidate || (said.no_cache && policy.ttl.is_none());
    let window = |own: Option<u64>, policy: Option<Duration>| match own.map(Duration::from_secs) {
        _ if strict => Duration::ZERO,
        None if said.s_maxage.is_some() => Duration::ZERO,
        own => own.or(policy).unwrap_or_default(),
    };
    let freshness = Freshness {
        received: now,
        initial_age: if policy.ttl.is_some() { Duration::ZERO } else { initial_age },
        lifetime,
        while_revalidate: window(said.stale_while_revalidate, policy.stale_while_revalidate),
        if_error: window(said.stale_if_error, policy.stale_if_error),
        confirm: said.no_cache && policy.ttl.is_none(),
        strict: strict || said.s_maxage.is_some(),
    };
    let confirmable = headers.contains_key(header::ETAG) || headers.contains_key(header::LAST_MODIFIED);
    let served = freshness.left(now).is_ok() && !freshness.confirm;
    let stale = freshness.if_error.max(freshness.while_revalidate);
    if !served && !confirmable && freshness.left(now).is_err_and(|by| by >= stale) {
        return Err("not-fresh");
    }
    Ok(freshness)
}

/// Asks the library, with heads in the form that it reads.
fn consult(
    policy: &Policy,
    asked: &Asked<'_>,
    (status, headers): (StatusCode, &HeaderMap),
    said: &Directives,
    wall: SystemTime,
) -> CachePolicy {
    let mut request = Request::new(());
    request.method_mut().clone_from(asked.method);
    if asked.headers.contains_key(header::AUTHORIZATION) && !policy.also_store.contains(&AlsoStore::Authorized) {
        request.headers_mut().insert(header::AUTHORIZATION, HeaderValue::from_static("present"));
    }
    let mut response = Response::new(());
    // Whether the status is one to keep is decided: the library need only know one.
    *response.status_mut() = StatusCode::OK;
    let fields = response.headers_mut();
    let mut directives = Vec::new();
    let mut add = |name: &str, value: Option<u64>| directives.extend(value.map(|value| format!("{name}={value}")));
    add("max-age", said.max_age);
    add("s-maxage", said.s_maxage);
    for (name, there) in
        [("public", said.public), ("no-cache", said.no_cache), ("must-revalidate", said.must_revalidate)]
    {
        directives.extend(there.then(|| name.to_owned()));
    }
    if let Ok(value) = HeaderValue::from_str(&directives.join(", "))
        && !directives.is_empty()
    {
        fields.insert(header::CACHE_CONTROL, value);
    }
    for name in [header::DATE, header::LAST_MODIFIED] {
        if let Some(date) = date(headers, &name).and_then(canonical) {
            fields.insert(name, date);
        }
    }
    if headers.contains_key(header::EXPIRES) {
        // One that cannot be read, or of which there are two, has passed (RFC 9111, 5.3).
        let several = headers.get_all(header::EXPIRES).iter().nth(1).is_some();
        let date = date(headers, &header::EXPIRES).filter(|_| !several).and_then(canonical);
        fields.insert(header::EXPIRES, date.unwrap_or(HeaderValue::from_static("0")));
    }
    // By default what was changed long ago is taken to change seldom; here only where a policy says so, and for the
    // statuses for which that is allowed.
    let by_default = BY_DEFAULT.contains(&status.as_u16()) || said.public;
    let options = CacheOptions {
        shared: true,
        cache_heuristic: if by_default { policy.heuristic.ratio() as f32 } else { 0.0 },
        immutable_min_time_to_live: Duration::ZERO,
        ignore_cargo_cult: false,
    };
    CachePolicy::new_options(&request, &response, wall, options)
}

fn canonical(date: SystemTime) -> Option<HeaderValue> {
    HeaderValue::try_from(httpdate::fmt_http_date(date)).ok()
}

/// `Age`; anything but one number is very old, since it came from a cache that cannot count.
fn age(headers: &HeaderMap) -> u64 {
    let mut lines = headers.get_all(header::AGE).iter();
    let first = lines.next().map(|age| age.as_bytes()).unwrap_or_default();
    let number = first.iter().all(u8::is_ascii_digit) && lines.next().is_none();
    let text = std::str::from_utf8(first).ok().filter(|_| number);
    text.and_then(|text| text.parse().ok()).unwrap_or(ANCIENT).min(ANCIENT)
}

#[cfg(test)]
impl Freshness {
    /// Of a minute for whatever came now, for tests.
    pub(super) fn plain(received: Instant) -> Self {
        Freshness {
            received,
            initial_age: Duration::ZERO,
            lifetime: Duration::from_secs(60),
            while_revalidate: Duration::ZERO,
            if_error: Duration::ZERO,
            confirm: false,
            strict: false,
        }
    }
}

#[cfg(test)]
mod tests;
