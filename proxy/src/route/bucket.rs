//! The buckets of one rate limit rule: one for all that it counts, or one for each key.
//!
//! A bucket for all is one atomic number: a compare-and-swap a request, no lock, exact over all workers. Buckets outlive
//! configurations (`snapshot`): changing a route does not refill them.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName};
use outrigger_config::policy::buckets::Key;
use outrigger_config::policy::gcra::{Gcra, Level};
use outrigger_config::policy::rate_limit::{CALLER, OnError, Scope};
use outrigger_config::policy::{Per, RateLimitRule};

use super::keyed::Keyed;
use super::leased::Leased;

/// The field in which a caller's proxy says whom it stands beside.
pub const CALLER_FIELD: HeaderName = HeaderName::from_static(CALLER);

/// The tokens of one rule.
#[derive(Debug)]
pub struct Bucket {
    gcra: Gcra,
    /// What times are counted from.
    born: Instant,
    tokens: Tokens,
}

#[derive(Debug)]
enum Tokens {
    /// When the only bucket is full.
    Total(AtomicU64),
    Each {
        by: By,
        keyed: Keyed,
        secret: [u8; 32],
    },
    /// A share of what the control plane divides.
    Leased(Leased),
}

/// What has a bucket of its own.
#[derive(Debug)]
pub(super) enum By {
    SourceWorkload,
    SourceIp,
    Header(HeaderName),
}

/// Who calls, as far as a rule may ask.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// The request's header fields.
    pub headers: &'a HeaderMap,
    /// The address that it came from.
    pub address: IpAddr,
    /// Whom the proxy knows to call, since it stands beside it.
    pub workload: Option<&'a [u8]>,
}

impl Bucket {
    /// Full buckets, or one that waits for its share; until that comes `on_error` holds.
    pub fn new(rule: &RateLimitRule, on_error: OnError, now: Instant, rng: &mut fastrand::Rng) -> Self {
        let mut each = |by| {
            let mut secret = [0; 32];
            rng.fill(&mut secret);
            Tokens::Each { by, keyed: Keyed::new(rule.max_keys), secret }
        };
        let tokens = match By::new(&rule.per) {
            _ if rule.scope == Scope::Leased => Tokens::Leased(Leased::new(on_error, rule.burst)),
            None => Tokens::Total(AtomicU64::new(0)),
            Some(by) => each(by),
        };
        Bucket { gcra: Gcra::new(rule), born: now, tokens }
    }

    /// Takes a token for a caller: what is left then. Without a token, says when the next will be there.
    pub fn take(&self, caller: &Caller<'_>, now: Instant) -> Result<Level, Duration> {
        let now = self.nanos(now);
        match &self.tokens {
            Tokens::Total(full) => {
                let mut seen = full.load(Relaxed);
                loop {
                    let filled = self.gcra.take(seen, 1, now)?;
                    match full.compare_exchange_weak(seen, filled, Relaxed, Relaxed) {
                        Ok(_) => return Ok(self.gcra.level(filled, now)),
                        Err(other) => seen = other,
                    }
                }
            }
            Tokens::Leased(leased) => leased.take(now),
            Tokens::Each { by, keyed, secret } => keyed.take(by.key(secret, caller), &self.gcra, now),
        }
    }

    /// How many keys have a bucket, and how many lost one that was not full; none where all share one.
    pub fn keys(&self) -> Option<(usize, u64)> {
        match &self.tokens {
            Tokens::Total(_) | Tokens::Leased(_) => None,
            Tokens::Each { keyed, .. } => Some((keyed.known(), keyed.forgotten())),
        }
    }
}

impl Bucket {
    /// What is left now, where all share one bucket.
    pub fn level(&self, now: Instant) -> Option<Level> {
        match &self.tokens {
            Tokens::Total(full) => Some(self.gcra.level(full.load(Relaxed), self.nanos(now))),
            Tokens::Leased(_) | Tokens::Each { .. } => None,
        }
    }

    /// The share of a limit that is divided.
    pub fn leased(&self) -> Option<&Leased> {
        match &self.tokens {
            Tokens::Leased(leased) => Some(leased),
            Tokens::Total(_) | Tokens::Each { .. } => None,
        }
    }

    /// A time as buckets count it.
    pub fn nanos(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.born).as_nanos()).unwrap_or(u64::MAX)
    }
}

impl By {
    /// Nothing where all share one bucket. A field that cannot be has no values: everybody has the same one.
    pub(super) fn new(per: &Per) -> Option<Self> {
        match per {
            Per::Total => None,
            Per::SourceWorkload => Some(By::SourceWorkload),
            Per::SourceIp => Some(By::SourceIp),
            Per::Header(name) => HeaderName::from_bytes(name.as_bytes()).ok().map(By::Header),
        }
    }

    /// The first byte tells apart what a caller said from what it did not say, and names from addresses.
    fn key(&self, secret: &[u8; 32], caller: &Caller<'_>) -> Key {
        let mut hasher = blake3::Hasher::new_keyed(secret);
        match self {
            By::SourceIp => address(&mut hasher, caller.address),
            By::Header(name) => {
                hash_lines(&mut hasher, caller.headers, name);
            }
            By::SourceWorkload => {
                if let Some(workload) = caller.workload {
                    hasher.update(b"v").update(workload).update(b",");
                } else if !hash_lines(&mut hasher, caller.headers, &CALLER_FIELD) {
                    address(&mut hasher, caller.address);
                }
            }
        }
        let mut key = [0; 16];
        hasher.finalize_xof().fill(&mut key);
        Key::from_le_bytes(key)
    }
}

/// All lines of a field as one value, where there is any.
pub(super) fn lines(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    let lines: Vec<_> = headers.get_all(name).iter().map(|line| line.as_bytes()).collect();
    (!lines.is_empty()).then(|| lines.join(&b','))
}

/// Hashes all lines of a field; whether there is any.
fn hash_lines(hasher: &mut blake3::Hasher, headers: &HeaderMap, name: &HeaderName) -> bool {
    let mut any = false;
    for line in headers.get_all(name) {
        let before: &[u8] = if any { b"" } else { b"v" };
        hasher.update(before).update(line.as_bytes()).update(b",");
        any = true;
    }
    any
}

/// One address of IPv4, or the 64 bits of IPv6 that a host is given: it may choose the others as it likes.
fn address(hasher: &mut blake3::Hasher, address: IpAddr) {
    match address.to_canonical() {
        IpAddr::V4(ip) => hasher.update(b"4").update(&ip.octets()),
        IpAddr::V6(ip) => hasher.update(b"6").update(&ip.octets()[..8]),
    };
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::{Duration, Instant};

    use http::{HeaderMap, HeaderValue};
    use outrigger_config::policy::rate_limit::{OnError, Scope};
    use outrigger_config::policy::{Per, RateLimitRule};

    use super::{Bucket, Caller};

    fn bucket(per: Per, burst: u32, now: Instant) -> Bucket {
        let interval = Duration::from_secs(60);
        let (name, matches) = ("each".into(), Vec::new());
        let rule =
            RateLimitRule { name, matches, requests: 1, interval, burst, per, max_keys: 100, scope: Scope::Proxy };
        Bucket::new(&rule, OnError::Allow, now, &mut fastrand::Rng::with_seed(7))
    }

    fn headers(name: &'static str, values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn threads_share_one_bucket() {
        let now = Instant::now();
        let (bucket, taken, headers) = (bucket(Per::Total, 1000, now), AtomicU32::new(0), HeaderMap::new());
        let caller = Caller { headers: &headers, address: IpAddr::from([127, 0, 0, 1]), workload: None };
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    (0..1000).for_each(|_| {
                        taken.fetch_add(u32::from(bucket.take(&caller, now).is_ok()), Ordering::Relaxed);
                    });
                });
            }
        });
        assert_eq!(taken.into_inner(), 1000);
        assert_eq!(bucket.keys(), None);
    }

    #[test]
    fn callers_are_told_apart_by_what_the_rule_says() {
        let now = Instant::now();
        let (long, web): (&'static str, _) = ("x".repeat(8000).leak(), "x-envoy-downstream-service-cluster");
        // Each row: the rule, and callers in groups; every group has one token.
        let v4 = |last: u8| IpAddr::from([10, 0, 0, last]);
        let v6 = |net: u16, host: u16| IpAddr::from([0x2001, 0xdb8, 0, net, 0, 0, 0, host]);
        let none = HeaderMap::new();
        type Group = Vec<(HeaderMap, IpAddr, Option<&'static [u8]>)>;
        let cases: Vec<(Per, Vec<Group>)> = vec![
            (
                Per::SourceIp,
                vec![
                    vec![(none.clone(), v4(1), None), (headers("x-user", &["a"]), v4(1), Some(b"shop/web"))],
                    vec![(none.clone(), v4(2), None)],
                    vec![(none.clone(), v6(1, 1), None), (none.clone(), v6(1, 2), None)],
                    vec![(none.clone(), v6(2, 1), None)],
                ],
            ),
            (
                Per::Header("x-user".into()),
                vec![
                    vec![(headers("x-user", &["a"]), v4(1), None), (headers("x-user", &["a"]), v4(2), None)],
                    vec![(headers("x-user", &["b"]), v4(1), None)],
                    vec![(headers("x-user", &["a", "b"]), v4(1), None)],
                    vec![(headers("x-user", &[""]), v4(1), None)],
                    vec![(headers("x-user", &[long]), v4(1), None)],
                    vec![(none.clone(), v4(1), None), (headers("x-other", &["a"]), v4(2), None)],
                ],
            ),
            (
                Per::SourceWorkload,
                vec![
                    vec![
                        (headers(web, &["shop/web"]), v4(1), None),
                        (none.clone(), v4(2), Some(b"shop/web")),
                        (headers(web, &["shop/other"]), v4(2), Some(b"shop/web")),
                    ],
                    vec![(headers(web, &["shop/cart"]), v4(1), None)],
                    vec![(none.clone(), v4(1), None)],
                    vec![(none, v4(2), None)],
                ],
            ),
        ];
        for (per, groups) in cases {
            let bucket = bucket(per.clone(), 1, now);
            for (number, group) in groups.iter().enumerate() {
                let take = |(headers, address, workload): &(HeaderMap, IpAddr, Option<&[u8]>)| {
                    let caller = Caller { headers, address: *address, workload: *workload };
                    bucket.take(&caller, now).is_ok()
                };
                assert_eq!(group.iter().filter(|one| take(one)).count(), 1, "{per:?} {number}");
            }
            assert_eq!(bucket.keys(), Some((groups.len(), 0)));
        }
    }
}
