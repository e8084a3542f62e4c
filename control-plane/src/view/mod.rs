//! What a client may see: resources encoded once, shared by everyone who sees the same.
//!
//! A [`Set`] holds the resources of one type in order of name; [`Sets`] holds one set for each type. A client sees
//! two of those: what its kind and namespace share, and the little that belongs to its workload alone. The two
//! together are its [`View`]. Versions are hashes of content, so that two control planes, or one before and after a
//! restart, agree on them without talking. Who compiles views from a mesh, and when, is in [`snapshot`] and
//! [`publish`].

pub mod snapshot;
pub mod publish;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use outrigger_config::resource::ResourceType;

/// A hash of content: of one resource, or of a whole set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(u64);

impl Version {
    /// The version of nothing at all.
    pub const EMPTY: Version = Version(0);

    /// Reads a version that this control plane, or another of its kind, has made.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !digits {
            return None;
        }
        u64::from_str_radix(text, 16).ok().map(Version)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// One encoded resource.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    name: Arc<str>,
    version: Version,
    value: Bytes,
}

impl Entry {
    /// A resource of this name, encoded as `value`.
    pub fn new(name: Arc<str>, value: Bytes) -> Self {
        let version = Version(hash(&[&value]));
        Entry { name, version, value }
    }

    /// The resource's name, unique in its type.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The hash of its encoding.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Its encoding, as an `Any` carries it.
    pub fn value(&self) -> &Bytes {
        &self.value
    }
}

/// The resources of one type.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Set {
    entries: Vec<Arc<Entry>>,
    sum: u64,
}

impl Set {
    /// A set of these entries; of two with one name the first stays.
    pub fn new(mut entries: Vec<Arc<Entry>>) -> Self {
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        entries.dedup_by(|a, b| a.name == b.name);
        let sum = entries.iter().fold(0, |sum: u64, entry| {
            sum.wrapping_add(hash(&[entry.name.as_bytes(), b"\0", &entry.version.0.to_be_bytes()]))
        });
        Set { entries, sum }
    }

    /// The resource of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Entry>> {
        let at = self.entries.binary_search_by(|entry| (*entry.name).cmp(name)).ok()?;
        self.entries.get(at)
    }

    /// Every resource, by name.
    pub fn entries(&self) -> &[Arc<Entry>] {
        &self.entries
    }
}

/// One set for each type.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sets([Set; ResourceType::ALL.len()]);

impl Sets {
    /// Sorts entries into the sets of their types.
    pub fn new(entries: impl IntoIterator<Item = (ResourceType, Arc<Entry>)>) -> Self {
        let mut by_type: [Vec<Arc<Entry>>; ResourceType::ALL.len()] = Default::default();
        for (kind, entry) in entries {
            by_type[kind as usize].push(entry);
        }
        Sets(by_type.map(Set::new))
    }

    /// The set of a type.
    pub fn of(&self, kind: ResourceType) -> &Set {
        &self.0[kind as usize]
    }
}

/// All that one client may see, at one generation.
#[derive(Clone, Debug, Default)]
pub struct View {
    generation: u64,
    shared: Arc<Sets>,
    own: Arc<Sets>,
}

impl View {
    /// A view of what a class shares and of what is the workload's own.
    pub fn new(generation: u64, shared: Arc<Sets>, own: Arc<Sets>) -> Self {
        View { generation, shared, own }
    }

    /// The generation of the mesh it was compiled from.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The resource of this type and name.
    pub fn get(&self, kind: ResourceType, name: &str) -> Option<&Arc<Entry>> {
        self.own.of(kind).get(name).or_else(|| self.shared.of(kind).get(name))
    }

    /// How many resources of a type there are, those that hide others included.
    pub fn count(&self, kind: ResourceType) -> usize {
        self.own.of(kind).entries().len() + self.shared.of(kind).entries().len()
    }

    /// Every resource of a type, each once.
    pub fn entries(&self, kind: ResourceType) -> impl Iterator<Item = &Arc<Entry>> {
        let own = self.own.of(kind);
        let shared = self.shared.of(kind).entries().iter().filter(|entry| own.get(&entry.name).is_none());
        own.entries().iter().chain(shared)
    }

    /// The version of all the resources of a type together.
    pub fn version(&self, kind: ResourceType) -> Version {
        Version(self.shared.of(kind).sum.wrapping_add(self.own.of(kind).sum))
    }
}

/// The first 64 bits of BLAKE3 over the parts, one after another.
fn hash(parts: &[&[u8]]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use outrigger_config::resource::ResourceType;

    use super::{Entry, Sets, Version, View};

    fn sets(entries: &[(&str, &'static str)]) -> Arc<Sets> {
        let entry = |(name, value): &(&str, &'static str)| {
            (ResourceType::Cluster, Arc::new(Entry::new((*name).into(), Bytes::from_static(value.as_bytes()))))
        };
        Arc::new(Sets::new(entries.iter().map(entry)))
    }

    #[test]
    fn a_version_depends_on_content_and_not_on_order_or_on_who_owns_what() {
        let kind = ResourceType::Cluster;
        let of = |shared: &[_], own: &[_]| View::new(1, sets(shared), sets(own)).version(kind);
        assert_eq!(of(&[("a", "1"), ("b", "2")], &[]), of(&[("b", "2"), ("a", "1")], &[]));
        assert_eq!(of(&[("a", "1")], &[("b", "2")]), of(&[("a", "1"), ("b", "2")], &[]));
        assert_ne!(of(&[("a", "1")], &[]), of(&[("a", "2")], &[]));
        assert_ne!(of(&[("a", "1")], &[]), of(&[("b", "1")], &[]));
        assert_eq!(of(&[], &[]), Version::EMPTY);
    }

    #[test]
    fn versions_read_back() {
        let view = View::new(1, sets(&[("a", "1")]), Arc::default());
        let version = view.version(ResourceType::Cluster);
        assert_eq!(Version::parse(&version.to_string()), Some(version));
        for foreign in ["", "7", "0x00000000000000", "00000000000000FF", "+000000000000000"] {
            assert_eq!(Version::parse(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn what_is_a_workloads_own_hides_what_is_shared() {
        let view = View::new(1, sets(&[("a", "1"), ("b", "2")]), sets(&[("a", "9")]));
        let names: Vec<_> = view.entries(ResourceType::Cluster).map(|e| (&**e.name(), &**e.value())).collect();
        assert_eq!(names, [("a", &b"9"[..]), ("b", b"2")]);
        assert!(view.get(ResourceType::Listener, "a").is_none());
    }
}
