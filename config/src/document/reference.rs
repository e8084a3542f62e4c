//! References from one document to another. Here they are only read; whether what they name exists is `mesh`'s question.

use std::fmt;
use std::sync::Arc;

use super::filter::{Filters, Place};
use super::kind::Kind;
use super::metadata::stand_in;
use super::reader::{Field, Fields};
use super::subsets::read_criteria;
use crate::error::{Code, Problem};
use crate::name::{ObjectName, check_label, check_subdomain};
use crate::subset::Criteria;

/// What a route belongs to (Gateway API `ParentReference`): a Service, or one port of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParentRef {
    /// The service; absent namespace: the route's.
    pub service: ObjectName,
    /// The port it is meant for; absent: every port.
    pub port: Option<u16>,
    /// The same by the port's name.
    pub section: Option<Arc<str>>,
}

/// Where a rule sends requests (Gateway API `HTTPBackendRef`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendRef {
    /// The service; absent namespace: the route's.
    pub service: ObjectName,
    /// Its port.
    pub port: u16,
    /// Its share among the rule's backends; absent: 1; 0 is drained.
    pub weight: u32,
    /// Which of its workloads, by their labels; empty: whichever (Outrigger's own).
    pub subset: Criteria,
    /// What is changed on the way to it, after what the rule changes.
    pub filters: Filters,
}

/// What a policy is for (Gateway API `LocalPolicyTargetReferenceWithSectionName`), in the policy's own namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TargetRef {
    /// What kind of thing it is.
    pub kind: Kind,
    /// Its name.
    pub name: ObjectName,
    /// The port of a Service or the rule of a route; absent: all of it.
    pub section: Option<Arc<str>>,
}

impl fmt::Display for TargetRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)?;
        match &self.section {
            Some(section) => write!(f, " ({section})"),
            None => Ok(()),
        }
    }
}

/// A port of a Service, by name or by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortRef {
    /// By name.
    Name(Arc<str>),
    /// By number.
    Number(u16),
}

impl PortRef {
    pub(super) fn read(field: &Field<'_>) -> Self {
        if field.is_number() { PortRef::Number(field.port()) } else { PortRef::Name(field.checked(check_label)) }
    }
}

impl fmt::Display for PortRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PortRef::Name(name) => f.write_str(name),
            PortRef::Number(number) => number.fmt(f),
        }
    }
}

impl ParentRef {
    pub(super) fn read(field: &Field<'_>, owner: &ObjectName) -> Self {
        let mut fields = field.fields();
        // Gateway API takes an absent kind for Gateway, so that it must be said.
        read_kind(&fields.required("kind"), &[Kind::Service]);
        read_group(&mut fields, Kind::Service);
        let service = read_name(&mut fields, owner);
        let port = fields.optional("port").map(|field| field.port());
        let section = fields.optional("sectionName").map(|field| field.checked(check_label));
        fields.finish();
        ParentRef { service, port, section }
    }
}

impl BackendRef {
    pub(super) fn read(field: &Field<'_>, owner: &ObjectName) -> Self {
        let mut fields = field.fields();
        if let Some(field) = fields.optional("kind") {
            read_kind(&field, &[Kind::Service]);
        }
        read_group(&mut fields, Kind::Service);
        let service = read_name(&mut fields, owner);
        let port = fields.required("port").port();
        // The bound is Gateway API's.
        let weight = fields.optional("weight").map_or(1, |field| field.integer(0..=1_000_000));
        let subset = fields.optional("subset").map(|field| read_criteria(&field)).unwrap_or_default();
        let filters = Filters::read(&mut fields, owner, Place::Backend);
        fields.finish();
        BackendRef { service, port, weight, subset, filters }
    }
}

impl TargetRef {
    /// `kinds`: those that the policy can be for.
    pub(super) fn read(field: &Field<'_>, owner: &ObjectName, kinds: &[Kind]) -> Self {
        let mut fields = field.fields();
        let kind = read_kind(&fields.required("kind"), kinds).unwrap_or(Kind::Service);
        read_group(&mut fields, kind);
        let name = fields.required("name").checked(check_subdomain);
        let section = fields.optional("sectionName").map(|field| field.checked(check_subdomain));
        fields.finish();
        TargetRef { kind, name: ObjectName::try_new(owner.namespace(), &name).unwrap_or_else(|_| stand_in()), section }
    }
}

fn read_kind(field: &Field<'_>, kinds: &[Kind]) -> Option<Kind> {
    let words: Vec<_> = kinds.iter().map(|kind| (kind.as_str(), *kind)).collect();
    field.choice(&words)
}

fn read_group(fields: &mut Fields<'_>, kind: Kind) {
    let Some(field) = fields.optional("group") else { return };
    let group = field.text();
    let own = kind.api_version().split_once('/').map_or("", |(group, _)| group);
    if *group != *kind.group() && *group != *own {
        field.note(Problem::new(Code::InvalidValue, format!("a {kind} is of group {:?}", kind.group())));
    }
}

fn read_name(fields: &mut Fields<'_>, owner: &ObjectName) -> ObjectName {
    let name = fields.required("name").checked(check_label);
    let namespace = fields.optional("namespace").map_or(owner.namespace().into(), |field| field.checked(check_label));
    ObjectName::try_new(&namespace, &name).unwrap_or_else(|_| stand_in())
}
