//! What a client holds of one type, by name and version, in little memory.
//!
//! Most clients hold exactly what they may see. Of those only that is kept ([`Holding::settle`]): the view, which all
//! of a class share. What differs from it while changes are under way lies over it, name by name. A client of
//! everything costs a few words this way, where a map of its own would take some 60 bytes a name.

use std::collections::BTreeMap;
use std::sync::Arc;

use outrigger_config::resource::ResourceType;

use crate::view::{Version, View};

/// The version of something held; `None` where only the client knows it.
pub(super) type Held = Option<Version>;

/// What a client holds.
#[derive(Debug)]
pub(super) struct Holding {
    kind: ResourceType,
    /// All of its resources are held, but for what `over` says otherwise.
    base: Option<View>,
    /// What is held beside or instead; `None` where the base's is not held.
    over: BTreeMap<Arc<str>, Option<Held>>,
    count: usize,
}

impl Holding {
    /// Nothing.
    pub(super) fn new(kind: ResourceType) -> Self {
        Holding { kind, base: None, over: BTreeMap::new(), count: 0 }
    }

    /// How much is held.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// What is held under a name, if anything is.
    pub(super) fn get(&self, name: &str) -> Option<Held> {
        match self.over.get(name) {
            Some(over) => *over,
            None => self.of_base(name),
        }
    }

    /// Holds something from now on; returns what was held before.
    pub(super) fn insert(&mut self, name: Arc<str>, held: Held) -> Option<Held> {
        let before = self.get(&name);
        self.count += usize::from(before.is_none());
        self.over.insert(name, Some(held));
        before
    }

    /// Holds something no longer.
    pub(super) fn remove(&mut self, name: &Arc<str>) {
        self.count -= usize::from(self.get(name).is_some());
        match self.of_base(name) {
            Some(_) => self.over.insert(name.clone(), None),
            None => self.over.remove(name),
        };
    }

    /// Holds no longer what `keep` is false for.
    pub(super) fn retain(&mut self, keep: impl Fn(&Arc<str>) -> bool) {
        let dropped: Vec<Arc<str>> = self.names().filter(|name| !keep(name)).cloned().collect();
        dropped.iter().for_each(|name| self.remove(name));
        if self.count == 0 {
            *self = Holding::new(self.kind);
        }
    }

    /// Every name under which something is held.
    pub(super) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        let base = self.base.iter().flat_map(|view| view.entries(self.kind)).map(|entry| entry.name());
        let over = self.over.iter().filter(|(_, held)| held.is_some()).map(|(name, _)| name);
        base.filter(|name| !self.over.contains_key(*name)).chain(over)
    }

    /// Takes note that everything in `view`, and nothing else, is held.
    pub(super) fn settle(&mut self, view: &View) {
        self.count = view.count(self.kind);
        self.base = Some(view.clone());
        self.over.clear();
    }

    fn of_base(&self, name: &str) -> Option<Held> {
        Some(Some(self.base.as_ref()?.get(self.kind, name)?.version()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use bytes::Bytes;
    use outrigger_config::resource::ResourceType::Cluster;

    use super::Holding;
    use crate::view::{Entry, Sets, View};

    fn view(names: &[&str], content: &str) -> View {
        let entry = |name: &&str| (Cluster, Arc::new(Entry::new((*name).into(), Bytes::from(content.to_owned()))));
        View::new(1, Arc::new(Sets::new(names.iter().map(entry))), Arc::default())
    }

    /// Against a map that is kept in full.
    #[test]
    fn it_is_a_map() {
        let names = ["a", "b", "c", "d", "e"];
        for seed in 0..500 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let (mut holding, mut map) = (Holding::new(Cluster), BTreeMap::new());
            for _ in 0..60 {
                let name: Arc<str> = names[rng.usize(..names.len())].into();
                match rng.u32(..8) {
                    0 => {
                        let view = view(&names[..rng.usize(..=names.len())], &rng.u32(..2).to_string());
                        holding.settle(&view);
                        let entries = view.entries(Cluster);
                        map = entries.map(|entry| (entry.name().clone(), Some(entry.version()))).collect();
                    }
                    1 => {
                        holding.retain(|held| *held != name);
                        map.remove(&name);
                    }
                    2..=4 => {
                        holding.remove(&name);
                        map.remove(&name);
                    }
                    _ => assert_eq!(holding.insert(name.clone(), None), map.insert(name, None), "seed {seed}"),
                }
                let mut held: Vec<_> = holding.names().cloned().collect();
                held.sort();
                assert_eq!(held, map.keys().cloned().collect::<Vec<_>>(), "seed {seed}");
                assert_eq!(holding.len(), map.len(), "seed {seed}");
                names.iter().for_each(|name| assert_eq!(holding.get(name), map.get(*name).copied(), "seed {seed}"));
            }
        }
    }
}
