//! A table of routes, ready for requests (xDS `RouteConfiguration`).
//!
//! The most specific domain wins: the host itself, then the longest suffix, then `*`. There is no way back: where no
//! route of that host matches, other hosts are not asked. Routes are tried in the order of the table, which whoever made
//! it has sorted.

use std::sync::Arc;

use outrigger_config::name::{Domain, TableName};
use outrigger_config::route::{Route as Model, RouteTable, VirtualHost};

use super::Route;
use super::hash::FastMap;
use super::matcher::{Facts, Matcher};

/// The answer to where a request goes.
#[derive(Clone, Copy, Debug)]
pub enum Found<'a> {
    /// By this route.
    Route(&'a Arc<Route>),
    /// The table serves no such host.
    NoHost,
    /// The host has no route for it.
    NoRoute,
}

/// A table of routes.
#[derive(Debug)]
pub struct Table {
    /// The resource's name.
    pub name: TableName,
    hosts: Box<[Host]>,
    exact: FastMap<Arc<str>, usize>,
    /// Longest first.
    suffixes: Box<[(Arc<str>, usize)]>,
    any: Option<usize>,
}

type Host = Box<[(Matcher, Arc<Route>)]>;

impl Table {
    /// Compiles a table; `route` makes each of its routes, or leaves it out.
    pub fn new(model: &RouteTable, mut route: impl FnMut(&VirtualHost, &Model) -> Option<Arc<Route>>) -> Self {
        let mut exact = FastMap::default();
        let mut suffixes = Vec::new();
        let mut any = None;
        for (index, host) in model.hosts.iter().enumerate() {
            for domain in &host.domains {
                match domain {
                    Domain::Exact(host) => {
                        exact.insert(Arc::clone(host), index);
                    }
                    Domain::Suffix(suffix) => suffixes.push((Arc::clone(suffix), index)),
                    Domain::Any => any = Some(index),
                }
            }
        }
        suffixes.sort_by_key(|(suffix, _)| std::cmp::Reverse(suffix.len()));
        let mut compile = |host: &VirtualHost| {
            host.routes.iter().filter_map(|model| Some((Matcher::new(&model.matches), route(host, model)?))).collect()
        };
        let hosts = model.hosts.iter().map(&mut compile).collect();
        Table { name: model.name.clone(), hosts, exact, suffixes: suffixes.into(), any }
    }

    /// Finds the route of a request.
    pub fn find(&self, facts: &Facts<'_>) -> Found<'_> {
        let Some(host) = self.host(facts.authority).and_then(|index| self.hosts.get(index)) else {
            return Found::NoHost;
        };
        match host.iter().find(|(matcher, _)| matcher.matches(facts)) {
            Some((_, route)) => Found::Route(route),
            None => Found::NoRoute,
        }
    }

    /// The routes of its host that are asked before `route`.
    pub fn before(&self, route: &Arc<Route>) -> impl Iterator<Item = &Route> {
        let is = |one: &&(Matcher, Arc<Route>)| Arc::ptr_eq(&one.1, route);
        let host = self.hosts.iter().find(|host| host.iter().any(|one| is(&one)));
        let before = host.map_or(&[][..], |host| &host[..host.iter().position(|one| is(&one)).unwrap_or(0)]);
        before.iter().map(|(_, route)| &**route)
    }

    /// The routes of the host that a request is for.
    pub fn of_host(&self, authority: &str) -> impl Iterator<Item = &Route> {
        let host = self.host(authority).and_then(|index| self.hosts.get(index));
        host.map_or(&[][..], |host| host).iter().map(|(_, route)| &**route)
    }

    /// The hosts that are named in full.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.exact.keys().map(|host| &**host)
    }

    /// Every route, in the order of the table.
    pub fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.hosts.iter().flatten().map(|(_, route)| route)
    }

    fn host(&self, authority: &str) -> Option<usize> {
        if !self.exact.is_empty()
            && let Some(index) = self.exact.get(authority)
        {
            return Some(*index);
        }
        // `*.example.com` stands for at least one character before the dot.
        let ends = |suffix: &str| authority.len() > suffix.len() && authority.ends_with(suffix);
        self.suffixes.iter().find(|(suffix, _)| ends(suffix)).map(|(_, index)| *index).or(self.any)
    }
}

#[cfg(test)]
mod tests;
