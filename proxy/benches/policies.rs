//! What each policy costs a request, switched on alone: `cargo bench -p outrigger-proxy --bench policies`.
//!
//! Real requests over loopback, through the whole proxy; what is counted is the processor time of its one worker, as the
//! kernel counts it. Each case runs between two runs of the bare proxy and the bare proxy between two of its own, so that
//! neither a drift of the machine's speed nor what ran just before favours one; the cases take turns. A table to look at,
//! never a gate; leave the machine alone meanwhile.
#![allow(missing_docs)]
#![expect(clippy::disallowed_methods, reason = "threads of a benchmark need no name")]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use outrigger_config::document;
use outrigger_config::mesh::Mesh;
use outrigger_config::name::ObjectName;
use outrigger_proxy::cache::Caching;
use outrigger_proxy::drain::Drain;
use outrigger_proxy::exchange::Shared;
use outrigger_proxy::listener::DataPlane;
use outrigger_proxy::rls::LimitService;
use outrigger_proxy::snapshot::{Context, Snapshots, compile};
use outrigger_proxy::telemetry::Telemetry;

/// As the binary has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 31;
/// Requests under way at once, each on a connection of its own, so that the worker seldom sleeps.
const CONNECTIONS: usize = 16;
/// Requests of each connection in a run.
const TIMES: usize = 25;

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nCache-Control: max-age=3600\r\nContent-Length: 5\r\n\r\nhello";

/// The mesh of every case: a caller, a service, and a second service for splits. The proxy stands beside the caller, or
/// where the policy is the service's own beside that.
const MESH: &str = "
apiVersion: outrigger.dev/v1alpha1
kind: Service
metadata: { name: catalog, namespace: shop }
spec: { selector: { app: catalog }, ports: [{ name: http, port: 80, appProtocol: http }] }
---
apiVersion: outrigger.dev/v1alpha1
kind: Service
metadata: { name: canary, namespace: shop }
spec: { selector: { app: catalog }, ports: [{ name: http, port: 80, appProtocol: http }] }
---
apiVersion: outrigger.dev/v1alpha1
kind: Workload
metadata: { name: catalog-1, namespace: shop, labels: { app: catalog } }
spec: { address: 127.0.0.1, ports: [{ name: http, PORTS }] }
---
apiVersion: outrigger.dev/v1alpha1
kind: Workload
metadata: { name: web, namespace: shop }
spec: { address: 127.0.0.1, outbound: [{ port: LISTEN, service: catalog, servicePort: http }] }
---
apiVersion: outrigger.dev/v1alpha1
kind: MeshPolicy
metadata: { name: default, namespace: outrigger-system }
spec: { tracing: { samplePercent: 0 } }
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: catalog, namespace: shop }
spec:
  parentRefs: [{ group: \"\", kind: Service, name: catalog }]
  rules:
  - name: all
    backendRefs: [{ name: catalog, port: 80 }BACKEND]
";

/// What is switched on.
#[derive(Clone, Copy)]
enum On {
    Nothing,
    /// Further lines of the one rule.
    Rule(&'static str),
    /// A second backend of the one rule, and further lines.
    Split(&'static str),
    /// The spec of a policy of this kind.
    Policy(&'static str, &'static str),
    /// The spec of a RateLimitPolicy of the service, before it.
    Inbound(&'static str),
    /// The same of two kinds.
    Policies([(&'static str, &'static str); 2]),
}

const GET: &str = "GET / HTTP/1.1\r\nHost: catalog\r\nUser-Agent: counter\r\nAccept: */*\r\n\r\n";

const CASES: &[(&str, On)] = &[
    (
        "request headers set, added, removed",
        On::Rule(
            "filters: [{ type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: x-a, value: a }], add: [{ name: x-b, value: b }], remove: [x-c] } }]",
        ),
    ),
    (
        "path rewritten",
        On::Rule(
            "filters: [{ type: URLRewrite, urlRewrite: { path: { type: ReplacePrefixMatch, replacePrefixMatch: /v2 } } }]",
        ),
    ),
    ("request and idle timeouts", On::Rule("timeouts: { request: 5s }")),
    ("split 90/10", On::Split("")),
    (
        "split, sticky by a cookie",
        On::Policy("RoutePolicy", "stickyOn: [{ type: Cookie, name: user }, { type: SourceIP }]"),
    ),
    ("retry on 5xx, per-try timeout", On::Policy("RoutePolicy", "retry: { on: [5xx], perTryTimeout: 2s }")),
    ("fault of no request", On::Policy("RoutePolicy", "fault: { abort: { status: 503, percent: 0 } }")),
    ("rate limit", On::Policy("RateLimitPolicy", "rules: [{ name: all, limit: { requests: 1000000, interval: 1s } }]")),
    (
        "limits",
        On::Policy("BackendPolicy", "limits: { maxConnections: 1000, maxPendingRequests: 1000, maxRequests: 1000 }"),
    ),
    (
        "limits of each endpoint",
        On::Policy("BackendPolicy", "limits: { perEndpoint: { maxConnections: 100, maxRequests: 100 } }"),
    ),
    (
        "outlier detection, every comparison",
        On::Policy(
            "BackendPolicy",
            "outlierDetection: { consecutiveErrors: 5, successRate: {}, failurePercentage: {}, latency: {} }",
        ),
    ),
    ("round robin", On::Policy("BackendPolicy", "loadBalancing: { algorithm: RoundRobin }")),
    (
        "ring hash by a header, bounded load",
        On::Policy(
            "BackendPolicy",
            "loadBalancing: { algorithm: RingHash, hashOn: [{ type: Header, name: user-agent }], balanceFactor: 150 }",
        ),
    ),
    (
        "maglev by a header",
        On::Policy(
            "BackendPolicy",
            "loadBalancing: { algorithm: Maglev, hashOn: [{ type: Header, name: user-agent }] }",
        ),
    ),
    ("cache, every request but one a hit", On::Policy("RoutePolicy", "cache: {}")),
    ("admission control", On::Policy("BackendPolicy", "admissionControl: {}")),
    ("slow start", On::Policy("BackendPolicy", "loadBalancing: { slowStart: { window: 60s } }")),
    (
        "a subset of the endpoints",
        On::Policies([
            ("BackendPolicy", "loadBalancing: { subsets: { selectors: [{ keys: [app] }] } }"),
            ("RoutePolicy", "subset: { app: catalog }"),
        ]),
    ),
];

/// The same with a request body of 4 KiB.
const WITH_BODY: &[(&str, On)] =
    &[("retry on 5xx, a body of 4 KiB kept", On::Policy("RoutePolicy", "retry: { on: [5xx], methods: [\"*\"] }"))];

/// The same before the service.
const INBOUND: &[(&str, On)] = &[
    (
        "rate limit, before the service",
        On::Inbound("rules: [{ name: all, limit: { requests: 1000000, interval: 1s } }]"),
    ),
    // As many at once as there are connections are never too many.
    ("adaptive concurrency, before the service", On::Inbound("adaptiveConcurrency: { minConcurrency: 100 }")),
];

/// A proxy with one worker, and connections to it.
struct Case {
    name: &'static str,
    /// Which case it is compared with.
    base: usize,
    request: Vec<u8>,
    connections: Vec<TcpStream>,
    schedstat: String,
    _plane: DataPlane,
}

fn main() -> std::io::Result<()> {
    let origin = origin()?;
    let body = format!(
        "POST / HTTP/1.1\r\nHost: catalog\r\nUser-Agent: counter\r\nContent-Length: 4096\r\n\r\n{}",
        "x".repeat(4096)
    );
    let mut cases = vec![Case::start("none", On::Nothing, 0, GET.as_bytes(), origin)?];
    for (name, on) in CASES {
        cases.push(Case::start(name, *on, 0, GET.as_bytes(), origin)?);
    }
    let base = cases.len();
    cases.push(Case::start(
        "none, a body of 4 KiB",
        On::Policy("RoutePolicy", "retry: { attempts: 0 }"),
        base,
        body.as_bytes(),
        origin,
    )?);
    for (name, on) in WITH_BODY {
        cases.push(Case::start(name, *on, base, body.as_bytes(), origin)?);
    }
    let base = cases.len();
    cases.push(Case::start("none, before the service", On::Inbound(""), base, GET.as_bytes(), origin)?);
    for (name, on) in INBOUND {
        cases.push(Case::start(name, *on, base, GET.as_bytes(), origin)?);
    }
    for case in &mut cases {
        case.run()?;
    }
    let mut rounds = vec![Vec::new(); cases.len()];
    for _ in 0..ROUNDS {
        for (index, round) in rounds.iter_mut().enumerate() {
            round.push(compare(&mut cases, index)?);
        }
    }
    let mut out = std::io::stdout();
    writeln!(out, "| policy, alone | CPU us a request | more than without | half of the rounds |\n|---|---|---|---|")?;
    for (case, round) in cases.iter().zip(rounds) {
        let cost = sorted(round.iter().map(|(cost, _)| *cost))[ROUNDS / 2];
        let more = sorted(round.iter().map(|(_, more)| *more));
        let [low, middle, high] = [1, 2, 3].map(|quarter| more[quarter * (ROUNDS - 1) / 4]);
        writeln!(out, "| {} | {cost:.2} | {middle:+.2} | {low:+.2} to {high:+.2} |", case.name)?;
    }
    Ok(())
}

/// What a case costs, and how much more that is than its base: base, case, case, base, and again the other way around.
fn compare(cases: &mut [Case], index: usize) -> std::io::Result<(f64, f64)> {
    let base = cases[index].base;
    let (mut with, mut without) = (0.0, 0.0);
    for which in [base, index, index, base, index, base, base, index] {
        let total = if which == index { &mut with } else { &mut without };
        *total += cases[which].run()?;
    }
    // A base beside itself.
    if index == base {
        (with, without) = (with / 2.0, with / 2.0);
    }
    Ok((with / 4.0, (with - without) / 4.0))
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

impl Case {
    fn start(name: &'static str, on: On, base: usize, request: &[u8], origin: SocketAddr) -> std::io::Result<Case> {
        let before = threads()?;
        let (plane, address) = proxy(on, origin)?;
        // A worker names itself once it runs.
        let worker = loop {
            if let Some(worker) = threads()?.difference(&before).find(|task| is_worker(task)) {
                break worker.clone();
            }
            std::thread::yield_now();
        };
        let connections = (0..CONNECTIONS).map(|_| TcpStream::connect(address)).collect::<std::io::Result<_>>()?;
        let schedstat = format!("/proc/self/task/{worker}/schedstat");
        Ok(Case { name, base, request: request.to_vec(), connections, schedstat, _plane: plane })
    }

    /// Sends some requests; the worker's microseconds for each.
    fn run(&mut self) -> std::io::Result<f64> {
        let mut buffer = [0; 4096];
        let before = self.spent()?;
        for _ in 0..TIMES {
            for stream in &mut self.connections {
                stream.write_all(&self.request)?;
            }
            for stream in &mut self.connections {
                let mut got = 0;
                while !buffer[..got].ends_with(b"hello") {
                    let count = stream.read(&mut buffer[got..])?;
                    assert!(count > 0, "{}: the proxy closed", self.name);
                    got += count;
                }
                assert!(buffer.starts_with(b"HTTP/1.1 200"), "{}: an answer of another kind", self.name);
            }
        }
        Ok((self.spent()? - before) / 1000.0 / (TIMES * CONNECTIONS) as f64)
    }

    /// Nanoseconds that the worker has run.
    fn spent(&self) -> std::io::Result<f64> {
        let text = std::fs::read_to_string(&self.schedstat)?;
        Ok(text.split_whitespace().next().and_then(|first| first.parse().ok()).expect("three numbers"))
    }
}

fn threads() -> std::io::Result<BTreeSet<String>> {
    std::fs::read_dir("/proc/self/task")?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

fn is_worker(task: &str) -> bool {
    std::fs::read_to_string(format!("/proc/self/task/{task}/comm")).is_ok_and(|name| name.starts_with("worker-"))
}

/// A data plane with one worker for the mesh, with this switched on.
fn proxy(on: On, origin: SocketAddr) -> std::io::Result<(DataPlane, SocketAddr)> {
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let (listen, origin) = (address.port(), origin.port());
    let (node, outbound, ports) = match matches!(on, On::Inbound(_)) {
        // Nobody listens there.
        true => ("catalog-1", "1".to_owned(), format!("port: {listen}, appPort: {origin}")),
        false => ("web", listen.to_string(), format!("port: {origin}")),
    };
    let mesh = MESH
        .replace("PORTS", &ports)
        .replace("LISTEN", &outbound)
        .replace("BACKEND", if matches!(on, On::Split(_)) { ", { name: canary, port: 80, weight: 9 }" } else { "" });
    let mesh = match on {
        On::Nothing | On::Inbound("") => mesh,
        On::Rule(lines) | On::Split(lines) => format!("{mesh}    {lines}\n"),
        On::Policy(kind, spec) => with_policy(&mesh, kind, target(kind), spec),
        On::Policies(both) => {
            both.into_iter().fold(mesh, |mesh, (kind, spec)| with_policy(&mesh, kind, target(kind), spec))
        }
        On::Inbound(spec) => with_policy(&mesh, "RateLimitPolicy", SERVICE, spec),
    };
    let documents = document::parse(&mesh, "bench").unwrap_or_else(|problems| panic!("{problems}"));
    let (mesh, _) = Mesh::try_new(documents).unwrap_or_else(|problems| panic!("{problems}"));
    let node = ObjectName::try_new("shop", node).expect("a name");
    let set = mesh.shared("shop").into_iter().chain(mesh.own(&node)).collect();
    let telemetry = Arc::new(Telemetry::default());
    let context = Context { workers: 1, metrics: Arc::clone(&telemetry.metrics), seed: 1, now: Instant::now() };
    let snapshot = compile(&set, None, &context);
    let shared = Arc::new(Shared {
        snapshots: Snapshots::new(),
        telemetry,
        caching: Caching::new(1 << 20),
        workers: 1,
        limits: LimitService::default(),
        drain: Drain::new(),
        overload: Arc::default(),
        carried: Arc::default(),
        replay: Arc::default(),
    });
    let plane = DataPlane::start(Arc::clone(&shared))?;
    assert_eq!(plane.apply(&snapshot), []);
    shared.snapshots.store(Arc::new(snapshot));
    Ok((plane, address))
}

const SERVICE: &str = "{ group: \"\", kind: Service, name: catalog }";
const ROUTE: &str = "{ group: gateway.networking.k8s.io, kind: HTTPRoute, name: catalog }";

fn target(kind: &str) -> &'static str {
    if kind == "BackendPolicy" { SERVICE } else { ROUTE }
}

fn with_policy(mesh: &str, kind: &str, target: &str, spec: &str) -> String {
    format!(
        "{mesh}---\napiVersion: outrigger.dev/v1alpha1\nkind: {kind}\nmetadata: {{ name: alone, namespace: shop }}\nspec:\n  targetRefs: [{target}]\n  {spec}\n"
    )
}

/// Answers every request on every connection, in its own threads.
fn origin() -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream));
        }
    });
    Ok(address)
}

/// Reads a request to its end, answers it, and so on until the proxy closes.
fn serve(mut stream: TcpStream) -> Option<()> {
    let (mut buffer, mut got) = (vec![0; 16 << 10], 0);
    loop {
        let head = loop {
            if let Some(end) = buffer[..got].windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            got += stream.read(&mut buffer[got..]).ok().filter(|count| *count > 0)?;
        };
        let body = if buffer.starts_with(b"POST") { 4096 } else { 0 };
        while got < head + body {
            got += stream.read(&mut buffer[got..]).ok().filter(|count| *count > 0)?;
        }
        got = 0;
        stream.write_all(ANSWER).ok()?;
    }
}
