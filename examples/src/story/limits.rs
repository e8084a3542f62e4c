//! Two that take too much: a scraper over its rate limit, and a batch job at a slow dependency. Both are callers of
//! their own, so that what they are refused is not counted as a customer's failure.

use anyhow::{Context, Result};
use http::{HeaderName, HeaderValue};

use crate::cast::loopback;
use crate::control::fault;
use crate::documents::MODEL_LIMIT;
use crate::load::{Load, Target};
use crate::paint::{Tone, duration};
use crate::report::grouped;
use crate::shop::fault::Fault;
use crate::stage::Stage;
use crate::stats::Seen;

const GREED: u32 = 200;
const DELAY_MS: u64 = 250;

pub(super) async fn scraper(stage: &mut Stage) -> Result<()> {
    let addresses = match stage.mesh() {
        true => vec![loopback(stage.cast.gateway.outbound)],
        false => stage.cast.direct("storefront", None),
    };
    let headers = vec![(HeaderName::from_static("x-client"), HeaderValue::from_static("scraper"))];
    let target = Target { addresses, host: "storefront", path: "/", headers };
    let scraper = Load::start(stage.wire.clone(), target, GREED);
    let seen = stage.watch(stage.time(2.5)).await;
    let greedy = scraper.finish().await;
    stage.report.count_split(&seen);
    let text = format!(
        "{} calls · {} answered · {} told 429",
        grouped(greedy.calls()),
        grouped(greedy.good),
        grouped(greedy.status(429))
    );
    stage.paint.line("scraper", &text);
    say_why(stage, &greedy, "rate_limited");
    stage.callers(&seen);
    stage.report.note_seen("scraper", &greedy);
    let limited = greedy.reasons.get("rate_limited").copied().unwrap_or_default();
    let kept = limited > 0 && limited == greedy.bad;
    let text = format!("{} × rate_limited of {} refused", grouped(limited), grouped(greedy.bad));
    stage.promise("over the limit is 429 with a reason", "rate_limited and nothing else", &text, kept);
    Ok(())
}

pub(super) async fn slow(stage: &mut Stage) -> Result<()> {
    let v2 = stage.cast.of("recommend", Some("v2")).first().copied().cloned().context("no v2")?;
    let switch = loopback(v2.control.context("v2 has no fault switch")?);
    let address = loopback(if stage.mesh() { stage.cast.newsletter.outbound } else { v2.app });
    let target = Target { addresses: vec![address], host: "recommend", path: "/batch/all", headers: Vec::new() };
    fault(&stage.wire, switch, Some(Fault { fail_percent: 0.0, delay_ms: DELAY_MS })).await?;
    let batch = Load::start(stage.wire.clone(), target, GREED);
    let seen = stage.watch(stage.time(3.0)).await;
    let batch = batch.finish().await;
    fault(&stage.wire, switch, Some(Fault::default())).await?;
    let text = format!(
        "{} calls · {} answered · {} told 503 · half within {}",
        grouped(batch.calls()),
        grouped(batch.good),
        grouped(batch.status(503)),
        duration(batch.durations.percentile(0.5))
    );
    stage.paint.line("newsletter", &text);
    say_why(stage, &batch, "breaker_requests");
    if !stage.mesh() {
        stage.paint.line("", &format!("up to {} of its calls waited at v2 at once", batch.most_in_flight));
    }
    stage.callers(&seen);
    stage.report.note_seen("newsletter", &batch);
    stage.report.note("limit", MODEL_LIMIT);
    let refused = batch.reasons.get("breaker_requests").copied().unwrap_or_default();
    let kept = refused > 0 && refused == batch.bad && batch.good > 0;
    let text = format!("{} × breaker_requests, {} answered", grouped(refused), grouped(batch.good));
    stage.promise("a limit trips at a slow dependency", "some breaker_requests, the rest answered", &text, kept);
    Ok(())
}

/// The whole `Proxy-Status` line of a reason, as the caller got it.
fn say_why(stage: &Stage, seen: &Seen, reason: &str) {
    if let Some(line) = seen.said.get(reason).or_else(|| seen.said.values().next()) {
        stage.paint.line("why", &stage.paint.tint(Tone::Accent, &format!("Proxy-Status: {line}")));
    }
}
