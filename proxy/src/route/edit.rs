//! What a route changes in the messages that take it (Gateway API filters, xDS `request_headers_to_add` and the rest):
//! compiled, so that a request only has ready names and values put into it.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Request};
use outrigger_config::header::{HeaderChanges, HeaderField, Headers};
use outrigger_config::matching::PathMatch;
use outrigger_config::rewrite::PathRewrite;
use outrigger_config::route::Route as Model;

use super::rewrite::{self, Climbs};

/// Why a request cannot be sent as its route says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The rest of its path would leave what the replacement names.
    Climbs,
    /// What its path is rewritten to is no target: it is too long for one.
    NoTarget,
}

impl Refusal {
    /// What its caller is told.
    pub fn detail(self) -> &'static str {
        match self {
            Refusal::Climbs => "the path's dots leave what the route takes",
            Refusal::NoTarget => "the rewritten path is too long",
        }
    }
}

impl From<Climbs> for Refusal {
    fn from(_: Climbs) -> Self {
        Refusal::Climbs
    }
}

/// The changes on one way: a route's own, then those of the backend.
#[derive(Debug)]
pub struct Edits {
    host: Option<HeaderValue>,
    path: Option<(PathMatch, PathRewrite)>,
    request: Box<[Changes]>,
    response: Box<[Changes]>,
}

impl Edits {
    /// None where nothing is changed.
    pub fn new(route: &Model, backend: &Headers) -> Option<Arc<Self>> {
        let compile = |changes: [&HeaderChanges; 2]| -> Box<[Changes]> {
            changes.into_iter().filter(|changes| !changes.is_empty()).map(Changes::new).collect()
        };
        let edits = Edits {
            host: route.rewrite.host.as_ref().and_then(|host| HeaderValue::from_str(host).ok()),
            path: route.rewrite.path.clone().map(|path| (route.matches.path.clone(), path)),
            request: compile([&route.headers.request, &backend.request]),
            response: compile([&route.headers.response, &backend.response]),
        };
        let rewrites = edits.host.is_some() || edits.path.is_some();
        let idle = edits.request.is_empty() && edits.response.is_empty() && !rewrites;
        (!idle).then(|| Arc::new(edits))
    }

    /// Changes a request for `authority`, before it is sent.
    pub fn request<B>(&self, request: &mut Request<B>, authority: &mut HeaderValue) -> Result<(), Refusal> {
        if let Some((matched, path)) = &self.path
            // `*` of OPTIONS is no path.
            && request.uri().path().starts_with('/')
        {
            let made = rewrite::path(request.uri().path(), matched, path)?;
            // Nothing goes on with the path it had: that one is not rewritten. What a request had and what validation let
            // in makes a path, if it is not longer than one may be.
            crate::path::put(request.uri_mut(), made).map_err(|_| Refusal::NoTarget)?;
        }
        if let Some(host) = &self.host {
            authority.clone_from(host);
        }
        self.request.iter().for_each(|changes| changes.apply(request.headers_mut()));
        Ok(())
    }

    /// Changes a response that came back.
    pub fn response(&self, fields: &mut HeaderMap) {
        self.response.iter().for_each(|changes| changes.apply(fields));
    }

    /// Whether responses stay as they are.
    pub fn leaves_responses(&self) -> bool {
        self.response.is_empty()
    }
}

/// Changes with their names and values parsed.
#[derive(Debug)]
struct Changes {
    remove: Box<[HeaderName]>,
    set: Box<[(HeaderName, HeaderValue)]>,
    add: Box<[(HeaderName, HeaderValue)]>,
}

impl Changes {
    /// What cannot stand in a message is left out; validation has refused it before.
    fn new(model: &HeaderChanges) -> Self {
        let name = |name: &Arc<str>| HeaderName::from_bytes(name.as_bytes()).ok();
        let field = |(key, value): &HeaderField| Some((name(key)?, HeaderValue::from_str(value).ok()?));
        Changes {
            remove: model.remove.iter().filter_map(name).collect(),
            set: model.set.iter().filter_map(field).collect(),
            add: model.add.iter().filter_map(field).collect(),
        }
    }

    fn apply(&self, fields: &mut HeaderMap) {
        for name in &self.remove {
            fields.remove(name);
        }
        for (name, value) in &self.set {
            fields.insert(name.clone(), value.clone());
        }
        for (name, value) in &self.add {
            fields.append(name.clone(), value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request};
    use outrigger_config::header::HeaderChanges;
    use outrigger_config::name::ResourceName;
    use outrigger_config::rewrite::{PathRewrite, Rewrite};
    use outrigger_config::route::Route;

    use super::{Edits, Refusal};

    fn changes(set: &[&str], add: &[&str], remove: &[&str], value: &str) -> HeaderChanges {
        let fields = |names: &[&str]| names.iter().map(|name| ((*name).into(), value.into())).collect();
        HeaderChanges { set: fields(set), add: fields(add), remove: remove.iter().map(|name| (*name).into()).collect() }
    }

    #[test]
    fn a_backends_changes_come_after_the_routes() {
        let mut route = Route::forward("all", ResourceName::try_new("a").expect("a name"));
        assert!(Edits::new(&route, &route.backends[0].headers).is_none());
        route.headers.request = changes(&["x-set"], &["x-add"], &["x-gone"], "route");
        route.backends[0].headers.request = changes(&["x-set"], &["x-add"], &[], "backend");
        let edits = Edits::new(&route, &route.backends[0].headers).expect("changes");
        assert!(edits.leaves_responses());
        let mut request = Request::new(());
        let fields = request.headers_mut();
        for name in ["x-set", "x-add", "x-gone", "x-kept"] {
            fields.append(name, HeaderValue::from_static("caller"));
        }
        edits.request(&mut request, &mut HeaderValue::from_static("a")).expect("stays inside");
        let fields = request.headers();
        let values = |name: &str| -> Vec<_> { fields.get_all(name).iter().cloned().collect() };
        assert_eq!(values("x-set"), ["backend"]);
        assert_eq!(values("x-add"), ["caller", "route", "backend"]);
        assert_eq!((values("x-gone").len(), values("x-kept").len()), (0, 1));
    }

    #[test]
    fn host_and_path_are_rewritten_and_the_query_stays() {
        let mut route = Route::forward("all", ResourceName::try_new("a").expect("a name"));
        route.rewrite = Rewrite { host: Some("b:81".into()), path: Some(PathRewrite::Prefix("/v2".into())) };
        let edits = Edits::new(&route, &route.headers).expect("changes");
        for (given, expected) in
            [("/a?b=/../c", "/v2/a?b=/../c"), ("http://a/a", "http://a/v2/a"), ("/", "/v2/"), ("*", "*")]
        {
            let mut request = Request::builder().uri(given).body(()).expect("a request");
            let mut authority = HeaderValue::from_static("a");
            edits.request(&mut request, &mut authority).expect("stays inside");
            assert_eq!((request.uri().to_string().as_str(), authority.as_bytes()), (expected, &b"b:81"[..]));
        }
        let mut request = Request::builder().uri("/..").body(()).expect("a request");
        assert_eq!(edits.request(&mut request, &mut HeaderValue::from_static("a")), Err(Refusal::Climbs));
    }

    #[test]
    fn a_target_that_is_too_long_once_rewritten_is_refused() {
        let mut route = Route::forward("all", ResourceName::try_new("a").expect("a name"));
        route.rewrite.path = Some(PathRewrite::Prefix("/v2".into()));
        let edits = Edits::new(&route, &route.headers).expect("changes");
        let rewritten = |length: usize| {
            let uri = format!("/a?{}", "b".repeat(length - "/a?".len()));
            let mut request = Request::builder().uri(uri).body(()).expect("a request");
            edits.request(&mut request, &mut HeaderValue::from_static("a")).map(|()| request.uri().path().to_owned())
        };
        const LONGEST: usize = 65_534;
        assert_eq!(rewritten(LONGEST - "/v2".len()).as_deref(), Ok("/v2/a"));
        assert_eq!(rewritten(LONGEST), Err(Refusal::NoTarget));
    }
}
