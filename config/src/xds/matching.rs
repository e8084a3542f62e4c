//! What a request must be (`envoy.config.route.v3.RouteMatch`).
//!
//! xDS has more ways to ask than the model: a prefix, suffix or part of a value, and values without regard to case.
//! They become regular expressions here, so that the proxy knows three ways only.

use xds_api::pb::envoy::config::core::v3 as core;
use xds_api::pb::envoy::config::route::v3 as xds;
use xds_api::pb::envoy::r#type::matcher::v3 as matcher;
use xds_api::pb::google::protobuf as pb;

use super::value::{each, missing, refuse_all, refused, unsupported};
use super::wire::{self, template::UriTemplateMatchConfig};
use crate::error::{Code, Problem};
use crate::matching::{HeaderMatch, PathMatch, QueryMatch, RouteMatch, ValueMatch};
use crate::resource::ClientKind;
use crate::template::Template;
use crate::value::Pattern;

use xds::header_matcher::HeaderMatchSpecifier;
use xds::query_parameter_matcher::QueryParameterMatchSpecifier;
use xds::route_match::{GrpcRouteMatchOptions, PathSpecifier};

/// The pseudo-header that stands for the method.
const METHOD: &str = ":method";

/// Encodes a match. The method goes first among the headers, where [`decode`] looks for it.
pub(super) fn encode(matches: &RouteMatch, client: ClientKind) -> xds::RouteMatch {
    let method = matches.method.as_ref().map(|method| encode_header(METHOD, &ValueMatch::Exact(method.clone())));
    let headers = matches.headers.iter().map(|header| encode_header(&header.name, &header.value));
    xds::RouteMatch {
        path_specifier: Some(encode_path(&matches.path, client)),
        headers: method.into_iter().chain(headers).collect(),
        query_parameters: matches.query.iter().map(encode_query).collect(),
        grpc: matches.grpc.then_some(GrpcRouteMatchOptions {}),
        ..Default::default()
    }
}

/// Decodes a match.
pub(super) fn decode(message: &xds::RouteMatch) -> Result<RouteMatch, Problem> {
    refuse_all([
        ("case_sensitive", message.case_sensitive.is_some_and(|sensitive: pb::BoolValue| !sensitive.value)),
        ("runtime_fraction", message.runtime_fraction.is_some()),
        ("tls_context", message.tls_context.is_some()),
        ("dynamic_metadata", !message.dynamic_metadata.is_empty()),
    ])?;
    let mut headers = each("headers", &message.headers, decode_header)?;
    let method = match headers.iter().position(|header| &*header.name == METHOD) {
        None => None,
        Some(index) => match headers.remove(index).value {
            ValueMatch::Exact(method) => Some(method),
            _ => {
                let reason = "only an exact match of ':method' is supported";
                return Err(Problem::new(Code::Unsupported, reason).at_index(index).at_field("headers"));
            }
        },
    };
    if let Some(index) = headers.iter().position(|header| header.name.starts_with(':')) {
        let name = headers[index].name.clone();
        return Err(unsupported("headers", "only ':method' is supported of the pseudo-headers").with_value(name));
    }
    Ok(RouteMatch {
        path: decode_path(message.path_specifier.as_ref())?,
        method,
        headers,
        query: each("query_parameters", &message.query_parameters, decode_query)?,
        grpc: message.grpc.is_some(),
    })
}

fn encode_path(path: &PathMatch, client: ClientKind) -> PathSpecifier {
    match path {
        PathMatch::Exact(path) => PathSpecifier::Path(path.to_string()),
        PathMatch::Prefix(prefix) if &**prefix == "/" => PathSpecifier::Prefix("/".into()),
        // gRPC knows prefix, path and safe_regex alone (gRFC A28).
        PathMatch::Prefix(prefix) if client == ClientKind::Grpc => {
            PathSpecifier::SafeRegex(regex_matcher(&format!("{}(?:/.*)?", regex::escape(prefix))))
        }
        PathMatch::Prefix(prefix) => PathSpecifier::PathSeparatedPrefix(prefix.to_string()),
        PathMatch::RawPrefix(prefix) => PathSpecifier::Prefix(prefix.to_string()),
        PathMatch::Regex(pattern) => PathSpecifier::SafeRegex(regex_matcher(pattern.as_str())),
        PathMatch::Template(template) if client == ClientKind::Grpc => {
            PathSpecifier::SafeRegex(regex_matcher(&template.to_regex()))
        }
        PathMatch::Template(template) => PathSpecifier::PathMatchPolicy(core::TypedExtensionConfig {
            name: UriTemplateMatchConfig::EXTENSION.into(),
            typed_config: Some(wire::pack(&UriTemplateMatchConfig { path_template: template.to_string() })),
        }),
    }
}

fn decode_path(path: Option<&PathSpecifier>) -> Result<PathMatch, Problem> {
    Ok(match path {
        Some(PathSpecifier::Path(path)) => PathMatch::Exact(path.as_str().into()),
        Some(PathSpecifier::Prefix(prefix)) if matches!(prefix.as_str(), "" | "/") => PathMatch::Prefix("/".into()),
        Some(PathSpecifier::Prefix(prefix)) => PathMatch::RawPrefix(prefix.as_str().into()),
        Some(PathSpecifier::PathSeparatedPrefix(prefix)) => PathMatch::Prefix(prefix.as_str().into()),
        Some(PathSpecifier::SafeRegex(regex)) => PathMatch::Regex(decode_regex("safe_regex", regex)?),
        Some(PathSpecifier::ConnectMatcher(_)) => return Err(refused("connect_matcher")),
        Some(PathSpecifier::PathMatchPolicy(policy)) => {
            let template = read_template(policy).map_err(|problem| problem.at_field("path_match_policy"))?;
            PathMatch::Template(template)
        }
        None => return Err(missing("path_specifier")),
    })
}

fn read_template(policy: &core::TypedExtensionConfig) -> Result<Template, Problem> {
    let config = policy.typed_config.as_ref().ok_or_else(|| missing("typed_config"))?;
    let config: UriTemplateMatchConfig = wire::unpack(config).map_err(|problem| problem.at_field("typed_config"))?;
    let template = Template::try_new(&config.path_template);
    template.map_err(|problem| problem.at_field("path_template").at_field("typed_config"))
}

/// Encodes a match of a header field.
pub(super) fn encode_header(name: &str, value: &ValueMatch) -> xds::HeaderMatcher {
    let specifier = match value {
        ValueMatch::Present => HeaderMatchSpecifier::PresentMatch(true),
        value => HeaderMatchSpecifier::StringMatch(string_matcher(value)),
    };
    xds::HeaderMatcher { name: name.to_owned(), header_match_specifier: Some(specifier), ..Default::default() }
}

/// Decodes a match of a header field.
pub(super) fn decode_header(message: &xds::HeaderMatcher) -> Result<HeaderMatch, Problem> {
    use HeaderMatchSpecifier as Specifier;
    refuse_all([
        ("invert_match", message.invert_match),
        ("treat_missing_header_as_empty", message.treat_missing_header_as_empty),
    ])?;
    if message.name.is_empty() {
        return Err(missing("name"));
    }
    let value = match &message.header_match_specifier {
        None | Some(Specifier::PresentMatch(true)) => ValueMatch::Present,
        Some(Specifier::PresentMatch(false)) => return Err(unsupported("present_match", "only true is supported")),
        Some(Specifier::StringMatch(text)) => decode_string("string_match", text)?,
        Some(Specifier::SafeRegexMatch(regex)) => ValueMatch::Regex(decode_regex("safe_regex_match", regex)?),
        Some(Specifier::ExactMatch(text)) => ValueMatch::Exact(text.as_str().into()),
        Some(Specifier::PrefixMatch(text)) => affix("prefix_match", text, "", ".*", false)?,
        Some(Specifier::SuffixMatch(text)) => affix("suffix_match", text, ".*", "", false)?,
        Some(Specifier::ContainsMatch(text)) => affix("contains_match", text, ".*", ".*", false)?,
        Some(Specifier::RangeMatch(_)) => return Err(refused("range_match")),
    };
    Ok(HeaderMatch { name: message.name.to_ascii_lowercase().into(), value })
}

fn encode_query(query: &QueryMatch) -> xds::QueryParameterMatcher {
    let specifier = match &query.value {
        ValueMatch::Present => QueryParameterMatchSpecifier::PresentMatch(true),
        value => QueryParameterMatchSpecifier::StringMatch(string_matcher(value)),
    };
    xds::QueryParameterMatcher { name: query.name.to_string(), query_parameter_match_specifier: Some(specifier) }
}

fn decode_query(message: &xds::QueryParameterMatcher) -> Result<QueryMatch, Problem> {
    if message.name.is_empty() {
        return Err(missing("name"));
    }
    let value = match &message.query_parameter_match_specifier {
        None | Some(QueryParameterMatchSpecifier::PresentMatch(true)) => ValueMatch::Present,
        Some(QueryParameterMatchSpecifier::PresentMatch(false)) => {
            return Err(unsupported("present_match", "only true is supported"));
        }
        Some(QueryParameterMatchSpecifier::StringMatch(text)) => decode_string("string_match", text)?,
    };
    Ok(QueryMatch { name: message.name.as_str().into(), value })
}

/// A value to be equal to or to match; one that need only be there has no string matcher and never comes here.
fn string_matcher(value: &ValueMatch) -> matcher::StringMatcher {
    let pattern = match value {
        ValueMatch::Exact(text) => matcher::string_matcher::MatchPattern::Exact(text.to_string()),
        ValueMatch::Regex(pattern) => matcher::string_matcher::MatchPattern::SafeRegex(regex_matcher(pattern.as_str())),
        ValueMatch::Present => matcher::string_matcher::MatchPattern::SafeRegex(regex_matcher("(?s).*")),
    };
    matcher::StringMatcher { match_pattern: Some(pattern), ignore_case: false }
}

fn decode_string(field: &str, message: &matcher::StringMatcher) -> Result<ValueMatch, Problem> {
    use matcher::string_matcher::MatchPattern;
    let ignore_case = message.ignore_case;
    let value = match &message.match_pattern {
        Some(MatchPattern::Exact(text)) if !ignore_case => Ok(ValueMatch::Exact(text.as_str().into())),
        Some(MatchPattern::Exact(text)) => affix("exact", text, "", "", ignore_case),
        Some(MatchPattern::Prefix(text)) => affix("prefix", text, "", ".*", ignore_case),
        Some(MatchPattern::Suffix(text)) => affix("suffix", text, ".*", "", ignore_case),
        Some(MatchPattern::Contains(text)) => affix("contains", text, ".*", ".*", ignore_case),
        Some(MatchPattern::SafeRegex(regex)) => decode_regex("safe_regex", regex).map(ValueMatch::Regex),
        Some(MatchPattern::Custom(_)) => Err(refused("custom")),
        None => Err(missing("match_pattern")),
    };
    value.map_err(|problem| problem.at_field(field))
}

/// A text with something around it, as a regular expression.
fn affix(field: &str, text: &str, before: &str, after: &str, ignore_case: bool) -> Result<ValueMatch, Problem> {
    let flags = if ignore_case { "(?si)" } else { "(?s)" };
    let pattern = format!("{flags}{before}{}{after}", regex::escape(text));
    Pattern::try_new(&pattern).map(ValueMatch::Regex).map_err(|problem| problem.at_field(field))
}

fn regex_matcher(text: &str) -> matcher::RegexMatcher {
    matcher::RegexMatcher { regex: text.to_owned(), engine_type: None }
}

fn decode_regex(field: &str, message: &matcher::RegexMatcher) -> Result<Pattern, Problem> {
    Pattern::try_new(&message.regex).map_err(|problem| problem.at_field("regex").at_field(field))
}
