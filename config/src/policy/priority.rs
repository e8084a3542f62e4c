//! How much a request matters where not all can be served: what a proxy that runs short sheds last, and against which of a
//! destination's limits it counts.

/// A request's priority (`RouteAction.priority`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Priority {
    /// As much as any other.
    #[default]
    Default,
    /// More.
    High,
}

impl Priority {
    /// Every priority.
    pub const ALL: [Priority; 2] = [Priority::Default, Priority::High];

    /// The one that this is not.
    pub const fn other(self) -> Priority {
        match self {
            Priority::Default => Priority::High,
            Priority::High => Priority::Default,
        }
    }

    /// The priority as metrics call it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Priority::Default => "default",
            Priority::High => "high",
        }
    }
}
