//! The configuration file as a whole: one table per subsystem, read with every problem reported and not only the first. What the
//! keys of a table mean is said by the crate that the table is named after. Reads the file and, for `check`, looks at the
//! secret files it names; writes nothing.

mod document;
mod problem;
mod redact;
mod secrets;

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lamplighter_core::config::{Problem, SecretDirs};
use lamplighter_core::telemetry::LogFormat;
use lamplighter_core::units::Millis;
use lamplighter_mysql::Proxy;
use lamplighter_redis::warm::{self, JobConfig};
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

use document::{Document, Mistake};
pub use problem::ConfigProblem;

/// Where the file is when nobody says otherwise.
pub const DEFAULT_PATH: &str = "/etc/lamplighter/lamplighter.toml";

/// The largest file that is read, in bytes.
const SIZE_MAX: u64 = 1024 * 1024;

/// The whole configuration. A table that is left out turns its subsystem off.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `[telemetry]`: logs.
    pub telemetry: Telemetry,
    /// `[shutdown]`: how long leaving may take.
    pub shutdown: Shutdown,
    /// `[state]`: what is kept over restarts.
    pub state: State,
    /// `[health]`: the probe, the metrics and the admin interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<lamplighter_health::Config>,
    /// `[mysql]`: the local MySQL endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mysql: Option<lamplighter_mysql::Config>,
    /// `[redis]`: the Redis that the fleet shares.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis: Option<lamplighter_redis::Config>,
    /// `[[warm]]`: queries whose rows are kept in Redis.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warm: Vec<JobConfig>,
    /// `[[sync]]`: containers of Azure Storage that are kept in step with directories.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sync: Vec<lamplighter_sync::Config>,
    /// `[platform]`: the machine and its service manager, which is served in any case.
    pub platform: lamplighter_platform::Config,
}

/// `[telemetry]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// What is logged: a level, or `info,lamplighter_mysql=debug`. Default `info`.
    pub log_filter: String,
    /// `auto`, `text`, `json` or `journald`. Default `auto`: the journal's native protocol under systemd, else text.
    pub log_format: LogFormat,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            log_filter: "info".to_owned(),
            log_format: LogFormat::Auto,
        }
    }
}

/// `[shutdown]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Shutdown {
    /// How long work in flight may take once the agent is leaving; what is left then is dropped. Default `30s`. Must stay
    /// below the unit's `TimeoutStopSec`.
    pub drain_deadline: Millis,
    /// The same for `lamplighter drain`, after which the agent stays: what is not done by then goes on beside it. Default `5m`.
    pub command_deadline: Millis,
    /// A program, with its arguments, that is run when the instance begins to leave. Default: none. It runs as the agent's user,
    /// with `LAMPLIGHTER_SOURCE` set to `signal`, `event` or `command`, and is killed when the load balancer's time is over.
    pub on_leave: Vec<String>,
    /// The same for when the instance comes back. Default: none; killed after 30 s.
    pub on_return: Vec<String>,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self {
            drain_deadline: Millis::from_secs(30),
            command_deadline: Millis::from_secs(300),
            on_leave: Vec::new(),
            on_return: Vec::new(),
        }
    }
}

/// `[state]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct State {
    /// What is kept over restarts: the indexes of what was synced. Default `/var/lib/lamplighter`, which systemd makes for
    /// the unit (`StateDirectory=`). Losing it costs one comparison of every file.
    pub dir: PathBuf,
}

impl Default for State {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("/var/lib/lamplighter"),
        }
    }
}

/// A configuration that is right, and where it came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What the file says, defaults filled in.
    pub config: Config,
    /// The file.
    pub path: PathBuf,
    /// A short digest of the file's bytes, to tell which version an agent runs.
    pub digest: String,
    /// The file's text, for the places of problems found later.
    text: String,
}

/// Whether there is no configuration yet: no file, or one without a single table or key. A file that cannot be read or understood
/// is not blank.
#[must_use]
pub fn is_blank(path: &Path) -> bool {
    match std::fs::read_to_string(path) {
        Ok(text) => text
            .parse::<toml::Table>()
            .is_ok_and(|table| table.is_empty()),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

/// What an agent that waits for the file at `path` runs with: the probe at its defaults, so that whoever asks is told.
#[must_use]
pub fn blank(path: &Path) -> Loaded {
    let text = String::new();
    Loaded {
        config: Config {
            health: Some(lamplighter_health::Config::default()),
            ..Config::default()
        },
        path: path.to_owned(),
        digest: digest(text.as_bytes()),
        text,
    }
}

/// Reads the file at `path`.
///
/// # Errors
/// With every problem of it.
pub fn load(path: &Path) -> Result<Loaded, Vec<ConfigProblem>> {
    let text = read(path).map_err(|problem| vec![*problem])?;
    parse(path, text)
}

/// Reads `text` as the file at `path`.
///
/// # Errors
/// With every problem of it, by line.
pub fn parse(path: &Path, text: String) -> Result<Loaded, Vec<ConfigProblem>> {
    let at = |mistake| ConfigProblem::at(path, &text, mistake);
    let document = Document::parse(&text)
        .map_err(|mistakes| mistakes.into_iter().map(at).collect::<Vec<_>>())?;
    let outcome = document.read::<Config>();
    let mut mistakes = outcome.mistakes;
    if let Some(config) = &outcome.value {
        let known: BTreeSet<String> = mistakes.iter().map(|known| known.key.clone()).collect();
        let rules = config.problems().into_iter().filter(|problem| {
            let table = problem.key.split('.').next().unwrap_or_default();
            // a rule about a key that was refused, or about a stand-in, is no news
            !known.contains(&problem.key) && !outcome.incomplete.contains(table)
        });
        mistakes.extend(rules.map(|problem| mistake_of(&document, problem)));
    }
    mistakes.sort_by_key(|mistake| mistake.span.start);
    match outcome.value {
        Some(config) if mistakes.is_empty() => Ok(Loaded {
            config,
            path: path.to_owned(),
            digest: digest(text.as_bytes()),
            text,
        }),
        _ => Err(mistakes.into_iter().map(at).collect()),
    }
}

impl Loaded {
    /// Where the secret files named by a bare name are.
    #[must_use]
    pub fn secret_dirs(&self) -> SecretDirs {
        SecretDirs {
            credentials: std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from),
            config: self.path.parent().unwrap_or(&self.path).to_owned(),
        }
    }

    /// What is wrong with the secret files it names: missing, empty, readable by everyone.
    #[must_use]
    pub fn secret_problems(&self) -> Vec<ConfigProblem> {
        let Ok(document) = Document::parse(&self.text) else {
            return Vec::new();
        };
        secrets::problems(&self.config, &self.secret_dirs())
            .into_iter()
            .map(|problem| {
                ConfigProblem::at(&self.path, &self.text, mistake_of(&document, problem))
            })
            .collect()
    }
}

impl Config {
    /// Rules that several keys break together, with the keys' full names.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut all = self.own_problems();
        let mut add =
            |table: &str, problems: Vec<Problem>| {
                all.extend(problems.into_iter().map(|problem| {
                    Problem::new(format!("{table}.{}", problem.key), problem.message)
                }));
            };
        if let Some(health) = &self.health {
            add("health", health.problems());
        }
        if let Some(mysql) = &self.mysql {
            add("mysql", mysql.problems());
        }
        if let Some(redis) = &self.redis {
            add("redis", redis.problems());
        }
        let wants_fleet = self.mysql.as_ref().is_some_and(|it| it.wants_fleet());
        if wants_fleet && self.redis.is_none() {
            let text = "\"fleet\" needs [redis], by which agents tell each other what was written";
            add("mysql", vec![Problem::new("consistency", text)]);
        }
        let socket = self.mysql.as_ref().and_then(Proxy::internal_socket);
        for (index, problem) in warm::problems(&self.warm, socket.is_some()) {
            add(&format!("warm.{index}"), vec![problem]);
        }
        for (index, problem) in self.holdoff_problems() {
            add(&format!("warm.{index}"), vec![problem]);
        }
        for (index, entry) in self.sync.iter().enumerate() {
            add(&format!("sync.{index}"), entry.problems());
        }
        add("platform", self.platform.problems());
        all
    }

    /// Jobs whose keys are under a hold-off that ends before what a replica does not have yet.
    fn holdoff_problems(&self) -> Vec<(usize, Problem)> {
        let (Some(mysql), Some(redis)) = (&self.mysql, &self.redis) else {
            return Vec::new();
        };
        if mysql.replicas.is_empty() {
            return Vec::new();
        }
        let behind = mysql.monitor.behind_max();
        let jobs = self.warm.iter().enumerate();
        jobs.filter_map(|(index, job)| {
            let short = redis.prefix.iter().find(|rule| {
                job.may_be_behind_under(&rule.prefix)
                    && rule.holdoff.is_some_and(|holdoff| holdoff.get() <= behind)
            })?;
            let message = format!(
                "of replicas that may be {behind:?} behind brings back what was deleted before: the holdoff of {:?} must be longer than that; or write read_from = \"primary\"",
                short.prefix
            );
            Some((index, Problem::new("read_from", message)))
        })
        .collect()
    }

    fn own_problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (key, deadline) in [
            ("shutdown.drain_deadline", self.shutdown.drain_deadline),
            ("shutdown.command_deadline", self.shutdown.command_deadline),
        ] {
            let allowed = Duration::from_millis(100)..=Duration::from_secs(3600);
            if !allowed.contains(&deadline.get()) {
                problems.push(Problem::new(key, "must be from 100ms to 1h"));
            }
        }
        for (key, program) in [
            ("shutdown.on_leave", &self.shutdown.on_leave),
            ("shutdown.on_return", &self.shutdown.on_return),
        ] {
            if program.first().is_some_and(|it| !it.starts_with('/')) {
                problems.push(Problem::new(
                    key,
                    "write the program's absolute path, then its arguments",
                ));
            }
        }
        if !self.warm.is_empty() && self.redis.is_none() {
            problems.push(Problem::new(
                "warm",
                "needs [redis]: the keys have to be kept somewhere",
            ));
        }
        if let Err(error) = EnvFilter::try_new(&self.telemetry.log_filter) {
            problems.push(Problem::new(
                "telemetry.log_filter",
                format!("{error}; write for example \"info,lamplighter_mysql=debug\""),
            ));
        }
        // which entry it is stands in the message
        problems.extend(
            lamplighter_sync::config::problems_between(&self.sync)
                .into_iter()
                .map(|problem| Problem::new("sync", problem.message)),
        );
        if !self.state.dir.is_absolute() {
            problems.push(Problem::new("state.dir", "write an absolute path"));
        }
        let any = self.health.is_some()
            || self.mysql.is_some()
            || self.redis.is_some()
            || !self.sync.is_empty();
        if !any {
            problems.push(Problem::new(
                "",
                "no table turns any subsystem on; the smallest useful file is the line [health]",
            ));
        }
        problems
    }

    /// The configuration as TOML, every default filled in, fit to be shown: addresses carry no user information and no
    /// signatures, and secrets are not in it in the first place.
    ///
    /// # Errors
    /// If a value cannot be written as TOML: a bug.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        let text = toml::to_string(self)?;
        Ok(text.lines().map(|line| redact::line(line) + "\n").collect())
    }
}

fn mistake_of(document: &Document<'_>, problem: Problem) -> Mistake {
    Mistake {
        span: document.locate(&problem.key),
        message: if problem.key.is_empty() {
            problem.message
        } else {
            format!("{}: {}", problem.key, problem.message)
        },
        help: None,
        key: problem.key,
    }
}

fn read(path: &Path) -> Result<String, Box<ConfigProblem>> {
    let of_file = |message: String, help| Box::new(ConfigProblem::of_file(path, message, help));
    let unreadable = |error: std::io::Error| {
        let help = match error.kind() {
            std::io::ErrorKind::NotFound => {
                Some("name the file with --config; there is no built-in configuration to run on")
            }
            std::io::ErrorKind::PermissionDenied => Some(
                "the agent's user must be able to read it; it holds no secret, so mode 0644 is fine",
            ),
            _ => None,
        };
        of_file(format!("cannot read the configuration: {error}"), help)
    };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(SIZE_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if u64::try_from(bytes.len()).is_ok_and(|size| size > SIZE_MAX) {
        return Err(of_file(
            "the configuration is larger than 1MiB; is this the right file?".to_owned(),
            None,
        ));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let bytes = error.into_bytes();
        let line = bytes.iter().take(good).filter(|b| **b == b'\n').count() + 1;
        of_file(
            format!("line {line} of the configuration is not UTF-8 text"),
            None,
        )
    })
}

/// FNV-1a over the bytes: it tells versions of a file apart and protects nothing.
fn digest(bytes: &[u8]) -> String {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests;
