//! The end: edges and one trace, as the command line shows them to anybody.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::Command;
use tokio::time::Instant;

use crate::cast::loopback;
use crate::control::fault;
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
    for (title, arguments) in [("edges", vec!["edges"]), ("trace", vec!["traces", trace.as_str()])] {
        let text = outrigger(stage, &arguments).await?;
        stage.paint.plain("");
        for line in text.lines() {
            stage.paint.plain(&format!("    {line}"));
        }
        stage.report.note(title, text);
    }
    Ok(())
}

/// Runs the command line of the control plane, which this binary also is.
async fn outrigger(stage: &Stage, arguments: &[&str]) -> Result<String> {
    let api = format!("http://{}", loopback(stage.cast.api));
    let program = std::env::current_exe()?;
    let output = Command::new(program)
        .arg("outrigger")
        .args(arguments)
        .args(["--api", &api])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?;
    if !output.status.success() {
        bail!("outrigger {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
