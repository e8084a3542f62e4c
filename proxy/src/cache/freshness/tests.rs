//! What is kept, and for how long.

use std::time::{Duration, Instant, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use outrigger_config::policy::cache::AlsoStore;
use outrigger_config::policy::{Cache as Policy, Origin};
use outrigger_config::value::Percent;
use proptest::prelude::*;

use super::{Asked, Freshness, Refusal, judge};

fn headers(fields: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
        headers.append(name, HeaderValue::from_str(value).expect("a value"));
    }
    headers
}

fn plain() -> Policy {
    Policy::with_defaults(Origin::default())
}

/// Judges the answer to a GET with the fields `request`.
fn judged(
    policy: &Policy,
    request: &[(&str, &str)],
    status: u16,
    response: &[(&str, &str)],
) -> Result<Freshness, Refusal> {
    let (now, wall) = (Instant::now(), SystemTime::now());
    let request = headers(request);
    let asked = Asked { method: &Method::GET, headers: &request, sent: now, keyed_by_cookies: false };
    judge(policy, &asked, StatusCode::from_u16(status).expect("a status"), &headers(response), (now, wall))
}

/// For how many seconds an answer of 200 is fresh from now on; the word why it is not kept, where it is not.
fn fresh(policy: &Policy, response: &[(&str, &str)]) -> Result<u64, Refusal> {
    let judged = judged(policy, &[], 200, response)?;
    // Half a second aside, which the test itself may take.
    Ok(judged.left(judged.received).map_or(0, |left| (left + Duration::from_millis(500)).as_secs()))
}

fn at(seconds: i64) -> String {
    let moved = Duration::from_secs(seconds.unsigned_abs());
    let now = SystemTime::now();
    httpdate::fmt_http_date(if seconds < 0 { now - moved } else { now + moved })
}

#[test]
fn responses_say_how_long_they_are_fresh() {
    let tag = ("etag", "\"a\"");
    for (line, expected) in [
        ("max-age=60", Ok(60)),
        ("max-age=60, s-maxage=5", Ok(5)),
        ("s-maxage=60, max-age=0", Ok(60)),
        ("MAX-AGE=60", Ok(60)),
        ("max-age=60, proxy-revalidate", Ok(60)),
        ("max-age=60, must-revalidate", Ok(60)),
        ("max-age=0", Ok(0)),
        ("max-age=-5", Ok(0)),
        ("a=\"max-age=60\"", Ok(0)),
        ("max-age=60, no-store", Err("no-store")),
        ("max-age=60, Private", Err("private")),
    ] {
        assert_eq!(fresh(&plain(), &[("cache-control", line), tag]), expected, "{line}");
    }
    assert!(judged(&plain(), &[], 200, &[("cache-control", "no-cache, max-age=60"), tag]).expect("kept").confirm);
}

#[test]
fn dates_and_ages_count() {
    let tag = ("etag", "\"a\"");
    let (past, now, later) = (at(-100), at(0), at(100));
    assert_eq!(fresh(&plain(), &[("expires", &later), ("date", &now), tag]), Ok(100));
    assert_eq!(fresh(&plain(), &[("expires", &past), ("date", &now), tag]), Ok(0));
    assert_eq!(fresh(&plain(), &[("expires", "0"), tag]), Ok(0));
    assert_eq!(fresh(&plain(), &[("expires", &later), ("expires", &later), ("date", &now), tag]), Ok(0));
    assert_eq!(fresh(&plain(), &[("cache-control", "max-age=60"), ("age", "20"), tag]), Ok(40));
    for wrong in ["-1", "x", "1, 2", "7.5", ""] {
        assert_eq!(fresh(&plain(), &[("cache-control", "max-age=60"), ("age", wrong), tag]), Ok(0), "{wrong:?}");
    }
    // A date that is long ago makes a response old, whoever forgot to say its age.
    assert_eq!(fresh(&plain(), &[("cache-control", "max-age=60"), ("date", &past), tag]), Ok(0));
    let forms = ["Sunday, 06-Nov-44 08:49:37 GMT", "Sun Nov  6 08:49:37 2044"];
    for form in forms {
        assert!(fresh(&plain(), &[("expires", form), tag]).is_ok_and(|left| left > 100_000_000), "{form}");
    }
}

#[test]
fn what_says_nothing_is_fresh_only_where_a_policy_says_so() {
    let changed = at(-1000);
    let says = [("last-modified", changed.as_str())];
    assert_eq!(fresh(&plain(), &says), Ok(0));
    assert_eq!(fresh(&plain(), &[]), Err("not-fresh"));
    let heuristic = Policy { heuristic: Percent::try_new(10.0).expect("a share"), ..plain() };
    assert_eq!(fresh(&heuristic, &says), Ok(100));
    assert!(judged(&heuristic, &[], 403, &says).is_err());
    let default = Policy { default_ttl: Some(Duration::from_secs(7)), ..plain() };
    assert_eq!(fresh(&default, &[]), Ok(7));
    assert_eq!(fresh(&default, &[("cache-control", "max-age=60")]), Ok(60));
    assert_eq!(fresh(&default, &[("cache-control", "no-cache"), ("etag", "\"a\"")]), Ok(0));
    let ttl = Policy { ttl: Some(Duration::from_secs(7)), ..plain() };
    for line in ["max-age=60", "max-age=0", "no-cache", "s-maxage=1"] {
        assert_eq!(fresh(&ttl, &[("cache-control", line), ("age", "1000")]), Ok(7), "{line}");
    }
    assert_eq!(fresh(&ttl, &[("cache-control", "no-store")]), Err("no-store"));
    assert_eq!(fresh(&ttl, &[("cache-control", "private")]), Err("private"));
}

#[test]
fn what_may_be_for_one_caller_is_not_kept_unless_told() {
    let told = |what: AlsoStore| Policy { also_store: [what].into(), ..plain() };
    let token: &[_] = &[("authorization", "Bearer x")];
    let cookie: &[_] = &[("cookie", "a=1")];
    let changed = at(-1000);
    for (request, response, what, word) in [
        (token, vec![("cache-control", "max-age=60")], AlsoStore::Authorized, "authorization"),
        (&[], vec![("cache-control", "max-age=60"), ("set-cookie", "a=1")], AlsoStore::SetCookie, "set-cookie"),
        (&[], vec![("cache-control", "max-age=60, private")], AlsoStore::Private, "private"),
        (cookie, vec![("last-modified", changed.as_str())], AlsoStore::Cookies, "cookies"),
    ] {
        assert_eq!(judged(&plain(), request, 200, &response).expect_err(word), word);
        assert!(judged(&told(what), request, 200, &response).is_ok(), "{word}");
    }
    for line in ["public, max-age=60", "s-maxage=60", "max-age=60, must-revalidate"] {
        assert!(judged(&plain(), token, 200, &[("cache-control", line)]).is_ok(), "{line}");
    }
    assert!(judged(&plain(), cookie, 200, &[("cache-control", "max-age=60")]).is_ok());
}

#[test]
fn statuses_are_kept_as_far_as_they_are_understood_or_say_so() {
    for (status, line, kept) in [
        (200, "max-age=60", true),
        (206, "max-age=60", false),
        (304, "max-age=60", false),
        (404, "max-age=60", true),
        (500, "max-age=60", true),
        (599, "max-age=60", true),
        (599, "max-age=60, must-understand", false),
        (302, "x", false),
        (302, "max-age=60", true),
    ] {
        let found = judged(&plain(), &[], status, &[("cache-control", line)]).is_ok();
        assert_eq!(found, kept, "{status} {line}");
    }
}

#[test]
fn stale_windows_are_the_response_s_own_before_the_policy_s() {
    let policy = Policy {
        stale_while_revalidate: Some(Duration::from_secs(5)),
        stale_if_error: Some(Duration::from_secs(50)),
        ..plain()
    };
    for (line, windows) in [
        ("max-age=1", (5, 50)),
        ("max-age=1, stale-while-revalidate=7, stale-if-error=0", (7, 0)),
        ("max-age=1, must-revalidate, stale-if-error=9", (0, 0)),
        ("max-age=1, proxy-revalidate", (0, 0)),
        ("s-maxage=1", (0, 0)),
        ("s-maxage=1, stale-while-revalidate=7", (7, 0)),
        ("no-cache, stale-if-error=9", (0, 0)),
    ] {
        let judged = judged(&policy, &[], 200, &[("cache-control", line), ("etag", "\"a\"")]).expect(line);
        assert_eq!((judged.while_revalidate.as_secs(), judged.if_error.as_secs()), windows, "{line}");
    }
}

proptest! {
    /// Whatever the fields say, what is private or not to be stored is not, and nothing is fresh for longer than it says.
    #[test]
    fn no_field_makes_more_of_a_response_than_it_says(
        lines in prop::collection::vec("(no-store|private|public|no-cache|max-age=[0-9]{0,3}|s-maxage=[0-9]{1,3}|[ -~]{0,12})(, (max-age=[0-9]{1,3}|x=\"[a-z,]{0,5}\"))?", 0..4),
        age in prop::option::of("[0-9]{1,3}|[ -~]{0,5}"),
        status in 200..600_u16,
    ) {
        let mut fields: Vec<(&str, &str)> = lines.iter().map(|line| ("cache-control", line.as_str())).collect();
        fields.extend(age.iter().map(|age| ("age", age.as_str())));
        fields.push(("etag", "\"a\""));
        if fields.iter().any(|(_, value)| HeaderValue::from_str(value).is_err()) {
            return Ok(());
        }
        let said = super::Directives::of(&headers(&fields));
        if let Ok(judged) = judged(&plain(), &[], status, &fields) {
            prop_assert!(!said.no_store && !said.private);
            let most = said.s_maxage.or(said.max_age).unwrap_or(0);
            prop_assert!(judged.lifetime <= Duration::from_secs(most), "{judged:?}");
        }
    }
}
