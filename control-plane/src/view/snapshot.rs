//! One generation of the mesh, encoded for whoever looks at it.
//!
//! A class of clients (kind and namespace) is encoded when the first of them asks, once, and for the next generation
//! in advance as long as somebody holds it. What a client calls itself cannot make memory grow: a namespace that the
//! mesh does not have sees what `default` sees, and a workload it does not have owns nothing.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, OnceLock, Weak};

use bytes::Bytes;
use outrigger_config::mesh::Mesh;
use outrigger_config::name::ObjectName;
use outrigger_config::resource::{ClientKind, Resource, ResourceType};
use outrigger_config::xds;
use parking_lot::Mutex;

use crate::view::{Entry, Sets, Version, View};

/// The namespace whose view everybody gets who is in none that exists.
const DEFAULT_NAMESPACE: &str = "default";

/// A mesh, and what has been encoded of it so far.
pub struct Snapshot {
    generation: u64,
    mesh: Arc<Mesh>,
    namespaces: BTreeSet<Arc<str>>,
    workloads: BTreeSet<ObjectName>,
    shared: Classes<(ClientKind, Arc<str>)>,
    own: Classes<(ClientKind, ObjectName)>,
    interned: Arc<Interner>,
}

/// Encoded once for each key, by the first who asks; the others wait for it.
type Classes<K> = Mutex<HashMap<K, Arc<OnceLock<Arc<Sets>>>>>;

impl Snapshot {
    /// A snapshot in which nothing is encoded yet.
    pub fn new(generation: u64, mesh: Arc<Mesh>) -> Self {
        Snapshot::with_interner(generation, mesh, Arc::default())
    }

    /// The snapshot after this one, with everything encoded that somebody holds of this one.
    pub fn next(&self, generation: u64, mesh: Arc<Mesh>) -> Self {
        self.interned.forget_unused();
        let next = Snapshot::with_interner(generation, mesh, self.interned.clone());
        for (kind, namespace) in held(&self.shared) {
            next.shared(kind, &namespace);
        }
        for (kind, workload) in held(&self.own) {
            next.own(kind, &workload);
        }
        next
    }

    fn with_interner(generation: u64, mesh: Arc<Mesh>, interned: Arc<Interner>) -> Self {
        let namespaces = mesh.namespaces().iter().map(|namespace| Arc::from(&**namespace)).collect();
        let workloads = mesh.workloads().cloned().collect();
        let (shared, own) = (Mutex::default(), Mutex::default());
        Snapshot { generation, mesh, namespaces, workloads, shared, own, interned }
    }

    /// The number of the change that made the mesh.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The mesh itself.
    pub fn mesh(&self) -> &Arc<Mesh> {
        &self.mesh
    }

    /// What a client of this kind, in this namespace, beside this workload, may see. Encodes what nobody has asked for
    /// yet, which takes as long as the namespace is large.
    pub fn view(&self, kind: ClientKind, namespace: &str, workload: Option<&ObjectName>) -> View {
        let own = workload.map(|workload| self.own(kind, workload)).unwrap_or_default();
        View::new(self.generation, self.shared(kind, namespace), own)
    }

    fn shared(&self, kind: ClientKind, namespace: &str) -> Arc<Sets> {
        let known = self.namespaces.get(namespace).cloned();
        let namespace = known.unwrap_or_else(|| DEFAULT_NAMESPACE.into());
        let cell = self.shared.lock().entry((kind, namespace.clone())).or_default().clone();
        cell.get_or_init(|| self.encode(kind, &self.mesh.shared(&namespace))).clone()
    }

    fn own(&self, kind: ClientKind, workload: &ObjectName) -> Arc<Sets> {
        if !self.workloads.contains(workload) {
            return Arc::default();
        }
        let cell = self.own.lock().entry((kind, workload.clone())).or_default().clone();
        cell.get_or_init(|| self.encode(kind, &self.mesh.own(workload))).clone()
    }

    fn encode(&self, kind: ClientKind, resources: &[Resource]) -> Arc<Sets> {
        let encoded = resources.iter().filter_map(|resource| {
            let value = xds::encode(resource, kind)?;
            let entry = self.interned.entry(resource.resource_type(), resource.name().as_str(), value);
            Some((resource.resource_type(), entry))
        });
        Arc::new(Sets::new(encoded))
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("generation", &self.generation).finish_non_exhaustive()
    }
}

/// The classes of which somebody beside the snapshot holds the encoding.
fn held<K: Clone + Eq + Hash>(classes: &Classes<K>) -> Vec<K> {
    let is_held = |cell: &Arc<OnceLock<Arc<Sets>>>| cell.get().is_some_and(|sets| Arc::strong_count(sets) > 1);
    classes.lock().iter().filter(|(_, cell)| is_held(cell)).map(|(key, _)| key.clone()).collect()
}

/// Keeps one copy of what is the same in several classes and generations.
#[derive(Debug, Default)]
struct Interner {
    entries: Mutex<HashMap<(ResourceType, Version), Weak<Entry>>>,
}

impl Interner {
    fn entry(&self, kind: ResourceType, name: &str, value: Bytes) -> Arc<Entry> {
        let entry = Entry::new(name.into(), value);
        let mut entries = self.entries.lock();
        let slot = entries.entry((kind, entry.version())).or_default();
        match slot.upgrade() {
            Some(known) if *known == entry => known,
            _ => {
                let entry = Arc::new(entry);
                *slot = Arc::downgrade(&entry);
                entry
            }
        }
    }

    fn forget_unused(&self) {
        self.entries.lock().retain(|_, entry| entry.strong_count() > 0);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use outrigger_config::document::parse;
    use outrigger_config::mesh::Mesh;
    use outrigger_config::name::ObjectName;
    use outrigger_config::resource::{ClientKind, ResourceType};

    use super::Snapshot;

    fn mesh(port: u16) -> Arc<Mesh> {
        let text = format!(
            "apiVersion: outrigger.dev/v1alpha1\nkind: Service\nmetadata: {{name: catalog, namespace: shop}}\n\
             spec: {{ports: [{{name: http, port: 80}}], selector: {{app: catalog}}}}\n---\n\
             apiVersion: outrigger.dev/v1alpha1\nkind: Workload\n\
             metadata: {{name: catalog-1, namespace: shop, labels: {{app: catalog}}}}\n\
             spec: {{address: 127.0.0.1, ports: [{{name: http, port: {port}, appPort: 9000}}]}}\n"
        );
        let documents = parse(&text, "").expect("documents");
        Arc::new(Mesh::try_new(documents).expect("a mesh").0)
    }

    #[test]
    fn a_class_is_encoded_once_and_strangers_make_none() {
        let snapshot = Snapshot::new(1, mesh(8080));
        let workload = ObjectName::parse("shop/catalog-1").expect("a name");
        for _ in 0..3 {
            snapshot.view(ClientKind::Outrigger, "shop", Some(&workload));
            snapshot.view(ClientKind::Envoy, "shop", None);
        }
        for stranger in 0..100 {
            let workload = ObjectName::try_new("shop", &format!("nobody-{stranger}")).expect("a name");
            snapshot.view(ClientKind::Outrigger, &format!("nowhere-{stranger}"), Some(&workload));
        }
        // Two kinds in `shop`, and what strangers share.
        assert_eq!((snapshot.shared.lock().len(), snapshot.own.lock().len()), (3, 1));
    }

    #[test]
    fn what_did_not_change_is_shared_by_generations_and_namespaces() {
        let first = Snapshot::new(1, mesh(8080));
        let before = first.view(ClientKind::Outrigger, "shop", None);
        let elsewhere = first.view(ClientKind::Outrigger, "default", None);
        let second = first.next(2, mesh(8081));
        assert_eq!(second.shared.lock().len(), 2, "what is held is encoded in advance");
        let after = second.view(ClientKind::Outrigger, "shop", None);
        let entry = |view: &crate::view::View, kind| view.get(kind, "shop/catalog/http").cloned().expect("there");
        let cluster = entry(&before, ResourceType::Cluster);
        assert!(Arc::ptr_eq(&cluster, &entry(&after, ResourceType::Cluster)));
        assert!(Arc::ptr_eq(&cluster, &entry(&elsewhere, ResourceType::Cluster)));
        assert_ne!(entry(&before, ResourceType::Assignment), entry(&after, ResourceType::Assignment));
        drop((before, elsewhere, first, cluster));
        drop(after);
        let third = second.next(3, mesh(8081));
        assert_eq!(third.shared.lock().len(), 0, "what nobody holds is not encoded again");
    }

    #[test]
    fn the_same_documents_have_the_same_versions() {
        let versions = || {
            let view = Snapshot::new(1, mesh(8080)).view(ClientKind::Envoy, "shop", None);
            ResourceType::ALL.map(|kind| view.version(kind))
        };
        assert_eq!(versions(), versions());
    }
}
