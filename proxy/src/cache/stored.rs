//! A response that is kept: its head in the form in which it is served, its body, which requests it is for, and how
//! long it is fresh.
//!
//! All that can be worked out when it is stored is, so that serving it copies a head, writes two numbers into it and
//! shares the body. Its bytes are its own: a slice of a connection's buffer would keep all of that buffer alive.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};

use super::demand::{Demand, opaque};
use super::freshness::{Freshness, Refusal};
use super::key::joined;
use super::status::CACHE_STATUS;
use crate::body::Body;

/// The most field names that a response may vary by.
pub const MAX_VARY: usize = 16;

/// What a field costs in memory beside its bytes, roughly.
const FIELD_COST: usize = 64;

/// What a response costs in memory beside its bytes, roughly.
const FIXED_COST: usize = 512;

/// Fields of an answer to one request on one connection; none is kept (RFC 9111, 3.1).
const NEVER_KEPT: [&str; 9] = [
    "age",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "upgrade",
];

/// Fields that a confirmation does not change: they describe the body that is kept (RFC 9111, 3.2), or name it.
const NOT_UPDATED: [HeaderName; 4] =
    [header::CONTENT_ENCODING, header::CONTENT_LENGTH, header::CONTENT_RANGE, header::ETAG];

/// What of a kept response a 304 repeats (RFC 9110, 15.4.5).
const IN_NOT_MODIFIED: [HeaderName; 7] = [
    header::AGE,
    header::CACHE_CONTROL,
    header::CONTENT_LOCATION,
    header::DATE,
    header::ETAG,
    header::EXPIRES,
    header::VARY,
];

/// A field that a response varies by, and what its request had there.
pub type Varied = (HeaderName, Option<Box<[u8]>>);

/// Which requests a response is for, beside those with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// The route and policy that it was kept under; another one may treat it otherwise.
    scope: u64,
    /// The fields that it varies by, and what the request had there.
    vary: Box<[Varied]>,
}

impl Selector {
    /// Which requests the response with the fields `response` is for, that was made for `request`; none if for no other.
    pub fn new(scope: u64, request: &HeaderMap, response: &HeaderMap) -> Result<Self, Refusal> {
        let mut names = Vec::new();
        for line in response.get_all(header::VARY) {
            for name in line.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                // `*`, and what is no name, may mean anything.
                match HeaderName::from_bytes(name) {
                    _ if name.is_empty() => {}
                    _ if name == b"*" => return Err("vary"),
                    Ok(name) if names.contains(&name) => {}
                    Ok(name) if names.len() < MAX_VARY => names.push(name),
                    _ => return Err("vary"),
                }
            }
        }
        Ok(Selector::of_request(scope, names, request))
    }

    /// For the requests that had `vary` in these fields; none where a response with the fields `response` varies by
    /// others.
    pub fn restored(scope: u64, vary: Box<[Varied]>, response: &HeaderMap) -> Option<Self> {
        let said = Selector::new(scope, &HeaderMap::new(), response).ok()?;
        let same = said.vary.iter().map(|(name, _)| name).eq(vary.iter().map(|(name, _)| name));
        same.then_some(Selector { scope, vary })
    }

    /// The same fields, as a request has them.
    pub fn of_request(scope: u64, names: impl IntoIterator<Item = HeaderName>, request: &HeaderMap) -> Self {
        let had = |name: HeaderName| {
            let value = joined(request, &name).map(|value| value.into_owned().into_boxed_slice());
            (name, value)
        };
        Selector { scope, vary: names.into_iter().map(had).collect() }
    }

    /// For every request; what a response varies by is not known yet.
    pub fn of_nothing(scope: u64) -> Self {
        Selector { scope, vary: Box::default() }
    }

    /// Whether a response of this selector is for a request with these fields.
    pub fn selects(&self, scope: u64, request: &HeaderMap) -> bool {
        let same = |(name, had): &Varied| joined(request, name).as_deref() == had.as_deref();
        self.scope == scope && self.vary.iter().all(same)
    }

    /// What it varies by, and what the request had there.
    pub fn vary(&self) -> &[Varied] {
        &self.vary
    }

    /// The names that it varies by.
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.vary.iter().map(|(name, _)| name)
    }

    /// The route and policy that it was kept under.
    pub fn scope(&self) -> u64 {
        self.scope
    }

    fn weight(&self) -> usize {
        self.vary.iter().map(|(name, had)| name.as_str().len() + had.as_ref().map_or(0, |had| had.len()) + 64).sum()
    }
}

/// A kept response.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Which requests it is for.
    pub selector: Selector,
    /// How long it may be served.
    pub freshness: Freshness,
    /// Its status.
    pub status: StatusCode,
    /// Its fields, with places for `Age` and `Cache-Status`.
    pub headers: HeaderMap,
    /// Its body; none where only its coming was noted.
    pub body: Option<Bytes>,
    /// When the request went out that it answers.
    pub sent: Instant,
    /// Its key, for people.
    pub shown: Arc<str>,
}

/// How a kept response may be used for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// As it is.
    Fresh,
    /// As it is, though it is stale: its caller takes it so.
    Stale,
    /// As it is, while it is asked for anew.
    WhileRevalidate,
    /// Once it is confirmed.
    Confirmed,
}

impl Stored {
    /// What is kept of a response. `body` is none where only that it came is of interest.
    pub fn new(
        selector: Selector,
        freshness: Freshness,
        (status, headers): (StatusCode, &HeaderMap),
        body: Option<Bytes>,
        sent: Instant,
        shown: Arc<str>,
    ) -> Self {
        let mut kept = HeaderMap::with_capacity(headers.keys_len() + 4);
        for (name, value) in headers {
            if !NEVER_KEPT.contains(&name.as_str()) {
                kept.append(owned_name(name), owned(value));
            }
        }
        if let Some(body) = &body
            && !matches!(status, StatusCode::NO_CONTENT)
        {
            kept.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        let mut stored = Stored { selector, freshness, status, headers: kept, body, sent, shown };
        stored.make_places();
        stored
    }

    /// Replaced in every copy, so that no copy has to grow.
    fn make_places(&mut self) {
        self.headers.insert(header::AGE, HeaderValue::from_static("0"));
        self.headers.append(CACHE_STATUS, HeaderValue::from_static(""));
    }

    /// What it costs in memory, bytes.
    pub fn weight(&self) -> usize {
        let fields: usize =
            self.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD_COST).sum();
        let body = self.body.as_ref().map_or(0, Bytes::len);
        FIXED_COST + fields + body + self.selector.weight() + self.shown.len()
    }

    /// How it may be used at `now` for a request that asks so.
    pub fn usable(&self, now: Instant, demand: &Demand) -> Use {
        if demand.confirmed || self.freshness.confirm {
            return Use::Confirmed;
        }
        if demand.max_age.is_some_and(|max| self.freshness.age(now) > max && !demand.takes_stale(&self.freshness, now))
        {
            return Use::Confirmed;
        }
        match self.freshness.left(now) {
            Ok(left) if left >= demand.min_fresh => Use::Fresh,
            Ok(_) => Use::Confirmed,
            Err(_) if demand.takes_stale(&self.freshness, now) => Use::Stale,
            // A caller that asks for more than freshness does not get less.
            Err(stale) if stale < self.freshness.while_revalidate && demand.is_plain() => Use::WhileRevalidate,
            Err(_) => Use::Confirmed,
        }
    }

    /// Whether `selector` is of the same requests.
    pub fn is_superseded_by(&self, selector: &Selector) -> bool {
        self.selector == *selector
    }

    /// The response to a request: all of it, or only that its caller has it already. `says` is this cache's part of
    /// `Cache-Status`.
    pub fn response(&self, now: Instant, says: HeaderValue, head_only: bool, has_already: bool) -> Response<Body> {
        let body = match &self.body {
            Some(body) if !head_only && !has_already => Body::full(body.clone()),
            _ => Body::empty(),
        };
        let mut response = Response::new(body);
        if has_already {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            for name in IN_NOT_MODIFIED {
                if let Some(value) = self.headers.get(&name) {
                    response.headers_mut().insert(name, value.clone());
                }
            }
            response.headers_mut().insert(CACHE_STATUS, says);
        } else {
            *response.status_mut() = self.status;
            response.headers_mut().clone_from(&self.headers);
            // Ours is the last one; of the caches before it there is seldom one.
            match response.headers_mut().entry(CACHE_STATUS) {
                header::Entry::Occupied(mut entry) => {
                    if let Some(last) = entry.iter_mut().last() {
                        *last = says;
                    }
                }
                header::Entry::Vacant(entry) => drop(entry.insert(says)),
            }
        }
        let age = self.freshness.age(now).as_secs();
        response.headers_mut().insert(header::AGE, HeaderValue::from(age));
        response
    }

    /// Makes a request ask only whether this response still holds.
    pub fn ask_to_confirm(&self, request: &mut HeaderMap) {
        request.remove(header::IF_NONE_MATCH);
        request.remove(header::IF_MODIFIED_SINCE);
        for (of, ask) in [(header::ETAG, header::IF_NONE_MATCH), (header::LAST_MODIFIED, header::IF_MODIFIED_SINCE)] {
            if let Some(value) = self.headers.get(of) {
                request.insert(ask, value.clone());
            }
        }
    }

    /// Its fields as they came: without the places for `Age` and for this cache's part of `Cache-Status`.
    pub fn fields(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        let own = self.headers.get_all(CACHE_STATUS).iter().count().saturating_sub(1);
        let mut others = 0;
        self.headers.iter().filter(move |(name, _)| match *name {
            name if name == header::AGE => false,
            name if name == CACHE_STATUS => {
                others += 1;
                others <= own
            }
            _ => true,
        })
    }

    /// Whether there is anything to confirm it by.
    pub fn can_be_confirmed(&self) -> bool {
        self.headers.contains_key(header::ETAG) || self.headers.contains_key(header::LAST_MODIFIED)
    }

    /// Whether a 304 with these fields speaks of this response (RFC 9111, 4.3.4).
    pub fn is_confirmed_by(&self, not_modified: &HeaderMap) -> bool {
        match (self.headers.get(header::ETAG), not_modified.get(header::ETAG)) {
            (Some(own), Some(said)) => opaque(own.as_bytes()) == opaque(said.as_bytes()),
            (None, Some(_)) => false,
            (_, None) => {
                let said = not_modified.get(header::LAST_MODIFIED);
                said.is_none_or(|said| self.headers.get(header::LAST_MODIFIED) == Some(said))
            }
        }
    }

    /// Whether the answer to a HEAD with this head leaves it as good as it was (RFC 9111, 4.3.5).
    pub fn agrees_with(&self, status: StatusCode, head: &HeaderMap) -> bool {
        let length = head.get(header::CONTENT_LENGTH);
        let same = length.is_none_or(|said| self.headers.get(header::CONTENT_LENGTH) == Some(said));
        self.status == status && same && self.is_confirmed_by(head)
    }

    /// The fields of this response as a 304 makes them (RFC 9111, 3.2).
    pub fn updated(&self, not_modified: &HeaderMap) -> HeaderMap {
        let mut fields = self.headers.clone();
        fields.remove(header::AGE);
        fields.remove(CACHE_STATUS);
        for name in not_modified.keys() {
            if NOT_UPDATED.contains(name) || name == "content-md5" {
                continue;
            }
            fields.remove(name);
            for value in not_modified.get_all(name) {
                fields.append(name.clone(), value.clone());
            }
        }
        fields
    }
}

fn owned(value: &HeaderValue) -> HeaderValue {
    // Its bytes were a value's before.
    HeaderValue::from_bytes(value.as_bytes()).unwrap_or_else(|_| value.clone())
}

fn owned_name(name: &HeaderName) -> HeaderName {
    HeaderName::from_bytes(name.as_str().as_bytes()).unwrap_or_else(|_| name.clone())
}
