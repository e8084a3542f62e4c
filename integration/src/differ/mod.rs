//! The differential harness: the same xDS resources for Envoy and for our proxy, the same calls, one scripted upstream,
//! and a strict comparison of all that a caller and a service can see.
//!
//! Cases are data, in Envoy's own words (`integration/differ/*.yaml`), so that whoever comes from Envoy can read and add
//! them. Each says what Envoy is expected to do, so that no case agrees by being broken on both sides, and everything
//! else is compared between the two. What differs stands in `integration/differ/deviations.yaml`, each with its reason
//! and to the letter: a deviation that deviates otherwise, or no longer, fails as well.
//!
//! [`case`] reads the table, [`resources`] makes xDS of it, [`encode`] its bytes, [`upstream`] is the service, [`play`]
//! calls, [`outcome`] is what was seen, [`side`] starts the two, and [`deviation`] and [`report`] judge.

pub mod case;
pub mod resources;
pub mod encode;
pub mod upstream;
pub mod outcome;
pub mod play;
pub mod side;
pub mod deviation;
pub mod report;
