//! The two signals, and what both transports do with a message of one: take it in within bounds and answer.

use std::time::Instant;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsPartialSuccess, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse};
use prost::Message;

use super::receiver::Receiver;
use super::wire::Malformed;

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    Traces,
    Metrics,
}

impl Signal {
    /// Takes a message in and returns the answer, encoded. Nothing beyond the mandatory is said when all was taken.
    pub(super) fn take(self, message: &Bytes, receiver: &Receiver) -> Result<Bytes, Malformed> {
        let rejected = match self {
            Signal::Traces => receiver.traces(message)?,
            Signal::Metrics => receiver.metrics(message, Instant::now())?,
        };
        if rejected.count == 0 {
            return Ok(Bytes::new());
        }
        let count = i64::try_from(rejected.count).unwrap_or(i64::MAX);
        let encoded = match self {
            Signal::Traces => {
                let error_message = "spans were left out that are larger than 128 KiB or have no valid identity".into();
                let partial_success = Some(ExportTracePartialSuccess { rejected_spans: count, error_message });
                ExportTraceServiceResponse { partial_success }.encode_to_vec()
            }
            Signal::Metrics => {
                let error_message = "data points were left out that are not delta or have no usable buckets or \
                                     destination"
                    .into();
                let partial_success = Some(ExportMetricsPartialSuccess { rejected_data_points: count, error_message });
                ExportMetricsServiceResponse { partial_success }.encode_to_vec()
            }
        };
        Ok(encoded.into())
    }
}
