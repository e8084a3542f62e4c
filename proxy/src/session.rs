//! The cookie of a session: which endpoint it names and since when, written by us and brought back by callers.
//!
//! Its value is 32 hexadecimal digits: the endpoint's token, and the second in which the session began. Whatever else
//! comes back, cut, made up or of another proxy's making, is no session, and the request goes where the balancer says.
//! Nothing is trusted to it: a value that names another endpoint of the destination leads to where any caller may come,
//! and one that claims a later beginning only makes its own session last.

use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderValue, header};
use outrigger_config::policy::Session;

use crate::affinity;
use crate::clock;
use crate::cluster::session::Held;
use crate::cluster::{Ask, Cluster, Seat};
use crate::endpoint::Token;
use crate::exchange::Aim;

/// What a cookie says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    token: Token,
    /// Seconds since 1970.
    since: u32,
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

impl Ticket {
    /// For an endpoint, from now on.
    fn new(token: Token, now: SystemTime) -> Self {
        Ticket { token, since: seconds(now) }
    }

    fn bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..Token::LENGTH].copy_from_slice(&self.token.0);
        bytes[Token::LENGTH..].copy_from_slice(&self.since.to_be_bytes());
        bytes
    }

    fn parse(text: &str) -> Option<Self> {
        let digits: &[u8; 32] = text.as_bytes().try_into().ok()?;
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            // In range: a place among 16.
            let digit = |digit: u8| DIGITS.iter().position(|one| *one == digit).map(|place| place as u8);
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        let (token, since) = bytes.split_at(Token::LENGTH);
        Some(Ticket { token: Token(token.try_into().ok()?), since: u32::from_be_bytes(since.try_into().ok()?) })
    }

    /// What sessions of one endpoint are told apart by.
    fn seed(self) -> u64 {
        u64::from(self.since)
    }
}

fn seconds(now: SystemTime) -> u32 {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    u32::try_from(since).unwrap_or(u32::MAX)
}

/// What a request brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Brought {
    /// No cookie of this name.
    Nothing,
    /// One that is none of ours, or over.
    Void,
    /// A session.
    Ticket(Ticket),
}

/// The session that a request comes with.
pub fn find(policy: &Session, fields: &HeaderMap, now: SystemTime) -> Brought {
    let Some(value) = affinity::cookie(fields, &policy.name) else { return Brought::Nothing };
    let Some(ticket) = Ticket::parse(value) else { return Brought::Void };
    let age = u64::from(seconds(now).saturating_sub(ticket.since));
    match policy.lifetime {
        Some(lifetime) if age >= lifetime.as_secs() => Brought::Void,
        _ => Brought::Ticket(ticket),
    }
}

/// Whether a session that a request comes with is at one of this destination's endpoints that are asked for.
pub fn belongs(policy: &Session, fields: &HeaderMap, cluster: &Cluster, ask: Ask) -> bool {
    matches!(find(policy, fields, clock::wall()), Brought::Ticket(ticket) if cluster.names(ask, ticket.token))
}

/// A place for a request of a route with sessions, and whether a session begins there.
pub fn pick(
    aim: &Aim,
    policy: &Session,
    fields: &HeaderMap,
    hash: Option<u64>,
    avoid: &[std::net::SocketAddr],
    now: std::time::Instant,
) -> (Option<Seat>, bool) {
    let rng = &mut fastrand::Rng::new();
    let (seat, held) = match find(policy, fields, clock::wall()) {
        Brought::Nothing => (aim.cluster.pick_for(aim.ask, hash, avoid, now, rng), Held::Begun),
        Brought::Void => (aim.cluster.pick_for(aim.ask, hash, avoid, now, rng), Held::Renewed),
        Brought::Ticket(ticket) => {
            let session = (ticket.token, ticket.seed());
            aim.cluster.pick_for_session(aim.ask, session, hash, avoid, now, rng)
        }
    };
    if seat.is_some() {
        aim.cluster.traffic.session(held);
    }
    (seat, held.begins())
}

/// The cookie of a session that begins at an endpoint (`Set-Cookie`, RFC 6265).
pub fn cookie(policy: &Session, token: Token, now: SystemTime) -> Option<HeaderValue> {
    let mut text = String::with_capacity(96);
    text.push_str(&policy.name);
    text.push('=');
    for byte in Ticket::new(token, now).bytes() {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text.push_str("; Path=");
    text.push_str(&policy.path);
    if let Some(lifetime) = policy.lifetime.filter(|_| policy.permanent) {
        text.push_str("; Max-Age=");
        text.push_str(&lifetime.as_secs().to_string());
    }
    for (name, value) in &policy.attributes {
        text.push_str("; ");
        text.push_str(name);
        if !value.is_empty() {
            text.push('=');
            text.push_str(value);
        }
    }
    text.push_str("; HttpOnly");
    // It was checked that the parts make a value; a response without it only begins a session anew.
    HeaderValue::from_str(&text).ok()
}

/// Tells the caller where its session is from now on.
pub fn greet(policy: &Session, token: Token, fields: &mut HeaderMap) {
    if let Some(cookie) = cookie(policy, token, clock::wall()) {
        fields.append(header::SET_COOKIE, cookie);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use http::{HeaderMap, HeaderValue, header};
    use outrigger_config::policy::Session;
    use proptest::prelude::{ProptestConfig, any, prop_assert_eq, proptest};

    use super::{Brought, Ticket, cookie, find};
    use crate::endpoint::Token;

    const TOKEN: Token = Token([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0xfe]);

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn brings(policy: &Session, value: &str, now: SystemTime) -> Brought {
        let mut fields = HeaderMap::new();
        fields.insert(header::COOKIE, HeaderValue::from_str(&format!("a=1; shop={value}; b=2")).expect("a value"));
        find(policy, &fields, now)
    }

    #[test]
    fn a_cookie_says_all_that_the_policy_asks_for_and_no_address() {
        let policy = Session {
            path: "/cart".into(),
            lifetime: Some(Duration::from_secs(3600)),
            permanent: true,
            attributes: vec![("SameSite".into(), "Lax".into()), ("Secure".into(), "".into())],
            ..Session::named("shop")
        };
        let text = cookie(&policy, TOKEN, at(256)).expect("a cookie");
        assert_eq!(
            text,
            "shop=0102030405060708090a0bfe00000100; Path=/cart; Max-Age=3600; SameSite=Lax; Secure; HttpOnly"
        );
        let text = cookie(&Session::named("shop"), TOKEN, at(256)).expect("a cookie");
        assert_eq!(text, "shop=0102030405060708090a0bfe00000100; Path=/; HttpOnly");
    }

    #[test]
    fn a_session_is_over_after_its_lifetime_and_not_before() {
        let policy = Session { lifetime: Some(Duration::from_secs(60)), ..Session::named("shop") };
        let value = "0102030405060708090a0bfe00000100";
        let ticket = Brought::Ticket(Ticket { token: TOKEN, since: 256 });
        assert_eq!(brings(&policy, value, at(256 + 59)), ticket);
        assert_eq!(brings(&policy, value, at(256 + 60)), Brought::Void);
        assert_eq!(brings(&policy, value, at(0)), ticket, "a clock that is behind ends no session");
        assert_eq!(brings(&Session::named("shop"), value, at(1 << 31)), ticket);
        assert_eq!(brings(&Session::named("other"), value, at(256)), Brought::Nothing);
    }

    #[test]
    fn what_is_no_cookie_of_ours_is_no_session() {
        for value in ["", "0", "xx02030405060708090a0bfe00000100", "0102030405060708090A0BFE00000100", "10.0.0.1:80"] {
            assert_eq!(brings(&Session::named("shop"), value, at(256)), Brought::Void, "{value}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn what_was_written_is_read_back(token in any::<[u8; 12]>(), since in any::<u32>()) {
            let set = cookie(&Session::named("shop"), Token(token), at(since.into())).expect("a cookie");
            let value = set.to_str().expect("text")["shop=".len()..].split(';').next().expect("a value");
            prop_assert_eq!(Ticket::parse(value), Some(Ticket { token: Token(token), since }));
        }

        #[test]
        fn no_value_breaks_anything(value in "\\PC{0,64}") {
            let _ = Ticket::parse(&value);
        }
    }
}
