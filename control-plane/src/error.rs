//! What can go wrong in the control plane itself, as opposed to in a document ([`outrigger_config::error`]).
//!
//! Each message is one line that says what to do; `main` prints it and exits with 2.

use std::net::SocketAddr;
use std::path::PathBuf;

use outrigger_config::error::Problems;

/// Why the control plane cannot start, or cannot keep what it was given.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A flag or its value makes no sense.
    #[error("{0}")]
    Usage(String),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}; free the port or choose another with {flag}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The flag that names it.
        flag: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The directory of documents cannot be read.
    #[error("cannot read the documents in {path}: {source}; --documents must name a directory that can be read")]
    Documents {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another process has the store open.
    #[error("the store {path} is in use by another process; stop it or name another file with --store")]
    StoreLocked {
        /// The file.
        path: PathBuf,
    },
    /// The file is there and is not a store, or not a whole one.
    #[error("{path} is not a usable store ({reason}); move it away or name another file with --store")]
    StoreUnusable {
        /// The file.
        path: PathBuf,
        /// What does not hold.
        reason: String,
    },
    /// Reading or writing the store failed.
    #[error("cannot read or write the store {path}: {reason}")]
    StoreIo {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The documents in the store no longer make a mesh.
    #[error(
        "the documents in the store {path} are not valid, alone; if they need those of a directory, name it with --documents: {problems}"
    )]
    StoredDocuments {
        /// The file.
        path: PathBuf,
        /// What is wrong with them.
        problems: Problems,
    },
    /// The watched documents do not make a mesh.
    #[error("the documents in {path} are not valid: {problems}")]
    WatchedDocuments {
        /// The directory.
        path: PathBuf,
        /// What is wrong with them.
        problems: Problems,
    },
    /// The operating system refused something every process needs.
    #[error("cannot start: {0}")]
    Start(#[from] std::io::Error),
}
