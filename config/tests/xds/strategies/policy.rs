//! Arbitrary policies of routes.

use std::time::Duration;

use outrigger_config::policy::cache::{AlsoStore, CacheKey};
use outrigger_config::policy::fault::{Abort, AbortWith, Delay, Scope, Throttle};
use outrigger_config::policy::rate_limit::{self, GlobalLimit, OnError};
use outrigger_config::policy::{
    Backoff, Cache, Condition, Conditions, Fault, GrpcCodes, Hedge, Methods, Per, RateLimit, RateLimitRule,
    ResetFormat, ResetHeader, Retry, RetryAfter, Session, Tell,
};
use outrigger_config::route::HeaderMatch;
use outrigger_config::value::Percent;
use proptest::collection::{btree_set, vec};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::subsequence;

use super::matches::{matches, value_match};
use super::value::{header_name, longer, percent, policy, shorter, text};

/// Boxed: as a part of the type of everything around it, it would not fit the stack of a test's thread.
pub(super) fn retry() -> BoxedStrategy<Retry> {
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
pub(super) fn rate_limit() -> BoxedStrategy<RateLimit> {
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

pub(super) fn session() -> impl Strategy<Value = Session> {
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

pub(super) fn fault() -> BoxedStrategy<Fault> {
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

pub(super) fn cache() -> BoxedStrategy<Cache> {
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
