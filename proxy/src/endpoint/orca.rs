//! What an endpoint says of its own load (ORCA: `xds.data.orca.v3.OrcaLoadReport`, gRFC A51), as it comes in a
//! response's header fields or trailers, or by itself where an endpoint is asked beside requests (`crate::reports`).
//!
//! `endpoint-load-metrics-bin` is the message in base64; `endpoint-load-metrics` the same as `TEXT cpu_utilization=0.3,
//! rps_fractional=10`, as `JSON {...}` or as `BIN ...`. An endpoint may say anything: what is no number, negative or
//! beyond all reason makes a report void as a whole, and no field is read that is longer than any report.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::HeaderMap;
use prost::Message;

/// The field with a binary report.
pub const BINARY: &str = "endpoint-load-metrics-bin";
/// The field with a report that says its own format.
pub const TEXT: &str = "endpoint-load-metrics";

/// The longest report that is read, in bytes as it came.
pub const LONGEST: usize = 4096;

/// No rate and no utilization is above it.
const MOST: f64 = 1e9;

/// gRPC writes base64 without padding, others with it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A report, as far as it counts here; zero is what was not said.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Report {
    /// How much of its CPU is in use: 1 is all of what it was given.
    #[prost(double, tag = "1")]
    pub cpu_utilization: f64,
    /// Requests a second, in whole numbers (deprecated).
    #[prost(uint64, tag = "3")]
    pub rps: u64,
    /// Requests a second.
    #[prost(double, tag = "6")]
    pub rps_fractional: f64,
    /// Errors a second.
    #[prost(double, tag = "7")]
    pub eps: f64,
    /// How much of it is in use, as it reckons itself; counts before the CPU.
    #[prost(double, tag = "9")]
    pub application_utilization: f64,
}

/// A field that is there and no report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Void;

impl Report {
    /// The report among these fields, if there is one.
    pub fn find(fields: &HeaderMap) -> Option<Result<Report, Void>> {
        let read = |name: &str, read: fn(&str) -> Option<Report>| {
            let value = fields.get(name)?;
            let text = value.to_str().ok().filter(|text| text.len() <= LONGEST);
            Some(text.and_then(read).filter(Report::is_sound).ok_or(Void))
        };
        read(BINARY, binary).or_else(|| read(TEXT, tagged))
    }

    /// A report as the message itself.
    pub fn read(message: &[u8]) -> Result<Report, Void> {
        Report::decode(message).ok().filter(Report::is_sound).ok_or(Void)
    }

    fn is_sound(&self) -> bool {
        let numbers = [self.cpu_utilization, self.rps_fractional, self.eps, self.application_utilization];
        // A NaN is in no range.
        numbers.iter().all(|number| (0.0..=MOST).contains(number)) && self.rps as f64 <= MOST
    }

    /// How much it can take beside its neighbours (gRFC A58): requests a second over utilization, where errors count as
    /// utilization too. `None` if the report says nothing of it.
    pub fn weight(&self, penalty: f64) -> Option<f64> {
        let rate = if self.rps_fractional > 0.0 { self.rps_fractional } else { self.rps as f64 };
        let own = self.application_utilization;
        let utilization = if own > 0.0 { own } else { self.cpu_utilization };
        let weight = rate / (utilization + self.eps / rate * penalty);
        (rate > 0.0 && utilization > 0.0 && weight.is_finite() && weight > 0.0).then_some(weight)
    }
}

fn binary(text: &str) -> Option<Report> {
    Report::decode(BASE64.decode(text).ok()?.as_slice()).ok()
}

fn tagged(text: &str) -> Option<Report> {
    let (format, rest) = text.trim().split_once(' ')?;
    match format {
        "TEXT" => rest.split(',').try_fold(Report::default(), |report, pair| {
            let (name, number) = pair.split_once('=')?;
            report.with(name.trim(), number.trim().parse().ok()?)
        }),
        "JSON" => {
            let fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(rest).ok()?;
            fields.iter().try_fold(Report::default(), |report, (name, value)| match value.as_f64() {
                Some(number) => report.with(name, number),
                // Maps of costs and metrics, which nobody here asks for.
                None => Some(report),
            })
        }
        "BIN" => binary(rest.trim()),
        _ => None,
    }
}

impl Report {
    /// What has another name counts for nothing.
    fn with(mut self, name: &str, number: f64) -> Option<Self> {
        match name {
            "cpu_utilization" | "cpuUtilization" => self.cpu_utilization = number,
            "application_utilization" | "applicationUtilization" => self.application_utilization = number,
            "rps_fractional" | "rpsFractional" | "rps" => self.rps_fractional = number,
            "eps" => self.eps = number,
            _ => {}
        }
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use http::{HeaderMap, HeaderName, HeaderValue};
    use proptest::prelude::{ProptestConfig, any, prop_assert, proptest};
    use prost::Message;

    use super::{BASE64, BINARY, Report, TEXT, Void};

    fn find(name: &str, value: &str) -> Option<Result<Report, Void>> {
        let mut fields = HeaderMap::new();
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
        fields.insert(name, HeaderValue::from_str(value).expect("a value"));
        Report::find(&fields)
    }

    #[test]
    fn every_form_of_a_report_is_read() {
        let report = Report { cpu_utilization: 0.5, rps_fractional: 100.0, eps: 1.5, ..Report::default() };
        let bytes = BASE64.encode(report.encode_to_vec());
        for (name, value) in [
            (BINARY, bytes.clone()),
            (BINARY, bytes.trim_end_matches('=').to_owned()),
            (TEXT, format!("BIN {bytes}")),
            (TEXT, "TEXT cpu_utilization=0.5, rps_fractional=100, eps=1.5, named_metrics.queue=7".into()),
            (
                TEXT,
                r#"JSON {"cpu_utilization": 0.5, "rps_fractional": 100, "eps": 1.5, "utilization": {"a": 1}}"#.into(),
            ),
        ] {
            assert_eq!(find(name, &value), Some(Ok(report)), "{value}");
        }
        assert_eq!(find("other", "TEXT eps=1"), None);
    }

    #[test]
    fn garbage_is_void() {
        let long = format!("TEXT {}eps=1", "a=1,".repeat(2000));
        for value in [
            "",
            "TEXT",
            "TEXT cpu_utilization",
            "TEXT cpu_utilization=NaN",
            "TEXT cpu_utilization=-0.1",
            "TEXT rps_fractional=inf",
            "TEXT rps_fractional=1e300",
            "JSON [1]",
            "JSON {\"eps\": -1}",
            "BIN ****",
            "XML <a/>",
            &long,
        ] {
            assert_eq!(find(TEXT, value), Some(Err(Void)), "{value}");
        }
        assert_eq!(find(BINARY, "CQ=="), Some(Err(Void)), "a cut message");
    }

    #[test]
    fn the_weight_is_that_of_the_published_formula() {
        // gRFC A58: weight = qps / (utilization + eps / qps * error_utilization_penalty).
        let report = Report { cpu_utilization: 0.5, rps_fractional: 100.0, eps: 10.0, ..Report::default() };
        let near = |seen: Option<f64>, expected: f64| assert!((seen.expect("a weight") - expected).abs() < 1e-9);
        near(report.weight(1.0), 100.0 / 0.6);
        near(report.weight(0.0), 200.0);
        near(Report { application_utilization: 0.25, ..report }.weight(0.0), 400.0);
        near(Report { rps_fractional: 0.0, rps: 50, eps: 0.0, ..report }.weight(1.0), 100.0);
        assert_eq!(Report { cpu_utilization: 0.0, ..report }.weight(1.0), None);
        assert_eq!(Report { rps_fractional: 0.0, ..report }.weight(1.0), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn no_bytes_break_anything_and_no_weight_is_out_of_reason(bytes in any::<Vec<u8>>(), text in "[ -~]{0,80}") {
            for (name, value) in [(BINARY, BASE64.encode(&bytes)), (TEXT, text.clone()), (TEXT, format!("TEXT {text}"))] {
                if let Some(Ok(report)) = find(name, &value)
                    && let Some(weight) = report.weight(1.0)
                {
                    prop_assert!(weight.is_finite() && weight > 0.0);
                }
            }
        }
    }
}
