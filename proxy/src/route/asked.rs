//! What a route has a rate limit service of another control plane asked: descriptors made of a request
//! (xDS `RouteAction.rate_limits`). One with an action that finds nothing to say is not asked about.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::HeaderName;
use outrigger_config::matching::{PathMatch, RouteMatch};
use outrigger_config::policy::asked::{Action, Asked};
use outrigger_config::xds::rls::{Descriptor, Entry};

use super::global::bounded;
use super::matcher::{Facts, Matcher};

/// The descriptors of a route.
#[derive(Debug, Default)]
pub struct Descriptors(Box<[(u32, Box<[Part]>)]>);

/// What descriptors are made of, beside the request.
#[derive(Clone, Copy, Debug)]
pub struct Sides<'a> {
    /// The workload that the proxy stands beside; empty where it has none.
    pub source: &'a str,
    /// Where the route leads.
    pub destination: &'a str,
    /// The address that the request came from.
    pub address: IpAddr,
}

/// An action, with its names parsed.
#[derive(Debug)]
enum Part {
    Plain(Action),
    Header {
        name: HeaderName,
        key: Box<str>,
        optional: bool,
    },
    Match {
        key: Box<str>,
        value: Box<str>,
        expect: bool,
        matcher: Matcher,
    },
    /// Nothing that a request could have.
    Never,
}

impl Descriptors {
    /// Parses the names.
    pub fn new(asked: &[Asked]) -> Self {
        let parts = |asked: &Asked| (asked.stage, asked.actions.iter().map(Part::new).collect());
        Descriptors(asked.iter().map(parts).collect())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What the filter of a stage asks about a request.
    pub fn of(&self, stage: u32, facts: &Facts<'_>, sides: &Sides<'_>) -> Vec<Descriptor> {
        let of_stage = self.0.iter().filter(|(of, _)| *of == stage);
        of_stage.filter_map(|(_, parts)| descriptor(parts, facts, sides)).collect()
    }
}

fn descriptor(parts: &[Part], facts: &Facts<'_>, sides: &Sides<'_>) -> Option<Descriptor> {
    let mut entries = Vec::with_capacity(parts.len());
    for part in parts {
        match part.entry(facts, sides) {
            Said::Entry(key, value) => entries.push(Entry { key: key.to_owned(), value }),
            Said::Skipped => {}
            Said::Nothing => return None,
        }
    }
    (!entries.is_empty()).then_some(Descriptor { entries })
}

/// What an action comes to.
enum Said<'a> {
    Entry(&'a str, String),
    /// Nothing, which does not matter.
    Skipped,
    /// Nothing, and so there is no descriptor.
    Nothing,
}

impl Part {
    fn new(action: &Action) -> Self {
        match action {
            Action::RequestHeader { name, key, optional } => {
                let name = HeaderName::from_bytes(name.as_bytes());
                name.map_or(Part::Never, |name| Part::Header { name, key: (&**key).into(), optional: *optional })
            }
            Action::HeaderValueMatch { key, value, expect, headers } => {
                let any = RouteMatch { path: PathMatch::Prefix("/".into()), ..RouteMatch::any() };
                let matcher = Matcher::new(&RouteMatch { headers: headers.clone(), ..any });
                Part::Match { key: (&**key).into(), value: (&**value).into(), expect: *expect, matcher }
            }
            other => Part::Plain(other.clone()),
        }
    }

    fn entry<'a>(&'a self, facts: &Facts<'_>, sides: &Sides<'_>) -> Said<'a> {
        match self {
            Part::Plain(action) => plain(action, sides),
            Part::Header { name, key, optional } => match facts.headers.get(name) {
                Some(value) => Said::Entry(key, bounded(value.as_bytes().to_vec())),
                None if *optional => Said::Skipped,
                None => Said::Nothing,
            },
            Part::Match { key, value, expect, matcher } if matcher.matches(facts) == *expect => {
                Said::Entry(key, value.to_string())
            }
            Part::Match { .. } | Part::Never => Said::Nothing,
        }
    }
}

fn plain<'a>(action: &'a Action, sides: &Sides<'_>) -> Said<'a> {
    match action {
        Action::SourceCluster => Said::Entry("source_cluster", sides.source.to_owned()),
        Action::DestinationCluster => Said::Entry("destination_cluster", sides.destination.to_owned()),
        Action::RemoteAddress => Said::Entry("remote_address", sides.address.to_canonical().to_string()),
        Action::MaskedRemoteAddress(v4, v6) => {
            Said::Entry("masked_remote_address", masked(sides.address.to_canonical(), *v4, *v6))
        }
        Action::GenericKey { key, value } => Said::Entry(key, value.to_string()),
        Action::RequestHeader { .. } | Action::HeaderValueMatch { .. } => Said::Nothing,
    }
}

/// An address with so many of its bits, as Envoy writes it.
fn masked(address: IpAddr, v4: u32, v6: u32) -> String {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(v4)).unwrap_or(0);
            format!("{}/{v4}", Ipv4Addr::from_bits(address.to_bits() & mask))
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(v6)).unwrap_or(0);
            format!("{}/{v6}", Ipv6Addr::from_bits(address.to_bits() & mask))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::Arc;

    use http::{HeaderMap, HeaderValue, Method};
    use outrigger_config::matching::{HeaderMatch, ValueMatch};
    use outrigger_config::policy::asked::{Action, Asked};

    use super::{Descriptors, Sides, masked};
    use crate::route::Facts;

    /// `key=value` of each entry of each descriptor of stage 0.
    fn said(actions: Vec<Action>, headers: &[(&'static str, &'static str)]) -> Vec<Vec<String>> {
        let mut map = HeaderMap::new();
        headers.iter().for_each(|(name, value)| {
            map.append(*name, HeaderValue::from_static(value));
        });
        let facts = Facts { authority: "a", path: "/x", query: None, method: &Method::GET, headers: &map, grpc: false };
        let sides = Sides { source: "web", destination: "catalog", address: IpAddr::from([10, 1, 2, 3]) };
        let other = Asked { stage: 1, actions: vec![Action::SourceCluster] };
        let found = Descriptors::new(&[Asked { stage: 0, actions }, other]).of(0, &facts, &sides);
        let entries = |descriptor: &outrigger_config::xds::rls::Descriptor| {
            descriptor.entries.iter().map(|entry| format!("{}={}", entry.key, entry.value)).collect()
        };
        found.iter().map(entries).collect()
    }

    fn header(name: &str, optional: bool) -> Action {
        Action::RequestHeader { name: name.into(), key: "user".into(), optional }
    }

    fn matching(expect: bool) -> Action {
        let value = ValueMatch::Exact("gold".into());
        let headers = vec![HeaderMatch { name: "x-plan".into(), value }];
        Action::HeaderValueMatch { key: "plan".into(), value: "paying".into(), expect, headers }
    }

    #[test]
    fn each_action_says_what_envoys_says() {
        let key: Arc<str> = "generic_key".into();
        let actions = vec![
            Action::SourceCluster,
            Action::DestinationCluster,
            Action::RemoteAddress,
            Action::MaskedRemoteAddress(16, 64),
            header("x-user", false),
            Action::GenericKey { key, value: "slow".into() },
            matching(true),
        ];
        let expected = [
            "source_cluster=web",
            "destination_cluster=catalog",
            "remote_address=10.1.2.3",
            "masked_remote_address=10.1.0.0/16",
            "user=alice",
            "generic_key=slow",
            "plan=paying",
        ];
        assert_eq!(said(actions, &[("x-user", "alice"), ("x-user", "bob"), ("x-plan", "gold")]), [expected]);
    }

    #[test]
    fn an_action_that_says_nothing_takes_its_descriptor_along_unless_it_may() {
        assert!(said(vec![Action::SourceCluster, header("x-user", false)], &[]).is_empty());
        assert_eq!(said(vec![Action::SourceCluster, header("x-user", true)], &[]), [["source_cluster=web"]]);
        assert!(said(vec![header("x-user", true)], &[]).is_empty(), "nothing is asked about nothing");
        assert!(said(vec![matching(true)], &[("x-plan", "free")]).is_empty());
        assert_eq!(said(vec![matching(false)], &[("x-plan", "free")]), [["plan=paying"]]);
    }

    #[test]
    fn masks_of_all_lengths_are_taken() {
        let v4: IpAddr = "255.255.255.255".parse().expect("an address");
        let v6: IpAddr = "ffff:ffff::1".parse().expect("an address");
        assert_eq!((masked(v4, 0, 0), masked(v4, 32, 0)), ("0.0.0.0/0".into(), "255.255.255.255/32".into()));
        assert_eq!((masked(v6, 0, 0), masked(v6, 0, 128)), ("::/0".into(), "ffff:ffff::1/128".into()));
    }
}
