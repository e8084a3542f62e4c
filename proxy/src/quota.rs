//! The client of the control plane's divided limits (`envoy.service.rate_limit_quota.v3`): one stream of the process, on the
//! side thread, that reports what requests of each such rule came and takes the shares. No request waits for it; without
//! it shares become by themselves what was agreed ([`outrigger_config::policy::lease`]).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use http::uri::PathAndQuery;
use outrigger_config::policy::lease::{PATIENCE, Share};
use outrigger_config::xds::rlqs::{BucketId, Held, MAX_MESSAGE, MAX_USAGES, PATH, Reports, Response, Usage, Word};
use outrigger_config::xds::rls::DOMAIN;
use outrigger_config::xds::transport;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::client::Grpc;
use tonic::codec::Streaming;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use crate::snapshot::Snapshots;

/// How often there may be something to report, and how often a report is made even if nothing came.
const TICK: Duration = Duration::from_millis(250);
const QUIET: Duration = Duration::from_secs(2);
/// Reports that may wait to be sent; a control plane that reads none of so many is as good as gone.
const WAITING: usize = 16;
/// More than any limit can be, requests a second: a word that says more means this.
const MOST: f64 = 1e15;
/// How long a proxy that stops waits for its end to be read.
const FAREWELL: Duration = Duration::from_millis(200);
/// From a stream that is lost to the next.
const AGAIN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// What is reported and taken, for the rules of whichever snapshot serves.
#[derive(Debug)]
pub struct Quotas {
    snapshots: Snapshots,
    channel: Channel,
    /// Who reports: this process. By its workload's name alone two processes that live at once, as when one takes the
    /// other's place, would each have the whole of one share; one that ends gives its share back.
    member: String,
}

/// What was said of a rule on one stream.
#[derive(Debug)]
struct Said {
    /// The last word that was heard.
    serial: u64,
    /// When what came was last reported.
    at: Option<Instant>,
    /// Whether that was nothing.
    idle: bool,
}

/// The name of a rule: its policy's and its own.
type Rule = (String, String);

impl Quotas {
    /// For the rules of `snapshots`, as a process of `workload`.
    pub fn new(snapshots: Snapshots, channel: Channel, workload: &str) -> Self {
        Quotas { snapshots, channel, member: member(workload, &mut fastrand::Rng::new()) }
    }

    /// Keeps a stream for as long as there are rules that need one, until `stop`; then it gives back what is held and ends
    /// it.
    pub async fn run(self, stop: CancellationToken) {
        let mut wait = AGAIN.0;
        loop {
            tokio::select! {
                () = tokio::time::sleep(wait.mul_f64(0.5 + fastrand::f64())) => {}
                () = stop.cancelled() => return,
            }
            if self.snapshots.load().leased().next().is_none() {
                continue;
            }
            let begun = Instant::now();
            let end = self.stream(&stop).await;
            if stop.is_cancelled() {
                return;
            }
            tracing::info!(status = %end.message(), "The stream of shares of rate limits ended");
            let lived = begun.elapsed() > AGAIN.1;
            wait = if lived { AGAIN.0 } else { (2 * wait).min(AGAIN.1) };
        }
    }

    async fn stream(&self, stop: &CancellationToken) -> Status {
        let (reports, receiver) = mpsc::channel(WAITING);
        let mut said = HashMap::new();
        let mut first = self.usages(&mut said);
        // What does not go into one report goes into the next.
        let rest = first.split_off(first.len().min(MAX_USAGES));
        let first = Reports { domain: DOMAIN.into(), member: self.member.clone(), usages: first };
        if reports.try_send(first).is_err() || !send(&reports, &rest) {
            return Status::internal("no room for the first report");
        }
        let opened = tokio::select! {
            opened = tokio::time::timeout(PATIENCE, open(self.channel.clone(), receiver)) => opened,
            () = stop.cancelled() => return Status::cancelled("the proxy stops"),
        };
        let mut answers = match opened {
            Ok(Ok(answers)) => answers,
            Ok(Err(status)) => return status,
            Err(_) => return Status::deadline_exceeded("no stream in time"),
        };
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        loop {
            let usages = tokio::select! {
                _ = tick.tick() => self.usages(&mut said),
                () = stop.cancelled() => {
                    // Without room for it the control plane counts with what is held until that has run out.
                    send(&reports, &said.keys().map(ended).collect::<Vec<_>>());
                    drop(reports);
                    // Until the other side has read the end.
                    let _ = tokio::time::timeout(FAREWELL, answers.message()).await;
                    return Status::cancelled("the proxy stops");
                }
                answer = answers.message() => match answer {
                    // By now the control plane may hold this proxy to have lost what it says here.
                    Ok(Some(_)) if heard.elapsed() > PATIENCE => {
                        return Status::deadline_exceeded("the control plane's word came too late");
                    }
                    Ok(Some(answer)) => {
                        heard = Instant::now();
                        self.take(&answer, &mut said)
                    }
                    Ok(None) => return Status::unavailable("the control plane closed it"),
                    Err(status) => return status,
                },
            };
            if !send(&reports, &usages) {
                return Status::resource_exhausted("the control plane does not read");
            }
            if said.is_empty() {
                return Status::cancelled("no rule needs it any more");
            }
            if heard.elapsed() > PATIENCE {
                return Status::deadline_exceeded("the control plane says nothing");
            }
        }
    }

    /// Takes shares, and says so at once: somebody may wait for what is given up.
    fn take(&self, answer: &Response, said: &mut HashMap<Rule, Said>) -> Vec<Usage> {
        let (snapshot, now) = (self.snapshots.load(), Instant::now());
        let mut usages = Vec::new();
        for action in &answer.actions {
            let rule = action.bucket_id.as_ref().and_then(BucketId::rule);
            let word = action.assignment.as_ref().and_then(|assignment| assignment.word);
            let (Some((policy, rule)), Some(word)) = (rule, word) else { continue };
            let Some(said) = said.get_mut(&(policy.to_owned(), rule.to_owned())) else { continue };
            let Some(share) = share(&word) else {
                tracing::warn!(policy, rule, ?word, "The control plane told a share that is none");
                continue;
            };
            for (_, _, bucket, leased) in snapshot.leased().filter(|(of, name, ..)| *of == policy && *name == rule) {
                leased.renew(share, word.grantor, bucket.nanos(now));
            }
            said.serial = word.serial;
            let Word { serial, grantor, .. } = word;
            let held = Held { serial, rate: share.rate, fallback: share.fallback, grantor };
            let bucket_id = Some(BucketId::of(policy, rule));
            usages.push(Usage { bucket_id, held: Some(held), ..Usage::default() });
        }
        usages
    }

    /// What came since the last report, of rules where something did, or ended, or nothing was said for long.
    fn usages(&self, said: &mut HashMap<Rule, Said>) -> Vec<Usage> {
        let (snapshot, now) = (self.snapshots.load(), Instant::now());
        let mut usages = Vec::new();
        let serves = |(policy, rule): &Rule| snapshot.leased().any(|(of, name, ..)| of == policy && name == rule);
        usages.extend(said.keys().filter(|rule| !serves(rule)).map(ended));
        said.retain(|rule, _| serves(rule));
        for (policy, rule, bucket, leased) in snapshot.leased() {
            let known =
                said.entry((policy.to_owned(), rule.to_owned())).or_insert(Said { serial: 0, at: None, idle: true });
            let quiet = known.at.is_some_and(|at| now.saturating_duration_since(at) < QUIET);
            if known.idle && quiet && !leased.is_asked() {
                continue;
            }
            let (allowed, denied) = leased.drain();
            // What came before the stream was of an unknown time.
            let elapsed = known.at.map(|at| now.saturating_duration_since(at).max(Duration::from_millis(1)));
            (known.at, known.idle) = (Some(now), allowed == 0 && denied == 0);
            // Not what it was told: without word that becomes another by itself.
            let (rate, fallback, grantor) = leased.held(bucket.nanos(now));
            usages.push(Usage {
                bucket_id: Some(BucketId::of(policy, rule)),
                time_elapsed: elapsed.map(|elapsed| transport::Duration {
                    seconds: i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX),
                    nanos: i32::try_from(elapsed.subsec_nanos()).unwrap_or(0),
                }),
                allowed,
                denied,
                held: Some(Held { serial: known.serial, rate, fallback, grantor }),
                ends: false,
            });
        }
        usages
    }
}

/// The name of a process of `workload`, which no other has.
fn member(workload: &str, rng: &mut fastrand::Rng) -> String {
    format!("{workload}/{:016x}", rng.u64(..))
}

/// What a word says, unless it is no number.
fn share(word: &Word) -> Option<Share> {
    let sound = |part: f64| (part >= 0.0).then(|| part.min(MOST));
    Some(Share {
        rate: sound(word.rate)?,
        fallback: sound(word.fallback)?,
        burst: sound(word.burst)?,
        credit: sound(word.credit)?,
    })
}

/// Sends what is to be said, in as many reports as it takes; whether there was room.
fn send(reports: &mpsc::Sender<Reports>, usages: &[Usage]) -> bool {
    let mut parts = usages.chunks(MAX_USAGES);
    parts.all(|part| reports.try_send(Reports { usages: part.to_vec(), ..Reports::default() }).is_ok())
}

/// What is said of a rule that this proxy holds nothing of any more.
fn ended((policy, rule): &Rule) -> Usage {
    Usage { bucket_id: Some(BucketId::of(policy, rule)), ends: true, ..Usage::default() }
}

async fn open(channel: Channel, reports: mpsc::Receiver<Reports>) -> Result<Streaming<Response>, Status> {
    let mut grpc = Grpc::new(channel).max_decoding_message_size(MAX_MESSAGE);
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let request = Request::new(ReceiverStream::new(reports));
    Ok(grpc.streaming(request, PathAndQuery::from_static(PATH), ProstCodec::default()).await?.into_inner())
}

#[cfg(test)]
mod tests {
    use outrigger_config::xds::rlqs::{MAX_USAGES, Word};
    use tokio::sync::mpsc;

    use super::{MOST, ended, member, send, share};

    #[test]
    fn two_processes_of_one_workload_are_two_members() {
        let mut rng = fastrand::Rng::with_seed(7);
        let (one, other) = (member("shop/web", &mut rng), member("shop/web", &mut rng));
        assert!(one != other && one.starts_with("shop/web/") && other.starts_with("shop/web/"));
    }

    #[test]
    fn however_large_a_share_is_it_is_taken_and_what_is_no_number_is_not() {
        let word = Word { serial: 1, rate: 4e12, fallback: 0.0, burst: f64::INFINITY, credit: 1.0, grantor: 0 };
        let taken = share(&word).expect("a share");
        assert_eq!((taken.rate, taken.burst, taken.credit), (4e12, MOST, 1.0));
        for wrong in [f64::NAN, -1.0, f64::NEG_INFINITY] {
            assert_eq!(share(&Word { fallback: wrong, ..word }), None, "{wrong}");
        }
    }

    #[test]
    fn more_rules_than_a_report_may_have_go_into_several() {
        let (reports, mut sent) = mpsc::channel(4);
        let usages: Vec<_> = (0..2500).map(|rule| ended(&("shop/calm".into(), format!("rule-{rule}")))).collect();
        assert!(send(&reports, &usages));
        let parts: Vec<usize> = std::iter::from_fn(|| sent.try_recv().ok()).map(|part| part.usages.len()).collect();
        assert_eq!(parts, [MAX_USAGES, MAX_USAGES, 2500 - 2 * MAX_USAGES]);
        assert!(send(&reports, &[]) && sent.try_recv().is_err(), "nothing is not said");
        assert!(!(0..3).all(|_| send(&reports, &usages)), "nobody reads");
    }
}
