//! What is said to Redis, and how its answers are read.
//!
//! All that is kept of a target is one hash, so that it goes at once: what its routes keep, each in a field of its own
//! with the time at which it was put there by Redis's own clock (the field with a `t` after it), and the mark of the last
//! change of the target (`g`). A response is put there only if that mark is the one that stood there before it was asked
//! for: nothing that was asked for before a change is kept after it, whatever the clocks of the proxies say.

use std::time::Duration;

use bytes::Bytes;
use redis::{Cmd, Value};

use super::codec::MAX_ENTRY;
use super::seal::Name;

/// The longest that anything is kept.
pub const MAX_KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// How long the mark of a change stands, at least: longer than anything that was asked for before it is under way.
const MARKED: Duration = Duration::from_secs(60 * 60);

/// The most fields of a hash, two for each entry; beyond them it begins anew, but for the mark, which stands as long as
/// before.
const MAX_FIELDS: usize = 130;

/// Returns the mark, how long the entry is and, where it is not too long, the entry and for how many milliseconds it has
/// stood there.
const FIND: &str = "
local of = redis.call('HMGET', KEYS[1], 'g', ARGV[1] .. 't')
local length = redis.call('HSTRLEN', KEYS[1], ARGV[1])
if length == 0 or length > tonumber(ARGV[2]) then return {of[1], length} end
local time = redis.call('TIME')
local stood = time[1] * 1000 + math.floor(time[2] / 1000) - (tonumber(of[2] or '0') or 0)
return {of[1], length, redis.call('HGET', KEYS[1], ARGV[1]), math.max(stood, 0)}";

/// Puts entries there for so many milliseconds, if the mark is still the same, or whatever it is (`*`). Returns whether it
/// did.
const KEEP: &str = "
local mark = redis.call('HGET', KEYS[1], 'g') or ''
if ARGV[1] ~= '*' and mark ~= ARGV[1] then return 0 end
local left = redis.call('PTTL', KEYS[1])
if redis.call('HLEN', KEYS[1]) > tonumber(ARGV[3]) and redis.call('HEXISTS', KEYS[1], ARGV[#ARGV - 1]) == 0 then
  redis.call('DEL', KEYS[1])
  if mark ~= '' then redis.call('HSET', KEYS[1], 'g', mark) end
end
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
for at = 4, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1], ARGV[at] .. 't', now) end
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.max(left, tonumber(ARGV[2]))))
return 1";

/// Takes everything of a target away, and marks that.
const FORGET: &str = "
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'g', ARGV[1])
return redis.call('PEXPIRE', KEYS[1], ARGV[2])";

/// The mark of the last change of a target; none where none is known.
pub type Mark = Option<[u8; 8]>;

/// Which mark must stand there for a response to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// This one.
    Same(Mark),
    /// Any: for what nobody is served.
    Any,
}

impl Condition {
    fn bytes(&self) -> &[u8] {
        match self {
            Condition::Same(Some(mark)) => mark,
            Condition::Same(None) => b"",
            Condition::Any => b"*",
        }
    }
}

/// What is found in a place.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing(Mark),
    /// More than is ever put there.
    TooLong(Mark),
    /// These bytes, which have stood there for so long.
    Entry(Mark, Bytes, Duration),
}

fn script(text: &str, name: &Name) -> Cmd {
    let mut command = redis::cmd("EVAL");
    command.arg(text).arg(1).arg(name.key());
    command
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Asks for what stands in a place.
pub fn find(name: &Name, field: &[u8]) -> Cmd {
    let mut command = script(FIND, name);
    command.arg(field).arg(MAX_ENTRY);
    command
}

/// Puts entries in their places, the last of them the response, for `time`.
pub fn keep(name: &Name, condition: Condition, time: Duration, entries: &[(&[u8], Vec<u8>)]) -> Cmd {
    let mut command = script(KEEP, name);
    command.arg(condition.bytes()).arg(millis(time.min(MAX_KEPT)).max(1)).arg(MAX_FIELDS);
    for (field, entry) in entries {
        command.arg(*field).arg(entry.as_slice());
    }
    command
}

/// Takes away what stands in a place.
pub fn drop_one(name: &Name, field: &[u8]) -> Cmd {
    let mut command = redis::cmd("HDEL");
    command.arg(name.key()).arg(field).arg([field, b"t"].concat());
    command
}

/// Takes everything of a target away.
pub fn forget(name: &Name, mark: [u8; 8]) -> Cmd {
    let mut command = script(FORGET, name);
    command.arg(&mark[..]).arg(millis(MARKED));
    command
}

/// Reads the answer to [`find`].
pub fn read(answer: Value) -> Option<Found> {
    let Value::Array(parts) = answer else { return None };
    let mut parts = parts.into_iter();
    let mark = match parts.next()? {
        Value::Nil => None,
        Value::BulkString(mark) => Some(mark.try_into().ok()?),
        _ => return None,
    };
    let Value::Int(length) = parts.next()? else { return None };
    let found = match (length, parts.next(), parts.next()) {
        (0, None, None) => Found::Nothing(mark),
        (1.., None, None) => Found::TooLong(mark),
        (length, Some(Value::BulkString(entry)), Some(Value::Int(stood))) => {
            let whole = usize::try_from(length).is_ok_and(|length| length == entry.len());
            let stood = Duration::from_millis(u64::try_from(stood).ok()?);
            whole.then(|| Found::Entry(mark, Bytes::from(entry), stood))?
        }
        _ => return None,
    };
    parts.next().is_none().then_some(found)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use proptest::prelude::*;
    use redis::Value;

    use super::{Found, read};

    #[test]
    fn an_answer_says_what_was_asked_or_nothing() {
        let bulk = |bytes: &[u8]| Value::BulkString(bytes.to_vec());
        let mark = Some(*b"12345678");
        for (answer, found) in [
            (vec![Value::Nil, Value::Int(0)], Some(Found::Nothing(None))),
            (vec![bulk(b"12345678"), Value::Int(0)], Some(Found::Nothing(mark))),
            (vec![Value::Nil, Value::Int(1 << 30)], Some(Found::TooLong(None))),
            (
                vec![bulk(b"12345678"), Value::Int(1), bulk(b"a"), Value::Int(7)],
                Some(Found::Entry(mark, Bytes::from_static(b"a"), Duration::from_millis(7))),
            ),
            (vec![], None),
            (vec![Value::Nil], None),
            (vec![bulk(b"1"), Value::Int(0)], None),
            (vec![Value::Nil, Value::Int(-1)], None),
            (vec![Value::Nil, Value::Int(2), bulk(b"a"), Value::Int(7)], None),
            (vec![Value::Nil, Value::Int(1), bulk(b"a"), Value::Int(-7)], None),
            (vec![Value::Nil, Value::Int(1), bulk(b"a")], None),
            (vec![Value::Nil, Value::Int(0), Value::Nil, Value::Nil], None),
            (vec![Value::Nil, Value::Int(1), bulk(b"a"), Value::Int(7), Value::Nil], None),
        ] {
            assert_eq!(read(Value::Array(answer)), found);
        }
        assert_eq!(read(Value::Okay), None);
    }

    proptest! {
        #[test]
        fn any_answer_is_read(parts in prop::collection::vec(prop_oneof![
            Just(Value::Nil),
            any::<i64>().prop_map(Value::Int),
            prop::collection::vec(any::<u8>(), 0..12).prop_map(Value::BulkString),
        ], 0..6)) {
            let _ = read(Value::Array(parts));
        }
    }
}
