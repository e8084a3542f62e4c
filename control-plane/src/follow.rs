//! The watched directory, followed: whatever it says, stands, until the control plane stops.

use std::time::{Duration, SystemTime};

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::source::directory::Directory;
use crate::state::Steering;

/// How often the directory is looked at; a change stands after two looks.
const LOOK: Duration = Duration::from_millis(250);

/// Follows `directory` until `stop` is cancelled. A directory that cannot be read changes nothing.
pub async fn follow(mut directory: Directory, steering: Steering, stop: CancellationToken) {
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_lost = false;
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            () = stop.cancelled() => return,
        }
        let steering = steering.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let outcome = directory.poll(SystemTime::now());
            if let Ok(Some(files)) = &outcome {
                steering.reload(files);
            }
            (directory, outcome.map(|_| ()))
        });
        let Ok((back, outcome)) = looked.await else {
            tracing::error!("looking at the watched documents failed; they are not followed any more");
            return;
        };
        directory = back;
        match outcome {
            Err(error) if !is_lost => {
                is_lost = true;
                tracing::error!(%error, path = %directory.path().display(), "cannot read the watched documents");
            }
            Err(_) => {}
            Ok(()) => is_lost = false,
        }
    }
}
