//! A real MariaDB over TLS: Debian's, with the account and the rows of [`super::mysql`].

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::mysql::{APP, MON};
use super::pki::Authority;
use super::process::Process;
use super::scratch::Scratch;
use super::{poll, ports, programs};

/// For replicas.
const REPL: (&str, &str) = ("repl", "repl-secret");

/// How long it may take to start, and a replica to have what there is.
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
    /// One alone.
    pub(crate) fn start() -> Self {
        Self::with_rows(&[])
    }

    /// One that others can follow; see [`Self::replica`].
    pub(crate) fn source() -> Self {
        Self::with_rows(&["--log-bin=binlog", "--server-id=1"])
    }

    fn with_rows(options: &[&str]) -> Self {
        let scratch = Scratch::new("mariadb");
        let authority = Authority::new(&scratch.join("ca"));
        let server = Self::launch(scratch, authority, options);
        let (app, mon, repl) = (APP, MON, REPL);
        let seed = format!(
            "CREATE DATABASE app; CREATE DATABASE test;\n\
             CREATE USER {}@'%' IDENTIFIED BY '{}'; GRANT ALL ON app.* TO {0}@'%'; GRANT ALL ON test.* TO {0}@'%';\n\
             CREATE USER {}@'%' IDENTIFIED BY '{}'; GRANT REPLICATION CLIENT, PROCESS, SLAVE MONITOR ON *.* TO {2}@'%';\n\
             CREATE USER {}@'%' IDENTIFIED BY '{}'; GRANT REPLICATION SLAVE ON *.* TO {4}@'%';\n\
             CREATE TABLE app.kv (id INT PRIMARY KEY, v VARCHAR(100) NOT NULL);\n\
             INSERT INTO app.kv SELECT seq, CONCAT('value-', seq) FROM app.app_seq;\n",
            app.0, app.1, mon.0, mon.1, repl.0, repl.1
        )
        .replace("app_seq", "seq_1_to_1000");
        server.sql(&seed);
        server
    }

    /// A read-only one that has everything this [`Self::source`] has and applies what comes `behind` seconds late, with a certificate
    /// of the same authority.
    pub(crate) fn replica(&self, behind: u32) -> Self {
        let id = format!("--server-id={}", ports::free());
        let options = [id.as_str(), "--read-only"];
        let replica = Self::launch(Scratch::new("mariadb"), self.authority.clone(), &options);
        replica.sql(&format!(
            "CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={}, MASTER_USER='{}', MASTER_PASSWORD='{}', \
             MASTER_USE_GTID=slave_pos, MASTER_SSL_VERIFY_SERVER_CERT=0, MASTER_CONNECT_RETRY=1",
            self.port, REPL.0, REPL.1
        ));
        replica.sql("START SLAVE");
        let has = || {
            sql(
                &replica.socket(),
                "SELECT COUNT(*) FROM app.kv HAVING COUNT(*) = 1000",
            )
        };
        poll::until(START, "the replica to have the rows", || {
            has().is_ok_and(|rows| rows.contains("1000"))
        });
        if behind > 0 {
            replica.sql(&format!(
                "STOP SLAVE; CHANGE MASTER TO MASTER_DELAY={behind}; START SLAVE"
            ));
        }
        replica
    }

    /// Makes its data directory, starts it and returns when it answers.
    fn launch(scratch: Scratch, authority: Authority, options: &[&str]) -> Self {
        let port = ports::free();
        let certificate = authority.issue(&format!("mariadb-{port}"));
        let data = scratch.join("data");
        let user = if rustix::process::geteuid().is_root() {
            "--user=root"
        } else {
            "--skip-grant-tables=0"
        };
        initialise(&scratch, &data, user);
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
            .args(options)
            .arg(format!("--datadir={}", data.display()))
            .arg(format!("--socket={}", scratch.join("s").display()))
            .arg(format!("--pid-file={}", scratch.join("pid").display()))
            .arg(format!("--port={port}"))
            .arg(format!("--ssl-cert={}", certificate.cert.display()))
            .arg(format!("--ssl-key={}", certificate.key.display()));
        let mut process = Process::spawn("mariadbd", &mut command, &scratch.join("error.log"));
        let socket = scratch.join("s");
        process.wait_ready(START, || sql(&socket, "SELECT 1"));
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
