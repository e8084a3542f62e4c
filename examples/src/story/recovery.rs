//! The control plane dies and comes back: the proxies carry on with what they have, the store has what was acknowledged.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::Instant;

use crate::paint::duration;
use crate::report::grouped;
use crate::stage::{CONTROL_PLANE, Stage};

const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn play(stage: &mut Stage) -> Result<()> {
    let control = stage.control()?;
    let proxies = stage.cast.sidecars().count();
    let (documents, generation) = (control.documents().await?, control.progress().await?.generation);
    let mark = stage.seen();
    let recipe = stage.fleet.kill(CONTROL_PLANE).await?;
    let away = stage.watch(stage.time(1.3)).await;
    stage.fleet.start(recipe)?;
    let started = Instant::now();
    while !control.is_ready().await {
        if started.elapsed() > PATIENCE {
            bail!("the control plane did not come back within {PATIENCE:?}");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let ready = started.elapsed();
    control.settled(generation, proxies, PATIENCE).await?;
    let settled = started.elapsed();
    stage.watch(stage.time(1.0)).await;
    let seen = stage.seen().since(&mark);
    let after = control.documents().await?;
    let same = after == documents && control.progress().await?.generation == generation;

    let text = format!("{} pages served while it was gone", grouped(away.good));
    stage.paint.line("away", &text);
    let text = format!("ready after {}, all {proxies} proxies in step after {}", duration(ready), duration(settled));
    stage.paint.line("back", &text);
    stage.callers(&seen);
    stage.report.count_split(&seen);
    stage.report.note("ready_after_seconds", ready.as_secs_f64());
    stage.report.note("proxies_in_step_after_seconds", settled.as_secs_f64());
    stage.report.note("documents", after.0);
    stage.report.note("generation", generation);
    let text =
        format!("{} documents, generation {generation}, {}", after.0, if same { "the same" } else { "not the same" });
    stage.promise("nothing acknowledged is lost", "the same documents and generation", &text, same);
    let text = format!("{} of {}", grouped(seen.bad), grouped(seen.calls()));
    stage.promise(
        "no request lost at the kill of the control plane",
        "0 lost",
        &text,
        seen.bad == 0 && seen.calls() > 0,
    );
    Ok(())
}
