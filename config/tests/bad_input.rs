//! Bad input, class by class: each is refused with a clear error, and nothing costs more than it should.
#![allow(missing_docs)]

use std::fmt::Write;
use std::time::{Duration, Instant};

use outrigger_config::document::{MAX_BYTES, MAX_NODES, MAX_PROBLEMS, parse};
use outrigger_config::error::{Code, Problem};
use outrigger_config::mesh::Mesh;

const SHOP: &str = include_str!("fixtures/good/shop.yaml");

/// The shop with some text exchanged, which must be refused.
fn refuse_shop_with(from: &str, to: &str) -> Vec<Problem> {
    assert!(SHOP.contains(from), "{from}");
    refuse(&SHOP.replacen(from, to, 1))
}

fn refuse(text: &str) -> Vec<Problem> {
    parse(text, "shop.yaml").and_then(Mesh::try_new).expect_err("must be refused").0
}

/// One problem: its code, its path, and the text at its place.
fn check(problems: &[Problem], code: Code, path: &str, reason: &str) {
    let [problem] = problems else { panic!("{problems:?}") };
    assert_eq!((problem.code, problem.path.as_str()), (code, path), "{problem}");
    assert!(problem.reason.contains(reason), "{problem}");
    assert!(problem.location.as_ref().is_some_and(|at| at.file == "shop.yaml" && at.line > 1), "{problem}");
}

/// A hostile text is refused, quickly even without optimisation, and with few words.
fn refuse_quickly(text: &str, code: Code) {
    let start = Instant::now();
    let problems = parse(text, "hostile.yaml").expect_err("must be refused").0;
    let elapsed = start.elapsed();
    assert!(problems.iter().any(|problem| problem.code == code), "{:?}", problems.first());
    assert!(problems.len() <= MAX_PROBLEMS + 1);
    assert!(problems.iter().all(|problem| problem.to_string().len() < 4096));
    assert!(elapsed < Duration::from_secs(30), "took {elapsed:?}");
}

#[test]
fn malformed_text() {
    let problems = refuse("kind: [\n");
    assert_eq!(problems[0].code, Code::Syntax);
    assert_eq!(problems[0].location.as_ref().map(|at| at.line), Some(2));
}

#[test]
fn unknown_fields() {
    let problems = refuse_shop_with("weight: 90", "wieght: 90");
    check(&problems, Code::UnknownField, "spec.rules[0].backendRefs[0].wieght", "did you mean \"weight\"?");
}

#[test]
fn dangling_references() {
    let problems = refuse_shop_with("name: recommend-v2, port: 80, weight", "name: recommend-v3, port: 80, weight");
    check(
        &problems,
        Code::DanglingReference,
        "spec.rules[0].backendRefs[1].name",
        "there is no Service shop/recommend-v3",
    );
}

/// The warnings about the shop with some text added.
fn warned(more: &str) -> Vec<Problem> {
    let text = format!("{SHOP}\n---\n{more}");
    parse(&text, "shop.yaml").and_then(Mesh::try_new).unwrap_or_else(|problems| panic!("{problems}")).1.0
}

#[test]
fn budgets_smaller_than_one_retry() {
    let policy = |percent: u32| {
        format!(
            "apiVersion: outrigger.dev/v1alpha1\nkind: BackendPolicy\nmetadata: {{name: none, namespace: shop}}\n\
             spec: {{targetRefs: [{{kind: Service, name: storefront}}], retryConstraint: {{budget: {{percent: {percent}}}, \
             minRetryRate: {{count: 0}}, minConcurrent: 0}}}}\n"
        )
    };
    let problems = refuse(&format!("{SHOP}\n---\n{}", policy(0)));
    check(&problems, Code::Conflict, "spec.retryConstraint", "smaller than one retry");
    let problems = warned(&policy(5));
    check(&problems, Code::Suspicious, "spec.retryConstraint", "until 20 requests came within 10s");
}

#[test]
fn rules_that_a_wider_one_hides() {
    let route = |matches: &[&str]| {
        let rule = |(number, one): (usize, &&str)| {
            format!("{{name: r{number}, matches: [{{{one}}}], backendRefs: [{{name: storefront, port: 80}}]}}")
        };
        let rules: Vec<_> = matches.iter().enumerate().map(rule).collect();
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: hidden, namespace: shop}}\n\
             spec: {{parentRefs: [{{group: \"\", kind: Service, name: storefront}}], rules: [{}]}}\n",
            rules.join(", ")
        )
    };
    let regex = |text: &str| format!("path: {{type: RegularExpression, value: \"{text}\"}}");
    let headers = "headers: [{name: a, value: b}]";
    for (first, second, hidden) in [
        ("path: {value: /a}", &*regex("/a/[0-9]+"), true),
        ("path: {value: /a}", &regex("/a(/.*)?"), true),
        ("path: {value: /a}", &format!("{}, method: GET, {headers}", regex("/a/(b|c)")), true),
        ("path: {value: /a}", &regex("/a.*"), false),
        ("path: {value: /a}", &regex("/(a|b)/.*"), false),
        ("path: {value: /a}, method: GET", &regex("/a/.*"), false),
        (&format!("path: {{value: /a}}, {headers}"), &regex("/a/.*"), false),
        (&format!("path: {{value: /a}}, {headers}"), &format!("{}, method: PUT, {headers}", regex("/a/.*")), true),
        ("path: {type: Exact, value: /a}", &regex("/a"), true),
        (&regex(".*"), "method: GET", true),
        (&format!("{}, method: GET", regex(".*")), "path: {value: /}", false),
        (&regex("/a.*"), "path: {value: /}", false),
        ("path: {value: /a}", "path: {value: /a/b}", false),
    ] {
        let problems = warned(&route(&[first, second]));
        let found: Vec<_> = problems.iter().filter(|problem| problem.object.ends_with("shop/hidden")).collect();
        assert_eq!(!found.is_empty(), hidden, "{first} {second}: {found:?}");
        if let [problem] = &found[..] {
            assert_eq!((problem.code, &*problem.path), (Code::Unreachable, "spec.rules[1]"), "{problem}");
        }
    }
}

#[test]
fn attempts_as_long_as_their_request() {
    let policy = "apiVersion: outrigger.dev/v1alpha1\nkind: RoutePolicy\nmetadata: {name: long, namespace: shop}\n\
        spec: {targetRefs: [{kind: Service, name: storefront}], timeouts: {request: 1s}, retry: {perTryTimeout: 1s}}\n";
    let problems = warned(policy);
    let found: Vec<_> = problems.into_iter().filter(|problem| problem.object.ends_with("shop/long")).collect();
    check(&found[..1], Code::Suspicious, "spec.retry.perTryTimeout", "no attempt after the first has any time");
}

#[test]
fn cycles() {
    let problems = refuse_shop_with("port: 8001, appPort: 18001", "port: 8001, appPort: 8001");
    check(&problems, Code::Cycle, "spec.ports[0].appPort", "back to this port");
}

#[test]
fn weights_that_sum_to_nothing() {
    let problems = refuse(&SHOP.replace("weight: 90", "weight: 0").replace("weight: 10", "weight: 0"));
    check(&problems, Code::ZeroWeights, "spec.rules[0].backendRefs", "at least 1");
}

#[test]
fn a_retry_timeout_longer_than_its_requests() {
    let problems = refuse_shop_with("perTryTimeout: 300ms", "perTryTimeout: 3s");
    check(&problems, Code::TimeoutOrder, "spec.retry.perTryTimeout", "request timeout of 2s");
    let problems = refuse_shop_with("backendRequest: 500ms", "backendRequest: 5s");
    check(&problems, Code::TimeoutOrder, "spec.rules[0].timeouts.backendRequest", "request timeout of 2s");
}

#[test]
fn durations_out_of_range() {
    for bad in ["1.5s", "100000s", "99999h", "-1s", "soon", "\"\""] {
        let problems = refuse_shop_with("request: 2s", &format!("request: {bad}"));
        assert!(problems.iter().any(|one| one.path == "spec.rules[0].timeouts.request"), "{bad}: {problems:?}");
    }
    let problems = refuse_shop_with("interval: 10s}", "interval: 2m}");
    check(&problems, Code::InvalidValue, "spec.retryConstraint.budget.interval", "between 1s and 1m");
}

/// The range of the field and the check of the policy both refuse it; it is said once.
#[test]
fn one_value_is_refused_once() {
    let problems = refuse_shop_with("    bodyLimit: 1024\n", "    bodyLimit: 1024\n  cache: {ttl: 0s}\n");
    check(&problems, Code::InvalidValue, "spec.cache.ttl", "between 1ms and");
}

#[test]
fn ten_megabytes() {
    let start = Instant::now();
    let problems = refuse(&SHOP.repeat(10_000_000 / SHOP.len() + 1));
    assert!(start.elapsed() < Duration::from_secs(1));
    assert_eq!(problems.len(), 1);
    assert!(problems[0].reason.contains("bytes long"), "{}", problems[0]);
}

#[test]
fn deep_nesting() {
    for unit in ["[", "{a: ", "- ", "? ", "[[", "{\"a\":["] {
        refuse_quickly(&unit.repeat(MAX_BYTES / unit.len()), Code::Syntax);
    }
    let mut blocks = String::new();
    for depth in 0..1000 {
        writeln!(blocks, "{}a:", " ".repeat(depth)).expect("a string takes all");
    }
    refuse_quickly(&blocks, Code::Syntax);
}

#[test]
fn many_values() {
    refuse_quickly(&format!("a: [{}]", "1,".repeat(MAX_NODES + 1)), Code::Syntax);
    refuse_quickly(&"x\n---\n".repeat(50_000), Code::WrongType);
}

#[test]
fn many_problems() {
    let mut fields = String::from("apiVersion: outrigger.dev/v1alpha1\nkind: Service\nmetadata: {name: web}\nspec:\n");
    for number in 0..20_000 {
        writeln!(fields, "  port{number}: 1").expect("a string takes all");
    }
    refuse_quickly(&fields, Code::UnknownField);
    refuse_quickly(&"a: 1\n".repeat(50_000), Code::Syntax);
}

#[test]
fn long_words() {
    let long = "x".repeat(1_000_000);
    refuse_quickly(&format!("{long}: 1"), Code::Syntax);
    let document = format!("apiVersion: {long}\nkind: {long}\nmetadata: {{name: {long}}}\nspec: {long}");
    refuse_quickly(&document, Code::UnknownKind);
}

#[test]
fn a_small_text_that_means_a_large_tree() {
    let mut text = String::from("a0: &a0 [x, x]\n");
    for level in 1..64 {
        let below = level - 1;
        writeln!(text, "a{level}: &a{level} [*a{below}, *a{below}]").expect("a string takes all");
    }
    refuse_quickly(&text, Code::Syntax);
}
