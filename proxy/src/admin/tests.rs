//! The admin port's laws.
