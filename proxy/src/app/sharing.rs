//! The Redis that proxies share their caches in, as the settings say.

use std::path::Path;
use std::sync::Arc;

use crate::app::Error;
use crate::app::settings::{CacheRedis, Settings};
use crate::cache::Second;
use crate::cache::second::Address;

/// The second level of the cache. Needs the runtime that will drive its connection.
pub(super) fn second(settings: &Settings) -> Result<Option<Arc<Second>>, Error> {
    let address = match &settings.cache_redis {
        CacheRedis::None => return Ok(None),
        CacheRedis::At(address) => address.clone(),
        CacheRedis::File(file) => {
            let wrong = |why| Error::Usage(format!("--cache-redis-file {} {why}", file.display()));
            Address::read(super::read(file)?.trim()).map_err(wrong)?
        }
    };
    let secret = settings.cache_redis_secret.as_deref().map(secret).transpose()?;
    if !address.is_near() {
        tracing::warn!(
            redis = ?address,
            "Responses go to Redis in plain text: use a network that nobody else reads, or a tunnel beside the proxy"
        );
    }
    let second = Second::at(&address, secret.as_deref().unwrap_or_default(), settings.cache_redis_timeout);
    tracing::info!(redis = ?address, sealed = secret.is_some(), "Routes with cache.shared share what they keep");
    Ok(Some(Arc::new(second)))
}

fn secret(file: &Path) -> Result<Box<[u8]>, Error> {
    super::token("--cache-redis-secret", file)
}
