//! The signals, and what both transports do with a message of one: take it in within bounds and answer.

use std::time::Instant;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsPartialSuccess, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse};
use prost::Message;

use super::json::{self, Fault};
use super::receiver::{Receiver, Rejected};
use super::wire::Malformed;

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    Traces,
    Metrics,
    /// Of which only the records of our proxies are read, and only over gRPC.
    Logs,
}

impl Signal {
    /// Takes a message in and returns the answer, encoded. Nothing beyond the mandatory is said when all was taken.
    pub(super) fn take(self, message: &Bytes, receiver: &Receiver) -> Result<Bytes, Malformed> {
        let rejected = self.record(message, receiver)?;
        if rejected.count == 0 {
            return Ok(Bytes::new());
        }
        let count = i64::try_from(rejected.count).unwrap_or(i64::MAX);
        let error_message = self.left_out().to_owned();
        let encoded = match self {
            Signal::Traces => {
                let partial_success = Some(ExportTracePartialSuccess { rejected_spans: count, error_message });
                ExportTraceServiceResponse { partial_success }.encode_to_vec()
            }
            Signal::Metrics => {
                let partial_success = Some(ExportMetricsPartialSuccess { rejected_data_points: count, error_message });
                ExportMetricsServiceResponse { partial_success }.encode_to_vec()
            }
            Signal::Logs => {
                let partial_success = Some(ExportLogsPartialSuccess { rejected_log_records: count, error_message });
                ExportLogsServiceResponse { partial_success }.encode_to_vec()
            }
        };
        Ok(encoded.into())
    }

    /// The same with a message in JSON, answered in JSON.
    pub(super) fn take_json(self, text: &Bytes, receiver: &Receiver) -> Result<Bytes, Fault> {
        let message = match self {
            Signal::Traces => json::traces(text),
            Signal::Metrics => json::metrics(text),
            // There is no path for them.
            Signal::Logs => Err(Fault::Malformed),
        };
        let message = message.inspect_err(|_| receiver.count_malformed())?;
        let rejected = self.record(&message, receiver).map_err(|Malformed| Fault::Malformed)?;
        let (name, count) = match self {
            Signal::Traces => ("rejectedSpans", rejected.count),
            Signal::Metrics => ("rejectedDataPoints", rejected.count),
            Signal::Logs => ("rejectedLogRecords", rejected.count),
        };
        let answer = match count {
            0 => serde_json::json!({}),
            // Numbers of 64 bits are text in protobuf's JSON.
            _ => {
                serde_json::json!({ "partialSuccess": { name: count.to_string(), "errorMessage": self.left_out() } })
            }
        };
        Ok(answer.to_string().into())
    }

    fn record(self, message: &Bytes, receiver: &Receiver) -> Result<Rejected, Malformed> {
        match self {
            Signal::Traces => receiver.traces(message),
            Signal::Metrics => receiver.metrics(message, Instant::now()),
            Signal::Logs => receiver.logs(message),
        }
    }

    fn left_out(self) -> &'static str {
        match self {
            Signal::Traces => "spans were left out that are larger than 128 KiB or have no valid identity",
            Signal::Logs => "records were left out that are larger than 16 KiB or belong to no trace",
            Signal::Metrics => "data points were left out that are not delta or have no usable buckets or destination",
        }
    }
}
