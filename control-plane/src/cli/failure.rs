//! Why a command did not do what it was asked, and its exit code.

use crate::api::{ProblemView, Refusal};

/// A failure; its text is one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// Wrong use: exit code 2.
    #[error("{0}")]
    Usage(String),
    /// The control plane could not be asked: exit code 2.
    #[error("{0}")]
    Unreachable(String),
    /// It was asked and said no; or something is wrong with the mesh: exit code 1.
    #[error("{0}")]
    Refused(String),
    /// Documents were refused: exit code 1. The problems are printed before the line.
    #[error("{0}")]
    Problems(String, Vec<ProblemView>),
    /// Everything was said already: exit code 1.
    #[error("")]
    Said,
    /// Everything was said already, of wrong use: exit code 2.
    #[error("")]
    Misused,
    /// The reader of our output has gone, as `| head` does: no failure at all.
    #[error("")]
    Unheard,
}

impl Failure {
    /// The exit code.
    pub(super) fn code(&self) -> u8 {
        match self {
            Failure::Unheard => 0,
            Failure::Refused(_) | Failure::Problems(..) | Failure::Said => 1,
            Failure::Usage(_) | Failure::Unreachable(_) | Failure::Misused => 2,
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal.problems.is_empty() {
            true => Failure::Refused(refusal.error),
            false => Failure::Problems(refusal.error, refusal.problems),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Failure::Unheard,
            _ => Failure::Usage(format!("cannot write the output: {error}")),
        }
    }
}
