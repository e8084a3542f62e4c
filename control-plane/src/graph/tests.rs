use std::time::{Duration, Instant};

use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

use super::{Answers, BOUNDS, Edge, EdgeKey, Graph, MAX_EDGES, OTHER, Seen, ServiceKey};

fn service(name: &str, version: &str) -> ServiceKey {
    ServiceKey { service: name.into(), namespace: "shop".into(), version: version.into() }
}

fn edge(source: &str, destination: &str) -> EdgeKey {
    EdgeKey { source: source.into(), source_namespace: "shop".into(), destination: service(destination, "") }
}

fn answers<'a>(counts: &'a [u64], code: Option<u16>, reason: Option<&'a str>) -> Answers<'a> {
    Answers { bounds: &BOUNDS[..counts.len() - 1], counts, code, grpc: None, reason }
}

fn only(graph: &mut Graph, now: Instant) -> Edge {
    let (mut edges, _) = graph.view(now);
    assert_eq!(edges.len(), 1);
    edges.remove(0)
}

#[test]
fn success_is_an_answer_below_500_that_arrived_whole() {
    for (code, reason, success) in [
        (Some(200), None, 1.0),
        (Some(404), None, 1.0),
        (Some(429), Some("rate_limited"), 1.0),
        (Some(503), None, 0.0),
        (Some(503), Some("breaker_pending"), 0.0),
        (Some(200), Some("http_response_incomplete"), 0.0),
        (None, Some("connection_refused"), 0.0),
        (None, None, 1.0),
    ] {
        let start = Instant::now();
        let mut graph = Graph::new(start);
        graph.record_edge(edge("web", "cart"), &answers(&[1, 0], code, reason), start);
        let seen = only(&mut graph, start);
        assert_eq!(seen.windows.minute.success, Some(success), "{code:?} {reason:?}");
        assert_eq!(seen.codes.get(&code.unwrap_or(0).to_string()).copied(), code.map(|_| 1));
        assert_eq!(seen.reasons.get(reason.unwrap_or("")).copied(), reason.map(|_| 1));
    }
}

#[test]
fn grpc_says_by_its_own_status_how_it_went() {
    for (grpc, reason, success, shown) in [
        ("OK", None, 1.0, None),
        ("OK", Some("http_response_incomplete"), 0.0, Some("http_response_incomplete")),
        ("UNAVAILABLE", None, 0.0, Some("grpc_UNAVAILABLE")),
        ("UNAVAILABLE", Some("connection_refused"), 0.0, Some("connection_refused")),
        ("NOT_FOUND", None, 1.0, Some("grpc_NOT_FOUND")),
        ("RESOURCE_EXHAUSTED", Some("rate_limited"), 1.0, Some("rate_limited")),
    ] {
        let start = Instant::now();
        let mut graph = Graph::new(start);
        let answers = Answers { grpc: Some(grpc), ..answers(&[1, 0], Some(200), reason) };
        graph.record_edge(edge("web", "cart"), &answers, start);
        let seen = only(&mut graph, start);
        assert_eq!(seen.windows.minute.success, Some(success), "{grpc} {reason:?}");
        assert_eq!(seen.reasons.keys().map(String::as_str).next(), shown);
    }
}

#[test]
fn the_short_window_forgets_before_the_long_one_and_then_the_edge_goes() {
    let start = Instant::now();
    let mut graph = Graph::new(start);
    graph.record_edge(edge("web", "cart"), &answers(&[5, 0], Some(200), None), start);

    let seen = only(&mut graph, start + Duration::from_secs(10));
    assert_eq!((seen.windows.ten_seconds.requests, seen.windows.minute.requests), (5, 5));
    let seen = only(&mut graph, start + Duration::from_secs(11));
    assert_eq!((seen.windows.ten_seconds.requests, seen.windows.minute.requests), (0, 5));
    assert_eq!((seen.windows.ten_seconds.success, seen.windows.ten_seconds.p50_ms), (None, None));
    assert_eq!(only(&mut graph, start + Duration::from_secs(60)).windows.minute.requests, 5);
    assert_eq!(graph.view(start + Duration::from_secs(61)).0, []);
}

#[test]
fn the_rate_of_a_young_edge_counts_the_time_it_is_known() {
    let start = Instant::now();
    let mut graph = Graph::new(start);
    for second in 0..4 {
        graph.record_edge(
            edge("web", "cart"),
            &answers(&[100, 0], Some(200), None),
            start + Duration::from_secs(second),
        );
    }
    let windows = only(&mut graph, start + Duration::from_secs(4)).windows;
    assert_eq!((windows.ten_seconds.rate, windows.minute.rate), (100.0, 100.0));
}

#[test]
fn retries_stand_on_the_edge_with_their_reasons() {
    let start = Instant::now();
    let mut graph = Graph::new(start);
    graph.record_retries(edge("web", "cart"), "code_503", 3, start);
    graph.record_retries(edge("web", "cart"), "connection_refused", 1, start);
    let seen = only(&mut graph, start);
    assert_eq!((seen.windows.ten_seconds.retries, seen.windows.ten_seconds.requests), (4, 0));
    assert_eq!(seen.retry_reasons["code_503"], 3);
}

#[test]
fn what_would_have_been_done_stands_on_the_edge_and_the_service() {
    let start = Instant::now();
    let mut graph = Graph::new(start);
    graph.record_edge(edge("web", "cart"), &answers(&[9, 0], Some(200), None), start);
    graph.record_edge_observed(edge("web", "cart"), "breaker", 3, start);
    graph.record_edge_observed(edge("web", "cart"), "breaker", 0, start);
    let (edges, services) = graph.view(start);
    assert_eq!((edges[0].observed["breaker"], services[0].observed["breaker"]), (3, 3));

    graph.record_service(service("cart", ""), &answers(&[9, 0], Some(200), None), start);
    graph.record_service_observed(service("cart", ""), "rate_limit", 2, start);
    let (edges, services) = graph.view(start + Duration::from_secs(60));
    assert_eq!(edges[0].observed.len(), 1, "the service's own affair is none of the edge's");
    assert_eq!((services[0].observed["breaker"], services[0].observed["rate_limit"]), (3, 2));
    assert_eq!(graph.view(start + Duration::from_secs(70)), (vec![], vec![]));
}

#[test]
fn a_service_is_seen_by_its_own_proxy_and_else_by_its_callers() {
    let start = Instant::now();
    let mut graph = Graph::new(start);
    graph.record_edge(edge("web", "cart"), &answers(&[2, 0], Some(503), Some("connection_refused")), start);
    graph.record_edge(edge("api", "cart"), &answers(&[3, 0], Some(200), None), start);
    graph.record_retries(edge("api", "cart"), "code_503", 7, start);
    let (_, services) = graph.view(start);
    assert_eq!((services[0].seen_by, services[0].windows.minute.requests), (Seen::Callers, 5));

    graph.record_service(service("cart", ""), &answers(&[4, 0], Some(200), None), start);
    let (_, services) = graph.view(start);
    assert_eq!(services.len(), 1);
    assert_eq!((services[0].seen_by, services[0].windows.minute.requests), (Seen::Server, 4));
    assert_eq!(services[0].windows.minute.retries, 7);
}

#[test]
fn callers_that_know_no_versions_add_no_row_to_those_that_do() {
    let start = Instant::now();
    let mut graph = Graph::new(start);
    graph.record_edge(edge("web", "cart"), &answers(&[9, 0], Some(200), None), start);
    graph.record_retries(edge("web", "cart"), "code_503", 2, start);
    graph.record_service(service("cart", "v1"), &answers(&[4, 0], Some(200), None), start);
    let (_, services) = graph.view(start);
    let row = |service: &super::Service| (service.version.clone(), service.windows.minute.retries);
    assert_eq!(services.iter().map(row).collect::<Vec<_>>(), [("v1".to_owned(), 2)]);

    graph.record_service(service("cart", "v2"), &answers(&[5, 0], Some(200), None), start);
    let (_, services) = graph.view(start);
    assert_eq!(services.iter().map(row).collect::<Vec<_>>(), [("v1".to_owned(), 0), ("v2".to_owned(), 0)]);
}

#[test]
fn a_million_names_grow_nothing() {
    let start = Instant::now();
    let mut graph = Graph::new(start);
    for number in 0..20_000 {
        let (name, reason) = (format!("{number}{}", "x".repeat(1000)), format!("reason-{number}"));
        let code = u16::try_from(number % 600).expect("small");
        graph.record_edge(edge(&name, "cart"), &answers(&[1, 0], Some(code), Some(&reason)), start);
    }
    let (edges, folded) = graph.edges();
    assert!(edges <= MAX_EDGES, "{edges}");
    assert!(folded > 15_000, "{folded}");
    let (edges, _) = graph.view(start);
    let other = edges.iter().find(|edge| edge.source == OTHER).expect("the edge of all others");
    assert!(other.codes.len() <= 8 && other.reasons.len() <= 8, "{:?}", other.codes);
    assert_eq!(other.codes.values().sum::<u64>(), other.windows.minute.requests);
    assert_eq!(edges.iter().map(|edge| edge.windows.minute.requests).sum::<u64>(), 20_000);

    // A minute later there is room again, and for the words of proxies there always was.
    let later = start + Duration::from_secs(61);
    graph.record_edge(edge("web", "cart"), &answers(&[1, 0], None, Some("downstream_reset")), later);
    let seen = only(&mut graph, later);
    assert_eq!((&*seen.source, seen.reasons["downstream_reset"]), ("web", 1));
}

proptest! {
    #[test]
    fn windows_sum_what_arrived_in_them(
        arrivals in proptest::collection::vec((0_u64..100, 0_u64..50, 0_u64..50), 1..100),
        look in 0_u64..120,
    ) {
        let start = Instant::now();
        let mut graph = Graph::new(start);
        let mut arrivals: Vec<_> = arrivals.into_iter().map(|(second, good, bad)| (second.min(look), good, bad)).collect();
        arrivals.sort_unstable();
        for &(second, good, bad) in &arrivals {
            let now = start + Duration::from_secs(second);
            graph.record_edge(edge("web", "cart"), &answers(&[good, 0], Some(200), None), now);
            graph.record_edge(edge("web", "cart"), &answers(&[0, bad], Some(500), None), now);
        }
        let (edges, _) = graph.view(start + Duration::from_secs(look));
        for window in [10, 60] {
            let inside = arrivals.iter().filter(|(second, ..)| second + window >= look);
            let (good, bad) = inside.fold((0, 0), |(good, bad), arrival| (good + arrival.1, bad + arrival.2));
            let Some(edge) = edges.first() else {
                prop_assert_eq!(good + bad, 0);
                continue;
            };
            let seen = if window == 10 { &edge.windows.ten_seconds } else { &edge.windows.minute };
            prop_assert_eq!(seen.requests, good + bad);
            if let Some(success) = seen.success {
                prop_assert!((success - good as f64 / (good + bad) as f64).abs() < 1e-9);
                prop_assert!(seen.p50_ms <= seen.p95_ms && seen.p95_ms <= seen.p99_ms);
            }
        }
    }
}
