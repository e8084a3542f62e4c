//! A walk over the fields of a protobuf message without decoding it.
//!
//! The walk borrows from the message and allocates nothing, whatever the message holds. Groups, which OTLP does not
//! have, are refused.

use bytes::Bytes;

/// A message that is no protobuf message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body is not an OTLP message")]
pub struct Malformed;

/// What a field holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// A varint: a number, a truth or an enumeration.
    Varint(u64),
    /// Text, bytes, a message or packed numbers.
    Bytes(Bytes),
    /// Eight or four bytes, which the walk has no use for.
    Fixed,
}

/// The fields of a message, in the order of the wire.
#[derive(Debug)]
pub(super) struct Fields {
    message: Bytes,
    at: usize,
}

impl Fields {
    pub(super) fn of(message: &Bytes) -> Self {
        Fields { message: message.clone(), at: 0 }
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.message.get(self.at).ok_or(Malformed)?;
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    fn skip(&mut self, length: u64) -> Result<(usize, usize), Malformed> {
        let length = usize::try_from(length).map_err(|_| Malformed)?;
        let end = self.at.checked_add(length).filter(|end| *end <= self.message.len()).ok_or(Malformed)?;
        let start = std::mem::replace(&mut self.at, end);
        Ok((start, end))
    }

    fn field(&mut self) -> Result<(u32, Value), Malformed> {
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).ok().filter(|number| *number != 0).ok_or(Malformed)?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => self.skip(8).map(|_| Value::Fixed)?,
            2 => {
                let length = self.varint()?;
                let (start, end) = self.skip(length)?;
                Value::Bytes(self.message.slice(start..end))
            }
            5 => self.skip(4).map(|_| Value::Fixed)?,
            _ => return Err(Malformed),
        };
        Ok((number, value))
    }
}

impl Iterator for Fields {
    type Item = Result<(u32, Value), Malformed>;

    /// After the first error there is nothing more.
    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.message.len() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.at = self.message.len();
        }
        Some(field)
    }
}

/// Every message or text in the field with this number.
pub(super) fn all(message: &Bytes, number: u32) -> impl Iterator<Item = Result<Bytes, Malformed>> {
    Fields::of(message).filter_map(move |field| match field {
        Ok((found, Value::Bytes(bytes))) if found == number => Some(Ok(bytes)),
        Ok(_) => None,
        Err(malformed) => Some(Err(malformed)),
    })
}

/// The message or text in the field with this number; of several the last, as protobuf has it.
pub(super) fn one(message: &Bytes, number: u32) -> Result<Option<Bytes>, Malformed> {
    all(message, number).try_fold(None, |_, found| found.map(Some))
}

/// The number in the field with this number; 0 when it is absent.
pub(super) fn number(message: &Bytes, number: u32) -> Result<u64, Malformed> {
    Fields::of(message).try_fold(0, |last, field| match field? {
        (found, Value::Varint(value)) if found == number => Ok(value),
        _ => Ok(last),
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use opentelemetry_proto::tonic::metrics::v1::{Histogram, HistogramDataPoint, Metric, metric};
    use proptest::prelude::{any, prop_assert, proptest};
    use prost::Message;

    use super::{Fields, Malformed, all, number, one};

    #[test]
    fn fields_are_found_in_what_prost_writes() {
        let point = HistogramDataPoint { count: 3, ..HistogramDataPoint::default() };
        let histogram = Histogram { data_points: vec![point.clone(), point], aggregation_temporality: 1 };
        let metric = Metric { name: "m".into(), data: Some(metric::Data::Histogram(histogram)), ..Metric::default() };
        let message = Bytes::from(metric.encode_to_vec());
        assert_eq!(one(&message, 1), Ok(Some(Bytes::from_static(b"m"))));
        assert_eq!(one(&message, 7), Ok(None));
        let histogram = one(&message, 9).expect("well formed").expect("is there");
        assert_eq!(all(&histogram, 1).count(), 2);
        assert_eq!(number(&histogram, 2), Ok(1));
    }

    #[test]
    fn what_is_cut_short_is_malformed() {
        for bad in [&[0x0a, 5, 1][..], &[0x0a], &[0x80], &[0; 4], &[0x0b], &[0x08; 1], &[0xff; 11], &[0x09, 0, 0]] {
            let found: Vec<_> = Fields::of(&Bytes::copy_from_slice(bad)).collect();
            assert_eq!(found.last(), Some(&Err(Malformed)), "{bad:?}");
        }
        let huge_length = [0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(Fields::of(&Bytes::copy_from_slice(&huge_length)).next(), Some(Err(Malformed)));
    }

    proptest! {
        #[test]
        fn any_bytes_end_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let length = bytes.len();
            prop_assert!(Fields::of(&Bytes::from(bytes)).count() <= length);
        }
    }
}
