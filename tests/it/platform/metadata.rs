//! The metadata service in every state it can be in. Nothing waits for it and nothing breaks by it.

use std::time::Duration;

use serde_json::json;

use super::{SOON, VM_ID, agent, tables};
use crate::probe::Probed;
use crate::probe::application_health::State;
use crate::support::agent::Agent;
use crate::support::http;
use crate::support::imds::Imds;
use crate::support::poll;

/// A start that waited for the service would take 10 s and more.
const AT_ONCE: Duration = Duration::from_secs(5);

fn metrics(probed: &Probed) -> String {
    let answer = http::get(&probed.metrics, "/metrics").expect("the metrics");
    answer.text()
}

/// Waits until the agent shows `name` as the machine it is on.
#[track_caller]
fn wait_name(probed: &Probed, name: &str) {
    let wanted = format!("name=\"{name}\"");
    poll::until(Duration::from_secs(40), &wanted, || {
        let shown = metrics(probed);
        let line = shown
            .lines()
            .find(|line| line.starts_with("lamplighter_platform_instance_info{"));
        line.is_some_and(|line| line.contains(&wanted))
    });
}

#[test]
fn the_machine_is_known_in_metrics_and_the_log_and_asked_for_by_the_rules() {
    let imds = Imds::start();
    // a proxy in the environment is not for this address: nobody listens there
    let builder = Agent::builder(env!("CARGO_BIN_EXE_lamplighter"))
        .env("http_proxy", "http://127.0.0.1:9")
        .env("HTTP_PROXY", "http://127.0.0.1:9");
    let mut probed = Probed::start(builder, &tables(&imds, ""));
    probed.agent.wait_ready(SOON);
    wait_name(&probed, "web_0");
    super::wait_polls(&imds, 3);
    let journal = imds.journal();
    for request in &journal {
        assert_eq!(request["metadata"], "true", "{request}");
        assert_eq!(request["status"], 200, "{request}");
    }
    // the service grants the machine five a second; ours are at least half a second apart when they leave
    let times: Vec<f64> = journal
        .iter()
        .map(|it| it["at"].as_f64().unwrap())
        .collect();
    for four in times.windows(4) {
        assert!(four[3] - four[0] > 1.0, "{times:?}");
    }
    let log = probed.agent.log();
    assert!(log.contains(VM_ID) && log.contains("web_0"), "{log}");
}

#[test]
fn whatever_state_the_service_is_in_the_start_and_the_probes_go_on() {
    for (trouble, ends_by_itself) in [
        (json!({"delay": {"instance": 10, "events": 10}}), false),
        (json!({"status": {"instance": 429, "events": 429}}), false),
        (json!({"status": {"instance": 500, "events": 500}}), false),
        (json!({"status": {"instance": 400, "events": 403}}), false),
        (json!({"hang_up": true}), false),
        (json!({"first_events_delay": 120}), true),
    ] {
        let imds = Imds::start();
        imds.set(&trouble);
        let builder = Agent::builder(env!("CARGO_BIN_EXE_lamplighter"));
        let mut probed = Probed::start(builder, &tables(&imds, ""));
        let ready = probed.agent.wait_ready(SOON);
        assert!(ready < AT_ONCE, "{trouble}: ready after {ready:?}");
        probed.wait(200);
        assert_eq!(probed.state(), State::Healthy, "{trouble}");
        if ends_by_itself {
            wait_name(&probed, "web_0");
        }
        let (status, time) = probed.agent.stop();
        assert!(status.success() && time < AT_ONCE, "{trouble}: {time:?}");
    }
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
fn a_host_that_is_updated_is_asked_again_soon_and_not_too_often() {
    let imds = Imds::start();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs_f64();
    imds.set(&json!({"gone_until": now + 6.0}));
    let probed = agent(&imds, "");
    wait_name(&probed, "web_0");
    let gone = imds.count("events", 410);
    assert!((2..=8).contains(&gone), "{gone} requests in 6 s of 410");
    super::wait_polls(&imds, 2);
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
    let owner = state.join("instance");
    poll::until(SOON, "the owner of the state", || owner.exists());
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

    imds.name_machine("web_7", "11111111-2222-3333-4444-555555555555");
    probed.agent.restart();
    probed.agent.wait_ready(SOON);
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
    poll::until(SOON, "the owner of the state", || {
        state.join("instance").exists()
    });
    std::fs::remove_dir_all(&state).expect("the state directory");
    // a file in its place: not even root can write below it
    std::fs::write(&state, "").expect("a file");
    let rows = || probed.ask("/readyz?verbose").expect("an answer").text();
    poll::until(SOON, "the fault on the board", || {
        let rows = rows();
        if rows.contains("[!] machine:disk: degraded (local)") {
            Ok(())
        } else {
            Err(rows)
        }
    });
    assert_eq!(probed.ask("/lb").expect("an answer").status, 200);
    assert_eq!(probed.state(), State::Healthy);
    std::fs::remove_file(&state).expect("the file");
    std::fs::create_dir(&state).expect("a folder");
    poll::until(SOON, "the end of the fault", || {
        rows().contains("[+] machine:disk: ok")
    });
}
