//! Arbitrary values of the model, each one valid: whatever `check` would refuse is not made in the first place.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use outrigger_config::cluster::{
    Balancing, Cluster, Discovery, LoadReports, Localities, Protocol, Rehearsed as RehearsedCluster, SlowStart,
};
use outrigger_config::endpoint::{Assignment, Endpoint, Health, Locality, LocalityWeight};
use outrigger_config::header::{HeaderChanges, Headers};
use outrigger_config::listener::{ApiListener, Direction, Identity, Listener, TableSource, Telemetry};
use outrigger_config::name::{Domain, ObjectName, ResourceName};
use outrigger_config::policy::adaptive::{AdaptiveConcurrency, Baseline, Measured};
use outrigger_config::policy::asked::{Action, Asked, LimitFilter};
use outrigger_config::policy::cache::{AlsoStore, CacheKey};
use outrigger_config::policy::fault::{Abort, AbortWith, Delay, Scope, Throttle};
use outrigger_config::policy::health_check::{HealthCheck, HttpProbe, Probe, StatusRange};
use outrigger_config::policy::rate_limit::{self, GlobalLimit, OnError};
use outrigger_config::policy::{
    AdmissionControl, Backoff, Budget, Cache, Condition, Conditions, FailurePercentage, Fault, GrpcCodes, Hedge,
    Limits, Methods, Mode, Origin, Outlier, Per, PerEndpoint, RateLimit, RateLimitRule, ResetFormat, ResetHeader,
    Retry, RetryAfter, Sample, Session, SlowEndpoint, SuccessRate, Tell, Thresholds, Timeouts,
};
use outrigger_config::resource::Resource;
use outrigger_config::rewrite::{Answer, DirectResponse, PathRewrite, REDIRECTS, Redirect, Rewrite, Scheme};
use outrigger_config::route::{
    AttemptCounts, Backend, HashKey, HeaderMatch, Mirror, PathMatch, Priority, QueryMatch, Rehearsed, Route,
    RouteMatch, RouteTable, ValueMatch, VirtualHost,
};
use outrigger_config::subset::{Criteria, Fallback, Known, Metadata, PlaceWeights, Selector, Subsets, Value};
use outrigger_config::template::Template;
use outrigger_config::value::{Pattern, Percent};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::subsequence;

/// Any resource but an API listener, which our own proxy does not get.
pub(crate) fn resource() -> impl Strategy<Value = Resource> {
    // Each in a box: values are drawn on the stack of a test's thread, and these are large.
    prop_oneof![
        listener().prop_map(Resource::Listener).boxed(),
        table().prop_map(Resource::Table).boxed(),
        cluster().prop_map(Resource::Cluster).boxed(),
        assignment().prop_map(Resource::Assignment).boxed(),
    ]
}

/// Any API listener.
pub(crate) fn api_listener() -> impl Strategy<Value = ApiListener> {
    (name(), name()).prop_map(|(name, table)| ApiListener { name, table })
}

fn listener() -> impl Strategy<Value = Listener> {
    let source = prop_oneof![name().prop_map(TableSource::Rds), table().prop_map(TableSource::Inline)];
    let identity = (object_name(), text(), text(), locality())
        .prop_map(|(workload, service, version, locality)| Identity { workload, service, version, locality });
    let telemetry = (percent(), any::<bool>()).prop_map(|(sample, access_log)| Telemetry { sample, access_log });
    let direction = prop_oneof![Just(Direction::Inbound), Just(Direction::Outbound)];
    let acting = (of(adaptive()), of(adaptive()), vec(limit_filter(), 0..2));
    (name(), address(), direction, source, of(identity), telemetry, acting).prop_map(
        |(name, address, direction, table, identity, telemetry, (adaptive, mut rehearsed_adaptive, limits))| {
            rehearsed_adaptive.iter_mut().for_each(|policy| policy.mode = Mode::Observe);
            Listener { name, address, direction, table, identity, telemetry, adaptive, rehearsed_adaptive, limits }
        },
    )
}

fn adaptive() -> impl Strategy<Value = AdaptiveConcurrency> {
    let share = || (1..=1_000_000_u32).prop_map(|part| Percent::from_millionths(part).expect("a share"));
    let measured =
        (some_time(), percent(), 1..1000_u32, 1..1000_u32).prop_map(|(interval, jitter, requests, concurrency)| {
            Baseline::Measured(Measured { interval, jitter, requests, concurrency })
        });
    let baseline = prop_oneof![some_time().prop_map(Baseline::Fixed), measured];
    (policy(), share(), 1..1000_u32, 0..1000_u32, some_time(), baseline, percent(), 400..=599_u16).prop_map(
        |((origin, mode), percentile, min_limit, more, update_interval, baseline, buffer, status)| {
            AdaptiveConcurrency {
                origin,
                mode,
                percentile,
                min_limit,
                max_limit: min_limit + more,
                update_interval,
                baseline,
                buffer,
                status,
            }
        },
    )
}

/// Any time longer than none.
fn some_time() -> impl Strategy<Value = Duration> {
    (1..100_000_000_u64).prop_map(Duration::from_micros)
}

fn limit_filter() -> BoxedStrategy<LimitFilter> {
    let on_error = prop_oneof![Just(OnError::Allow), Just(OnError::Deny)];
    let statuses = (prop_oneof![Just(429), Just(503)], prop_oneof![Just(500), Just(503)]);
    let said = (name(), "[a-z]{1,8}", 0..=10u32, (1..60_000u64).prop_map(Duration::from_millis));
    (said, on_error, statuses, any::<bool>())
        .prop_map(|((cluster, domain, stage, timeout), on_error, (status, status_on_error), exhausted)| LimitFilter {
            cluster,
            domain: domain.into(),
            stage,
            timeout,
            on_error,
            status,
            status_on_error,
            exhausted,
        })
        .boxed()
}

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

fn table() -> impl Strategy<Value = RouteTable> {
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

/// A prefix is replaced only where one was matched.
fn fits(path: &PathRewrite, matches: &RouteMatch) -> bool {
    let prefix = matches!(matches.path, PathMatch::Prefix(_) | PathMatch::RawPrefix(_));
    prefix || matches!(path, PathRewrite::Full(_))
}

fn path_rewrite() -> impl Strategy<Value = PathRewrite> {
    prop_oneof![
        "(/[a-z]{1,4}){1,2}/?".prop_map(|path| PathRewrite::Full(path.into())),
        "(/|(/[a-z]{1,4}){1,2}/?)".prop_map(|path| PathRewrite::Prefix(path.into())),
    ]
}

fn rewrite() -> impl Strategy<Value = Rewrite> {
    let host = "[a-z]{1,8}(:[1-9]{1,4})?".prop_map(Arc::from);
    prop_oneof![
        1 => Just(Rewrite::default()),
        1 => (of(host), of(path_rewrite())).prop_map(|(host, path)| Rewrite { host, path }),
    ]
}

fn answer() -> impl Strategy<Value = Answer> {
    let scheme = prop_oneof![Just(Scheme::Http), Just(Scheme::Https)];
    let host = "[a-z]{1,8}".prop_map(Arc::from);
    let redirect = (of(scheme), of(host), of(1..=u16::MAX), of(path_rewrite()), 0..REDIRECTS.len()).prop_map(
        |(scheme, host, port, path, status)| {
            Answer::Redirect(Redirect { scheme, host, port, path, status: REDIRECTS[status] })
        },
    );
    let direct = (prop_oneof![200..204u16, 400..600u16], text())
        .prop_map(|(status, body)| Answer::Direct(DirectResponse { status, body }));
    prop_oneof![redirect, direct]
}

/// Changes of header fields, no field in two ways.
fn headers() -> impl Strategy<Value = Headers> {
    let changes = || {
        (vec(value(), 0..2), vec(value(), 0..3), 0..2usize).prop_map(|(set, add, remove)| HeaderChanges {
            set: set.into_iter().enumerate().map(|(index, value)| (format!("x-set-{index}").into(), value)).collect(),
            add: add.into_iter().map(|value| ("x-add".into(), value)).collect(),
            remove: (0..remove).map(|index| format!("x-remove-{index}").into()).collect(),
        })
    };
    prop_oneof![
        2 => Just(Headers::default()),
        1 => (changes(), changes()).prop_map(|(request, response)| Headers { request, response }),
    ]
}

/// A header field's value.
fn value() -> impl Strategy<Value = Arc<str>> {
    "[!-~]([ -~]{0,8}[!-~])?".prop_map(Arc::from)
}

fn matches() -> impl Strategy<Value = RouteMatch> {
    let path = prop_oneof![
        "/[a-z/]{0,8}".prop_map(|path| PathMatch::Exact(path.into())),
        Just(PathMatch::Prefix("/".into())),
        "(/[a-z.+]{1,4}){1,2}".prop_map(|path| PathMatch::Prefix(path.into())),
        "/[a-z]{1,4}/?".prop_map(|path| PathMatch::RawPrefix(path.into())),
        pattern().prop_map(PathMatch::Regex),
        "(/[a-z]{1,3}){0,2}/\\{[a-z]{1,4}\\}(/[a-z]{1,3})?"
            .prop_map(|text| PathMatch::Template(Template::try_new(&text).expect("a template"))),
    ];
    let header = (header_name(), value_match()).prop_map(|(name, value)| HeaderMatch { name, value });
    let query = ("[a-zA-Z]{1,8}", value_match()).prop_map(|(name, value)| QueryMatch { name: name.into(), value });
    (path, of("[A-Z]{1,8}"), vec(header, 0..3), vec(query, 0..3), any::<bool>()).prop_map(
        |(path, method, headers, query, grpc)| RouteMatch { path, method: method.map(Arc::from), headers, query, grpc },
    )
}

fn value_match() -> impl Strategy<Value = ValueMatch> {
    prop_oneof![text().prop_map(ValueMatch::Exact), pattern().prop_map(ValueMatch::Regex), Just(ValueMatch::Present)]
}

fn pattern() -> impl Strategy<Value = Pattern> {
    "[a-z]{1,4}(\\.\\*|\\[0-9\\]\\+|\\|[a-z])?".prop_map(|text| Pattern::try_new(&text).expect("a pattern"))
}

fn timeouts() -> impl Strategy<Value = Timeouts> {
    let stream = (of(shorter(600)), of(prop_oneof![Just(Duration::ZERO), shorter(600)]));
    (of(longer(20)), of(shorter(10)), of(shorter(600)), stream)
        .prop_map(|(request, per_try, idle, (stream, grpc_max))| Timeouts { request, per_try, idle, stream, grpc_max })
}

/// Boxed: as a part of the type of everything around it, it would not fit the stack of a test's thread.
fn retry() -> BoxedStrategy<Retry> {
    let methods =
        prop_oneof![Just(Methods::Idempotent), Just(Methods::Any), vec("[A-Z]{1,8}", 1..3).prop_map(Methods::Only)];
    let on = subsequence(Condition::ALL.to_vec(), 0..=Condition::ALL.len()).prop_map(Conditions::from_iter);
    let grpc = vec(0..17u8, 0..5).prop_map(|codes| codes.into_iter().fold(GrpcCodes::default(), GrpcCodes::with));
    let codes = subsequence((400..600).collect::<Vec<u16>>(), 0..4);
    let backoff =
        (shorter(1), 0..10_000u64).prop_map(|(base, more)| Backoff { base, max: base + Duration::from_millis(more) });
    let header = (header_name(), value_match()).prop_map(|(name, value)| HeaderMatch { name, value });
    let what = (on, codes, vec(header, 0..3), grpc, methods);
    let hedge = prop_oneof![
        shorter(10).prop_map(Hedge::Delay),
        (1..1_000_000u32).prop_map(|share| Hedge::Percentile(Percent::from_millionths(share).expect("a share"))),
    ];
    let waits = (of(shorter(10)), backoff, retry_after(), of(hedge), any::<bool>());
    (policy(), 1..11u32, what, waits, any::<u32>())
        .prop_map(|((origin, mode), attempts, what, waits, body_limit)| {
            let (on, codes, headers, grpc_codes, methods) = what;
            let (per_try_timeout, backoff, retry_after, hedge, nested) = waits;
            // One that would never come is refused.
            let hedge = hedge.filter(|hedge: &Hedge| hedge.check(per_try_timeout).is_ok());
            Retry {
                origin,
                mode,
                attempts,
                on,
                codes,
                headers,
                grpc_codes,
                methods,
                per_try_timeout,
                backoff,
                retry_after,
                hedge,
                nested,
                body_limit,
            }
        })
        .boxed()
}

fn retry_after() -> impl Strategy<Value = RetryAfter> {
    let format = prop_oneof![Just(ResetFormat::Seconds), Just(ResetFormat::UnixTimestamp)];
    let header = (header_name(), format).prop_map(|(name, format)| ResetHeader { name, format });
    (vec(header, 0..3), shorter(300)).prop_map(|(headers, max)| RetryAfter { headers, max })
}

/// Boxed, as the other wide ones are: the state of all of them together is more than a test's stack holds.
fn rate_limit() -> BoxedStrategy<RateLimit> {
    let interval = (1..86_400_000u64).prop_map(Duration::from_millis);
    let per = prop_oneof![
        Just(Per::Total),
        Just(Per::SourceWorkload),
        Just(Per::SourceIp),
        header_name().prop_map(Per::Header)
    ];
    let scope =
        prop_oneof![Just(rate_limit::Scope::Proxy), Just(rate_limit::Scope::Global), Just(rate_limit::Scope::Leased)];
    let keys = (per, 1..RateLimitRule::MOST_KEYS, scope);
    let rule = (text(), vec(matches(), 0..2), 1..10_000u32, interval, 1..10_000u32, keys).prop_map(
        |(name, matches, requests, interval, burst, (per, max_keys, scope))| RateLimitRule {
            name,
            matches,
            requests,
            interval,
            burst,
            per,
            max_keys,
            scope,
        },
    );
    let headers = vec((header_name(), text()), 0..3);
    let tell = prop_oneof![Just(Tell::Limited), Just(Tell::Always), Just(Tell::Never)];
    let on_error = prop_oneof![Just(OnError::Allow), Just(OnError::Deny)];
    let global = (1..10_000u64, on_error, percent()).prop_map(|(millis, on_error, fallback)| {
        let timeout = Duration::from_millis(millis);
        GlobalLimit { timeout, on_error, fallback }
    });
    (policy(), vec(rule, 0..3), 400..600u16, headers, (tell, global))
        .prop_map(|((origin, mode), rules, status, headers, (tell, global))| RateLimit {
            origin,
            mode,
            rules,
            status,
            headers,
            tell,
            global,
        })
        .boxed()
}

fn session() -> impl Strategy<Value = Session> {
    let attribute = prop_oneof![Just(("SameSite".into(), "Lax".into())), Just(("Secure".into(), "".into()))];
    let lifetime = of((1..86_400u64).prop_map(Duration::from_secs));
    ("[a-z-]{1,8}", "(/[a-z]{0,4}){1,2}", lifetime, any::<bool>(), vec(attribute, 0..3)).prop_map(
        |(name, path, lifetime, permanent, attributes)| Session {
            name: name.into(),
            path: path.into(),
            lifetime,
            permanent: permanent && lifetime.is_some(),
            attributes,
        },
    )
}

fn fault() -> BoxedStrategy<Fault> {
    let delay = || (of(shorter(60)), percent()).prop_map(|(fixed, percent)| Delay { fixed, percent });
    let with = || {
        prop_oneof![
            (200..600u16).prop_map(AbortWith::Status),
            (1..17u8).prop_map(AbortWith::Grpc),
            Just(AbortWith::Header)
        ]
    };
    let abort = || (with(), percent()).prop_map(|(with, percent)| Abort { with, percent });
    let throttle =
        || (of(1..=u32::MAX), percent()).prop_map(|(kib_per_second, percent)| Throttle { kib_per_second, percent });
    let what = prop_oneof![
        (delay(), of(abort()), of(throttle())).prop_map(|(delay, abort, throttle)| (Some(delay), abort, throttle)),
        (abort(), of(throttle())).prop_map(|(abort, throttle)| (None, Some(abort), throttle)),
        throttle().prop_map(|throttle| (None, None, Some(throttle)))
    ];
    let header = (header_name(), value_match()).prop_map(|(name, value)| HeaderMatch { name, value });
    let scope = prop_oneof![Just(Scope::Request), Just(Scope::Attempt)];
    (policy(), scope, vec(header, 0..2), what)
        .prop_map(|((origin, mode), scope, headers, (delay, abort, throttle))| Fault {
            origin,
            mode,
            scope,
            headers,
            delay,
            abort,
            throttle,
        })
        .boxed()
}

fn cache() -> BoxedStrategy<Cache> {
    let ttls = prop_oneof![
        of(longer(1)).prop_map(|ttl| (ttl, None)),
        longer(1).prop_map(|default_ttl| (None, Some(default_ttl)))
    ];
    let names =
        || btree_set("[a-z]{1,8}", 0..3).prop_map(|names| names.iter().map(|name| name.as_str().into()).collect());
    let key =
        (names(), of(names()), names()).prop_map(|(headers, query, cookies)| CacheKey { headers, query, cookies });
    let also =
        subsequence(AlsoStore::ALL.to_vec(), 0..=4).prop_map(|all| all.into_iter().map(|(_, what)| what).collect());
    let also = (also, any::<bool>());
    ((policy(), ttls), percent(), (of(longer(1)), of(longer(1))), 1..Cache::MOST_MAX_BYTES, key, also)
        .prop_map(
            |(
                ((origin, mode), (ttl, default_ttl)),
                heuristic,
                (while_revalidate, if_error),
                max_bytes,
                key,
                (also_store, shared),
            )| Cache {
                origin,
                mode,
                ttl,
                default_ttl,
                heuristic,
                stale_while_revalidate: while_revalidate,
                stale_if_error: if_error,
                max_bytes,
                key,
                also_store,
                shared,
            },
        )
        .boxed()
}

fn cluster() -> BoxedStrategy<Cluster> {
    let protocol = prop_oneof![Just(Protocol::Http1), Just(Protocol::Http2), Just(Protocol::Downstream)];
    let discovery = prop_oneof![name().prop_map(Discovery::Eds), assignment().prop_map(Discovery::Static)];
    let who = (name(), of(object_name()), text(), protocol);
    let how = (shorter(30), of(shorter(3600)), balancing(), discovery);
    let slow = (shorter(600), 1..1_000_001u32, percent()).prop_map(|(window, aggression_thousandths, min_weight)| {
        SlowStart { window, aggression_thousandths, min_weight }
    });
    let sick = (of(outlier()), rehearsed_cluster(), of(health_check()), of(admission())).boxed();
    let localities = prop_oneof![
        Just(Localities::Ignored),
        Just(Localities::Weighted),
        (percent(), any::<u32>()).prop_map(|(percent, min_endpoints)| Localities::ZoneAware { percent, min_endpoints })
    ];
    let rest = (budget(), any::<bool>(), of(subsets()));
    (who, how, (of(limits()), percent(), of(100..1000u32), of(slow), localities), sick, rest)
        .prop_map(
            |(
                (name, service, host, protocol),
                (connect_timeout, idle_timeout, balancing, discovery),
                (limits, panic_threshold, factor, slow, localities),
                (outlier, rehearsed, health_check, admission),
                (budget, names_caller, subsets),
            )| {
                Cluster {
                    name,
                    service,
                    host,
                    protocol,
                    connect_timeout,
                    idle_timeout,
                    balancing,
                    balance_factor: factor.filter(|_| balancing.is_hash()),
                    localities,
                    slow_start: slow.filter(|_| balancing.can_start_slowly()),
                    subsets,
                    panic_threshold,
                    limits,
                    outlier,
                    rehearsed,
                    health_check,
                    admission,
                    budget,
                    names_caller,
                    discovery,
                }
            },
        )
        .boxed()
}

fn admission() -> impl Strategy<Value = AdmissionControl> {
    let share = (1..=1_000_000_u32).prop_map(|part| Percent::from_millionths(part).expect("a share"));
    (policy(), longer(1), share, 1000..1_000_001_u32, any::<u32>(), percent()).prop_map(
        |((origin, mode), window, success_threshold, aggression_thousandths, min_per_second, max_rejection)| {
            AdmissionControl {
                origin,
                mode,
                window,
                success_threshold,
                aggression_thousandths,
                min_per_second,
                max_rejection,
            }
        },
    )
}

fn rehearsed_cluster() -> BoxedStrategy<RehearsedCluster> {
    let made = (of(limits()), of(outlier()), of(health_check()), of(admission()));
    let made = made.prop_map(|(mut limits, mut outlier, mut check, mut admission)| {
        admission.iter_mut().for_each(|policy| policy.mode = Mode::Observe);
        check.iter_mut().for_each(|check| check.mode = Mode::Observe);
        limits.iter_mut().for_each(|limits| limits.mode = Mode::Observe);
        if let Some(outlier) = &mut outlier {
            outlier.mode = Mode::Observe;
            outlier.success_rate.iter_mut().for_each(|part| part.mode = Mode::Observe);
            outlier.failure_percentage.iter_mut().for_each(|part| part.mode = Mode::Observe);
            outlier.latency.iter_mut().for_each(|part| part.mode = Mode::Observe);
        }
        RehearsedCluster { limits, outlier, health_check: check, admission }
    });
    made.boxed()
}

fn balancing() -> impl Strategy<Value = Balancing> {
    prop_oneof![
        Just(Balancing::RoundRobin),
        Just(Balancing::LeastRequest),
        Just(Balancing::Random),
        (shorter(60), shorter(600), 0..1_000_001u32, of(100..60_000u64)).prop_map(
            |(blackout, expiration, penalty_thousandths, period)| {
                // Nobody is asked more often than every 100 ms.
                let asks_every = period.map(Duration::from_millis);
                let reports = LoadReports { blackout, expiration, penalty_thousandths, asks_every };
                Balancing::ClientSideWeightedRoundRobin(reports)
            }
        ),
        (shorter(60), shorter(1)).prop_map(|(decay, default_rtt)| Balancing::PeakEwma { decay, default_rtt }),
        (1..5000u32, 5000..8_388_609u32).prop_map(|(min_size, max_size)| Balancing::RingHash { min_size, max_size }),
        prop_oneof![Just(2), Just(65_537), Just(5_000_011)].prop_map(|table_size| Balancing::Maglev { table_size }),
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    let count = || of(any::<u32>());
    let whole = || {
        (count(), count(), count(), count()).prop_map(
            |(max_connections, max_pending_requests, max_requests, max_retries)| Thresholds {
                max_connections,
                max_pending_requests,
                max_requests,
                max_retries,
            },
        )
    };
    let high = of(whole());
    (policy(), whole(), high, count(), count()).prop_map(|((origin, mode), usual, high, connections, requests)| {
        let per_endpoint = PerEndpoint { max_connections: connections, max_requests: requests };
        let limits = Limits { origin, mode, per_endpoint, ..Limits::default() };
        limits.with(Priority::Default, usual).with(Priority::High, high.unwrap_or(usual))
    })
}

fn outlier() -> BoxedStrategy<Outlier> {
    let mode = || prop_oneof![Just(Mode::Enforce), Just(Mode::Observe)];
    let sample =
        || (1..u32::MAX, any::<u32>()).prop_map(|(min_requests, min_endpoints)| Sample { min_requests, min_endpoints });
    let rate = (mode(), any::<u32>(), sample()).prop_map(|(mode, deviation_thousandths, sample)| SuccessRate {
        mode,
        deviation_thousandths,
        sample,
    });
    let failures = (mode(), percent(), sample()).prop_map(|(mode, threshold, sample)| FailurePercentage {
        mode,
        threshold,
        sample,
    });
    let latency = (mode(), 1001..u32::MAX, shorter(5), sample())
        .prop_map(|(mode, factor_thousandths, floor, sample)| SlowEndpoint { mode, factor_thousandths, floor, sample });
    let counts = (of(100..u32::MAX), of(1..100u32), of(1..u32::MAX), 0..1000u32);
    let times = (shorter(60), shorter(60), 0..600u64, shorter(10));
    (policy(), counts, (of(rate), of(failures), of(latency)), times, percent())
        .prop_map(
            |(
                (origin, mode),
                (consecutive_errors, consecutive_gateway_errors, consecutive_local_errors, probe_requests),
                (success_rate, failure_percentage, latency),
                (interval, base_ejection, more, max_jitter),
                max_percent,
            )| Outlier {
                origin,
                mode,
                consecutive_errors,
                consecutive_gateway_errors,
                consecutive_local_errors,
                success_rate,
                failure_percentage,
                latency,
                interval,
                base_ejection,
                max_ejection: base_ejection + Duration::from_secs(more),
                max_jitter,
                max_percent,
                probe_requests,
            },
        )
        .boxed()
}

fn health_check() -> impl Strategy<Value = HealthCheck> {
    let range = || (100..600u16, 100..600u16).prop_map(|(a, b)| StatusRange { first: a.min(b), last: a.max(b) });
    let host = || "[a-z.:0-9]{0,8}".prop_map(Arc::from);
    let http = ("/[a-z?=/]{0,8}", host(), any::<bool>(), vec(range(), 1..3), vec(range(), 0..3)).prop_map(
        |(path, host, http2, statuses, tolerated)| {
            Probe::Http(HttpProbe { path: path.into(), host, http2, statuses, tolerated })
        },
    );
    let grpc = (text(), host()).prop_map(|(service, authority)| Probe::Grpc { service, authority });
    let numbers = (1..u32::MAX, 1..u32::MAX, of(1..=u16::MAX));
    let times = (shorter(60), shorter(60), prop_oneof![Just(Duration::ZERO), shorter(10)]);
    (policy(), prop_oneof![http, grpc, Just(Probe::Tcp)], times, numbers).prop_map(
        |((origin, mode), probe, (interval, timeout, jitter), (unhealthy_threshold, healthy_threshold, port))| {
            HealthCheck { origin, mode, probe, interval, timeout, jitter, unhealthy_threshold, healthy_threshold, port }
        },
    )
}

fn budget() -> impl Strategy<Value = Budget> {
    (percent(), 1000..60_001u64, any::<u32>(), any::<u32>()).prop_map(
        |(percent, interval, min_concurrent, min_per_second)| Budget {
            percent,
            interval: Duration::from_millis(interval),
            min_concurrent,
            min_per_second,
        },
    )
}

/// Any assignment.
pub(crate) fn assignment() -> impl Strategy<Value = Assignment> {
    let weights = of((locality(), 0..5u32));
    (name(), vec(endpoint(), 0..6), 100..300u32, weights).prop_map(|(name, mut endpoints, factor, weights)| {
        endpoints.sort_by_key(|endpoint| endpoint.address);
        endpoints.dedup_by_key(|endpoint| endpoint.address);
        let weight = |(locality, weight)| LocalityWeight { priority: 0, locality, weight };
        let assignment = Assignment::try_new(name, endpoints).expect("distinct addresses");
        assignment.overprovisioned(factor).weighing(weights.into_iter().map(weight).collect())
    })
}

fn locality() -> impl Strategy<Value = Locality> {
    ("[ab]?", "[ab]?").prop_map(|(region, zone)| Locality { region: region.into(), zone: zone.into() })
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    let health = prop_oneof![Just(Health::Healthy), Just(Health::Draining), Just(Health::Unhealthy)];
    let place = (locality(), prop_oneof![Just(0), 0..129u32]);
    (address(), 1..u32::MAX, health, place, text(), text(), metadata()).prop_map(
        |(address, weight, health, (locality, priority), workload, version, metadata)| Endpoint {
            address,
            weight,
            health,
            priority,
            locality,
            workload,
            version,
            metadata,
        },
    )
}

fn label() -> impl Strategy<Value = Value> {
    prop_oneof![
        text().prop_map(Value::Text),
        any::<i16>().prop_map(|one| Value::number(one.into())),
        any::<bool>().prop_map(Value::Bool)
    ]
}

fn metadata() -> impl Strategy<Value = Metadata> {
    let list = vec(label(), 0..3).prop_map(|values| Known::Several(values.into()));
    btree_map("[ab]{1,2}".prop_map(Arc::from), prop_oneof![label().prop_map(Known::One), list], 0..4)
}

fn criteria() -> impl Strategy<Value = Criteria> {
    btree_map("[ab]{1,2}".prop_map(Arc::from), label(), 0..4).prop_map(Criteria)
}

fn subsets() -> impl Strategy<Value = Subsets> {
    let fallback = || prop_oneof![Just(Fallback::Nobody), Just(Fallback::Any), Just(Fallback::Default)];
    let keys = btree_set("[ab]{1,2}".prop_map(Arc::from), 1..4);
    let selector = (keys, of(fallback()), any::<bool>()).prop_map(|(keys, fallback, fewer)| {
        let first = keys.iter().take(1).cloned().collect();
        let fewer = (fewer && keys.len() > 1).then_some(Fallback::Fewer(first));
        Selector { keys, fallback: fewer.or(fallback) }
    });
    let places = prop_oneof![Just(PlaceWeights::Ignored), Just(PlaceWeights::Whole), Just(PlaceWeights::Scaled)];
    (vec(selector, 1..4), fallback(), criteria(), any::<bool>(), any::<bool>(), places).prop_map(
        |(mut selectors, fallback, default, panic_any, lists, places)| {
            selectors.sort_by(|a, b| a.keys.cmp(&b.keys));
            selectors.dedup_by(|a, b| a.keys == b.keys);
            Subsets { selectors, fallback, default, panic_any, lists, places }
        },
    )
}

fn policy() -> impl Strategy<Value = (Origin, Mode)> {
    (text().prop_map(Origin), prop_oneof![Just(Mode::Enforce), Just(Mode::Observe)])
}

fn name() -> impl Strategy<Value = ResourceName> {
    "[a-z][a-z/]{0,12}".prop_map(|text| ResourceName::try_new(&text).expect("a name"))
}

fn object_name() -> impl Strategy<Value = ObjectName> {
    ("[a-z]{1,8}", "[a-z]{1,8}").prop_map(|(namespace, name)| ObjectName::try_new(&namespace, &name).expect("a name"))
}

fn header_name() -> impl Strategy<Value = Arc<str>> {
    "[a-z][a-z-]{0,8}".prop_map(Arc::from)
}

fn text() -> impl Strategy<Value = Arc<str>> {
    prop_oneof!["[a-z ]{0,10}", "\\PC{0,10}"].prop_map(Arc::from)
}

fn percent() -> impl Strategy<Value = Percent> {
    (0..1_000_001u32).prop_map(|millionths| Percent::from_millionths(millionths).expect("at most a million"))
}

fn address() -> impl Strategy<Value = SocketAddr> {
    (any::<std::net::IpAddr>(), 1..=u16::MAX).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

/// From a nanosecond up to so many seconds.
fn shorter(seconds: u64) -> impl Strategy<Value = Duration> {
    (1..=seconds * 1_000_000_000).prop_map(Duration::from_nanos)
}

/// From so many seconds up to an hour.
fn longer(seconds: u64) -> impl Strategy<Value = Duration> {
    (seconds..3600).prop_map(Duration::from_secs)
}
