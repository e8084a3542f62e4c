//! A crash: one instance of `catalog` and its sidecar are gone from one moment to the next, and come back.

use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;

use super::Why;
use crate::paint::duration;
use crate::stage::{Stage, sidecar_name};
use crate::stats::{Seen, percent};

const VICTIM: &str = "catalog-1";
const OTHER: &str = "catalog-2";

pub(super) async fn play(stage: &mut Stage) -> Result<()> {
    let mesh = stage.mesh();
    let why = if mesh { Why::read(stage, "storefront", "catalog").await? } else { Why::default() };
    let mark = stage.seen();
    let before = stage.watch(stage.time(0.5)).await;
    let mut recipes = vec![stage.fleet.kill(VICTIM).await?];
    if mesh {
        recipes.push(stage.fleet.kill(&sidecar_name(VICTIM)).await?);
    }
    // Answers already on their way still name the victim.
    let first = stage.watch(Duration::from_millis(50)).await;
    let gone = stage.watch(stage.time(2.5)).await;
    let why = match mesh {
        true => Some(Why::read(stage, "storefront", "catalog").await?.since(&why)),
        false => None,
    };
    for recipe in recipes {
        stage.fleet.start(recipe)?;
    }
    let started = Instant::now();
    let limit = stage.time(3.0).max(Duration::from_secs(2));
    let mut back = Seen::default();
    while back.served_by(VICTIM) == 0 && started.elapsed() < limit {
        back = stage.watch(Duration::from_millis(100)).await;
    }
    let returned = (back.served_by(VICTIM) > 0).then(|| started.elapsed());

    let seen = stage.seen().since(&mark);
    stage.report.count_split(&seen);
    stage.paint.line("traffic", &format!("before {} · after {}", shares(&before), shares(&gone)));
    stage.callers(&seen);
    if let Some(why) = why {
        stage.paint.line("why", &format!("storefront → catalog: {}", why.sentence()));
        stage.report.note("why", why.json());
    }
    let text = match returned {
        Some(after) => format!("{VICTIM} was started again and serves after {}", duration(after)),
        None => format!("{VICTIM} was started again and is still left alone"),
    };
    stage.paint.line("back", &text);
    stage.report.note("failed_at_the_kill", first.bad);
    stage.report.note("failed_while_gone", gone.bad);
    stage.report.note("serves_again_after_seconds", returned.map(|after| after.as_secs_f64()));
    Ok(())
}

fn shares(seen: &Seen) -> String {
    let (victim, other) = (seen.served_by(VICTIM), seen.served_by(OTHER));
    let share = |part| percent(part, victim + other, 0.0);
    format!("{VICTIM} {:.0} %, {OTHER} {:.0} %", share(victim), share(other))
}
