//! A cache policy as `/config_dump` shows it: in the words of the documents.

use std::sync::Arc;

use outrigger_config::policy::Cache;
use outrigger_config::policy::cache::AlsoStore;
use outrigger_config::value::format_duration;
use serde_json::{Value, json};

/// The policy; what is not set is left out.
pub(super) fn cache(cache: &Cache) -> Value {
    let words = AlsoStore::ALL.iter().filter(|(_, what)| cache.also_store.contains(what)).map(|(word, _)| *word);
    let words: Vec<&str> = words.collect();
    let texts = |names: &[Arc<str>]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let names = |names: &[Arc<str>]| (!names.is_empty()).then(|| texts(names));
    let mut shown = json!({
        "origin": cache.origin.to_string(),
        "mode": if cache.mode.enforces() { "Enforce" } else { "Observe" },
        "ttl": cache.ttl.map(format_duration),
        "defaultTtl": cache.default_ttl.map(format_duration),
        "heuristicPercent": Some(cache.heuristic.ratio() * 100.0).filter(|percent| *percent > 0.0),
        "staleWhileRevalidate": cache.stale_while_revalidate.map(format_duration),
        "staleIfError": cache.stale_if_error.map(format_duration),
        "maxBytes": cache.max_bytes,
        "keyHeaders": names(&cache.key.headers),
        "keyQuery": cache.key.query.as_deref().map(texts),
        "keyCookies": names(&cache.key.cookies),
        "alsoStore": (!words.is_empty()).then_some(words),
        "shared": cache.shared.then_some(true),
    });
    if let Some(fields) = shown.as_object_mut() {
        fields.retain(|_, field| !field.is_null());
    }
    shown
}
