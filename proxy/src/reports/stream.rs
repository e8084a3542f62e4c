//! One endpoint that is asked for its load: a stream of reports over a connection of its own, begun again whenever it
//! ends (`xds.service.orca.v3.OpenRcaService/StreamCoreMetrics`).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, StatusCode, Uri, header};
use http_body_util::BodyExt;
use prost::Message;

use crate::body::Body;
use crate::clock;
use crate::cluster::Traffic;
use crate::endpoint::Endpoint;
use crate::endpoint::orca::{LONGEST, Report, Void};
use crate::exchange::grpc_status;
use crate::grpc::framed;
use crate::pool::{Sent, connect};

/// The bounds of the wait before a stream is begun again: it grows from the first to the second, and starts anew once a
/// report has come.
const WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(120));
/// How much it grows.
const GROWTH: f64 = 1.6;
/// The wait where the endpoint has no such service: it may be another build next time it starts, and then is another
/// connection anyway.
const NO_SERVICE: Duration = Duration::from_secs(600);
/// How much longer than three periods a stream may be silent: servers have a least period of their own, 30 s as a rule.
const GRACE: Duration = Duration::from_secs(120);

/// The bounds of the pause after each part of a stream.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// `UNIMPLEMENTED`.
const UNIMPLEMENTED: u8 = 12;

/// `xds.service.orca.v3.OrcaLoadReportRequest`, as far as it is said here.
#[derive(Clone, PartialEq, Message)]
pub(super) struct OrcaLoadReportRequest {
    /// How often reports are wanted.
    #[prost(message, optional, tag = "1")]
    pub(super) report_interval: Option<Interval>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(super) struct Interval {
    /// Whole seconds.
    #[prost(int64, tag = "1")]
    pub(super) seconds: i64,
    /// And so many nanoseconds.
    #[prost(int32, tag = "2")]
    pub(super) nanos: i32,
}

/// How an endpoint is asked.
#[derive(Clone, Debug)]
pub(super) struct Asking {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) traffic: Arc<Traffic>,
    pub(super) host: Arc<str>,
    pub(super) period: Duration,
    pub(super) connect_timeout: Duration,
    pub(super) penalty_thousandths: u32,
}

impl PartialEq for Asking {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.endpoint, &other.endpoint)
            && Arc::ptr_eq(&self.traffic, &other.traffic)
            && self.host == other.host
            && (self.period, self.connect_timeout, self.penalty_thousandths)
                == (other.period, other.connect_timeout, other.penalty_thousandths)
    }
}

/// Why a stream ended.
#[derive(Debug, PartialEq, Eq)]
struct Ended {
    why: Box<str>,
    /// A report had come over it.
    reported: bool,
    no_service: bool,
}

impl Ended {
    fn new(why: impl fmt::Display) -> Self {
        Ended { why: why.to_string().into(), reported: false, no_service: false }
    }

    /// By a gRPC status.
    fn with_status(status: Option<u8>) -> Self {
        match status {
            Some(code) => Ended { no_service: code == UNIMPLEMENTED, ..Ended::new(format_args!("gRPC status {code}")) },
            None => Ended::new("no gRPC status"),
        }
    }
}

/// One stream under way, as it is counted.
struct Open<'a>(&'a Traffic);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.stream_ends();
    }
}

impl Asking {
    /// Asks, again and again, until it is aborted.
    pub(super) async fn run(self) {
        // Not all proxies at once, nor all endpoints of one.
        let mut rng = fastrand::Rng::new();
        tokio::time::sleep(self.period.min(WAITS.0).mul_f64(rng.f64())).await;
        let mut bound = WAITS.0;
        loop {
            let ended = self.stream().await;
            self.traffic.stream_failed();
            if ended.reported {
                bound = WAITS.0;
            }
            let wait = if ended.no_service { NO_SERVICE } else { bound };
            bound = bound.mul_f64(GROWTH).min(WAITS.1);
            let (destination, endpoint) = (&*self.host, self.endpoint.address);
            tracing::debug!(destination, %endpoint, why = &*ended.why, "A stream of load reports ended");
            tokio::time::sleep(wait.mul_f64(0.5 + rng.f64() / 2.0)).await;
        }
    }

    /// One stream, to its end.
    async fn stream(&self) -> Ended {
        let body = match self.begin().await {
            Ok(body) => body,
            Err(ended) => return ended,
        };
        self.traffic.stream_begins();
        let _open = Open(&self.traffic);
        let mut reported = false;
        let ended = self.read(body, &mut reported).await;
        Ended { reported, ..ended }
    }

    async fn begin(&self) -> Result<Body, Ended> {
        let interval = Interval {
            seconds: i64::try_from(self.period.as_secs()).unwrap_or(i64::MAX),
            nanos: i32::try_from(self.period.subsec_nanos()).unwrap_or_default(),
        };
        let message = OrcaLoadReportRequest { report_interval: Some(interval) }.encode_to_vec();
        let path = "/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics";
        let uri = Uri::builder().scheme("http").authority(&*self.host).path_and_query(path).build();
        let request = http::Request::post(uri.map_err(Ended::new)?)
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::TE, "trailers")
            .body(Body::full(framed(&message)))
            .map_err(Ended::new)?;
        let connection = connect::h2(self.endpoint.address, self.connect_timeout, ()).await.map_err(Ended::new)?;
        let sent = async { connection.open().send(Box::new(request), None).await };
        let answer = match tokio::time::timeout(self.patience(), sent).await {
            Ok(Sent::Response(answer)) => answer,
            Ok(Sent::Unsent(_, failure) | Sent::Failed(failure)) => return Err(Ended::new(failure)),
            Err(_) => return Err(Ended::new("no answer")),
        };
        let (head, body) = answer.into_parts();
        match (head.status, grpc_status(&head.headers)) {
            (StatusCode::OK, None) => Ok(body),
            (StatusCode::OK, status) => Err(Ended::with_status(status)),
            (StatusCode::NOT_FOUND, _) => Err(Ended { no_service: true, ..Ended::new("status 404") }),
            (status, _) => Err(Ended::new(format_args!("status {}", status.as_u16()))),
        }
    }

    async fn read(&self, mut body: Body, reported: &mut bool) -> Ended {
        let mut come = BytesMut::new();
        loop {
            let frame = match tokio::time::timeout(self.patience(), body.frame()).await {
                Err(_) => return Ended::new("silent for too long"),
                Ok(None) => return Ended::with_status(None),
                Ok(Some(Err(broken))) => return Ended::new(broken),
                Ok(Some(Ok(frame))) => frame,
            };
            let data = match frame.into_data() {
                Ok(data) => data,
                Err(frame) => {
                    let trailers: HeaderMap = frame.into_trailers().unwrap_or_default();
                    return Ended::with_status(grpc_status(&trailers));
                }
            };
            come.extend_from_slice(&data);
            let mut last = None;
            loop {
                match message(&mut come) {
                    Ok(Some(message)) => last = Some(message),
                    Ok(None) => break,
                    Err(Void) => {
                        self.traffic.report(true);
                        return Ended::new("no load report");
                    }
                }
            }
            // Of several that came together only the last is still true.
            if let Some(message) = last {
                *reported |= self.take(&message);
            }
            // What is not read is held back at its sender: whoever says more than it was asked takes nobody's time.
            tokio::time::sleep((self.period / 4).clamp(PAUSES.0, PAUSES.1)).await;
        }
    }

    /// Takes a report down; false for one that is void.
    fn take(&self, message: &[u8]) -> bool {
        let report = Report::read(message);
        self.traffic.report(report.is_err());
        let penalty = f64::from(self.penalty_thousandths) / 1000.0;
        if let Some(weight) = report.ok().and_then(|report| report.weight(penalty)) {
            self.endpoint.reported.report(weight, clock::now());
        }
        report.is_ok()
    }

    fn patience(&self) -> Duration {
        self.period.saturating_mul(3).saturating_add(GRACE)
    }
}

/// The first whole message of what has come, taken out of it. What is compressed, though nobody said it might be, or longer
/// than any report is none.
fn message(come: &mut BytesMut) -> Result<Option<Bytes>, Void> {
    let [flag, a, b, c, d, ..] = **come else { return Ok(None) };
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    if flag != 0 || length > LONGEST {
        return Err(Void);
    }
    if come.len() < 5 + length {
        return Ok(None);
    }
    come.advance(5);
    Ok(Some(come.split_to(length).freeze()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use bytes::{BufMut, BytesMut};
    use outrigger_config::cluster::LoadReports;
    use outrigger_config::endpoint::Endpoint as Model;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
    use prost::Message;
    use tokio::net::TcpListener;

    use super::{Asking, OrcaLoadReportRequest, framed, message};
    use crate::cluster::Traffic;
    use crate::endpoint::orca::Report;
    use crate::endpoint::{Endpoint, Latency};

    /// A server that says each of these once and then ends the stream with this status; and how it is asked.
    async fn asking(says: Vec<Vec<u8>>, status: &'static str) -> Asking {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move {
            let (tcp, _) = listener.accept().await.expect("a connection");
            let mut connection = h2::server::handshake(tcp).await.expect("a handshake");
            while let Some(Ok((request, mut reply))) = connection.accept().await {
                let path = "http://catalog.shop/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics";
                assert_eq!(request.uri(), path);
                let says = says.clone();
                tokio::spawn(async move {
                    let asked = request.into_body().data().await.expect("a message").expect("read");
                    let asked = OrcaLoadReportRequest::decode(&asked[5..]).expect("a request").report_interval;
                    assert_eq!(asked.expect("a period").nanos, 250_000_000);
                    let mut stream = reply.send_response(http::Response::new(()), false).expect("sent");
                    for said in says {
                        stream.send_data(said.into(), false).expect("sent");
                    }
                    let mut trailers = http::HeaderMap::new();
                    trailers.insert("grpc-status", http::HeaderValue::from_static(status));
                    stream.send_trailers(trailers).expect("sent");
                });
            }
        });
        let model = Model::at(address);
        Asking {
            endpoint: Arc::new(Endpoint::new(&model, 1, Latency::default(), Instant::now())),
            traffic: Arc::new(Traffic::default()),
            host: "catalog.shop".into(),
            period: Duration::from_millis(250),
            connect_timeout: Duration::from_secs(5),
            penalty_thousandths: 1000,
        }
    }

    fn report(rate: f64) -> Vec<u8> {
        let report = Report { cpu_utilization: 0.5, rps_fractional: rate, ..Report::default() };
        framed(&report.encode_to_vec()).to_vec()
    }

    #[tokio::test]
    async fn the_last_report_of_a_stream_counts() {
        // The second comes in two parts.
        let (one, two) = (report(100.0), report(300.0));
        let asking = asking(vec![one, two[..7].to_vec(), two[7..].to_vec()], "0").await;
        let ended = asking.stream().await;
        assert!(ended.reported && !ended.no_service, "{ended:?}");
        let rules = LoadReports { blackout: Duration::ZERO, ..LoadReports::default() };
        assert_eq!(asking.endpoint.reported.weight(&rules, Instant::now()), Some(600.0));
        assert_eq!((asking.traffic.reports(), asking.traffic.streams()), ((2, 0), 0));
    }

    #[tokio::test]
    async fn what_is_no_report_ends_the_stream_or_counts_for_nothing() {
        let long = [0, 0xff, 0, 0, 0].to_vec();
        let compressed = [1, 0, 0, 0, 0].to_vec();
        let endless = report(f64::INFINITY);
        for (says, why) in [(long, "no load report"), (compressed, "no load report"), (endless, "gRPC status 0")] {
            let asking = asking(vec![says], "0").await;
            let ended = asking.stream().await;
            assert_eq!((&*ended.why, ended.reported), (why, false));
            assert_eq!(asking.traffic.reports(), (0, 1));
        }
    }

    #[tokio::test]
    async fn an_endpoint_without_the_service_is_left_alone_for_long() {
        assert!(asking(vec![], "12").await.stream().await.no_service);
        assert!(!asking(vec![], "14").await.stream().await.no_service);
        let gone = asking(vec![], "0").await;
        gone.stream().await;
        assert!(!gone.stream().await.no_service, "nobody listens");
    }

    proptest! {
        #[test]
        fn messages_are_found_wherever_they_are_cut(messages in proptest::collection::vec(any::<Vec<u8>>(), 0..5), cut in 1_usize..20) {
            let whole: Vec<u8> = messages.iter().flat_map(|one| framed(one).to_vec()).collect();
            let (mut come, mut found) = (BytesMut::new(), Vec::new());
            for part in whole.chunks(cut) {
                come.put_slice(part);
                while let Ok(Some(one)) = message(&mut come) {
                    found.push(one.to_vec());
                }
            }
            prop_assert_eq!(found, messages);
            prop_assert!(come.is_empty());
        }
    }
}
