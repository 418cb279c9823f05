//! The machine as Azure has it: metadata, scheduled events, identity, by the real agent against a strict fake of Azure's service.

mod azure;
mod events;
mod fleet;
mod identity;
mod leaving;
mod metadata;
mod network;
mod renewals;
mod scenarios;
mod troubles;
mod whole;

use std::time::{Duration, Instant};

use crate::probe::Probed;
use crate::support::agent::Agent;
use crate::support::imds::Imds;

/// Far more than anything here takes on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// Keys of `[mysql.pool]`: a login that takes its time on a busy machine is no trouble of the agent's.
pub(crate) const PATIENT: &str = "wait_timeout = \"30s\"\nshed_target = \"0s\"\n";

/// The machine's id at first.
pub(crate) const VM_ID: &str = "02aab8a4-74ef-476e-8182-f6d2ba4166a6";

/// The tables that make an agent ask `imds`, with `more` below `[platform.events]`.
pub(crate) fn tables(imds: &Imds, more: &str) -> String {
    format!(
        "[shutdown]\n[platform]\nimds = \"{}\"\n[platform.events]\n{more}\n",
        imds.url()
    )
}

/// An agent that asks `imds`, ready and serving.
pub(crate) fn agent(imds: &Imds, more: &str) -> Probed {
    let builder = Agent::builder(env!("CARGO_BIN_EXE_lamplighter"));
    let mut probed = Probed::start(builder, &tables(imds, more));
    probed.agent.wait_ready(SOON);
    probed.wait(200);
    probed
}

/// Waits until the agent has asked for events so often since now.
#[track_caller]
pub(crate) fn wait_polls(imds: &Imds, polls: usize) {
    let before = imds.count("events", 200);
    crate::support::poll::until(SOON, "polls for events", || {
        imds.count("events", 200) >= before + polls
    });
}

/// Checks that the service was asked no more than twice a second since `start`, before which nobody asked it.
#[track_caller]
pub(crate) fn expect_pace(imds: &Imds, start: Instant) {
    let asked = f64::from(u32::try_from(imds.journal().len()).expect("few"));
    let most = 2.0 * start.elapsed().as_secs_f64() + 1.0;
    assert!(asked <= most, "{asked} requests where {most} are allowed");
}

/// Waits until the agent shows `name` as the machine it is on.
#[track_caller]
pub(crate) fn wait_name(probed: &Probed, name: &str) {
    let wanted = format!("name=\"{name}\"");
    crate::support::poll::until(SOON, &wanted, || {
        let shown = crate::support::http::get(&probed.metrics, "/metrics")
            .expect("the metrics")
            .text();
        let line = shown
            .lines()
            .find(|line| line.starts_with("lamplighter_platform_instance_info{"));
        line.is_some_and(|line| line.contains(&wanted))
    });
}

fn owner(agent: &Agent) -> String {
    let text = std::fs::read_to_string(agent.dir().join("state/instance"));
    text.unwrap_or_default().trim().to_owned()
}

/// Waits until the state is that of the machine `vm_id`.
#[track_caller]
pub(crate) fn wait_owner(agent: &Agent, vm_id: &str) {
    crate::support::poll::until(SOON, "the owner of the state", || owner(agent) == vm_id);
}

/// Starts the agent on a machine that is `vm_id` now, as systemd does: again, if the service was too slow for the start and the
/// state turned out to be another machine's later.
#[track_caller]
pub(crate) fn start_as_another(agent: &mut Agent, vm_id: &str) {
    agent.restart();
    crate::support::poll::until(SOON, "the state to be this machine's", || {
        if agent.process().ended().is_some() {
            assert_eq!(agent.wait_end(SOON).code(), Some(1));
            agent.restart();
        }
        owner(agent) == vm_id
    });
    agent.wait_ready(SOON);
}

/// The agent's own word on leaving: source, step and what was abandoned.
pub(crate) fn leaving(probed: &Probed) -> Option<serde_json::Value> {
    leaving_of(&probed.agent)
}

/// As [`leaving`], of an agent anywhere.
pub(crate) fn leaving_of(agent: &Agent) -> Option<serde_json::Value> {
    let admin = format!("unix:{}/admin.sock", agent.dir().display());
    let answer = crate::support::http::get(&admin, "/api/v1/status").ok()?;
    let status: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
    status.get("leaving").cloned()
}

/// Waits until a row of the agent's board says so.
#[track_caller]
pub(crate) fn wait_row(deadline: Duration, probed: &Probed, text: &str) {
    crate::support::poll::until(deadline, text, || {
        match probed.ask("/readyz?verbose").map(|it| it.text()) {
            Ok(rows) if rows.contains(text) => Ok(()),
            Ok(other) | Err(other) => Err(other),
        }
    });
}

/// Waits until the agent has come to `step` of leaving.
#[track_caller]
pub(crate) fn wait_step(probed: &Probed, step: &str) {
    crate::support::poll::until(SOON, step, || match leaving(probed) {
        Some(leaving) if leaving["step"] == step => Ok(()),
        other => Err(format!("{other:?}")),
    });
}
