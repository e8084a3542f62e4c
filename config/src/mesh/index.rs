//! Documents by name, by kind and by what refers to them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::finding::Findings;
use super::select::Members;
use crate::document::{
    BackendPolicy, Document, Kind, MeshPolicy, RateLimitPolicy, Route, RoutePolicy, Service, ServicePort, Spec,
    TargetRef, Workload,
};
use crate::error::{Code, Problem};
use crate::name::ObjectName;
use crate::policy::Mode;
use crate::subset::Subsets;

/// A document's spec, and the document's place in the mesh's list.
#[derive(Clone, Debug)]
pub(super) struct Known<T> {
    pub(super) document: usize,
    pub(super) spec: T,
}

/// The documents of a kind.
pub(super) type Named<T> = BTreeMap<ObjectName, Known<T>>;

/// A route is known by its kind and name.
pub(super) type RouteId = (Kind, ObjectName);

/// What a route's parent reference attaches it to.
#[derive(Clone, Debug)]
pub(super) struct Attachment {
    pub(super) route: RouteId,
    /// Which of the route's parent references it is.
    pub(super) parent: usize,
    pub(super) port: Option<u16>,
    pub(super) section: Option<Arc<str>>,
}

impl Attachment {
    /// Whether it is for this port of the service.
    pub(super) fn takes(&self, port: &ServicePort) -> bool {
        self.port.is_none_or(|number| number == port.port)
            && self.section.as_ref().is_none_or(|name| *name == port.name)
    }
}

/// What policies of every kind with targets have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policy<'a> {
    pub(super) kind: Kind,
    pub(super) name: &'a ObjectName,
    pub(super) document: usize,
    pub(super) mode: Mode,
    pub(super) targets: &'a [TargetRef],
}

/// All documents, found by what refers to them.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    pub(super) services: Named<Service>,
    pub(super) workloads: Named<Workload>,
    pub(super) routes: BTreeMap<RouteId, Known<Route>>,
    pub(super) route_policies: Named<RoutePolicy>,
    pub(super) backend_policies: Named<BackendPolicy>,
    pub(super) rate_limit_policies: Named<RateLimitPolicy>,
    pub(super) mesh_policies: Named<MeshPolicy>,
    /// The routes of each service.
    pub(super) attachments: BTreeMap<ObjectName, Vec<Attachment>>,
    /// The policy of each target, by the policy's kind and mode: beside one that acts another may be rehearsed.
    pub(super) targets: BTreeMap<(Kind, Mode, TargetRef), ObjectName>,
    /// Which workloads are behind which services.
    pub(super) members: Members,
}

impl Index {
    /// Indexes documents. Of two with one kind and name the first counts, and the other is noted.
    pub(super) fn new(documents: &[Document], findings: &mut Findings<'_>) -> Self {
        let mut index = Index::default();
        let mut first: BTreeMap<(Kind, &ObjectName), &Document> = BTreeMap::new();
        for (number, document) in documents.iter().enumerate() {
            if let Some(earlier) = first.get(&(document.kind(), document.name())) {
                let problem = Problem::new(Code::Duplicate, format!("is there already{}", whence(earlier)));
                findings.note_at_root(number, problem.at_field("name").at_field("metadata"));
                continue;
            }
            first.insert((document.kind(), document.name()), document);
            index.insert(number, document);
        }
        index.attach();
        index.target(findings);
        let subsets = index.backend_policies.values().filter_map(|known| known.spec.load_balancing.subsets.as_ref());
        index.members = Members::new(documents, &index.services, &subsets.flat_map(Subsets::keys).collect());
        index
    }

    fn insert(&mut self, number: usize, document: &Document) {
        fn put<N: Ord, T: Clone>(named: &mut BTreeMap<N, Known<T>>, name: N, document: usize, spec: &T) {
            named.insert(name, Known { document, spec: spec.clone() });
        }
        let name = document.name().clone();
        match document.spec() {
            Spec::Service(spec) => put(&mut self.services, name, number, spec),
            Spec::Workload(spec) => put(&mut self.workloads, name, number, spec),
            Spec::HttpRoute(spec) | Spec::GrpcRoute(spec) => {
                put(&mut self.routes, (document.kind(), name), number, spec);
            }
            Spec::RoutePolicy(spec) => put(&mut self.route_policies, name, number, spec),
            Spec::BackendPolicy(spec) => put(&mut self.backend_policies, name, number, spec),
            Spec::RateLimitPolicy(spec) => put(&mut self.rate_limit_policies, name, number, spec),
            Spec::MeshPolicy(spec) => put(&mut self.mesh_policies, name, number, spec),
        }
    }

    /// Every policy that has targets, by kind and name.
    pub(super) fn policies(&self) -> impl Iterator<Item = Policy<'_>> {
        fn all<'a, T>(
            kind: Kind,
            named: &'a Named<T>,
            parts: fn(&T) -> (Mode, &[TargetRef]),
        ) -> impl Iterator<Item = Policy<'a>> {
            named.iter().map(move |(name, Known { document, spec })| {
                let (mode, targets) = parts(spec);
                Policy { kind, name, document: *document, mode, targets }
            })
        }
        all(Kind::RoutePolicy, &self.route_policies, |spec| (spec.mode, &spec.targets))
            .chain(all(Kind::BackendPolicy, &self.backend_policies, |spec| (spec.mode, &spec.targets)))
            .chain(all(Kind::RateLimitPolicy, &self.rate_limit_policies, |spec| (spec.limit.mode, &spec.targets)))
    }

    fn attach(&mut self) {
        for (route, known) in &self.routes {
            for (parent, reference) in known.spec.parents.iter().enumerate() {
                let (port, section) = (reference.port, reference.section.clone());
                let attachment = Attachment { route: route.clone(), parent, port, section };
                self.attachments.entry(reference.service.clone()).or_default().push(attachment);
            }
        }
    }

    /// Of two policies of one kind and mode on one target the first by name has it, the other is in conflict.
    fn target(&mut self, findings: &mut Findings<'_>) {
        let mut owners: BTreeMap<(Kind, Mode, TargetRef), ObjectName> = BTreeMap::new();
        for Policy { kind, name, document, mode, targets } in self.policies() {
            for (number, target) in targets.iter().enumerate() {
                let Some(owner) = owners.get(&(kind, mode, target.clone())) else {
                    owners.insert((kind, mode, target.clone()), name.clone());
                    continue;
                };
                let reason = match owner == name {
                    true => format!("{target} is named twice"),
                    false => format!("{target} has the {kind} {owner} already, and there can be one of each mode"),
                };
                let problem = Problem::new(Code::Conflict, reason).with_value(&target.name);
                findings.note(document, problem.at_index(number).at_field("targetRefs"));
            }
        }
        self.targets = owners;
    }
}

fn whence(document: &Document) -> String {
    match document.location().file.as_str() {
        "" => format!(", on line {}", document.location().line),
        file => format!(", in {file} on line {}", document.location().line),
    }
}
