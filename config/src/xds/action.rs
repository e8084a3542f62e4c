//! What a route does beside sending requests on: redirects, direct responses, and rewrites of host and path
//! (`envoy.config.route.v3.RedirectAction`, `DirectResponseAction`, `RouteAction`).
//!
//! Our proxy replaces whole segments and never doubles a slash. Envoy replaces bytes, so that it is told the same in
//! other words where the two would differ.

use xds_api::pb::envoy::config::core::v3 as core;
use xds_api::pb::envoy::config::route::v3 as xds;
use xds_api::pb::envoy::r#type::matcher::v3 as matcher;
use xds_api::pb::google::protobuf as pb;

use super::value::{missing, refuse, refuse_all, refused, unsupported};
use crate::error::Problem;
use crate::matching::PathMatch;
use crate::resource::ClientKind;
use crate::rewrite::{Answer, DirectResponse, PathRewrite, Redirect, Rewrite, Scheme};

use xds::redirect_action::{PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier};
use xds::route::Action;
use xds::route_action::HostRewriteSpecifier;

/// How a replaced prefix is said.
enum Said {
    Prefix(String),
    Regex(matcher::RegexMatchAndSubstitute),
}

/// What makes Envoy replace `matched` as our proxy does.
fn say(matched: &PathMatch, replacement: &str, client: ClientKind) -> Said {
    let PathMatch::Prefix(prefix) = matched else { return Said::Prefix(replacement.to_owned()) };
    match (client, &**prefix, replacement) {
        (ClientKind::Outrigger, ..) => Said::Prefix(replacement.to_owned()),
        // `/` of `/b` becomes `/a/`, or the two would be joined to `/ab`.
        (_, "/", _) if !replacement.ends_with('/') => Said::Prefix(format!("{replacement}/")),
        // `/a` of `/a/b` becomes nothing, or the two would be joined to `//b`.
        (_, prefix, "/") => Said::Regex(matcher::RegexMatchAndSubstitute {
            pattern: Some(matcher::RegexMatcher { regex: taken_out(prefix), engine_type: None }),
            substitution: "/".to_owned(),
        }),
        _ => Said::Prefix(replacement.to_owned()),
    }
}

/// The pattern of a prefix, with every slash behind it.
fn taken_out(prefix: &str) -> String {
    format!("^{}/*", regex::escape(prefix.trim_end_matches('/')))
}

/// Whether a regular expression takes the matched prefix out, in our words or in those of Envoy Gateway.
fn takes_out(regex: &matcher::RegexMatchAndSubstitute, matched: &PathMatch) -> bool {
    let PathMatch::Prefix(prefix) = matched else { return false };
    let pattern = regex.pattern.as_ref().map(|pattern| pattern.regex.replace("\\/", "/"));
    regex.substitution == "/" && pattern.is_some_and(|pattern| pattern == taken_out(prefix))
}

/// Writes a rewrite into the action of a route.
pub(super) fn rewrite(action: &mut xds::RouteAction, rewrite: &Rewrite, matched: &PathMatch, client: ClientKind) {
    action.host_rewrite_specifier =
        rewrite.host.as_ref().map(|host| HostRewriteSpecifier::HostRewriteLiteral(host.to_string()));
    match &rewrite.path {
        None => {}
        // gRPC passes over rewrites, and has no prefixes to replace.
        Some(_) if client == ClientKind::Grpc => {}
        // Only a regular expression replaces a whole path.
        Some(PathRewrite::Full(full)) => {
            action.regex_rewrite = Some(matcher::RegexMatchAndSubstitute {
                pattern: Some(matcher::RegexMatcher { regex: WHOLE.to_owned(), engine_type: None }),
                // A backslash would begin a reference to a group; a path has none.
                substitution: full.to_string(),
            });
        }
        Some(PathRewrite::Prefix(replacement)) => match say(matched, replacement, client) {
            Said::Prefix(prefix) => action.prefix_rewrite = prefix,
            Said::Regex(regex) => action.regex_rewrite = Some(regex),
        },
    }
}

/// The pattern of a path that is replaced whole.
const WHOLE: &str = "^/.*$";

/// Reads a rewrite from the action of a route.
pub(super) fn read_rewrite(action: &xds::RouteAction, matched: &PathMatch) -> Result<Rewrite, Problem> {
    let host = match &action.host_rewrite_specifier {
        None | Some(HostRewriteSpecifier::AutoHostRewrite(pb::BoolValue { value: false })) => None,
        Some(HostRewriteSpecifier::HostRewriteLiteral(host)) => Some(host.to_ascii_lowercase().into()),
        Some(_) => return Err(unsupported("host_rewrite_specifier", "only host_rewrite_literal is supported")),
    };
    let path = match &action.regex_rewrite {
        None => (!action.prefix_rewrite.is_empty()).then(|| PathRewrite::Prefix(action.prefix_rewrite.as_str().into())),
        Some(regex) if takes_out(regex, matched) && action.prefix_rewrite.is_empty() => {
            Some(PathRewrite::Prefix("/".into()))
        }
        Some(regex) if regex.pattern.as_ref().is_some_and(|pattern| pattern.regex == WHOLE) => {
            refuse(!action.prefix_rewrite.is_empty() || regex.substitution.contains('\\'), "regex_rewrite")?;
            Some(PathRewrite::Full(regex.substitution.as_str().into()))
        }
        Some(_) => return Err(unsupported("regex_rewrite", "only one of the whole path, \"^/.*$\", is supported")),
    };
    Ok(Rewrite { host, path })
}

/// Encodes an answer.
pub(super) fn encode(answer: &Answer, matched: &PathMatch, client: ClientKind) -> Action {
    match answer {
        Answer::Redirect(redirect) => Action::Redirect(encode_redirect(redirect, matched, client)),
        Answer::Direct(direct) => {
            let body = core::data_source::Specifier::InlineString(direct.body.to_string());
            let body = core::DataSource { specifier: Some(body), ..Default::default() };
            Action::DirectResponse(xds::DirectResponseAction {
                status: direct.status.into(),
                body: (!direct.body.is_empty()).then_some(body),
            })
        }
    }
}

fn encode_redirect(redirect: &Redirect, matched: &PathMatch, client: ClientKind) -> xds::RedirectAction {
    let own = client == ClientKind::Outrigger;
    // Envoy would keep the port that was asked for, which is no port of the new scheme.
    let port = redirect.port.or_else(|| redirect.scheme.filter(|_| !own).map(Scheme::port));
    xds::RedirectAction {
        host_redirect: redirect.host.as_deref().unwrap_or_default().to_owned(),
        port_redirect: port.unwrap_or_default().into(),
        response_code: match redirect.status {
            302 => RedirectResponseCode::Found,
            303 => RedirectResponseCode::SeeOther,
            307 => RedirectResponseCode::TemporaryRedirect,
            308 => RedirectResponseCode::PermanentRedirect,
            _ => RedirectResponseCode::MovedPermanently,
        }
        .into(),
        strip_query: false,
        scheme_rewrite_specifier: redirect
            .scheme
            .map(|scheme| SchemeRewriteSpecifier::SchemeRedirect(scheme.as_str().to_owned())),
        path_rewrite_specifier: redirect.path.as_ref().filter(|_| client != ClientKind::Grpc).map(|path| match path {
            PathRewrite::Full(full) => PathRewriteSpecifier::PathRedirect(full.to_string()),
            PathRewrite::Prefix(replacement) => match say(matched, replacement, client) {
                Said::Prefix(prefix) => PathRewriteSpecifier::PrefixRewrite(prefix),
                Said::Regex(regex) => PathRewriteSpecifier::RegexRewrite(regex),
            },
        }),
    }
}

/// Decodes what is neither sent on nor unknown.
pub(super) fn decode(action: &Action, matched: &PathMatch) -> Result<Answer, Problem> {
    match action {
        Action::Redirect(redirect) => {
            decode_redirect(redirect, matched).map(Answer::Redirect).map_err(|problem| problem.at_field("redirect"))
        }
        Action::DirectResponse(direct) => {
            decode_direct(direct).map(Answer::Direct).map_err(|problem| problem.at_field("direct_response"))
        }
        Action::FilterAction(_) => Err(refused("filter_action")),
        Action::NonForwardingAction(_) => Err(refused("non_forwarding_action")),
        Action::Route(_) => Err(missing("action")),
    }
}

fn decode_redirect(message: &xds::RedirectAction, matched: &PathMatch) -> Result<Redirect, Problem> {
    refuse_all([("strip_query", message.strip_query)])?;
    let scheme = match &message.scheme_rewrite_specifier {
        None | Some(SchemeRewriteSpecifier::HttpsRedirect(false)) => None,
        Some(SchemeRewriteSpecifier::HttpsRedirect(true)) => Some(Scheme::Https),
        Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) => match scheme.as_str() {
            "http" => Some(Scheme::Http),
            "https" => Some(Scheme::Https),
            _ => return Err(unsupported("scheme_redirect", "must be http or https").with_value(scheme)),
        },
    };
    let status = match RedirectResponseCode::try_from(message.response_code) {
        Ok(RedirectResponseCode::MovedPermanently) => 301,
        Ok(RedirectResponseCode::Found) => 302,
        Ok(RedirectResponseCode::SeeOther) => 303,
        Ok(RedirectResponseCode::TemporaryRedirect) => 307,
        Ok(RedirectResponseCode::PermanentRedirect) => 308,
        Err(_) => return Err(unsupported("response_code", "is unknown").with_value(message.response_code)),
    };
    let port = u16::try_from(message.port_redirect)
        .map_err(|_| Problem::invalid(message.port_redirect, "must be at most 65535").at_field("port_redirect"))?;
    Ok(Redirect {
        scheme,
        host: (!message.host_redirect.is_empty()).then(|| message.host_redirect.to_ascii_lowercase().into()),
        port: (port > 0).then_some(port),
        path: match &message.path_rewrite_specifier {
            None => None,
            Some(PathRewriteSpecifier::PathRedirect(path)) => Some(PathRewrite::Full(path.as_str().into())),
            Some(PathRewriteSpecifier::PrefixRewrite(prefix)) => Some(PathRewrite::Prefix(prefix.as_str().into())),
            Some(PathRewriteSpecifier::RegexRewrite(regex)) if takes_out(regex, matched) => {
                Some(PathRewrite::Prefix("/".into()))
            }
            Some(PathRewriteSpecifier::RegexRewrite(_)) => return Err(refused("regex_rewrite")),
        },
        status,
    })
}

fn decode_direct(message: &xds::DirectResponseAction) -> Result<DirectResponse, Problem> {
    let status = u16::try_from(message.status)
        .map_err(|_| Problem::invalid(message.status, "must be a status").at_field("status"))?;
    let body = match message.body.as_ref().map(|body| &body.specifier) {
        None | Some(None) => "",
        Some(Some(core::data_source::Specifier::InlineString(text))) => text,
        Some(Some(core::data_source::Specifier::InlineBytes(bytes))) => {
            std::str::from_utf8(bytes).map_err(|_| unsupported("inline_bytes", "must be text").at_field("body"))?
        }
        Some(Some(_)) => return Err(unsupported("body", "only an inline body is supported")),
    };
    Ok(DirectResponse { status, body: body.into() })
}
