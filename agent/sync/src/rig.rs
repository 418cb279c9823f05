//! What the tests of this crate start from: an entry in a temporary directory on a store in memory. Test code only.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lamplighter_core::metrics::{Registry, encode};
use lamplighter_core::units::Bytes;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::attempts::Attempts;
use crate::config::{Config, Fsync};
use crate::cycle::{Engine, Names, Report};
use crate::fetch::Fetcher;
use crate::index;
use crate::metrics::Metrics;
use crate::pace::{Bandwidth, Governor};
use crate::publish::{Publication, Published, publish_to};
use crate::pull::Puller;
use crate::store::fake::Fake;

/// The longest range of one request in tests, in bytes.
pub(crate) const RANGE: u64 = 1024 * 1024;

/// An entry as the file would hold it, with the least that it needs.
pub(crate) fn config(path: &Path) -> Config {
    let text = format!(
        "name = \"site\"\ncontainer = \"https://account.blob.core.windows.net/www\"\npath = {:?}\nsas_file = \"/s\"\nmin_free = \"1B\"\n",
        path.display().to_string()
    );
    toml::from_str(&text).unwrap()
}

/// One entry, ready for passes.
pub(crate) struct Rig {
    pub(crate) dir: TempDir,
    pub(crate) fake: Fake,
    pub(crate) engine: Engine<Fake>,
    pub(crate) registry: Registry,
    pub(crate) quit: CancellationToken,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(&dir.path().join("tree"));
        config.bytes_in_flight = Bytes::from_mib(4);
        config.fsync = Fsync::Never;
        change(&mut config);
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        let (fake, quit) = (Fake::new(), CancellationToken::new());
        let engine = engine(config, fake.clone(), dir.path(), &metrics, &quit);
        Self {
            dir,
            fake,
            engine,
            registry,
            quit,
        }
    }

    /// The same entry after a restart: nothing but the disk is remembered.
    pub(crate) fn restart(&mut self) {
        self.registry = Registry::new();
        let metrics = Metrics::register(&self.registry).unwrap();
        self.quit = CancellationToken::new();
        let config = self.engine.config.clone();
        self.engine = engine(
            config,
            self.fake.clone(),
            self.dir.path(),
            &metrics,
            &self.quit,
        );
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.engine.config.path.join(name)
    }

    pub(crate) fn index_path(&self) -> PathBuf {
        self.dir.path().join("site.index")
    }

    /// The way the entry pulls, as after a start.
    pub(crate) fn puller(&self) -> Puller {
        Puller::new(&self.engine.config, self.dir.path(), "test".to_owned())
    }

    /// Publishes `tree` as `release`.
    pub(crate) async fn publish(
        &self,
        release: &str,
        tree: &BTreeMap<String, String>,
    ) -> Published {
        let publication = self.publication(release, tree);
        publish_to(&self.engine.config, self.fake.clone(), publication, |_| {})
            .await
            .unwrap()
    }

    /// A directory that holds `tree`, to be published.
    pub(crate) fn publication(
        &self,
        release: &str,
        tree: &BTreeMap<String, String>,
    ) -> Publication {
        let dir = self.dir.path().join(format!("publish-{release}"));
        // the same release again is another tree
        let _gone = std::fs::remove_dir_all(&dir);
        for (name, content) in tree {
            let path = dir.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        Publication {
            dir,
            release: Some(release.to_owned()),
            bundle: true,
        }
    }

    pub(crate) async fn cycle(&self) -> Report {
        self.engine.cycle(&Names::List).await
    }

    /// A pass that must end complete; the requests it made.
    pub(crate) async fn complete(&self) -> Vec<String> {
        self.fake.take_log();
        let report = self.cycle().await;
        assert!(report.is_complete(), "{report:?}");
        self.fake.take_log()
    }

    /// Every file below the destination with its content; staging is not shown, but must be empty.
    pub(crate) fn tree(&self) -> BTreeMap<String, String> {
        let mut files = BTreeMap::new();
        let root = &self.engine.config.path;
        let mut left = vec![root.clone()];
        while let Some(dir) = left.pop() {
            for entry in std::fs::read_dir(&dir).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(root).unwrap().display().to_string();
                if path.symlink_metadata().unwrap().is_dir() {
                    left.push(path);
                    continue;
                }
                assert!(!name.starts_with(".lamplighter"), "left in staging: {name}");
                let content =
                    std::fs::read(&path).unwrap_or_else(|error| error.to_string().into_bytes());
                files.insert(name, String::from_utf8_lossy(&content).into_owned());
            }
        }
        files
    }

    pub(crate) fn metric(&self, series: &str) -> f64 {
        let text = encode(&self.registry).unwrap();
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("lamplighter_sync_{series} ")));
        let line = line.unwrap_or_else(|| panic!("no {series} in\n{text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }
}

fn engine(
    config: Config,
    fake: Fake,
    dir: &Path,
    metrics: &Metrics,
    quit: &CancellationToken,
) -> Engine<Fake> {
    let attempts = Attempts {
        stall: config.stall_timeout.get(),
        governor: Arc::new(Governor::new(usize::from(config.concurrency))),
        bandwidth: Arc::new(Bandwidth::new(None)),
        progress: Arc::default(),
        frozen: false,
        metrics: metrics.job(&config.name),
        quit: quit.clone(),
        abandon: CancellationToken::new(),
    };
    let store = Arc::new(fake);
    let fetcher = Fetcher::new(Arc::clone(&store), &config);
    Engine {
        fetcher: Arc::new(fetcher.with_ranges_of(RANGE)),
        index: index::Store::new(dir.join("site.index"), "test".to_owned()),
        store,
        attempts,
        config,
    }
}

/// `files!["a" => "1", ...]` as [`Rig::tree`] gives it.
pub(crate) fn files<const N: usize>(list: [(&str, &str); N]) -> BTreeMap<String, String> {
    list.into_iter()
        .map(|(name, content)| (name.to_owned(), content.to_owned()))
        .collect()
}
