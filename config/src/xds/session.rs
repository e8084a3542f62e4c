//! Sessions in standard fields (`envoy.extensions.filters.http.stateful_session.v3`).
//!
//! The filter stands idle in every chain that Envoy gets; a route switches it on for itself. Envoy writes the endpoint's
//! address into the cookie, our proxy does not, so that neither knows the other's cookies: a caller that comes by both
//! begins anew each time.

use super::value::{duration, missing, optional_duration, refuse_all, unsupported};
use super::wire::session::{
    Cookie, CookieAttribute, CookieBasedSessionState, StatefulSession, StatefulSessionPerRoute,
};
use super::wire::{self, outrigger};
use crate::error::Problem;
use crate::policy::Session;
use xds_api::pb::envoy::config::core::v3 as core;

/// The name of the extension that keeps a session in a cookie.
const COOKIE: &str = "envoy.http.stateful_session.cookie";

/// What Envoy is told. A lifetime that only the proxy counts it cannot keep.
pub(super) fn encode_for_envoy(session: &Session) -> StatefulSessionPerRoute {
    let state = CookieBasedSessionState { cookie: Some(cookie(session)) };
    let state = core::TypedExtensionConfig { name: COOKIE.to_owned(), typed_config: Some(wire::pack(&state)) };
    let stateful_session = StatefulSession { session_state: Some(state), ..Default::default() };
    StatefulSessionPerRoute { disabled: None, stateful_session: Some(stateful_session) }
}

fn cookie(session: &Session) -> Cookie {
    let attribute = |(name, value): &(std::sync::Arc<str>, std::sync::Arc<str>)| CookieAttribute {
        name: name.to_string(),
        value: value.to_string(),
    };
    Cookie {
        name: session.name.to_string(),
        ttl: session.lifetime.filter(|_| session.permanent).and_then(duration),
        path: session.path.to_string(),
        attributes: session.attributes.iter().map(attribute).collect(),
    }
}

/// What our own proxy is told.
pub(super) fn encode(session: &Session) -> outrigger::Session {
    let lifetime = session.lifetime.filter(|_| !session.permanent).and_then(duration);
    outrigger::Session { cookie: Some(cookie(session)), lifetime }
}

/// Reads our own words.
pub(super) fn read(message: &outrigger::Session) -> Result<Session, Problem> {
    let session = read_cookie(message.cookie.as_ref())?;
    let lifetime = optional_duration("lifetime", message.lifetime.as_ref())?;
    Ok(Session { lifetime: session.lifetime.or(lifetime), ..session })
}

fn read_cookie(message: Option<&Cookie>) -> Result<Session, Problem> {
    let message = message.ok_or_else(|| missing("cookie"))?;
    let inner = |problem: Problem| problem.at_field("cookie");
    let ttl = optional_duration("ttl", message.ttl.as_ref()).map_err(inner)?;
    // Envoy: zero is a cookie that lives until its caller is closed.
    let lifetime = ttl.filter(|ttl| !ttl.is_zero());
    let attribute = |one: &CookieAttribute| (one.name.as_str().into(), one.value.as_str().into());
    Ok(Session {
        name: message.name.as_str().into(),
        path: if message.path.is_empty() { "/".into() } else { message.path.as_str().into() },
        lifetime,
        permanent: lifetime.is_some(),
        attributes: message.attributes.iter().map(attribute).collect(),
    })
}

/// What a route's settings come to; nothing if they keep no session.
pub(super) fn decode(message: &StatefulSessionPerRoute) -> Result<Option<Session>, Problem> {
    let Some(stateful) = &message.stateful_session else { return Ok(None) };
    let Some(state) = &stateful.session_state else { return Ok(None) };
    let inside = |problem: Problem| problem.at_field("stateful_session");
    refuse_all([("strict", stateful.strict)]).map_err(inside)?;
    let inside = |problem: Problem| inside(problem.at_field("session_state"));
    let config = state.typed_config.as_ref().ok_or_else(|| inside(missing("typed_config")))?;
    if !wire::is::<CookieBasedSessionState>(config) {
        return Err(inside(
            unsupported("typed_config", "only a session in a cookie is supported").with_value(&config.type_url),
        ));
    }
    let inside = |problem: Problem| inside(problem.at_field("typed_config"));
    let state: CookieBasedSessionState = wire::unpack(config).map_err(inside)?;
    let session = read_cookie(state.cookie.as_ref()).map_err(inside)?;
    session.check().map_err(|problem| inside(problem.at_field("cookie")))?;
    Ok(Some(session))
}
