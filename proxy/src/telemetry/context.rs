//! The trace a request belongs to: W3C `traceparent` and `tracestate`, and B3 where the caller speaks only that.
//!
//! [`Context::extract`] reads what the caller sent, [`Context::decide`] makes this hop's own span of it, and
//! [`Context::inject`] tells the next hop. What is kept a [`Sampler`] says: mostly what the caller decided, and only
//! of the traces that begin here a share. If both formats are there, W3C's counts. Malformed headers are as good as
//! none: a trace begins anew, the request is never refused. Nothing is allocated but the header's value.

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};

use crate::telemetry::sampler::Sampler;

/// W3C's header of the trace.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// W3C's header of vendors.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const B3: HeaderName = HeaderName::from_static("b3");
const B3_TRACE: HeaderName = HeaderName::from_static("x-b3-traceid");
const B3_SPAN: HeaderName = HeaderName::from_static("x-b3-spanid");
const B3_PARENT: HeaderName = HeaderName::from_static("x-b3-parentspanid");
const B3_SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");
const B3_FLAGS: HeaderName = HeaderName::from_static("x-b3-flags");

/// A span's place in its trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// The trace; never all zero.
    pub trace_id: [u8; 16],
    /// The span; never all zero.
    pub span_id: [u8; 8],
    /// Whether the trace is kept.
    pub sampled: bool,
    /// Whether whoever began the trace left that decision to others (only B3 can).
    pub deferred: bool,
    /// What vendors carry along; passed on as it is.
    pub state: Option<HeaderValue>,
}

impl Context {
    /// The caller's span.
    pub fn extract(headers: &HeaderMap) -> Option<Context> {
        if let Some(parent) = headers.get(TRACEPARENT)
            && let Some(context) = parse_traceparent(parent.as_bytes())
        {
            return Some(Context { state: tracestate(headers), ..context });
        }
        if let Some(single) = headers.get(B3) {
            return parse_b3(single.as_bytes());
        }
        let text = |name: HeaderName| headers.get(name).map(HeaderValue::as_bytes);
        let sampled = match (text(B3_FLAGS), text(B3_SAMPLED)) {
            (Some(b"1"), _) => Some(true),
            (_, sampled) => sampled.and_then(b3_decision),
        };
        b3(text(B3_TRACE)?, text(B3_SPAN)?, sampled)
    }

    /// This hop's own span: a child of `parent`, or the root of a new trace, kept as `sampler` says.
    pub fn decide(parent: Option<&Context>, sampler: Sampler, rng: &mut fastrand::Rng) -> Context {
        match parent {
            Some(parent) => parent.child(rng).settled(sampler),
            None => {
                let trace_id = rng.u128(1..).to_be_bytes();
                let span_id = rng.u64(1..).to_be_bytes();
                Context { trace_id, span_id, sampled: sampler.takes(trace_id), deferred: false, state: None }
            }
        }
    }

    /// The same place, kept as `sampler` says: by the caller's decision where there is one and the sampler follows it.
    #[must_use]
    pub fn settled(self, sampler: Sampler) -> Context {
        let decided = sampler.follows() && !self.deferred;
        let sampled = if decided { self.sampled } else { sampler.takes(self.trace_id) };
        Context { sampled, deferred: false, ..self }
    }

    /// A span below this one.
    #[must_use]
    pub fn child(&self, rng: &mut fastrand::Rng) -> Context {
        Context { span_id: rng.u64(1..).to_be_bytes(), ..self.clone() }
    }

    /// Tells the next hop that this span is its parent. Whatever the headers said before is replaced, B3 too where it
    /// is there: a reader of B3 alone would else hang its spans below the wrong one. `replace` says whether the headers
    /// said anything.
    pub fn inject(&self, headers: &mut HeaderMap, replace: bool) {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_hex(&mut text[3..35], &self.trace_id);
        write_hex(&mut text[36..52], &self.span_id);
        text[54] = if self.sampled { b'1' } else { b'0' };
        set(headers, TRACEPARENT, &text);
        if !replace {
            return;
        }
        match &self.state {
            Some(state) => drop(headers.insert(TRACESTATE, state.clone())),
            None => drop(headers.remove(TRACESTATE)),
        }
        if headers.contains_key(B3) {
            let mut single = *b"00000000000000000000000000000000-0000000000000000-0";
            single[..49].copy_from_slice(&text[3..52]);
            single[50] = text[54];
            set(headers, B3, &single);
        }
        if headers.contains_key(B3_TRACE) {
            set(headers, B3_TRACE, &text[3..35]);
            set(headers, B3_SPAN, &text[36..52]);
            set(headers, B3_SAMPLED, &text[54..55]);
            headers.remove(B3_PARENT);
        }
    }
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &[u8]) {
    if let Ok(value) = HeaderValue::from_bytes(value) {
        headers.insert(name, value);
    }
}

/// All of `tracestate`; several headers are one list.
fn tracestate(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut values = headers.get_all(TRACESTATE).iter().filter(|value| !value.is_empty());
    let first = values.next()?;
    let Some(second) = values.next() else { return Some(first.clone()) };
    let mut all = first.as_bytes().to_vec();
    for value in std::iter::once(second).chain(values) {
        all.push(b',');
        all.extend_from_slice(value.as_bytes());
    }
    HeaderValue::from_maybe_shared(bytes::Bytes::from(all)).ok()
}

/// `VERSION-TRACE-SPAN-FLAGS`. A later version may have more behind another dash; version 00 has not.
fn parse_traceparent(text: &[u8]) -> Option<Context> {
    let (head, rest) = text.split_at_checked(55)?;
    let [version] = read_hex::<1>(&head[..2])?;
    let [flags] = read_hex::<1>(&head[53..])?;
    let well_formed = head[2] == b'-' && head[35] == b'-' && head[52] == b'-';
    let known =
        version == 0 && rest.is_empty() || (1..0xff).contains(&version) && matches!(rest.first(), None | Some(b'-'));
    if !well_formed || !known {
        return None;
    }
    identified(read_hex(&head[3..35])?, read_hex(&head[36..52])?, flags & 1 == 1, false)
}

/// `TRACE-SPAN[-SAMPLED[-PARENT]]`. A lone decision names no trace, and is as good as nothing.
fn parse_b3(text: &[u8]) -> Option<Context> {
    let mut parts = text.split(|byte| *byte == b'-');
    let (trace, span) = (parts.next()?, parts.next()?);
    let sampled = match parts.next() {
        Some(part) => Some(b3_decision(part)?),
        None => None,
    };
    b3(trace, span, sampled)
}

fn b3_decision(text: &[u8]) -> Option<bool> {
    match text {
        b"1" | b"d" | b"true" => Some(true),
        b"0" | b"false" => Some(false),
        _ => None,
    }
}

fn b3(trace: &[u8], span: &[u8], sampled: Option<bool>) -> Option<Context> {
    let trace_id = match trace.len() {
        16 => u128::from(u64::from_be_bytes(read_hex(trace)?)).to_be_bytes(),
        _ => read_hex(trace)?,
    };
    identified(trace_id, read_hex(span)?, sampled == Some(true), sampled.is_none())
}

fn identified(trace_id: [u8; 16], span_id: [u8; 8], sampled: bool, deferred: bool) -> Option<Context> {
    let valid = trace_id != [0; 16] && span_id != [0; 8];
    valid.then_some(Context { trace_id, span_id, sampled, deferred, state: None })
}

/// Exactly `N` bytes of lower-case hexadecimal, as both formats demand.
fn read_hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    if text.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

fn write_hex(text: &mut [u8], bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};
    use outrigger_config::value::Percent;
    use proptest::prelude::*;

    use super::Context;
    use crate::telemetry::sampler::Sampler;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let field = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"))
        };
        let mut map = HeaderMap::new();
        for (name, value) in fields.iter().map(field) {
            map.append(name, value);
        }
        map
    }

    /// `sampled`, or `-` where no trace is read, or `?` where the decision is left to us.
    fn read(fields: &[(&'static str, &str)]) -> &'static str {
        match Context::extract(&headers(fields)) {
            None => "-",
            Some(context) => {
                let trace = u128::from_be_bytes(context.trace_id);
                assert!(format!("{trace:032x}") == TRACE || format!("{trace:016x}") == TRACE[16..]);
                assert_eq!(format!("{:016x}", u64::from_be_bytes(context.span_id)), SPAN);
                match (context.sampled, context.deferred) {
                    (_, true) => "?",
                    (true, _) => "1",
                    (false, _) => "0",
                }
            }
        }
    }

    #[test]
    fn traceparent_is_read_as_the_specification_says() {
        for (value, expected) in [
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "1"),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", "0"),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03", "1"),
            ("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "1"),
            ("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-comes", "1"),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more", "-"),
            ("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.more", "-"),
            ("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "-"),
            ("00-00000000000000000000000000000000-b7ad6b7169203331-01", "-"),
            ("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", "-"),
            ("00-0AF7651916CD43DD8448EB211C80319C-B7AD6B7169203331-01", "-"),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0", "-"),
            ("00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01", "-"),
            ("", "-"),
        ] {
            assert_eq!(read(&[("traceparent", value)]), expected, "{value}");
        }
    }

    #[test]
    fn b3_is_read_in_both_forms() {
        let (long, short) = (TRACE, &TRACE[16..]);
        for (decision, expected) in
            [("-1", "1"), ("-0", "0"), ("-d", "1"), ("", "?"), ("-1-05e3ac9a4f6e3b90", "1"), ("-x", "-")]
        {
            for trace in [long, short] {
                assert_eq!(read(&[("b3", &format!("{trace}-{SPAN}{decision}"))]), expected, "{trace}{decision}");
            }
        }
        assert_eq!(read(&[("b3", "0")]), "-");
        let ids = [("x-b3-traceid", short), ("x-b3-spanid", SPAN)];
        assert_eq!(read(&ids), "?");
        assert_eq!(read(&[ids[0]]), "-");
        for (name, value, expected) in [
            ("x-b3-sampled", "1", "1"),
            ("x-b3-sampled", "true", "1"),
            ("x-b3-sampled", "0", "0"),
            ("x-b3-flags", "1", "1"),
        ] {
            assert_eq!(read(&[ids[0], ids[1], (name, value)]), expected, "{name}: {value}");
        }
    }

    #[test]
    fn w3c_counts_before_b3_unless_it_is_malformed() {
        let b3 = ("b3", "000000000000000000000000000000aa-00000000000000bb-1");
        let context = Context::extract(&headers(&[("traceparent", &format!("00-{TRACE}-{SPAN}-00")), b3]));
        assert!(!context.expect("a context").sampled);
        let context = Context::extract(&headers(&[("traceparent", "00-nothing"), b3])).expect("a context");
        assert_eq!(context.span_id[7], 0xbb);
    }

    #[test]
    fn what_is_told_replaces_what_was_heard() {
        let heard = [
            ("traceparent", "malformed"),
            ("tracestate", "lost=with-its-parent"),
            ("b3", &*format!("{TRACE}-{SPAN}-1-00000000000000aa")),
            ("x-b3-traceid", TRACE),
            ("x-b3-parentspanid", SPAN),
        ];
        let mut map = headers(&heard);
        let parent = Context::extract(&map);
        let own = Context::decide(parent.as_ref(), Sampler::following(Percent::ZERO), &mut fastrand::Rng::with_seed(1));
        own.inject(&mut map, true);
        let told = Context::extract(&map).expect("a context");
        assert_eq!((told.trace_id, told.span_id, told.sampled), (own.trace_id, own.span_id, true));
        assert!(!map.contains_key("tracestate") && !map.contains_key("x-b3-parentspanid"));
        map.remove("traceparent");
        assert_eq!(Context::extract(&map).expect("a context").span_id, own.span_id);
        map.remove("b3");
        assert_eq!(Context::extract(&map).expect("a context").span_id, own.span_id);
    }

    #[test]
    fn what_vendors_carry_goes_along_as_one_list() {
        let parent = format!("00-{TRACE}-{SPAN}-01");
        for (fields, expected) in [
            (&["congo=t61rcWkgMzE,rojo=00f067"][..], Some("congo=t61rcWkgMzE,rojo=00f067")),
            (&["a=1", "", "b=2"], Some("a=1,b=2")),
            (&[""], None),
        ] {
            let mut all = vec![("traceparent", &*parent)];
            all.extend(fields.iter().map(|field| ("tracestate", *field)));
            let mut map = headers(&all);
            Context::extract(&map).expect("a context").inject(&mut map, true);
            let told: Vec<_> = map.get_all("tracestate").iter().collect();
            assert_eq!(told, expected.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_share_of_the_traces_that_begin_here_is_kept() {
        let rng = &mut fastrand::Rng::with_seed(7);
        for (percent, low, high) in [(0.0, 0, 0), (1.0, 60, 140), (50.0, 4_800, 5_200), (100.0, 10_000, 10_000)] {
            let sample = Sampler::following(Percent::try_new(percent).expect("a share"));
            let kept = (0..10_000).filter(|_| Context::decide(None, sample, rng).sampled).count();
            assert!((low..=high).contains(&kept), "{percent} %: {kept}");
        }
    }

    #[test]
    fn a_decision_stands_and_one_that_was_left_to_us_is_taken() {
        let rng = &mut fastrand::Rng::with_seed(7);
        let read = |value: &str| Context::extract(&headers(&[("b3", value)])).expect("a context");
        let (yes, no, open) = (format!("{TRACE}-{SPAN}-1"), format!("{TRACE}-{SPAN}-0"), format!("{TRACE}-{SPAN}"));
        assert!(Context::decide(Some(&read(&yes)), Sampler::following(Percent::ZERO), rng).sampled);
        assert!(!Context::decide(Some(&read(&no)), Sampler::following(Percent::HUNDRED), rng).sampled);
        assert!(Context::decide(Some(&read(&open)), Sampler::following(Percent::HUNDRED), rng).sampled);
        assert!(!Context::decide(Some(&read(&open)), Sampler::following(Percent::ZERO), rng).sampled);
    }

    #[test]
    fn a_sampler_that_follows_nobody_decides_anew() {
        let rng = &mut fastrand::Rng::with_seed(7);
        let named = |name: &'static str| Sampler::read(|_| Some(name.to_owned())).expect("known").expect("said");
        let caller = |decision: &str| {
            let parent = format!("00-{TRACE}-{SPAN}-{decision}");
            Context::extract(&headers(&[("traceparent", &parent), ("tracestate", "a=1")])).expect("a context")
        };
        for (name, yes, no) in
            [("always_on", true, true), ("always_off", false, false), ("parentbased_always_off", true, false)]
        {
            for (decision, expected) in [("01", yes), ("00", no)] {
                let own = Context::decide(Some(&caller(decision)), named(name), rng);
                assert_eq!((own.trace_id, own.sampled), (caller(decision).trace_id, expected), "{name} {decision}");
                assert_eq!(own.state, caller(decision).state, "{name} {decision}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(parent in "\\PC{0,80}", state in "\\PC{0,20}", b3 in "[0-9a-fd-]{0,90}") {
            let mut map = HeaderMap::new();
            let fields = [("traceparent", &parent), ("tracestate", &state), ("b3", &b3), ("x-b3-traceid", &b3)];
            for (name, value) in fields {
                if let Ok(value) = HeaderValue::from_str(value) {
                    map.insert(name, value);
                }
            }
            if let Some(context) = Context::extract(&map) {
                context.inject(&mut map, true);
                prop_assert_eq!(Context::extract(&map).map(|told| told.trace_id), Some(context.trace_id));
            }
        }

        #[test]
        fn what_is_told_reads_back(seed: u64, sampled: bool) {
            let rng = &mut fastrand::Rng::with_seed(seed);
            let sample = Sampler::following(if sampled { Percent::HUNDRED } else { Percent::ZERO });
            let context = Context::decide(None, sample, rng);
            let mut map = HeaderMap::new();
            context.inject(&mut map, true);
            prop_assert_eq!(Context::extract(&map), Some(context));
        }
    }
}
