//! Warm jobs on a real Redis with TLS and a password and a real MySQL: what PHP reads, how many run it, and what every fault does.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use lamplighter_core::config::SecretDirs;
use lamplighter_core::fault::Fault;
use lamplighter_core::health::{Condition, HealthBoard};
use lamplighter_core::lifecycle::{
    Control, DrainSource, Phase, Stage, Supervisor, SupervisorConfig,
};
use lamplighter_core::metrics::{Registry, encode};
use lamplighter_core::net::Sockets;
use lamplighter_redis::warm::JobConfig;
use lamplighter_redis::{Config, Links, Metrics, Redis};

use crate::support::mysql::{self, Cluster};
use crate::support::poll;
use crate::support::redis::Server;
use crate::support::scratch::Scratch;

pub(crate) mod agent;
mod faults;
mod fleet;
mod sources;
mod strain;
mod values;

pub(crate) const PASSWORD: &str = "redis-secret";
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A job over `app.kv`, which the fixture fills with 1000 rows.
pub(crate) const KV: &str = "name = 'kv'\nkey = 'kv:{id}'\n\
                  query = 'SELECT id, v FROM app.kv WHERE id > ? ORDER BY id LIMIT 100'\n";

/// The same, 2 ms a row: two seconds in all.
const SLOW_KV: &str = "name = 'kv'\nkey = 'kv:{id}'\nbatch_keys = 50\nlease_ttl = '2s'\n\
    query = 'SELECT id, v FROM app.kv WHERE id > ? AND SLEEP(0.002) = 0 ORDER BY id LIMIT 100'\n";

pub(crate) fn tls_redis() -> Server {
    Server::builder().tls().password(PASSWORD).start()
}

/// Lets the agent in as its own endpoint does: as `lamplighter`, without a password.
const ACCOUNT: &str = "CREATE USER lamplighter@localhost IDENTIFIED BY ''; GRANT SELECT ON app.* TO lamplighter@localhost; ";

/// A MySQL of the test's own, to do harm to.
fn own_mysql() -> Cluster {
    // the account must outlive a SIGKILL, which what the fixture's servers have not yet flushed does not
    Cluster::builder()
        .cnf("innodb-flush-log-at-trx-commit=2")
        .schema(ACCOUNT)
        .build()
}

/// The unix socket of the MySQL that the harmless tests share, once `sql` has been run in it.
pub(crate) fn shared_mysql(sql: &str) -> PathBuf {
    static READY: OnceLock<()> = OnceLock::new();
    let cluster = mysql::shared();
    READY.get_or_init(|| drop(cluster.sql(cluster.primary(), ACCOUNT)));
    if !sql.is_empty() {
        cluster.sql(cluster.primary(), &format!("USE app; {sql}"));
    }
    cluster.socket(cluster.primary())
}

/// The subsystem in this process, with a supervisor of its own as in the agent.
pub(crate) struct Instance {
    registry: Registry,
    board: HealthBoard,
    control: Control,
    life: Option<std::thread::JoinHandle<Result<(), Fault>>>,
    pub(crate) secrets: Scratch,
}

impl Instance {
    pub(crate) fn start(redis: &Server, mysql: PathBuf, more: &str, jobs: &[&str]) -> Self {
        let secrets = Scratch::new("warm");
        secrets.write_secret("password", PASSWORD);
        Self::with_secrets(secrets, redis, mysql, more, jobs)
    }

    pub(crate) fn with_secrets(
        secrets: Scratch,
        redis: &Server,
        mysql: PathBuf,
        more: &str,
        jobs: &[&str],
    ) -> Self {
        Self::towards(secrets, &redis.url(), &redis.ca_path(), mysql, more, jobs)
    }

    /// Towards an address that is not the server's own.
    pub(crate) fn towards(
        secrets: Scratch,
        url: &str,
        ca: &Path,
        mysql: PathBuf,
        more: &str,
        jobs: &[&str],
    ) -> Self {
        let text = format!(
            "upstream = '{url}'\npassword_file = 'password'\ntls.ca = '{}'\n{more}",
            ca.display()
        );
        let links = Links {
            mysql_socket: Some(mysql),
            ..Links::default()
        };
        Self::from_text(secrets, &text, jobs, links)
    }

    /// From the text of `[redis]` and what the other parts of the agent give.
    pub(crate) fn from_text(secrets: Scratch, text: &str, jobs: &[&str], links: Links) -> Self {
        let config: Config = toml::from_str(text).unwrap();
        assert_eq!(config.problems(), [], "{text}");
        let jobs: Vec<JobConfig> = jobs
            .iter()
            .map(|job| toml::from_str(job).unwrap())
            .collect();
        assert_eq!(lamplighter_redis::warm::problems(&jobs, true), []);
        let (registry, board) = (Registry::new(), HealthBoard::new());
        let supervisor_config = SupervisorConfig {
            drain_deadline: Duration::from_secs(10),
            command_deadline: Duration::from_secs(10),
            shed_time: std::sync::Arc::new(|| Duration::ZERO),
        };
        let mut supervisor = Supervisor::new(supervisor_config, board.clone(), &registry).unwrap();
        let metrics = Metrics::register(&registry).unwrap();
        let dirs = SecretDirs {
            credentials: None,
            config: secrets.path().to_owned(),
        };
        let mut sockets = Sockets::none();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let entered = runtime.enter();
        let subsystem = Redis::start(&config, &jobs, links, &dirs, &mut sockets, metrics).unwrap();
        drop(entered);
        let (control, phases) = (supervisor.control(), supervisor.phases());
        let life = std::thread::spawn(move || {
            runtime.block_on(async {
                supervisor.add(Stage::Work, subsystem);
                supervisor.run().await
            })
        });
        // no server is waited for
        poll::until(Duration::from_secs(2), "the subsystem to be ready", || {
            *phases.borrow() == Phase::Ready
        });
        Self {
            registry,
            board,
            control,
            life: Some(life),
            secrets,
        }
    }

    /// The value of a series as `/metrics` shows it; `name` without its prefix.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        self.try_metric(name)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// A job that never succeeded has no time of its last success.
    pub(crate) fn try_metric(&self, name: &str) -> Result<f64, String> {
        let text = encode(&self.registry).unwrap();
        let full = format!("lamplighter_redis_{name} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&full));
        line.map(|value| value.parse().unwrap())
            .ok_or_else(|| format!("no series {name}"))
    }

    pub(crate) fn wait_metric(&self, name: &str, value: f64) {
        poll::until(SOON, &format!("{name} = {value}"), || {
            match self.try_metric(name) {
                Ok(seen) if seen >= value => Ok(()),
                seen => Err(format!("{seen:?}; {:?}", self.board.snapshot().reports)),
            }
        });
    }

    fn wait_done(&self, job: &str) {
        self.wait_metric(
            &format!("warm_runs_total{{job=\"{job}\",outcome=\"done\"}}"),
            1.0,
        );
    }

    fn errors(&self, kind: &str) -> f64 {
        self.metric(&format!("warm_errors_total{{job=\"kv\",kind=\"{kind}\"}}"))
    }

    /// Condition and reason of a line of the health board.
    pub(crate) fn health(&self, line: &str) -> (Condition, String) {
        let snapshot = self.board.snapshot();
        let report = &snapshot.reports[line];
        (report.condition, report.reason.clone())
    }

    pub(crate) fn wait_reason(&self, line: &str, part: &str) {
        poll::until(SOON, &format!("{part:?} on the board"), || {
            match self.health(line) {
                (Condition::Degraded, reason) if reason.contains(part) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
    }

    fn gate_is_open(&self, job: &str) -> bool {
        self.board.snapshot().gates[&*format!("redis:warm:{job}")]
    }

    /// Waits until a run is under way and has written its first keys.
    fn wait_midway(&self) {
        self.wait_metric("warm_keys_total{job=\"kv\"}", 100.0);
        assert_eq!(self.metric("warm_running{job=\"kv\"}"), 1.0);
    }

    fn runs(&self, outcome: &str) -> f64 {
        self.metric(&format!(
            "warm_runs_total{{job=\"kv\",outcome=\"{outcome}\"}}"
        ))
    }

    pub(crate) fn stop(&mut self) -> Duration {
        let started = Instant::now();
        self.control.drain(DrainSource::Signal);
        self.life
            .take()
            .expect("stopped once")
            .join()
            .unwrap()
            .unwrap();
        started.elapsed()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if self.life.is_some() && !std::thread::panicking() {
            self.stop();
        }
    }
}

pub(crate) fn dbsize(redis: &Server, pattern: &str) -> usize {
    redis.cli(&["--scan", "--pattern", pattern]).lines().count()
}

#[test]
fn rows_become_keys_with_a_life_of_their_own_and_a_second_instance_has_nothing_to_do() {
    let (redis, mysql) = (tls_redis(), shared_mysql(""));
    let job = format!("{KV}ttl = '100s'\nttl_jitter = '20%'\n");
    let mut first = Instance::start(&redis, mysql.clone(), "", &[&job]);
    first.wait_done("kv");
    assert_eq!(redis.cli(&["GET", "kv:7"]), r#"{"id":7,"v":"value-7"}"#);
    assert_eq!(dbsize(&redis, "kv:*"), 1000);
    let lives: Vec<i64> = (1..=200)
        .map(|id| redis.cli(&["PTTL", &format!("kv:{id}")]).parse().unwrap())
        .collect();
    let (shortest, longest) = (lives.iter().min().unwrap(), lives.iter().max().unwrap());
    assert!(*shortest > 60_000 && *shortest < 85_000, "{shortest}");
    assert!(*longest > 105_000 && *longest <= 120_000, "{longest}");
    assert_eq!(first.metric("warm_rows_total{job=\"kv\"}"), 1000.0);
    assert_eq!(first.metric("warm_keys_total{job=\"kv\"}"), 1000.0);
    assert!(first.metric("warm_last_success_timestamp_seconds{job=\"kv\"}") > 1.7e9);
    assert_eq!(
        redis.cli(&["EXISTS", "lmp:lease:{kv}"]),
        "0",
        "the lease is given back"
    );

    let second = Instance::start(&redis, mysql, "", &[&job]);
    second.wait_metric("warm_last_success_timestamp_seconds{job=\"kv\"}", 1.0);
    assert_eq!(second.metric("warm_rows_total{job=\"kv\"}"), 0.0);
    assert_eq!(second.runs("done"), 0.0);
    assert!(first.stop() < Duration::from_secs(2));
}
