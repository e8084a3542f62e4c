//! The canary's split, measured by what the pages say about who served them.

use anyhow::Result;

use crate::report::{grouped, versions};
use crate::stage::Stage;
use crate::stats::{calls_to_measure, percent};

pub(super) async fn play(stage: &mut Stage) -> Result<()> {
    let seen = stage.watch(stage.time(7.5)).await;
    stage.callers(&seen);
    stage.report.count_split(&seen);
    let (v1, v2) = versions(&seen);
    let share = percent(v2, v1 + v2, 0.0);
    let bar = stage.paint.bar(100.0 - share, 30);
    let split = format!("{bar}  v1 {:.1} %  v2 {share:.1} %  of {} calls", 100.0 - share, grouped(v1 + v2));
    stage.paint.line("recommend", &split);
    stage.report.note("v2_percent", share);
    stage.report.note("calls_needed_to_measure", calls_to_measure(0.1, 2.0));
    Ok(())
}
