//! Session persistence by cookie: the proxy names the endpoint that answered in a cookie, and whoever brings it back is
//! sent there again (Gateway API GEP-1619; xDS `extensions.filters.http.stateful_session.v3`).

use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};

use crate::error::Problem;

/// Which cookie holds a session, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The cookie's name.
    pub name: Arc<str>,
    /// For which paths the caller sends it; begins with a slash.
    pub path: Arc<str>,
    /// How long a session lasts from its beginning; absent: as long as its endpoint.
    pub lifetime: Option<Duration>,
    /// Whether the caller keeps the cookie so long even when it is closed (`Max-Age`); else only the proxy counts.
    pub permanent: bool,
    /// What else the cookie says, by name, with an empty value for a word alone: `SameSite`, `Secure`. `HttpOnly` it
    /// always says.
    pub attributes: Vec<(Arc<str>, Arc<str>)>,
}

impl Session {
    /// A cookie for every path, as long as the caller lives.
    pub fn named(name: &str) -> Self {
        Session { name: name.into(), path: "/".into(), lifetime: None, permanent: false, attributes: Vec::new() }
    }

    /// It makes a cookie that can be sent and comes back.
    pub fn check(&self) -> Result<(), Problem> {
        check_name(&self.name).map_err(|problem| problem.at_field("sessionName"))?;
        check_path(&self.path).map_err(|problem| problem.at_field("path"))?;
        if self.lifetime.is_some_and(|lifetime| lifetime < Duration::from_secs(1)) {
            return Err(Problem::invalid("", "must be at least 1s").at_field("absoluteTimeout"));
        }
        if self.permanent && self.lifetime.is_none() {
            return Err(Problem::new(crate::error::Code::MissingField, "is required by a permanent cookie")
                .at_field("absoluteTimeout"));
        }
        for (name, value) in &self.attributes {
            let inside = |problem: Problem| problem.at_field("attributes");
            check_name(name).map_err(inside)?;
            check_value(value).map_err(inside)?;
        }
        Ok(())
    }
}

/// A cookie's name is a token (RFC 6265, 4.1.1), in the case it is written in.
pub fn check_name(name: &str) -> Result<(), Problem> {
    match HeaderName::from_bytes(name.as_bytes()) {
        Ok(_) => Ok(()),
        Err(_) => Err(Problem::invalid(name, "must be the name of a cookie, as shop-session")),
    }
}

/// A path that a cookie can say: no semicolon ends it.
pub fn check_path(path: &str) -> Result<(), Problem> {
    if !path.starts_with('/') {
        return Err(Problem::invalid(path, "must begin with a slash"));
    }
    check_value(path)
}

fn check_value(value: &str) -> Result<(), Problem> {
    if HeaderValue::from_str(value).is_err() || !value.is_ascii() || value.contains(';') {
        return Err(Problem::invalid(value, "must be visible ASCII characters other than a semicolon"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Session;

    #[test]
    fn a_session_makes_a_cookie_that_comes_back() {
        let good = Session::named("shop");
        let hour = Some(Duration::from_secs(3600));
        assert!(good.check().is_ok());
        assert!(Session { permanent: true, lifetime: hour, ..good.clone() }.check().is_ok());
        for bad in [
            Session::named(""),
            Session::named("a b"),
            Session::named("a;b"),
            Session { path: "shop".into(), ..good.clone() },
            Session { path: "/;Domain=evil".into(), ..good.clone() },
            Session { path: "/\r\nx: y".into(), ..good.clone() },
            Session { lifetime: Some(Duration::ZERO), ..good.clone() },
            Session { permanent: true, ..good.clone() },
            Session { attributes: vec![("Same Site".into(), "".into())], ..good.clone() },
            Session { attributes: vec![("SameSite".into(), "Lax; Domain=x".into())], ..good },
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }
}
