//! What a route changes in the messages that take it (Gateway API filters, xDS `request_headers_to_add` and the rest):
//! compiled, so that a request only has ready names and values put into it.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use outrigger_config::header::{HeaderChanges, HeaderField};
use outrigger_config::route::{Backend, Route as Model};

/// The changes on one way: a route's own, then those of the backend.
#[derive(Debug)]
pub struct Edits {
    request: Box<[Changes]>,
    response: Box<[Changes]>,
}

impl Edits {
    /// None where nothing is changed.
    pub fn new(route: &Model, backend: &Backend) -> Option<Arc<Self>> {
        let compile = |changes: [&HeaderChanges; 2]| -> Box<[Changes]> {
            changes.into_iter().filter(|changes| !changes.is_empty()).map(Changes::new).collect()
        };
        let edits = Edits {
            request: compile([&route.headers.request, &backend.headers.request]),
            response: compile([&route.headers.response, &backend.headers.response]),
        };
        let idle = edits.request.is_empty() && edits.response.is_empty();
        (!idle).then(|| Arc::new(edits))
    }

    /// Changes a request, before it is sent.
    pub fn request(&self, fields: &mut HeaderMap) {
        self.request.iter().for_each(|changes| changes.apply(fields));
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
    use http::{HeaderMap, HeaderValue};
    use outrigger_config::header::HeaderChanges;
    use outrigger_config::name::ResourceName;
    use outrigger_config::route::Route;

    use super::Edits;

    fn changes(set: &[&str], add: &[&str], remove: &[&str], value: &str) -> HeaderChanges {
        let fields = |names: &[&str]| names.iter().map(|name| ((*name).into(), value.into())).collect();
        HeaderChanges { set: fields(set), add: fields(add), remove: remove.iter().map(|name| (*name).into()).collect() }
    }

    #[test]
    fn a_backends_changes_come_after_the_routes() {
        let mut route = Route::forward("all", ResourceName::try_new("a").expect("a name"));
        assert!(Edits::new(&route, &route.backends[0]).is_none());
        route.headers.request = changes(&["x-set"], &["x-add"], &["x-gone"], "route");
        route.backends[0].headers.request = changes(&["x-set"], &["x-add"], &[], "backend");
        let edits = Edits::new(&route, &route.backends[0]).expect("changes");
        assert!(edits.leaves_responses());
        let mut fields = HeaderMap::new();
        for name in ["x-set", "x-add", "x-gone", "x-kept"] {
            fields.append(name, HeaderValue::from_static("caller"));
        }
        edits.request(&mut fields);
        let values = |name: &str| -> Vec<_> { fields.get_all(name).iter().cloned().collect() };
        assert_eq!(values("x-set"), ["backend"]);
        assert_eq!(values("x-add"), ["caller", "route", "backend"]);
        assert_eq!((values("x-gone").len(), values("x-kept").len()), (0, 1));
    }
}
