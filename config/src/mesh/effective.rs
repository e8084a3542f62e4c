//! Which policy counts: that of the nearest target. A rule is nearer than its route, a route than a port of the service,
//! a port than the service. Nothing is merged: a nearer policy hides the wider one whole. Only one in Observe hides
//! nothing of what acts: it is rehearsed beside it, as if it stood in its place.

use std::fmt;
use std::time::Duration;

use super::index::{Index, Known, Named, RouteId};
use crate::document::{
    BackendPolicy, Created, Kind, MESH_NAMESPACE, RateLimitPolicy, RetryChoice, Route, RoutePolicy, Rule, ServicePort,
    TargetRef,
};
use crate::listener::Telemetry;
use crate::name::ObjectName;
use crate::policy::{Mode, Retry, Timeouts};

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
    /// When the route was made.
    pub(super) created: Option<&'a Created>,
}

impl<'a> RuleRef<'a> {
    /// The rules of a route.
    pub(super) fn all(route: &'a RouteId, known: &'a Known<Route>) -> impl Iterator<Item = RuleRef<'a>> {
        let rules = known.spec.rules.iter().enumerate();
        let created = known.spec.created.as_ref();
        rules.map(move |(number, rule)| RuleRef { route, document: known.document, number, rule, created })
    }
}

impl fmt::Display for RuleRef<'_> {
    /// `HTTPRoute shop/catalog/rule-0`: what the route is called wherever it is named.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name) = self.route;
        write!(f, "{kind} {name}/{}", self.rule.display_name(self.number))
    }
}

/// The policies of one kind that hold somewhere: one that acts, and one that is rehearsed beside it.
#[derive(Debug)]
pub(super) struct Held<'a, T> {
    /// The nearest in Enforce.
    pub(super) enforced: Option<&'a Known<T>>,
    /// The nearest in Observe, unless one that acts is nearer: that would hide it if it acted too.
    pub(super) observed: Option<&'a Known<T>>,
}

impl<'a, T> Held<'a, T> {
    /// Both, whichever there are.
    pub(super) fn each(&self) -> impl Iterator<Item = &'a Known<T>> + use<'a, T> {
        [self.enforced, self.observed].into_iter().flatten()
    }

    /// What the one that acts says.
    pub(super) fn acting(&self) -> Option<&'a T> {
        self.enforced.map(|known| &known.spec)
    }

    /// A part that acts, with what is rehearsed beside it. Where none acts, what is rehearsed stands alone.
    pub(super) fn part<P>(&self, part: impl Fn(&T) -> Option<P>) -> (Option<P>, Option<P>) {
        let of = |known: Option<&Known<T>>| known.and_then(|known| part(&known.spec));
        beside(of(self.enforced), of(self.observed))
    }
}

/// A part that acts, with what is rehearsed beside it; the latter alone comes first.
pub(super) fn beside<P>(acting: Option<P>, observed: Option<P>) -> (Option<P>, Option<P>) {
    if acting.is_some() { (acting, observed) } else { (observed, None) }
}

impl Index {
    /// The RoutePolicies of a rule, or of a service's port where there is no route.
    pub(super) fn route_policy(
        &self,
        rule: Option<RuleRef<'_>>,
        service: &ObjectName,
        port: &ServicePort,
    ) -> Held<'_, RoutePolicy> {
        let nearest = rule.into_iter().flat_map(targets_of_rule).chain(targets_of_port(service, port));
        self.held(Kind::RoutePolicy, &self.route_policies, nearest)
    }

    /// The idle timeouts that policies give to the routes of a service's port.
    pub(super) fn idle_timeouts(&self, service: &ObjectName, port: &ServicePort) -> impl Iterator<Item = Duration> {
        let attachments = self.attachments.get(service).into_iter().flatten();
        let routes = attachments.filter_map(|one| Some((&one.route, self.routes.get(&one.route)?)));
        let rules = routes.flat_map(|(route, known)| RuleRef::all(route, known)).map(Some).chain([None]);
        rules.filter_map(|rule| self.route_policy(rule, service, port).acting()?.timeouts.idle)
    }

    /// The RateLimitPolicies that a caller's proxy carries out on a rule.
    pub(super) fn route_limit(&self, rule: RuleRef<'_>) -> Held<'_, RateLimitPolicy> {
        self.held(Kind::RateLimitPolicy, &self.rate_limit_policies, targets_of_rule(rule))
    }

    /// The RateLimitPolicies that the sidecars before a service carry out.
    pub(super) fn service_limit(&self, service: &ObjectName, port: &ServicePort) -> Held<'_, RateLimitPolicy> {
        self.held(Kind::RateLimitPolicy, &self.rate_limit_policies, targets_of_port(service, port))
    }

    /// The BackendPolicies of a service's port.
    pub(super) fn backend_policy(&self, service: &ObjectName, port: &ServicePort) -> Held<'_, BackendPolicy> {
        self.held(Kind::BackendPolicy, &self.backend_policies, targets_of_port(service, port))
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

    /// `targets` from the nearest on: the first in Enforce hides whatever is behind it.
    fn held<'a, T>(&self, kind: Kind, policies: &'a Named<T>, targets: impl Iterator<Item = TargetRef>) -> Held<'a, T> {
        let mut held = Held { enforced: None, observed: None };
        for target in targets {
            let of = |mode| policies.get(self.targets.get(&(kind, mode, target.clone()))?);
            held.observed = held.observed.or_else(|| of(Mode::Observe));
            held.enforced = of(Mode::Enforce);
            if held.enforced.is_some() {
                break;
            }
        }
        held
    }
}

fn targets_of_rule(rule: RuleRef<'_>) -> impl Iterator<Item = TargetRef> {
    let (kind, name) = rule.route.clone();
    let section = rule.rule.name.clone();
    let own = section.map(|section| TargetRef { kind, name: name.clone(), section: Some(section) });
    own.into_iter().chain([TargetRef { kind, name, section: None }])
}

fn targets_of_port(service: &ObjectName, port: &ServicePort) -> impl Iterator<Item = TargetRef> {
    let target = |section| TargetRef { kind: Kind::Service, name: service.clone(), section };
    [target(Some(port.name.clone())), target(None)].into_iter()
}

/// How requests of a rule are sent.
#[derive(Debug)]
pub(super) struct Sending {
    /// What is tried again.
    pub(super) retry: Option<Retry>,
    /// What would be, were the policy in Observe in force.
    pub(super) rehearsed_retry: Option<Retry>,
    pub(super) timeouts: Timeouts,
}

/// What a rule ends up with: its own timeouts first, then the policy's, then the defaults.
pub(super) fn sending(rule: Option<&Rule>, policies: &Held<'_, RoutePolicy>) -> Sending {
    let policy = policies.acting();
    let own = rule.map(|rule| rule.timeouts).unwrap_or_default();
    let wider = policy.map(|policy| policy.timeouts).unwrap_or_default();
    let timeouts = Timeouts {
        request: own.request.or(wider.request),
        per_try: own.per_try,
        idle: own.idle.or(wider.idle).or(Some(IDLE_TIMEOUT)),
        stream: wider.stream,
        grpc_max: wider.grpc_max,
    };
    let retry = match policy.map(|policy| &policy.retry) {
        Some(RetryChoice::Policy(retry)) => Some(retry.clone()),
        Some(RetryChoice::Never) => None,
        Some(RetryChoice::Default) | None => Some(Retry::default_policy()),
    };
    let observed = policies.observed.and_then(|known| match &known.spec.retry {
        RetryChoice::Policy(retry) => Some(retry.clone()),
        RetryChoice::Never | RetryChoice::Default => None,
    });
    let (retry, rehearsed_retry) = beside(retry, observed);
    Sending { retry, rehearsed_retry, timeouts }
}
