//! The metadata service in every state it can be in. Nothing waits for it and nothing breaks by it.

use std::time::Instant;

use serde_json::json;

use super::{SOON, VM_ID, agent, tables, wait_name, wait_row};
use crate::probe::Probed;
use crate::probe::application_health::State;
use crate::support::agent::Agent;
use crate::support::imds::Imds;
use crate::support::poll;

#[test]
fn the_machine_is_known_in_metrics_and_the_log_and_asked_for_by_the_rules() {
    let imds = Imds::start();
    // a proxy in the environment is not for this address: nobody listens there
    let builder = Agent::builder(env!("CARGO_BIN_EXE_lamplighter"))
        .env("http_proxy", "http://127.0.0.1:9")
        .env("HTTP_PROXY", "http://127.0.0.1:9");
    let start = Instant::now();
    let mut probed = Probed::start(builder, &tables(&imds, ""));
    probed.agent.wait_ready(SOON);
    wait_name(&probed, "web_0");
    super::wait_polls(&imds, 3);
    super::expect_pace(&imds, start);
    let journal = imds.journal();
    for request in &journal {
        assert_eq!(request["metadata"], "true", "{request}");
        assert_eq!(request["status"], 200, "{request}");
    }
    let log = probed.agent.log();
    assert!(log.contains(VM_ID) && log.contains("web_0"), "{log}");
}

#[test]
fn a_service_that_is_absent_and_comes_back_costs_nothing() {
    let imds = Imds::start();
    imds.stop();
    let probed = agent(&imds, "");
    assert_eq!(probed.state(), State::Healthy);
    let log = probed.agent.log();
    assert!(
        !log.contains("ERROR"),
        "not being on Azure is no error: {log}"
    );
    imds.start_again();
    wait_name(&probed, "web_0");
}

#[test]
fn junk_is_survived_and_never_believed() {
    let imds = Imds::start();
    let probed = agent(&imds, "settle = \"1s\"");
    wait_name(&probed, "web_0");
    let huge = json!("[".repeat(400_000));
    // a list with something odd in it may name machines that we do not see
    let odd = json!(
        r#"{"Events":[{"EventId":"x","EventType":"Terminate","Resources":["web_0", 7],"EventStatus":"Scheduled"}]}"#
    );
    let junk = [
        json!({"body": {"events": "", "instance": "\u{0}\u{1}"}}),
        json!({"body": {"events": huge, "instance": huge}}),
        json!({"body": {"events": odd}}),
        json!({"truncate": ["events"]}),
    ];
    for junk in junk {
        imds.set(&junk);
        let before = imds.count("events", 200);
        poll::until(SOON, "the junk to be read", || {
            imds.count("events", 200) > before
        });
        imds.set(&json!({"body": {}, "truncate": []}));
        super::wait_polls(&imds, 2);
        assert_eq!(probed.ask("/lb").expect("an answer").status, 200);
        assert!(super::leaving(&probed).is_none());
    }
    let log = probed.agent.log();
    assert!(!log.contains("panick"), "{log}");
}

#[test]
fn what_an_image_took_along_from_a_live_machine_is_wiped_at_the_start() {
    let imds = Imds::start();
    let mut probed = agent(&imds, "");
    let state = probed.agent.dir().join("state");
    super::wait_owner(&probed.agent, VM_ID);
    let leftover = state.join("sync/site/index");
    let make = || {
        std::fs::create_dir_all(leftover.parent().expect("a folder")).expect("a folder");
        std::fs::write(&leftover, "of another machine").expect("a file");
    };
    make();
    assert!(probed.agent.stop().0.success());
    probed.agent.restart();
    probed.agent.wait_ready(SOON);
    assert!(leftover.exists(), "the same machine keeps its state");
    assert!(probed.agent.stop().0.success());

    let other = "11111111-2222-3333-4444-555555555555";
    imds.name_machine("web_7", other);
    super::start_as_another(&mut probed.agent, other);
    assert!(!leftover.exists(), "another machine does not");
    wait_name(&probed, "web_7");
    assert!(probed.agent.stop().0.success());

    // the service is slow at the start: found out later, and wiped at the start that follows
    make();
    imds.name_machine("web_8", VM_ID);
    imds.set(&json!({"delay": {"instance": 3}}));
    probed.agent.restart();
    assert_eq!(probed.agent.wait_end(SOON).code(), Some(1));
    probed.agent.restart();
    probed.agent.wait_ready(SOON);
    assert!(!leftover.exists(), "{}", probed.agent.log());
}

#[test]
fn a_state_directory_that_is_gone_is_told_as_a_local_fault_and_costs_no_traffic() {
    let imds = Imds::start();
    let probed = agent(&imds, "");
    let state = probed.agent.dir().join("state");
    super::wait_owner(&probed.agent, VM_ID);
    std::fs::remove_dir_all(&state).expect("the state directory");
    // a file in its place: not even root can write below it
    std::fs::write(&state, "").expect("a file");
    wait_row(SOON, &probed, "[!] machine:disk: degraded (local)");
    assert_eq!(probed.ask("/lb").expect("an answer").status, 200);
    assert_eq!(probed.state(), State::Healthy);
    std::fs::remove_file(&state).expect("the file");
    std::fs::create_dir(&state).expect("a folder");
    wait_row(SOON, &probed, "[+] machine:disk: ok");
}
