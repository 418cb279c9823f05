//! How Azure's Application Health extension (rich health states) reads an endpoint, as far as its answers go: one probe's
//! reading, and what it commits after several. Written from its documented contract and its measured behaviour.

use std::time::Duration;

/// What the extension reports for the instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// No verdict yet, inside the grace period.
    Initializing,
    Healthy,
    Unhealthy,
    /// Counts as unhealthy: repairs fire.
    Unknown,
}

/// One probe: the status and the body, or nothing when there was no answer.
pub(crate) fn read(answer: Option<(u16, &[u8])>) -> State {
    let Some((200..=299, body)) = answer else {
        return State::Unknown;
    };
    let Ok(serde_json::Value::Object(fields)) = serde_json::from_slice(body) else {
        return State::Unknown;
    };
    // the extension's decoder does not mind the case of keys, but minds the type of every field it knows
    let field = |name: &str| {
        let exact = fields.get(name);
        exact.or_else(|| {
            let folded = fields
                .iter()
                .find(|(key, _)| key.eq_ignore_ascii_case(name));
            folded.map(|(_, value)| value)
        })
    };
    match field("customMetrics") {
        None | Some(serde_json::Value::String(_) | serde_json::Value::Null) => {}
        Some(_) => return State::Unknown,
    }
    match field("ApplicationHealthState").and_then(serde_json::Value::as_str) {
        Some("Healthy") => State::Healthy,
        Some("Unhealthy") => State::Unhealthy,
        _ => State::Unknown,
    }
}

/// The extension over time: what it commits.
#[derive(Debug)]
pub(crate) struct Extension {
    /// `numberOfProbes`
    probes: u32,
    /// `gracePeriod`
    grace: Duration,
    last: Option<State>,
    in_a_row: u32,
    committed: Option<State>,
}

impl Extension {
    pub(crate) fn new(probes: u32, grace: Duration) -> Self {
        Self {
            probes,
            grace,
            last: None,
            in_a_row: 0,
            committed: None,
        }
    }

    /// A probe read as `state`, `age` after the extension started; returns what is reported from then on.
    pub(crate) fn observe(&mut self, state: State, age: Duration) -> State {
        self.in_a_row = if self.last == Some(state) {
            self.in_a_row + 1
        } else {
            1
        };
        self.last = Some(state);
        let enough = self.in_a_row >= self.probes;
        match self.committed {
            None if enough && state != State::Unknown => self.committed = Some(state),
            None if age >= self.grace => self.committed = Some(State::Unknown),
            Some(State::Unknown) if state == State::Healthy => self.committed = Some(state),
            Some(_) if enough => self.committed = Some(state),
            None | Some(_) => {}
        }
        self.committed.unwrap_or(State::Initializing)
    }
}
