//! Files from a real blob service (Azurite) to disk, by the real agent: what arrives, what does not, and what every fault does.

mod faults;
mod pulls;
mod rclone;
mod releases;
mod uploads;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::agent::{Agent, http_get};
use crate::support::azurite::Server;
use crate::support::process::Signal;
use crate::support::{poll, ports};

const BINARY: &str = env!("CARGO_BIN_EXE_lamplighter");
/// Far more than anything here takes on a busy machine.
const SOON: Duration = Duration::from_secs(60);
const CONTAINER: &str = "www";
/// Where half-done files are, below the destination.
const STAGING: &str = ".lamplighter-staging";

/// A file tree: name below the destination, content.
type Tree = BTreeMap<String, Vec<u8>>;

/// A container, and an agent that pulls it.
struct Pull {
    agent: Agent,
    probe: String,
    metrics: String,
    path: PathBuf,
}

/// A blob service with one empty container.
fn storage() -> Server {
    let server = Server::start();
    server.create_container(CONTAINER);
    server
}

impl Pull {
    /// Pulls from `url` with a connection string, every second, with `more` keys of the entry.
    fn start(server: &Server, url: &str, more: &str) -> Self {
        let auth = ("connection_string_file", server.connection_string());
        Self::with_secret(url, auth, more)
    }

    /// The same with a credential of one's own: the key that names its file, and what is in it.
    fn with_secret(url: &str, auth: (&str, String), more: &str) -> Self {
        Self::by(&[], url, auth, more)
    }

    /// The same started by another program, as [`support::agent::Builder::by`] says.
    fn by(program: &[&str], url: &str, (key, secret): (&str, String), more: &str) -> Self {
        let [probe, metrics, admin] = [(); 3].map(|()| format!("127.0.0.1:{}", ports::free()));
        let builder = Agent::builder(BINARY).by(program);
        builder.secret("storage", &secret);
        let path = match more.lines().find_map(|line| line.strip_prefix("path = ")) {
            Some(path) => PathBuf::from(path.trim_matches('"')),
            None => builder.dir().join("tree"),
        };
        let path_key = if more.contains("path = ") {
            ""
        } else {
            "path = \"{dir}/tree\""
        };
        let config = format!(
            "[state]\ndir = \"{{dir}}/state\"\n[health]\nlisten = \"{probe}\"\nmetrics_listen = \"{metrics}\"\n\
             admin_listen = \"{admin}\"\nadmin_socket = \"{{dir}}/admin.sock\"\nruntime_dir = \"{{dir}}/run\"\n\
             [[sync]]\nname = \"site\"\ncontainer = \"{url}\"\n{path_key}\n{key} = \"{{dir}}/storage\"\ninterval = \"1s\"\n{more}\n"
        );
        Self {
            agent: builder.start(&config),
            probe,
            metrics,
            path,
        }
    }

    /// What is on disk below the destination; nothing of staging.
    fn tree(&self) -> Tree {
        tree_of(&self.path)
    }

    /// Waits until the disk holds exactly `wanted`, and nothing is left half done.
    #[track_caller]
    fn wait_tree(&self, wanted: &Tree) {
        poll::until(SOON, "the tree", || {
            let tree = self.tree();
            let staged = self.staged();
            if tree == *wanted && staged == 0 {
                return Ok(());
            }
            let names = |tree: &Tree| tree.keys().cloned().collect::<Vec<_>>().join(" ");
            let other: Vec<_> = wanted
                .iter()
                .filter(|(name, content)| tree.get(*name).is_some_and(|found| found != *content))
                .map(|(name, _)| name)
                .collect();
            Err(format!(
                "{staged} staged, other content {other:?}, names: {}",
                names(&tree)
            ))
        });
    }

    /// How many files are half done.
    fn staged(&self) -> usize {
        fs::read_dir(self.path.join(STAGING)).map_or(0, Iterator::count)
    }

    /// The value of `lamplighter_sync_<series>`; none while the agent does not answer.
    fn metric(&self, series: &str) -> Option<f64> {
        let response = crate::support::http::get(&self.metrics, "/metrics").ok()?;
        let text = response.text();
        let prefix = format!("lamplighter_sync_{series} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&prefix))?;
        line.parse().ok()
    }

    /// Waits until `lamplighter_sync_<series>` satisfies `wanted`.
    #[track_caller]
    fn wait_metric(&self, series: &str, wanted: impl Fn(f64) -> bool) {
        poll::until(SOON, series, || match self.metric(series) {
            Some(value) if wanted(value) => Ok(()),
            other => Err(format!("{other:?}\n{}", self.agent.log())),
        });
    }

    /// Waits until the entry's line on the health board is `condition`.
    #[track_caller]
    fn wait_health(&self, condition: &str) {
        let line = format!(
            "lamplighter_health_component{{component=\"sync:site\",condition=\"{condition}\"}} 1"
        );
        poll::until(SOON, &line, || {
            let (_, _, text) = http_get(&self.metrics, "/metrics");
            if text.contains(&line) {
                Ok(())
            } else {
                Err(self.agent.log())
            }
        });
    }

    /// Waits for a pass that begins after this call, and ends complete.
    #[track_caller]
    fn wait_pass(&self) {
        let series = "cycles_total{job=\"site\",result=\"complete\"}";
        let before = self.metric(series).unwrap_or(0.0);
        // one may be under way
        self.wait_metric(series, |now| now >= before + 2.0);
    }
}

/// Every file below `root`, links as what they are; nothing of staging.
fn tree_of(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut left = vec![root.to_owned()];
    while let Some(dir) = left.pop() {
        // what goes away while it is read is not there
        let Ok(entries) = fs::read_dir(&dir) else {
            continue;
        };
        for entry in entries.flatten() {
            let path = entry.path();
            if entry.file_name() == STAGING {
                continue;
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                left.push(path);
            } else if let Ok(content) = fs::read(&path) {
                let name = path.strip_prefix(root).expect("below the root");
                tree.insert(name.to_str().expect("UTF-8").to_owned(), content);
            }
        }
    }
    tree
}

/// Uploads every file of `tree`.
fn upload(server: &Server, tree: &Tree) {
    for (name, content) in tree {
        server.put(CONTAINER, name, content);
    }
}

/// A tree from text.
fn texts<const N: usize>(files: [(&str, &str); N]) -> Tree {
    files
        .into_iter()
        .map(|(name, content)| (name.to_owned(), content.as_bytes().to_vec()))
        .collect()
}

/// `count` files of `size` bytes, each recognisable at every place.
fn many(count: usize, size: usize) -> Tree {
    (0..count)
        .map(|file| {
            let content = (0..size)
                .map(|at| (at / 251 + file).to_le_bytes()[0])
                .collect();
            (format!("d{}/f{file:04}", file % 7), content)
        })
        .collect()
}

fn inode(path: &Path) -> u64 {
    fs::metadata(path).expect("a file").ino()
}
