//! [`Mesh`]: documents that hold together, and their translation.

use std::collections::BTreeSet;

use super::finding::Findings;
use super::index::Index;
use super::socket::Sockets;
use super::{backend, check, cycle, listener, reach, reference, subset, table};
use crate::document::{Document, Kind};
use crate::error::Problems;
use crate::name::ObjectName;
use crate::resource::Resource;

/// All documents of a mesh, held against each other.
#[derive(Clone, Debug, Default)]
pub struct Mesh {
    documents: Vec<Document>,
    index: Index,
}

impl Mesh {
    /// Checks documents against each other. Warnings come beside the mesh; with a single error there is no mesh, and
    /// everything that was found comes back, warnings too.
    pub fn try_new(mut documents: Vec<Document>) -> Result<(Mesh, Problems), Problems> {
        // Stable, so that of two with one name the first one read counts.
        documents.sort_by(|a, b| (a.kind(), a.name()).cmp(&(b.kind(), b.name())));
        let mut findings = Findings::new(&documents);
        let index = Index::new(&documents, &mut findings);
        reference::check(&index, &mut findings);
        let sockets = Sockets::new(&index, &mut findings);
        check::check(&index, &mut findings);
        reach::check(&index, &mut findings);
        subset::check(&index, &mut findings);
        // Following requests needs addresses that are no one else's.
        if !findings.refuse() {
            cycle::check(&index, &sockets, &mut findings);
        }
        let problems = findings.into_problems();
        if problems.refuses() {
            return Err(problems);
        }
        Ok((Mesh { documents, index }, problems))
    }

    /// The documents, by kind and name.
    pub fn documents(&self) -> &[Document] {
        &self.documents
    }

    /// The document of a kind and name.
    pub fn document(&self, kind: Kind, name: &ObjectName) -> Option<&Document> {
        let found = self.documents.binary_search_by(|one| (one.kind(), one.name()).cmp(&(kind, name)));
        found.ok().and_then(|index| self.documents.get(index))
    }

    /// Every namespace that has a document.
    pub fn namespaces(&self) -> BTreeSet<&str> {
        self.documents.iter().map(|document| document.name().namespace()).collect()
    }

    /// Every workload, by name.
    pub fn workloads(&self) -> impl Iterator<Item = &ObjectName> {
        self.index.workloads.keys()
    }

    /// Whether a sidecar stands beside a workload, so that it has a listener.
    pub fn has_sidecar(&self, workload: &ObjectName) -> bool {
        self.index.workloads.get(workload).is_some_and(|known| known.spec.has_sidecar())
    }

    /// What all proxies of a namespace share: the outbound table, each service's tables, clusters and endpoints, and the
    /// listeners of gRPC clients; by type and name.
    pub fn shared(&self, namespace: &str) -> Vec<Resource> {
        let index = &self.index;
        let mut resources = vec![Resource::Table(table::outbound(index, namespace))];
        for (name, known) in &index.services {
            for port in &known.spec.ports {
                resources.push(Resource::Table(table::service(index, namespace, name, port)));
                resources.push(Resource::Cluster(backend::cluster(index, name, port)));
                resources.push(Resource::Assignment(backend::assignment(index, name, port)));
            }
        }
        resources.extend(listener::api(index, namespace).into_iter().map(Resource::ApiListener));
        ordered(resources)
    }

    /// What one workload's proxy has for itself: its listeners, inbound tables and the clusters behind them; by type and
    /// name. Nothing for a workload that the mesh does not know.
    pub fn own(&self, workload: &ObjectName) -> Vec<Resource> {
        let known = self.index.workloads.get(workload);
        ordered(known.map(|known| listener::own(&self.index, workload, &known.spec)).unwrap_or_default())
    }
}

fn ordered(mut resources: Vec<Resource>) -> Vec<Resource> {
    resources.sort_by(|a, b| (a.resource_type(), a.name()).cmp(&(b.resource_type(), b.name())));
    resources
}
