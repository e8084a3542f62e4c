//! A request's trail as a [`Record`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderMap;
use outrigger_config::record::{self, Answer, Attempt, Bucket, Concurrency, Missed, Part, Record, Split, Taken};

use super::{Why, destination, millis, miss, policies, unix_millis};
use crate::clock;
use crate::cluster::Ask;
use crate::decision::{Roll, Try};
use crate::exchange::{Notes, Trail};
use crate::gradient::{Gradient, Gradients};
use crate::route::{Facts, Route, Target};
use crate::telemetry::direction_word;
use crate::telemetry::would::{Would, grpc_name};

pub(super) fn record(trail: &Trail, why: Why, took: Duration, now: Instant) -> Record {
    trail.read(|notes| build(trail, notes, why, took, now))
}

fn build(trail: &Trail, notes: &Notes, why: Why, took: Duration, now: Instant) -> Record {
    let (connection, entrance) = (&trail.connection, &trail.connection.entrance);
    let aside = notes.aside.as_deref();
    let (cluster, ask) = match chosen(notes) {
        Some(target) => (target.cluster.as_deref(), target.ask),
        None => (None, Ask::default()),
    };
    let gradients = trail.connection.shared.snapshots.load().gradients_for(&entrance.name).map(Arc::clone);
    let host = aside.map(|aside| aside.host.clone()).filter(|host| !host.is_empty());
    Record {
        trace: format!("{:032x}", u128::from_be_bytes(trail.context.trace_id)),
        at_unix_ms: unix_millis(clock::wall() - now.saturating_duration_since(trail.started)),
        took_ms: millis(took),
        kept: why.words(),
        hop: direction_word(entrance.direction).to_owned(),
        workload: entrance.identity.as_ref().map(|who| who.workload.to_string()).unwrap_or_default(),
        service: entrance.identity.as_ref().map(|who| who.service.to_string()).unwrap_or_default(),
        caller: connection.peer.to_string(),
        method: trail.method.to_string(),
        host: host.or_else(|| notes.host.as_ref().map(|host| host.to_string())).unwrap_or_default(),
        path: trail.uri.path().to_owned(),
        grpc: trail.grpc,
        snapshot: notes.snapshot,
        answer: Answer {
            status: notes.status,
            grpc: notes.grpc_status.map(|status| grpc_name(status).to_owned()),
            reason: notes.reason.map(|reason| reason.word().to_owned()),
            detail: notes.detail.to_string(),
        },
        route: notes
            .route
            .as_ref()
            .map(|route| Taken { name: route.config.name.to_string(), takes: miss::takes(&route.config.matches) }),
        missed: match aside.and_then(|aside| aside.missed.clone()) {
            Some(missed) => missed,
            None => missed(trail, notes),
        },
        buckets: notes.route.as_ref().map(|route| buckets(route, now)).unwrap_or_default(),
        concurrency: gradients.as_deref().map(concurrency).unwrap_or_default(),
        split: notes.roll.and_then(|roll| split(notes.route.as_deref()?, roll)),
        destination: cluster.map(|cluster| {
            let candidates = aside.and_then(|aside| aside.candidates.as_ref());
            let priority = notes.route.as_ref().map(|route| route.config.priority).unwrap_or_default();
            destination::destination((cluster, ask), priority, candidates, took, now)
        }),
        policies: notes
            .route
            .as_ref()
            .map(|route| policies::policies(route, cluster, trail.wishes(), gradients.as_deref()))
            .unwrap_or_default(),
        attempts: notes.tries.iter().map(attempt).collect(),
        withheld: notes.withheld.map(|why| why.word().to_owned()),
        would: notes.would.iter().map(|what: Would| what.word().to_owned()).collect(),
    }
}

/// The destination that a split chose; none of a request that did not come so far.
fn chosen(notes: &Notes) -> Option<&Target> {
    let roll = notes.roll?;
    Some(notes.route.as_ref()?.targets.as_ref()?.at(roll.point))
}

/// The routes before the one that took the request, by what is still known of it. The request's own snapshot says it:
/// where that is gone, nothing does.
fn missed(trail: &Trail, notes: &Notes) -> Vec<Missed> {
    let Some(route) = &notes.route else { return Vec::new() };
    let snapshot = trail.connection.shared.snapshots.load_full();
    let table = snapshot.table_for(&trail.connection.entrance.name).filter(|_| snapshot.number == notes.snapshot);
    let Some(table) = table else { return Vec::new() };
    let facts = Facts {
        authority: "",
        path: trail.uri.path(),
        query: trail.uri.query(),
        method: &trail.method,
        headers: &HeaderMap::new(),
        grpc: trail.grpc,
    };
    miss::missed(table.before(route), &facts, false)
}

fn split(route: &Route, roll: Roll) -> Option<Split> {
    let backends = route.config.backends.iter().filter(|backend| backend.weight > 0);
    let mut end = 0;
    let parts: Vec<Part> = backends
        .map(|backend| {
            let start = end;
            end += u64::from(backend.weight);
            let chosen = (start..end).contains(&roll.point);
            let name = match backend.subset.is_empty() {
                true => backend.cluster.to_string(),
                false => format!("{} ({})", backend.cluster, backend.subset),
            };
            Part { name, weight: backend.weight, chosen }
        })
        .collect();
    let Roll { point, by_key } = roll;
    (parts.len() > 1).then_some(Split { roll: record::Roll { point, of: end, by_key }, parts })
}

fn buckets(route: &Route, now: Instant) -> Vec<Bucket> {
    let both = [(&route.limiter, false), (&route.rehearsed.limiter, true)];
    let both = both.into_iter().filter_map(|(limiter, beside)| Some((limiter.as_ref()?, beside)));
    let alone = route.config.rate_limit.as_ref().is_some_and(|limit| !limit.mode.enforces());
    both.flat_map(|(limiter, beside)| {
        limiter.buckets().filter_map(move |(rule, bucket)| {
            let left = bucket.level(now)?.left;
            Some(Bucket { rule: rule.name.to_string(), left, of: rule.burst, observe: alone || beside })
        })
    })
    .collect()
}

fn concurrency(gradients: &Gradients) -> Vec<Concurrency> {
    let one = |gradient: &Arc<Gradient>| {
        let known = gradient.known();
        Concurrency {
            held: known.held,
            max: known.limit,
            unloaded_ms: known.baseline.map(millis),
            lately_ms: known.sample.map(millis),
            observe: !gradient.model().mode.enforces(),
        }
    };
    [Some(&gradients.own), gradients.beside.as_ref()].into_iter().flatten().map(one).collect()
}

fn attempt(one: &Try) -> Attempt {
    Attempt {
        number: one.number + 1,
        cause: one.cause.map(|cause| cause.to_string()),
        endpoint: one.endpoint.to_string(),
        at_ms: millis(one.at),
        took_ms: one.took.map(millis),
        left_ms: one.left.map(millis),
        active: one.active,
        probe: one.probe,
        status: one.status,
        grpc: one.grpc.map(|status| grpc_name(status).to_owned()),
        reason: one.reason.map(|reason| reason.word().to_owned()),
        lost: one.lost,
    }
}
