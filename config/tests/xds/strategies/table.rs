//! Arbitrary tables of routes.

use std::time::Duration;

use outrigger_config::name::Domain;
use outrigger_config::policy::asked::{Action, Asked};
use outrigger_config::policy::{Mode, Origin, Timeouts};
use outrigger_config::rewrite::Answer;
use outrigger_config::route::{
    AttemptCounts, Backend, HashKey, HeaderMatch, Mirror, Priority, Rehearsed, Route, RouteTable, ValueMatch,
    VirtualHost,
};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

use super::endpoint::criteria;
use super::matches::{answer, fits, headers, matches, rewrite};
use super::policy::{cache, fault, rate_limit, retry, session};
use super::value::{header_name, longer, name, percent, shorter, text};

/// Of routes to one cluster or several: so nothing of the destination.
fn asked() -> BoxedStrategy<Asked> {
    let header_match =
        (header_name(), text()).prop_map(|(name, value)| HeaderMatch { name, value: ValueMatch::Exact(value) });
    let action = prop_oneof![
        Just(Action::SourceCluster),
        Just(Action::RemoteAddress),
        (0..=32u32, 0..=128u32).prop_map(|(v4, v6)| Action::MaskedRemoteAddress(v4, v6)),
        (header_name(), text(), any::<bool>()).prop_map(|(name, key, optional)| Action::RequestHeader {
            name,
            key,
            optional
        }),
        ("[a-z]{1,8}", text()).prop_map(|(key, value)| Action::GenericKey { key: key.as_str().into(), value }),
        ("[a-z]{1,8}", text(), any::<bool>(), vec(header_match, 0..2)).prop_map(|(key, value, expect, headers)| {
            Action::HeaderValueMatch { key: key.as_str().into(), value, expect, headers }
        }),
    ];
    (0..=10u32, vec(action, 1..4)).prop_map(|(stage, actions)| Asked { stage, actions }).boxed()
}

pub(super) fn table() -> impl Strategy<Value = RouteTable> {
    (name(), vec((text(), vec(route(), 0..3), 1..3usize, any::<(bool, bool)>()), 0..3)).prop_map(|(name, hosts)| {
        RouteTable {
            name,
            hosts: hosts
                .into_iter()
                .enumerate()
                .map(|(index, (name, routes, domains, (to_endpoint, to_caller)))| {
                    let (domains, counts) = (domains_of(index, domains), AttemptCounts { to_endpoint, to_caller });
                    VirtualHost { name, domains, routes, counts }
                })
                .collect(),
        }
    })
}

/// No domain may stand in two virtual hosts.
fn domains_of(host: usize, count: usize) -> Vec<Domain> {
    let exact = format!("host-{host}.example:8080");
    let last = if host == 0 { "*".to_owned() } else { format!("*.host-{host}.example") };
    [exact, last].iter().take(count).map(|text| Domain::parse(text).expect("a domain")).collect()
}

fn hash_key() -> impl Strategy<Value = HashKey> {
    prop_oneof![
        header_name().prop_map(HashKey::Header),
        "[a-z]{1,8}".prop_map(|name| HashKey::Cookie(name.into())),
        Just(HashKey::SourceIp)
    ]
}

fn route() -> impl Strategy<Value = Route> {
    let backend = (name(), 0..1000u32, headers(), criteria()).prop_map(|(cluster, weight, headers, subset)| Backend {
        cluster,
        weight,
        headers,
        subset,
    });
    let backends = (name(), 1..1000u32, vec(backend, 0..3)).prop_map(|(cluster, weight, mut rest)| {
        rest.insert(0, Backend::new(cluster, weight));
        rest
    });
    let one = (name(), headers(), criteria())
        .prop_map(|(cluster, headers, subset)| vec![Backend { cluster, weight: 1, headers, subset }]);
    let parts = (text(), text(), matches(), prop_oneof![backends, one], timeouts());
    let mirror =
        (name(), percent(), criteria()).prop_map(|(cluster, percent, subset)| Mirror { cluster, percent, subset });
    let priority = prop_oneof![Just(Priority::Default), Just(Priority::High)];
    // Boxed: all of it by value is more than the stack of a test holds in a debug build.
    let policies = (
        of(retry()),
        of(rate_limit()),
        of(fault()),
        of(cache()),
        rehearsed(),
        of(session()),
        (priority, vec(asked(), 0..2)),
    )
        .boxed();
    let sends =
        (parts, (rewrite(), vec(mirror, 0..3)), headers(), policies, (vec(hash_key(), 0..3), vec(hash_key(), 0..2)))
            .prop_map(
                |(
                    (name, origin, matches, backends, timeouts),
                    (mut rewrite, mirrors),
                    headers,
                    (retry, rate_limit, fault, cache, rehearsed, session, (priority, asked)),
                    (hash, sticky),
                )| {
                    rewrite.path = rewrite.path.filter(|path| fits(path, &matches));
                    let origin = Origin(origin);
                    let answer = None;
                    Route {
                        name,
                        origin,
                        matches,
                        backends,
                        sticky,
                        mirrors,
                        answer,
                        rewrite,
                        headers,
                        timeouts,
                        retry,
                        fault,
                        cache,
                        rate_limit,
                        asked,
                        rehearsed,
                        hash,
                        priority,
                        session,
                    }
                },
            );
    let policies = (of(rate_limit()), rehearsed());
    let answers = ((text(), text(), matches()), answer(), headers(), policies).prop_map(
        |((name, origin, matches), mut answer, headers, (rate_limit, rehearsed))| {
            if let Answer::Redirect(redirect) = &mut answer {
                redirect.path = redirect.path.take().filter(|path| fits(path, &matches));
            }
            let (origin, rehearsed) = (Origin(origin), Rehearsed { retry: None, cache: None, ..rehearsed });
            Route { origin, matches, headers, rate_limit, rehearsed, ..Route::answering(&name, answer) }
        },
    );
    prop_oneof![4 => sends, 1 => answers]
}

// Boxed, or what a test holds on its stack outgrows it.
fn rehearsed() -> BoxedStrategy<Rehearsed> {
    let made = (of(retry()), of(rate_limit()), of(fault()), of(cache()));
    let made = made.prop_map(|(mut retry, mut rate_limit, mut fault, mut cache)| {
        cache.iter_mut().for_each(|policy| policy.mode = Mode::Observe);
        retry.iter_mut().for_each(|policy| policy.mode = Mode::Observe);
        rate_limit.iter_mut().for_each(|policy| policy.mode = Mode::Observe);
        fault.iter_mut().for_each(|policy| policy.mode = Mode::Observe);
        Rehearsed { retry, fault, rate_limit, cache }
    });
    made.boxed()
}

fn timeouts() -> impl Strategy<Value = Timeouts> {
    let stream = (of(shorter(600)), of(prop_oneof![Just(Duration::ZERO), shorter(600)]));
    (of(longer(20)), of(shorter(10)), of(shorter(600)), stream)
        .prop_map(|(request, per_try, idle, (stream, grpc_max))| Timeouts { request, per_try, idle, stream, grpc_max })
}
