//! What a running agent can be asked, by command and by signal, and how it leaves.

use std::fs;
use std::time::Duration;

use super::{FAILS_WITHIN, PATIENCE, builder, health, run, text};
use crate::support::agent::{Agent, http_get, wait_status};
use crate::support::process::Signal;
use crate::support::scratch::Scratch;
use crate::support::{poll, redis};

/// An agent that only answers probes, its probe port, and its metrics port.
struct Probe {
    agent: Agent,
    address: String,
    metrics: String,
    config: String,
}

fn probe(more: &str) -> Probe {
    let (config, address, metrics) = health(more);
    let mut agent = builder().start(&config);
    agent.wait_ready(PATIENCE);
    Probe {
        agent,
        address,
        metrics,
        config,
    }
}

impl Probe {
    /// Runs a command against the agent: exit code, output, errors.
    fn ask(&self, args: &[&str]) -> (Option<i32>, String, String) {
        let path = self.agent.config_path();
        let mut all = args.to_vec();
        all.extend(["--config", path.to_str().expect("UTF-8")]);
        let (status, output, errors) = self.agent.command(&all);
        (status.code(), output, errors)
    }

    fn metric(&self, name: &str) -> String {
        let (_, _, body) = http_get(&self.metrics, "/metrics");
        let line = body.lines().find(|line| line.starts_with(name));
        line.unwrap_or_else(|| panic!("no {name}")).to_owned()
    }
}

#[test]
fn status_drain_and_undrain() {
    let probe = probe("");
    let (code, human, errors) = probe.ask(&["status"]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(
        human.contains("phase            ready") && human.contains("load balancer    200"),
        "{human}"
    );
    let (code, json, _) = probe.ask(&["status", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(
        (code, &status["phase"], &status["serving"]),
        (Some(0), &"ready".into(), &true.into())
    );

    assert_eq!(probe.ask(&["drain", "--wait"]).0, Some(0));
    assert_eq!(
        probe.metric("lamplighter_phase{phase=\"shedding\"}"),
        "lamplighter_phase{phase=\"shedding\"} 1"
    );
    wait_status(PATIENCE, &probe.address, "/lb", 503);
    assert_eq!(
        probe.ask(&["drain"]).0,
        Some(0),
        "asking twice is no mistake"
    );
    assert_eq!(probe.ask(&["undrain"]).0, Some(0));
    wait_status(PATIENCE, &probe.address, "/lb", 200);
    assert!(
        probe
            .ask(&["status", "--admin-socket", "/nowhere/admin.sock"])
            .2
            .contains("is it running?")
    );
}

#[test]
fn nobody_to_ask_is_a_failure() {
    let scratch = Scratch::new("config");
    let path = scratch.write(
        "l.toml",
        format!(
            "[health]\nadmin_socket = '{}'\n",
            scratch.join("admin.sock").display()
        ),
    );
    for command in ["status", "drain", "undrain", "reload"] {
        let output = run(&[command, "--config", path.to_str().expect("UTF-8")]);
        assert_eq!(output.status.code(), Some(1), "{command}");
        assert!(
            text(&output.stderr).contains("no agent answers"),
            "{command}"
        );
    }
}

#[test]
fn a_good_file_is_reloaded_and_a_bad_one_changes_nothing() {
    let mut probe = probe("");
    let digest = probe.metric("lamplighter_config_info");
    let (code, said, _) = probe.ask(&["reload"]);
    assert_eq!(
        (code, said.as_str()),
        (
            Some(0),
            "read; nothing changed that a running agent can take\n"
        )
    );

    probe
        .agent
        .write_config(&format!("{}prob_threshold = 3\n", probe.config));
    let path = probe.agent.config_path();
    let socket = probe.agent.dir().join("admin.sock");
    let (status, _, errors) =
        probe
            .agent
            .command(&["reload", "--admin-socket", socket.to_str().expect("UTF-8")]);
    assert_eq!(status.code(), Some(1));
    assert!(
        errors.contains("did you mean `probe_threshold`?")
            && errors.contains(path.to_str().expect("UTF-8")),
        "{errors}"
    );
    assert_eq!(
        probe.metric("lamplighter_config_last_reload_successful"),
        "lamplighter_config_last_reload_successful 0"
    );
    assert_eq!(probe.metric("lamplighter_config_info"), digest);
    wait_status(PATIENCE, &probe.address, "/lb", 200);

    // the same by signal
    probe
        .agent
        .write_config(&format!("{}probe_threshold = 3\n", probe.config));
    probe.agent.signal(Signal::HUP);
    poll::until(PATIENCE, "the reload", || {
        let line = probe.metric("lamplighter_config_last_reload_successful");
        if line.ends_with(" 1") {
            Ok(())
        } else {
            Err(line)
        }
    });
    assert_ne!(probe.metric("lamplighter_config_info"), digest);
    assert_eq!(
        probe.metric("lamplighter_config_restart_needed"),
        "lamplighter_config_restart_needed 1"
    );
    let (code, said, _) = probe.ask(&["reload"]);
    assert_eq!(code, Some(0));
    assert!(said.contains("needs a restart: [health]"), "{said}");
}

#[test]
fn an_idle_agent_leaves_at_the_first_signal() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut probe = probe("");
        probe.agent.signal(signal);
        let status = probe.agent.wait_end(FAILS_WITHIN);
        assert_eq!(status.code(), Some(0), "{}", probe.agent.log());
    }
}

#[test]
fn a_second_signal_stops_at_once() {
    // a balancer that asks once a minute is given two to look away
    let mut probe = probe("loopback_is_balancer = true\nprobe_interval = '1m'");
    wait_status(PATIENCE, &probe.address, "/lb", 200);
    probe.agent.signal(Signal::TERM);
    wait_status(PATIENCE, &probe.address, "/lb", 503);
    poll::throughout(Duration::from_millis(300), "shedding", || {
        probe.agent.process().ended().is_none()
    });
    probe.agent.signal(Signal::TERM);
    let status = probe.agent.wait_end(FAILS_WITHIN);
    assert_eq!(status.code(), Some(0), "{}", probe.agent.log());
}

#[test]
fn killed_and_started_again() {
    let mut probe = probe("");
    probe.agent.kill();
    assert!(
        probe.agent.dir().join("admin.sock").exists(),
        "a killed agent leaves its socket behind"
    );
    probe.agent.restart();
    probe.agent.wait_ready(PATIENCE);
    wait_status(PATIENCE, &probe.address, "/lb", 200);
    assert_eq!(probe.ask(&["status"]).0, Some(0));
}

#[test]
fn the_process_keeps_its_memory_to_itself_and_has_descriptors() {
    let mut probe = probe("");
    let pid = probe.agent.process().pid();
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("limits");
    let limit = |name: &str| {
        let line = limits
            .lines()
            .find(|line| line.starts_with(name))
            .expect(name);
        let words: Vec<&str> = line.trim_start_matches(name).split_whitespace().collect();
        (words[0].to_owned(), words[1].to_owned())
    };
    assert_eq!(limit("Max core file size").0, "0");
    let (soft, hard) = limit("Max open files");
    assert_eq!(soft, hard);
    // a process that cannot be dumped belongs to root in /proc (proc(5)), whoever runs it
    assert_eq!(probe.ask(&["status"]).0, Some(0));
}

#[test]
fn a_start_with_nothing_to_wait_for_is_quick_and_small() {
    let mut probe = probe("");
    // other tests run beside this one: the quickest of a few starts is the start itself
    let mut starts = Vec::new();
    for _ in 0..5 {
        probe.agent.stop();
        probe.agent.restart();
        starts.push(probe.agent.wait_ready(PATIENCE));
    }
    let quickest = starts.iter().min().expect("five");
    assert!(*quickest < Duration::from_millis(100), "{starts:?}");
    let kib = probe.agent.rss_kib();
    // an unoptimised binary maps more than twice the code that a release does
    let mib_max = if cfg!(debug_assertions) { 40 } else { 16 };
    assert!(kib < mib_max * 1024, "{kib} KiB");
}

#[test]
fn a_reload_reads_the_ca_again_and_keeps_the_old_one_if_it_cannot() {
    let redis = redis::Server::builder()
        .tls()
        .password("redis-secret")
        .start();
    let (health, address, metrics) = health("");
    let builder = builder();
    builder.secret("redis", "redis-secret");
    let ca = builder.dir().join("ca.pem");
    fs::copy(redis.ca_path(), &ca).expect("copied");
    let more = format!(
        "[redis]\nupstream = 'rediss://{}'\npassword_file = 'redis'\ntls = {{ ca = '{}' }}\n",
        redis.address(),
        ca.display()
    );
    let config = format!("{health}{more}");
    let mut agent = builder.start(&config);
    agent.wait_ready(PATIENCE);
    let probe = Probe {
        agent,
        address,
        metrics,
        config,
    };
    fs::write(&ca, "not a certificate").expect("written");
    let (code, _, errors) = probe.ask(&["reload"]);
    assert_eq!(code, Some(1));
    assert!(
        errors.contains("not read again: [redis]") && errors.contains("ca.pem"),
        "{errors}"
    );
    wait_status(PATIENCE, &probe.address, "/lb", 200);
    assert_eq!(probe.ask(&["status"]).0, Some(0));

    fs::copy(redis.ca_path(), &ca).expect("copied");
    assert_eq!(probe.ask(&["reload"]).0, Some(0));
}
