//! A whole machine: Apache and PHP in front of the agent, MySQL, Redis and Azurite behind it, Azure's metadata service beside it; and
//! what a visitor of the application sees of all that.

use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::{PATIENT, SOON};
use crate::probe::Probed;
use crate::probe::application_health::State;
use crate::support::agent::{Agent, Builder};
use crate::support::azurite;
use crate::support::imds::Imds;
use crate::support::mysql::{APP, Cluster, MON};
use crate::support::poll;
use crate::support::redis;
use crate::support::web::Apache;

/// The table that [`Machine::page`] writes to.
pub(super) const VISITS: &str = "CREATE TABLE app.visits (id INT PRIMARY KEY, n INT NOT NULL); INSERT INTO app.visits VALUES (1, 0);";

/// What is in Redis under `greeting`, and in the file `a.txt`.
const GREETING: &str = "hello";
const FILE: &str = "one";
pub(super) const CONTAINER: &str = "www";

/// The parts of the page.
pub(super) const PARTS: [&str; 4] = ["read", "write", "cache", "file"];

/// More than any test works while visitors come.
const LONGEST: Duration = Duration::from_secs(300);

/// The servers that machines share.
pub(super) struct Servers {
    pub(super) cluster: Cluster,
    pub(super) redis: redis::Server,
    pub(super) storage: azurite::Server,
}

impl Servers {
    /// A primary with so many replicas, Redis, and a storage account.
    pub(super) fn start(replicas: usize) -> Self {
        std::thread::scope(|scope| {
            let builder = Cluster::builder().replicas(replicas).schema(VISITS);
            let cluster = scope.spawn(|| builder.build());
            let storage = azurite::Server::start();
            furnish(&storage);
            let redis = redis::Server::builder().start();
            greet(&redis);
            Self {
                cluster: cluster.join().expect("MySQL"),
                redis,
                storage,
            }
        })
    }

    /// Those that all tests share that do no harm to them. They end with the process.
    pub(super) fn shared() -> &'static Self {
        static SHARED: OnceLock<Servers> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(0))
    }

    /// A machine that uses them directly, with keys of `[platform.events]`.
    pub(super) fn machine(&self, events: &str) -> Machine {
        self.machine_beside(Imds::start(), events)
    }

    /// As [`Self::machine`], beside a metadata service that was told something already.
    pub(super) fn machine_beside(&self, imds: Imds, events: &str) -> Machine {
        let builder = builder();
        let tables = self.tables(&builder, &self.cluster.address(0));
        Machine::start_with(builder, imds, &tables, events)
    }

    /// The tables of an agent that uses all of them; `primary` is where it finds the primary.
    pub(super) fn tables(&self, builder: &Builder, primary: &str) -> String {
        builder.secret("app", APP.1);
        builder.secret("mon", MON.1);
        builder.secret("storage", &self.storage.connection_string());
        let replicas: Vec<String> = self
            .cluster
            .nodes()
            .skip(1)
            .map(|it| self.cluster.address(it))
            .collect();
        format!(
            "[mysql]\nlisten = [\"unix:{{dir}}/mysql.sock\"]\nprimary = \"{primary}\"\nreplicas = {replicas:?}\nuser = \"{}\"\n\
             password_file = \"{{dir}}/app\"\ntls = {{ ca = \"{}\" }}\nconnect_timeout = \"10s\"\n{}\
             [mysql.monitor]\nuser = \"{}\"\npassword_file = \"{{dir}}/mon\"\n[mysql.pool]\nfailover_wait = \"500ms\"\n{PATIENT}\
             [redis]\n{REDIS_SOCKET}upstream = \"{}\"\ncommand_timeout = \"10s\"\n\
             [[sync]]\nname = \"site\"\ncontainer = \"{}\"\npath = \"{{dir}}/tree\"\nconnection_string_file = \"{{dir}}/storage\"\n\
             interval = \"1s\"\nmin_free = \"64KiB\"\n",
            APP.0,
            self.cluster.ca_path().display(),
            clients(),
            MON.0,
            self.redis.url(),
            self.storage.container_url(CONTAINER),
        )
    }
}

/// Where PHP may reach what: whoever serves the page is `www-data` where the tests are root.
pub(super) const REDIS_SOCKET: &str =
    "listen = [\"unix:{dir}/redis.sock\"]\nsocket_mode = \"0666\"\n";

/// Who may log in to MySQL: the tests' own user, and the web server's.
pub(super) fn clients() -> String {
    let own = rustix::process::getuid().as_raw();
    format!("[mysql.clients.web]\npeer_users = [\"{own}\", \"www-data\"]\n")
}

/// Puts there what the page shows of Redis.
pub(super) fn greet(redis: &redis::Server) {
    redis.cli(&["SET", "greeting", GREETING]);
}

/// Puts there what the page shows of the storage.
pub(super) fn furnish(storage: &azurite::Server) {
    storage.create_container(CONTAINER);
    storage.put(CONTAINER, "a.txt", FILE);
}

/// A machine that serves the page.
pub(super) struct Machine {
    pub(super) probed: Probed,
    pub(super) imds: Imds,
    web: Apache,
}

impl Machine {
    /// `builder`'s agent with `tables` and keys of `[platform.events]`, an Apache in front of it; waits until the page is whole.
    pub(super) fn start(builder: Builder, tables: &str, events: &str) -> Self {
        Self::start_with(builder, Imds::start(), tables, events)
    }

    /// As [`Self::start`], beside a metadata service that was told something already.
    pub(super) fn start_with(builder: Builder, imds: Imds, tables: &str, events: &str) -> Self {
        let dir = builder.dir().display().to_string();
        let web = Apache::builder()
            .file("index.php", &crate::tidy::read("tests/php/page.php"))
            .file("healthz.php", "<?php echo 'up';")
            .env("AGENT", &dir)
            .start();
        let config = format!(
            "[health.web]\nurl = \"{}\"\ntimeout = \"10s\"\n{}{tables}",
            web.url("/healthz.php"),
            super::tables(&imds, events),
        );
        let mut probed = Probed::start(builder, &config);
        open(probed.agent.dir());
        probed.agent.wait_ready(SOON);
        let machine = Self { probed, imds, web };
        machine.wait_whole();
        machine
    }

    /// What a visitor is given.
    pub(super) fn page(&self) -> Result<Value, String> {
        let answer = self.web.get("/")?;
        let page = serde_json::from_slice(&answer.body);
        page.map_err(|error| format!("{}: {error}: {}", answer.status, answer.text()))
    }

    /// Whether `parts` of the page are as they should be.
    pub(super) fn serves(&self, parts: &[&str]) -> Result<(), String> {
        let page = self.page()?;
        let wanted = [
            ("read", "value-1"),
            ("write", "done"),
            ("cache", GREETING),
            ("file", FILE),
        ];
        let odd = |(part, text): &&(&str, &str)| parts.contains(part) && page[*part] != *text;
        match wanted.iter().find(odd) {
            Some((part, _)) => Err(format!("{part}: {page}")),
            None => Ok(()),
        }
    }

    /// Whether the page is whole.
    pub(super) fn is_whole(&self) -> Result<(), String> {
        self.serves(&PARTS)
    }

    /// Waits until the page is whole and the load balancer sends visitors.
    #[track_caller]
    pub(super) fn wait_whole(&self) {
        self.probed.wait(200);
        poll::until(SOON, "a whole page", || self.is_whole());
    }

    /// Whether the load balancer and Application Health leave the machine as it is.
    pub(super) fn stays(&self) -> Result<(), String> {
        stays(&self.probed)
    }

    /// Does `work` while visitors come one after the other: each must get `parts` of the page as they should be, from a machine that
    /// is in the pool and healthy.
    pub(super) fn visited(&self, parts: &[&str], work: impl FnOnce()) {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let visitors = scope.spawn(|| {
                let mut visits = 0;
                poll::until(LONGEST, "the end of the visits", || {
                    visits += 1;
                    let troubled = self.serves(parts).and_then(|()| self.stays()).err();
                    assert!(
                        troubled.is_none(),
                        "visit {visits}: {troubled:?}\n{}",
                        self.probed.agent.log()
                    );
                    over.load(Ordering::Relaxed)
                });
                visits
            });
            let ended = Ended(&over);
            work();
            drop(ended);
            let visits: u32 = visitors.join().expect("the visitors saw nothing odd");
            assert!(visits > 1, "nobody came");
        });
    }
}

/// Whether the load balancer and Application Health leave a machine as it is.
pub(super) fn stays(probed: &Probed) -> Result<(), String> {
    let answer = probed.ask("/lb")?;
    match (answer.status, probed.state()) {
        (200, State::Healthy) => Ok(()),
        (status, state) => Err(format!("{status} {state:?} {}", answer.text())),
    }
}

/// The names that `/lb` says are degraded.
pub(super) fn degraded(probed: &Probed) -> String {
    let answer = probed.ask("/lb").ok();
    let names = answer.and_then(|it| it.header("x-degraded").map(str::to_owned));
    names.unwrap_or_default()
}

/// Lets the web server's user into the agent's directory.
fn open(dir: &Path) {
    let mode = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
    std::fs::set_permissions(dir, mode).expect("the folder's mode");
}

/// Ends the visits, also where the work failed.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A builder of the agent under test.
pub(super) fn builder() -> Builder {
    Agent::builder(env!("CARGO_BIN_EXE_lamplighter"))
}
