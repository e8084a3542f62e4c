//! Global rate limits in standard fields: the filter that asks our own control plane, and what a route has it ask.
//!
//! The filter stands in every chain that Envoy gets and asks nothing unless a route says so. It is one for all routes, so
//! that a policy's `timeout` and `onError` are our own proxy's alone; a rule that counts some requests only is said to
//! nobody but our own proxy, as with the local limits.

use xds_api::pb::envoy::config::route::v3 as route;

use super::value::duration;
use super::wire::global_limit::RateLimit as Filter;
use super::{asked, rls};
use crate::policy::asked::{Action, Asked};
use crate::policy::rate_limit::{CALLER, GlobalLimit, Scope};
use crate::policy::{Per, RateLimit, RateLimitRule};

/// What the control plane's cluster is called in the bootstrap of an Envoy.
const CONTROL_PLANE: &str = "control-plane";

/// The filter.
pub(super) fn filter() -> Filter {
    Filter {
        domain: rls::DOMAIN.into(),
        timeout: duration(GlobalLimit::default().timeout),
        rate_limited_as_resource_exhausted: true,
        rate_limit_service: asked::service(CONTROL_PLANE),
        ..Default::default()
    }
}

/// What a route has asked of every request.
pub(super) fn encode(limit: &RateLimit) -> Vec<route::RateLimit> {
    let global = |rule: &&RateLimitRule| rule.scope == Scope::Global && rule.matches.is_empty();
    let rules = limit.rules.iter().filter(global).filter(|_| limit.mode.enforces());
    rules.map(|rule| asked::encode(&of_rule(limit.name(), rule))).collect()
}

fn of_rule(policy: &str, rule: &RateLimitRule) -> Asked {
    let generic = |key: &str, value: &str| Action::GenericKey { key: key.into(), value: value.into() };
    // Without the field Envoy says no key, which counts as one more.
    let header = |name: &str| Action::RequestHeader { name: name.into(), key: rls::KEY.into(), optional: true };
    let mut actions = vec![generic(rls::POLICY, policy), generic(rls::RULE, &rule.name)];
    actions.extend(match &rule.per {
        Per::Total => None,
        Per::Header(name) => Some(header(name)),
        Per::SourceWorkload => Some(header(CALLER)),
        Per::SourceIp => Some(Action::MaskedRemoteAddress(32, 64)),
    });
    Asked { stage: 0, actions }
}
