//! A version that fails in part: what it failed against what callers noticed.

use anyhow::{Context, Result};

use super::Why;
use crate::cast::loopback;
use crate::control::fault;
use crate::paint::share;
use crate::report::grouped;
use crate::shop::fault::Fault;
use crate::stage::Stage;
use crate::stats::percent;

const FAIL_PERCENT: f64 = 30.0;

pub(super) async fn play(stage: &mut Stage) -> Result<()> {
    let switch = loopback(stage.cast.of("recommend", Some("v2")).first().and_then(|v2| v2.control).context("no v2")?);
    let why = if stage.mesh() { Why::read(stage, "storefront", "recommend").await? } else { Why::default() };
    let broken = Fault { fail_percent: FAIL_PERCENT, delay_ms: 0 };
    let before = fault(&stage.wire, switch, Some(broken)).await?;
    let seen = stage.watch(stage.time(4.5)).await;
    let after = fault(&stage.wire, switch, Some(Fault::default())).await?;
    let (calls, failed) = (after.calls - before.calls, after.failed - before.failed);
    let text =
        format!("{} of its {} calls failed ({})", grouped(failed), grouped(calls), share(percent(failed, calls, 0.0)));
    stage.paint.line("v2", &text);
    stage.callers(&seen);
    stage.report.note("v2_calls", calls);
    stage.report.note("v2_failed", failed);
    if stage.mesh() {
        let why = Why::read(stage, "storefront", "recommend").await?.since(&why);
        stage.paint.line("why", &format!("storefront → recommend: {}", why.sentence()));
        stage.report.note("why", why.json());
    }
    let text = format!("{} of {}", grouped(seen.bad), grouped(failed));
    stage.promise("retries hide a failing version", "callers notice less than 5 %", &text, seen.bad * 20 <= failed);
    Ok(())
}
