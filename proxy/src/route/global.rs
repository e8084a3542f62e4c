//! The global rate limits of a route: what is asked about a request, since another counts for all proxies.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use outrigger_config::policy::gcra::Level;
use outrigger_config::policy::rate_limit::{OnError, Scope};
use outrigger_config::policy::{RateLimit, RateLimitRule};
use outrigger_config::xds::rls::{Descriptor, DescriptorStatus, Entry, KEY, POLICY, RULE};

use super::bucket::{By, CALLER_FIELD, Caller, lines};
use super::matcher::{Facts, Matcher};
use crate::circuit::Circuit;

/// The longest value that is sent as it is, bytes.
const LONGEST: usize = 256;

/// The global rules of one policy.
#[derive(Debug)]
pub struct Globals {
    /// How long an answer may take.
    pub timeout: Duration,
    /// What happens to a request that there is no answer about.
    pub on_error: OnError,
    /// Whether there is anybody to ask: one for all routes of the policy.
    pub circuit: Arc<Circuit>,
    policy: Box<str>,
    rules: Box<[Rule]>,
}

#[derive(Debug)]
struct Rule {
    config: RateLimitRule,
    matches: Box<[Matcher]>,
    by: Option<By>,
}

/// What is asked about a request: the rules that count it, and a descriptor for each.
#[derive(Debug, Default)]
pub struct Question {
    /// The rules, by their place.
    pub rules: Vec<usize>,
    /// What is said of each.
    pub descriptors: Vec<Descriptor>,
}

impl Globals {
    /// The global rules of `policy`, where it has any, and what is known of who is asked.
    pub fn new(policy: &RateLimit, circuit: Arc<Circuit>) -> Option<Self> {
        let rule = |rule: &RateLimitRule| Rule {
            config: rule.clone(),
            matches: rule.matches.iter().map(Matcher::new).collect(),
            by: By::new(&rule.per),
        };
        let rules: Box<[_]> = policy.rules_of(Scope::Global).map(rule).collect();
        let name = policy.name();
        let (timeout, on_error) = (policy.global.timeout, policy.global.on_error);
        (!rules.is_empty()).then(|| Globals { timeout, on_error, circuit, policy: name.into(), rules })
    }

    /// What to ask about a request; nothing where no rule counts it.
    pub fn question(&self, facts: &Facts<'_>, caller: &Caller<'_>) -> Option<Question> {
        let mut question = Question::default();
        for (index, rule) in self.rules.iter().enumerate() {
            if rule.matches.is_empty() || rule.matches.iter().any(|one| one.matches(facts)) {
                question.rules.push(index);
                question.descriptors.push(self.descriptor(rule, caller));
            }
        }
        (!question.rules.is_empty()).then_some(question)
    }

    /// A rule, by its place.
    pub fn rule(&self, index: usize) -> Option<&RateLimitRule> {
        self.rules.get(index).map(|rule| &rule.config)
    }

    fn descriptor(&self, rule: &Rule, caller: &Caller<'_>) -> Descriptor {
        let entry = |key: &str, value: String| Entry { key: key.to_owned(), value };
        let mut entries = vec![entry(POLICY, self.policy.to_string()), entry(RULE, rule.config.name.to_string())];
        entries.extend(rule.by.as_ref().map(|by| entry(KEY, text(by, caller))));
        Descriptor { entries }
    }
}

/// What the service has said of a descriptor; nothing where no limit of its own counted that.
pub fn level(status: &DescriptorStatus) -> Option<Level> {
    let time = status.duration_until_reset?;
    let nanos = u32::try_from(time.nanos).unwrap_or(0).min(999_999_999);
    Some(Level { left: status.limit_remaining, next: Duration::new(u64::try_from(time.seconds).unwrap_or(0), nanos) })
}

/// What tells the caller apart, as it is sent.
fn text(by: &By, caller: &Caller<'_>) -> String {
    let known = match by {
        By::SourceIp => None,
        By::Header(name) => Some(lines(caller.headers, name).unwrap_or_default()),
        By::SourceWorkload => match caller.workload {
            Some(workload) => Some(workload.to_vec()),
            None => lines(caller.headers, &CALLER_FIELD),
        },
    };
    known.map_or_else(|| address(caller.address), bounded)
}

/// As Envoy says a masked address: of IPv6 the 64 bits that a host is given.
fn address(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(ip) => format!("{ip}/32"),
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            format!("{}/64", Ipv6Addr::from([a, b, c, d, 0, 0, 0, 0]))
        }
    }
}

/// What is long, or no text, as its hash.
pub(super) fn bounded(value: Vec<u8>) -> String {
    let hash = |bytes: &[u8]| blake3::hash(bytes).to_hex().to_string();
    if value.len() > LONGEST {
        return hash(&value);
    }
    String::from_utf8(value).unwrap_or_else(|error| hash(error.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use http::{HeaderMap, HeaderName, HeaderValue};
    use outrigger_config::xds::rls::DescriptorStatus;
    use outrigger_config::xds::transport::Duration;

    use super::{Caller, level, text};
    use crate::route::bucket::By;

    #[test]
    fn values_that_differ_are_told_apart_in_bounded_room() {
        let said = |value: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert("x-user", HeaderValue::from_bytes(value).expect("a value"));
            let caller = Caller { headers: &headers, address: IpAddr::from([10, 0, 0, 1]), workload: None };
            text(&By::Header(HeaderName::from_static("x-user")), &caller)
        };
        assert_eq!(said(b"alice"), "alice");
        let (long, longer) = (vec![b'a'; 300], vec![b'a'; 60_000]);
        let all = [said(b"\xff"), said(b"\xfe"), said(&long), said(&longer)];
        assert!(all.iter().all(|text| text.len() == 64), "{all:?}");
        assert!(all.iter().enumerate().all(|(at, text)| !all[..at].contains(text)));
    }

    #[test]
    fn callers_without_a_name_are_their_address() {
        let headers = HeaderMap::new();
        let said = |address: &str, workload| {
            let address = address.parse().expect("an address");
            text(&By::SourceWorkload, &Caller { headers: &headers, address, workload })
        };
        assert_eq!(said("10.1.2.3", Some(&b"shop/web"[..])), "shop/web");
        assert_eq!(said("10.1.2.3", None), "10.1.2.3/32");
        assert_eq!(said("::ffff:10.1.2.3", None), "10.1.2.3/32");
        assert_eq!(said("2001:db8:1:2:3::4", None), "2001:db8:1:2::/64");
    }

    #[test]
    fn no_answer_is_too_odd_to_be_read() {
        let status = |seconds, nanos| DescriptorStatus {
            duration_until_reset: Some(Duration { seconds, nanos }),
            limit_remaining: u32::MAX,
            ..DescriptorStatus::default()
        };
        for odd in [status(-1, -1), status(i64::MAX, i32::MAX), status(i64::MIN, i32::MIN)] {
            assert!(level(&odd).is_some());
        }
        assert_eq!(level(&DescriptorStatus::default()), None);
    }
}
