//! Which request goes where (xDS `RouteConfiguration`). Routes stand in the order in which they are tried: whoever
//! makes a table has already sorted it by Gateway API's precedence, so that the first match decides.

use std::sync::Arc;

use crate::error::{Code, Problem};
use crate::header::Headers;
use crate::name::{ClusterName, Domain, TableName};
use crate::policy::asked::Asked;
use crate::policy::{Cache, Fault, Mode, Origin, RateLimit, Retry, Session, Timeouts};
use crate::rewrite::{Answer, Rewrite};
use crate::subset::Criteria;
use crate::value::Percent;

pub use crate::matching::{HeaderMatch, PathMatch, QueryMatch, RouteMatch, ValueMatch};
pub use crate::policy::Priority;

/// Where a part of a route's requests goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// The cluster.
    pub cluster: ClusterName,
    /// Its share among the route's backends; 0 is drained.
    pub weight: u32,
    /// Which header fields are changed on this way, after the route's own changes.
    pub headers: Headers,
    /// What is asked of the cluster's endpoints, where those are divided ([`crate::cluster::Cluster::subsets`]).
    pub subset: Criteria,
}

impl Backend {
    /// A backend without changes.
    pub fn new(cluster: ClusterName, weight: u32) -> Self {
        Backend { cluster, weight, headers: Headers::default(), subset: Criteria::default() }
    }
}

/// Where copies of a route's requests go, whose answers nobody reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// The cluster.
    pub cluster: ClusterName,
    /// The share of requests that is copied.
    pub percent: Percent,
    /// What is asked of the cluster's endpoints, as of a [`Backend`]'s.
    pub subset: Criteria,
}

/// What a hash balancer keys a request by; the first that the request has counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashKey {
    /// A header field, by lower-case name.
    Header(Arc<str>),
    /// A cookie, by name.
    Cookie(Arc<str>),
    /// The caller's address, without its port.
    SourceIp,
}

/// One rule: what matches, and what happens to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The rule's name, the same for all the matches of one rule: `HTTPRoute shop/catalog/rule-0`. Never a path.
    pub name: Arc<str>,
    /// The document behind it.
    pub origin: Origin,
    /// What it takes.
    pub matches: RouteMatch,
    /// Where it sends it; weights above zero in sum, and none where it answers by itself.
    pub backends: Vec<Backend>,
    /// What its backends are chosen by, so that equal requests go to equal backends; the first that a request has
    /// counts, and one that has none is sent by chance.
    pub sticky: Vec<HashKey>,
    /// Where it sends copies.
    pub mirrors: Vec<Mirror>,
    /// What it answers by itself; then it has no backends, nor whatever would hold for sending.
    pub answer: Option<Answer>,
    /// What it rewrites.
    pub rewrite: Rewrite,
    /// Which header fields are changed.
    pub headers: Headers,
    /// How long it may take.
    pub timeouts: Timeouts,
    /// What is tried again; none tries once.
    pub retry: Option<Retry>,
    /// Which faults are injected.
    pub fault: Option<Fault>,
    /// Which responses are kept.
    pub cache: Option<Cache>,
    /// How much is let in.
    pub rate_limit: Option<RateLimit>,
    /// What a rate limit service of another control plane is asked.
    pub asked: Vec<Asked>,
    /// What is only observed beside the policies above.
    pub rehearsed: Rehearsed,
    /// What a hash balancer keys by.
    pub hash: Vec<HashKey>,
    /// What keeps a caller at the endpoint that it came to first, of whichever backend.
    pub session: Option<Session>,
    /// How much its requests matter; High only where it sends them on.
    pub priority: Priority,
}

/// Policies in Observe beside ones that act: each decides as if it stood in the other's place, and changes nothing. What
/// is observed where nothing acts stands on the route itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rehearsed {
    /// What would be tried again.
    pub retry: Option<Retry>,
    /// Which faults would be injected.
    pub fault: Option<Fault>,
    /// How much would be let in.
    pub rate_limit: Option<RateLimit>,
    /// Which responses would be kept.
    pub cache: Option<Cache>,
}

impl Rehearsed {
    fn check(&self) -> Result<(), Problem> {
        let modes = [
            ("retry", self.retry.as_ref().map(|policy| policy.mode)),
            ("fault", self.fault.as_ref().map(|policy| policy.mode)),
            ("rateLimit", self.rate_limit.as_ref().map(|policy| policy.mode)),
            ("cache", self.cache.as_ref().map(|policy| policy.mode)),
        ];
        if let Some((field, _)) = modes.into_iter().find(|(_, mode)| mode.is_some_and(Mode::enforces)) {
            return Err(Problem::new(Code::Conflict, "must be in Observe").at_field(field));
        }
        self.cache.as_ref().map_or(Ok(()), Cache::check).map_err(|problem| problem.at_field("cache"))?;
        check_policies(self.retry.as_ref(), self.fault.as_ref(), self.rate_limit.as_ref())
    }
}

fn check_policies(retry: Option<&Retry>, fault: Option<&Fault>, limit: Option<&RateLimit>) -> Result<(), Problem> {
    limit.map_or(Ok(()), RateLimit::check).map_err(|problem| problem.at_field("rateLimit"))?;
    fault.map_or(Ok(()), Fault::check).map_err(|problem| problem.at_field("fault"))?;
    retry.map_or(Ok(()), Retry::check).map_err(|problem| problem.at_field("retry"))
}

impl Route {
    /// A route of everything that leads nowhere yet.
    pub fn bare(name: &str) -> Self {
        Route {
            name: name.into(),
            origin: Origin::default(),
            matches: RouteMatch::any(),
            backends: Vec::new(),
            sticky: Vec::new(),
            mirrors: Vec::new(),
            answer: None,
            rewrite: Rewrite::default(),
            headers: Headers::default(),
            timeouts: Timeouts::default(),
            retry: None,
            fault: None,
            cache: None,
            rate_limit: None,
            asked: Vec::new(),
            rehearsed: Rehearsed::default(),
            hash: Vec::new(),
            priority: Priority::Default,
            session: None,
        }
    }

    /// A route of everything to one cluster, without any policy.
    pub fn forward(name: &str, cluster: ClusterName) -> Self {
        Route { backends: vec![Backend::new(cluster, 1)], ..Route::bare(name) }
    }

    /// A route that answers everything by itself.
    pub fn answering(name: &str, answer: Answer) -> Self {
        Route { answer: Some(answer), ..Route::bare(name) }
    }

    /// The parts hold together.
    pub fn check(&self) -> Result<(), Problem> {
        self.headers.check()?;
        check_policies(self.retry.as_ref(), self.fault.as_ref(), self.rate_limit.as_ref())?;
        if let Some(cache) = &self.cache {
            cache.check().map_err(|problem| problem.at_field("cache"))?;
        }
        self.rehearsed.check().map_err(|problem| problem.at_field("rehearsed"))?;
        match &self.answer {
            Some(answer) => self.check_answer(answer),
            None => self.check_forward(),
        }
    }

    fn check_answer(&self, answer: &Answer) -> Result<(), Problem> {
        let sends = !self.backends.is_empty()
            || !self.mirrors.is_empty()
            || !self.sticky.is_empty()
            || !self.rewrite.is_empty()
            || self.timeouts != Timeouts::default()
            || self.retry.is_some()
            || self.rehearsed.retry.is_some()
            || self.rehearsed.cache.is_some()
            || self.cache.is_some()
            || !self.asked.is_empty()
            || !self.hash.is_empty()
            || self.session.is_some()
            || self.priority != Priority::Default;
        if sends {
            return Err(Problem::new(Code::Conflict, "a route that answers by itself sends nothing on"));
        }
        answer.check(&self.matches.path)
    }

    fn check_forward(&self) -> Result<(), Problem> {
        let total: u64 = self.backends.iter().map(|backend| u64::from(backend.weight)).sum();
        if total == 0 {
            return Err(
                Problem::new(Code::ZeroWeights, "the weights must add up to at least 1").at_field("backendRefs")
            );
        }
        // The bound of xDS WeightedCluster.total_weight.
        if total > u64::from(u32::MAX) {
            return Err(
                Problem::invalid(total, "the weights must add up to at most 4294967295").at_field("backendRefs")
            );
        }
        self.rewrite.check(&self.matches.path).map_err(|problem| problem.at_field("urlRewrite"))?;
        for (index, backend) in self.backends.iter().enumerate() {
            backend.headers.check().map_err(|problem| problem.at_index(index).at_field("backendRefs"))?;
        }
        if let Some(session) = &self.session {
            session.check().map_err(|problem| problem.at_field("sessionPersistence"))?;
        }
        self.timeouts.check(self.retry.as_ref())?;
        self.timeouts.check(self.rehearsed.retry.as_ref()).map_err(|problem| problem.at_field("rehearsed"))
    }
}

/// The routes of some hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualHost {
    /// A name for people, unique in its table.
    pub name: Arc<str>,
    /// The hosts, at least one, none in two virtual hosts of a table. The most specific wins: exact, then the longest
    /// suffix, then `*`.
    pub domains: Vec<Domain>,
    /// The routes, in the order they are tried.
    pub routes: Vec<Route>,
    /// Who is told which attempt it is.
    pub counts: AttemptCounts,
}

/// Who learns from `x-envoy-attempt-count` how many attempts a request has had, the first included (xDS
/// `VirtualHost.include_request_attempt_count`, `include_attempt_count_in_response`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttemptCounts {
    /// The endpoint, with each attempt.
    pub to_endpoint: bool,
    /// The caller, with the answer.
    pub to_caller: bool,
}

/// A table of routes (an RDS resource).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteTable {
    /// The resource's name.
    pub name: TableName,
    /// The hosts it serves.
    pub hosts: Vec<VirtualHost>,
}

impl RouteTable {
    /// Every route holds together, and no host is served twice.
    pub fn check(&self) -> Result<(), Problem> {
        let mut seen = std::collections::BTreeSet::new();
        for (index, host) in self.hosts.iter().enumerate() {
            let at = |problem: Problem| problem.at_index(index).at_field("virtualHosts");
            if host.domains.is_empty() {
                return Err(at(Problem::new(Code::MissingField, "needs at least one domain").at_field("domains")));
            }
            for domain in &host.domains {
                if !seen.insert(domain) {
                    return Err(at(Problem::new(Code::Conflict, "is served by two virtual hosts")
                        .with_value(domain)
                        .at_field("domains")));
                }
            }
            for (route_index, route) in host.routes.iter().enumerate() {
                route.check().map_err(|problem| at(problem.at_index(route_index).at_field("routes")))?;
            }
        }
        Ok(())
    }
}
