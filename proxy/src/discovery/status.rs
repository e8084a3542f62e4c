//! How configuration stands, for whoever asks on the admin port: `/ready`, `/config_dump`.
//!
//! Whoever accepts configuration writes it, the admin port reads it; nothing on the request path does either.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use outrigger_config::resource::ResourceType;
use parking_lot::Mutex;

use crate::snapshot::ResourceSet;

/// Where configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file, read once.
    File(PathBuf),
    /// A control plane.
    Xds(SocketAddr),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File(path) => write!(f, "{}", path.display()),
            Source::Xds(address) => write!(f, "the control plane at {address}"),
        }
    }
}

/// How configuration stands; clones share it.
#[derive(Clone, Debug)]
pub struct Status(Arc<Mutex<Standing>>);

/// How configuration stands at one moment.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Where it comes from.
    pub source: Source,
    /// `delta` or `sotw`, while a stream is open.
    pub transport: Option<&'static str>,
    /// Whether the stream has answered.
    pub connected: bool,
    /// What became of the last attempt to connect, while there is no stream.
    pub trouble: Option<String>,
    /// The types.
    pub types: BTreeMap<ResourceType, TypeStanding>,
    /// What was asked for and is not here yet, as `RDS outbound/shop`.
    pub waiting: Vec<String>,
    /// Whether there is a configuration that serves.
    pub serving: bool,
    /// Listeners that could not be opened, each with the reason.
    pub closed: Vec<String>,
    /// Whether the process is going away.
    pub draining: bool,
    /// What serves.
    pub resources: Arc<ResourceSet>,
}

/// How one type stands.
#[derive(Clone, Debug, Default)]
pub struct TypeStanding {
    /// The last accepted version: of the type over SotW, over delta the newest `system_version_info`.
    pub version: String,
    /// How many resources are accepted.
    pub resources: usize,
    /// When a response was last accepted.
    pub updated: Option<Instant>,
    /// The last refused response: why, and when. Gone with the next accepted one.
    pub refused: Option<(String, Instant)>,
}

impl Status {
    /// Nothing serves yet.
    pub fn new(source: Source) -> Self {
        Status(Arc::new(Mutex::new(Standing {
            source,
            transport: None,
            connected: false,
            trouble: None,
            types: BTreeMap::new(),
            waiting: Vec::new(),
            serving: false,
            closed: Vec::new(),
            draining: false,
            resources: Arc::default(),
        })))
    }

    /// Changes it.
    pub fn note(&self, write: impl FnOnce(&mut Standing)) {
        write(&mut self.0.lock());
    }

    /// How it stands now.
    pub fn get(&self) -> Standing {
        self.0.lock().clone()
    }
}

impl Standing {
    /// Whether the proxy may get traffic; else why not, for people.
    pub fn ready(&self) -> Result<(), String> {
        if self.draining {
            return Err("draining: this proxy is going away".into());
        }
        if !self.serving {
            let source = &self.source;
            return Err(match (&self.trouble, self.waiting.as_slice()) {
                (Some(trouble), _) => format!("waiting for {source}: {trouble}"),
                (None, []) => format!("waiting for configuration from {source}"),
                (None, missing) => format!("waiting for {} from {source}", missing.join(", ")),
            });
        }
        if let [first, ..] = self.closed.as_slice() {
            return Err(format!("{first} ({} of the listeners are closed)", self.closed.len()));
        }
        if self.resources.listeners.is_empty() {
            return Err(format!(
                "{} has no listener for this node: is its Workload applied, with outbound or appPort?",
                self.source
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use outrigger_config::listener::{Direction, Listener, TableSource, Telemetry};
    use outrigger_config::name::ResourceName;
    use outrigger_config::resource::Resource;

    use super::{Source, Standing, Status};

    fn why(change: impl FnOnce(&mut Standing)) -> String {
        let status = Status::new(Source::Xds(([127, 0, 0, 1], 15012).into()));
        status.note(change);
        status.get().ready().err().unwrap_or_default()
    }

    #[test]
    fn whoever_is_not_ready_says_why() {
        assert_eq!(why(|_| {}), "waiting for configuration from the control plane at 127.0.0.1:15012");
        let refused = why(|standing| standing.trouble = Some("connection refused".into()));
        assert_eq!(refused, "waiting for the control plane at 127.0.0.1:15012: connection refused");
        let waiting = why(|standing| standing.waiting = vec!["RDS outbound/shop".into(), "EDS shop/cart/http".into()]);
        assert!(waiting.starts_with("waiting for RDS outbound/shop, EDS shop/cart/http from"), "{waiting}");
        assert!(why(|standing| standing.serving = true).contains("is its Workload applied"));
        assert!(why(|standing| standing.draining = true).contains("going away"));
        let name = ResourceName::try_new("outbound/shop/web/15001").expect("a name");
        let listener = Listener {
            table: TableSource::Rds(name.clone()),
            name,
            address: ([127, 0, 0, 1], 15001).into(),
            direction: Direction::Outbound,
            identity: None,
            telemetry: Telemetry::default(),
            adaptive: None,
            rehearsed_adaptive: None,
            limits: Vec::new(),
        };
        let serves = |standing: &mut Standing| {
            standing.serving = true;
            standing.resources = Arc::new([Resource::Listener(listener.clone())].into_iter().collect());
        };
        assert_eq!(why(serves), "");
        let closed = why(|standing| {
            serves(standing);
            standing.closed.push("Listener a: address in use".into());
        });
        assert!(closed.starts_with("Listener a: address in use"), "{closed}");
    }
}
