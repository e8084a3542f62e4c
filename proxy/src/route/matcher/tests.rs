//! Cases by hand, and a naive reference that the matcher must agree with.

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use outrigger_config::matching::{HeaderMatch, PathMatch, QueryMatch, RouteMatch, ValueMatch};
use outrigger_config::value::Pattern;
use proptest::prelude::{Just, ProptestConfig, Strategy, prop, prop_assert_eq, prop_oneof, proptest};

use super::{Facts, Matcher};

/// A request in the plainest form.
#[derive(Clone, Debug)]
struct Plain {
    method: &'static str,
    target: String,
    headers: Vec<(&'static str, &'static str)>,
    grpc: bool,
}

impl Plain {
    fn get(target: &str) -> Self {
        Plain { method: "GET", target: target.into(), headers: Vec::new(), grpc: false }
    }

    fn matched_by(&self, model: &RouteMatch) -> bool {
        let method = Method::from_bytes(self.method.as_bytes()).expect("a method");
        let headers: HeaderMap = self
            .headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        let (path, query) = match self.target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (self.target.as_str(), None),
        };
        let facts = Facts { authority: "catalog", path, query, method: &method, headers: &headers, grpc: self.grpc };
        Matcher::new(model).matches(&facts)
    }
}

fn on_path(path: PathMatch) -> RouteMatch {
    RouteMatch { path, ..RouteMatch::any() }
}

fn on_header(name: &str, value: ValueMatch) -> RouteMatch {
    RouteMatch { headers: vec![HeaderMatch { name: name.into(), value }], ..RouteMatch::any() }
}

fn on_query(name: &str, value: ValueMatch) -> RouteMatch {
    RouteMatch { query: vec![QueryMatch { name: name.into(), value }], ..RouteMatch::any() }
}

fn exact(text: &str) -> ValueMatch {
    ValueMatch::Exact(text.into())
}

fn regex(text: &str) -> ValueMatch {
    ValueMatch::Regex(Pattern::try_new(text).expect("a pattern"))
}

#[test]
fn a_prefix_ends_where_a_segment_ends() {
    let prefix = on_path(PathMatch::Prefix("/items".into()));
    for (target, expected) in
        [("/items", true), ("/items/7", true), ("/items?id=7", true), ("/itemsets", false), ("/", false)]
    {
        assert_eq!(Plain::get(target).matched_by(&prefix), expected, "{target}");
    }
    let raw = on_path(PathMatch::RawPrefix("/items".into()));
    assert!(Plain::get("/itemsets").matched_by(&raw) && !Plain::get("/item").matched_by(&raw));
    assert!(Plain::get("*").matched_by(&RouteMatch::any()));
}

#[test]
fn a_pattern_means_the_whole_path() {
    let digits = on_path(PathMatch::Regex(Pattern::try_new("/items/[0-9]+").expect("a pattern")));
    assert!(Plain::get("/items/42?x").matched_by(&digits) && !Plain::get("/items/42/x").matched_by(&digits));
}

#[test]
fn lines_of_one_field_count_as_one_value() {
    let request = Plain { headers: vec![("x-a", "1"), ("x-b", "3"), ("x-a", "2")], ..Plain::get("/") };
    for (value, expected) in [
        (exact("1,2"), true),
        (exact("1"), false),
        (exact("1,"), false),
        (exact("1,2,"), false),
        (regex("1,[0-9]"), true),
        (regex("1"), false),
        (ValueMatch::Present, true),
    ] {
        assert_eq!(request.matched_by(&on_header("x-a", value.clone())), expected, "{value:?}");
    }
    assert!(!request.matched_by(&on_header("x-c", ValueMatch::Present)));
}

#[test]
fn the_authority_is_read_where_admission_left_it() {
    for name in ["host", ":authority"] {
        assert!(Plain::get("/").matched_by(&on_header(name, exact("catalog"))), "{name}");
    }
    assert!(Plain::get("/").matched_by(&on_header(":method", exact("GET"))));
    assert!(!Plain::get("/").matched_by(&on_header(":path", ValueMatch::Present)));
    assert!(!Plain::get("/").matched_by(&on_header("no such name", ValueMatch::Present)));
}

#[test]
fn the_first_parameter_of_a_name_counts() {
    for (target, value, expected) in [
        ("/?a=1&a=2", exact("1"), true),
        ("/?a=1&a=2", exact("2"), false),
        ("/?b&a", ValueMatch::Present, true),
        ("/?a=", exact(""), true),
        ("/?a=b=c", exact("b=c"), true),
        ("/?aa=1", ValueMatch::Present, false),
        ("/", ValueMatch::Present, false),
        ("/?a=%31", exact("1"), false),
        ("/?a=12", regex("[0-9]+"), true),
    ] {
        assert_eq!(Plain::get(target).matched_by(&on_query("a", value.clone())), expected, "{target} {value:?}");
    }
}

#[test]
fn a_match_of_a_nonexistent_method_matches_nothing() {
    let model = RouteMatch { method: Some("G T".into()), ..RouteMatch::any() };
    assert!(!Plain::get("/").matched_by(&model));
}

/// The same by the book: over text, all parts at once, nothing prepared.
fn naive(model: &RouteMatch, request: &Plain) -> bool {
    let value = |wanted: &ValueMatch, text: &str| match wanted {
        ValueMatch::Exact(exact) => **exact == *text,
        ValueMatch::Regex(pattern) => pattern.is_match(text),
        ValueMatch::Present => true,
    };
    let path = request.target.split('?').next().unwrap_or_default();
    let path_holds = match &model.path {
        PathMatch::Exact(exact) => **exact == *path,
        PathMatch::Prefix(prefix) => {
            let segments = |text: &str| text.split('/').skip(1).map(str::to_owned).collect::<Vec<_>>();
            **prefix == *"/" || segments(path).starts_with(&segments(prefix))
        }
        PathMatch::RawPrefix(prefix) => path.starts_with(&**prefix),
        PathMatch::Regex(pattern) => pattern.is_match(path),
        PathMatch::Template(template) => Pattern::try_new(&template.to_regex()).expect("a pattern").is_match(path),
    };
    let header_holds = |wanted: &HeaderMatch| {
        let lines: Vec<&str> =
            request.headers.iter().filter(|(name, _)| *name == &*wanted.name).map(|(_, value)| *value).collect();
        !lines.is_empty() && value(&wanted.value, &lines.join(","))
    };
    let query: Vec<(String, String)> = request
        .target
        .split('?')
        .skip(1)
        .flat_map(|query| query.split('&'))
        .map(|pair| {
            (pair.split('=').next().unwrap_or_default().into(), pair.split('=').skip(1).collect::<Vec<_>>().join("="))
        })
        .collect();
    let query_holds = |wanted: &QueryMatch| {
        query.iter().find(|(name, _)| *name == *wanted.name).is_some_and(|(_, text)| value(&wanted.value, text))
    };
    path_holds
        && model.method.as_ref().is_none_or(|method| **method == *request.method)
        && model.headers.iter().all(header_holds)
        && model.query.iter().all(query_holds)
        && (!model.grpc || request.grpc)
}

fn values() -> impl Strategy<Value = ValueMatch> {
    prop_oneof![
        prop_oneof![Just("1"), Just("1,2"), Just("")].prop_map(exact),
        prop_oneof![Just("[12]"), Just("1.*")].prop_map(regex),
        Just(ValueMatch::Present),
    ]
}

fn paths() -> impl Strategy<Value = PathMatch> {
    let text = || prop_oneof![Just("/a"), Just("/a/b"), Just("/ab"), Just("/")];
    prop_oneof![
        text().prop_map(|text| PathMatch::Exact(text.into())),
        text().prop_map(|text| PathMatch::Prefix(text.into())),
        text().prop_map(|text| PathMatch::RawPrefix(text.into())),
        Just(PathMatch::Regex(Pattern::try_new("/a/?b?").expect("a pattern"))),
    ]
}

fn models() -> impl Strategy<Value = RouteMatch> {
    let names = || prop_oneof![Just("x"), Just("y")];
    let header = (names(), values()).prop_map(|(name, value)| HeaderMatch { name: name.into(), value });
    let query = (names(), values()).prop_map(|(name, value)| QueryMatch { name: name.into(), value });
    let method = prop::option::of(prop_oneof![Just("GET"), Just("POST")]);
    let many = (prop::collection::vec(header, 0..2), prop::collection::vec(query, 0..2));
    (paths(), method, many, prop::bool::weighted(0.2)).prop_map(|(path, method, (headers, query), grpc)| RouteMatch {
        path,
        method: method.map(Into::into),
        headers,
        query,
        grpc,
    })
}

fn requests() -> impl Strategy<Value = Plain> {
    let method = prop_oneof![Just("GET"), Just("POST")];
    let header = (prop_oneof![Just("x"), Just("y")], prop_oneof![Just("1"), Just("2"), Just("")]);
    let headers = prop::collection::vec(header, 0..4);
    (method, "/(a|b|ab|/){0,4}([?]((x|y)=?(1|2|)&?){0,3})?", headers, prop::bool::ANY)
        .prop_map(|(method, target, headers, grpc)| Plain { method, target, headers, grpc })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn the_matcher_agrees_with_the_book(model in models(), request in requests()) {
        prop_assert_eq!(request.matched_by(&model), naive(&model, &request));
    }
}
