//! A machine in a box: a real systemd as PID 1 in a namespace, by `box.sh`, with this run's packages at hand.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use crate::support::scratch::Scratch;
use crate::support::{keeper, poll, programs};

/// How long anything on an overloaded machine may take.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// The version that is installed first, and the one that it is upgraded to: the same program in both.
pub(crate) const OLD: &str = "0.1.0";
pub(crate) const NEW: &str = "0.1.1";

/// A booted machine. Shut down when dropped; when the test failed its journal is printed.
#[derive(Debug)]
pub(crate) struct Machine {
    scratch: Scratch,
    binds: String,
}

/// The file of this run's packages, made by `packaging/test.sh`.
pub(crate) fn package(name: &str) -> PathBuf {
    let default = programs::tests_dir().join("../target/packages/test");
    let folder = std::env::var_os("OUT").map_or(default, PathBuf::from);
    let path = folder.join(name);
    assert!(
        path.exists(),
        "{} is not there: run `make test-packages`",
        path.display()
    );
    path
}

/// The file name of the .deb of a version.
pub(crate) fn deb(version: &str) -> String {
    format!("lamplighter_{version}_amd64.deb")
}

fn text(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

impl Machine {
    /// Boots a machine with Apache and PHP installed and stopped, and both versions of the package in `/var/tmp`.
    #[track_caller]
    pub(crate) fn boot() -> Self {
        let machine = Self::off(None);
        machine.start();
        machine.equip();
        machine
    }

    /// A machine that is not switched on; its disk is the base's, or a copy of the root file system in `disk`.
    #[track_caller]
    pub(crate) fn off(disk: Option<&Path>) -> Self {
        let machine = Self {
            scratch: Scratch::new("machine"),
            binds: programs::cache().join("mysql9").display().to_string(),
        };
        let disk = disk.map(|disk| disk.display().to_string());
        let output = machine.boxed("lay", disk.as_deref().as_slice());
        assert!(output.status.success(), "lay: {}", text(&output));
        machine
    }

    /// Puts both versions of the package into `/var/tmp` and the tests' own scripts into `/opt/box`.
    #[track_caller]
    pub(crate) fn equip(&self) {
        self.put(&package(&deb(OLD)), "/var/tmp");
        self.put(&package(&deb(NEW)), "/var/tmp");
        self.put(&programs::tests_dir().join("packages/box"), "/opt");
    }

    /// Switches it on.
    #[track_caller]
    pub(crate) fn start(&self) {
        let output = self.boxed("boot", &[]);
        assert!(output.status.success(), "boot: {}", text(&output));
        if let Ok(pid) = std::fs::read_to_string(self.scratch.join("nspawn.pid"))
            && let Ok(pid) = pid.trim().parse()
        {
            keeper::guard_group(pid);
        }
    }

    /// Shuts it down in order; its files stay.
    #[track_caller]
    pub(crate) fn shut_down(&self) {
        let output = self.boxed("off", &[]);
        assert!(output.status.success(), "{}", text(&output));
    }

    /// Takes its power away; what was written stays.
    #[track_caller]
    pub(crate) fn power_off(&self) {
        let output = self.boxed("kill", &[]);
        assert!(output.status.success(), "{}", text(&output));
    }

    fn boxed(&self, command: &str, arguments: &[&str]) -> Output {
        Command::new(programs::tests_dir().join("packages/box.sh"))
            .arg(command)
            .arg(self.scratch.path())
            .args(arguments)
            .env("BOX_BIND", &self.binds)
            .output()
            .expect("box.sh runs")
    }

    /// The folder that is the machine's `/`.
    pub(crate) fn root(&self) -> PathBuf {
        self.scratch.join("root")
    }

    /// Copies a file or folder of the host into a folder of the machine.
    #[track_caller]
    pub(crate) fn put(&self, file: &Path, folder: &str) {
        let target = self.root().join(folder.trim_start_matches('/'));
        std::fs::create_dir_all(&target).expect("a folder in the machine");
        let copied = Command::new("cp")
            .arg("-a")
            .args([file, &target])
            .status()
            .expect("cp runs");
        assert!(copied.success(), "cannot copy {}", file.display());
    }

    /// Runs a shell script within; whether it succeeded, and all it printed.
    pub(crate) fn attempt(&self, script: &str) -> (bool, String) {
        let output = self.boxed("exec", &["sh", "-c", script]);
        (output.status.success(), text(&output))
    }

    /// Runs a shell script within, which must succeed, and returns what it printed, without the final newline.
    #[track_caller]
    pub(crate) fn run(&self, script: &str) -> String {
        let (good, text) = self.attempt(&format!("set -e\n{script}"));
        assert!(good, "in the machine: {script}\n{text}");
        text.trim_end().to_owned()
    }

    /// A property of the agent's unit.
    #[track_caller]
    pub(crate) fn unit(&self, property: &str) -> String {
        self.run(&format!("systemctl show -P {property} lamplighter.service"))
    }

    /// Installs, upgrades or downgrades with dpkg, without a question.
    #[track_caller]
    pub(crate) fn install(&self, version: &str) -> String {
        self.run(&format!("dpkg -i /var/tmp/{}", deb(version)))
    }

    /// What the probe says: the code and the body.
    pub(crate) fn probe(&self, path: &str) -> (u16, String) {
        let curl =
            format!("curl -s -m 5 -w '\\n%{{http_code}}' http://127.0.0.1:8470{path} || true");
        let answer = self.run(&curl);
        let (body, code) = answer.rsplit_once('\n').unwrap_or(("", answer.as_str()));
        (code.parse().unwrap_or_default(), body.to_owned())
    }

    /// Waits until `/lb` answers with `code`, and returns what it says.
    #[track_caller]
    pub(crate) fn wait_lb(&self, code: u16) -> String {
        poll::until(SOON, &format!("{code} from /lb"), || {
            let (now, body) = self.probe("/lb");
            if now == code {
                Ok(body)
            } else {
                Err(format!("{now} {body}\n{}", self.journal()))
            }
        })
    }

    /// The agent's log.
    pub(crate) fn journal(&self) -> String {
        self.attempt("journalctl -u lamplighter.service -b --no-pager -o cat | tail -n 40")
            .1
    }

    /// The whole of a web server: MySQL, Apache, PHP, the agent with its configuration, all serving.
    #[track_caller]
    pub(crate) fn serve(&self) {
        let mysql9 = programs::find_cached("mysql9", "mysql");
        self.run(&format!(
            "/opt/box/mysql.sh {} >/var/log/mysql.sh.log 2>&1 || {{ tail -20 /var/log/mysql.sh.log; journalctl -u mysql9 | tail; false; }}",
            mysql9.display()
        ));
        self.run(
            "install -m 644 /opt/box/lamp.php /var/www/html/lamp.php
             printf app-secret >/etc/lamplighter/mysql-app
             chgrp lamplighter /etc/lamplighter/mysql-app
             chmod 640 /etc/lamplighter/mysql-app
             install -m 644 /opt/box/shop.toml /etc/lamplighter/lamplighter.toml
             systemctl start php8.2-fpm apache2
             /usr/share/lamplighter/enable-web",
        );
        self.wait_lb(200);
        poll::until(SOON, "a page", || {
            let (good, page) = self.attempt("curl -fsS http://127.0.0.1/lamp.php");
            good.then_some(()).ok_or(page)
        });
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.journal());
        }
        let output = self.boxed("down", &[]);
        if !output.status.success() {
            eprintln!("box.sh down: {}", text(&output));
        }
    }
}
