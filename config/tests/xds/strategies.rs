//! Arbitrary values of the model, each one valid: whatever `check` would refuse is not made in the first place.

mod value;
mod matches;
mod policy;
mod endpoint;
mod cluster;
mod table;
mod listener;

use outrigger_config::resource::Resource;
use proptest::prelude::*;

use cluster::cluster;
use listener::listener;
use table::table;

pub(crate) use endpoint::assignment;
pub(crate) use listener::api_listener;

/// Any resource but an API listener, which our own proxy does not get.
pub(crate) fn resource() -> impl Strategy<Value = Resource> {
    // Each in a box: values are drawn on the stack of a test's thread, and these are large.
    prop_oneof![
        listener().prop_map(Resource::Listener).boxed(),
        table().prop_map(Resource::Table).boxed(),
        cluster().prop_map(Resource::Cluster).boxed(),
        assignment().prop_map(Resource::Assignment).boxed(),
    ]
}
