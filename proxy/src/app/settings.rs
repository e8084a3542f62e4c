//! The settings of a proxy: its command line, read and checked.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Parser, ValueEnum};
use outrigger_config::name::ObjectName;
use outrigger_config::policy::Mode;
use outrigger_config::value::{format_duration, parse_duration};

use crate::cache::second;
use crate::discovery::follow::Choice;
use crate::discovery::session::Variant;
use crate::discovery::status::Source;
use crate::overload::{Bounds, sample};
use crate::telemetry::logging::Format;

/// One small proxy beside a service: retries, limits, routing, and why every request ended as it did.
#[derive(Clone, Debug, Parser)]
#[command(name = "outrigger-proxy", version)]
struct Flags {
    /// File of documents to serve by, without a control plane
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Control plane to be steered by, such as 127.0.0.1:15012
    #[arg(long, value_name = "ADDRESS")]
    xds: Option<SocketAddr>,
    /// The workload to stand beside: NAMESPACE/NAME, or NAME in the namespace default
    #[arg(long, value_name = "ID")]
    node_id: Option<String>,
    /// Threads that serve requests [default: as many as the process may use]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,
    /// Where to serve the admin port
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:15000")]
    admin: SocketAddr,
    /// Which variant of xDS to speak; auto is delta, and state of the world with servers that have no delta
    #[arg(long, value_name = "MODE", default_value = "auto")]
    xds_mode: XdsMode,
    /// How long requests under way may take to finish when the proxy stops or their listener is removed
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    drain_timeout: Duration,
    /// Requests that take this long are recorded for `outrigger explain`, beside those that fail or are tried again
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    explain_slow: Duration,
    /// File with the token that a request must say in x-outrigger-explain to get its record with its answer; without
    /// it, 1 will do for the workload beside the proxy
    #[arg(long, value_name = "FILE")]
    explain_token: Option<PathBuf>,
    /// How many MiB of request bodies may be kept at once, to be sent again
    #[arg(long, value_name = "MIB", env = "OUTRIGGER_REPLAY_MEMORY", default_value_t = 64)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=65536))]
    replay_memory: u32,
    /// Memory for responses that routes keep (RoutePolicy `cache`), such as 64MiB or 2GiB; 0 keeps none
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = size)]
    cache_memory: u64,
    /// Redis that proxies share what they keep in (RoutePolicy `cache.shared`): redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]
    #[arg(long, value_name = "URL", env = "OUTRIGGER_CACHE_REDIS", hide_env_values = true)]
    cache_redis: Option<String>,
    /// File with that URL, in its place
    #[arg(long, value_name = "FILE", conflicts_with = "cache_redis")]
    cache_redis_file: Option<PathBuf>,
    /// How long a look-up in Redis may take
    #[arg(long, value_name = "TIME", default_value = "50ms", value_parser = look_up)]
    cache_redis_timeout: Duration,
    /// File with a secret of the mesh, which what stands in Redis is sealed with
    #[arg(long, value_name = "FILE")]
    cache_redis_secret: Option<PathBuf>,
    /// Memory the process may use, such as 256MiB [default: the limit of its cgroup]
    #[arg(long, value_name = "SIZE", value_parser = some)]
    memory_limit: Option<u64>,
    /// Callers' connections at once [default: as many as come]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_connections: Option<u32>,
    /// Whether anything is done when memory, file descriptors or connections run short, or only counted
    #[arg(long, value_name = "MODE", default_value = "enforce")]
    overload: OverloadMode,
    /// What to log, as in `info` or `info,outrigger_proxy::discovery=debug`
    #[arg(long, value_name = "FILTER", env = "OUTRIGGER_LOG", default_value = "info")]
    log: String,
    /// How to log
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: Format,
}

/// What is done when something runs short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OverloadMode {
    /// Connections close, requests are shed, nothing is accepted, in this order.
    Enforce,
    /// It is counted.
    Observe,
}

/// Which variant of xDS is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum XdsMode {
    /// Delta; state of the world if the server has none.
    Auto,
    /// Delta alone.
    Delta,
    /// State of the world alone.
    Sotw,
}

impl XdsMode {
    /// The variants that it allows.
    pub fn choice(self) -> Choice {
        match self {
            XdsMode::Auto => Choice { first: Variant::Delta, fallback: true },
            XdsMode::Delta => Choice { first: Variant::Delta, fallback: false },
            XdsMode::Sotw => Choice { first: Variant::Sotw, fallback: false },
        }
    }
}

/// Where the Redis is that proxies share their caches in.
#[derive(Clone, Debug)]
pub enum CacheRedis {
    /// There is none.
    None,
    /// Here.
    At(second::Address),
    /// Where this file says.
    File(PathBuf),
}

/// The settings of a proxy.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where configuration comes from.
    pub source: Source,
    /// The workload to stand beside; with a control plane always there.
    pub node: Option<ObjectName>,
    /// How many workers.
    pub workers: usize,
    /// Where the admin port is.
    pub admin: SocketAddr,
    /// Which variant of xDS is spoken.
    pub xds_mode: XdsMode,
    /// How long a drain may take.
    pub drain_timeout: Duration,
    /// How long a request may take before it is recorded.
    pub explain_slow: Duration,
    /// The file with the token that lets anyone ask for a record.
    pub explain_token: Option<PathBuf>,
    /// How many bytes of request bodies may be kept at once.
    pub replay_memory: usize,
    /// How much memory kept responses may take, bytes.
    pub cache_memory: u64,
    /// Where other proxies keep responses too.
    pub cache_redis: CacheRedis,
    /// How long a look-up there may take.
    pub cache_redis_timeout: Duration,
    /// The file with the secret that what stands there is sealed with.
    pub cache_redis_secret: Option<PathBuf>,
    /// How much the process may use.
    pub bounds: Bounds,
    /// What to log.
    pub log: String,
    /// How to log.
    pub log_format: Format,
}

/// Why there are no settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoSettings {
    /// Help or the version was asked for: the text to print.
    Asked(String),
    /// A flag is wrong: one line on which, and what to do.
    Wrong(String),
}

impl Settings {
    /// Reads a command line, the program's name first.
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, NoSettings> {
        let flags = Flags::try_parse_from(arguments).map_err(|error| match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => NoSettings::Asked(error.to_string()),
            _ => NoSettings::Wrong(one_line(&error.to_string())),
        })?;
        flags.check().map_err(NoSettings::Wrong)
    }
}

impl Flags {
    fn check(self) -> Result<Settings, String> {
        let source = match (self.config, self.xds) {
            (Some(file), None) => Source::File(file),
            (None, Some(address)) if address.ip().is_loopback() => Source::Xds(address),
            (None, Some(address)) => {
                return Err(format!(
                    "--xds {address} is not a loopback address, and what is sent there would be in plain text: \
                     use 127.0.0.1 with a tunnel to the control plane"
                ));
            }
            (Some(_), Some(_)) => return Err("use either --config or --xds, not both".into()),
            (None, None) => {
                return Err("say where configuration comes from: --config FILE, or --xds ADDRESS --node-id ID".into());
            }
        };
        if !self.admin.ip().is_loopback() {
            return Err(format!("--admin {} must be a loopback address: anyone could drain this proxy", self.admin));
        }
        let node = match &self.node_id {
            Some(id) => Some(node(id).map_err(|why| format!("--node-id {id:?} {why}; try NAMESPACE/NAME"))?),
            None if matches!(source, Source::Xds(_)) => {
                return Err("--xds needs --node-id NAMESPACE/NAME, the workload to stand beside".into());
            }
            None => None,
        };
        let workers = self.workers.map_or_else(available, usize::from);
        let bounds = Bounds {
            mode: match self.overload {
                OverloadMode::Enforce => Mode::Enforce,
                OverloadMode::Observe => Mode::Observe,
            },
            memory: self.memory_limit.or_else(sample::memory_limit),
            descriptors: sample::descriptors_limit(),
            connections: self.max_connections,
        };
        let cache_redis = match (&self.cache_redis, self.cache_redis_file) {
            (Some(url), _) => CacheRedis::At(second::Address::read(url).map_err(|why| format!("--cache-redis {why}"))?),
            (None, Some(file)) => CacheRedis::File(file),
            (None, None) => CacheRedis::None,
        };
        if self.cache_redis_secret.is_some() && matches!(cache_redis, CacheRedis::None) {
            return Err("--cache-redis-secret seals what stands in Redis: say where that is with --cache-redis".into());
        }
        if self.cache_memory == 0 && !matches!(cache_redis, CacheRedis::None) {
            return Err(
                "--cache-redis is of no use with --cache-memory 0, which keeps nothing: give it some memory".into()
            );
        }
        Ok(Settings {
            source,
            node,
            workers,
            admin: self.admin,
            xds_mode: self.xds_mode,
            drain_timeout: self.drain_timeout,
            explain_slow: self.explain_slow,
            explain_token: self.explain_token,
            replay_memory: (self.replay_memory as usize) << 20,
            cache_memory: self.cache_memory,
            cache_redis,
            cache_redis_timeout: self.cache_redis_timeout,
            cache_redis_secret: self.cache_redis_secret,
            bounds,
            log: self.log,
            log_format: self.log_format,
        })
    }
}

/// The processors that the process may use, with what the container allows.
fn available() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn node(id: &str) -> Result<ObjectName, String> {
    let (namespace, name) = id.split_once('/').unwrap_or(("default", id));
    ObjectName::try_new(namespace, name).map_err(|problem| problem.reason)
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|problem| problem.reason)
}

/// How long a request may be kept from its service by a look-up.
fn look_up(text: &str) -> Result<Duration, String> {
    let (shortest, longest) = (Duration::from_millis(1), Duration::from_secs(1));
    let bounds = format!("must be between {} and {}", format_duration(shortest), format_duration(longest));
    Some(duration(text)?).filter(|time| (shortest..=longest).contains(time)).ok_or(bounds)
}

/// A number of bytes, with a unit or without.
fn size(text: &str) -> Result<u64, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let shift = match unit {
        "" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return Err("must be a size such as 500KiB, 64MiB or 2GiB".into()),
    };
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift));
    // More than that would be a slip of the keyboard.
    bytes.filter(|bytes| *bytes <= 1 << 44).ok_or_else(|| "must be a size up to 16384GiB, such as 64MiB".into())
}

/// A size of which there must be some.
fn some(text: &str) -> Result<u64, String> {
    Some(size(text)?).filter(|bytes| *bytes > 0).ok_or_else(|| "must be more than 0, such as 256MiB".into())
}

/// The first sentence of clap's page on what is wrong.
fn one_line(page: &str) -> String {
    let first: Vec<_> = page.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    let first = first.join(" ");
    format!("{}; see --help", first.strip_prefix("error: ").unwrap_or(&first))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use outrigger_config::policy::Mode;

    use super::{NoSettings, Settings};
    use crate::discovery::status::Source;

    fn read(line: &str) -> Result<Settings, NoSettings> {
        Settings::read(format!("outrigger-proxy {line}").split(' ').map(OsString::from))
    }

    #[test]
    fn a_source_and_a_node_are_enough() {
        let settings = read("--xds 127.0.0.1:15012 --node-id shop/web").expect("settings");
        assert_eq!(settings.source, Source::Xds(([127, 0, 0, 1], 15012).into()));
        assert_eq!(settings.node.map(|node| node.to_string()).as_deref(), Some("shop/web"));
        assert!(settings.workers >= 1 && settings.admin.port() == 15000);
        let settings = read("--config mesh.yaml --node-id web --drain-timeout 1m30s").expect("settings");
        assert_eq!(settings.node.map(|node| node.to_string()).as_deref(), Some("default/web"));
        assert_eq!(settings.drain_timeout.as_secs(), 90);
        let bounds =
            read("--config a --memory-limit 256MiB --max-connections 7 --overload observe").expect("settings").bounds;
        assert_eq!((bounds.memory, bounds.connections, bounds.mode), (Some(256 << 20), Some(7), Mode::Observe));
    }

    #[test]
    fn what_cannot_be_is_said_in_one_line() {
        for (line, says) in [
            ("--nope", "--nope"),
            ("--node-id shop/web", "--config"),
            ("--config a --xds 127.0.0.1:1 --node-id a", "not both"),
            ("--xds 127.0.0.1:15012", "--node-id"),
            ("--xds 10.1.2.3:15012 --node-id a", "loopback"),
            ("--xds [fe80::1]:15012 --node-id a", "loopback"),
            ("--xds nowhere --node-id a", "nowhere"),
            ("--xds 127.0.0.1:15012 --node-id Not_A_Name!", "Not_A_Name!"),
            ("--config a --admin 0.0.0.0:15000", "loopback"),
            ("--config a --workers 0", "workers"),
            ("--config a --replay-memory lots", "replay-memory"),
            ("--config a --drain-timeout soon", "soon"),
            ("--config a --log-format xml", "xml"),
            ("--config a --memory-limit 3MB", "64MiB"),
            ("--config a --memory-limit 0", "more than 0"),
            ("--config a --max-connections 0", "max-connections"),
            ("--config a --overload maybe", "maybe"),
            ("--config a --cache-redis rediss://:hidden@a", "tunnel"),
            ("--config a --cache-redis :hidden@a:6379", "redis://127.0.0.1:6379"),
            ("--config a --cache-redis redis://a --cache-redis-file b", "cache-redis-file"),
            ("--config a --cache-redis redis://a --cache-memory 0", "cache-memory"),
            ("--config a --cache-redis-secret b", "--cache-redis"),
            ("--config a --cache-redis-timeout 0s", "between 1ms and 1s"),
            ("--config a --cache-redis-timeout 2s", "between 1ms and 1s"),
        ] {
            let Err(NoSettings::Wrong(text)) = read(line) else { panic!("{line} was taken") };
            assert!(!text.contains('\n') && text.contains(says), "{line}: {text}");
            assert!(!text.contains("hidden"), "a password is shown: {text}");
        }
    }

    #[test]
    fn no_password_is_shown() {
        let settings = read("--config a --cache-redis redis://me:hidden@cache:7000/2").expect("settings");
        let shown = format!("{settings:?}");
        assert!(shown.contains("cache:7000") && !shown.contains("hidden"), "{shown}");
    }

    #[test]
    fn help_is_no_mistake() {
        assert!(matches!(read("--help"), Err(NoSettings::Asked(_))));
        assert!(matches!(read("--version"), Err(NoSettings::Asked(_))));
    }
}
