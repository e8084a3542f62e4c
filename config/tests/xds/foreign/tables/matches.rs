//! What routes match.

use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::envoy::r#type::matcher::v3 as matcher;
use outrigger_config::error::Code;
use outrigger_config::route::{PathMatch, ValueMatch};

use super::super::{refused, regex, text};
use super::read_route;

use route::route_match::PathSpecifier;

fn read_path(path: PathSpecifier) -> PathMatch {
    let route = read_route(|route, _| route.r#match.as_mut().expect("a match").path_specifier = Some(path));
    route.expect("a path that is taken").matches.path
}

#[test]
fn paths_of_every_kind_are_taken() {
    assert_eq!(read_path(PathSpecifier::Prefix("".into())), PathMatch::Prefix("/".into()));
    assert_eq!(read_path(PathSpecifier::Prefix("/a".into())), PathMatch::RawPrefix("/a".into()));
    assert_eq!(read_path(PathSpecifier::PathSeparatedPrefix("/a".into())), PathMatch::Prefix("/a".into()));
    assert_eq!(read_path(PathSpecifier::Path("/a".into())), PathMatch::Exact("/a".into()));
    let PathMatch::Regex(pattern) = read_path(PathSpecifier::SafeRegex(regex("/a.*"))) else { panic!() };
    assert!(pattern.is_match("/abc"));
}

#[test]
fn header_matchers_of_every_kind_are_taken() {
    use matcher::string_matcher::MatchPattern;
    use route::header_matcher::HeaderMatchSpecifier as Specifier;
    #[allow(deprecated)] // Deprecated, and still what many control planes send.
    let cases = [
        (Specifier::ExactMatch("A".into()), "A", "a"),
        (Specifier::PrefixMatch("a.".into()), "a.b", "ab"),
        (Specifier::SuffixMatch("b".into()), "ab", "ba"),
        (Specifier::ContainsMatch("b".into()), "abc", "ac"),
        (Specifier::SafeRegexMatch(regex("a+")), "aa", "aab"),
        (Specifier::StringMatch(text(MatchPattern::Exact("a".into()), false)), "a", "A"),
        (Specifier::StringMatch(text(MatchPattern::Exact("a".into()), true)), "A", "b"),
        (Specifier::StringMatch(text(MatchPattern::Prefix("a".into()), true)), "Ab", "b"),
        (Specifier::StringMatch(text(MatchPattern::Suffix("a".into()), false)), "ba", "ab"),
        (Specifier::StringMatch(text(MatchPattern::Contains("a".into()), false)), "bab", "b"),
        (Specifier::StringMatch(text(MatchPattern::SafeRegex(regex("a|b")), false)), "b", "ab"),
    ];
    for (specifier, yes, no) in cases {
        let label = format!("{specifier:?}");
        let header = route::HeaderMatcher {
            name: "X-Group".into(),
            header_match_specifier: Some(specifier),
            ..Default::default()
        };
        let route = read_route(|route, _| route.r#match.as_mut().expect("a match").headers.push(header));
        let headers = route.expect(&label).matches.headers;
        assert_eq!(&*headers[0].name, "x-group", "{label}");
        let matches = |value: &str| match &headers[0].value {
            ValueMatch::Exact(text) => &**text == value,
            ValueMatch::Regex(pattern) => pattern.is_match(value),
            ValueMatch::Present => true,
        };
        assert!(matches(yes) && !matches(no), "{label}");
    }
}

#[test]
fn the_method_is_found_among_the_headers() {
    let exact = route::header_matcher::HeaderMatchSpecifier::StringMatch(text(
        matcher::string_matcher::MatchPattern::Exact("POST".into()),
        false,
    ));
    let header = |name: &str| route::HeaderMatcher {
        name: name.into(),
        header_match_specifier: Some(exact.clone()),
        ..Default::default()
    };
    let route = read_route(|route, _| {
        route.r#match.as_mut().expect("a match").headers = vec![header("x-a"), header(":method")];
    });
    let matches = route.expect("taken").matches;
    assert_eq!((matches.method.as_deref(), matches.headers.len()), (Some("POST"), 1));
    let route = read_route(|route, _| route.r#match.as_mut().expect("a match").headers = vec![header(":path")]);
    refused("a pseudo-header", route, Code::Unsupported, "virtual_hosts[0].routes[0].match.headers");
}
