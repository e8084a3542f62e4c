//! [`parse`]: a text becomes documents, or the list of everything that is wrong with them.

use std::fmt;
use std::sync::Arc;

use super::kind::Kind;
use super::metadata::{Labels, Metadata};
use super::node::Node;
use super::policy::origin;
use super::reader::{Field, Fields, Log};
use super::suggestion::hint;
use super::{backend_policy, grpc_route, http_route, mesh_policy, rate_limit_policy, route, route_policy};
use super::{service, syntax, workload};
use crate::error::{Code, Location, Problem, Problems};
use crate::name::ObjectName;

/// The most problems that are told at once: more would be read by nobody.
pub const MAX_PROBLEMS: usize = 200;

/// One document: well-formed, and not yet held against others.
#[derive(Clone)]
pub struct Document {
    kind: Kind,
    name: ObjectName,
    labels: Labels,
    spec: Spec,
    json: Arc<serde_json::Value>,
    file: Arc<str>,
    root: Arc<Node>,
}

/// What a document says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spec {
    /// Of a Service.
    Service(service::Service),
    /// Of a Workload.
    Workload(workload::Workload),
    /// Of an HTTPRoute.
    HttpRoute(route::Route),
    /// Of a GRPCRoute.
    GrpcRoute(route::Route),
    /// Of a RoutePolicy.
    RoutePolicy(route_policy::RoutePolicy),
    /// Of a BackendPolicy.
    BackendPolicy(backend_policy::BackendPolicy),
    /// Of a RateLimitPolicy.
    RateLimitPolicy(rate_limit_policy::RateLimitPolicy),
    /// Of a MeshPolicy.
    MeshPolicy(mesh_policy::MeshPolicy),
}

/// Reads all documents of a text. `file` is what problems call it.
///
/// Either every document is well-formed, or all that is wrong comes back, up to [`MAX_PROBLEMS`], in the text's order.
pub fn parse(text: &str, file: &str) -> Result<Vec<Document>, Problems> {
    let file: Arc<str> = file.into();
    let (mut documents, mut problems) = (Vec::new(), Vec::new());
    for tree in syntax::read(text) {
        if problems.len() > MAX_PROBLEMS {
            break;
        }
        match tree {
            Ok(root) => match Document::read(root, &file) {
                Ok(document) => documents.push(document),
                Err(found) => problems.extend(found),
            },
            Err(findings) => {
                let log = Log::new(file.clone(), String::new());
                findings.into_iter().map(|finding| *finding).for_each(|(mark, problem)| log.note(mark, problem));
                problems.extend(log.into_problems());
            }
        }
    }
    if problems.is_empty() {
        return Ok(documents);
    }
    if problems.len() > MAX_PROBLEMS {
        problems.truncate(MAX_PROBLEMS);
        problems.push(Problem::new(Code::Syntax, "there are more problems, which are not shown"));
    }
    Err(Problems(problems))
}

/// Reads a text that holds no documents of ours, each tree of it as JSON: within the same bounds, and with the places
/// of what is wrong.
pub fn values(text: &str, file: &str) -> Result<Vec<serde_json::Value>, Problems> {
    let file: Arc<str> = file.into();
    let (mut values, mut problems) = (Vec::new(), Vec::new());
    for tree in syntax::read(text) {
        match tree {
            Ok(root) => values.push(root.to_json()),
            Err(findings) => {
                let log = Log::new(file.clone(), String::new());
                findings.into_iter().map(|finding| *finding).for_each(|(mark, problem)| log.note(mark, problem));
                problems.extend(log.into_problems());
            }
        }
    }
    if problems.is_empty() { Ok(values) } else { Err(Problems(problems)) }
}

impl Document {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its namespace and name.
    pub fn name(&self) -> &ObjectName {
        &self.name
    }

    /// Its labels.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// What it says.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The document as it was written, without comments and places.
    pub fn json(&self) -> &serde_json::Value {
        &self.json
    }

    /// Where it begins.
    pub fn location(&self) -> Location {
        Location { file: self.file.to_string(), line: self.root.mark.line, column: self.root.mark.column }
    }

    /// Completes a problem of this document, whose path begins at the document's root: whose it is, where, and the
    /// value that stands there.
    #[must_use]
    pub fn place(&self, mut problem: Problem) -> Problem {
        let node = self.root.locate(&problem.path);
        if problem.value.is_none()
            && let Some(value) = node.scalar()
        {
            problem = problem.with_value(value);
        }
        problem.object = self.to_string();
        problem.location =
            Some(Location { file: self.file.to_string(), line: node.mark.line, column: node.mark.column });
        problem
    }

    fn read(root: Node, file: &Arc<str>) -> Result<Self, Vec<Problem>> {
        let log = Log::new(file.clone(), describe(&root));
        let field = Field::root(&root, &log);
        let mut fields = field.fields();
        let kind = read_kind(&mut fields);
        let metadata = fields.required("metadata");
        let spec = fields.required("spec");
        let read = kind.map(|kind| {
            let metadata = Metadata::read(&metadata, kind);
            let spec = Spec::read(&spec, kind, &metadata);
            (kind, metadata, spec)
        });
        fields.finish();
        let problems = log.into_problems();
        let (Some((kind, Metadata { name, labels, .. }, spec)), true) = (read, problems.is_empty()) else {
            return Err(problems);
        };
        let json = Arc::new(root.to_json());
        Ok(Document { kind, name, labels, spec, json, file: file.clone(), root: Arc::new(root) })
    }
}

impl Spec {
    fn read(field: &Field<'_>, kind: Kind, metadata: &Metadata) -> Self {
        let name = &metadata.name;
        let of_route = |route: route::Route| route::Route { created: metadata.created.clone(), ..route };
        let origin = origin(kind, name);
        match kind {
            Kind::Service => Spec::Service(service::Service::read(field)),
            Kind::Workload => Spec::Workload(workload::Workload::read(field, name)),
            Kind::HttpRoute => Spec::HttpRoute(of_route(http_route::read(field, name))),
            Kind::GrpcRoute => Spec::GrpcRoute(of_route(grpc_route::read(field, name))),
            Kind::RoutePolicy => Spec::RoutePolicy(route_policy::RoutePolicy::read(field, name, &origin)),
            Kind::BackendPolicy => Spec::BackendPolicy(backend_policy::BackendPolicy::read(field, name, &origin)),
            Kind::RateLimitPolicy => {
                Spec::RateLimitPolicy(rate_limit_policy::RateLimitPolicy::read(field, name, &origin))
            }
            Kind::MeshPolicy => Spec::MeshPolicy(mesh_policy::MeshPolicy::read(field)),
        }
    }
}

impl fmt::Display for Document {
    /// `Kind namespace/name`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

impl fmt::Debug for Document {
    /// Without the tree, which says the same as the spec at ten times the length.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document")
            .field("kind", &self.kind)
            .field("name", &self.name)
            .field("spec", &self.spec)
            .finish()
    }
}

impl PartialEq for Document {
    /// What they say; not where they were read.
    fn eq(&self, other: &Self) -> bool {
        (self.kind, &self.name, &self.json) == (other.kind, &other.name, &other.json)
    }
}

fn read_kind(fields: &mut Fields<'_>) -> Option<Kind> {
    let version = fields.required("apiVersion");
    let known: Vec<&str> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
    let kind = fields.required("kind").parsed(|text| {
        let kind = Kind::ALL.into_iter().find(|kind| kind.as_str() == text);
        let reason = format!("is no kind that is known here; {}", hint(text, &known));
        kind.ok_or_else(|| Problem::new(Code::UnknownKind, reason).with_value(text))
    });
    version.parsed(|text| match kind {
        Some(kind) if text != kind.api_version() => {
            let reason = format!("a {kind} is of {}", kind.api_version());
            Err(Problem::new(Code::UnknownKind, reason).with_value(text))
        }
        _ => Ok(()),
    });
    kind
}

/// What problems call a document, from what can be read of it.
fn describe(root: &Node) -> String {
    // Every problem carries it, so a long one is left out.
    let text = |path: &str| root.at(path).and_then(Node::scalar).filter(|text| text.len() <= 253);
    let namespace = text("metadata.namespace").unwrap_or_else(|| "default".to_owned());
    match (text("kind"), text("metadata.name")) {
        (Some(kind), Some(name)) => format!("{kind} {namespace}/{name}"),
        (Some(kind), None) => kind,
        (None, _) => String::new(),
    }
}
