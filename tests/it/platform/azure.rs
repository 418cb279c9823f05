//! What Azure's metadata service says, late or twice or never, to whole machines: what their visitors see of it, and what Azure is told.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::whole::{Machine, PARTS, Servers};
use super::{SOON, leaving, wait_name, wait_polls, wait_step};
use crate::probe::application_health::State;
use crate::support::imds::Imds;
use crate::support::poll;

/// How long visitors are looked after in each state of the service.
const WHILE: Duration = Duration::from_secs(1);

/// Whether anything had an answer by now. Whoever waited for one would.
fn has_answered(imds: &Imds) -> bool {
    imds.journal().iter().any(|it| it["status"] == 200)
}

/// Starts the machine's agent anew while the service is as `trouble` has it, or away: it starts, visitors are served, and the service
/// was not waited for.
#[track_caller]
fn serves_through(machine: &mut Machine, trouble: Option<&Value>) {
    assert!(machine.probed.agent.stop().0.success(), "{trouble:?}");
    machine.imds.stop();
    if let Some(trouble) = trouble {
        machine.imds.start_again();
        machine.imds.set(trouble);
    }
    let start = Instant::now();
    machine.probed.agent.restart();
    let ready = machine.probed.agent.wait_ready(SOON);
    eprintln!("{trouble:?}: ready after {ready:?}");
    machine.wait_whole();
    machine.visited(&PARTS, || poll::throughout(WHILE, "visitors", || true));
    if trouble.is_some() {
        super::expect_pace(&machine.imds, start);
    }
}

#[test]
fn whatever_state_the_service_is_in_a_machine_starts_and_serves_and_leaves() {
    let mut machine = Servers::shared().machine("");
    serves_through(&mut machine, None);
    for trouble in [
        // Azure's slowest is ten seconds; here longer than any wait for the agent's start or end
        json!({"delay": {"instance": 180, "events": 180}}),
        json!({"status": {"instance": 429, "events": 429}}),
        json!({"status": {"instance": 500, "events": 500}}),
        json!({"status": {"instance": 400, "events": 403}}),
        json!({"hang_up": true}),
    ] {
        serves_through(&mut machine, Some(&trouble));
        assert!(!has_answered(&machine.imds), "{trouble}");
    }
    // the first call takes two minutes; everything else is there
    serves_through(&mut machine, Some(&json!({"first_events_delay": 120})));
    wait_name(&machine.probed, "web_0");
    assert_eq!(machine.imds.count("events", 200), 0);
    // a host that is updated for longer than Azure's 70 s, and is back then
    serves_through(&mut machine, Some(&json!({"gone_until": 1e12})));
    poll::until(SOON, "another try", || {
        machine.imds.count("events", 410) > 1
    });
    machine.imds.set(&json!({"gone_until": 0}));
    wait_name(&machine.probed, "web_0");
    wait_polls(&machine.imds, 2);
    machine.is_whole().expect("nothing of it is a visitor's");
    assert!(machine.probed.agent.stop().0.success());
}

#[test]
fn two_machines_with_their_terminates_at_once_each_leave_for_their_own() {
    let machines = [("web_0", "a"), ("web_1", "b")].map(|(name, own)| {
        let imds = Imds::start();
        imds.name_machine(name, &format!("{name}-0000-4000-8000-000000000000"));
        (Servers::shared().machine_beside(imds, ""), own)
    });
    // each has the whole list, as Azure gives it to all machines of a placement group
    let announce = |id: &str, name: &str| {
        for (machine, _) in &machines {
            machine.imds.announce(id, "Terminate", &[name], 300);
        }
    };
    announce("neighbours", "web_2");
    for (machine, _) in &machines {
        machine.visited(&PARTS, || wait_polls(&machine.imds, 2));
    }
    announce("a", "web_0");
    announce("b", "web_1");
    for (machine, own) in &machines {
        machine.probed.wait(503);
        poll::until(SOON, "the acknowledgement", || {
            machine.imds.acknowledged() == [*own]
        });
        machine
            .is_whole()
            .expect("visitors who are still there are served");
        wait_polls(&machine.imds, 3);
        assert_eq!(
            machine.imds.acknowledged(),
            [*own],
            "the others wait for their own machines"
        );
    }
}

#[test]
fn a_cancelled_event_brings_the_visitors_back_once_it_has_settled() {
    const SETTLE: Duration = Duration::from_secs(3);
    let settle = format!("settle = \"{}s\"\nterminate = \"leave\"", SETTLE.as_secs());
    let machine = Servers::shared().machine(&settle);
    let probed = &machine.probed;
    machine.imds.announce("c", "Terminate", &["web_0"], 300);
    probed.wait(503);
    wait_step(probed, "left");
    machine
        .is_whole()
        .expect("it serves as long as it is there");
    let start = Instant::now();
    machine.imds.take_off("c");
    let back = probed.wait(200);
    eprintln!("cancelled, then back after {back:?}");
    assert!(start.elapsed() >= SETTLE, "damped");
    assert!(leaving(probed).is_none());
    let told = machine.imds.acknowledged();
    assert_eq!(told, [""; 0], "policy \"leave\" tells Azure nothing");
    assert_eq!(probed.state(), State::Healthy);
    machine.visited(&PARTS, || wait_polls(&machine.imds, 2));
}
