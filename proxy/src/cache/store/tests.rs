//! What is found again, and that it is bounded.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use proptest::prelude::*;

use super::{MAX_VARIANTS, Store};
use crate::cache::freshness::Freshness;
use crate::cache::stored::{Selector, Stored};

const NAMES: [&str; 3] = ["x-a", "x-b", "x-c"];

fn fields(values: &[(&str, &str)]) -> HeaderMap {
    let field = |(name, value): &(&str, &str)| {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
        (name, HeaderValue::from_str(value).expect("a value"))
    };
    values.iter().map(field).collect()
}

/// A response of `scope` to `request` that varies by `vary`.
fn response(scope: u64, request: &HeaderMap, vary: &str, body: &str, sent: Instant) -> Arc<Stored> {
    let headers = if vary.is_empty() { HeaderMap::new() } else { fields(&[("vary", vary)]) };
    let selector = Selector::new(scope, request, &headers).expect("it is for some requests");
    let body = Some(Bytes::copy_from_slice(body.as_bytes()));
    Arc::new(Stored::new(selector, Freshness::plain(sent), (StatusCode::OK, &headers), body, sent, "k".into()))
}

/// As who has asked the service does.
fn keep(store: &Store, key: &[u8], stored: &Arc<Stored>) {
    store.keep(key, stored, stored.sent);
}

fn found(store: &Store, scope: u64, request: &HeaderMap) -> Option<String> {
    let resource = store.get(b"k")?;
    let stored = resource.select(scope, request)?;
    Some(String::from_utf8_lossy(stored.body.as_ref()?).into_owned())
}

#[test]
fn a_response_is_found_by_its_route_alone() {
    let (store, now) = (Store::new(1 << 20), Instant::now());
    let none = HeaderMap::new();
    keep(&store, b"k", &response(1, &none, "", "one", now));
    keep(&store, b"k", &response(2, &none, "", "two", now));
    assert_eq!(found(&store, 1, &none).as_deref(), Some("one"));
    assert_eq!(found(&store, 2, &none).as_deref(), Some("two"));
    assert_eq!(found(&store, 3, &none), None);
    keep(&store, b"k", &response(1, &none, "", "newer", now));
    assert_eq!(found(&store, 1, &none).as_deref(), Some("newer"));
    assert_eq!(store.get(b"k").expect("kept").variants(), 2);
}

#[test]
fn what_was_asked_for_before_its_target_was_forgotten_is_not_kept() {
    let (store, now) = (Store::new(1 << 20), Instant::now());
    let none = HeaderMap::new();
    keep(&store, b"k", &response(1, &none, "", "old", now));
    store.forget(b"k", now + Duration::from_secs(1));
    assert_eq!(found(&store, 1, &none), None);
    keep(&store, b"k", &response(1, &none, "", "still old", now));
    assert_eq!(found(&store, 1, &none), None);
    keep(&store, b"k", &response(1, &none, "", "new", now + Duration::from_secs(2)));
    assert_eq!(found(&store, 1, &none).as_deref(), Some("new"));
}

#[test]
fn a_change_is_remembered_though_nothing_of_its_target_is() {
    let now = Instant::now();
    let (before, changed) = (now + Duration::from_secs(1), now + Duration::from_secs(2));
    let none = HeaderMap::new();
    let drive_out = |store: &Store| {
        for number in 0..2000_u32 {
            let key = number.to_le_bytes();
            (0..5).for_each(|_| drop(store.get(&key)));
            keep(store, &key, &response(1, &none, "", "b", changed));
        }
    };
    for forget_all in [&drive_out as &dyn Fn(&Store), &Store::empty] {
        let store = Store::new(100_000);
        store.forget(b"k", changed);
        forget_all(&store);
        (0..10).for_each(|_| drop(store.get(b"k")));
        keep(&store, b"k", &response(1, &none, "", "of before", before));
        assert_eq!(found(&store, 1, &none), None);
        keep(&store, b"k", &response(1, &none, "", "new", changed + Duration::from_secs(1)));
        assert_eq!(found(&store, 1, &none).as_deref(), Some("new"));
    }
}

#[test]
fn an_answer_that_was_asked_for_earlier_does_not_replace_a_later_one() {
    let (store, now) = (Store::new(1 << 20), Instant::now());
    let none = HeaderMap::new();
    keep(&store, b"k", &response(1, &none, "", "later", now + Duration::from_secs(1)));
    keep(&store, b"k", &response(1, &none, "", "earlier", now));
    assert_eq!(found(&store, 1, &none).as_deref(), Some("later"));
}

#[test]
fn ten_thousand_variants_are_no_more_than_a_few() {
    let (store, now) = (Store::new(1 << 20), Instant::now());
    for number in 0..10_000 {
        let request = fields(&[("x-a", &number.to_string())]);
        keep(&store, b"k", &response(1, &request, "x-a", &"b".repeat(100), now));
    }
    assert_eq!(store.get(b"k").expect("kept").variants(), MAX_VARIANTS);
    assert!(store.bytes() < 64 << 10, "{} bytes", store.bytes());
    // Large ones are bounded by what they take together.
    for number in 0..20 {
        let request = fields(&[("x-a", &number.to_string())]);
        keep(&store, b"k", &response(1, &request, "x-a", &"b".repeat(100_000), now));
    }
    assert!(store.bytes() <= 1 << 18, "{} bytes", store.bytes());
    assert_eq!(found(&store, 1, &fields(&[("x-a", "19")])).map(|body| body.len()), Some(100_000));
}

#[test]
fn a_poisoned_vary_is_for_nobody() {
    let many: Vec<String> = (0..100).map(|number| format!("x-{number}")).collect();
    for vary in ["*", "x-a, *", ", *", "x a", &many.join(",")] {
        assert!(Selector::new(1, &HeaderMap::new(), &fields(&[("vary", vary)])).is_err(), "{vary}");
    }
}

#[test]
fn no_more_is_kept_than_there_is_room_for() {
    let (store, now) = (Store::new(100_000), Instant::now());
    let none = HeaderMap::new();
    for number in 0..1000_u32 {
        keep(&store, &number.to_le_bytes(), &response(1, &none, "", &"b".repeat(5_000), now));
        assert!(store.bytes() <= 100_000, "{} bytes after {number}", store.bytes());
    }
    assert!(store.entries() < 20 && store.evictions() > 900);
    assert_eq!(store.longest(u32::MAX), 12_500);
    let nothing = Store::new(0);
    keep(&nothing, b"k", &response(1, &none, "", "b", now));
    assert_eq!((found(&nothing, 1, &none), nothing.bytes()), (None, 0));
}

#[test]
fn bodies_on_their_way_in_are_bounded_too() {
    let store = Store::new(100);
    let mut first = store.admit(60).expect("room");
    assert!(store.admit(60).is_none() && !first.grow(60, &store) && first.grow(40, &store));
    assert!(store.admit(1).is_none());
    drop(first);
    assert!(store.admit(100).is_some());
}

fn request() -> impl Strategy<Value = HeaderMap> {
    prop::collection::vec((0..NAMES.len(), "[ab,]{0,2}"), 0..5).prop_map(|values| {
        let mut headers = HeaderMap::new();
        for (name, value) in values {
            let value = HeaderValue::from_str(&value).expect("a value");
            headers.append(HeaderName::from_static(NAMES[name]), value);
        }
        headers
    })
}

fn joined(request: &HeaderMap, name: &str) -> Option<String> {
    let lines: Vec<_> = request.get_all(name).iter().map(|line| line.to_str().expect("text")).collect();
    (!lines.is_empty()).then(|| lines.join(", "))
}

proptest! {
    /// Whatever is kept in whatever order: a request is only ever given what was answered to one that has the same in
    /// every field that the answer varies by.
    #[test]
    fn a_response_is_never_for_another_vary_key(
        kept in prop::collection::vec((request(), prop::sample::subsequence(NAMES.to_vec(), 0..=3), 0..2_u64), 1..60),
        asked in prop::collection::vec((request(), 0..2_u64), 1..40),
    ) {
        let (store, now) = (Store::new(1 << 20), Instant::now());
        let mut origin = HashMap::new();
        for (number, (request, vary, scope)) in kept.into_iter().enumerate() {
            keep(&store, b"k", &response(scope, &request, &vary.join(", "), &number.to_string(), now));
            origin.insert(number.to_string(), (request, vary, scope));
        }
        for (request, scope) in asked {
            if let Some(body) = found(&store, scope, &request) {
                let (made_for, vary, of) = &origin[&body];
                prop_assert_eq!(*of, scope);
                for name in vary {
                    prop_assert_eq!(joined(&request, name), joined(made_for, name));
                }
            }
        }
    }
}

#[test]
fn a_target_that_was_forgotten_has_another_number() {
    let store = Store::new(1 << 20);
    let first = store.number(b"a");
    assert_eq!(store.number(b"a"), first);
    assert_ne!(store.number(b"b"), first);
    store.forget(b"a", Instant::now());
    let second = store.number(b"a");
    assert!(![0, first, store.number(b"b")].contains(&second), "{second}");
    assert_eq!(store.number(b"a"), second);
    // One that is driven out leaves nothing behind that could be found again.
    store.empty();
    assert!(store.number(b"a") > second);
}
