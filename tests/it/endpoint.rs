//! The agent with a MySQL endpoint in front of a cluster, as the query tests use it.

use std::path::PathBuf;
use std::time::Duration;

use crate::support::agent::{Agent, http_get};
use crate::support::mariadb::MariaDb;
use crate::support::mysql::{APP, Cluster, MON, shared};
use crate::support::{php, poll, ports};

/// How long the agent may take for anything these tests wait for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What differs from test to test.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// Further keys of `[mysql]`.
    pub(crate) keys: String,
    /// Further keys of `[mysql.clients.job]`.
    pub(crate) job: String,
    /// How often the monitor looks, if not five times a second.
    pub(crate) monitor_interval: Option<&'static str>,
    /// Keys of `[mysql.pool]`.
    pub(crate) pool: String,
    /// Further tables.
    pub(crate) tables: String,
    /// The primary's address, if it is not the cluster's.
    pub(crate) primary: Option<String>,
    /// The replicas' addresses, if they are not the cluster's.
    pub(crate) replicas: Option<Vec<String>>,
    /// The CA, if it is not the cluster's.
    pub(crate) ca: Option<PathBuf>,
    /// The password, if it is not the right one.
    pub(crate) password: Option<String>,
    /// What starts the agent, if it does not start by itself; see [`crate::support::network::Network::by`].
    pub(crate) by: Vec<String>,
}

/// A running agent.
pub(crate) struct Endpoint {
    pub(crate) agent: Agent,
    pub(crate) metrics: String,
    pub(crate) probe: String,
    pub(crate) tcp_port: u16,
}

/// Starts the agent in front of `cluster` and waits until it is ready.
pub(crate) fn start(cluster: &Cluster, options: Options) -> Endpoint {
    let builder = Agent::builder(env!("CARGO_BIN_EXE_lamplighter"));
    builder.secret("app-password", options.password.as_deref().unwrap_or(APP.1));
    builder.secret("mon-password", MON.1);
    builder.secret("job-password", "job-secret");
    let [probe, metrics, admin, tcp] = [ports::free(), ports::free(), ports::free(), ports::free()];
    let nodes = cluster.nodes().skip(1);
    let replicas = options
        .replicas
        .unwrap_or_else(|| nodes.map(|node| cluster.address(node)).collect());
    // a server that is away is told at once, where waiting for it is not what is tested
    let at_once = if options.pool.contains("failover_wait") {
        ""
    } else {
        "failover_wait = \"0s\"\n"
    };
    let pool = format!("{at_once}{}", options.pool);
    let config = format!(
        r#"
[health]
listen = "127.0.0.1:{probe}"
metrics_listen = "127.0.0.1:{metrics}"
admin_listen = "127.0.0.1:{admin}"
admin_socket = "{{dir}}/admin.sock"
runtime_dir = "{{dir}}/run"
[mysql]
listen = ["unix:{{dir}}/mysql.sock", "tcp:127.0.0.1:{tcp}"]
primary = "{primary}"
replicas = {replicas:?}
user = "{user}"
password_file = "{{dir}}/app-password"
tls = {{ ca = "{ca}", verify = "identity" }}
{keys}
[mysql.clients.web]
peer_users = ["{uid}", "www-data"]
[mysql.clients.job]
password_file = "{{dir}}/job-password"
{job}
[mysql.monitor]
interval = "{interval}"
user = "{mon}"
password_file = "{{dir}}/mon-password"
[mysql.pool]
{pool}
{tables}
"#,
        primary = options.primary.unwrap_or_else(|| cluster.address(0)),
        user = APP.0,
        ca = options.ca.unwrap_or_else(|| cluster.ca_path()).display(),
        keys = options.keys,
        job = options.job,
        interval = options.monitor_interval.unwrap_or("200ms"),
        pool = pool,
        tables = options.tables,
        uid = rustix::process::getuid().as_raw(),
        mon = MON.0,
    );
    let by: Vec<&str> = options.by.iter().map(String::as_str).collect();
    let mut agent = builder.by(&by).start(&config);
    agent.wait_ready(PATIENCE);
    let address = |port: u16| format!("127.0.0.1:{port}");
    Endpoint {
        agent,
        metrics: address(metrics),
        probe: address(probe),
        tcp_port: tcp,
    }
}

/// Starts the agent in front of MariaDB, whose replicas the options name, and waits until it is ready.
pub(crate) fn start_on_mariadb(server: &MariaDb, options: Options) -> Endpoint {
    let options = Options {
        primary: Some(server.address()),
        replicas: options.replicas.or(Some(Vec::new())),
        ca: Some(server.ca_path()),
        ..options
    };
    // nothing is left that it would be asked for
    start(shared(), options)
}

impl Endpoint {
    /// The unix socket.
    pub(crate) fn socket(&self) -> String {
        self.agent.dir().join("mysql.sock").display().to_string()
    }

    /// A program of `tests/php/` that connects as `web`.
    pub(crate) fn script(&self, name: &str) -> php::Script {
        php::Script::file(name).env(&[("SOCKET", self.socket().as_str())])
    }

    /// Code that has the helpers of `tests/php/mysql.php`.
    pub(crate) fn code(&self, code: &str) -> php::Script {
        let library = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/php/mysql.php");
        php::Script::code(&format!("require '{library}'; {code}"))
            .env(&[("SOCKET", self.socket().as_str())])
    }

    /// The value of a series, with its labels as the exposition shows them; 0 if it is not there.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let (_, _, body) = http_get(&self.metrics, "/metrics");
        let line = body.lines().find(|line| {
            line.strip_prefix(series)
                .is_some_and(|rest| rest.starts_with(' '))
        });
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
            .unwrap_or(0.0)
    }

    /// Waits until the primary has been logged in to: the greeting is the server's own from then on.
    pub(crate) fn wait_opened(&self, cluster: &Cluster) {
        let address = cluster.address(0);
        let series = format!("lamplighter_mysql_connections_opened_total{{server=\"{address}\"}}");
        poll::until(PATIENCE, "a connection to the primary", || {
            let opened = self.metric(&series);
            if opened > 0.5 { Ok(()) } else { Err(opened) }
        });
    }

    /// Waits until the monitor has found `count` servers that may be read from, the primary among them.
    pub(crate) fn wait_readable(&self, cluster: &Cluster, count: usize) {
        let servers: Vec<_> = cluster.nodes().map(|node| cluster.address(node)).collect();
        self.wait_fit(&servers, count);
    }

    /// Waits until the monitor has found `count` of these servers fit to be read from.
    pub(crate) fn wait_fit(&self, servers: &[String], count: usize) {
        poll::until(PATIENCE, "servers found fit", || {
            let is_fit = |address: &&String| {
                self.metric(&format!(
                    "lamplighter_mysql_server_readable{{server=\"{address}\"}}"
                )) > 0.5
            };
            let fit = servers.iter().filter(is_fit).count();
            if fit == count {
                Ok(())
            } else {
                Err(format!("{fit} of {count}"))
            }
        });
    }
}
