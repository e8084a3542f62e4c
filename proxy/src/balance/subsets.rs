//! Subsets of a destination's endpoints, each with a picker of its own (Envoy's subset load balancing).
//!
//! Only subsets that routes lead to are made, when the endpoints are exchanged: what a route asks is a place in a list, and
//! the list says at once whom it leads to, fallbacks included. A request looks nothing up. Each subset has its own
//! priorities, places and panic, by its own endpoints; their load, health and ejections are the endpoints' own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use outrigger_config::subset::{Criteria, Lead, Miss, Subsets as Model};

use super::Picker;
use crate::endpoint::Endpoint;

/// The endpoints of a subset.
#[derive(Debug)]
pub struct Subset {
    /// What they have in common.
    pub of: Criteria,
    /// The way to choose among them.
    pub picker: Picker,
    panicking: AtomicBool,
}

impl Subset {
    /// Whether so few of them are in that those left out take part.
    pub fn is_panicking(&self) -> bool {
        self.panicking.load(Ordering::Relaxed)
    }

    /// Takes down whether they are.
    pub fn panic(&self, panicking: bool) {
        // Relaxed: a request at the moment of change may meet either.
        self.panicking.store(panicking, Ordering::Relaxed);
    }
}

/// Whom a request is led to.
#[derive(Clone, Copy, Debug)]
pub enum Led<'a> {
    /// Whoever there is.
    All,
    /// Those of a subset.
    To(&'a Subset),
    /// Nobody.
    Nobody,
}

/// Where requests go that ask for the same.
#[derive(Clone, Copy, Debug)]
struct Way {
    /// The index of the subset; none: all or nobody, as `nobody` says.
    subset: Option<usize>,
    nobody: bool,
    /// Any endpoint will do where the subset finds none.
    rescued: bool,
    /// Why it is not the subset that was asked for.
    miss: Option<Miss>,
    /// Whether it is by some of the keys alone.
    fewer: bool,
}

/// The subsets that are asked for, and the ways to them.
#[derive(Debug)]
pub struct Subsets {
    subsets: Box<[Subset]>,
    ways: Box<[Way]>,
}

impl Subsets {
    /// The ways of whoever asks so, in this order. `picker` makes a subset's.
    pub fn new(
        model: &Model,
        asked: &[Criteria],
        endpoints: &[Arc<Endpoint>],
        picker: impl Fn(Vec<Arc<Endpoint>>) -> Picker,
    ) -> Self {
        let known: Vec<_> = endpoints.iter().map(|one| (one, one.metadata().unwrap_or_default())).collect();
        let is_there = |criteria: &Criteria| known.iter().any(|(_, known)| criteria.fits(known, model.lists));
        let mut subsets: Vec<Subset> = Vec::new();
        let mut to = |of: &Criteria| {
            // Whoever is asked for nothing is everybody.
            let made = subsets.iter().position(|subset| subset.of == *of);
            (!of.is_empty()).then(|| {
                made.unwrap_or_else(|| {
                    let own = known.iter().filter(|(_, known)| of.fits(known, model.lists));
                    let own = own.map(|(one, _)| Arc::clone(one)).collect();
                    let (of, panicking) = (of.clone(), AtomicBool::new(false));
                    subsets.push(Subset { of, picker: picker(own), panicking });
                    subsets.len() - 1
                })
            })
        };
        let mut way = |asked: &Criteria| {
            let all = Way { subset: None, nobody: false, rescued: false, miss: None, fewer: false };
            match model.lead(asked, &is_there) {
                Lead::Subset { of, fewer } => Way { subset: to(&of), fewer, ..all },
                Lead::Default { miss, rescued } => Way { subset: to(&model.default), rescued, miss: Some(miss), ..all },
                Lead::Any(miss) => Way { miss: Some(miss), ..all },
                Lead::Nobody(miss) => Way { nobody: true, miss: Some(miss), ..all },
            }
        };
        let ways = asked.iter().map(&mut way).collect();
        Subsets { subsets: subsets.into(), ways }
    }

    /// Every subset that somebody is led to.
    pub fn each(&self) -> impl Iterator<Item = &Subset> {
        self.subsets.iter()
    }

    /// Whom those are led to who ask as the `index`th does; nobody where there is none.
    pub fn led(&self, index: usize) -> Led<'_> {
        match self.ways.get(index) {
            None | Some(Way { nobody: true, .. }) => Led::Nobody,
            Some(Way { subset, .. }) => subset.and_then(|index| self.subsets.get(index)).map_or(Led::All, Led::To),
        }
    }

    /// Whether any endpoint will do where that finds none.
    pub fn rescues(&self, index: usize) -> bool {
        self.ways.get(index).is_some_and(|way| way.rescued)
    }

    /// Why those do not get what they ask for, and whether they get it by some of the keys alone.
    pub fn misses(&self, index: usize) -> (Option<Miss>, bool) {
        self.ways.get(index).map_or((Some(Miss::Unknown), false), |way| (way.miss, way.fewer))
    }
}
