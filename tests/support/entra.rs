//! A MySQL server that lets tokens in (`entra_mysql.py`), in front of a real one that has the account `entra`.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::mysql::Cluster;
use super::process::Process;
use super::scratch::Scratch;
use super::{ports, programs};

/// The account that whoever shows a token becomes; for [`super::mysql::Builder::schema`].
pub(crate) const ACCOUNT: &str =
    "CREATE USER entra@'%' IDENTIFIED BY ''; GRANT REPLICATION CLIENT ON *.* TO entra@'%';";

/// The running server.
#[derive(Debug)]
pub(crate) struct EntraMysql {
    process: Process,
    port: u16,
    tokens: PathBuf,
    scratch: Scratch,
}

impl EntraMysql {
    /// Starts it in front of `cluster`'s primary, with a certificate of the cluster's authority; it takes any token.
    pub(crate) fn start(cluster: &Cluster) -> Self {
        let scratch = Scratch::new("entra");
        let certificate = cluster.authority().issue("entra");
        let tokens = scratch.path().join("tokens");
        std::fs::write(&tokens, "*").expect("the list of tokens");
        let port = ports::free();
        let mut command = Command::new(programs::find("python3", "base"));
        command
            .arg(programs::tests_dir().join("support/entra_mysql.py"))
            .args(["--listen", &port.to_string()])
            .args(["--server", &cluster.port(0).to_string()])
            .arg("--cert")
            .arg(&certificate.cert)
            .arg("--key")
            .arg(&certificate.key)
            .arg("--tokens")
            .arg(&tokens);
        let log = scratch.path().join("entra.log");
        let mut process = Process::spawn("entra", &mut command, &log);
        process.wait_ready(Duration::from_secs(20), || {
            std::net::TcpStream::connect(("127.0.0.1", port)).map(drop)
        });
        Self {
            process,
            port,
            tokens,
            scratch,
        }
    }

    /// `127.0.0.1:port`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Which tokens it takes from now on: `"*"` is any, an empty text is none.
    pub(crate) fn accept(&self, tokens: &str) {
        std::fs::write(&self.tokens, tokens).expect("the list of tokens");
    }
}
