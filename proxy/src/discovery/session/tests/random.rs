//! Whatever the order of things, the proxy ends up with what the server has.

use std::collections::BTreeMap;
use std::time::Duration;

use outrigger_config::cluster::{Cluster, Discovery};
use outrigger_config::resource::{Resource, ResourceType};
use outrigger_config::xds::transport::Any;
use proptest::prelude::*;

use super::{CDS, EDS, LDS, RDS, Script, assignment, broken, listener, name, packed, table};
use crate::discovery::session::Variant;

/// What a server might have: of each type some names, each with a variant.
type World = BTreeMap<(ResourceType, usize), u16>;

fn world() -> impl Strategy<Value = World> {
    let key = (0_usize..4, 0_usize..4).prop_map(|(kind, number)| (ResourceType::ALL[kind], number));
    prop::collection::btree_map(key, 1_u16..4, 0..12)
}

fn made(kind: ResourceType, number: usize, shape: u16) -> Resource {
    let text = format!("r{number}");
    match kind {
        CDS => {
            let mut one = Cluster::new(name(&text), Discovery::Eds(name(&text)));
            one.connect_timeout = Duration::from_secs(u64::from(shape));
            Resource::Cluster(one)
        }
        EDS => assignment(&text, shape),
        LDS => listener(&text, &format!("r{}", shape)),
        RDS => table(&text, &[&*format!("r{shape}")]),
    }
}

/// A correct server: it sends what the proxy asks for and does not have, and says what is gone.
#[derive(Default)]
struct Server {
    /// Types of which it has told nothing on this stream.
    untold: Vec<ResourceType>,
    sent: BTreeMap<(ResourceType, usize), u16>,
}

impl Server {
    fn wanted(script: &Script, kind: ResourceType, number: usize) -> bool {
        matches!(kind, LDS | CDS) || script.accepted.names(kind).contains(&name(&format!("r{number}")))
    }

    fn serve(&mut self, script: &mut Script, world: &World, bad: Option<ResourceType>) {
        // Twice: what is asked for by name follows from the first pass.
        for kind in [CDS, LDS, EDS, RDS, EDS, RDS] {
            self.sent.retain(|(other, number), _| *other != kind || Self::wanted(script, kind, *number));
            let of_kind =
                world.iter().filter(|((other, number), _)| *other == kind && Self::wanted(script, kind, *number));
            let gone: Vec<_> =
                self.sent.keys().filter(|key| key.0 == kind && !world.contains_key(key)).copied().collect();
            let changed: Vec<_> = of_kind.clone().filter(|(key, shape)| self.sent.get(key) != Some(shape)).collect();
            let delta = script.variant == Variant::Delta;
            let untold = self.untold.contains(&kind);
            self.untold.retain(|other| *other != kind);
            if changed.is_empty() && gone.is_empty() && !untold && (delta || bad != Some(kind)) {
                continue;
            }
            let chosen: Vec<_> = if delta { changed } else { of_kind.collect() };
            let mut resources: Vec<_> =
                chosen.iter().map(|((_, number), shape)| packed(&made(kind, *number, **shape))).collect();
            if bad == Some(kind) {
                resources.push(Any { value: broken("bad").value, type_url: kind.type_url().into() });
            }
            let removed: Vec<_> = gone.iter().map(|(_, number)| format!("r{number}")).collect();
            let removed: Vec<_> = removed.iter().map(String::as_str).collect();
            let chosen: Vec<_> = chosen.into_iter().map(|(key, shape)| (*key, *shape)).collect();
            script.send(kind, resources, &removed);
            self.sent.extend(chosen);
            self.sent.retain(|key, _| !gone.contains(key));
        }
    }
}

proptest! {
    /// Whatever a server goes through, with resources that are wrong and streams that break: in the end the proxy has
    /// what the server has and the proxy needs.
    #[test]
    fn the_proxy_ends_up_with_what_the_server_has(
        steps in prop::collection::vec((world(), prop::option::of(0_usize..4), any::<bool>()), 1..8),
        delta: bool,
    ) {
        let mut script = Script::new(if delta { Variant::Delta } else { Variant::Sotw });
        let mut server = Server::default();
        for (world, bad, breaks) in &steps {
            if *breaks {
                script.reopen();
                // A new stream of delta says what it has; of SotW it is told anew.
                if !delta {
                    server.sent.clear();
                    server.untold = vec![CDS, LDS];
                }
            }
            server.serve(&mut script, world, bad.map(|kind| ResourceType::ALL[kind]));
        }
        let (last, ..) = steps.last().expect("a step");
        server.serve(&mut script, last, None);
        for kind in ResourceType::ALL {
            for ((_, number), shape) in last.iter().filter(|((other, _), _)| *other == kind) {
                if Server::wanted(&script, kind, *number) {
                    let has = script.accepted.set();
                    let name = name(&format!("r{number}"));
                    let same = match made(kind, *number, *shape) {
                        Resource::Cluster(one) => has.clusters.get(&name) == Some(&one),
                        Resource::Assignment(one) => has.assignments.get(&name) == Some(&one),
                        Resource::Listener(one) => has.listeners.get(&name) == Some(&one),
                        Resource::Table(one) => has.tables.get(&name) == Some(&one),
                        Resource::ApiListener(_) => false,
                    };
                    prop_assert!(same, "{} {}", kind.short(), name);
                }
            }
        }
        prop_assert_eq!(script.accepted.set().clusters.len(), last.keys().filter(|(kind, _)| *kind == CDS).count());
        prop_assert_eq!(script.accepted.set().listeners.len(), last.keys().filter(|(kind, _)| *kind == LDS).count());
    }

    /// Noise in place of an answer: nothing panics, and whatever is accepted is whole.
    #[test]
    fn noise_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..60), kind in 0_usize..4, delta: bool) {
        let mut script = Script::new(if delta { Variant::Delta } else { Variant::Sotw });
        let kind = ResourceType::ALL[kind];
        let noise = Any { type_url: kind.type_url().into(), value: bytes.into() };
        let heard = script.send(kind, vec![noise.clone(), noise], &[]);
        prop_assert!(heard.refused.is_some() || matches!(kind, EDS | RDS));
        prop_assert!(!heard.asks.is_empty());
    }
}
