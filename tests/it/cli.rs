//! The command line on real processes: what fails, how soon, and with which exit code.

mod completions;
mod online;
mod running;

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use super::support::agent::{Agent, Builder};
use super::support::ports;
use super::support::scratch::Scratch;

const BINARY: &str = env!("CARGO_BIN_EXE_lamplighter");

/// Wrong usage or configuration (sysexits.h).
const EX_USAGE: Option<i32> = Some(64);

/// How soon a start that cannot succeed fails.
const FAILS_WITHIN: Duration = Duration::from_secs(10);

/// How long anything else may take.
const PATIENCE: Duration = Duration::from_secs(10);

fn run(args: &[&str]) -> Output {
    Command::new(BINARY)
        .args(args)
        .output()
        .expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn builder() -> Builder {
    Agent::builder(BINARY)
}

/// The `[health]` table on free ports, and `more` keys of it.
fn health(more: &str) -> (String, String, String) {
    let (probe, metrics, admin) = (ports::free(), ports::free(), ports::free());
    let config = format!(
        "[health]\nlisten = '127.0.0.1:{probe}'\nmetrics_listen = '127.0.0.1:{metrics}'\nadmin_listen = '127.0.0.1:{admin}'\n\
         admin_socket = '{{dir}}/admin.sock'\nruntime_dir = '{{dir}}'\n{more}\n"
    );
    (
        config,
        format!("127.0.0.1:{probe}"),
        format!("127.0.0.1:{metrics}"),
    )
}

/// `check` and `run` both refuse the file, with code 64 and every one of `said`.
#[track_caller]
fn refused(path: &Path, said: &[&str]) {
    let path = path.to_str().expect("UTF-8");
    for command in ["check", "run", "print-config"] {
        let output = run(&[command, "--config", path]);
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), EX_USAGE, "{command}: {errors}");
        for words in said {
            assert!(
                errors.contains(words),
                "{command} does not say {words:?}:\n{errors}"
            );
        }
    }
}

#[test]
fn a_missing_file_is_fatal() {
    let scratch = Scratch::new("config");
    let path = scratch.join("absent.toml");
    refused(
        &path,
        &[
            "cannot read the configuration",
            "No such file",
            path.to_str().expect("UTF-8"),
            "--config",
        ],
    );
}

#[test]
fn an_unreadable_file_is_fatal() {
    let scratch = Scratch::new("config");
    refused(scratch.path(), &["Is a directory"]);
    let path = scratch.write("l.toml", "[health]\n");
    let mut command = if rustix::process::getuid().is_root() {
        // root without the right to pass over permissions, and somebody else's file
        chown(&path, Some(65534), Some(65534)).expect("root may");
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set=-dac_override,-dac_read_search", BINARY]);
        command
    } else {
        Command::new(BINARY)
    };
    fs::set_permissions(&path, Permissions::from_mode(0o200)).expect("ours, or we are root");
    let output = command
        .args(["check", "--config"])
        .arg(&path)
        .output()
        .expect("it runs");
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), EX_USAGE, "{errors}");
    assert!(
        errors.contains("Permission denied") && errors.contains("must be able to read it"),
        "{errors}"
    );
}

#[test]
fn a_malformed_file_shows_the_place() {
    let scratch = Scratch::new("config");
    let path = scratch.write(
        "l.toml",
        "[health]\nlisten = \"127.0.0.1:80\nprobe_threshold = 2\n",
    );
    refused(&path, &["l.toml:2:", "2 | listen = \"127.0.0.1:80", "^"]);
    let path = scratch.write("binary.toml", b"[health]\n\xff\xfe\n");
    refused(&path, &["line 2", "not UTF-8"]);
}

#[test]
fn every_problem_is_shown_at_once_with_line_and_nearest_key() {
    let scratch = Scratch::new("config");
    let path = scratch.write(
        "l.toml",
        "[health]\nprobe_intervall = '5s'\nprobe_threshold = 'two'\n[health.web]\ntimeout = 3\n[msyql]\n[shutdown]\ndrain_deadline = '9h'\n",
    );
    refused(
        &path,
        &[
            "l.toml:2:1\n",
            "did you mean `probe_interval`?",
            "l.toml:3:19\n",
            "expected u32",
            "l.toml:4:1\n",
            "lacks the key `url`",
            "l.toml:5:11\n",
            "\"3\" has no unit; write for example \"250ms\"",
            "l.toml:6:2\n",
            "did you mean `mysql`?",
            "l.toml:8:1\n",
            "from 100ms to 1h",
            "6 problems",
        ],
    );
    let output = run(&["check", "--json", "--config", path.to_str().expect("UTF-8")]);
    assert_eq!(output.status.code(), EX_USAGE);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["ok"], false);
    assert_eq!(report["problems"].as_array().map(Vec::len), Some(6));
    assert_eq!(report["problems"][0]["line"], 2);
}

#[test]
fn a_good_file_is_told_so() {
    let scratch = Scratch::new("config");
    let path = scratch.write("l.toml", "[health]\n");
    let output = run(&["check", "--config", path.to_str().expect("UTF-8")]);
    assert_eq!(
        (output.status.code(), text(&output.stderr)),
        (Some(0), String::new())
    );
    assert!(text(&output.stdout).ends_with("l.toml: ok\n"));
    let output = run(&["print-config", "--config", path.to_str().expect("UTF-8")]);
    let shown = text(&output.stdout);
    assert!(
        shown.contains("listen = \"tcp:0.0.0.0:8470\"")
            && shown.contains("drain_deadline = \"30s\""),
        "{shown}"
    );
    let again = scratch.write("again.toml", &shown);
    let output = run(&["print-config", "--config", again.to_str().expect("UTF-8")]);
    assert_eq!(text(&output.stdout), shown);
}

#[test]
fn a_secret_file_that_everyone_can_read_is_refused() {
    let mysql = "[health]\n[mysql]\nprimary = '127.0.0.1:1'\nuser = 'u'\npassword_file = 'password'\nclients.web.peer_users = ['root']\n";
    let scratch = Scratch::new("config");
    let path = scratch.write("l.toml", mysql);
    let check = |expected: Option<i32>, words: &str| {
        let output = run(&["check", "--config", path.to_str().expect("UTF-8")]);
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), expected, "{errors}");
        assert!(errors.contains(words), "{errors}");
        assert!(
            words.is_empty() || errors.contains("l.toml:5:1"),
            "{errors}"
        );
    };
    check(EX_USAGE, "No such file");
    let secret = scratch.write_secret("password", "hunter2\n");
    check(Some(0), "");
    fs::set_permissions(&secret, Permissions::from_mode(0o604)).expect("ours");
    check(EX_USAGE, "readable by everyone (mode 604)");
    scratch.write_secret("password", "");
    fs::set_permissions(&secret, Permissions::from_mode(0o600)).expect("ours");
    check(EX_USAGE, "is empty");

    // an agent does not start with it either
    let builder = builder();
    let secret = builder.secret("password", "hunter2");
    fs::set_permissions(&secret, Permissions::from_mode(0o644)).expect("ours");
    let (health, ..) = health("");
    let mysql = mysql.replace("[health]\n", &health).replace(
        "clients.web",
        "listen = ['unix:{dir}/mysql.sock']\nclients.web",
    );
    let mut agent = builder.start(&mysql);
    assert_eq!(
        agent.wait_end(FAILS_WITHIN).code(),
        Some(1),
        "{}",
        agent.log()
    );
    let log = agent.log();
    assert!(
        log.contains("readable by everyone")
            && log.contains("password")
            && !log.contains("hunter2"),
        "{log}"
    );
}

#[test]
fn a_taken_port_is_fatal_at_once_and_its_holder_is_named() {
    let holder = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = holder.local_addr().expect("an address").port();
    let me = std::process::id();
    for key in ["listen", "metrics_listen", "admin_listen"] {
        let (config, ..) = health("");
        let config: String = config
            .lines()
            .map(|line| {
                if line.starts_with(&format!("{key} =")) {
                    format!("{key} = '127.0.0.1:{port}'\n")
                } else {
                    format!("{line}\n")
                }
            })
            .collect();
        let mut agent = builder().start(&config);
        let status = agent.wait_end(FAILS_WITHIN);
        let log = agent.log();
        assert_eq!(status.code(), Some(1), "{log}");
        for words in [
            key,
            &format!("127.0.0.1:{port} is taken by"),
            &format!("pid {me}"),
        ] {
            assert!(log.contains(words), "no {words:?} in {log}");
        }
        assert!(!agent.notifications().contains(&"READY=1".to_owned()));
    }
}

#[test]
fn a_taken_socket_is_fatal_and_left_alone() {
    let (config, ..) = health("");
    let builder = builder();
    let socket = builder.dir().join("admin.sock");
    let holder = UnixListener::bind(&socket).expect("a socket");
    let mut agent = builder.start(&config);
    assert_eq!(agent.wait_end(FAILS_WITHIN).code(), Some(1));
    let log = agent.log();
    assert!(log.contains("admin.sock is taken by"), "{log}");
    assert!(
        log.contains(&format!("pid {}", std::process::id())),
        "{log}"
    );
    assert!(socket.exists(), "somebody else's socket was removed");
    // its holder gone, the file is only a file
    drop(holder);
    agent.restart();
    agent.wait_ready(PATIENCE);
    assert_eq!(agent.stop().0.code(), Some(0));
    assert!(!socket.exists(), "our own socket was left behind");
}

#[test]
fn wrong_usage_has_its_own_exit_code() {
    for wrong in [
        &["runn"][..],
        &["run", "--confg", "x"],
        &[],
        &["run", "--log-format", "xml"],
    ] {
        assert_eq!(run(wrong).status.code(), EX_USAGE, "{wrong:?}");
    }
    let (config, ..) = health("");
    let mut agent = builder().arg("--log-filter").arg("info,=").start(&config);
    assert_eq!(agent.wait_end(FAILS_WITHIN).code(), EX_USAGE);
    assert!(agent.log().contains("log filter"), "{}", agent.log());
}

#[test]
fn help_and_version_teach() {
    let help = text(&run(&["help"]).stdout);
    for words in [
        "Exit codes:",
        "64",
        "/etc/lamplighter/lamplighter.toml",
        "admin.sock",
        "SIGHUP",
        "print-config",
    ] {
        assert!(help.contains(words), "no {words:?} in {help}");
    }
    let version = text(&run(&["--version"]).stdout);
    assert!(
        version.starts_with(&format!("lamplighter {} (git ", env!("CARGO_PKG_VERSION"))),
        "{version}"
    );
    assert!(version.contains("rustc 1."), "{version}");
}
