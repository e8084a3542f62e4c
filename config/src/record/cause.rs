//! Why a request's record is kept, and how much of the room for records each cause may have: however many requests are
//! slow, the records of those that failed stay.

use super::Record;

/// What makes a record worth keeping: the weightiest that there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Its request failed.
    Failed,
    /// It was tried again.
    Retried,
    /// It was slow.
    Slow,
    /// Somebody asked.
    Asked,
}

impl Cause {
    /// All of them, the weightiest first.
    pub const ALL: [Cause; 4] = [Cause::Failed, Cause::Retried, Cause::Slow, Cause::Asked];

    /// The weightiest of a record's.
    pub fn of(record: &Record) -> Cause {
        let says = |cause: &Cause| record.kept.iter().any(|word| word == cause.word());
        Cause::ALL.into_iter().find(says).unwrap_or(Cause::Asked)
    }

    /// What a record says.
    pub fn word(self) -> &'static str {
        match self {
            Cause::Failed => "failed",
            Cause::Retried => "retried",
            Cause::Slow => "slow",
            Cause::Asked => "asked",
        }
    }

    /// The cause of which the next record goes, given how much of the room each has, in the order of [`Cause::ALL`]: the
    /// one that has most beyond its share. What some leave free of theirs others may have.
    pub fn most_beyond(used: [usize; Cause::ALL.len()]) -> Cause {
        let beyond = |cause: &Cause| used[*cause as usize] * 8 / cause.share();
        // Of equals the last, which is the lightest.
        Cause::ALL.into_iter().max_by_key(beyond).unwrap_or(Cause::Asked)
    }

    /// Its share of the room, in eighths.
    fn share(self) -> usize {
        match self {
            Cause::Failed => 4,
            Cause::Retried => 2,
            Cause::Slow | Cause::Asked => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Cause, Record};

    #[test]
    fn the_weightiest_cause_of_a_record_counts() {
        let of = |words: &[&str]| {
            let kept = words.iter().map(|word| (*word).to_owned()).collect();
            Cause::of(&Record { kept, ..Record::default() })
        };
        assert_eq!([of(&["slow", "failed"]), of(&["slow", "retried"])], [Cause::Failed, Cause::Retried]);
        assert_eq!([of(&["asked"]), of(&[]), of(&["of a later version"])], [Cause::Asked; 3]);
    }

    #[test]
    fn whoever_has_most_beyond_its_share_gives_first() {
        for (used, cause) in [
            ([7, 0, 0, 0], Cause::Failed),
            ([4, 0, 2, 0], Cause::Slow),
            ([4, 2, 1, 1], Cause::Asked),
            ([4, 2, 0, 0], Cause::Retried),
            ([401, 0, 100, 0], Cause::Failed),
            ([400, 201, 100, 0], Cause::Retried),
            ([0, 0, 0, 1], Cause::Asked),
        ] {
            assert_eq!(Cause::most_beyond(used), cause, "{used:?}");
        }
    }
}
