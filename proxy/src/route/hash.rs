//! The hash of the maps that are read on every request. Their keys come from the configuration and requests only look
//! up, so nobody can choose keys that collide; a fast hash without a secret is enough.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A map for the request path.
pub type FastMap<K, V> = HashMap<K, V, BuildHasherDefault<FastHasher>>;

/// XXH3 over each piece that is written, chained by its seed.
#[derive(Clone, Copy, Debug, Default)]
pub struct FastHasher(u64);

impl Hasher for FastHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    // The byte that ends a str: nothing follows it here that it would have to be told apart from.
    fn write_u8(&mut self, byte: u8) {
        self.0 = self.0.wrapping_add(u64::from(byte));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::FastMap;

    #[test]
    fn a_borrowed_key_finds_what_an_owned_one_stored() {
        let map: FastMap<Arc<str>, u32> = [("catalog".into(), 1), ("cart".into(), 2)].into_iter().collect();
        assert_eq!((map.get("cart"), map.get("car")), (Some(&2), None));
    }
}
