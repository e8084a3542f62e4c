//! Whether a request meets a fault, and which (xDS `HTTPFault`): by chance, by its header fields, or as its own fields
//! ask. Each share is rolled on its own, so that a request may be delayed, aborted, or both.

use std::time::Duration;

use http::header::HeaderMap;
use outrigger_config::matching::RouteMatch;
use outrigger_config::policy::fault::{AbortWith, Fault as Policy};
use outrigger_config::value::Percent;

use super::matcher::{Facts, Matcher};
use crate::grpc;

/// The longest delay that a request may ask for itself.
const MAX_ASKED_DELAY: Duration = Duration::from_secs(60);

/// A fault policy, ready for requests.
#[derive(Clone, Debug)]
pub struct Fault {
    /// How it was configured.
    pub policy: Policy,
    matcher: Matcher,
}

/// What is done to a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// It waits for so long.
    pub delay: Option<Duration>,
    /// Then it gets this.
    pub abort: Option<Abort>,
    /// Or else its response comes no faster than so many bytes a second.
    pub throttle: Option<u64>,
}

/// What an aborted request gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abort {
    /// The HTTP status.
    pub status: u16,
    /// The gRPC status, for a caller that speaks it.
    pub grpc: u8,
}

impl Verdict {
    /// Whether nothing is done.
    pub fn is_nothing(&self) -> bool {
        *self == Verdict::default()
    }
}

impl Fault {
    /// Parses the names.
    pub fn new(policy: &Policy) -> Self {
        let matches = RouteMatch { headers: policy.headers.clone(), ..RouteMatch::any() };
        Fault { policy: policy.clone(), matcher: Matcher::new(&matches) }
    }

    /// What is done to a request.
    pub fn decide(&self, facts: &Facts<'_>, rng: &mut fastrand::Rng) -> Verdict {
        if !self.matcher.matches(facts) {
            return Verdict::default();
        }
        let headers = facts.headers;
        let delay = self.policy.delay.and_then(|delay| {
            let asked = || {
                let asked = number(headers, "x-envoy-fault-delay-request").map(Duration::from_millis)?;
                Some(asked.min(MAX_ASKED_DELAY))
            };
            let share = match delay.fixed {
                Some(_) => delay.percent,
                None => share(headers, "x-envoy-fault-delay-request-percentage", delay.percent),
            };
            delay.fixed.or_else(asked).filter(|length| !length.is_zero() && hit(share, rng))
        });
        let abort = self.policy.abort.and_then(|abort| {
            let (with, share) = match abort.with {
                AbortWith::Status(status) => (Abort::http(status), abort.percent),
                AbortWith::Grpc(status) => (Abort::grpc(status), abort.percent),
                AbortWith::Header => {
                    let share = share(headers, "x-envoy-fault-abort-request-percentage", abort.percent);
                    (asked(headers)?, share)
                }
            };
            hit(share, rng).then_some(with)
        });
        let throttle = self.policy.throttle.and_then(|throttle| {
            let (rate, share) = match throttle.kib_per_second {
                Some(rate) => (u64::from(rate), throttle.percent),
                None => {
                    let share = share(headers, "x-envoy-fault-throughput-response-percentage", throttle.percent);
                    (number(headers, "x-envoy-fault-throughput-response")?, share)
                }
            };
            (rate > 0 && hit(share, rng)).then_some(rate.saturating_mul(1024))
        });
        Verdict { delay, abort, throttle }
    }
}

impl Abort {
    fn http(status: u16) -> Self {
        Abort { status, grpc: grpc::of_http(status) }
    }

    fn grpc(status: u8) -> Self {
        Abort { status: grpc::to_http(status), grpc: status }
    }
}

/// The abort that a request asks for itself.
fn asked(headers: &HeaderMap) -> Option<Abort> {
    let http = number(headers, "x-envoy-fault-abort-request").and_then(|status| u16::try_from(status).ok());
    let grpc = || number(headers, "x-envoy-fault-abort-grpc-request").and_then(|status| u8::try_from(status).ok());
    http.filter(|status| (200..=599).contains(status))
        .map(Abort::http)
        .or_else(|| grpc().filter(|status| *status <= 16).map(Abort::grpc))
}

/// The share that a request asks for, at most the policy's.
fn share(headers: &HeaderMap, name: &str, most: Percent) -> Percent {
    let asked = number(headers, name).and_then(|percent| u32::try_from(percent).ok()?.checked_mul(10_000));
    asked.and_then(|millionths| Percent::from_millionths(millionths).ok()).map_or(most, |asked| asked.min(most))
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

/// One roll; all and nothing ask no chance.
pub fn hit(share: Percent, rng: &mut fastrand::Rng) -> bool {
    match share.millionths() {
        0 => false,
        1_000_000 => true,
        millionths => rng.u32(0..1_000_000) < millionths,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{HeaderMap, HeaderValue, Method};
    use outrigger_config::matching::{HeaderMatch, ValueMatch};
    use outrigger_config::policy::fault::{Abort as AbortModel, AbortWith, Delay, Fault as Policy, Scope, Throttle};
    use outrigger_config::policy::{Mode, Origin};
    use outrigger_config::value::Percent;
    use proptest::prelude::{prop_assert, proptest};

    use super::{Abort, Fault, Verdict, hit};
    use crate::route::Facts;

    fn policy(delay: Option<Delay>, abort: Option<AbortWith>) -> Policy {
        Policy {
            origin: Origin::default(),
            mode: Mode::Enforce,
            scope: Scope::Request,
            headers: Vec::new(),
            delay,
            abort: abort.map(|with| AbortModel { with, percent: Percent::HUNDRED }),
            throttle: None,
        }
    }

    fn decide(policy: &Policy, fields: &[(&'static str, &'static str)]) -> Verdict {
        let headers: HeaderMap = fields
            .iter()
            .map(|(name, value)| (name.parse().expect("a name"), HeaderValue::from_static(value)))
            .collect();
        let (authority, path, method) = ("a", "/", &Method::GET);
        let facts = Facts { authority, path, query: None, method, headers: &headers, grpc: false };
        Fault::new(policy).decide(&facts, &mut fastrand::Rng::with_seed(1))
    }

    #[test]
    fn only_requests_with_the_fields_meet_it() {
        let mut policy = policy(None, Some(AbortWith::Status(503)));
        policy.headers = vec![HeaderMatch { name: "x-chaos".into(), value: ValueMatch::Exact("yes".into()) }];
        assert!(decide(&policy, &[]).is_nothing());
        assert!(decide(&policy, &[("x-chaos", "no")]).is_nothing());
        assert_eq!(decide(&policy, &[("x-chaos", "yes")]).abort, Some(Abort { status: 503, grpc: 14 }));
    }

    #[test]
    fn a_request_asks_for_its_own_fault_within_the_share() {
        let delay = |percent| Some(Delay { fixed: None, percent });
        let by_header = policy(delay(Percent::HUNDRED), Some(AbortWith::Header));
        assert!(decide(&by_header, &[]).is_nothing());
        let verdict =
            decide(&by_header, &[("x-envoy-fault-delay-request", "150"), ("x-envoy-fault-abort-grpc-request", "8")]);
        assert_eq!(verdict.delay, Some(Duration::from_millis(150)));
        assert_eq!(verdict.abort, Some(Abort { status: 429, grpc: 8 }));
        let forever = [("x-envoy-fault-delay-request", "18446744073709551615")];
        assert_eq!(decide(&by_header, &forever).delay, Some(Duration::from_secs(60)));
        for bad in ["-1", "x", "199", "600"] {
            assert!(decide(&by_header, &[("x-envoy-fault-abort-request", bad)]).is_nothing(), "{bad}");
        }
        let none = [("x-envoy-fault-delay-request", "150"), ("x-envoy-fault-delay-request-percentage", "0")];
        assert!(decide(&by_header, &none).is_nothing());
        let capped = [("x-envoy-fault-delay-request", "150"), ("x-envoy-fault-delay-request-percentage", "100")];
        assert!(decide(&policy(delay(Percent::ZERO), None), &capped).is_nothing());
    }

    #[test]
    fn a_response_is_throttled_as_the_policy_or_the_request_says() {
        let throttle = |kib_per_second| Policy {
            throttle: Some(Throttle { kib_per_second, percent: Percent::HUNDRED }),
            ..policy(None, None)
        };
        let asks = [("x-envoy-fault-throughput-response", "3")];
        assert_eq!(decide(&throttle(Some(2)), &asks).throttle, Some(2048));
        assert_eq!(decide(&throttle(None), &asks).throttle, Some(3072));
        assert!(decide(&throttle(None), &[]).is_nothing());
        assert!(decide(&throttle(None), &[("x-envoy-fault-throughput-response", "0")]).is_nothing());
    }

    proptest! {
        #[test]
        fn the_share_that_was_asked_for_is_hit(millionths in 0_u32..=1_000_000, seed in 0_u64..u64::MAX) {
            const ROLLS: u32 = 20_000;
            let share = Percent::from_millionths(millionths).expect("a share");
            let mut rng = fastrand::Rng::with_seed(seed);
            let hits = (0..ROLLS).filter(|_| hit(share, &mut rng)).count() as f64;
            // Five standard deviations.
            let spread = 5.0 * (share.ratio() * (1.0 - share.ratio()) / f64::from(ROLLS)).sqrt();
            prop_assert!((hits / f64::from(ROLLS) - share.ratio()).abs() <= spread);
        }
    }
}
