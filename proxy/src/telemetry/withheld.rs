//! Why an attempt that might have helped was not made, where the policy's own numbers do not say it.

/// Why an attempt was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Withheld {
    /// A layer above tries the request again.
    Carried,
    /// The request may not be repeated: its method, or an upgrade.
    Method,
    /// Its body was larger than the policy keeps.
    Body,
    /// Its body was not kept, because the process keeps as much as it may.
    Memory,
    /// It could not have ended in time.
    Time,
    /// The answer asked not to be asked again, or not so soon.
    Asked,
}

impl Withheld {
    /// Every cause, in declaration order.
    pub const ALL: [Withheld; 6] =
        [Withheld::Carried, Withheld::Method, Withheld::Body, Withheld::Memory, Withheld::Time, Withheld::Asked];

    /// The word in metrics and spans.
    pub const fn word(self) -> &'static str {
        match self {
            Withheld::Carried => "carried",
            Withheld::Method => "method",
            Withheld::Body => "body",
            Withheld::Memory => "memory",
            Withheld::Time => "time",
            Withheld::Asked => "asked",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Withheld;

    #[test]
    fn every_cause_is_listed_in_its_place() {
        for (index, cause) in Withheld::ALL.into_iter().enumerate() {
            assert_eq!(cause as usize, index);
        }
    }
}
