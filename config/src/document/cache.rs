//! `cache` of a RoutePolicy: what is kept of the responses, by which key, and for how long.

use std::sync::Arc;

use super::policy::LONGER_THAN_ZERO;
use super::reader::Field;
use crate::policy::cache::{AlsoStore, Cache, CacheKey};
use crate::policy::{Mode, Origin};
use crate::value::Percent;

/// Reads a cache; an empty mapping does as responses say.
pub(super) fn read_cache(field: &Field<'_>, mode: Mode, origin: &Origin) -> Cache {
    let mut fields = field.fields();
    let mut duration = |name| fields.optional(name).map(|field| field.duration(LONGER_THAN_ZERO));
    let ttl = duration("ttl");
    let default_ttl = duration("defaultTtl");
    let stale_while_revalidate = duration("staleWhileRevalidate");
    let stale_if_error = duration("staleIfError");
    let heuristic = fields.optional("heuristicPercent").and_then(|field| field.number(Percent::try_new));
    let max_bytes = fields.optional("maxBytes").map(|field| field.integer(1..=Cache::MOST_MAX_BYTES));
    let key = fields.optional("key").map(|field| read_key(&field)).unwrap_or_default();
    let also_store = fields.optional("alsoStore").map(|field| field.list(|field| field.choice(&AlsoStore::ALL)));
    let shared = fields.optional("shared").is_some_and(|field| field.boolean());
    let field = fields.finish();
    let cache = Cache {
        mode,
        ttl,
        default_ttl,
        heuristic: heuristic.unwrap_or(Percent::ZERO),
        stale_while_revalidate,
        stale_if_error,
        max_bytes: max_bytes.unwrap_or(Cache::DEFAULT_MAX_BYTES),
        key,
        also_store: also_store.into_iter().flatten().flatten().collect(),
        shared,
        ..Cache::with_defaults(origin.clone())
    };
    // A value out of range is noted already, and stands here as one that is in range.
    if let Err(problem) = cache.check() {
        field.note(problem);
    }
    cache
}

fn read_key(field: &Field<'_>) -> CacheKey {
    let mut fields = field.fields();
    let names = |field: Field<'_>| field.list(|field| field.text());
    let lower = |name: Arc<str>| Arc::from(name.to_ascii_lowercase());
    let headers = fields.optional("headers").map(names).unwrap_or_default().into_iter().map(lower).collect();
    // An empty list says something: no parameter counts.
    let query = fields.optional("query").map(names);
    let cookies = fields.optional("cookies").map(names).unwrap_or_default();
    fields.finish();
    CacheKey { headers, query, cookies }
}
