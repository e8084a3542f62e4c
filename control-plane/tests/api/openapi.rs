//! The API and its description say the same: each described path answers, and each answer has its described shape.

use std::collections::BTreeSet;

use hyper::Method;
use serde_json::Value;

use super::otlp::{a_trace, an_edge, send_decision, send_metrics, send_trace};
use super::plane::{Plane, SHOP, a_proxy_that_refuses};

const YAML: &[(&str, &str)] = &[("content-type", "application/yaml")];
const JSON: &[(&str, &str)] = &[("content-type", "application/json")];
const PROTOBUF: &[(&str, &str)] = &[("content-type", "application/x-protobuf")];

/// What is asked: the method, the path as it is described and as it is asked, the headers and the body.
type Asked<'a> = (Method, &'a str, String, &'a [(&'a str, &'a str)], &'a str);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_has_the_shape_that_is_described() {
    let plane = Plane::start().await;
    let document = plane.get("/api/v1/openapi.json").await.json;
    send_trace(&plane, &a_trace()).await;
    send_metrics(&plane, &an_edge()).await;
    send_decision(&plane, &"0a".repeat(16)).await;
    plane.apply(SHOP).await;
    let _proxy = a_proxy_that_refuses(&plane).await;

    let trace = "0101010101010101010101010101010101010101010101010101010101010101";
    let trace = format!("/api/v1/traces/{}", &trace[..32]);
    let broken = SHOP.replace("80,", "0,");
    let requests: Vec<Asked<'_>> = vec![
        (Method::POST, "/api/v1/apply", "/api/v1/apply".into(), YAML, SHOP),
        (Method::POST, "/api/v1/apply", "/api/v1/apply?dryRun=true".into(), YAML, SHOP),
        (Method::POST, "/api/v1/apply", "/api/v1/apply".into(), YAML, &broken),
        (Method::POST, "/api/v1/apply", "/api/v1/apply".into(), &[], SHOP),
        (Method::GET, "/api/v1/documents", "/api/v1/documents".into(), &[], ""),
        (Method::GET, "/api/v1/documents", "/api/v1/documents?kind=pod".into(), &[], ""),
        (Method::GET, DOCUMENT, "/api/v1/documents/service/shop/catalog".into(), &[], ""),
        (Method::GET, DOCUMENT, "/api/v1/documents/service/shop/none".into(), &[], ""),
        (Method::DELETE, DOCUMENT, "/api/v1/documents/httproute/shop/catalog".into(), &[], ""),
        (Method::DELETE, DOCUMENT, "/api/v1/documents/httproute/shop/catalog".into(), &[], ""),
        (Method::GET, "/api/v1/proxies", "/api/v1/proxies".into(), &[], ""),
        (Method::GET, "/api/v1/proxies", "/api/v1/proxies".into(), &[("host", "evil.example")], ""),
        (Method::GET, "/api/v1/graph", "/api/v1/graph".into(), &[], ""),
        (Method::GET, "/api/v1/traces", "/api/v1/traces?status=error&limit=5".into(), &[], ""),
        (Method::GET, "/api/v1/traces", "/api/v1/traces?limit=0".into(), &[], ""),
        (Method::GET, "/api/v1/traces/{trace_id}", trace, &[], ""),
        (Method::GET, "/api/v1/traces/{trace_id}", "/api/v1/traces/x".into(), &[], ""),
        (Method::GET, "/api/v1/explain", "/api/v1/explain?service=storefront".into(), &[], ""),
        (Method::GET, "/api/v1/explain", "/api/v1/explain?limit=0".into(), &[], ""),
        (Method::GET, EXPLAIN, EXPLAIN.replace("{trace_id}", &"0a".repeat(16)), &[], ""),
        (Method::GET, EXPLAIN, EXPLAIN.replace("{trace_id}", &"0b".repeat(16)), &[], ""),
        (Method::GET, EXPLAIN, EXPLAIN.replace("{trace_id}", "x"), &[], ""),
        (Method::GET, "/api/v1/status", "/api/v1/status".into(), &[], ""),
        (Method::GET, "/api/v1/openapi.json", "/api/v1/openapi.json".into(), &[], ""),
        (Method::POST, "/v1/traces", "/v1/traces".into(), PROTOBUF, ""),
        (Method::POST, "/v1/metrics", "/v1/metrics".into(), PROTOBUF, ""),
        (
            Method::POST,
            "/v1/traces",
            "/v1/traces".into(),
            JSON,
            "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{}]}]}]}",
        ),
        (Method::POST, "/v1/metrics", "/v1/metrics".into(), JSON, "{}"),
        (Method::GET, "/metrics", "/metrics".into(), &[], ""),
        (Method::GET, "/livez", "/livez".into(), &[], ""),
        (Method::GET, "/readyz", "/readyz".into(), &[], ""),
    ];

    let mut asked = BTreeSet::new();
    for (method, template, path, headers, body) in requests {
        let answer = plane.ask(method.clone(), &path, headers, body.to_owned()).await;
        let verb = method.as_str().to_lowercase();
        let operation = &document["paths"][template][&verb];
        let response = &operation["responses"][answer.status.as_str()];
        assert!(response.is_object(), "{method} {path} answered {}, which is not described", answer.status);
        let content = response["content"].get(&answer.kind);
        if answer.kind == "application/json"
            && let Some(schema) = content.map(|content| &content["schema"])
        {
            let mut wrong = Vec::new();
            check(&answer.json, schema, &document, "$", &mut wrong);
            assert!(wrong.is_empty(), "{method} {path}: {wrong:#?}\n{:#}", answer.json);
        }
        asked.insert(format!("{verb} {template}"));
    }
    assert_eq!(asked, described(&document), "each described operation is asked above, and no other");
    plane.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lists_are_not_empty_when_their_shapes_are_checked() {
    let plane = Plane::start().await;
    plane.apply(SHOP).await;
    let _proxy = a_proxy_that_refuses(&plane).await;
    assert!(plane.get("/api/v1/proxies").await.json["proxies"][0]["types"]["CDS"]["nack"].is_object());
    send_trace(&plane, &a_trace()).await;
    send_metrics(&plane, &an_edge()).await;
    assert_eq!(plane.get("/api/v1/graph").await.json["edges"].as_array().map(Vec::len), Some(1));
    assert_eq!(plane.get("/api/v1/traces?status=error").await.json["traces"].as_array().map(Vec::len), Some(1));
    plane.running.stop().await;
}

const EXPLAIN: &str = "/api/v1/explain/{trace_id}";
const DOCUMENT: &str = "/api/v1/documents/{kind}/{namespace}/{name}";

fn described(document: &Value) -> BTreeSet<String> {
    let paths = document["paths"].as_object().expect("paths");
    let operations = paths.iter().flat_map(|(path, item)| {
        item.as_object().expect("a path").keys().map(move |method| format!("{method} {path}"))
    });
    operations.collect()
}

/// As much of JSON Schema as the description uses; a word it does not know is an error.
fn check(value: &Value, schema: &Value, document: &Value, at: &str, wrong: &mut Vec<String>) {
    for (word, rule) in schema.as_object().expect("a schema") {
        let holds = match word.as_str() {
            "$ref" => {
                let pointer = rule.as_str().and_then(|text| text.strip_prefix('#')).expect("a reference inside");
                let target = document.pointer(pointer).unwrap_or_else(|| panic!("{pointer} is not there"));
                check(value, target, document, at, wrong);
                true
            }
            "type" => match rule {
                Value::Array(types) => types.iter().any(|one| is(value, one)),
                one => is(value, one),
            },
            "enum" => rule.as_array().expect("a list").contains(value),
            "minimum" => value.as_f64().is_none_or(|number| number >= rule.as_f64().expect("a number")),
            "maximum" => value.as_f64().is_none_or(|number| number <= rule.as_f64().expect("a number")),
            "required" => {
                let names = rule.as_array().expect("a list").iter().filter_map(Value::as_str);
                names.into_iter().all(|name| value.get(name).is_some())
            }
            "properties" => {
                for (name, schema) in rule.as_object().expect("properties") {
                    if let Some(value) = value.get(name) {
                        check(value, schema, document, &format!("{at}.{name}"), wrong);
                    }
                }
                true
            }
            "additionalProperties" => {
                let named = |name: &String| schema["properties"].get(name).is_some();
                let others = value.as_object().into_iter().flatten().filter(|(name, _)| !named(name));
                match rule {
                    Value::Bool(allowed) => *allowed || others.count() == 0,
                    rule => {
                        others.for_each(|(name, value)| check(value, rule, document, &format!("{at}.{name}"), wrong));
                        true
                    }
                }
            }
            "items" => {
                for (index, value) in value.as_array().into_iter().flatten().enumerate() {
                    check(value, rule, document, &format!("{at}[{index}]"), wrong);
                }
                true
            }
            "oneOf" => {
                let fits = |schema: &&Value| {
                    let mut wrong = Vec::new();
                    check(value, schema, document, at, &mut wrong);
                    wrong.is_empty()
                };
                rule.as_array().expect("a list").iter().filter(fits).count() == 1
            }
            "description" | "default" | "format" | "pattern" => true,
            unknown => panic!("the checker does not know {unknown:?}"),
        };
        if !holds {
            wrong.push(format!("{at} breaks {word}: {rule}"));
        }
    }
}

fn is(value: &Value, kind: &Value) -> bool {
    match kind.as_str().expect("a type") {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        unknown => panic!("no type {unknown:?}"),
    }
}
