//! The session's laws.
