//! The story, scene by scene: each says what is done, does it under load, and tells what callers saw and why.
//!
//! Times are written for a story of [`script_seconds`]; the stage stretches them. A scene that fails to play is a broken
//! promise, and the story goes on.

mod steady;
mod failing;
mod outage;
mod limits;
mod change;
mod recovery;
mod closing;

use anyhow::Result;
use serde_json::Value;
use tokio::time::Instant;

use crate::report::grouped;
use crate::stage::Stage;

/// How long the scenes take together when nothing is stretched.
pub(crate) fn script_seconds(mesh: bool) -> f64 {
    scenes(mesh).map(Scene::seconds).sum()
}

fn scenes(mesh: bool) -> impl Iterator<Item = Scene> {
    SCENES.into_iter().filter(move |scene| mesh || !scene.needs_mesh())
}

/// What happens, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scene {
    Steady,
    Failing,
    Outage,
    Scraper,
    Slow,
    Refused,
    Push,
    Recovery,
    Closing,
}

const SCENES: [Scene; 9] = [
    Scene::Steady,
    Scene::Failing,
    Scene::Outage,
    Scene::Scraper,
    Scene::Slow,
    Scene::Refused,
    Scene::Push,
    Scene::Recovery,
    Scene::Closing,
];

impl Scene {
    fn title(self) -> &'static str {
        match self {
            Scene::Steady => "One call in ten goes to the new version",
            Scene::Failing => "The new version fails three calls in ten",
            Scene::Outage => "An instance of catalog is killed",
            Scene::Scraper => "One client takes more than its share",
            Scene::Slow => "A dependency becomes slow",
            Scene::Refused => "A bad policy is applied",
            Scene::Push => "A good policy is pushed under load",
            Scene::Recovery => "The control plane is killed",
            Scene::Closing => "What the control plane saw",
        }
    }

    fn what(self, mesh: bool) -> &'static str {
        match (self, mesh) {
            (Scene::Steady, true) => "An HTTPRoute sends 90 % of the calls of recommend to v1 and 10 % to v2.",
            (Scene::Steady, false) => "Without a mesh a caller takes the instances in turn: two of v1, one of v2.",
            (Scene::Failing, true) => "A fault switch in recommend v2. Its RoutePolicy retries 502, 503 and 504.",
            (Scene::Failing, false) => "A fault switch in recommend v2. Nobody retries.",
            (Scene::Outage, true) => {
                "SIGKILL to catalog-1 and its sidecar. Retries cover the first moment; then outlier detection\n\
                 leaves the instance alone until it is back."
            }
            (Scene::Outage, false) => {
                "SIGKILL to catalog-1. Its callers know no better than to take instances in turn."
            }
            (Scene::Scraper, true) => {
                "A scraper asks for 200 pages a second. A RateLimitPolicy grants it 20 at each storefront."
            }
            (Scene::Scraper, false) => "A scraper asks for 200 pages a second, and nothing stops it.",
            (Scene::Slow, true) => {
                "recommend v2 takes 250 ms longer, while a batch job, newsletter, makes 200 calls a second to it.\n\
                 A BackendPolicy lets each caller have 24 under way; the rest is told so at once."
            }
            (Scene::Slow, false) => {
                "recommend v2 takes 250 ms longer, while a batch job, newsletter, makes 200 calls a second to it."
            }
            (Scene::Refused, _) => {
                "Two mistakes in one file: a try longer than its request, and a service that is not there."
            }
            (Scene::Push, _) => "recommend goes from 90/10 to 50/50 and back, while customers are served.",
            (Scene::Recovery, _) => "SIGKILL, a moment without it, then a new process on the same store.",
            (Scene::Closing, _) => "v2 fails again for a moment, so that there is something to see.",
        }
    }

    /// How long it takes when nothing is stretched.
    fn seconds(self) -> f64 {
        match self {
            Scene::Steady => 7.5,
            Scene::Failing => 4.5,
            Scene::Outage => 4.5,
            Scene::Scraper => 2.5,
            Scene::Slow => 3.5,
            Scene::Refused => 1.0,
            Scene::Push => 2.8,
            Scene::Recovery => 3.5,
            Scene::Closing => 2.5,
        }
    }

    /// Whether the scene makes no sense without sidecars.
    fn needs_mesh(self) -> bool {
        matches!(self, Scene::Refused | Scene::Push | Scene::Recovery | Scene::Closing)
    }

    async fn play(self, stage: &mut Stage) -> Result<()> {
        match self {
            Scene::Steady => steady::play(stage).await,
            Scene::Failing => failing::play(stage).await,
            Scene::Outage => outage::play(stage).await,
            Scene::Scraper => limits::scraper(stage).await,
            Scene::Slow => limits::slow(stage).await,
            Scene::Refused => change::refused(stage).await,
            Scene::Push => change::push(stage).await,
            Scene::Recovery => recovery::play(stage).await,
            Scene::Closing => closing::play(stage).await,
        }
    }
}

/// Plays all scenes.
pub(crate) async fn tell(stage: &mut Stage) {
    let mesh = stage.mesh();
    for (index, scene) in scenes(mesh).enumerate() {
        stage.paint.headline(index + 1, scene.title(), scene.what(mesh));
        stage.report.begin(scene.title());
        let begun = Instant::now();
        if let Err(error) = scene.play(stage).await {
            stage.paint.unlive();
            stage.promise(scene.title(), "the scene plays", &format!("{error:#}"), false);
        }
        stage.report.end(begun.elapsed().as_secs_f64());
    }
    if !mesh {
        stage.paint.plain("");
        stage.paint.line("", "Without a mesh there is no policy to push, nothing to steer, and nobody saw the calls.");
    }
    for casualty in stage.fleet.casualties() {
        stage.promise("every process runs until it is stopped", "none ends by itself", &casualty, false);
    }
}

/// What the graph says about the calls between two services in the last minute.
#[derive(Debug, Default)]
struct Why {
    retries: u64,
    reasons: std::collections::BTreeMap<String, u64>,
}

impl Why {
    async fn read(stage: &Stage, source: &str, destination: &str) -> Result<Self> {
        let mut why = Why::default();
        for edge in stage.control()?.edges(source, destination).await? {
            why.retries += edge["windows"]["60s"]["retries"].as_u64().unwrap_or_default();
            for reasons in [&edge["reasons"], &edge["retry_reasons"]] {
                for (reason, count) in reasons.as_object().into_iter().flatten() {
                    *why.reasons.entry(reason.clone()).or_default() += count.as_u64().unwrap_or_default();
                }
            }
        }
        Ok(why)
    }

    /// What came on top of an earlier reading.
    fn since(&self, earlier: &Why) -> Why {
        let before = |reason: &String| earlier.reasons.get(reason).copied().unwrap_or_default();
        let more = |(reason, count): (&String, &u64)| (reason.clone(), count.saturating_sub(before(reason)));
        Why {
            retries: self.retries.saturating_sub(earlier.retries),
            reasons: self.reasons.iter().map(more).filter(|(_, count)| *count > 0).collect(),
        }
    }

    fn sentence(&self) -> String {
        let mut parts = vec![format!("{} retries", grouped(self.retries))];
        parts.extend(self.reasons.iter().map(|(reason, count)| format!("{reason} × {}", grouped(*count))));
        parts.join(" · ")
    }

    fn json(&self) -> Value {
        serde_json::json!({"retries": self.retries, "reasons": self.reasons})
    }
}

#[cfg(test)]
mod tests {
    use super::{SCENES, Why};

    #[test]
    fn every_scene_says_what_it_does() {
        for scene in SCENES {
            assert!(scene.title().len() > 10 && scene.what(true).lines().all(|line| line.len() < 110), "{scene:?}");
        }
        assert_eq!(SCENES.into_iter().filter(|scene| !scene.needs_mesh()).count(), 5);
    }

    #[test]
    fn reasons_of_a_scene_are_what_it_added() {
        let before = Why { retries: 5, reasons: [("connection_refused".into(), 2)].into() };
        let after = Why { retries: 9, reasons: [("connection_refused".into(), 2), ("503".into(), 4)].into() };
        assert_eq!(after.since(&before).sentence(), "4 retries · 503 × 4");
    }
}
