//! What a proxy that runs short does to its callers, as they see it on a plain socket.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use outrigger_config::listener::{Direction, Listener, TableSource, Telemetry as ListenerTelemetry};
use outrigger_config::matching::{PathMatch, RouteMatch};
use outrigger_config::name::{Domain, ResourceName};
use outrigger_config::policy::Mode;
use outrigger_config::resource::Resource;
use outrigger_config::rewrite::{Answer, DirectResponse};
use outrigger_config::route::{Priority, Route, RouteTable, VirtualHost};
use outrigger_config::value::Percent;
use outrigger_proxy::cache::Caching;
use outrigger_proxy::drain::Drain;
use outrigger_proxy::exchange::Shared;
use outrigger_proxy::listener::DataPlane;
use outrigger_proxy::overload::{Bounds, Overload};
use outrigger_proxy::rls::LimitService;
use outrigger_proxy::snapshot::{Context, ResourceSet, Snapshots, compile};
use outrigger_proxy::telemetry::Telemetry;

const MINUTE: Duration = Duration::from_secs(60);

fn name(text: &str) -> ResourceName {
    ResourceName::try_new(text).expect("a name")
}

/// A data plane that answers everything itself, and what it runs short of.
fn proxy(bounds: Bounds) -> (DataPlane, SocketAddr, Arc<Overload>) {
    let address = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port");
    let answer = Answer::Direct(DirectResponse { status: 200, body: "well".into() });
    let high = Route {
        matches: RouteMatch { path: PathMatch::Prefix("/high".into()), ..RouteMatch::any() },
        priority: Priority::High,
        ..Route::forward("high", name("nowhere"))
    };
    let routes = vec![high, Route::answering("all", answer)];
    let hosts =
        vec![VirtualHost { name: "all".into(), domains: vec![Domain::Any], routes, counts: Default::default() }];
    let listener = Listener {
        name: name("outbound"),
        address,
        direction: Direction::Outbound,
        table: TableSource::Inline(RouteTable { name: name("inline"), hosts }),
        identity: None,
        telemetry: ListenerTelemetry { sample: Percent::ZERO, access_log: false },
        adaptive: None,
        rehearsed_adaptive: None,
        limits: Vec::new(),
    };
    let set: ResourceSet = [Resource::Listener(listener)].into_iter().collect();
    let telemetry = Arc::new(Telemetry::default());
    let context = Context { workers: 1, metrics: Arc::clone(&telemetry.metrics), seed: 1, now: Instant::now() };
    let snapshot = compile(&set, None, &context);
    let overload = Arc::new(Overload::new(bounds));
    let shared = Arc::new(Shared {
        snapshots: Snapshots::new(),
        telemetry,
        workers: 1,
        limits: LimitService::default(),
        drain: Drain::new(),
        overload: Arc::clone(&overload),
        caching: Caching::new(1 << 20),
        carried: Arc::default(),
        replay: Arc::default(),
    });
    let plane = DataPlane::start(Arc::clone(&shared)).expect("threads");
    assert_eq!(plane.apply(&snapshot), []);
    shared.snapshots.store(Arc::new(snapshot));
    (plane, address, overload)
}

/// So many thousandths of its memory are used.
fn use_memory(overload: &Overload, thousandths: u64) {
    overload.note([Some(thousandths), None, None], MINUTE);
}

fn thousand() -> Bounds {
    Bounds { memory: Some(1000), ..Bounds::default() }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the kernel takes it");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    stream
}

/// The head and the body of the answer to a GET.
fn get(stream: &mut TcpStream, path: &str) -> String {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: catalog\r\n\r\n").expect("the proxy reads");
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut buffer).expect("an answer");
        assert!(count > 0, "closed without an answer: {text}");
        text.push_str(std::str::from_utf8(&buffer[..count]).expect("text"));
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length =
            head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if length.is_none_or(|length: usize| body.len() >= length) {
            return text;
        }
    }
}

#[test]
fn requests_are_shed_with_a_reason_and_health_is_answered() {
    let (_plane, address, overload) = proxy(thousand());
    let mut stream = connect(address);
    assert!(get(&mut stream, "/").starts_with("HTTP/1.1 200"));
    use_memory(&overload, 975);
    let answer = get(&mut stream, "/").to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 503") && answer.contains("error=overloaded"), "{answer}");
    assert!(answer.contains("retry-after: ") && answer.contains("connection: close"), "{answer}");
    assert!(answer.contains("% of its memory"), "{answer}");
    assert_eq!(stream.read(&mut [0; 1]).expect("the end"), 0, "the connection is not kept");
    assert!(get(&mut connect(address), "/healthz").starts_with("HTTP/1.1 200"));
    use_memory(&overload, 100);
    let answer = get(&mut connect(address), "/");
    assert!(answer.starts_with("HTTP/1.1 200") && !answer.contains("close"), "{answer}");
}

#[test]
fn requests_of_priority_high_are_shed_after_all_others() {
    let (_plane, address, overload) = proxy(thousand());
    use_memory(&overload, 970);
    assert!(get(&mut connect(address), "/").contains("error=overloaded"));
    // It leads nowhere, but that far it gets.
    assert!(get(&mut connect(address), "/high").contains("error=destination_unavailable"));
    assert_eq!((overload.shed(Priority::Default), overload.shed(Priority::High)), (1, 0));
}

#[test]
fn before_anything_is_shed_connections_are_not_kept() {
    let (_plane, address, overload) = proxy(thousand());
    use_memory(&overload, 920);
    let answer = get(&mut connect(address), "/").to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 200") && answer.contains("connection: close"), "{answer}");
}

#[test]
fn at_last_nothing_is_accepted_and_nothing_is_lost() {
    let (_plane, address, overload) = proxy(thousand());
    use_memory(&overload, 999);
    let mut stream = connect(address);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: catalog\r\n\r\n").expect("the kernel takes it");
    stream.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
    // An accept that was waiting already takes the first that comes; the next one waits.
    let mut second = connect(address);
    second.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
    second.write_all(b"GET / HTTP/1.1\r\nHost: catalog\r\n\r\n").expect("the kernel takes it");
    let silent = second.read(&mut [0; 1]).expect_err("no answer");
    assert!(matches!(silent.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{silent}");
    use_memory(&overload, 100);
    second.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    assert!(second.read(&mut [0; 64]).is_ok_and(|count| count > 0), "it was only waiting");
}

#[test]
fn in_observe_nothing_changes() {
    let (_plane, address, overload) = proxy(Bounds { mode: Mode::Observe, ..thousand() });
    use_memory(&overload, 999);
    let answer = get(&mut connect(address), "/");
    assert!(answer.starts_with("HTTP/1.1 200") && !answer.contains("close"), "{answer}");
    assert_eq!(overload.shed(Priority::Default), 1);
}

#[test]
fn callers_connections_are_as_many_as_may_be() {
    let (_plane, address, overload) = proxy(Bounds { connections: Some(1), ..Bounds::default() });
    let mut first = connect(address);
    assert!(get(&mut first, "/").starts_with("HTTP/1.1 200"));
    let mut second = connect(address);
    second.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
    let _ = second.write_all(b"GET / HTTP/1.1\r\nHost: catalog\r\n\r\n");
    assert!(second.read(&mut [0; 1]).map_or(true, |count| count == 0), "no place for it");
    assert_eq!(overload.connections(), 1);
    drop((first, second));
    let until = Instant::now() + Duration::from_secs(10);
    while overload.connections() > 0 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(get(&mut connect(address), "/").starts_with("HTTP/1.1 200"));
}
