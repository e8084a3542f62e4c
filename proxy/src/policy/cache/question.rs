//! What is known of a request when its answer comes, and what of the answer is kept.

use std::sync::Arc;
use std::time::Instant;

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode};

use super::with_key;
use crate::cache::Store;
use crate::cache::freshness::{Asked, Freshness, Refusal, judge};
use crate::cache::key::shown;
use crate::cache::recorder::{Label, Recorder};
use crate::cache::stored::Selector;
use crate::clock;
use crate::exchange::{Response, Routed};
use crate::route::cache::Cache as RouteCache;

/// What is known of a request when its answer comes.
pub(super) struct Question {
    pub(super) label: Label,
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
}

impl Question {
    pub(super) fn of(cache: &RouteCache, routed: &Routed) -> Self {
        let (key, shown) = with_key(cache, routed, |key| (Box::from(key), Arc::from(shown(key))));
        let headers = routed.http.headers().clone();
        let selector = Selector::of_nothing(cache.scope);
        let label = Label { key, shown, selector, sent: clock::now() };
        Question { label, method: routed.http.method().clone(), headers }
    }

    /// Whether an answer may be kept, for which requests, and for how long.
    pub(super) fn judge(
        &self,
        cache: &RouteCache,
        status: StatusCode,
        headers: &HeaderMap,
        now: Instant,
    ) -> Result<(Selector, Freshness), Refusal> {
        let selector = Selector::new(cache.scope, &self.headers, headers)?;
        let asked = Asked {
            method: &self.method,
            headers: &self.headers,
            sent: self.label.sent,
            keyed_by_cookies: cache.rule.has_cookies() || selector.names().any(|name| *name == header::COOKIE),
        };
        let freshness = judge(&cache.policy, &asked, status, headers, (now, clock::wall()))?;
        Ok((selector, freshness))
    }
}

/// Makes ready to take an answer in; a word why not, where there is one.
pub(super) fn take_in(
    cache: &RouteCache,
    store: &Arc<Store>,
    question: Question,
    response: &Response,
    (longest, bodies): (usize, bool),
    now: Instant,
) -> Result<Box<Recorder>, Option<Refusal>> {
    if question.method != Method::GET {
        return Err(None);
    }
    let (selector, freshness) = question.judge(cache, response.status(), response.headers(), now)?;
    let mut headers = response.headers().clone();
    if !headers.contains_key(header::DATE)
        && let Ok(date) = HeaderValue::try_from(httpdate::fmt_http_date(clock::wall()))
    {
        // Whoever passes a response on without one adds it (RFC 9110, 6.6.1), when it came and not when it is served.
        headers.insert(header::DATE, date);
    }
    let head = (response.status(), headers);
    let label = Label { selector, ..question.label };
    Recorder::new(store, label, freshness, head, longest, bodies).ok_or(Some("too-large"))
}
