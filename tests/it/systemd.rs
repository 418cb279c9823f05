//! The units as systemd's own tools judge them, and the notify protocol as the agent speaks it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use crate::probe::Probed;
use crate::support::agent::Agent;
use crate::support::poll;
use crate::support::process::Signal;
use crate::support::scratch::Scratch;

const SOON: Duration = Duration::from_secs(20);

/// What `systemd-analyze security` may say at most.
const EXPOSURE_MAX: f64 = 1.5;

fn units() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../systemd")
}

fn unit(name: &str) -> String {
    let path = units().join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[track_caller]
fn run(command: &mut Command) -> Output {
    let name = command.get_program().display().to_string();
    command.output().unwrap_or_else(|error| {
        panic!("{name}: {error}; run tests/support/install.sh (Debian's package systemd)")
    })
}

fn text(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

/// The units beside each other, with the agent's program where it is on this machine.
fn installed(scratch: &Scratch) -> [PathBuf; 2] {
    ["lamplighter.service", "lamplighter.socket"].map(|name| {
        let binary = env!("CARGO_BIN_EXE_lamplighter");
        let leaving = units().join("leaving").display().to_string();
        let text = unit(name)
            .replace("/usr/bin/lamplighter", binary)
            .replace("/usr/lib/lamplighter/leaving", &leaving);
        scratch.write(name, text)
    })
}

#[test]
fn the_units_have_no_mistake() {
    let scratch = Scratch::new("units");
    let output = run(Command::new("systemd-analyze")
        // the manual page comes with the package
        .args(["verify", "--man=no"])
        .args(installed(&scratch)));
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(text(&output), "");
}

#[test]
fn the_service_is_shut_in() {
    let output = run(Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager"])
        .arg(units().join("lamplighter.service")));
    let text = text(&output);
    let exposure = text
        .lines()
        .find_map(|line| line.split_once("Overall exposure level for lamplighter.service: "))
        .and_then(|(_, rest)| rest.split_whitespace().next()?.parse::<f64>().ok())
        .unwrap_or_else(|| panic!("no exposure in: {text}"));
    eprintln!("exposure {exposure}");
    assert!(exposure <= EXPOSURE_MAX, "{text}");
}

#[test]
fn the_socket_unit_has_the_addresses_of_an_empty_configuration() {
    let socket = unit("lamplighter.socket");
    let listens: Vec<_> = socket
        .lines()
        .filter_map(|line| line.strip_prefix("ListenStream="))
        .collect();
    let health = lamplighter_health::Config::default();
    for address in [
        health.listen.to_string(),
        health.metrics_listen.to_string(),
        health.admin_listen.to_string(),
    ] {
        let address = address.trim_start_matches("tcp:");
        assert!(listens.contains(&address), "{address} not in {listens:?}");
    }
    let example = std::fs::read_to_string(units().join("../config/lamplighter.toml"));
    let example = example.expect("the reference configuration");
    let mysql = listens
        .iter()
        .find(|listen| listen.ends_with("mysql.sock"))
        .expect("the MySQL socket");
    assert!(example.contains(&format!("unix:{mysql}")), "{mysql}");
}

#[test]
fn the_user_and_the_runtime_directory_can_be_made() {
    let root = Scratch::new("root");
    std::fs::create_dir(root.join("etc")).expect("etc");
    let in_root = |program: &str| {
        let mut command = Command::new(program);
        command.arg(format!("--root={}", root.path().display()));
        command
    };
    let output = run(in_root("systemd-sysusers").arg(units().join("sysusers.d/lamplighter.conf")));
    assert!(output.status.success(), "{}", text(&output));
    let users = std::fs::read_to_string(root.join("etc/passwd")).expect("passwd");
    assert!(users.contains("lamplighter:x:"), "{users}");
    let output = run(in_root("systemd-tmpfiles")
        .arg("--create")
        .arg(units().join("tmpfiles.d/lamplighter.conf")));
    assert!(output.status.success(), "{}", text(&output));
    assert!(root.join("run/lamplighter").is_dir());
}

#[test]
fn every_word_of_the_notify_protocol_is_spoken_at_its_time() {
    let builder = Agent::builder(env!("CARGO_BIN_EXE_lamplighter"));
    let builder = builder.watchdog(Duration::from_millis(600));
    let mut probed = Probed::start(builder, "");
    let agent = &mut probed.agent;
    let ready = agent.wait_ready(SOON);
    eprintln!("READY=1 after {ready:?}");
    poll::until(SOON, "a watchdog message", || {
        agent.last_notification("WATCHDOG")
    });
    poll::until(SOON, "STATUS=ready", || {
        agent.last_notification("STATUS").as_deref() == Some("ready")
    });

    agent.signal(Signal::HUP);
    poll::until(SOON, "RELOADING=1", || agent.last_notification("RELOADING"));
    poll::until(SOON, "the end of the reload", || {
        let words = agent.notifications();
        let began = words.iter().position(|word| word == "RELOADING=1")?;
        let after = words.get(began + 1..)?;
        let stamped = after.iter().any(|word| word.starts_with("MONOTONIC_USEC="));
        (stamped && after.iter().any(|word| word == "READY=1")).then_some(())
    });

    // a bad configuration ends in the same way: the old one runs on
    let config = std::fs::read_to_string(agent.config_path()).expect("the configuration");
    agent.write_config(&config.replace("[health]", "[health]\nlisen = \"x\""));
    let reloads = |agent: &Agent| {
        agent
            .notifications()
            .iter()
            .filter(|word| *word == "READY=1")
            .count()
    };
    let before = reloads(agent);
    agent.signal(Signal::HUP);
    poll::until(SOON, "the end of the bad reload", || {
        reloads(agent) > before
    });
    agent.write_config(&config);

    agent.signal(Signal::TERM);
    assert!(agent.wait_end(SOON).success());
    let words = agent.notifications();
    for word in ["STOPPING=1", "EXTEND_TIMEOUT_USEC=30000000"] {
        assert!(
            words.iter().any(|told| told == word),
            "{word} not in {words:?}"
        );
    }
    let stopping = words.iter().position(|word| word == "STOPPING=1");
    let ready = words.iter().rposition(|word| word == "READY=1");
    assert!(stopping > ready, "{words:?}");
}

#[test]
fn an_agent_without_a_configuration_waits_for_it() {
    let builder = Agent::builder(env!("CARGO_BIN_EXE_lamplighter"));
    let mut agent = builder.start("# nothing yet\n");
    agent.wait_ready(SOON);
    poll::until(SOON, "STATUS= that says what is missing", || {
        let status = agent.last_notification("STATUS")?;
        status
            .contains("waiting for configuration")
            .then_some(status)
    });
    agent.write_config("[health]\nlisen = 1\n");
    poll::until(SOON, "STATUS= that says what is wrong", || {
        let status = agent.last_notification("STATUS")?;
        status.contains("cannot be used").then_some(status)
    });
    assert!(agent.log().contains("listen"), "{}", agent.log());
    assert!(agent.process().ended().is_none(), "it waits on");

    let port = crate::support::ports::free();
    let [metrics, admin] = [(); 2].map(|()| crate::support::ports::free());
    agent.write_config(&format!(
        "[health]\nlisten = \"127.0.0.1:{port}\"\nmetrics_listen = \"127.0.0.1:{metrics}\"\nadmin_listen = \"127.0.0.1:{admin}\"\n\
         admin_socket = \"{{dir}}/admin.sock\"\nruntime_dir = \"{{dir}}/run\"\n[state]\ndir = \"{{dir}}/state\"\n"
    ));
    // 75: systemd is to start it again, with the file
    assert_eq!(agent.wait_end(SOON).code(), Some(75), "{}", agent.log());
    agent.restart();
    agent.wait_ready(SOON);
    let address = format!("127.0.0.1:{port}");
    crate::support::agent::wait_status(SOON, &address, "/lb", 200);
}
