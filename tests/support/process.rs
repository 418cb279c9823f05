//! One child process: started in a process group of its own with its output in a file, and stopped for certain.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

pub(crate) use rustix::process::Signal;
use rustix::process::{Pid, kill_process, kill_process_group};

use super::{keeper, poll};

/// How long a server may take to stop after SIGTERM before it is killed.
const GRACE: Duration = Duration::from_secs(20);

/// A running (or ended) child. Dropping it stops it.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    name: String,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts `command` with no input and its output appended to `log`; `name` is for messages.
    pub(crate) fn spawn(name: impl Into<String>, command: &mut Command, log: &Path) -> Self {
        Self::spawn_split(name, command, log, log)
    }

    /// As [`Self::spawn`], with standard output and standard error in two files; `errors` is the log.
    pub(crate) fn spawn_split(
        name: impl Into<String>,
        command: &mut Command,
        output: &Path,
        errors: &Path,
    ) -> Self {
        let name = name.into();
        let log = errors;
        let append = |path: &Path| {
            File::options()
                .create(true)
                .append(true)
                .open(path)
                .expect("the log file")
        };
        let (output, errors) = (append(output), append(errors));
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {}: {error}", command.get_program().display()));
        keeper::guard_group(child.id());
        Self {
            child,
            name,
            log: log.to_owned(),
            ended: None,
        }
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written so far.
    pub(crate) fn log(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Its exit status, if it has ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("a child can be waited for");
            if self.ended.is_some() {
                // workers that outlived their master
                kill_process_group(self.unix_pid(), Signal::KILL).ok();
                keeper::release_group(self.pid());
            }
        }
        self.ended
    }

    /// Sends `signal` to the process itself.
    pub(crate) fn signal(&mut self, signal: Signal) {
        if self.ended().is_none() {
            kill_process(self.unix_pid(), signal)
                .unwrap_or_else(|error| panic!("{}: {signal:?}: {error}", self.name));
        }
    }

    /// Sends `signal` to the process and its children.
    pub(crate) fn signal_group(&mut self, signal: Signal) {
        if self.ended().is_none() {
            kill_process_group(self.unix_pid(), signal)
                .unwrap_or_else(|error| panic!("{}: {signal:?}: {error}", self.name));
        }
    }

    /// Stops it and its children in their tracks (SIGSTOP): connections stay open and nothing answers. Returns when every
    /// thread has stopped, which is a moment after the signal.
    pub(crate) fn freeze(&mut self) {
        self.signal_group(Signal::STOP);
        let what = format!("the threads of {} to stop", self.name);
        poll::until(GRACE, &what, || match running_threads(self.pid()) {
            0 => Ok(()),
            running => Err(format!("{running} are running")),
        });
    }

    /// Lets it go on after [`Self::freeze`].
    pub(crate) fn thaw(&mut self) {
        self.signal_group(Signal::CONT);
    }

    /// Waits until it has ended by itself. Panics after `deadline`.
    #[track_caller]
    pub(crate) fn wait(&mut self, deadline: Duration) -> ExitStatus {
        let what = format!("the end of {} (pid {})", self.name, self.pid());
        poll::until(deadline, &what, || self.ended())
    }

    /// SIGKILL, and waits for the end.
    pub(crate) fn kill(&mut self) -> ExitStatus {
        self.signal_group(Signal::KILL);
        self.wait(GRACE)
    }

    /// For destructors: SIGKILL, without an opinion on how that went.
    pub(crate) fn end_now(&mut self) {
        if std::thread::panicking() && self.ended().is_none() {
            eprintln!("{}: log {}", self.name, self.log.display());
        }
        kill_process_group(self.unix_pid(), Signal::KILL).ok();
        drop(poll::try_until(GRACE, || self.ended()));
    }

    /// SIGTERM, then SIGKILL when it has not ended in 20 s; says how it ended.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.thaw();
        self.signal(Signal::TERM);
        match poll::try_until(GRACE, || self.ended()) {
            Ok(status) => status,
            Err(_) => self.kill(),
        }
    }

    /// Waits until `ready` says yes; panics with the end of the log when the process ends first or `deadline` passes.
    #[track_caller]
    pub(crate) fn wait_ready<S: poll::Seen>(
        &mut self,
        deadline: Duration,
        mut ready: impl FnMut() -> S,
    ) -> S::Value {
        let outcome = poll::try_until(deadline, || match self.ended() {
            Some(status) => Ok(Err(format!("it ended: {status}"))),
            None => ready().seen().map(Ok),
        });
        match outcome.and_then(|inner| inner) {
            Ok(value) => value,
            Err(last) => {
                let log = self.log();
                let tail = log.lines().rev().take(15).collect::<Vec<_>>();
                let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
                panic!(
                    "{} did not come up in {deadline:?}: {last}\n--- end of {}\n{tail}",
                    self.name,
                    self.log.display()
                );
            }
        }
    }

    fn unix_pid(&self) -> Pid {
        let raw = i32::try_from(self.child.id()).expect("a process id");
        Pid::from_raw(raw).expect("a process id is not 0")
    }
}

/// How many threads of the processes in `group` are not stopped, from `/proc/PID/task/TID/stat` (proc(5)).
fn running_threads(group: u32) -> usize {
    let entries = |path: &Path| {
        fs::read_dir(path)
            .into_iter()
            .flatten()
            .filter_map(Result::ok)
            .map(|entry| entry.path())
    };
    let stat = |dir: &Path| {
        let text = fs::read_to_string(dir.join("stat")).unwrap_or_default();
        // the program's name, in brackets, may hold anything; after it come state, parent and process group
        let fields = text
            .rsplit_once(") ")
            .map(|(_, rest)| rest.split(' ').map(str::to_owned).collect::<Vec<_>>());
        fields.unwrap_or_default()
    };
    entries(Path::new("/proc"))
        .filter(|dir| stat(dir).get(2) == Some(&group.to_string()))
        .flat_map(|dir| entries(&dir.join("task")))
        .filter(|task| {
            stat(task)
                .first()
                .is_some_and(|state| state != "T" && state != "Z")
        })
        .count()
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended().is_some() {
            return;
        }
        if std::thread::panicking() {
            eprintln!("{}: log {}", self.name, self.log.display());
        }
        // a destructor must not fail the test for a process that is slow to die
        self.thaw();
        kill_process(self.unix_pid(), Signal::TERM).ok();
        if poll::try_until(GRACE, || self.ended()).is_err() {
            eprintln!(
                "{}: still there {GRACE:?} after SIGTERM, killing it",
                self.name
            );
            kill_process_group(self.unix_pid(), Signal::KILL).ok();
            drop(poll::try_until(GRACE, || self.ended()));
        }
    }
}
