//! Which policy counts: that of the nearest target. A rule is nearer than its route, a route than a port of the service,
//! a port than the service. Nothing is merged: a nearer policy hides the wider one whole.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::index::{Index, Known, RouteId};
use crate::document::{
    BackendPolicy, Kind, MESH_NAMESPACE, RateLimitPolicy, RetryChoice, Route, RoutePolicy, Rule, ServicePort, TargetRef,
};
use crate::listener::Telemetry;
use crate::name::ObjectName;
use crate::policy::{Retry, Timeouts};

/// How long a stream may be silent unless a policy says otherwise.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(300);

/// A rule of a route, as policies can be for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct RuleRef<'a> {
    pub(super) route: &'a RouteId,
    /// The route's document.
    pub(super) document: usize,
    /// Which of the route's rules it is.
    pub(super) number: usize,
    pub(super) rule: &'a Rule,
}

impl<'a> RuleRef<'a> {
    /// The rules of a route.
    pub(super) fn all(route: &'a RouteId, known: &'a Known<Route>) -> impl Iterator<Item = RuleRef<'a>> {
        let rules = known.spec.rules.iter().enumerate();
        rules.map(|(number, rule)| RuleRef { route, document: known.document, number, rule })
    }
}

impl fmt::Display for RuleRef<'_> {
    /// `HTTPRoute shop/catalog/rule-0`: what the route is called wherever it is named.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name) = self.route;
        write!(f, "{kind} {name}/{}", self.rule.display_name(self.number))
    }
}

impl Index {
    /// The RoutePolicy of a rule, or of a service's port where there is no route.
    pub(super) fn route_policy(
        &self,
        rule: Option<RuleRef<'_>>,
        service: &ObjectName,
        port: &ServicePort,
    ) -> Option<&Known<RoutePolicy>> {
        let nearest = rule.and_then(|rule| self.policy_of_rule(Kind::RoutePolicy, rule));
        let name = nearest.or_else(|| self.policy_of_port(Kind::RoutePolicy, service, port))?;
        self.route_policies.get(name)
    }

    /// The idle timeouts that policies give to the routes of a service's port.
    pub(super) fn idle_timeouts(&self, service: &ObjectName, port: &ServicePort) -> impl Iterator<Item = Duration> {
        let attachments = self.attachments.get(service).into_iter().flatten();
        let routes = attachments.filter_map(|one| Some((&one.route, self.routes.get(&one.route)?)));
        let rules = routes.flat_map(|(route, known)| RuleRef::all(route, known)).map(Some).chain([None]);
        rules.filter_map(|rule| self.route_policy(rule, service, port)?.spec.timeouts.idle)
    }

    /// The RateLimitPolicy that a caller's proxy carries out on a rule.
    pub(super) fn route_limit(&self, rule: RuleRef<'_>) -> Option<&Known<RateLimitPolicy>> {
        self.rate_limit_policies.get(self.policy_of_rule(Kind::RateLimitPolicy, rule)?)
    }

    /// The RateLimitPolicy that the sidecars before a service carry out.
    pub(super) fn service_limit(&self, service: &ObjectName, port: &ServicePort) -> Option<&Known<RateLimitPolicy>> {
        self.rate_limit_policies.get(self.policy_of_port(Kind::RateLimitPolicy, service, port)?)
    }

    /// The BackendPolicy of a service's port.
    pub(super) fn backend_policy(&self, service: &ObjectName, port: &ServicePort) -> Option<&Known<BackendPolicy>> {
        self.backend_policies.get(self.policy_of_port(Kind::BackendPolicy, service, port)?)
    }

    /// What spans and logs are like in a namespace, field by field: its own MeshPolicy, then the mesh's.
    pub(super) fn telemetry(&self, namespace: &str) -> Telemetry {
        let first = |namespace: &str| {
            self.mesh_policies.iter().find(|(name, _)| name.namespace() == namespace).map(|(_, known)| &known.spec)
        };
        let (own, mesh) = (first(namespace), first(MESH_NAMESPACE));
        let defaults = Telemetry::default();
        Telemetry {
            sample: own.and_then(|own| own.sample).or_else(|| mesh?.sample).unwrap_or(defaults.sample),
            access_log: own.and_then(|own| own.access_log).or_else(|| mesh?.access_log).unwrap_or(defaults.access_log),
        }
    }

    fn policy_of_rule(&self, policy: Kind, rule: RuleRef<'_>) -> Option<&ObjectName> {
        let (kind, name) = rule.route;
        let own = rule.rule.name.as_ref().and_then(|section| self.policy_of(policy, *kind, name, Some(section)));
        own.or_else(|| self.policy_of(policy, *kind, name, None))
    }

    fn policy_of_port(&self, policy: Kind, service: &ObjectName, port: &ServicePort) -> Option<&ObjectName> {
        self.policy_of(policy, Kind::Service, service, Some(&port.name))
            .or_else(|| self.policy_of(policy, Kind::Service, service, None))
    }

    fn policy_of(
        &self,
        policy: Kind,
        kind: Kind,
        name: &ObjectName,
        section: Option<&Arc<str>>,
    ) -> Option<&ObjectName> {
        self.targets.get(&(policy, TargetRef { kind, name: name.clone(), section: section.cloned() }))
    }
}

/// The retry and the timeouts that a rule ends up with: its own timeouts first, then the policy's, then the defaults.
pub(super) fn retry_and_timeouts(rule: Option<&Rule>, policy: Option<&RoutePolicy>) -> (Option<Retry>, Timeouts) {
    let own = rule.map(|rule| rule.timeouts).unwrap_or_default();
    let wider = policy.map(|policy| policy.timeouts).unwrap_or_default();
    let timeouts = Timeouts {
        request: own.request.or(wider.request),
        per_try: own.per_try,
        idle: own.idle.or(wider.idle).or(Some(IDLE_TIMEOUT)),
    };
    let retry = match policy.map(|policy| &policy.retry) {
        Some(RetryChoice::Policy(retry)) => Some(retry.clone()),
        Some(RetryChoice::Never) => None,
        Some(RetryChoice::Default) | None => Some(Retry::default_policy()),
    };
    (retry, timeouts)
}
