//! Small words that spans and metrics share: what a policy in Observe would have done, and why another attempt was
//! made.

use std::fmt;
use std::ops::BitOrAssign;

use outrigger_config::policy::GrpcCodes;

use crate::reason::Reason;

/// What policies in Observe would have done to a request: a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Would(u16);

impl Would {
    /// A rate limit would have refused it.
    pub const RATE_LIMIT: Would = Would(1);
    /// A limit of the destination would have refused it.
    pub const BREAKER: Would = Would(2);
    /// It would have been tried again.
    pub const RETRY: Would = Would(4);
    /// Its endpoint would have been ejected.
    pub const EJECT: Would = Would(8);
    /// It would have met a fault.
    pub const FAULT: Would = Would(16);
    /// Another attempt would have been sent beside a slow one.
    pub const HEDGE: Would = Would(32);
    /// It would have been answered from the cache.
    pub const CACHE_HIT: Would = Would(64);
    /// The proxy, running short, would have shed it.
    pub const SHED: Would = Would(128);
    /// More requests were under way than the service bears.
    pub const ADAPTIVE_CONCURRENCY: Would = Would(256);
    /// It would have been given up, since its destination fails.
    pub const ADMISSION_CONTROL: Would = Would(512);
    /// Everything that may be.
    pub const ALL: [Would; 10] = [
        Would::RATE_LIMIT,
        Would::BREAKER,
        Would::RETRY,
        Would::EJECT,
        Would::FAULT,
        Would::HEDGE,
        Would::CACHE_HIT,
        Would::SHED,
        Would::ADAPTIVE_CONCURRENCY,
        Would::ADMISSION_CONTROL,
    ];

    /// The single ones of the set.
    pub fn iter(self) -> impl Iterator<Item = Would> {
        Would::ALL.into_iter().filter(move |what| self.0 & what.0 != 0)
    }

    /// Whether nothing is in the set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The word of a single one.
    pub fn word(self) -> &'static str {
        match self {
            Would::RATE_LIMIT => "rate_limit",
            Would::BREAKER => "breaker",
            Would::RETRY => "retry",
            Would::EJECT => "eject",
            Would::FAULT => "fault",
            Would::HEDGE => "hedge",
            Would::CACHE_HIT => "cache_hit",
            Would::SHED => "shed",
            Would::ADAPTIVE_CONCURRENCY => "adaptive_concurrency",
            Would::ADMISSION_CONTROL => "admission_control",
            _ => "",
        }
    }

    /// The place of a single one in [`Would::ALL`].
    pub(super) fn index(self) -> usize {
        self.0.trailing_zeros() as usize % Would::ALL.len()
    }
}

impl BitOrAssign for Would {
    fn bitor_assign(&mut self, other: Would) {
        self.0 |= other.0;
    }
}

/// Why another attempt was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryCause {
    /// The one before failed without an answer.
    Reason(Reason),
    /// Its answer had this HTTP status.
    Status(u16),
    /// Its answer had this gRPC status.
    Grpc(u8),
    /// It took long, and went on beside the new one.
    Hedge,
}

impl RetryCause {
    /// As a number that is not 0.
    pub(super) fn pack(self) -> u32 {
        match self {
            RetryCause::Reason(reason) => 1 << 16 | reason as u32,
            RetryCause::Status(status) => 2 << 16 | u32::from(status),
            RetryCause::Grpc(status) => 3 << 16 | u32::from(status),
            RetryCause::Hedge => 4 << 16,
        }
    }

    /// From such a number.
    pub(super) fn unpack(key: u32) -> Option<Self> {
        let [_, _, low, high] = key.to_be_bytes().map(u16::from);
        match key >> 16 {
            1 => Reason::ALL.get(usize::from(high)).map(|reason| RetryCause::Reason(*reason)),
            2 => Some(RetryCause::Status(low << 8 | high)),
            3 => Some(RetryCause::Grpc(high as u8)),
            4 => Some(RetryCause::Hedge),
            _ => None,
        }
    }
}

impl fmt::Display for RetryCause {
    /// `connection_refused`, `code_503`, `grpc_UNAVAILABLE`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RetryCause::Reason(reason) => f.write_str(reason.word()),
            RetryCause::Status(status) => write!(f, "code_{status}"),
            RetryCause::Grpc(status) => write!(f, "grpc_{}", grpc_name(*status)),
            RetryCause::Hedge => f.write_str("hedge"),
        }
    }
}

/// The name of a gRPC status, as people and `rpc.response.status_code` have it.
pub fn grpc_name(status: u8) -> &'static str {
    // Whatever is not in the list reads as UNKNOWN, as gRPC's own libraries have it.
    GrpcCodes::NAMES.get(usize::from(status)).copied().unwrap_or("UNKNOWN")
}

#[cfg(test)]
mod tests {
    use super::{RetryCause, Would};
    use crate::reason::Reason;

    #[test]
    fn causes_read_back_and_have_words() {
        for (cause, word) in [
            (RetryCause::Reason(Reason::DestinationNotFound), "destination_not_found"),
            (RetryCause::Reason(Reason::ConnectionRefused), "connection_refused"),
            (RetryCause::Reason(Reason::ProxyInternalError), "proxy_internal_error"),
            (RetryCause::Status(503), "code_503"),
            (RetryCause::Status(999), "code_999"),
            (RetryCause::Grpc(14), "grpc_UNAVAILABLE"),
            (RetryCause::Grpc(77), "grpc_UNKNOWN"),
            (RetryCause::Hedge, "hedge"),
        ] {
            assert_eq!(RetryCause::unpack(cause.pack()), Some(cause));
            assert_eq!(cause.to_string(), word);
        }
        assert_eq!(RetryCause::unpack(0), None);
    }

    #[test]
    fn a_set_lists_what_is_in_it() {
        let mut would = Would::default();
        assert!(would.is_empty());
        would |= Would::EJECT;
        would |= Would::RATE_LIMIT;
        let words: Vec<_> = would.iter().map(Would::word).collect();
        assert_eq!(words, ["rate_limit", "eject"]);
        for (index, what) in Would::ALL.into_iter().enumerate() {
            assert_eq!(what.index(), index);
        }
    }
}
