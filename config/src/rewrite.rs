//! Where else a request goes than it says: rewritten on its way, or sent back to be asked elsewhere (Gateway API
//! `URLRewrite` and `RequestRedirect`, xDS `RouteAction.prefix_rewrite`, `RedirectAction`), or answered at once
//! (`DirectResponseAction`).

use std::sync::Arc;

use crate::error::{Code, Problem};
use crate::matching::PathMatch;

/// What becomes of a path; the query stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathRewrite {
    /// The whole path is this.
    Full(Arc<str>),
    /// This stands for what the route matched; what came behind it stays behind it.
    Prefix(Arc<str>),
}

/// What is rewritten in a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrite {
    /// The host that the endpoint is asked for.
    pub host: Option<Arc<str>>,
    /// The path.
    pub path: Option<PathRewrite>,
}

/// How a request is sent elsewhere; what is not said stays as it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// The scheme.
    pub scheme: Option<Scheme>,
    /// The host, without a port.
    pub host: Option<Arc<str>>,
    /// The port; absent with a scheme: the scheme's own; absent with a host alone: none.
    pub port: Option<u16>,
    /// The path.
    pub path: Option<PathRewrite>,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// A scheme that a redirect can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `http`.
    Http,
    /// `https`.
    Https,
}

/// An answer without asking anybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectResponse {
    /// The status, 200 to 599.
    pub status: u16,
    /// The body, plain text unless a header field says otherwise; empty: none.
    pub body: Arc<str>,
}

/// What a route that sends nothing on does instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Sends the caller elsewhere.
    Redirect(Redirect),
    /// Answers.
    Direct(DirectResponse),
}

/// The statuses that a redirect can have.
pub const REDIRECTS: [u16; 5] = [301, 302, 303, 307, 308];
/// The longest body of a direct response, bytes: what xDS allows unless told otherwise.
pub const MAX_BODY: usize = 4096;
/// The longest path that a rewrite names, as in Gateway API.
const MAX_PATH: usize = 1024;

impl Scheme {
    /// As it stands in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    /// The port that need not be said.
    pub fn port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

impl Rewrite {
    /// Whether nothing is rewritten.
    pub fn is_empty(&self) -> bool {
        self.host.is_none() && self.path.is_none()
    }

    /// Host and path can be what they are rewritten to.
    pub fn check(&self, matched: &PathMatch) -> Result<(), Problem> {
        if let Some(host) = &self.host {
            check_host(host).map_err(|problem| problem.at_field("hostname"))?;
        }
        check_rewrite(self.path.as_ref(), matched)
    }
}

impl Answer {
    /// The answer can be given.
    pub fn check(&self, matched: &PathMatch) -> Result<(), Problem> {
        match self {
            Answer::Redirect(redirect) => {
                if !REDIRECTS.contains(&redirect.status) {
                    return Err(
                        Problem::invalid(redirect.status, "must be 301, 302, 303, 307 or 308").at_field("statusCode")
                    );
                }
                if let Some(host) = &redirect.host {
                    check_host(host).map_err(|problem| problem.at_field("hostname"))?;
                    if host.contains(':') {
                        return Err(Problem::invalid(host, "must have no port; port says it").at_field("hostname"));
                    }
                }
                if redirect.port == Some(0) {
                    return Err(Problem::invalid(0, "must be a port").at_field("port"));
                }
                check_rewrite(redirect.path.as_ref(), matched)
            }
            Answer::Direct(direct) => direct.check(),
        }
    }
}

impl DirectResponse {
    /// The status can be given, with or without the body.
    pub fn check(&self) -> Result<(), Problem> {
        if !(200..=599).contains(&self.status) {
            return Err(Problem::invalid(self.status, "must be a status between 200 and 599").at_field("status"));
        }
        if matches!(self.status, 204 | 205 | 304) && !self.body.is_empty() {
            let reason = format!("a {} has no body", self.status);
            return Err(Problem::new(Code::Conflict, reason).at_field("body"));
        }
        if self.body.len() > MAX_BODY {
            return Err(Problem::invalid(self.body.len(), format!("must be at most {MAX_BODY} bytes")).at_field("body"));
        }
        Ok(())
    }
}

fn check_rewrite(path: Option<&PathRewrite>, matched: &PathMatch) -> Result<(), Problem> {
    let (text, field) = match path {
        None => return Ok(()),
        Some(PathRewrite::Full(text)) => (text, "replaceFullPath"),
        Some(PathRewrite::Prefix(text)) => (text, "replacePrefixMatch"),
    };
    let at = |problem: Problem| problem.at_field(field).at_field("path");
    check_path(text).map_err(at)?;
    if field == "replacePrefixMatch" && !matches!(matched, PathMatch::Prefix(_) | PathMatch::RawPrefix(_)) {
        let reason = "needs matches of type PathPrefix, since there is no prefix to replace otherwise";
        return Err(at(Problem::new(Code::Conflict, reason)));
    }
    Ok(())
}

/// A path that is its own normal form: of the characters of RFC 3986, without `//`, dot segments and encoded slashes.
pub fn check_path(text: &str) -> Result<(), Problem> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@%/".contains(c);
    let refused = ["//", "/./", "/../", "%2f", "%2F"];
    let ends = ["/.", "/.."];
    if !text.starts_with('/') || text.len() > MAX_PATH || !text.chars().all(allowed) {
        return Err(Problem::invalid(text, format!("must be a path: '/' and up to {MAX_PATH} characters of RFC 3986")));
    }
    if refused.iter().any(|part| text.contains(part)) || ends.iter().any(|end| text.ends_with(end)) {
        return Err(Problem::invalid(text, "must be a normal path: without '//', '/./', '/../' or an encoded '/'"));
    }
    // Requests have them decoded before they are held against anything.
    if let Some(escape) = text.match_indices('%').find_map(|(at, _)| unreserved(text.get(at..at + 3)?)) {
        return Err(Problem::invalid(text, format!("must be a normal path: {escape:?} stands for itself, decoded")));
    }
    Ok(())
}

/// The character that an escape stands for, if it is one that needs none (RFC 3986, 2.3).
fn unreserved(escape: &str) -> Option<char> {
    let byte = u8::from_str_radix(escape.strip_prefix('%')?, 16).ok()?;
    let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    plain.then_some(char::from(byte))
}

/// A host, perhaps with a port.
fn check_host(text: &str) -> Result<(), Problem> {
    let (name, port) = text.rsplit_once(':').unwrap_or((text, "80"));
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.' | '_');
    if name.is_empty()
        || name.len() > 253
        || !name.chars().all(plain)
        || !port.parse::<u16>().is_ok_and(|port| port > 0)
    {
        return Err(Problem::invalid(text, "must be a lower-case host name"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Answer, DirectResponse, PathRewrite, Redirect, Rewrite};
    use crate::matching::PathMatch;

    fn path_of(rewrite: &Rewrite, matched: &PathMatch) -> Option<String> {
        rewrite.check(matched).err().map(|problem| problem.path)
    }

    #[test]
    fn a_prefix_is_replaced_only_where_one_was_matched() {
        let rewrite = Rewrite { host: None, path: Some(PathRewrite::Prefix("/v2".into())) };
        assert_eq!(path_of(&rewrite, &PathMatch::Prefix("/v1".into())), None);
        assert_eq!(path_of(&rewrite, &PathMatch::RawPrefix("/v1/".into())), None);
        assert_eq!(path_of(&rewrite, &PathMatch::Exact("/v1".into())).as_deref(), Some("path.replacePrefixMatch"));
    }

    #[test]
    fn nothing_is_rewritten_to_what_cannot_be_asked_for() {
        for (host, path) in
            [("a b", "/"), ("", "/"), ("a:0", "/"), ("A", "/"), ("a", "b"), ("a", "/a?b"), ("a", "/../b")]
        {
            let rewrite = Rewrite { host: Some(host.into()), path: Some(PathRewrite::Full(path.into())) };
            assert!(rewrite.check(&PathMatch::Prefix("/".into())).is_err(), "{host} {path}");
        }
    }

    #[test]
    fn an_answer_can_be_given() {
        let matched = PathMatch::Prefix("/".into());
        let direct = |status, body: &str| Answer::Direct(DirectResponse { status, body: body.into() });
        for (answer, good) in [(direct(503, "later"), true), (direct(199, ""), false), (direct(204, "x"), false)] {
            assert_eq!(answer.check(&matched).is_ok(), good, "{answer:?}");
        }
        let redirect = Redirect { scheme: None, host: Some("a:1".into()), port: None, path: None, status: 302 };
        assert!(Answer::Redirect(redirect.clone()).check(&matched).is_err());
        assert!(Answer::Redirect(Redirect { host: None, status: 300, ..redirect }).check(&matched).is_err());
    }
}
