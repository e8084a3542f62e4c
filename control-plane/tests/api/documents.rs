//! Documents over the API.

use hyper::{Method, StatusCode};
use serde_json::json;

use super::plane::{Plane, SHOP};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_are_applied_listed_and_deleted() {
    let plane = Plane::start().await;
    let before = plane.get("/api/v1/status").await.json["generation"].as_u64().expect("a number");

    let dry = plane.ask(Method::POST, "/api/v1/apply?dryRun=true", &[("content-type", "application/yaml")], SHOP).await;
    assert_eq!((dry.status, &dry.json["generation"]), (StatusCode::OK, &json!(before)));
    assert_eq!(plane.get("/api/v1/documents").await.json, json!({ "documents": [] }));

    let applied = plane.apply(SHOP).await.json;
    assert_eq!(applied["generation"], before + 1);
    assert_eq!(
        applied["applied"][0],
        json!({"kind": "Service", "namespace": "shop", "name": "catalog", "result": "created"})
    );
    let again = plane.apply(SHOP).await.json;
    assert_eq!((&again["generation"], &again["applied"][2]["result"]), (&json!(before + 1), &json!("unchanged")));
    let changed = plane.apply(&SHOP.replace("9001", "9002")).await.json;
    assert_eq!(changed["applied"][1]["result"], "configured");

    let listed = plane.get("/api/v1/documents?kind=services&namespace=shop").await.json;
    assert_eq!(listed["documents"].as_array().map(Vec::len), Some(1));
    assert_eq!(plane.get("/api/v1/documents?namespace=other").await.json, json!({ "documents": [] }));
    let workload = plane.get("/api/v1/documents/Workload/shop/catalog-1").await.json;
    assert_eq!(workload["spec"]["ports"][0]["port"], 9002);

    let path = "/api/v1/documents/httproute/shop/catalog";
    let deleted = plane.ask(Method::DELETE, path, &[], "").await;
    assert_eq!(deleted.json["deleted"], json!({"kind": "HTTPRoute", "namespace": "shop", "name": "catalog"}));
    let gone = plane.ask(Method::DELETE, path, &[], "").await;
    assert_eq!(
        (gone.status, &gone.json["error"]),
        (StatusCode::NOT_FOUND, &json!("there is no HTTPRoute shop/catalog"))
    );
    plane.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_changes_nothing_and_says_all_that_is_wrong() {
    let plane = Plane::start().await;
    plane.apply(SHOP).await;
    let before = plane.get("/api/v1/documents").await.json;
    let bad = SHOP.replace("port: 9001", "port: 0").replace("selector:", "selektor:");
    let refused = plane.apply(&bad).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    let problems = refused.json["problems"].as_array().expect("problems");
    assert_eq!(problems.len(), 2, "{problems:#?}");
    assert_eq!(problems[0]["code"], "ORG003");
    assert_eq!((&problems[1]["path"], &problems[1]["value"]), (&json!("spec.ports[0].port"), &json!("0")));
    assert_eq!(problems[1]["location"]["line"], 13);
    assert_eq!(plane.get("/api/v1/documents").await.json, before);
    plane.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_bodies_are_refused_in_words() {
    let plane = Plane::start().await;
    let deep = "[".repeat(100_000);
    let deeper = format!("a: {}", "{a: ".repeat(100_000));
    let large = "# ".repeat(3 << 20);
    for (body, status) in [
        (deep.into_bytes(), StatusCode::UNPROCESSABLE_ENTITY),
        (deeper.into_bytes(), StatusCode::UNPROCESSABLE_ENTITY),
        (b"\xff\xfe".to_vec(), StatusCode::BAD_REQUEST),
        (large.into_bytes(), StatusCode::PAYLOAD_TOO_LARGE),
        (b"a: &x [*x, *x]".to_vec(), StatusCode::UNPROCESSABLE_ENTITY),
        (b"kind: Pod".to_vec(), StatusCode::UNPROCESSABLE_ENTITY),
    ] {
        let headers = [("content-type", "application/yaml")];
        let refused = plane.ask(Method::POST, "/api/v1/apply", &headers, body).await;
        assert_eq!(refused.status, status, "{}", refused.json);
        assert!(refused.json["error"].as_str().is_some_and(|error| !error.is_empty()));
    }
    plane.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_understood_is_refused_rather_than_ignored() {
    let plane = Plane::start().await;
    for (method, path, status) in [
        (Method::POST, "/api/v1/apply?dryrun=true", 400),
        (Method::POST, "/api/v1/apply?dryRun=maybe", 400),
        (Method::GET, "/api/v1/documents?kind=pod", 400),
        (Method::GET, "/api/v1/documents/service/shop/No_Name", 400),
        (Method::GET, "/api/v1/documents/service/shop", 404),
        (Method::GET, "/api/v1/traces?limit=0", 400),
        (Method::GET, "/api/v1/traces?limit=100000", 400),
        (Method::GET, "/api/v1/traces?status=700", 400),
        (Method::GET, "/api/v1/traces?minDuration=50", 400),
        (Method::GET, "/api/v1/traces/abc", 400),
        (Method::GET, "/api/v1/traces/0af7651916cd43dd8448eb211c80319c", 404),
        (Method::GET, "/api/v2/graph", 404),
        (Method::PUT, "/api/v1/graph", 405),
    ] {
        let headers = [("content-type", "application/yaml")];
        let refused = plane.ask(method.clone(), path, &headers, SHOP).await;
        assert_eq!(refused.status.as_u16(), status, "{method} {path}: {}", refused.json);
        assert!(refused.json["error"].is_string(), "{method} {path}");
    }
    assert_eq!(plane.get("/api/v1/documents").await.json, json!({ "documents": [] }));
    plane.running.stop().await;
}
