//! Real MySQL 9: a primary with GTID replicas over TLS, each server with its own unix socket and port.
//!
//! Node 0 is the primary at first. Accounts, all with `caching_sha2_password`: [`APP`] and [`OTHER`] (everything on the
//! schemas `app`, `sbtest` and `test`), [`TLS_ONLY`] (as `app`, refused without TLS), [`MON`] (replication status and process list).
//! `app.kv` holds the rows (1, 'value-1') to (1000, 'value-1000'), `app.heartbeat` is empty.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::pki::{Authority, Certificate};
use super::process::Process;
use super::scratch::Scratch;
use super::{poll, ports, programs};

mod client;
pub(crate) mod raw;
mod seed;

pub(crate) use client::{Connection, LogLine, Rows};

/// The ordinary account: name and password.
pub(crate) const APP: (&str, &str) = ("app", "app-secret");
/// A second ordinary account.
pub(crate) const OTHER: (&str, &str) = ("other", "other-secret");
/// May connect with TLS only.
pub(crate) const TLS_ONLY: (&str, &str) = ("tlsonly", "tls-secret");
/// For the agent's monitor: REPLICATION CLIENT and PROCESS.
pub(crate) const MON: (&str, &str) = ("mon", "mon-secret");

/// How long a server may take to start; it takes about a second on an idle machine.
const START: Duration = Duration::from_secs(60);
/// How long replicas may take to catch up.
const CATCH_UP: Duration = Duration::from_secs(30);

/// What to start. See [`Cluster::builder`].
#[derive(Debug, Default)]
pub(crate) struct Builder {
    replicas: usize,
    cnf: String,
    schema: String,
    general_log: bool,
    in_memory: bool,
}

impl Builder {
    /// How many replicas follow the primary; none by default.
    pub(crate) fn replicas(mut self, count: usize) -> Self {
        self.replicas = count;
        self
    }

    /// Lines added to `[mysqld]` of every server; they win over the fixture's own.
    pub(crate) fn cnf(mut self, lines: &str) -> Self {
        self.cnf.push_str(lines);
        self.cnf.push('\n');
        self
    }

    /// Switches the performance schema on, which costs memory and start time.
    pub(crate) fn performance_schema(self) -> Self {
        self.cnf("performance-schema=ON")
    }

    /// Writes every server's general log from the start; see [`Cluster::general_log`].
    pub(crate) fn general_log(mut self) -> Self {
        self.general_log = true;
        self
    }

    /// Keeps the data in memory if there is room: no stall of the disk is a stall of the server.
    pub(crate) fn in_memory(mut self) -> Self {
        self.in_memory = true;
        self
    }

    /// SQL to run on the primary before the constructor returns; the replicas have it then, too.
    pub(crate) fn schema(mut self, sql: &str) -> Self {
        self.schema.push_str(sql);
        self
    }

    /// Starts the servers and returns when every replica follows and has what the primary has.
    pub(crate) fn build(self) -> Cluster {
        let scratch = if self.in_memory {
            Scratch::in_memory("mysql")
        } else {
            Scratch::new("mysql")
        };
        let authority = Authority::new(&scratch.join("ca"));
        let certificate = authority.issue("server");
        let seed = seed::datadir();
        let nodes = (0..=self.replicas)
            .map(|index| Node::lay_out(index, &scratch, &authority, &certificate, &seed, &self))
            .collect();
        let cluster = Cluster {
            nodes,
            authority,
            primary: Mutex::new(0),
            scratch,
        };
        std::thread::scope(|scope| {
            for node in 1..cluster.nodes.len() {
                let cluster = &cluster;
                scope.spawn(move || {
                    cluster.start(node);
                    cluster.follow(node, 0);
                });
            }
            cluster.start(0);
        });
        if !self.schema.is_empty() {
            cluster.sql(0, &self.schema);
        }
        cluster.wait_replicas();
        cluster
    }
}

/// A primary and its replicas. All methods take `&self`, so that threads can share it.
#[derive(Debug)]
pub(crate) struct Cluster {
    // servers stop before their directory goes
    nodes: Vec<Node>,
    authority: Authority,
    primary: Mutex<usize>,
    scratch: Scratch,
}

#[derive(Debug)]
struct Node {
    dir: PathBuf,
    port: u16,
    process: Mutex<Option<Process>>,
}

impl Drop for Node {
    fn drop(&mut self) {
        // an orderly end would take a second to write what is thrown away at once
        if let Some(mut process) = lock(&self.process).take() {
            process.end_now();
        }
    }
}

impl Node {
    fn lay_out(
        index: usize,
        scratch: &Scratch,
        authority: &Authority,
        tls: &Certificate,
        seed: &Path,
        builder: &Builder,
    ) -> Self {
        let dir = scratch.join(&format!("n{index}"));
        std::fs::create_dir_all(dir.join("tmp")).expect("the server's folder");
        let copied = Command::new("cp")
            .args(["-a", "--reflink=auto", "--sparse=always"])
            .args([seed, &dir.join("data")])
            .status()
            .expect("cp runs");
        assert!(copied.success(), "cannot copy {}", seed.display());
        let port = ports::free();
        let mut cnf = seed::base_cnf(&dir);
        cnf += &format!(
            "port={port}\nbind-address=127.0.0.1\nreport-host=127.0.0.1\nreport-port={port}\nserver-id={}\n\
             ssl-ca={}\nssl-cert={}\nssl-key={}\ngeneral-log={}\n{}",
            index + 1,
            authority.ca().display(),
            tls.cert.display(),
            tls.key.display(),
            u8::from(builder.general_log),
            builder.cnf,
        );
        std::fs::write(dir.join("my.cnf"), cnf).expect("my.cnf");
        Self {
            dir,
            port,
            process: Mutex::new(None),
        }
    }
}

impl Cluster {
    /// A primary alone unless told otherwise.
    pub(crate) fn builder() -> Builder {
        Builder::default()
    }

    /// The TCP port of `node` on 127.0.0.1.
    pub(crate) fn port(&self, node: usize) -> u16 {
        self.nodes[node].port
    }

    /// `127.0.0.1:port` of `node`.
    pub(crate) fn address(&self, node: usize) -> String {
        format!("127.0.0.1:{}", self.port(node))
    }

    /// The unix socket of `node`.
    pub(crate) fn socket(&self, node: usize) -> PathBuf {
        self.nodes[node].dir.join("s")
    }

    /// The authority that signed the servers' certificate, as a PEM file.
    pub(crate) fn ca_path(&self) -> PathBuf {
        self.authority.ca()
    }

    /// The authority itself, to issue further certificates.
    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Which node is the primary now.
    pub(crate) fn primary(&self) -> usize {
        *lock(&self.primary)
    }

    /// The numbers of all nodes, primary included.
    pub(crate) fn nodes(&self) -> std::ops::Range<usize> {
        0..self.nodes.len()
    }

    /// The process id of `node`, which must be running.
    pub(crate) fn pid(&self, node: usize) -> u32 {
        lock(&self.nodes[node].process)
            .as_ref()
            .expect("the server runs")
            .pid()
    }

    /// The error log of `node`.
    pub(crate) fn error_log(&self, node: usize) -> String {
        std::fs::read_to_string(self.nodes[node].dir.join("error.log")).unwrap_or_default()
    }

    /// Starts `node` after [`Self::kill`] or [`Self::stop`], on the same port, and waits until it answers. Its replication
    /// goes on by itself.
    pub(crate) fn start(&self, node: usize) {
        let Node { dir, process, .. } = &self.nodes[node];
        let mut slot = lock(process);
        assert!(slot.is_none(), "mysql node {node} runs already");
        let mut command = Command::new(programs::find_cached("mysql9/bin/mysqld", "mysql"));
        command.arg(format!("--defaults-file={}", dir.join("my.cnf").display()));
        if rustix::process::geteuid().is_root() {
            command.arg("--user=root");
        }
        let mut process = Process::spawn(
            format!("mysql node {node}"),
            &mut command,
            &dir.join("error.log"),
        );
        let socket = self.socket(node);
        process.wait_ready(START, || std::os::unix::net::UnixStream::connect(&socket));
        poll::until(START, "mysqld to answer a query", || {
            client::query(&socket, "SELECT 1")
        });
        *slot = Some(process);
    }

    /// SIGKILL to `node`: connections are reset, data stays.
    pub(crate) fn kill(&self, node: usize) {
        self.take(node).kill();
    }

    /// Stops `node` in order: clients get error 1053, data stays.
    pub(crate) fn stop(&self, node: usize) {
        self.take(node).stop();
    }

    /// Serves another certificate on `node`, which must be down, from the next [`Self::start`] on: an expired one, or one for
    /// another name ([`Self::authority`] issues them). A running server would refuse to load a bad one.
    pub(crate) fn use_certificate(&self, node: usize, certificate: &Certificate) {
        let path = self.nodes[node].dir.join("my.cnf");
        let old = std::fs::read_to_string(&path).expect("my.cnf");
        let (cert, key) = (certificate.cert.display(), certificate.key.display());
        std::fs::write(path, format!("{old}\nssl-cert={cert}\nssl-key={key}\n")).expect("my.cnf");
    }

    /// SIGSTOP to `node`: connections stay open, new ones are accepted by the kernel, nothing answers.
    pub(crate) fn freeze(&self, node: usize) {
        lock(&self.nodes[node].process)
            .as_mut()
            .expect("the server runs")
            .freeze();
    }

    /// Lets `node` go on after [`Self::freeze`].
    pub(crate) fn thaw(&self, node: usize) {
        lock(&self.nodes[node].process)
            .as_mut()
            .expect("the server runs")
            .thaw();
    }

    fn take(&self, node: usize) -> Process {
        lock(&self.nodes[node].process)
            .take()
            .expect("the server runs")
    }

    /// Makes `node` apply everything `seconds` late, so that its reads are stale and its lag grows; 0 ends it.
    pub(crate) fn lag(&self, node: usize, seconds: u32) {
        self.sql(
            node,
            &format!("STOP REPLICA SQL_THREAD; CHANGE REPLICATION SOURCE TO SOURCE_DELAY={seconds}; START REPLICA SQL_THREAD"),
        );
    }

    /// Stops applying on `node`: stale for good, and its lag reads NULL.
    pub(crate) fn stop_sql(&self, node: usize) {
        self.sql(node, "STOP REPLICA SQL_THREAD");
    }

    /// Goes on applying.
    pub(crate) fn start_sql(&self, node: usize) {
        self.sql(node, "START REPLICA SQL_THREAD");
    }

    /// Stops receiving on `node`.
    pub(crate) fn stop_io(&self, node: usize) {
        self.sql(node, "STOP REPLICA IO_THREAD");
    }

    /// Goes on receiving.
    pub(crate) fn start_io(&self, node: usize) {
        self.sql(node, "START REPLICA IO_THREAD");
    }

    /// Makes `node` the primary once it has applied all it received, and every other running node its replica.
    pub(crate) fn promote(&self, node: usize) {
        self.sql(node, "STOP REPLICA IO_THREAD");
        let received = self
            .replica_status(node, "Retrieved_Gtid_Set")
            .unwrap_or_default();
        self.sql(
            node,
            &format!(
                "SELECT WAIT_FOR_EXECUTED_GTID_SET('{received}', {}); STOP REPLICA; RESET REPLICA ALL; \
                 SET PERSIST super_read_only=OFF; SET PERSIST read_only=OFF",
                CATCH_UP.as_secs()
            ),
        );
        *lock(&self.primary) = node;
        for other in self.nodes().filter(|other| *other != node) {
            if lock(&self.nodes[other].process).is_some() {
                self.follow(other, node);
            }
        }
    }

    /// Makes `node` a read-only replica of `source`.
    pub(crate) fn follow(&self, node: usize, source: usize) {
        self.sql(
            node,
            &format!(
                "STOP REPLICA; CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT={}, SOURCE_USER='repl', \
                 SOURCE_PASSWORD='repl-secret', SOURCE_AUTO_POSITION=1, SOURCE_SSL=1, SOURCE_SSL_CA='{}', \
                 SOURCE_CONNECT_RETRY=1, SOURCE_RETRY_COUNT=86400, SOURCE_HEARTBEAT_PERIOD=1; \
                 START REPLICA; SET PERSIST super_read_only=ON",
                self.port(source),
                self.ca_path().display()
            ),
        );
    }

    /// Goes on without GTIDs on every node, as servers of Azure do unless high availability is on ("Disabling GTID Transactions Online").
    pub(crate) fn forget_gtids(&self) {
        for node in self.nodes().filter(|node| *node != self.primary()) {
            self.sql(node, "STOP REPLICA");
            let status = |column| self.replica_status(node, column).expect("a replica");
            let (file, at) = (
                status("Relay_Source_Log_File"),
                status("Exec_Source_Log_Pos"),
            );
            self.sql(
                node,
                &format!("CHANGE REPLICATION SOURCE TO SOURCE_AUTO_POSITION=0, SOURCE_LOG_FILE='{file}', SOURCE_LOG_POS={at}; START REPLICA"),
            );
        }
        let set = |mode: &str| {
            for node in self.nodes() {
                self.sql(node, &format!("SET GLOBAL gtid_mode={mode}"));
            }
        };
        set("ON_PERMISSIVE");
        set("OFF_PERMISSIVE");
        // what has a GTID cannot be applied any more after the last step
        self.wait_replicas();
        set("OFF");
    }

    /// Waits until every running replica has executed what the primary has. A lagging or stopped one fails the test.
    pub(crate) fn wait_replicas(&self) {
        let primary = self.primary();
        let done = self.gtid_executed(primary);
        for node in self.nodes().filter(|node| *node != primary) {
            if lock(&self.nodes[node].process).is_some() {
                poll::until(
                    CATCH_UP,
                    &format!("mysql node {node} to have {done}"),
                    || self.has_executed(node, &done),
                );
            }
        }
    }

    /// `@@gtid_executed` of `node`, without line breaks.
    pub(crate) fn gtid_executed(&self, node: usize) -> String {
        self.sql(node, "SELECT @@GLOBAL.gtid_executed")[0][0].replace('\n', "")
    }

    fn has_executed(&self, node: usize, gtids: &str) -> Result<(), String> {
        match self.sql(
            node,
            &format!("SELECT GTID_SUBSET('{gtids}', @@GLOBAL.gtid_executed)"),
        )[0][0]
            .as_str()
        {
            "1" => Ok(()),
            _ => Err(format!(
                "it has {}; last errors: {:?} {:?}",
                self.gtid_executed(node),
                self.replica_status(node, "Last_IO_Error"),
                self.replica_status(node, "Last_SQL_Error")
            )),
        }
    }

    /// One column of SHOW REPLICA STATUS of `node`; `None` when it is no replica or the column is NULL.
    pub(crate) fn replica_status(&self, node: usize, column: &str) -> Option<String> {
        client::replica_status(&self.socket(node), column)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One server without replicas; everything a [`Cluster`] can do with node 0.
#[derive(Debug)]
pub(crate) struct Single(Cluster);

impl Single {
    /// Starts it with the fixture's own settings.
    pub(crate) fn start() -> Self {
        Self(Cluster::builder().build())
    }

    /// Runs SQL as root; see [`Cluster::sql`].
    pub(crate) fn sql(&self, text: &str) -> Rows {
        self.0.sql(0, text)
    }
}

impl std::ops::Deref for Single {
    type Target = Cluster;
    fn deref(&self) -> &Cluster {
        &self.0
    }
}

/// A primary and two replicas shared by all tests of the process that do no harm to them: no faults, no settings, own table
/// names. They end with the process.
pub(crate) fn shared() -> &'static Cluster {
    static SHARED: OnceLock<Cluster> = OnceLock::new();
    SHARED.get_or_init(|| Cluster::builder().replicas(2).build())
}
