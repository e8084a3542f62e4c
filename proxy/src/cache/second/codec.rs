//! A kept response as bytes that another proxy reads: everything that it takes to serve it as the proxy would that kept
//! it, and how old it was.
//!
//! `"ORC"`, the version, the length of all that follows, the kind, the rest, and a seal over all of it and over where it
//! stands. What is read was written by anybody: the seal is checked first, every length is checked against what is there
//! before anything of that length is made, and what does not fit together is refused whole. Numbers are little-endian,
//! times are milliseconds.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{StatusCode, header};

use super::super::freshness::Freshness;
use super::super::stored::{MAX_VARY, Selector, Stored, Varied};
use super::seal::{Name, SEAL, Sealer, VERSION};

/// The longest entry, bytes: a body of a MiB and a head.
pub const MAX_ENTRY: usize = (1 << 20) + (64 << 10);

const MAGIC: [u8; 4] = [b'O', b'R', b'C', VERSION];
/// What stands before the length counts.
const PREFIX: usize = MAGIC.len() + size_of::<u32>();
const INDEX: u8 = 1;
const RESPONSE: u8 = 2;
/// A response whose coming alone was noted.
const NOTE: u8 = 3;
/// The most fields of a head.
const MAX_FIELDS: usize = 512;
/// An age beyond every lifetime; a longer one would only overflow.
const MOST: Duration = Duration::from_secs(1 << 32);

/// What stands in one place of the second level.
#[derive(Debug)]
pub enum Entry {
    /// What the responses of this place vary by: each stands in a place of its own.
    Index(Vec<HeaderName>),
    /// A response.
    Response(Box<Stored>),
}

/// Why an entry is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Another version wrote it, or somebody else.
    Foreign,
    /// It is not as it was written, or not where it was written, or never fitted together.
    Corrupt,
    /// It is longer than entries are.
    Oversize,
}

/// Where an entry stands, and when it is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// What makes seals.
    pub sealer: &'a Sealer,
    /// The target.
    pub name: &'a Name,
    /// The place.
    pub field: &'a [u8],
    /// The mark of its route.
    pub scope: u64,
    /// Now.
    pub now: Instant,
    /// The date.
    pub wall: SystemTime,
}

/// An index of what responses vary by.
pub fn index<'a>(place: Place<'_>, names: impl Iterator<Item = &'a HeaderName>) -> Option<Vec<u8>> {
    let mut out = begin(INDEX, place.scope);
    let names: Vec<_> = names.collect();
    out.push(u8::try_from(names.len()).ok()?);
    for name in names {
        put(&mut out, name.as_str().as_bytes())?;
    }
    finish(out, place)
}

/// A response; none where it is too long.
pub fn response(place: Place<'_>, stored: &Stored) -> Option<Vec<u8>> {
    let body = stored.body.as_deref();
    if body.is_some_and(|body| body.len() > MAX_ENTRY) {
        return None;
    }
    let mut out = begin(if body.is_some() { RESPONSE } else { NOTE }, place.scope);
    let freshness = &stored.freshness;
    let since = |then: Instant| place.now.saturating_duration_since(then);
    let wall = place.wall.duration_since(UNIX_EPOCH).ok()?;
    let times = [
        wall,
        since(stored.sent),
        freshness.initial_age + since(freshness.received),
        freshness.lifetime,
        freshness.while_revalidate,
        freshness.if_error,
    ];
    for time in times {
        out.extend(u64::try_from(time.as_millis()).ok()?.to_le_bytes());
    }
    out.push(u8::from(freshness.confirm) | u8::from(freshness.strict) << 1);
    out.extend(stored.status.as_u16().to_le_bytes());
    let vary = stored.selector.vary();
    out.push(u8::try_from(vary.len()).ok()?);
    for (name, had) in vary {
        put(&mut out, name.as_str().as_bytes())?;
        out.push(u8::from(had.is_some()));
        put(&mut out, had.as_deref().unwrap_or_default())?;
    }
    let fields = stored.fields().count();
    if fields > MAX_FIELDS {
        return None;
    }
    out.extend(u16::try_from(fields).ok()?.to_le_bytes());
    for (name, value) in stored.fields() {
        put(&mut out, name.as_str().as_bytes())?;
        put(&mut out, value.as_bytes())?;
    }
    put(&mut out, body.unwrap_or_default())?;
    finish(out, place)
}

fn begin(kind: u8, scope: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    out.extend(MAGIC);
    out.extend([0; size_of::<u32>()]);
    out.push(kind);
    out.extend(scope.to_le_bytes());
    out
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) -> Option<()> {
    out.extend(u32::try_from(bytes.len()).ok()?.to_le_bytes());
    out.extend_from_slice(bytes);
    Some(())
}

fn finish(mut out: Vec<u8>, place: Place<'_>) -> Option<Vec<u8>> {
    let length = u32::try_from(out.len() - PREFIX).ok()?;
    out.get_mut(MAGIC.len()..PREFIX)?.copy_from_slice(&length.to_le_bytes());
    let seal = place.sealer.seal(place.name, place.field, &out);
    out.extend_from_slice(seal.as_bytes());
    (out.len() <= MAX_ENTRY).then_some(out)
}

/// Reads what stands in a place since `stood`, as whoever keeps it counts. `shown` is the key for people.
pub fn read(place: Place<'_>, bytes: &Bytes, stood: Duration, shown: &Arc<str>) -> Result<Entry, Flaw> {
    if bytes.len() > MAX_ENTRY {
        return Err(Flaw::Oversize);
    }
    let sealed = bytes.len().checked_sub(SEAL).filter(|length| *length >= PREFIX).ok_or(Flaw::Corrupt)?;
    let mut reader = Reader(bytes.slice(..sealed));
    let magic: [u8; MAGIC.len()] = reader.array().ok_or(Flaw::Corrupt)?;
    if magic != MAGIC {
        return Err(Flaw::Foreign);
    }
    // Compared in the same time whatever differs.
    if place.sealer.seal(place.name, place.field, &bytes[..sealed])
        != blake3::Hash::from_slice(&bytes[sealed..]).map_err(|_| Flaw::Corrupt)?
    {
        return Err(Flaw::Corrupt);
    }
    reader.entry(place, stood, shown).ok_or(Flaw::Corrupt)
}

struct Reader(Bytes);

impl Reader {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, _) = self.0.split_first_chunk::<N>()?;
        let array = *array;
        drop(self.0.split_to(N));
        Some(array)
    }

    fn byte(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    fn time(&mut self) -> Option<Duration> {
        self.array().map(|bytes| Duration::from_millis(u64::from_le_bytes(bytes)))
    }

    /// Some bytes of a length that stands before them.
    fn bytes(&mut self) -> Option<Bytes> {
        let length = usize::try_from(u32::from_le_bytes(self.array()?)).ok()?;
        (length <= self.0.len()).then(|| self.0.split_to(length))
    }

    fn name(&mut self) -> Option<HeaderName> {
        HeaderName::from_bytes(&self.bytes()?).ok()
    }

    fn entry(&mut self, place: Place<'_>, stood: Duration, shown: &Arc<str>) -> Option<Entry> {
        let length = u32::from_le_bytes(self.array()?);
        if usize::try_from(length).ok()? != self.0.len() {
            return None;
        }
        let kind = self.byte()?;
        if u64::from_le_bytes(self.array()?) != place.scope {
            return None;
        }
        let entry = match kind {
            INDEX => {
                let count = usize::from(self.byte()?);
                let names: Option<Vec<_>> = (0..count.min(MAX_VARY + 1)).map(|_| self.name()).collect();
                Entry::Index(names.filter(|names| (1..=MAX_VARY).contains(&names.len()))?)
            }
            RESPONSE | NOTE => Entry::Response(Box::new(self.response(place, kind, stood, shown)?)),
            _ => return None,
        };
        self.0.is_empty().then_some(entry)
    }

    fn response(&mut self, place: Place<'_>, kind: u8, stood: Duration, shown: &Arc<str>) -> Option<Stored> {
        let (written, sent, aged) = (self.time()?, self.time()?, self.time()?);
        let (lifetime, while_revalidate, if_error) = (self.time()?, self.time()?, self.time()?);
        let flags = self.byte()?;
        let status = StatusCode::from_u16(u16::from_le_bytes(self.array()?)).ok()?;
        // Its keeper's clock and the writer's: whichever says that it is older, so that a clock that is behind makes
        // nothing young. Neither makes it younger than it was.
        let by_wall = place.wall.duration_since(UNIX_EPOCH).ok()?.saturating_sub(written);
        let stood = stood.max(by_wall).min(MOST);
        let freshness = Freshness {
            received: place.now,
            initial_age: aged.min(MOST) + stood,
            lifetime: lifetime.min(MOST),
            while_revalidate: while_revalidate.min(MOST),
            if_error: if_error.min(MOST),
            confirm: flags & 1 != 0,
            strict: flags & 2 != 0,
        };
        let varied = usize::from(self.byte()?);
        let vary: Option<Box<[Varied]>> = (0..varied.min(MAX_VARY)).map(|_| self.varied()).collect();
        let vary = vary.filter(|vary| vary.len() == varied)?;
        let fields = usize::from(u16::from_le_bytes(self.array()?));
        if fields > MAX_FIELDS {
            return None;
        }
        let mut headers = HeaderMap::new();
        for _ in 0..fields {
            let name = self.name()?;
            headers.try_append(name, HeaderValue::from_bytes(&self.bytes()?).ok()?).ok()?;
        }
        let body = self.bytes()?;
        if !can_be(status, &headers) || (kind == RESPONSE && !frames(status, &headers, &body)) {
            return None;
        }
        let selector = Selector::restored(place.scope, vary, &headers)?;
        let sent = place.now.checked_sub(sent.min(MOST) + stood)?;
        let body = (kind == RESPONSE).then_some(body);
        Some(Stored::new(selector, freshness, (status, &headers), body, sent, Arc::clone(shown)))
    }

    fn varied(&mut self) -> Option<Varied> {
        let (name, there) = (self.name()?, self.byte()?);
        let had = Box::from(&self.bytes()?[..]);
        Some((name, (there == 1).then_some(had)))
    }
}

/// Whether a response with this head is one that is ever kept.
fn can_be(status: StatusCode, headers: &HeaderMap) -> bool {
    let partial = matches!(status, StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED);
    let framing = [header::TRANSFER_ENCODING, header::TRAILER, header::CONNECTION, header::UPGRADE];
    status.as_u16() < 600
        && !status.is_informational()
        && !partial
        && !framing.iter().any(|name| headers.contains_key(name))
}

/// Whether a head says of the body what is there: else it would break its caller's connection.
fn frames(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> bool {
    let mut announced = headers.get_all(header::CONTENT_LENGTH).iter();
    let length = HeaderValue::from(body.len());
    let empty = matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT);
    announced.next().is_none_or(|said| *said == length) && announced.next().is_none() && (body.is_empty() || !empty)
}

#[cfg(test)]
mod tests;
