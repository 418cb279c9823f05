//! The `lamplighter` binary under test, with a configuration of the test's own and a stand-in for systemd's notify socket.

use std::fmt;
use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::process::{Process, Signal};
use super::scratch::Scratch;
use super::{http, poll};

/// How long a drain may take before the test fails.
const DRAIN: Duration = Duration::from_secs(30);

/// What to start. See [`Agent::builder`].
#[derive(Debug)]
pub(crate) struct Builder {
    binary: PathBuf,
    env: Vec<(String, String)>,
    args: Vec<String>,
    prefix: Vec<String>,
    scratch: Scratch,
}

impl Builder {
    /// The agent's own directory, there before it starts: for sockets, secrets and anything the configuration names.
    pub(crate) fn dir(&self) -> &Path {
        self.scratch.path()
    }

    /// Writes a file that only its owner may read into the directory and returns its path: for `password_file` keys.
    pub(crate) fn secret(&self, name: &str, contents: &str) -> PathBuf {
        self.scratch.write_secret(name, contents)
    }

    /// Sets an environment variable.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds an argument after `run --config FILE`.
    pub(crate) fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }

    /// Starts it by another program, for example `ip netns exec NAME`, which must become it and not stay above it.
    pub(crate) fn by(mut self, prefix: &[&str]) -> Self {
        self.prefix = prefix.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Asks for watchdog messages as systemd does with `WatchdogSec=`.
    pub(crate) fn watchdog(self, interval: Duration) -> Self {
        let micros = interval.as_micros().to_string();
        self.env("WATCHDOG_USEC", &micros)
    }

    /// Writes `config` (with every `{dir}` replaced by the agent's directory) and starts `lamplighter run --config FILE`. Does
    /// not wait; see [`Agent::wait_ready`].
    pub(crate) fn start(self, config: &str) -> Agent {
        let Self {
            binary,
            env,
            args,
            prefix,
            scratch,
        } = self;
        let notify = Notify::listen(&scratch.join("notify"));
        let mut agent = Agent {
            process: None,
            binary,
            env,
            args,
            prefix,
            notify,
            started: Instant::now(),
            scratch,
        };
        agent.write_config(config);
        agent.restart();
        agent
    }
}

/// A running agent. Dropping it sends SIGTERM; an agent that then does not end with code 0 fails the test.
pub(crate) struct Agent {
    process: Option<Process>,
    binary: PathBuf,
    env: Vec<(String, String)>,
    args: Vec<String>,
    prefix: Vec<String>,
    notify: Notify,
    started: Instant,
    scratch: Scratch,
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent")
            .field("dir", &self.scratch.path())
            .field("process", &self.process)
            .finish_non_exhaustive()
    }
}

impl Agent {
    /// `binary` is `env!("CARGO_BIN_EXE_lamplighter")`, which only the test crate itself can name.
    pub(crate) fn builder(binary: &str) -> Builder {
        Builder {
            binary: binary.into(),
            env: Vec::new(),
            args: Vec::new(),
            prefix: Vec::new(),
            scratch: Scratch::new("lamplighter"),
        }
    }

    /// The agent's own directory.
    pub(crate) fn dir(&self) -> &Path {
        self.scratch.path()
    }

    /// The configuration file.
    pub(crate) fn config_path(&self) -> PathBuf {
        self.scratch.join("lamplighter.toml")
    }

    /// Replaces the configuration file (with `{dir}` filled in), as before a reload.
    pub(crate) fn write_config(&self, config: &str) {
        let dir = self.scratch.path().display().to_string();
        self.scratch
            .write("lamplighter.toml", config.replace("{dir}", &dir));
    }

    /// Starts the agent again after [`Self::stop`] or [`Self::kill`], in the same directory. Messages start anew.
    pub(crate) fn restart(&mut self) {
        assert!(self.process.is_none(), "the agent runs already");
        self.notify.clear();
        let binary = self.binary.as_os_str();
        let mut words = self.prefix.iter().map(AsRef::as_ref).chain([binary]);
        let mut command = Command::new(words.next().expect("at least the binary"));
        command
            .args(words)
            .args(["run", "--config"])
            .arg(self.config_path())
            .args(&self.args)
            .env("NOTIFY_SOCKET", &self.notify.path)
            .env_remove("WATCHDOG_USEC")
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir(self.scratch.path());
        self.started = Instant::now();
        self.process = Some(Process::spawn(
            "lamplighter",
            &mut command,
            &self.scratch.join("lamplighter.log"),
        ));
    }

    /// Waits for `READY=1` and returns how long after the start it came. Panics with the end of the log when the agent ends first
    /// or `deadline` passes.
    #[track_caller]
    pub(crate) fn wait_ready(&mut self, deadline: Duration) -> Duration {
        let (notify, started) = (&self.notify, self.started);
        let process = self.process.as_mut().expect("the agent runs");
        process.wait_ready(deadline, || notify.first("READY", "1")) - started
    }

    /// Everything the agent told the service manager so far, one `NAME=value` each, in order.
    pub(crate) fn notifications(&self) -> Vec<String> {
        self.notify
            .all()
            .into_iter()
            .map(|(_, message)| message)
            .collect()
    }

    /// The newest value of a notification such as `STATUS`.
    pub(crate) fn last_notification(&self, name: &str) -> Option<String> {
        let prefix = format!("{name}=");
        self.notifications()
            .iter()
            .rev()
            .find_map(|message| message.strip_prefix(&prefix).map(str::to_owned))
    }

    /// The process itself, to freeze it or to ask for its id.
    pub(crate) fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("the agent runs")
    }

    /// Sends a signal, for example [`Signal::HUP`].
    pub(crate) fn signal(&mut self, signal: Signal) {
        self.process().signal(signal);
    }

    /// SIGTERM: waits for the end and says how it ended and how long that took. Panics when it takes more than 30 s.
    #[track_caller]
    pub(crate) fn stop(&mut self) -> (ExitStatus, Duration) {
        let started = Instant::now();
        self.signal(Signal::TERM);
        let status = self.process().wait(DRAIN);
        self.process = None;
        (status, started.elapsed())
    }

    /// SIGKILL, as a crash.
    pub(crate) fn kill(&mut self) {
        self.process().kill();
        self.process = None;
    }

    /// Waits until the agent has ended by itself, as it must after a fault it cannot survive.
    #[track_caller]
    pub(crate) fn wait_end(&mut self, deadline: Duration) -> ExitStatus {
        let status = self.process().wait(deadline);
        self.process = None;
        status
    }

    /// What it has logged, over all its starts.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.scratch.join("lamplighter.log")).unwrap_or_default()
    }

    /// Its resident memory in KiB, from `/proc/PID/status`.
    pub(crate) fn rss_kib(&mut self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process().pid()))
            .expect("the agent runs");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .expect("a VmRSS line");
        line.trim()
            .trim_end_matches(" kB")
            .parse()
            .expect("a number of KiB")
    }

    /// How many file descriptors it holds open.
    pub(crate) fn open_files(&mut self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.process().pid()))
            .expect("the agent runs")
            .count()
    }

    /// Runs another command of the same binary, such as `["status", "--json"]`, in the agent's directory: exit status, standard
    /// output, standard error.
    pub(crate) fn command(&self, args: &[&str]) -> (ExitStatus, String, String) {
        let output = Command::new(&self.binary)
            .args(args)
            .current_dir(self.dir())
            .output()
            .expect("the binary runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status, text(&output.stdout), text(&output.stderr))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if self
            .process
            .as_mut()
            .is_none_or(|process| process.ended().is_some())
            || std::thread::panicking()
        {
            return;
        }
        let (status, _) = self.stop();
        assert!(
            status.success(),
            "lamplighter: after SIGTERM: {status}\n{}",
            self.log()
        );
    }
}

/// `GET path` from `address` (`host:port` or `unix:/path`): status, headers (names in lower case) and body. Panics when there
/// is no whole HTTP answer; [`http::get`] returns that as an error instead.
#[track_caller]
pub(crate) fn http_get(address: &str, path: &str) -> (u16, Vec<(String, String)>, String) {
    let response = http::get(address, path).unwrap_or_else(|error| panic!("{error}"));
    let body = response.text();
    (response.status, response.headers, body)
}

/// Waits until `GET path` answers with `status`, and returns the body.
#[track_caller]
pub(crate) fn wait_status(deadline: Duration, address: &str, path: &str, status: u16) -> String {
    poll::until(deadline, &format!("{status} from {address}{path}"), || {
        let response = http::get(address, path)?;
        if response.status == status {
            Ok(response.text())
        } else {
            Err(format!("{}: {}", response.status, response.text()))
        }
    })
}

/// The receiving end of the notify protocol (sd_notify(3)).
struct Notify {
    path: PathBuf,
    messages: Arc<Mutex<Vec<(Instant, String)>>>,
}

impl Notify {
    fn listen(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).expect("the notify socket");
        socket
            .set_read_timeout(Some(Duration::from_millis(200)))
            .expect("a read timeout");
        let messages = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::downgrade(&messages);
        std::thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            // ends when nobody holds the messages any more
            while let Some(messages) = sink.upgrade() {
                match socket.recv(&mut buffer) {
                    Ok(length) => {
                        let now = Instant::now();
                        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                        let lines = text.lines().map(|line| (now, line.to_owned()));
                        messages.lock().unwrap().extend(lines);
                    }
                    Err(error)
                        if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                    Err(_) => return,
                }
            }
        });
        Self {
            path: path.to_owned(),
            messages,
        }
    }

    fn all(&self) -> Vec<(Instant, String)> {
        self.messages.lock().unwrap().clone()
    }

    fn clear(&self) {
        self.messages.lock().unwrap().clear();
    }

    fn first(&self, name: &str, value: &str) -> Result<Instant, String> {
        let all = self.all();
        let wanted = format!("{name}={value}");
        let found = all
            .iter()
            .find(|(_, message)| *message == wanted)
            .map(|(at, _)| *at);
        found.ok_or_else(|| {
            format!(
                "no {wanted} among {:?}",
                all.iter().map(|(_, message)| message).collect::<Vec<_>>()
            )
        })
    }
}
