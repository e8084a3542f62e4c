//! From accepted resources to a snapshot: synchronous, opens nothing, cannot fail.
//!
//! What did not change goes on. A cluster with the same configuration is the same `Arc`; one whose configuration changed
//! takes over its endpoints (with load, ejection and connections), what is in use of its limits, and its retry budget.
//! A rate limit rule of the same policy with the same numbers keeps its bucket, whatever became of the routes it counts
//! for. A listener that is the same is the same `Arc`, by which the listening side knows it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use outrigger_config::cluster::{Cluster as ClusterModel, Discovery};
use outrigger_config::header::Headers;
use outrigger_config::listener::{Direction, Listener, TableSource};
use outrigger_config::name::{ClusterName, ListenerName, ObjectName, TableName};
use outrigger_config::policy::adaptive::AdaptiveConcurrency;
use outrigger_config::policy::asked::LimitFilter;
use outrigger_config::policy::rate_limit::{OnError, Scope};
use outrigger_config::policy::{Per, RateLimit, RateLimitRule, Retry};
use outrigger_config::rewrite::Answer as AnswerModel;
use outrigger_config::route::{
    AttemptCounts, Backend, Mirror as MirrorModel, Route as RouteModel, RouteTable, VirtualHost,
};
use outrigger_config::subset::Criteria;

use super::{ResourceSet, Snapshot};
use crate::circuit::Circuit;
use crate::cluster::{Cluster, Setting};
use crate::gradient::{Gradient, Gradients};
use crate::rls::Asking;
use crate::route::asked::Descriptors;
use crate::route::cache::Cache;
use crate::route::fault::Fault;
use crate::route::global::Globals;
use crate::route::hash::{FastHasher, FastMap};
use crate::route::mirror::Mirror;
use crate::route::pace::Pace;
use crate::route::{Answer, Bucket, Edits, Limiter, Rehearsed, Retrying, Route, Split, Table, Target};
use crate::telemetry::{EdgeKey, Metrics};

/// How long a copy may take where its route says nothing.
const MIRROR_TIMEOUT: Duration = Duration::from_secs(15);

/// What a snapshot takes from the process it lives in.
#[derive(Clone, Debug)]
pub struct Context {
    /// How many workers there are.
    pub workers: usize,
    /// Where requests are counted.
    pub metrics: Arc<Metrics>,
    /// Where round robins begin.
    pub seed: u64,
    /// The time.
    pub now: Instant,
}

/// What makes two rules share a bucket: the policy they came from, their name and their numbers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct BucketKey {
    pub(super) policy: Arc<str>,
    pub(super) rule: Arc<str>,
    requests: u32,
    interval: Duration,
    burst: u32,
    per: Per,
    max_keys: u32,
    scope: Scope,
    on_error: OnError,
}

/// What tells the answers of one route from those of another.
pub(super) type PaceKey = (TableName, Arc<str>);

/// Compiles `set`, with everything of `previous` that goes on.
pub fn compile(set: &ResourceSet, previous: Option<&Snapshot>, context: &Context) -> Snapshot {
    let clusters = compile_clusters(set, previous, context);
    take_places(set, &clusters, context.now);
    let (buckets, paces, circuits) = (HashMap::new(), HashMap::new(), HashMap::new());
    let mut tables = Tables { clusters: &clusters, previous, context, buckets, paces, circuits };
    let mut named: BTreeMap<TableName, Arc<Table>> = BTreeMap::new();
    for (name, model) in &set.tables {
        let serves = |listener: &&Listener| matches!(&listener.table, TableSource::Rds(table) if table == name);
        let direction = set.listeners.values().find(serves).map_or(Direction::Outbound, |listener| listener.direction);
        named.insert(name.clone(), Arc::new(tables.compile(model, direction)));
    }
    let mut serving: FastMap<ListenerName, Arc<Table>> = FastMap::default();
    for (name, listener) in &set.listeners {
        let table = match &listener.table {
            TableSource::Rds(table) => named.get(table).map(Arc::clone),
            TableSource::Inline(model) => Some(Arc::new(tables.compile(model, listener.direction))),
        };
        serving.extend(table.map(|table| (name.clone(), table)));
    }
    let gradient = |model: &AdaptiveConcurrency, old: Option<&Arc<Gradient>>| match old {
        Some(same) if same.model() == model => Arc::clone(same),
        old => Arc::new(Gradient::new(model.clone(), old.map(|old| &**old), context.now)),
    };
    let gradients = |(name, listener): (&ListenerName, &Listener)| {
        let model = listener.adaptive.as_ref()?;
        let old = previous.and_then(|previous| previous.gradients.get(name));
        let beside = listener.rehearsed_adaptive.as_ref();
        let beside = beside.map(|model| gradient(model, old.and_then(|old| old.beside.as_ref())));
        Some((name.clone(), Arc::new(Gradients { own: gradient(model, old.map(|old| &old.own)), beside })))
    };
    let asking = |(name, listener): (&ListenerName, &Listener)| {
        let old = previous.and_then(|previous| previous.asking_for(name));
        let asking = |filter: &LimitFilter| {
            // Who is away stays away here, too.
            let same = old.and_then(|old| old.iter().find(|old| old.filter == *filter));
            let circuit = same.map(|same| Arc::clone(&same.circuit)).unwrap_or_default();
            Asking { filter: filter.clone(), cluster: clusters.get(&filter.cluster).map(Arc::clone), circuit }
        };
        (!listener.limits.is_empty()).then(|| (name.clone(), listener.limits.iter().map(asking).collect()))
    };
    Snapshot {
        asking: set.listeners.iter().filter_map(asking).collect(),
        gradients: set.listeners.iter().filter_map(gradients).collect(),
        number: previous.map_or(1, |previous| previous.number + 1),
        listeners: set.listeners.values().map(|listener| keep_listener(listener, previous)).collect(),
        serving,
        buckets: tables.buckets,
        paces: tables.paces,
        circuits: tables.circuits,
        tables: named,
        clusters,
    }
}

fn keep_listener(model: &Listener, previous: Option<&Snapshot>) -> Arc<Listener> {
    let same = |old: &&Arc<Listener>| ***old == *model;
    let old = previous.and_then(|previous| previous.listeners.iter().find(same));
    old.map_or_else(|| Arc::new(model.clone()), Arc::clone)
}

fn compile_clusters(
    set: &ResourceSet,
    previous: Option<&Snapshot>,
    context: &Context,
) -> BTreeMap<ClusterName, Arc<Cluster>> {
    let all_asked = asked(set);
    let compile = |(name, model): (&ClusterName, &ClusterModel)| {
        let assignment = match &model.discovery {
            Discovery::Static(assignment) => Some(assignment),
            Discovery::Eds(name) => set.assignments.get(name),
        };
        let old = previous.and_then(|previous| previous.cluster(name));
        let asked: Box<[Criteria]> = match &model.subsets {
            None => Box::default(),
            Some(_) => {
                let of_routes = all_asked.get(name).into_iter().flatten().map(|asked| (*asked).clone());
                std::iter::once(Criteria::default()).chain(of_routes).collect()
            }
        };
        let cluster = match old.filter(|old| old.config == *model && *old.asked() == *asked) {
            Some(same) => {
                if let Some(assignment) = assignment {
                    same.set_assignment(assignment, context.now);
                }
                Arc::clone(same)
            }
            None => {
                let setting = Setting { workers: context.workers, seed: mix(context.seed, name), now: context.now };
                Arc::new(Cluster::asked_for(model.clone(), asked, assignment, old.map(|old| &**old), setting))
            }
        };
        (name.clone(), cluster)
    };
    set.clusters.iter().map(compile).collect()
}

/// What routes ask of destinations that are divided, each thing once.
fn asked(set: &ResourceSet) -> HashMap<&ClusterName, BTreeSet<&Criteria>> {
    let inline = set.listeners.values().filter_map(|listener| match &listener.table {
        TableSource::Inline(table) => Some(table),
        TableSource::Rds(_) => None,
    });
    let hosts = set.tables.values().chain(inline).flat_map(|table| &table.hosts);
    let mut asked: HashMap<&ClusterName, BTreeSet<&Criteria>> = HashMap::new();
    if set.clusters.values().all(|model| model.subsets.is_none()) {
        return asked;
    }
    for route in hosts.flat_map(|host| &host.routes) {
        let of_backends = route.backends.iter().map(|backend| (&backend.cluster, &backend.subset));
        let of_mirrors = route.mirrors.iter().map(|mirror| (&mirror.cluster, &mirror.subset));
        for (cluster, subset) in of_backends.chain(of_mirrors).filter(|(_, subset)| !subset.is_empty()) {
            asked.entry(cluster).or_default().insert(subset);
        }
    }
    asked
}

/// Tells destinations whose places count where this proxy stands, by the listeners it has.
fn take_places(set: &ResourceSet, clusters: &BTreeMap<ClusterName, Arc<Cluster>>, now: Instant) {
    let Some(identity) = set.listeners.values().find_map(|listener| listener.identity.as_ref()) else { return };
    let is_own = |cluster: &&Arc<Cluster>| {
        let service = cluster.config.service.as_ref();
        let named = |service: &ObjectName| {
            service.name() == &*identity.service && service.namespace() == identity.workload.namespace()
        };
        // Not the one that leads to the application itself.
        service.is_some_and(named) && matches!(cluster.config.discovery, Discovery::Eds(_))
    };
    let own = clusters.values().find(is_own);
    clusters.values().for_each(|cluster| cluster.stand(&identity.locality, own, now));
}

/// Another beginning for each cluster, or all of them would turn in step.
fn mix(seed: u64, name: &ClusterName) -> u64 {
    let mut hasher = FastHasher::default();
    (seed, name).hash(&mut hasher);
    hasher.finish()
}

/// Compiles tables and gathers the buckets that they use.
struct Tables<'a> {
    clusters: &'a BTreeMap<ClusterName, Arc<Cluster>>,
    previous: Option<&'a Snapshot>,
    context: &'a Context,
    buckets: HashMap<BucketKey, Arc<Bucket>>,
    paces: HashMap<PaceKey, Arc<Pace>>,
    circuits: HashMap<Arc<str>, Arc<Circuit>>,
}

impl Tables<'_> {
    fn compile(&mut self, model: &RouteTable, direction: Direction) -> Table {
        Table::new(model, |host, route| self.route((&model.name, host), route, direction))
    }

    /// None for a route whose weights are all zero, which validation refuses.
    fn route(
        &mut self,
        (table, host): (&TableName, &VirtualHost),
        model: &RouteModel,
        direction: Direction,
    ) -> Option<Arc<Route>> {
        let target = |backend: &Backend| (backend.weight, self.target(backend, model, direction));
        // The host too: one rule may be for several services, one behind the other.
        let full_name = format!("{}/{}", host.name, model.name);
        let targets = Split::new(model.backends.iter().map(target)).map(|split| split.of(&full_name));
        let answer = model.answer.as_ref().map(|answer| self.answer(answer, model, direction));
        if targets.is_none() && answer.is_none() {
            return None;
        }
        let mirrors = model.mirrors.iter().filter_map(|mirror| self.mirror(mirror, model, direction)).collect();
        let fault = model.fault.as_ref().map(Fault::new);
        let counters = || self.context.metrics.cache.of(&model.name);
        let cache = model.cache.as_ref().map(|policy| Cache::new(table.as_str(), model, policy, counters()));
        let beside = model.rehearsed.cache.as_ref();
        let beside = beside.map(|policy| Cache::rehearsed(table.as_str(), model, policy, counters()));
        let limiter = model.rate_limit.as_ref().map(|policy| self.limiter(table, model, policy));
        let globals = model.rate_limit.as_ref().and_then(|policy| self.globals(table, model, policy));
        let rehearsed = Rehearsed {
            fault: model.rehearsed.fault.as_ref().map(Fault::new),
            limiter: model.rehearsed.rate_limit.as_ref().map(|policy| self.limiter(table, model, policy)),
            globals: model.rehearsed.rate_limit.as_ref().and_then(|policy| self.globals(table, model, policy)),
            cache: beside,
            retrying: self.retrying(table, &model.name, model.rehearsed.retry.as_ref()),
        };
        let retrying = self.retrying(table, &model.name, model.retry.as_ref());
        let (config, asked) = (model.clone(), Descriptors::new(&model.asked));
        Some(Arc::new(Route {
            config,
            targets,
            answer,
            mirrors,
            fault,
            cache,
            limiter,
            globals,
            asked,
            rehearsed,
            retrying,
            counts: host.counts,
        }))
    }

    /// Copies have a route of their own: no policy of the request's holds for them but its timeout, or one that lets
    /// no copy stay for ever.
    fn mirror(&self, mirror: &MirrorModel, route: &RouteModel, direction: Direction) -> Option<Arc<Mirror>> {
        let name = format!("{}/mirror", route.name);
        let to = Backend { subset: mirror.subset.clone(), ..Backend::new(mirror.cluster.clone(), 1) };
        let mut copies = RouteModel { backends: vec![to], ..RouteModel::bare(&name) };
        copies.timeouts.request = Some(route.timeouts.request.unwrap_or(MIRROR_TIMEOUT));
        copies.timeouts.idle = route.timeouts.idle;
        let target = |backend: &Backend| (backend.weight, self.target(backend, &copies, direction));
        let targets = Some(Split::new(copies.backends.iter().map(target))?);
        let (answer, mirrors, fault, cache, limiter, globals) = (None, Box::default(), None, None, None, None);
        let (config, asked, rehearsed, retrying) = (copies.clone(), Descriptors::default(), Rehearsed::default(), None);
        let counts = AttemptCounts::default();
        let compiled = Route {
            config,
            targets,
            answer,
            mirrors,
            fault,
            cache,
            limiter,
            globals,
            asked,
            rehearsed,
            retrying,
            counts,
        };
        Some(Arc::new(Mirror::new(Arc::new(compiled), mirror.percent)))
    }

    fn answer(&self, answer: &AnswerModel, route: &RouteModel, direction: Direction) -> Answer {
        // No service can be called so.
        let key = EdgeKey {
            direction,
            dst_service: "(proxy)".into(),
            dst_namespace: "".into(),
            dst_version: "".into(),
            route: Arc::clone(&route.name),
        };
        let edits = Edits::new(route, &Headers::default());
        Answer { config: answer.clone(), edits, edge: self.context.metrics.edge(&key) }
    }

    fn target(&self, backend: &Backend, route: &RouteModel, direction: Direction) -> Target {
        let cluster = self.clusters.get(&backend.cluster);
        let service = cluster.and_then(|cluster| cluster.config.service.as_ref());
        let ask = cluster.map(|cluster| cluster.ask(&backend.subset)).unwrap_or_default();
        let key = EdgeKey {
            direction,
            dst_service: match (service, cluster) {
                (Some(service), _) => service.name().into(),
                (None, Some(cluster)) => Arc::clone(&cluster.label),
                (None, None) => backend.cluster.as_str().into(),
            },
            dst_namespace: service.map_or_else(|| "".into(), |service| service.namespace().into()),
            dst_version: cluster.map_or_else(|| "".into(), |cluster| cluster.version_for(ask)),
            route: Arc::clone(&route.name),
        };
        Target {
            cluster: cluster.map(Arc::clone),
            name: backend.cluster.clone(),
            ask,
            edge: self.context.metrics.edge(&key),
            edits: Edits::new(route, &backend.headers),
        }
    }

    /// A route of the same table and name goes on with what is known of its answers.
    fn retrying(&mut self, table: &TableName, route: &Arc<str>, policy: Option<&Retry>) -> Option<Retrying> {
        let policy = policy.filter(|policy| !policy.only_unsent())?;
        let key = (table.clone(), Arc::clone(route));
        let old = self.previous.and_then(|previous| previous.paces.get(&key)).map(Arc::clone);
        let fresh = || old.unwrap_or_else(|| Arc::new(Pace::new(self.context.now)));
        let pace = Arc::clone(self.paces.entry(key).or_insert_with(fresh));
        Some(Retrying::new(policy, pace))
    }

    fn globals(&mut self, table: &TableName, route: &RouteModel, policy: &RateLimit) -> Option<Globals> {
        policy.rules_of(Scope::Global).next()?;
        let key = scope_of(table, route, policy);
        // Who is away stays away whatever changes here: else requests would wait for it anew after every change.
        let old = self.previous.and_then(|previous| previous.circuits.get(&key)).map(Arc::clone);
        let circuit = Arc::clone(self.circuits.entry(key).or_insert_with(|| old.unwrap_or_default()));
        Globals::new(policy, circuit)
    }

    fn limiter(&mut self, table: &TableName, route: &RouteModel, policy: &RateLimit) -> Limiter {
        let scope = scope_of(table, route, policy);
        Limiter::new(policy, |rule| self.bucket(&scope, rule, policy.global.on_error))
    }

    fn bucket(&mut self, policy: &Arc<str>, rule: &RateLimitRule, on_error: OnError) -> Arc<Bucket> {
        let key = BucketKey {
            policy: Arc::clone(policy),
            rule: Arc::clone(&rule.name),
            requests: rule.requests,
            interval: rule.interval,
            burst: rule.burst,
            per: rule.per.clone(),
            max_keys: rule.max_keys,
            scope: rule.scope,
            on_error,
        };
        let old = self.previous.and_then(|previous| previous.buckets.get(&key)).map(Arc::clone);
        let new = || Arc::new(Bucket::new(rule, on_error, self.context.now, &mut fastrand::Rng::new()));
        Arc::clone(self.buckets.entry(key).or_insert_with(|| old.unwrap_or_else(new)))
    }
}

/// What a policy goes by from one snapshot to the next.
fn scope_of(table: &TableName, route: &RouteModel, policy: &RateLimit) -> Arc<str> {
    // Two policies of another control plane have no name to be told apart by, but routes of their own.
    let named = Some(Arc::clone(&policy.origin.0)).filter(|origin| !origin.is_empty());
    named.unwrap_or_else(|| format!("{table}/{}", route.name).into())
}
