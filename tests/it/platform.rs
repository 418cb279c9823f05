//! The machine as Azure has it: metadata, scheduled events, identity, by the real agent against a strict fake of Azure's service.

mod events;
mod fleet;
mod identity;
mod leaving;
mod metadata;
mod network;
mod scenarios;
mod troubles;
mod whole;

use std::time::Duration;

use crate::probe::Probed;
use crate::support::agent::Agent;
use crate::support::imds::Imds;

/// Far more than anything here takes on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(20);

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

/// Waits until the agent has come to `step` of leaving.
#[track_caller]
pub(crate) fn wait_step(probed: &Probed, step: &str) {
    crate::support::poll::until(SOON, step, || match leaving(probed) {
        Some(leaving) if leaving["step"] == step => Ok(()),
        other => Err(format!("{other:?}")),
    });
}
