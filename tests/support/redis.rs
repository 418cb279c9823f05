//! Real Redis: plain or TLS, with or without a password, on one port for its whole life.

pub(crate) mod cluster;
pub(crate) mod enterprise;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use super::pki::{Authority, Certificate};
use super::process::Process;
use super::scratch::Scratch;
use super::{poll, ports, programs};

const START: Duration = Duration::from_secs(20);

/// What to start. See [`Server::builder`].
#[derive(Debug, Default)]
pub(crate) struct Builder {
    tls: bool,
    password: Option<String>,
    config: String,
    authority: Option<Authority>,
}

impl Builder {
    /// TLS on the port, with a certificate of an own authority. Without it the port speaks plain RESP.
    pub(crate) fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// The authority that signs the server's certificate; one of its own by default.
    pub(crate) fn authority(mut self, authority: &Authority) -> Self {
        self.authority = Some(authority.clone());
        self
    }

    /// The password of the default user; none by default.
    pub(crate) fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self
    }

    /// Lines added to redis.conf, for example `maxmemory 4mb` or `user app on >secret ~* +@all`.
    pub(crate) fn config(mut self, lines: &str) -> Self {
        self.config.push_str(lines);
        self.config.push('\n');
        self
    }

    /// Starts the server and returns when it answers PING.
    pub(crate) fn start(self) -> Server {
        let scratch = Scratch::new("redis");
        let own = || Authority::new(&scratch.join("ca"));
        let authority = self.authority.clone().unwrap_or_else(own);
        let port = ports::free();
        let certificate = authority.issue(&format!("server-{port}"));
        let server = Server {
            process: Mutex::new(None),
            port,
            builder: self,
            authority,
            scratch,
        };
        server.use_certificate(&certificate);
        server.start();
        server
    }
}

/// A Redis server. Nothing is written to disk, so what it holds ends with [`Server::stop`] or [`Server::kill`].
#[derive(Debug)]
pub(crate) struct Server {
    process: Mutex<Option<Process>>,
    port: u16,
    builder: Builder,
    authority: Authority,
    scratch: Scratch,
}

impl Server {
    /// A plain server without a password unless told otherwise.
    pub(crate) fn builder() -> Builder {
        Builder::default()
    }

    /// The TCP port on 127.0.0.1 (TLS when asked for).
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// `127.0.0.1:port`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `redis://` or `rediss://` with the address, without the password.
    pub(crate) fn url(&self) -> String {
        format!(
            "redis{}://{}",
            if self.builder.tls { "s" } else { "" },
            self.address()
        )
    }

    /// A unix socket of the server's own that speaks plain RESP in every variant.
    pub(crate) fn socket(&self) -> PathBuf {
        self.scratch.join("s")
    }

    /// The authority that signed the server's certificate, as a PEM file.
    pub(crate) fn ca_path(&self) -> PathBuf {
        self.authority.ca()
    }

    /// The authority itself, to issue other certificates for [`Self::use_certificate`].
    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Serves this certificate from the next [`Self::start`] on.
    pub(crate) fn use_certificate(&self, certificate: &Certificate) {
        let Builder {
            tls,
            password,
            config,
            authority: _,
        } = &self.builder;
        let mut conf = format!(
            "bind 127.0.0.1\nunixsocket {}\nunixsocketperm 777\nsave \"\"\nappendonly no\ndaemonize no\ndir {}\nmaxclients 20000\n",
            self.socket().display(),
            self.scratch.path().display(),
        );
        if *tls {
            conf += &format!(
                "port 0\ntls-port {}\ntls-cert-file {}\ntls-key-file {}\ntls-ca-cert-file {}\ntls-auth-clients no\n",
                self.port,
                certificate.cert.display(),
                certificate.key.display(),
                self.authority.ca().display()
            );
        } else {
            conf += &format!("port {}\n", self.port);
        }
        if let Some(password) = password {
            conf += &format!("requirepass {password}\n");
        }
        self.scratch.write("redis.conf", conf + config);
    }

    /// Shows this certificate to whoever connects from now on.
    pub(crate) fn show(&self, certificate: &Certificate) {
        let file = |path: &Path| path.display().to_string();
        self.cli(&[
            "CONFIG",
            "SET",
            "tls-cert-file",
            &file(&certificate.cert),
            "tls-key-file",
            &file(&certificate.key),
        ]);
    }

    /// Starts it again, empty, on the same port.
    pub(crate) fn start(&self) {
        let mut slot = self.process.lock().unwrap();
        assert!(slot.is_none(), "redis runs already");
        let mut command = Command::new(programs::find("redis-server", "redis"));
        command.arg(self.scratch.join("redis.conf"));
        let mut process = Process::spawn("redis", &mut command, &self.scratch.join("redis.log"));
        process.wait_ready(START, || self.try_cli(&["PING"]));
        *slot = Some(process);
    }

    /// Stops it in order.
    pub(crate) fn stop(&self) {
        self.take().stop();
    }

    /// SIGKILL.
    pub(crate) fn kill(&self) {
        self.take().kill();
    }

    /// SIGSTOP: connections stay open, nothing answers.
    pub(crate) fn freeze(&self) {
        self.process
            .lock()
            .unwrap()
            .as_mut()
            .expect("redis runs")
            .freeze();
    }

    /// Lets it go on after [`Self::freeze`].
    pub(crate) fn thaw(&self) {
        self.process
            .lock()
            .unwrap()
            .as_mut()
            .expect("redis runs")
            .thaw();
    }

    /// The process id; the server must be running.
    pub(crate) fn pid(&self) -> u32 {
        self.process
            .lock()
            .unwrap()
            .as_ref()
            .expect("redis runs")
            .pid()
    }

    fn take(&self) -> Process {
        self.process.lock().unwrap().take().expect("redis runs")
    }

    /// Runs one command through `redis-cli` on the unix socket and returns its raw output without the last line break. Panics
    /// on an error reply.
    #[track_caller]
    pub(crate) fn cli(&self, args: &[&str]) -> String {
        self.try_cli(args)
            .unwrap_or_else(|error| panic!("redis-cli {args:?}: {error}"))
    }

    /// As [`Self::cli`], but returns the error reply.
    pub(crate) fn try_cli(&self, args: &[&str]) -> Result<String, String> {
        let mut command = Command::new(programs::find("redis-cli", "redis"));
        command.arg("-e").arg("-s").arg(self.socket()).args(args);
        if let Some(password) = &self.builder.password {
            command.env("REDISCLI_AUTH", password);
        }
        let output = command.output().map_err(|error| error.to_string())?;
        let text = |bytes: &[u8]| {
            String::from_utf8_lossy(bytes)
                .trim_end_matches('\n')
                .to_owned()
        };
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(format!("{}{}", text(&output.stdout), text(&output.stderr)))
        }
    }

    /// How many clients are connected by TCP, seen from the server.
    pub(crate) fn clients(&self) -> usize {
        self.cli(&["CLIENT", "LIST"])
            .lines()
            .filter(|line| line.contains(&format!("laddr=127.0.0.1:{}", self.port)))
            .count()
    }

    /// Waits until `key` exists.
    pub(crate) fn wait_key(&self, deadline: Duration, key: &str) {
        poll::until(deadline, &format!("redis key {key}"), || {
            self.cli(&["EXISTS", key]) == "1"
        });
    }
}
