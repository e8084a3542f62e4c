//! Which workloads are behind which services, by labels.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::index::Named;
use crate::document::{Document, Kind, Service};
use crate::name::ObjectName;
use crate::subset::{Keys, Known, Metadata, Value};

/// Who is behind whom, both ways.
#[derive(Clone, Debug, Default)]
pub(super) struct Members {
    workloads: BTreeMap<ObjectName, Vec<ObjectName>>,
    services: BTreeMap<ObjectName, Vec<ObjectName>>,
    versions: BTreeMap<ObjectName, Arc<str>>,
    known: BTreeMap<ObjectName, Metadata>,
}

impl Members {
    /// Takes the labels from the documents of workloads, and keeps those under the `keys` of subsets. Each service looks
    /// only at the workloads that have the rarest of its labels, so that ten thousand of both are not compared each with
    /// each.
    pub(super) fn new(documents: &[Document], services: &Named<Service>, keys: &Keys) -> Self {
        let mut members = Members::default();
        let mut by_label: BTreeMap<(&str, &str, &str), Vec<usize>> = BTreeMap::new();
        for (number, document) in documents.iter().enumerate().filter(|(_, one)| one.kind() == Kind::Workload) {
            for (key, value) in document.labels() {
                by_label.entry((document.name().namespace(), key, value)).or_default().push(number);
            }
            let counts = document.labels().iter().filter(|(key, _)| keys.contains(*key));
            let known: Metadata =
                counts.map(|(key, value)| (Arc::clone(key), Known::One(Value::Text(Arc::clone(value))))).collect();
            if !known.is_empty() {
                members.known.insert(document.name().clone(), known);
            }
            if let Some(version) = document.labels().get("version") {
                members.versions.insert(document.name().clone(), version.clone());
            }
        }
        for (name, service) in services {
            let label_sets =
                service.spec.selector.iter().map(|(key, value)| {
                    by_label.get(&(name.namespace(), &**key, &**value)).map_or(&[][..], Vec::as_slice)
                });
            let Some(candidates) = label_sets.min_by_key(|candidates| candidates.len()) else { continue };
            let chosen = candidates.iter().map(|number| &documents[*number]);
            let chosen: BTreeSet<_> =
                chosen.filter(|one| service.spec.selects(one.labels())).map(|one| one.name().clone()).collect();
            for workload in &chosen {
                members.services.entry(workload.clone()).or_default().push(name.clone());
            }
            members.workloads.insert(name.clone(), chosen.into_iter().collect());
        }
        members.order_services(services);
        members
    }

    /// The widest selector first: the service that a workload goes by is the one that takes all its versions.
    fn order_services(&mut self, services: &Named<Service>) {
        for names in self.services.values_mut() {
            names.sort_by_key(|name| (services.get(name).map(|service| service.spec.selector.len()), name.clone()));
        }
    }

    /// The workloads behind a service, by name.
    pub(super) fn workloads(&self, service: &ObjectName) -> &[ObjectName] {
        self.workloads.get(service).map_or(&[], Vec::as_slice)
    }

    /// The services a workload is behind, that with the fewest labels in its selector first, then by name.
    pub(super) fn services(&self, workload: &ObjectName) -> &[ObjectName] {
        self.services.get(workload).map_or(&[], Vec::as_slice)
    }

    /// What is known of a workload under these keys.
    pub(super) fn known(&self, workload: &ObjectName, keys: &Keys) -> Metadata {
        let known = self.known.get(workload).into_iter().flatten().filter(|(key, _)| keys.contains(*key));
        known.map(|(key, known)| (Arc::clone(key), known.clone())).collect()
    }

    /// A workload's label `version`; empty where it has none.
    pub(super) fn version(&self, workload: &ObjectName) -> Arc<str> {
        self.versions.get(workload).cloned().unwrap_or_default()
    }
}
