//! A proxy with shards behind it that nobody sees, as Azure Managed Redis with the "Enterprise" policy (`enterprise_redis.py`), in front of a
//! real cluster.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::Server;
use super::cluster::Cluster;
use crate::support::process::Process;
use crate::support::scratch::Scratch;
use crate::support::{ports, programs};

/// What the proxy shows to the nodes; nobody else knows it.
const NODE_PASSWORD: &str = "node-secret";

/// The running proxy and what is behind it.
#[derive(Debug)]
pub(crate) struct Enterprise {
    /// The shards.
    pub(crate) shards: Cluster,
    _process: Process,
    port: u16,
    scratch: Scratch,
}

impl Enterprise {
    /// Starts three shards and the proxy, which lets in whoever shows `password`. Its certificate has its name alone.
    pub(crate) fn start(password: &str) -> Self {
        let shards = Cluster::start(3, || Server::builder().password(NODE_PASSWORD));
        let scratch = Scratch::new("enterprise");
        let certificate = shards.nodes[0]
            .authority()
            .issue_named("enterprise", "DNS:localhost");
        let passwords = scratch.write("passwords", password);
        let port = ports::free();
        let mut command = Command::new(programs::find("python3", "base"));
        command
            .arg(programs::tests_dir().join("support/enterprise_redis.py"))
            .args(["--listen", &port.to_string()])
            .arg("--cert")
            .arg(&certificate.cert)
            .arg("--key")
            .arg(&certificate.key)
            .arg("--passwords")
            .arg(passwords)
            .args(["--node-password", NODE_PASSWORD])
            .args(shards.nodes.iter().map(|node| node.port().to_string()));
        let log = scratch.join("enterprise.log");
        let mut process = Process::spawn("enterprise", &mut command, &log);
        process.wait_ready(Duration::from_secs(20), || {
            std::net::TcpStream::connect(("127.0.0.1", port)).map(drop)
        });
        Self {
            shards,
            _process: process,
            port,
            scratch,
        }
    }

    /// `rediss://` with its name.
    pub(crate) fn url(&self) -> String {
        format!("rediss://localhost:{}", self.port)
    }

    /// The authority that signed its certificate.
    pub(crate) fn ca_path(&self) -> PathBuf {
        self.shards.nodes[0].ca_path()
    }

    /// Which passwords and tokens it takes from now on.
    pub(crate) fn accept(&self, passwords: &str) {
        self.scratch.write("passwords", passwords);
    }
}
