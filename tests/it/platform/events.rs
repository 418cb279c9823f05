//! Scheduled events: what happens to the machine's traffic, and what Azure is told.

use std::time::Instant;

use serde_json::json;

use super::{SOON, agent, leaving, wait_polls, wait_step};
use crate::probe::application_health::State;
use crate::support::imds::Imds;
use crate::support::poll;

#[test]
fn a_terminate_of_ours_is_left_for_and_acknowledged_and_a_neighbours_is_not() {
    let imds = Imds::start();
    let probed = agent(&imds, "");
    wait_polls(&imds, 1);
    imds.announce("neighbour", "Terminate", &["web_1"], 300);
    imds.announce("both", "Reboot", &["web_1", "web_2"], 900);
    wait_polls(&imds, 3);
    assert_eq!(probed.ask("/lb").expect("an answer").status, 200);
    assert!(leaving(&probed).is_none());

    let start = Instant::now();
    imds.announce("ours", "Terminate", &["WEB_0"], 300);
    probed.wait(503);
    eprintln!("announced, then 503 after {:?}", start.elapsed());
    assert_eq!(
        probed.state(),
        State::Healthy,
        "it leaves anyway: no repair"
    );
    poll::until(SOON, "the acknowledgement", || {
        imds.acknowledged() == ["ours"]
    });
    wait_polls(&imds, 3);
    assert_eq!(imds.acknowledged(), ["ours"], "once, and nobody else's");
    let told = leaving(&probed).expect("it is leaving");
    assert_eq!(
        (&told["source"], &told["step"]),
        (&json!("event"), &json!("left"))
    );
}

#[test]
fn an_event_that_names_others_too_is_left_for_and_never_acknowledged() {
    let imds = Imds::start();
    let probed = agent(&imds, "");
    imds.announce("shared", "Redeploy", &["web_0", "web_1"], 600);
    probed.wait(503);
    wait_step(&probed, "left");
    wait_polls(&imds, 3);
    assert_eq!(imds.acknowledged(), [""; 0]);
}

#[test]
fn a_short_freeze_may_begin_at_once_and_costs_no_traffic() {
    let imds = Imds::start();
    let probed = agent(&imds, "");
    imds.event(&json!({"id": "f", "type": "Freeze", "resources": ["web_0"], "duration": 9}));
    poll::until(SOON, "the acknowledgement", || imds.acknowledged() == ["f"]);
    assert_eq!(probed.ask("/lb").expect("an answer").status, 200);
    imds.take_off("f");
    wait_polls(&imds, 2);
    assert_eq!(probed.ask("/lb").expect("an answer").status, 200);

    imds.event(&json!({"id": "g", "type": "Freeze", "resources": ["web_0"], "duration": 60}));
    probed.wait(503);
    poll::until(SOON, "the acknowledgement", || {
        imds.acknowledged() == ["f", "g"]
    });
}

#[test]
fn a_preempt_is_answered_within_its_25_seconds_though_something_hangs() {
    let imds = Imds::start();
    let mut config = super::tables(&imds, "preempt_deadline = \"5s\"");
    // a hook that never ends is cut off, and what comes after it is not kept waiting
    config = config.replace(
        "[shutdown]\n",
        "[shutdown]\non_leave = [\"/bin/sleep\", \"1000\"]\n",
    );
    let builder = crate::support::agent::Agent::builder(env!("CARGO_BIN_EXE_lamplighter"));
    let keys = "loopback_is_balancer = true\nprobe_interval = \"60s\"\n";
    let mut probed = crate::probe::Probed::start(builder, &format!("{keys}{config}"));
    probed.agent.wait_ready(SOON);
    probed.wait(200);
    wait_polls(&imds, 1);
    imds.announce("p", "Preempt", &["web_0"], 30);
    probed.wait(503);
    // the balancer wants 120 s; it gets 40% of the five seconds
    poll::until(SOON, "the acknowledgement", || imds.acknowledged() == ["p"]);
    wait_step(&probed, "left");
}

#[test]
fn an_operators_drain_does_not_end_with_an_event_nor_an_event_with_an_operators_undrain() {
    let imds = Imds::start();
    let probed = agent(&imds, "settle = \"1s\"");
    imds.announce("d", "Terminate", &["web_0"], 300);
    probed.wait(503);
    probed.command("drain");
    imds.take_off("d");
    wait_polls(&imds, 6);
    assert_eq!(probed.ask("/lb").expect("an answer").status, 503);
    probed.command("undrain");
    probed.wait(200);
}
