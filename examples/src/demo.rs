//! `demo` from its command line to its exit code: the stage is built, the story told, the promises judged, and every
//! process stopped, whatever happened.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use crate::arguments::Arguments;
use crate::cast::loopback;
use crate::paint::{Tone, duration};
use crate::report::grouped;
use crate::stage::{Stage, otlp_endpoint};
use crate::story;

/// What stopping may take before processes are killed.
const STOP_PATIENCE: Duration = Duration::from_millis(1_500);
/// Kept back of the time given for stopping and the last lines.
const MARGIN: Duration = Duration::from_millis(1_200);
/// How much slower the story is told where nobody is waiting for its end.
const UNHURRIED: f64 = 1.4;

/// Plays the demo and says how it went.
pub(crate) async fn run(arguments: Arguments) -> Result<ExitCode> {
    let begun = Instant::now();
    if let Some(file) = &arguments.json {
        // Better now than after the story.
        std::fs::File::create(file).with_context(|| format!("cannot write {}", file.display()))?;
    }
    let directory = std::env::temp_dir().join(format!("outrigger-demo-{}", std::process::id()));
    std::fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
    let mut stage = Stage::new(&arguments, directory.clone())?;
    let outcome = tokio::select! {
        outcome = play(&mut stage, &arguments, begun) => outcome.map(Some),
        outcome = told_to_stop() => outcome.map(|()| None),
    };
    stage.paint.unlive();
    stage.load = None;
    stage.fleet.stop(STOP_PATIENCE).await;
    let clean = matches!(outcome, Ok(None)) || (outcome.is_ok() && (stage.report.kept || arguments.no_mesh));
    if clean {
        // It is in a place that is emptied anyway.
        let _ = std::fs::remove_dir_all(&directory);
    } else {
        stage.paint.plain(&format!("    The logs of all processes are in {}", directory.display()));
    }
    let told = !stage.report.promises.is_empty() && stage.report.seconds > 0.0;
    match outcome? {
        None if !told => Ok(ExitCode::from(130)),
        _ if stage.report.kept || arguments.no_mesh => Ok(ExitCode::SUCCESS),
        _ => Ok(ExitCode::from(1)),
    }
}

async fn told_to_stop() -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hang_up.recv() => {}
    }
    Ok(())
}

async fn play(stage: &mut Stage, arguments: &Arguments, begun: Instant) -> Result<()> {
    introduce(stage);
    stage.build().await?;
    ready(stage, arguments, begun.elapsed());
    let opened = Instant::now();
    stage.open(arguments.rate).await;
    stage.scale = match arguments.time {
        Some(time) => time.saturating_sub(begun.elapsed() + MARGIN).as_secs_f64() / story::script_seconds(stage.mesh()),
        None => UNHURRIED,
    };
    story::tell(stage).await;
    conclude(stage, opened.elapsed());
    if let Some(file) = &arguments.json {
        stage.report.write(file)?;
    }
    if arguments.time.is_none() {
        run_on(stage).await;
    }
    Ok(())
}

fn introduce(stage: &Stage) {
    let title = stage.paint.tint(Tone::Bold, "Outrigger");
    let what = match stage.mesh() {
        true => "a small shop in a service mesh, on this machine: steered, broken and watched",
        false => "the same small shop without its mesh, for comparison",
    };
    stage.paint.plain(&format!("\n    {title}  {what}\n"));
}

fn ready(stage: &Stage, arguments: &Arguments, took: Duration) {
    let shop = stage.cast.instances.len();
    if stage.mesh() {
        let sidecars = stage.cast.sidecars().count();
        let text = format!("{shop} processes of the shop, {sidecars} sidecars, 1 control plane in {}", duration(took));
        stage.paint.line("started", &text);
        let text = format!("http://{}  xds {}", loopback(stage.cast.api), loopback(stage.cast.xds));
        stage.paint.line("api", &text);
        if let Some(endpoint) = otlp_endpoint() {
            stage.paint.line("spans", &format!("go to {endpoint}, too"));
        }
    } else {
        stage.paint.line("started", &format!("{shop} processes of the shop in {}", duration(took)));
    }
    let text = format!("{} pages a second; a page takes 5 calls between services", arguments.rate);
    stage.paint.line("customers", &text);
}

fn conclude(stage: &mut Stage, took: Duration) {
    let seen = stage.seen();
    let judged = stage.report.promises.len();
    stage.report.conclude(&seen, took.as_secs_f64());
    stage.paint.plain(&format!("\n    {}", stage.paint.tint(Tone::Bold, "The whole story")));
    stage.paint.seen("callers", &seen);
    for promise in &stage.report.promises[judged..] {
        stage.paint.verdict(promise, stage.report.mesh);
    }
    let kept = stage.report.promises.iter().filter(|promise| promise.kept).count();
    let all = stage.report.promises.len();
    let text = format!("{kept} of {all} promises kept, {} calls in {}", grouped(seen.calls()), duration(took));
    let tone = if stage.report.kept { Tone::Good } else { Tone::Bad };
    stage.paint.plain(&format!("\n    {}\n", stage.paint.tint(tone, &text)));
}

/// The shop stays open until somebody stops it.
async fn run_on(stage: &Stage) {
    let api = format!("http://{}", loopback(stage.cast.api));
    let program = std::env::current_exe().map(|path| path.display().to_string()).unwrap_or_else(|_| "demo".into());
    stage.paint.line("", "The shop runs on. Ctrl-C stops everything.");
    if stage.mesh() {
        for what in ["edges", "proxies", "traces"] {
            stage
                .paint
                .line("look", &stage.paint.tint(Tone::Accent, &format!("{program} outrigger {what} --server {api}")));
        }
    }
    loop {
        let seen = stage.watch(Duration::from_secs(10)).await;
        if stage.paint.is_live() {
            stage.paint.live(&stage.paint.sentence(&seen));
        } else {
            stage.paint.seen("callers", &seen);
        }
    }
}
