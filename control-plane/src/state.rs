//! What the mesh is now, how it changes, and who has received it.
//!
//! [`Steering`] is the one handle the API, the directory and the streams share. A change enters as text, is read and
//! checked together with everything that stands, is written to the store, and only then published; whatever is
//! refused changes nothing. Readers never wait for a change, and nothing here waits for a proxy.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use outrigger_config::document::{Document, Kind, parse};
use outrigger_config::error::{Problem, Problems};
use outrigger_config::name::ObjectName;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::watch;

use crate::ads::status::{Proxies, ProxyStatus};
use crate::error::Error;
use crate::source::directory::Files;
use crate::standing::{Standing, key};
use crate::store::{Contents, Key, Store};
use crate::view::publish::{Pace, Publisher};
use crate::view::snapshot::Snapshot;

/// What applying did to one document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was not there before.
    Created,
    /// It replaced another version of itself.
    Configured,
    /// It was there already, exactly so.
    Unchanged,
}

/// One document that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: ObjectName,
    /// What happened.
    pub result: Outcome,
}

/// What an apply did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The generation that has it; with `dry_run` the one that stands.
    pub generation: u64,
    /// Each document of the text, in its order.
    pub changes: Vec<Change>,
    /// What is legal in them and probably not meant.
    pub warnings: Problems,
}

/// Why a change was not made. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The documents do not make a mesh.
    #[error("the documents were refused, nothing was changed")]
    Refused(Problems),
    /// There is no such document.
    #[error("there is no {kind} {name}")]
    Unknown {
        /// The kind that was asked for.
        kind: Kind,
        /// The name that was asked for.
        name: ObjectName,
    },
    /// The store failed.
    #[error("the change could not be kept")]
    Store(#[source] Error),
}

/// What is asked of the documents: all of them, or those of one kind, one namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only of this kind.
    pub kind: Option<Kind>,
    /// Only in this namespace.
    pub namespace: Option<String>,
}

/// The one handle on what the mesh is now. Cloning it shares it.
#[derive(Clone, Debug)]
pub struct Steering {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    now: ArcSwap<Numbered>,
    /// Held over a whole change, so that changes happen one after another.
    store: Mutex<Store>,
    publisher: Publisher,
    proxies: Proxies,
}

#[derive(Clone, Debug)]
struct Numbered {
    generation: u64,
    standing: Standing,
}

impl Steering {
    /// Starts from what the store has and, where there is a directory, what its files say. Documents that do not make
    /// a mesh are refused here too: starting without them would take away from every proxy what it has of them.
    pub fn start(store: Store, files: Option<(&Path, &Files)>) -> Result<Self, Error> {
        let Contents { generation, documents } = store.load()?;
        let stored_problems = |problems| Error::StoredDocuments { path: store.path().to_path_buf(), problems };
        let parsed: Result<Vec<_>, _> = documents.iter().map(|json| parse(json, "")).collect();
        let documents = parsed.map_err(stored_problems)?.into_iter().flatten().collect();
        let standing = match files {
            Some((_, files)) => Standing::of_both(documents, files),
            None => Standing::of_store(documents).map_err(stored_problems)?,
        };
        if let Some((path, _)) = files
            && standing.refused().refuses()
        {
            let problems = standing.refused().clone();
            return Err(Error::WatchedDocuments { path: path.to_path_buf(), problems });
        }
        // Generation 0 is what a proxy has that has received nothing.
        let generation = generation.max(1);
        let publisher = Publisher::start(generation, standing.mesh().clone())?;
        let now = ArcSwap::from_pointee(Numbered { generation, standing });
        let inner = Inner { now, store: Mutex::new(store), publisher, proxies: Proxies::default() };
        Ok(Steering { inner: Arc::new(inner) })
    }

    /// Checks the documents of `text` together with everything that stands and makes them stand too; with `dry_run`
    /// only checks. Blocks for as long as the disk takes: call it inside `tokio::task::spawn_blocking`.
    pub fn apply(&self, text: &str, dry_run: bool) -> Result<Applied, ChangeError> {
        let documents = parse(text, "").map_err(ChangeError::Refused)?;
        let store = self.inner.store.lock();
        let now = self.inner.now.load_full();
        let (next, warnings) = now.standing.with(&documents).map_err(ChangeError::Refused)?;
        let changes: Vec<Change> = documents.iter().map(|document| change(&now.standing, document)).collect();
        let changed = documents.iter().zip(&changes).filter(|(_, change)| change.result != Outcome::Unchanged);
        let changed: Vec<&Document> = changed.map(|(document, _)| document).collect();
        let mut generation = now.generation;
        if !changed.is_empty() && !dry_run {
            let put: Vec<_> = changed.iter().map(|document| (key(document), document.json().to_string())).collect();
            let pace = pace(changed.iter().map(|document| document.kind()));
            generation += 1;
            store.commit(generation, &put, &[]).map_err(ChangeError::Store)?;
            self.stand(generation, next, pace);
        }
        let is_theirs = |problem: &Problem| documents.iter().any(|document| problem.object == document.to_string());
        let warnings = Problems(warnings.0.into_iter().filter(is_theirs).collect());
        Ok(Applied { generation, changes, warnings })
    }

    /// Takes a document away; returns the generation without it. Blocks like [`Steering::apply`].
    pub fn delete(&self, kind: Kind, name: &ObjectName) -> Result<u64, ChangeError> {
        let store = self.inner.store.lock();
        let now = self.inner.now.load_full();
        let key: Key = (kind, name.clone());
        if now.standing.document(&key).is_none() {
            return Err(ChangeError::Unknown { kind, name: key.1 });
        }
        let (next, _) = now.standing.without(&key).map_err(ChangeError::Refused)?;
        let generation = now.generation + 1;
        store.commit(generation, &[], &[key]).map_err(ChangeError::Store)?;
        self.stand(generation, next, pace([kind]));
        Ok(generation)
    }

    /// Takes over what the watched directory says now. Wrong files are logged, and keep what they last said. Blocks
    /// while a change is under way.
    pub fn reload(&self, files: &Files) {
        let _changes_wait = self.inner.store.lock();
        let now = self.inner.now.load_full();
        let next = now.standing.with_files(files);
        for problem in &next.refused().0 {
            tracing::error!(%problem, "a watched file is refused, and what it said before stands");
        }
        if next.says_the_same(&now.standing) {
            self.inner.now.store(Arc::new(Numbered { generation: now.generation, standing: next }));
            return;
        }
        let generation = now.generation + 1;
        tracing::info!(generation, files = files.len(), "the watched documents have changed");
        self.stand(generation, next, Pace::Config);
    }

    /// The documents that stand, by kind and name.
    pub fn documents(&self, filter: &Filter) -> Vec<Document> {
        let now = self.inner.now.load();
        let is_asked = |document: &&Document| {
            filter.kind.is_none_or(|kind| kind == document.kind())
                && filter.namespace.as_deref().is_none_or(|namespace| namespace == document.name().namespace())
        };
        let mut documents: Vec<_> = now.standing.documents().filter(is_asked).cloned().collect();
        documents.sort_by_cached_key(key);
        documents
    }

    /// One document.
    pub fn document(&self, kind: Kind, name: &ObjectName) -> Option<Document> {
        self.inner.now.load().standing.document(&(kind, name.clone())).cloned()
    }

    /// The number of the newest accepted change. It never goes back; over a restart it goes back at most over changes
    /// of watched files that no apply or delete followed.
    pub fn generation(&self) -> u64 {
        self.inner.now.load().generation
    }

    /// Every proxy, connected or lately gone, and how far each has got.
    pub fn proxies(&self) -> Vec<ProxyStatus> {
        self.inner.proxies.list(self.generation(), Instant::now())
    }

    /// How many proxies are connected.
    pub fn connected(&self) -> usize {
        self.inner.proxies.connected()
    }

    /// What is wrong with files of the watched directory that are refused now; their last good content stands.
    pub fn refused_files(&self) -> Problems {
        self.inner.now.load().standing.refused().clone()
    }

    /// Whether a whole mesh has been published (`/readyz`).
    pub fn ready(&self) -> bool {
        self.inner.publisher.subscribe().borrow().generation() > 0
    }

    /// What streams enter themselves into.
    pub fn registry(&self) -> &Proxies {
        &self.inner.proxies
    }

    /// What streams see, now and from now on.
    pub fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.inner.publisher.subscribe()
    }

    fn stand(&self, generation: u64, standing: Standing, pace: Pace) {
        let mesh = standing.mesh().clone();
        self.inner.now.store(Arc::new(Numbered { generation, standing }));
        self.inner.publisher.offer(generation, mesh, pace);
    }
}

fn change(before: &Standing, document: &Document) -> Change {
    let key = key(document);
    let result = match before.document(&key) {
        None => Outcome::Created,
        Some(known) if known.json() == document.json() => Outcome::Unchanged,
        Some(_) => Outcome::Configured,
    };
    Change { kind: key.0, name: key.1, result }
}

/// Workloads come and go often and change no more than endpoints, mostly.
fn pace(kinds: impl IntoIterator<Item = Kind>) -> Pace {
    if kinds.into_iter().all(|kind| kind == Kind::Workload) { Pace::Endpoints } else { Pace::Config }
}
