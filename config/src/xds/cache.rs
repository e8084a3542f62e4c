//! The cache of a route, in our own words alone: a stock Envoy asks the endpoint every time, which is always right.

use std::sync::Arc;

use super::value::{duration, each, optional_duration};
use super::wire::cache as own;
use crate::error::Problem;
use crate::policy::cache::{AlsoStore, Cache, CacheKey};
use crate::policy::{Mode, Origin};
use crate::value::Percent;

/// Encodes a cache.
pub(super) fn encode(cache: &Cache) -> own::Cache {
    let names = |names: &[Arc<str>]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let word = |what: &AlsoStore| {
        i32::from(match what {
            AlsoStore::Authorized => own::AlsoStore::Authorized,
            AlsoStore::Cookies => own::AlsoStore::Cookies,
            AlsoStore::SetCookie => own::AlsoStore::SetCookie,
            AlsoStore::Private => own::AlsoStore::Private,
        })
    };
    own::Cache {
        origin: cache.origin.to_string(),
        observe: !cache.mode.enforces(),
        ttl: cache.ttl.and_then(duration),
        default_ttl: cache.default_ttl.and_then(duration),
        heuristic_millionths: cache.heuristic.millionths(),
        stale_while_revalidate: cache.stale_while_revalidate.and_then(duration),
        stale_if_error: cache.stale_if_error.and_then(duration),
        max_bytes: cache.max_bytes,
        key_headers: names(&cache.key.headers),
        key_query: cache.key.query.as_deref().map(|query| own::Parameters { names: names(query) }),
        key_cookies: names(&cache.key.cookies),
        also_store: cache.also_store.iter().map(word).collect(),
        shared: cache.shared,
    }
}

/// Decodes a cache and checks it.
pub(super) fn decode(message: &own::Cache) -> Result<Cache, Problem> {
    let names = |names: &[String]| names.iter().map(|name| Arc::from(name.as_str())).collect::<Vec<_>>();
    let word = |number: &i32| match own::AlsoStore::try_from(*number) {
        Ok(own::AlsoStore::Authorized) => Ok(AlsoStore::Authorized),
        Ok(own::AlsoStore::Cookies) => Ok(AlsoStore::Cookies),
        Ok(own::AlsoStore::SetCookie) => Ok(AlsoStore::SetCookie),
        Ok(own::AlsoStore::Private) => Ok(AlsoStore::Private),
        Err(error) => Err(Problem::invalid(number, error.to_string())),
    };
    let heuristic = Percent::from_millionths(message.heuristic_millionths);
    let cache = Cache {
        origin: Origin(message.origin.as_str().into()),
        mode: if message.observe { Mode::Observe } else { Mode::Enforce },
        ttl: optional_duration("ttl", message.ttl.as_ref())?,
        default_ttl: optional_duration("default_ttl", message.default_ttl.as_ref())?,
        heuristic: heuristic.map_err(|problem| problem.at_field("heuristic_millionths"))?,
        stale_while_revalidate: optional_duration("stale_while_revalidate", message.stale_while_revalidate.as_ref())?,
        stale_if_error: optional_duration("stale_if_error", message.stale_if_error.as_ref())?,
        max_bytes: message.max_bytes,
        key: CacheKey {
            headers: names(&message.key_headers),
            query: message.key_query.as_ref().map(|query| names(&query.names)),
            cookies: names(&message.key_cookies),
        },
        also_store: each("also_store", &message.also_store, word)?.into_iter().collect(),
        shared: message.shared,
    };
    cache.check()?;
    Ok(cache)
}
