//! One `[[sync]]` entry: its keys, their defaults and the rules that several keys break together. Pure; no IO.

mod defaults;
mod values;

use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};

use lamplighter_core::config::{Problem, SecretFile};
use lamplighter_core::tls::TlsConfig;
use lamplighter_core::units::{Bytes, Millis, Percent};
use serde::{Deserialize, Serialize};

pub(crate) use values::Filters;
pub use values::{ContainerUrl, Filter, OctalMode};

/// One container (or a part of it) that is kept in step with one directory.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The entry's name: metric label, health line (`sync:<name>`) and state file. Lower-case letters, digits, `-`, `_`; at most 64.
    pub name: String,
    /// `"pull"` (default): from the container to the directory. `"push"`: from the directory to the container. `"both"`: each
    /// way, for a directory that several instances write to.
    #[serde(default)]
    pub direction: Direction,
    /// The container's URL, `https://<account>.blob.core.windows.net/<container>`, without a SAS in it. Plain http only to loopback.
    pub container: ContainerUrl,
    /// Only blobs whose name begins with this; it is not part of the local path. Empty (default) or ending in `/`.
    #[serde(default)]
    pub prefix: String,
    /// The directory, absolute. Made if missing.
    pub path: PathBuf,
    /// `"tree"` (default): file by file in place. `"release"`: below `path`, `releases/<id>` is built beside the live one, and
    /// the link `current` is switched to it once it is whole. Only with `direction = "pull"`.
    #[serde(default)]
    pub mode: Mode,
    /// Whether the container's manifest (written by `lamplighter publish`) is followed instead of its list. Default `"auto"`:
    /// if there is one.
    #[serde(default)]
    pub manifest: Manifest,
    /// How long between two looks at every local file while a manifest says that nothing changed. Default 5 min.
    #[serde(default = "defaults::check_interval")]
    pub check_interval: Millis,
    /// How long a release that was live stays on disk in any case: PHP's workers may go on with it until their caches of
    /// paths (`realpath_cache_ttl`) have expired. Default 5 min.
    #[serde(default = "defaults::release_grace")]
    pub release_grace: Millis,
    /// How many releases stay on disk, 2 to 100. Default 3: the live one, and two to go back to.
    #[serde(default = "defaults::keep_releases")]
    pub keep_releases: u8,
    /// A command, as a list of its words, that is run without a shell after each switch to another release, or after each pass
    /// in tree mode that changed a file. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after_change: Vec<String>,
    /// The least time between two runs of `after_change`; a change meanwhile is followed by one run when it is over. Default 10 s.
    #[serde(default = "defaults::after_change_interval")]
    pub after_change_interval: Millis,
    /// How long `after_change` may take before it is ended. Default 60 s.
    #[serde(default = "defaults::after_change_timeout")]
    pub after_change_timeout: Millis,
    /// How long between two passes. Default 30 s: a list of up to 2,000 blobs is one request.
    #[serde(default = "defaults::interval")]
    pub interval: Millis,
    /// How far each pause is stretched or shortened at random, so that instances don't ask in step. Default 20%.
    #[serde(default = "defaults::jitter")]
    pub jitter: Percent,
    /// `"managed-identity"`: the identity of the instance, no secret anywhere. Excludes the two files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// File with a shared access signature (`sv=...&sig=...`), read again when it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sas_file: Option<SecretFile>,
    /// File with a storage connection string (account key or SAS), read again when it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_string_file: Option<SecretFile>,
    /// Whom to trust when the container's URL is https.
    #[serde(default)]
    pub tls: TlsConfig,
    /// Ordered rules over the names below `prefix`; the first that matches decides, no match means included.
    /// What is excluded is neither written nor deleted.
    #[serde(default)]
    pub filters: Vec<Filter>,
    /// Mode of the files, octal. Default `"0644"`: the web server reads, only the owner writes.
    #[serde(default = "defaults::file_mode")]
    pub file_mode: OctalMode,
    /// Mode of directories the agent makes, octal. Default `"0755"`.
    #[serde(default = "defaults::dir_mode")]
    pub dir_mode: OctalMode,
    /// User (name or number) that owns what is written. Default: the agent's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Group (name or number) of what is written. Default: the agent's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// `"managed"` (default): a file the agent wrote goes when its blob is gone. `"never"`: nothing is deleted.
    /// Files the agent did not write always stay.
    #[serde(default)]
    pub delete: DeletePolicy,
    /// A pass that would delete more files than this deletes none and raises the guard. Default 1000.
    #[serde(default = "defaults::max_delete")]
    pub max_delete: u64,
    /// A pass that would delete more than this share of the files deletes none and raises the guard; not looked at for ten files
    /// or fewer. Default 50%.
    #[serde(default = "defaults::max_delete_percent")]
    pub max_delete_percent: Percent,
    /// How long what is deleted is kept in `.lamplighter-trash` below `path`. Default: not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trash: Option<Millis>,
    /// What happens when a file was changed here and in the container. Default `"keep-both"`. Only with `"push"` and `"both"`.
    #[serde(default)]
    pub conflict: Conflict,
    /// Whether a file deleted here is deleted in the container. Default false. Only with `"push"` and `"both"`.
    #[serde(default)]
    pub push_deletes: bool,
    /// How long a file must have been left alone before it is pushed. Default 500 ms.
    #[serde(default = "defaults::debounce")]
    pub debounce: Millis,
    /// Loopback address on which `GET /files/<name>/<path>` gives a blob at once. Default: none. Entries may share it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_through: Option<SocketAddr>,
    /// Whether the instance waits for the first complete pass before it takes traffic. Default false.
    #[serde(default)]
    pub required: bool,
    /// After how long a `required` entry gives up waiting, so that a storage fault cannot keep every new instance out. Default 10 min.
    #[serde(default = "defaults::required_deadline")]
    pub required_deadline: Millis,
    /// Most requests for files at a time, beside one for the next page of the list; 1 to 256. Default 32; throttling by the storage lowers it for a while.
    #[serde(default = "defaults::concurrency")]
    pub concurrency: u16,
    /// Most bytes between network and disk. Default 16 MiB.
    #[serde(default = "defaults::bytes_in_flight")]
    pub bytes_in_flight: Bytes,
    /// Most bytes per second from and to the storage, of this entry. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<Bytes>,
    /// Free space to leave on the file system of `path`. Default 64 MiB.
    #[serde(default = "defaults::min_free")]
    pub min_free: Bytes,
    /// When written data is forced to disk. Default `"cycle"`.
    #[serde(default)]
    pub fsync: Fsync,
    /// What to do with a blob whose content is not what its Content-MD5 says. Default `"refuse"`.
    #[serde(default)]
    pub on_checksum_mismatch: OnMismatch,
    /// Longest time to connect to the storage. Default 5 s.
    #[serde(default = "defaults::connect_timeout")]
    pub connect_timeout: Millis,
    /// Longest silence of the storage within an answer. Default 20 s.
    #[serde(default = "defaults::stall_timeout")]
    pub stall_timeout: Millis,
}

/// Who the agent is for the storage, if not the bearer of a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Auth {
    /// The identity that Azure gave the instance.
    ManagedIdentity,
}

/// Which way files go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Container to directory.
    #[default]
    Pull,
    /// Directory to container.
    Push,
    /// Each way.
    Both,
}

/// Whether a manifest is followed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Manifest {
    /// If there is one, or was one.
    #[default]
    Auto,
    /// It must be there.
    Require,
    /// The list decides.
    Ignore,
}

/// What happens when a file was changed on both sides.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Conflict {
    /// The container's version keeps the name, the local one gets another.
    #[default]
    KeepBoth,
    /// The local version is dropped.
    RemoteWins,
    /// The container's version is overwritten.
    LocalWins,
}

/// How the directory is brought up to date.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Each file is replaced on its own, as soon as it is there.
    #[default]
    Tree,
    /// A whole release is built beside the live one and switched to at once.
    Release,
}

/// What may be deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeletePolicy {
    /// Files the agent wrote.
    #[default]
    Managed,
    /// Nothing.
    Never,
}

/// When written data is forced to disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fsync {
    /// Once after each pass, before the index says so: a power cut costs a new comparison of the last pass.
    #[default]
    Cycle,
    /// Each file before it takes its name: also a power cut shows no torn file.
    File,
    /// Left to the kernel.
    Never,
}

/// What to do with a blob whose content is not what its Content-MD5 says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnMismatch {
    /// Keep the old file, count an error, ask again ever more rarely until the blob changes.
    #[default]
    Refuse,
    /// Take it: the publisher is known to write wrong sums.
    Accept,
}

/// The longest name of an entry.
const NAME_MAX: usize = 64;
/// The most requests at a time one entry may ask for.
const CONCURRENCY_MAX: u16 = 256;
/// The least `bytes_in_flight`: one file's buffers.
const BYTES_IN_FLIGHT_MIN: Bytes = Bytes::from_mib(1);
/// The fewest and the most releases that stay on disk.
const RELEASES_MIN: u8 = 2;
const RELEASES_MAX: u8 = 100;
/// The shortest pause between two passes.
const INTERVAL_MIN: Millis = Millis::from_secs(1);

impl Config {
    /// The rules that serde cannot express; keys are relative to the entry.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        self.combinations(&mut problems);
        self.places(&mut problems);
        self.quantities(&mut problems);
        let mut problem = |key: &str, message: String| problems.push(Problem::new(key, message));
        let plain = self.container.as_url().scheme() == "http";
        match (self.auth, &self.sas_file, &self.connection_string_file) {
            (None, None, None) => problem(
                "sas_file",
                "no credential: name a file in sas_file or in connection_string_file, or write auth = \"managed-identity\"".to_owned(),
            ),
            (Some(_), Some(_), _) | (Some(_), _, Some(_)) => problem(
                "auth",
                "auth, sas_file and connection_string_file exclude each other".to_owned(),
            ),
            (Some(_), ..) if plain => problem(
                "auth",
                "a token is not sent over plain http; write https".to_owned(),
            ),
            (None, Some(_), Some(_)) => problem(
                "sas_file",
                "sas_file and connection_string_file exclude each other".to_owned(),
            ),
            _ => {}
        }
        if !self.tls.enabled {
            problem(
                "tls.enabled",
                "the URL's scheme says whether TLS is used; leave this out".to_owned(),
            );
        }
        if self.tls.server_name.is_some() {
            problem(
                "tls.server_name",
                "not available for the storage; the name in the URL is expected".to_owned(),
            );
        }
        for (place, filter) in self.filters.iter().enumerate() {
            if let Err(error) = filter.compile() {
                problem("filters", format!("rule {}: {error}", place + 1));
            }
        }
        problems
    }

    fn combinations(&self, problems: &mut Vec<Problem>) {
        let mut problem = |key: &str, message: String| problems.push(Problem::new(key, message));
        if self.direction != Direction::Pull && self.mode == Mode::Release {
            problem(
                "mode",
                "\"release\" only pulls; write direction = \"pull\"".to_owned(),
            );
        }
        if self.direction != Direction::Pull && self.manifest == Manifest::Require {
            problem(
                "manifest",
                "a manifest describes what `lamplighter publish` wrote; it is only pulled"
                    .to_owned(),
            );
        }
        if self.direction == Direction::Pull
            && (self.push_deletes || self.conflict != Conflict::default())
        {
            problem(
                "direction",
                "push_deletes and conflict need direction = \"push\" or \"both\"".to_owned(),
            );
        }
        if !(RELEASES_MIN..=RELEASES_MAX).contains(&self.keep_releases) {
            problem(
                "keep_releases",
                format!(
                    "{} is not between {RELEASES_MIN} and {RELEASES_MAX}",
                    self.keep_releases
                ),
            );
        }
        if self
            .read_through
            .is_some_and(|address| !address.ip().is_loopback())
        {
            problem(
                "read_through",
                "must be a loopback address, for example \"127.0.0.1:8472\": whoever reaches it reads the container".to_owned(),
            );
        }
        if self
            .after_change
            .first()
            .is_some_and(|program| !program.starts_with('/'))
        {
            problem(
                "after_change",
                "the command's first word must be an absolute path".to_owned(),
            );
        }
    }

    fn places(&self, problems: &mut Vec<Problem>) {
        let mut problem = |key: &str, message: String| problems.push(Problem::new(key, message));
        let may_be_in_a_name =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
        if self.name.is_empty()
            || self.name.len() > NAME_MAX
            || !self.name.chars().all(may_be_in_a_name)
        {
            problem(
                "name",
                format!(
                    "{:?}: use 1 to {NAME_MAX} lower-case letters, digits, '-' and '_'",
                    self.name
                ),
            );
        }
        let goes_up = self
            .path
            .components()
            .any(|part| part == Component::ParentDir);
        if !self.path.is_absolute() || goes_up {
            problem(
                "path",
                format!(
                    "{} is not an absolute path without \"..\"",
                    self.path.display()
                ),
            );
        } else if self.path == Path::new("/") {
            problem(
                "path",
                "the root of the file system cannot be a destination".to_owned(),
            );
        }
        if !self.prefix.is_empty() && (!self.prefix.ends_with('/') || self.prefix.starts_with('/'))
        {
            problem(
                "prefix",
                format!("{:?} must end in '/' and not begin with it", self.prefix),
            );
        }
    }

    fn quantities(&self, problems: &mut Vec<Problem>) {
        let mut problem = |key: &str, message: String| problems.push(Problem::new(key, message));
        if self.interval < INTERVAL_MIN {
            problem(
                "interval",
                format!("{} is too short; at least {INTERVAL_MIN}", self.interval),
            );
        }
        if !(1..=CONCURRENCY_MAX).contains(&self.concurrency) {
            problem(
                "concurrency",
                format!(
                    "{} is not between 1 and {CONCURRENCY_MAX}",
                    self.concurrency
                ),
            );
        }
        if self.bytes_in_flight < BYTES_IN_FLIGHT_MIN {
            problem(
                "bytes_in_flight",
                format!(
                    "{} is too little; at least {BYTES_IN_FLIGHT_MIN}",
                    self.bytes_in_flight
                ),
            );
        }
        for (key, time) in [
            ("connect_timeout", self.connect_timeout),
            ("stall_timeout", self.stall_timeout),
            ("after_change_timeout", self.after_change_timeout),
            ("debounce", self.debounce),
            ("check_interval", self.check_interval),
        ] {
            if time.as_u64() == 0 {
                problem(key, "must be longer than nothing".to_owned());
            }
        }
    }
}

/// The rules over all entries together: names are unique, and no directory lies within another's.
#[must_use]
pub fn problems_between(entries: &[Config]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (place, entry) in entries.iter().enumerate() {
        for earlier in entries.iter().take(place) {
            if entry.name == earlier.name {
                problems.push(Problem::new(
                    "name",
                    format!("{:?} is used twice", entry.name),
                ));
            }
            if entry.path.starts_with(&earlier.path) || earlier.path.starts_with(&entry.path) {
                problems.push(Problem::new(
                    "path",
                    format!(
                        "{} ({:?}) and {} ({:?}) overlap",
                        entry.path.display(),
                        entry.name,
                        earlier.path.display(),
                        earlier.name
                    ),
                ));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests;
