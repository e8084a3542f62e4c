//! What arbitrary routes match, and what they change or answer by themselves.

use std::sync::Arc;

use outrigger_config::header::{HeaderChanges, Headers};
use outrigger_config::rewrite::{Answer, DirectResponse, PathRewrite, REDIRECTS, Redirect, Rewrite, Scheme};
use outrigger_config::route::{HeaderMatch, PathMatch, QueryMatch, RouteMatch, ValueMatch};
use outrigger_config::template::Template;
use outrigger_config::value::Pattern;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

use super::value::{header_name, text};

/// A prefix is replaced only where one was matched.
pub(super) fn fits(path: &PathRewrite, matches: &RouteMatch) -> bool {
    let prefix = matches!(matches.path, PathMatch::Prefix(_) | PathMatch::RawPrefix(_));
    prefix || matches!(path, PathRewrite::Full(_))
}

fn path_rewrite() -> impl Strategy<Value = PathRewrite> {
    prop_oneof![
        "(/[a-z]{1,4}){1,2}/?".prop_map(|path| PathRewrite::Full(path.into())),
        "(/|(/[a-z]{1,4}){1,2}/?)".prop_map(|path| PathRewrite::Prefix(path.into())),
    ]
}

pub(super) fn rewrite() -> impl Strategy<Value = Rewrite> {
    let host = "[a-z]{1,8}(:[1-9]{1,4})?".prop_map(Arc::from);
    prop_oneof![
        1 => Just(Rewrite::default()),
        1 => (of(host), of(path_rewrite())).prop_map(|(host, path)| Rewrite { host, path }),
    ]
}

pub(super) fn answer() -> impl Strategy<Value = Answer> {
    let scheme = prop_oneof![Just(Scheme::Http), Just(Scheme::Https)];
    let host = "[a-z]{1,8}".prop_map(Arc::from);
    let redirect = (of(scheme), of(host), of(1..=u16::MAX), of(path_rewrite()), 0..REDIRECTS.len()).prop_map(
        |(scheme, host, port, path, status)| {
            Answer::Redirect(Redirect { scheme, host, port, path, status: REDIRECTS[status] })
        },
    );
    let direct = (prop_oneof![200..204u16, 400..600u16], text())
        .prop_map(|(status, body)| Answer::Direct(DirectResponse { status, body }));
    prop_oneof![redirect, direct]
}

/// Changes of header fields, no field in two ways.
pub(super) fn headers() -> impl Strategy<Value = Headers> {
    let changes = || {
        (vec(value(), 0..2), vec(value(), 0..3), 0..2usize).prop_map(|(set, add, remove)| HeaderChanges {
            set: set.into_iter().enumerate().map(|(index, value)| (format!("x-set-{index}").into(), value)).collect(),
            add: add.into_iter().map(|value| ("x-add".into(), value)).collect(),
            remove: (0..remove).map(|index| format!("x-remove-{index}").into()).collect(),
        })
    };
    prop_oneof![
        2 => Just(Headers::default()),
        1 => (changes(), changes()).prop_map(|(request, response)| Headers { request, response }),
    ]
}

/// A header field's value.
fn value() -> impl Strategy<Value = Arc<str>> {
    "[!-~]([ -~]{0,8}[!-~])?".prop_map(Arc::from)
}

pub(super) fn matches() -> impl Strategy<Value = RouteMatch> {
    let path = prop_oneof![
        "/[a-z/]{0,8}".prop_map(|path| PathMatch::Exact(path.into())),
        Just(PathMatch::Prefix("/".into())),
        "(/[a-z.+]{1,4}){1,2}".prop_map(|path| PathMatch::Prefix(path.into())),
        "/[a-z]{1,4}/?".prop_map(|path| PathMatch::RawPrefix(path.into())),
        pattern().prop_map(PathMatch::Regex),
        "(/[a-z]{1,3}){0,2}/\\{[a-z]{1,4}\\}(/[a-z]{1,3})?"
            .prop_map(|text| PathMatch::Template(Template::try_new(&text).expect("a template"))),
    ];
    let header = (header_name(), value_match()).prop_map(|(name, value)| HeaderMatch { name, value });
    let query = ("[a-zA-Z]{1,8}", value_match()).prop_map(|(name, value)| QueryMatch { name: name.into(), value });
    (path, of("[A-Z]{1,8}"), vec(header, 0..3), vec(query, 0..3), any::<bool>()).prop_map(
        |(path, method, headers, query, grpc)| RouteMatch { path, method: method.map(Arc::from), headers, query, grpc },
    )
}

pub(super) fn value_match() -> impl Strategy<Value = ValueMatch> {
    prop_oneof![text().prop_map(ValueMatch::Exact), pattern().prop_map(ValueMatch::Regex), Just(ValueMatch::Present)]
}

fn pattern() -> impl Strategy<Value = Pattern> {
    "[a-z]{1,4}(\\.\\*|\\[0-9\\]\\+|\\|[a-z])?".prop_map(|text| Pattern::try_new(&text).expect("a pattern"))
}
