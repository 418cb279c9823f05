//! PHP programs from `tests/php/` as clients of the agent.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use super::process::Process;
use super::programs;
use super::scratch::Scratch;

/// How long a program may run unless told otherwise.
const DEADLINE: Duration = Duration::from_secs(60);

/// How a program ended and what it wrote.
#[derive(Debug)]
pub(crate) struct Output {
    /// Exit code or signal.
    pub(crate) status: ExitStatus,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error: PHP's warnings and uncaught exceptions go here.
    pub(crate) stderr: String,
}

impl Output {
    /// Standard output, of a program that ended with 0 and complained about nothing. Panics otherwise.
    #[track_caller]
    pub(crate) fn expect_ok(self) -> String {
        assert!(
            self.status.success() && self.stderr.is_empty(),
            "php: {}\n--- stdout\n{}\n--- stderr\n{}",
            self.status,
            self.stdout,
            self.stderr
        );
        self.stdout
    }
}

/// Runs `tests/php/SCRIPT` with these environment variables and waits for its end (60 s at most).
pub(crate) fn run(script: &str, env: &[(&str, &str)]) -> Output {
    Script::file(script).env(env).run()
}

/// Runs PHP code (without `<?php`) likewise.
pub(crate) fn eval(code: &str, env: &[(&str, &str)]) -> Output {
    Script::code(code).env(env).run()
}

/// A program to run, with its circumstances.
#[derive(Debug)]
pub(crate) struct Script {
    args: Vec<String>,
    env: Vec<(String, String)>,
    user: Option<String>,
    scratch: Scratch,
}

impl Script {
    /// A file of `tests/php/`.
    pub(crate) fn file(name: &str) -> Self {
        let folder = programs::tests_dir().join("php");
        assert!(
            folder.join(name).is_file(),
            "{} has no {name}",
            folder.display()
        );
        let script = Self::new(Vec::new());
        // a copy, because another user may not be able to reach the repository
        let copied = Command::new("cp")
            .arg("-rL")
            .args([&folder, &script.scratch.join("php")])
            .status();
        assert!(
            copied.expect("cp runs").success(),
            "cannot copy {}",
            folder.display()
        );
        let path = script.scratch.join("php").join(name);
        Self {
            args: vec!["-f".into(), path.display().to_string()],
            ..script
        }
    }

    /// Code without the opening tag.
    pub(crate) fn code(code: &str) -> Self {
        Self::new(vec!["-r".into(), code.into()])
    }

    fn new(args: Vec<String>) -> Self {
        Self {
            args,
            env: Vec::new(),
            user: None,
            scratch: Scratch::new("php"),
        }
    }

    /// Adds environment variables; the program reads them with `getenv()`.
    pub(crate) fn env(mut self, env: &[(&str, &str)]) -> Self {
        self.env.extend(
            env.iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        self
    }

    /// Runs as this user, as php-fpm runs as `www-data`. Needs root.
    pub(crate) fn user(mut self, name: &str) -> Self {
        self.user = Some(name.to_owned());
        self
    }

    /// Runs it and waits for its end.
    pub(crate) fn run(self) -> Output {
        self.spawn().wait(DEADLINE)
    }

    /// Starts it.
    pub(crate) fn spawn(self) -> Running {
        let php = programs::find("php", "php");
        let mut command = match &self.user {
            None => Command::new(php),
            Some(user) => {
                let mut command = Command::new(programs::find("setpriv", "base"));
                command
                    .args(["--reuid", user, "--regid", user, "--init-groups", "--"])
                    .arg(php);
                command
            }
        };
        command
            .args([
                "-d",
                "display_errors=stderr",
                "-d",
                "log_errors=0",
                "-d",
                "error_reporting=-1",
                "-d",
                "html_errors=0",
            ])
            .args(&self.args)
            .current_dir(self.scratch.path())
            .envs(self.env.iter().map(|(name, value)| (name, value)));
        let process = Process::spawn_split(
            "php",
            &mut command,
            &self.scratch.join("stdout"),
            &self.scratch.join("stderr"),
        );
        Running {
            process,
            scratch: self.scratch,
        }
    }
}

/// A program that runs.
#[derive(Debug)]
pub(crate) struct Running {
    process: Process,
    scratch: Scratch,
}

impl Running {
    /// What it has written to standard output so far.
    pub(crate) fn stdout(&self) -> String {
        read(self.scratch.join("stdout"))
    }

    /// The process, to signal, freeze or kill it.
    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Waits for its end. Panics after `deadline`.
    #[track_caller]
    pub(crate) fn wait(mut self, deadline: Duration) -> Output {
        let status = self.process.wait(deadline);
        Output {
            status,
            stdout: self.stdout(),
            stderr: read(self.scratch.join("stderr")),
        }
    }

    /// SIGKILL, as a crashed worker; returns what it had written.
    pub(crate) fn kill(mut self) -> Output {
        let status = self.process.kill();
        debug_assert!(status.signal().is_some());
        Output {
            status,
            stdout: self.stdout(),
            stderr: read(self.scratch.join("stderr")),
        }
    }
}

fn read(path: PathBuf) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}
