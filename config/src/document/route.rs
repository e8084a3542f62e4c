//! What `HTTPRoute` and `GRPCRoute` have in common: parents, rules, backends.

use std::sync::Arc;

use super::filter::{Filters, Place};
use super::metadata::Created;
use super::reader::{Field, Fields};
use super::reference::{BackendRef, ParentRef};
use crate::error::{Code, Problem};
use crate::matching::{PathMatch, RouteMatch};
use crate::name::{ObjectName, check_subdomain};
use crate::policy::Timeouts;
use crate::rewrite::PathRewrite;

/// The spec of an HTTPRoute or a GRPCRoute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// When it was made: of two that take the same, the older comes first.
    pub created: Option<Created>,
    /// The services it routes for, at least one.
    pub parents: Vec<ParentRef>,
    /// Its rules, at least one.
    pub rules: Vec<Rule>,
}

/// A rule: what it takes and where it sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name, unique in the route; policies can be for it alone.
    pub name: Option<Arc<str>>,
    /// What it takes, at least one; absent in the document: everything.
    pub matches: Vec<RouteMatch>,
    /// Where it sends it; none only where it answers by itself, by a redirect or a RoutePolicy's direct response.
    pub backends: Vec<BackendRef>,
    /// What it changes on the way.
    pub filters: Filters,
    /// How long it may take (HTTPRoute only); absent: no limit.
    pub timeouts: Timeouts,
}

impl Rule {
    /// The rule's name, or `rule-INDEX` for one without.
    pub fn display_name(&self, index: usize) -> Arc<str> {
        self.name.clone().unwrap_or_else(|| format!("rule-{index}").into())
    }
}

impl Route {
    /// `read_match` and `read_rest` read what differs: a match, and the fields of a rule beyond the common ones.
    pub(super) fn read(
        field: &Field<'_>,
        owner: &ObjectName,
        (place, any): (Place, &RouteMatch),
        read_match: fn(&Field<'_>) -> RouteMatch,
        read_rest: fn(&mut Fields<'_>) -> Timeouts,
    ) -> Self {
        let mut fields = field.fields();
        let parents = fields.required("parentRefs").some(|field| ParentRef::read(field, owner));
        let field = fields.required("rules");
        let rules = field.some(|field| {
            let mut fields = field.fields();
            let name = fields.optional("name").map(|field| field.checked(check_subdomain));
            let mut matches = fields.optional("matches").map(|field| field.list(read_match)).unwrap_or_default();
            if matches.is_empty() {
                matches.push(any.clone());
            }
            let backends =
                fields.optional("backendRefs").map(|field| field.some(|field| BackendRef::read(field, owner)));
            let backends = backends.unwrap_or_default();
            let filters = Filters::read(&mut fields, owner, place);
            let timeouts = read_rest(&mut fields);
            fields.unsupported(&["retry", "sessionPersistence"]);
            let rule = Rule { name, matches, backends, filters, timeouts };
            rule.check(&fields.finish());
            rule
        });
        field.unique("name", rules.iter().map(|rule| rule.name.as_deref().unwrap_or_default()));
        if let Some(field) = fields.optional("hostnames") {
            field.unsupported("a route of a Service takes the service's own hosts; take hostnames out");
        }
        fields.finish();
        Route { created: None, parents, rules }
    }
}

impl Rule {
    fn check(&self, field: &Field<'_>) {
        let total: u64 = self.backends.iter().map(|backend| u64::from(backend.weight)).sum();
        if total == 0 && !self.backends.is_empty() {
            let reason = "the weights of a rule must add up to at least 1";
            field.note(Problem::new(Code::ZeroWeights, reason).at_field("backendRefs"));
        }
        if self.filters.redirect.is_some() && !self.backends.is_empty() {
            let reason = "a rule that redirects sends nothing on; take backendRefs or the RequestRedirect out";
            field.note(Problem::new(Code::Conflict, reason).at_field("backendRefs"));
        }
        let paths =
            [self.filters.rewrite.path.as_ref(), self.filters.redirect.as_ref().and_then(|one| one.path.as_ref())];
        let replaces = paths.into_iter().flatten().any(|path| matches!(path, PathRewrite::Prefix(_)));
        let other = self.matches.iter().position(|matches| !matches!(matches.path, PathMatch::Prefix(_)));
        if replaces && let Some(index) = other {
            let reason = "must be a PathPrefix, since the rule replaces the prefix that was matched";
            field.note(Problem::new(Code::Conflict, reason).at_field("path").at_index(index).at_field("matches"));
        }
        if let Err(problem) = self.timeouts.check(None) {
            field.note(problem);
        }
    }
}
