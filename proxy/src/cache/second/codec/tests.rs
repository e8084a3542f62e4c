use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

use super::super::super::freshness::Freshness;
use super::super::super::stored::{Selector, Stored};
use super::{Entry, Flaw, MAX_ENTRY, PREFIX, Place, index, read, response};
use crate::cache::second::seal::{Name, SEAL, Sealer};

const SCOPE: u64 = 7;

struct Where {
    sealer: Sealer,
    name: Name,
    now: Instant,
    wall: SystemTime,
}

fn here() -> Where {
    let sealer = Sealer::new(b"a secret");
    Where {
        name: sealer.name(b"key", b""),
        sealer,
        now: Instant::now(),
        wall: UNIX_EPOCH + Duration::from_secs(1 << 31),
    }
}

impl Where {
    fn place(&self) -> Place<'_> {
        let Where { sealer, name, now, wall } = self;
        Place { sealer, name, field: b"field", scope: SCOPE, now: *now, wall: *wall }
    }

    fn later(&self, time: Duration) -> Place<'_> {
        Place { now: self.now + time, wall: self.wall + time, ..self.place() }
    }
}

fn fields(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for (name, value) in pairs {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
        fields.append(name, HeaderValue::from_str(value).expect("a value"));
    }
    fields
}

fn stored(now: Instant, head: &HeaderMap, request: &HeaderMap, body: &[u8]) -> Stored {
    let freshness = Freshness {
        initial_age: Duration::from_secs(3),
        while_revalidate: Duration::from_secs(5),
        if_error: Duration::from_secs(9),
        strict: true,
        ..Freshness::plain(now)
    };
    let selector = Selector::new(SCOPE, request, head).expect("one that can be kept");
    let body = Some(Bytes::copy_from_slice(body));
    Stored::new(selector, freshness, (StatusCode::OK, head), body, now, "shown".into())
}

fn decoded(place: Place<'_>, bytes: &[u8], stood: Duration) -> Result<Entry, Flaw> {
    read(place, &Bytes::copy_from_slice(bytes), stood, &Arc::from("shown"))
}

fn taken(place: Place<'_>, bytes: &[u8], stood: Duration) -> Stored {
    match decoded(place, bytes, stood) {
        Ok(Entry::Response(stored)) => *stored,
        other => panic!("{other:?}"),
    }
}

fn example(at: &Where) -> Vec<u8> {
    let head = fields(&[("etag", "\"a\""), ("vary", "accept, x-tenant"), ("cache-status", "other; hit")]);
    response(at.place(), &stored(at.now, &head, &fields(&[("accept", "text/html")]), b"hello")).expect("short enough")
}

/// Seals what was changed again, as who knows the secret could.
fn resealed(at: &Where, mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.len() - SEAL);
    let seal = at.sealer.seal(&at.name, b"field", &bytes);
    bytes.extend_from_slice(seal.as_bytes());
    bytes
}

#[test]
fn every_broken_or_cut_entry_is_refused() {
    let at = here();
    let whole = example(&at);
    assert!(decoded(at.place(), &whole, Duration::ZERO).is_ok());
    for length in 0..whole.len() {
        assert!(decoded(at.place(), &whole[..length], Duration::ZERO).is_err(), "{length} bytes");
    }
    for index in 0..whole.len() {
        for bit in 0..8 {
            let mut broken = whole.clone();
            broken[index] ^= 1 << bit;
            assert!(decoded(at.place(), &broken, Duration::ZERO).is_err(), "bit {bit} of byte {index}");
        }
    }
    let longer = [&whole[..], b"x"].concat();
    assert_eq!(decoded(at.place(), &longer, Duration::ZERO).unwrap_err(), Flaw::Corrupt);
    assert_eq!(decoded(at.place(), &vec![0; MAX_ENTRY + 1], Duration::ZERO).unwrap_err(), Flaw::Oversize);
    let mut foreign = whole;
    foreign[3] += 1;
    assert_eq!(decoded(at.place(), &foreign, Duration::ZERO).unwrap_err(), Flaw::Foreign);
}

#[test]
fn an_entry_is_of_no_use_elsewhere() {
    let at = here();
    let whole = example(&at);
    let other = Where { name: at.sealer.name(b"other", b""), ..here() };
    let stranger = Where { sealer: Sealer::new(b""), name: at.name, now: at.now, wall: at.wall };
    for place in [
        other.place(),
        stranger.place(),
        Place { field: b"another", ..at.place() },
        Place { scope: SCOPE + 1, ..at.place() },
    ] {
        assert_eq!(decoded(place, &whole, Duration::ZERO).unwrap_err(), Flaw::Corrupt);
    }
}

#[test]
fn who_knows_the_secret_cannot_break_a_reader_either() {
    let at = here();
    let whole = example(&at);
    // Each length, count, status and field, made of other numbers: refused, or read as something that fits together.
    for index in PREFIX - 4..whole.len() - SEAL {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut changed = whole.clone();
            changed[index] = value;
            if let Ok(Entry::Response(stored)) = decoded(at.place(), &resealed(&at, changed), Duration::ZERO) {
                let length = stored.body.as_ref().map(Bytes::len).unwrap_or_default();
                let announced =
                    stored.headers.get("content-length").and_then(|value| value.to_str().ok()?.parse().ok());
                assert_eq!(announced, (stored.body.is_some()).then_some(length));
            }
        }
    }
}

#[test]
fn what_could_break_a_callers_connection_is_refused() {
    let at = here();
    let good = stored(at.now, &HeaderMap::new(), &HeaderMap::new(), b"hello");
    for (status, field, value) in [
        (100, "x", "y"),
        (101, "x", "y"),
        (204, "x", "y"),
        (206, "x", "y"),
        (304, "x", "y"),
        (700, "x", "y"),
        (200, "transfer-encoding", "chunked"),
        (200, "trailer", "x"),
        (200, "content-length", "6"),
        (200, "content-length", "5, 5"),
    ] {
        let mut wrong = good.clone();
        wrong.status = StatusCode::from_u16(status).expect("a status");
        wrong.headers.append(
            HeaderName::from_bytes(field.as_bytes()).expect("a name"),
            HeaderValue::from_str(value).expect("a value"),
        );
        let bytes = response(at.place(), &wrong).expect("short");
        assert_eq!(decoded(at.place(), &bytes, Duration::ZERO).unwrap_err(), Flaw::Corrupt, "{status} {field}");
    }
}

#[test]
fn what_varies_by_more_than_it_admits_is_refused() {
    let at = here();
    let head = fields(&[("vary", "accept, x-tenant")]);
    let plain = fields(&[("vary", "accept")]);
    let good = stored(at.now, &head, &HeaderMap::new(), b"hello");
    assert!(decoded(at.place(), &response(at.place(), &good).expect("short"), Duration::ZERO).is_ok());
    // Its head says two fields, and it is for everybody with the same `accept`.
    let selector = Selector::new(SCOPE, &HeaderMap::new(), &plain).expect("one that can be kept");
    let poisoned = Stored { selector, ..good };
    let bytes = response(at.place(), &poisoned).expect("short");
    assert_eq!(decoded(at.place(), &bytes, Duration::ZERO).unwrap_err(), Flaw::Corrupt);
}

#[test]
fn a_response_grows_old_by_the_clock_that_says_most_and_never_young() {
    let at = here();
    let whole = example(&at);
    let seconds = Duration::from_secs;
    for (place, stood, age) in [
        (at.place(), seconds(0), 3),
        (at.place(), seconds(10), 13),
        (at.later(seconds(20)), seconds(10), 23),
        // A reader whose date is behind.
        (Place { wall: at.wall - seconds(1000), ..at.place() }, seconds(10), 13),
        (Place { wall: at.wall - seconds(1000), ..at.place() }, seconds(0), 3),
    ] {
        let stored = taken(place, &whole, stood);
        assert_eq!(stored.freshness.age(place.now), seconds(age));
        assert!(stored.sent <= place.now);
    }
    let ancient = taken(at.place(), &whole, Duration::MAX);
    assert!(ancient.freshness.left(at.now).is_err());
}

#[test]
fn an_index_says_what_responses_vary_by() {
    let at = here();
    let names = [http::header::ACCEPT, HeaderName::from_static("x-tenant")];
    let bytes = index(at.place(), names.iter()).expect("short");
    assert!(matches!(decoded(at.place(), &bytes, Duration::ZERO), Ok(Entry::Index(read)) if read == names));
    let none = index(at.place(), std::iter::empty()).expect("short");
    assert_eq!(decoded(at.place(), &none, Duration::ZERO).unwrap_err(), Flaw::Corrupt);
}

#[test]
fn what_is_too_long_is_not_written() {
    let at = here();
    for (length, fits) in [(1 << 20, true), (MAX_ENTRY - 1, false), (MAX_ENTRY + 1, false)] {
        let stored = stored(at.now, &HeaderMap::new(), &HeaderMap::new(), &vec![1; length]);
        assert_eq!(response(at.place(), &stored).is_some(), fits, "{length}");
    }
}

proptest! {
    #[test]
    fn what_is_written_is_what_is_read(
        head in prop::collection::vec(("[a-z]{1,8}", "[ -~]{0,12}"), 0..6),
        tenant in prop::option::of("[a-z]{0,4}"),
        body in prop::collection::vec(any::<u8>(), 0..64),
        others in 0..3usize,
    ) {
        let at = here();
        let pairs: Vec<_> = head.iter().map(|(name, value)| (format!("x-{name}"), value.trim().to_owned())).collect();
        let mut pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        pairs.push(("vary", "x-tenant"));
        pairs.extend(std::iter::repeat_n(("cache-status", "other; hit"), others));
        let request: Vec<_> = tenant.iter().map(|tenant| ("x-tenant", tenant.as_str())).collect();
        let (head, request) = (fields(&pairs), fields(&request));
        let written = stored(at.now, &head, &request, &body);
        let bytes = response(at.place(), &written).expect("short enough");
        let read = taken(at.place(), &bytes, Duration::ZERO);
        prop_assert_eq!(&read.selector, &written.selector);
        prop_assert_eq!(&read.headers, &written.headers);
        prop_assert_eq!((read.status, &read.body, &read.freshness), (written.status, &written.body, &written.freshness));
        let answer = |stored: &Stored| {
            stored.response(at.now, HeaderValue::from_static("us"), false, false).headers().clone()
        };
        prop_assert_eq!(answer(&read), answer(&written));
        prop_assert!(read.selector.selects(SCOPE, &request));
    }

    #[test]
    fn any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..256), tail in prop::collection::vec(any::<u8>(), 0..96)) {
        let at = here();
        prop_assert!(decoded(at.place(), &bytes, Duration::ZERO).is_err());
        let begun = [b"ORC\x01", &tail[..]].concat();
        prop_assert!(decoded(at.place(), &begun, Duration::ZERO).is_err());
        // Even what is sealed.
        let sealed = resealed(&at, [&begun[..], &[0; SEAL]].concat());
        if let Ok(entry) = decoded(at.place(), &sealed, Duration::ZERO) {
            prop_assert!(matches!(entry, Entry::Index(_) | Entry::Response(_)));
        }
    }
}
