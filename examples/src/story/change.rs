//! Changes while customers are served: one that must not happen, and one that must without anybody noticing.

use std::time::Duration;

use anyhow::Result;

use crate::control::Outcome;
use crate::documents;
use crate::paint::{Tone, duration};
use crate::report::{grouped, versions};
use crate::stage::Stage;
use crate::stats::percent;

pub(super) async fn refused(stage: &mut Stage) -> Result<()> {
    let control = stage.control()?;
    let before = control.documents().await?;
    let mark = stage.seen();
    let problems = match control.apply(documents::mistaken()).await? {
        Outcome::Refused(problems) => problems,
        Outcome::Applied(_) => Vec::new(),
    };
    let seen = stage.watch_since(&mark, stage.time(1.0)).await;
    let unchanged = control.documents().await? == before;
    for problem in &problems {
        stage.paint.line("refused", &stage.paint.tint(Tone::Accent, problem));
    }
    stage.callers(&seen);
    stage.report.count_split(&seen);
    stage.report.note("problems", problems.clone());
    let kept = problems.len() >= 2 && unchanged;
    let text = format!("{} problems, documents {}", problems.len(), if unchanged { "unchanged" } else { "changed" });
    stage.promise("a bad policy is refused with its reasons", "both problems, documents unchanged", &text, kept);
    Ok(())
}

pub(super) async fn push(stage: &mut Stage) -> Result<()> {
    let control = stage.control()?;
    let proxies = stage.cast.sidecars().count();
    let mark = stage.seen();
    let mut taken = Vec::new();
    for (v1, v2, time) in [(50, 50, 1.5), (90, 10, 0.8)] {
        let generation = control.apply_good(documents::split(v1, v2)).await?;
        let settled = control.settled(generation, proxies, Duration::from_secs(10)).await?;
        taken.push(settled);
        // Calls that were routed before still come back after.
        stage.watch(Duration::from_millis(100)).await;
        let seen = stage.watch(stage.time(time)).await;
        let (ones, twos) = versions(&seen);
        let share = percent(twos, ones + twos, 0.0);
        let bar = stage.paint.bar(100.0 - share, 30);
        let text = format!(
            "{bar}  v2 {share:.1} %  {proxies} proxies acknowledged generation {generation} within {}",
            duration(settled)
        );
        stage.paint.line(&format!("{v1}/{v2}"), &text);
        stage.report.note(&format!("v2_percent_at_{v1}_{v2}"), share);
    }
    let seen = stage.seen().since(&mark);
    stage.callers(&seen);
    stage.report.note("acknowledged_after_seconds", taken.iter().map(Duration::as_secs_f64).collect::<Vec<_>>());
    let text = format!("{} of {}", grouped(seen.bad), grouped(seen.calls()));
    stage.promise("no request lost at a config push", "0 lost", &text, seen.bad == 0 && seen.calls() > 0);
    Ok(())
}
