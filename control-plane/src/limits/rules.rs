//! What global limits the documents say, and what is taken of each.
//!
//! A rule that stays as it is keeps its buckets over any change of documents. One that is gone counts on for [`LATE`]: a
//! proxy may ask by an older document than stands here, for a moment. Of any other there is no count.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outrigger_config::document::Spec;
use outrigger_config::mesh::Mesh;
use outrigger_config::policy::buckets::{Buckets, Key};
use outrigger_config::policy::gcra::{Gcra, Level};
use outrigger_config::policy::rate_limit::Scope;
use outrigger_config::policy::{Per, RateLimitRule};
use outrigger_config::xds::rls::{Descriptor, KEY, POLICY, RULE};
use parking_lot::Mutex;

/// How long a rule is counted that the documents do not have any more.
const LATE: Duration = Duration::from_secs(60);

/// A policy's name, and a rule's.
type Name = (Arc<str>, Arc<str>);

/// The global rules, by policy and name.
#[derive(Debug, Default)]
pub struct Rules {
    known: HashMap<Name, Arc<Rule>>,
    /// Those that are gone, and since when.
    late: HashMap<Name, (Arc<Rule>, Instant)>,
}

/// One rule.
#[derive(Debug)]
pub struct Rule {
    /// The policy's name, `NAMESPACE/NAME`.
    pub policy: Arc<str>,
    /// How it was configured.
    pub config: RateLimitRule,
    /// Its algorithm.
    pub gcra: Gcra,
    born: Instant,
    buckets: Mutex<Buckets>,
}

impl Rules {
    /// The rules of `mesh`, with the buckets of those that stay as they are.
    #[must_use]
    pub fn next(&self, mesh: &Mesh, now: Instant) -> Rules {
        let mut known = HashMap::new();
        for document in mesh.documents() {
            let Spec::RateLimitPolicy(policy) = document.spec() else { continue };
            let name: Arc<str> = document.name().to_string().into();
            for rule in policy.limit.rules.iter().filter(|rule| rule.scope == Scope::Global) {
                let key = (Arc::clone(&name), Arc::clone(&rule.name));
                let old = self.known.get(&key).or_else(|| self.late.get(&key).map(|(rule, _)| rule));
                let same = old.filter(|old| old.config == *rule).map(Arc::clone);
                known.insert(key, same.unwrap_or_else(|| Arc::new(Rule::new(&name, rule, now))));
            }
        }
        let old = self.late.iter().map(|(name, (rule, gone))| (name, rule, *gone));
        let gone = self.known.iter().map(|(name, rule)| (name, rule, now));
        // A rule that has been away twice is late since the last time.
        let late = old
            .chain(gone)
            .filter(|(name, _, gone)| !known.contains_key(*name) && now.saturating_duration_since(*gone) < LATE);
        let late = late.map(|(name, rule, gone)| (name.clone(), (Arc::clone(rule), gone))).collect();
        Rules { known, late }
    }

    /// The rule that a descriptor is about, and which of its buckets.
    pub fn find(&self, descriptor: &Descriptor) -> Option<(&Arc<Rule>, Key)> {
        let (policy, rule) = named(descriptor)?;
        let name = (policy.into(), rule.into());
        let rule = self.known.get(&name).or_else(|| self.late.get(&name).map(|(rule, _)| rule))?;
        let key = match (&rule.config.per, value(descriptor, KEY)) {
            (Per::Total, _) => 0,
            (_, key) => hash(key.unwrap_or_default()),
        };
        Some((rule, key))
    }

    /// The names that a descriptor has, if it is about a rule that is not there.
    pub fn unknown(&self, descriptor: &Descriptor) -> Option<(String, String)> {
        let (policy, rule) = named(descriptor).filter(|_| self.find(descriptor).is_none())?;
        Some((policy.to_owned(), rule.to_owned()))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

impl Rule {
    fn new(policy: &Arc<str>, config: &RateLimitRule, now: Instant) -> Self {
        let most = if config.per == Per::Total { 1 } else { config.max_keys };
        let (gcra, buckets) = (Gcra::new(config), Mutex::new(Buckets::new(most)));
        Rule { policy: Arc::clone(policy), config: config.clone(), gcra, born: now, buckets }
    }

    /// Takes of the bucket in memory.
    pub fn take(&self, key: Key, hits: u32, now: Instant) -> Result<Level, Duration> {
        let now = u64::try_from(now.saturating_duration_since(self.born).as_nanos()).unwrap_or(u64::MAX);
        self.buckets.lock().take(key, &self.gcra, hits, now)
    }
}

fn named(descriptor: &Descriptor) -> Option<(&str, &str)> {
    Some((value(descriptor, POLICY)?, value(descriptor, RULE)?))
}

fn value<'a>(descriptor: &'a Descriptor, wanted: &str) -> Option<&'a str> {
    let entry = descriptor.entries.iter().find(|entry| entry.key == wanted);
    entry.map(|entry| entry.value.as_str())
}

/// The same in every replica: they count together in Redis.
fn hash(value: &str) -> Key {
    let mut key = [0; 16];
    key.copy_from_slice(&blake3::hash(value.as_bytes()).as_bytes()[..16]);
    Key::from_le_bytes(key)
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::{Duration, Instant};

    use outrigger_config::document::parse;
    use outrigger_config::mesh::Mesh;
    use outrigger_config::xds::rls::{Descriptor, Entry, KEY, POLICY, RULE};

    use super::Rules;

    /// A policy `shop/calm` of these rules.
    pub(in crate::limits) fn mesh(rules: &str) -> Mesh {
        let text = format!(
            "
apiVersion: outrigger.dev/v1alpha1
kind: Service
metadata: {{ name: catalog, namespace: shop }}
spec: {{ selector: {{ app: catalog }}, ports: [{{ name: http, port: 80 }}] }}
---
apiVersion: outrigger.dev/v1alpha1
kind: RateLimitPolicy
metadata: {{ name: calm, namespace: shop }}
spec:
  targetRefs: [{{ kind: Service, name: catalog }}]
  rules: {rules}"
        );
        let (mesh, _) = Mesh::try_new(parse(&text, "").expect("documents")).expect("a mesh");
        mesh
    }

    fn descriptor(entries: &[(&str, &str)]) -> Descriptor {
        let entry = |(key, value): &(&str, &str)| Entry { key: (*key).into(), value: (*value).into() };
        Descriptor { entries: entries.iter().map(entry).collect() }
    }

    #[test]
    fn a_rule_that_stays_keeps_what_was_taken_of_it() {
        let now = Instant::now();
        let all = "{ name: all, scope: Global, limit: { requests: 2, interval: 60s } }";
        let own = "{ name: own, limit: { requests: 2, interval: 60s } }";
        let rules = Rules::default().next(&mesh(&format!("[{all}, {own}]")), now);
        assert_eq!(rules.len(), 1, "what each proxy counts for itself is none of ours");
        let asked = descriptor(&[(POLICY, "shop/calm"), (RULE, "all")]);
        let take = |rules: &Rules, now| rules.find(&asked).is_some_and(|(rule, key)| rule.take(key, 1, now).is_ok());
        assert!(take(&rules, now) && take(&rules, now) && !take(&rules, now));
        let same = rules.next(&mesh(&format!("[{all}]")), now);
        assert!(!take(&same, now) && take(&same, now + Duration::from_secs(30)));
        let other = same.next(&mesh(&format!("[{}]", all.replace("60s", "50s"))), now);
        assert!(take(&other, now));
        let gone = rules.next(&mesh(&format!("[{own}]")), now);
        assert!(gone.is_empty());
        assert!(!take(&gone, now) && take(&gone, now + Duration::from_secs(60)), "a proxy may not know yet");
        assert!(gone.unknown(&asked).is_none());
        let later = gone.next(&mesh(&format!("[{own}]")), now + Duration::from_secs(61));
        assert_eq!(later.unknown(&asked), Some(("shop/calm".into(), "all".into())));
        assert!(!take(&gone.next(&mesh(&format!("[{all}]")), now), now), "nor does it begin anew where it comes back");
    }

    #[test]
    fn a_descriptor_names_a_rule_and_perhaps_a_key() {
        let now = Instant::now();
        let each = "[{ name: each, scope: Global, per: SourceIP, limit: { requests: 1, interval: 60s } }]";
        let rules = Rules::default().next(&mesh(each), now);
        let key = |entries: &[(&str, &str)]| rules.find(&descriptor(entries)).map(|(_, key)| key);
        let (policy, rule) = ((POLICY, "shop/calm"), (RULE, "each"));
        assert_ne!(key(&[policy, rule, (KEY, "10.0.0.1")]), key(&[policy, rule, (KEY, "10.0.0.2")]));
        assert_eq!(key(&[policy, rule, (KEY, "a"), ("more", "b")]), key(&[(KEY, "a"), rule, policy]));
        for unknown in [&[policy][..], &[rule], &[], &[policy, (RULE, "other")], &[(POLICY, "shop/other"), rule]] {
            assert_eq!(key(unknown), None);
        }
    }
}
