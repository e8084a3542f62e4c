//! How endpoints behave in a rehearsal: a plain mechanism that is told the time and draws from its own chance.

use std::time::Duration;

use super::scenario::{Latency, Outcome, Upstream};
use crate::endpoint::Endpoint;

/// How long an answer takes where nobody says it.
const USUAL: Duration = Duration::from_millis(5);

/// The normal deviate that one in a hundred exceeds.
const P99: f64 = 2.326_348;

/// The scripts of all endpoints.
#[derive(Debug)]
pub struct Scripts {
    scripts: Vec<Script>,
}

#[derive(Debug)]
struct Script {
    upstream: Upstream,
    /// Attempts that followed it.
    met: usize,
}

impl Scripts {
    /// These scripts, all at their beginnings.
    pub fn new(upstreams: &[Upstream]) -> Self {
        let script = |upstream: &Upstream| Script { upstream: upstream.clone(), met: 0 };
        Scripts { scripts: upstreams.iter().map(script).collect() }
    }

    /// What an attempt meets at `endpoint`, `since` after the beginning, and after how long.
    pub fn meet(&mut self, endpoint: &Endpoint, since: Duration, rng: &mut fastrand::Rng) -> (Outcome, Duration) {
        let named = |script: &Script| names(&script.upstream.endpoint, endpoint);
        let own = self.scripts.iter().position(named);
        let any = || self.scripts.iter().position(|script| script.upstream.endpoint == "*");
        let Some(script) = own.or_else(any).and_then(|index| self.scripts.get_mut(index)) else {
            return (Outcome::Status(200), USUAL);
        };
        let took = script.upstream.latency.map_or(USUAL, |latency| draw(latency, rng));
        let now = |from: Duration, until: Option<Duration>| from <= since && until.is_none_or(|until| since < until);
        let windows = script.upstream.failures.iter();
        let mut open = windows.filter(|window| now(window.from.0, window.until.map(|until| until.0)));
        if let Some(window) = open.find(|window| rng.f64() * 100.0 < window.percent) {
            return (window.is, took);
        }
        let answers = &script.upstream.answers;
        let outcome = match answers.len() {
            0 => Outcome::Status(200),
            count => answers[script.met % count],
        };
        script.met += 1;
        (outcome, took)
    }
}

/// Whether a script's name means an endpoint: by address, by workload, or by workload without its namespace.
fn names(name: &str, endpoint: &Endpoint) -> bool {
    let workload = &*endpoint.workload;
    name == workload
        || workload.rsplit_once('/').is_some_and(|(_, short)| short == name)
        || name.parse().is_ok_and(|address: std::net::SocketAddr| address == endpoint.address)
}

fn draw(latency: Latency, rng: &mut fastrand::Rng) -> Duration {
    match latency {
        Latency::Always(span) => span.0,
        Latency::Between { from, to } => from.0 + to.0.saturating_sub(from.0).mul_f64(rng.f64()),
        Latency::Spread { p50, p99 } => {
            let median = p50.0.as_secs_f64().max(1e-6);
            let sigma = (p99.0.as_secs_f64() / median).max(1.0).ln() / P99;
            // Box and Muller.
            let (radius, angle) = ((-2.0 * (1.0 - rng.f64()).ln()).sqrt(), std::f64::consts::TAU * rng.f64());
            Duration::from_secs_f64((median * (sigma * radius * angle.cos()).exp()).min(3600.0))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use outrigger_config::endpoint::Endpoint as Model;

    use super::Scripts;
    use crate::endpoint::{Endpoint, Latency};
    use crate::simulate::scenario::{Outcome, Scenario};

    fn endpoint(workload: &str) -> Endpoint {
        let model = Model { workload: workload.into(), ..Model::at(([127, 0, 0, 1], 9001).into()) };
        Endpoint::new(&model, 1, Latency::default(), Instant::now())
    }

    fn scripts(text: &str) -> Scripts {
        Scripts::new(&Scenario::read(text, "s").expect("a scenario").upstreams)
    }

    #[test]
    fn answers_come_in_turn_and_failures_in_their_time() {
        let mut scripts = scripts(
            "upstreams: [{ endpoint: a-1, latency: 2ms, answers: [200, 503], failures: [{ from: 1s, until: 2s, is: reset }] }]",
        );
        let (own, other, mut rng) = (endpoint("shop/a-1"), endpoint("shop/b-1"), fastrand::Rng::with_seed(1));
        let mut meet = |endpoint: &Endpoint, at| scripts.meet(endpoint, Duration::from_millis(at), &mut rng);
        let found: Vec<Outcome> = [0, 1, 999, 1000, 1999, 2000].map(|at| meet(&own, at).0).to_vec();
        use Outcome::{Reset, Status};
        assert_eq!(found, [Status(200), Status(503), Status(200), Reset, Reset, Status(503)]);
        assert_eq!(meet(&other, 0), (Status(200), Duration::from_millis(5)), "nobody says anything of it");
    }

    #[test]
    fn latencies_are_spread_as_the_script_says() {
        let mut scripts = scripts("upstreams: [{ endpoint: \"*\", latency: { p50: 10ms, p99: 100ms } }]");
        let (any, mut rng) = (endpoint(""), fastrand::Rng::with_seed(7));
        let mut all: Vec<Duration> = (0..20_000).map(|_| scripts.meet(&any, Duration::ZERO, &mut rng).1).collect();
        all.sort_unstable();
        let near = |at: usize, expected: f64| (all[at].as_secs_f64() / expected - 1.0).abs() < 0.15;
        assert!(near(10_000, 0.01) && near(19_800, 0.1), "{:?} {:?}", all[10_000], all[19_800]);
    }
}
