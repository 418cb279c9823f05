//! A real MariaDB over TLS: Debian's, with the account and the rows of [`super::mysql`].

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::mysql::{APP, MON};
use super::pki::Authority;
use super::process::Process;
use super::scratch::Scratch;
use super::{ports, programs};

/// How long it may take to start.
const START: Duration = Duration::from_secs(60);

/// The server. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct MariaDb {
    process: Process,
    port: u16,
    authority: Authority,
    scratch: Scratch,
}

impl MariaDb {
    /// Makes its data directory, starts it and returns when it answers.
    pub(crate) fn start() -> Self {
        let scratch = Scratch::new("mariadb");
        let authority = Authority::new(&scratch.join("ca"));
        let certificate = authority.issue("mariadb");
        let port = ports::free();
        let data = scratch.join("data");
        let user = if rustix::process::geteuid().is_root() {
            "--user=root"
        } else {
            "--skip-grant-tables=0"
        };
        initialise(&scratch, &data, user);
        let (app, mon) = (APP, MON);
        let seed = format!(
            "CREATE DATABASE app; CREATE DATABASE test;\n\
             CREATE USER {}@'%' IDENTIFIED BY '{}'; GRANT ALL ON app.* TO {0}@'%'; GRANT ALL ON test.* TO {0}@'%';\n\
             CREATE USER {}@'%' IDENTIFIED BY '{}'; GRANT REPLICATION CLIENT, PROCESS, SLAVE MONITOR ON *.* TO {2}@'%';\n\
             CREATE TABLE app.kv (id INT PRIMARY KEY, v VARCHAR(100) NOT NULL);\n\
             INSERT INTO app.kv SELECT seq, CONCAT('value-', seq) FROM app.app_seq;\n",
            app.0, app.1, mon.0, mon.1
        )
        .replace("app_seq", "seq_1_to_1000");
        let mut command = Command::new(programs::find("mariadbd", "drivers"));
        command
            .args(["--no-defaults", user, "--bind-address=127.0.0.1"])
            .args([
                "--skip-name-resolve",
                "--innodb-buffer-pool-size=32M",
                "--max-allowed-packet=128M",
            ])
            .args([
                "--plugin-maturity=unknown",
                "--character-set-server=utf8mb4",
            ])
            .arg(format!("--datadir={}", data.display()))
            .arg(format!("--socket={}", scratch.join("s").display()))
            .arg(format!("--pid-file={}", scratch.join("pid").display()))
            .arg(format!("--port={port}"))
            .arg(format!("--ssl-cert={}", certificate.cert.display()))
            .arg(format!("--ssl-key={}", certificate.key.display()));
        let mut process = Process::spawn("mariadbd", &mut command, &scratch.join("error.log"));
        let socket = scratch.join("s");
        process.wait_ready(START, || sql(&socket, "SELECT 1"));
        sql(&socket, &seed).expect("the accounts and rows");
        Self {
            process,
            port,
            authority,
            scratch,
        }
    }

    /// `127.0.0.1:port`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Runs SQL as root.
    #[track_caller]
    pub(crate) fn sql(&self, text: &str) {
        sql(&self.socket(), text).unwrap_or_else(|error| panic!("MariaDB: {error}\nin: {text}"));
    }

    /// The unix socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.scratch.join("s")
    }

    /// The authority that signed its certificate, as a PEM file.
    pub(crate) fn ca_path(&self) -> PathBuf {
        self.authority.ca()
    }
}

fn initialise(scratch: &Scratch, data: &Path, user: &str) {
    let output = Command::new(programs::find("mariadb-install-db", "drivers"))
        .args([
            "--no-defaults",
            user,
            "--auth-root-authentication-method=normal",
        ])
        .args(["--skip-test-db", "--skip-name-resolve"])
        .arg(format!("--datadir={}", data.display()))
        .current_dir(scratch.path())
        .output()
        .expect("mariadb-install-db runs");
    assert!(
        output.status.success(),
        "mariadb-install-db: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Runs SQL as root.
fn sql(socket: &Path, text: &str) -> Result<String, String> {
    let output = Command::new(programs::find("mariadb", "drivers"))
        .args(["--no-defaults", "--batch", "--user=root", "--execute", text])
        .arg("--socket")
        .arg(socket)
        .output()
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}
