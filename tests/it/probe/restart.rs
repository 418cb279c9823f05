//! Leaving and coming back: how long the load balancer is given, and what is told in between.

use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_setfd};

use super::application_health::{State, read};
use super::{Probed, SOON, web};
use crate::support::agent::Agent;
use crate::support::http;
use crate::support::process::Signal;

#[test]
fn a_restart_on_a_running_machine_is_healthy_from_the_first_answer() {
    let web = web();
    let mut probed = Probed::serving(Some(&web), "");
    assert_eq!(probed.state(), State::Healthy);
    let mark = probed.agent.dir().join("run/healthy");
    crate::support::poll::until(SOON, "the mark", || mark.exists());
    web.stop();
    probed.wait(503);
    probed.agent.kill();
    probed.agent.restart();
    let first =
        crate::support::poll::until(SOON, "the first answer", || probed.ask("/health/azure"));
    assert_eq!(read(Some((first.status, &first.body))), State::Healthy);
    let answer = probed.ask("/lb").expect("an answer");
    assert_eq!(answer.status, 503, "not before the web check has passed");
    web.start();
    probed.wait(200);
}

#[test]
fn a_machine_that_nobody_probes_is_left_at_once() {
    let mut probed = Probed::serving(None, "probe_interval = \"10s\"");
    let (status, time) = probed.agent.stop();
    assert!(status.success());
    eprintln!("idle: left after {time:?}");
    assert!(time < Duration::from_secs(5), "{time:?}");
}

#[test]
fn a_balancer_that_looks_is_given_its_time_and_is_told_at_once() {
    let more = "loopback_is_balancer = true\nprobe_interval = \"500ms\"\nprobe_threshold = 3";
    let mut probed = Probed::serving(None, more);
    probed.agent.signal(Signal::TERM);
    let told = probed.wait(503);
    assert_eq!(probed.state(), State::Healthy);
    let start = std::time::Instant::now();
    assert!(probed.agent.wait_end(SOON).success());
    let time = told + start.elapsed();
    eprintln!("told after {told:?}, left after {time:?}");
    assert!(
        time > Duration::from_millis(1400) && time < SOON,
        "{time:?}"
    );
}

#[test]
fn a_second_signal_ends_the_shedding() {
    let more = "loopback_is_balancer = true\nprobe_interval = \"300s\"\nprobe_threshold = 2";
    let mut probed = Probed::serving(None, more);
    probed.agent.signal(Signal::TERM);
    probed.wait(503);
    probed.agent.signal(Signal::TERM);
    assert!(probed.agent.wait_end(SOON).success());
}

/// A script that hands the socket over as systemd does (sd_listen_fds(3)) and becomes the agent.
fn activation(socket: &TcpListener) -> String {
    // from here on children inherit it
    fcntl_setfd(socket, FdFlags::empty()).expect("the descriptor is open");
    format!(
        "#!/bin/bash\nexec 3<&{}\nexport LISTEN_FDS=1 LISTEN_PID=$$\nexec {} \"$@\"\n",
        socket.as_raw_fd(),
        env!("CARGO_BIN_EXE_lamplighter")
    )
}

#[test]
fn with_the_socket_held_by_systemd_no_probe_is_refused_over_restarts() {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let probe = socket.local_addr().expect("its address").to_string();
    let home = Agent::builder(env!("CARGO_BIN_EXE_lamplighter"));
    let script = home.dir().join("activated");
    std::fs::write(&script, activation(&socket)).expect("a script");
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&script, executable).expect("its mode");
    let builder = Agent::builder(script.to_str().expect("a path in UTF-8"));
    let [metrics, admin] = [(); 2].map(|()| crate::support::ports::free());
    let mut agent = builder.start(&format!(
        "[health]\nlisten = \"{probe}\"\nmetrics_listen = \"127.0.0.1:{metrics}\"\nadmin_listen = \"127.0.0.1:{admin}\"\n\
         admin_socket = \"{{dir}}/admin.sock\"\nruntime_dir = \"{{dir}}/run\"\n[state]\ndir = \"{{dir}}/state\"\n"
    ));
    agent.wait_ready(SOON);
    crate::support::agent::wait_status(SOON, &probe, "/lb", 200);
    let mark = agent.dir().join("run/healthy");
    crate::support::agent::wait_status(SOON, &probe, "/health/azure", 200);
    crate::support::poll::until(SOON, "the mark", || mark.exists());
    let done = AtomicBool::new(false);
    std::thread::scope(|threads| {
        let prober = threads.spawn(|| {
            let (mut count, mut shed) = (0, 0);
            while !done.load(Ordering::Relaxed) {
                let answer = http::get(&probe, "/lb")
                    .unwrap_or_else(|error| panic!("probe {count}: {error}"));
                shed += usize::from(answer.status != 200);
                let azure = http::get(&probe, "/health/azure")
                    .unwrap_or_else(|error| panic!("azure {count}: {error}"));
                assert_eq!(
                    read(Some((azure.status, &azure.body))),
                    State::Healthy,
                    "{count}"
                );
                count += 1;
            }
            (count, shed)
        });
        for _ in 0..5 {
            assert!(agent.stop().0.success());
            agent.restart();
            agent.wait_ready(SOON);
        }
        done.store(true, Ordering::Relaxed);
        let (count, shed) = prober.join().expect("every probe answered");
        eprintln!("5 restarts: {count} probes, all answered, {shed} of them 503");
    });
    drop(home);
}
