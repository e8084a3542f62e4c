//! The end: edges and one trace, as the command line shows them to anybody.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::Command;
use tokio::time::Instant;

use crate::cast::loopback;
use crate::control::fault;
use crate::paint::Tone;
use crate::shop::fault::Fault;
use crate::stage::Stage;

pub(super) async fn play(stage: &mut Stage) -> Result<()> {
    let control = stage.control()?;
    let v2 = stage.cast.of("recommend", Some("v2")).first().and_then(|v2| v2.control).context("no v2")?;
    fault(&stage.wire, loopback(v2), Some(Fault { fail_percent: 30.0, delay_ms: 0 })).await?;
    let begun = Instant::now();
    stage.watch(stage.time(2.0)).await;
    let trace = loop {
        if let Some(trace) = control.retried_trace().await? {
            break trace;
        }
        if begun.elapsed() > stage.time(2.0) + Duration::from_secs(5) {
            bail!("no trace with two attempts has reached the control plane");
        }
        stage.watch(Duration::from_millis(300)).await;
    };
    fault(&stage.wire, loopback(v2), Some(Fault::default())).await?;
    stage.report.note("trace", trace.clone());
    stage.report.note("graph", control.graph().await?);
    for arguments in [vec!["edges"], vec!["traces", trace.as_str()]] {
        let command = format!("$ outrigger {}", arguments.join(" "));
        stage.paint.plain(&format!("\n{}", stage.paint.tint(Tone::Accent, &command)));
        outrigger(stage, &arguments).await?;
    }
    Ok(())
}

/// Runs the command line of the control plane, which this binary also is, on this terminal.
async fn outrigger(stage: &Stage, arguments: &[&str]) -> Result<()> {
    let server = format!("http://{}", loopback(stage.cast.api));
    let status = Command::new(std::env::current_exe()?)
        .arg("outrigger")
        .args(arguments)
        .args(["--server", &server])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await?;
    if !status.success() {
        bail!("outrigger {} ended with {status}", arguments.join(" "));
    }
    Ok(())
}
