//! What is done about the events that are announced: leave, acknowledge, come back. Pure; told the time, and how far leaving is.
//!
//! | event, for us | done | acknowledged |
//! |---|---|---|
//! | Freeze up to `freeze_limit` | nothing | at once, if it is ours alone |
//! | a longer Freeze, or of unknown length | as Reboot | as Reboot |
//! | Reboot, Redeploy, Terminate | leave, within `drain_deadline` and before Azure acts | when everything is left, if it is ours alone |
//! | Preempt | leave within `preempt_deadline` | likewise |
//! | one of another machine | nothing | never |
//! | gone from the list for `settle` | come back | |

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::document::{Document, Event, Kind};
use crate::config::{Action, Events as Policy};

/// What stays between the end of leaving and the moment at which Azure acts by itself.
const MARGIN: Duration = Duration::from_secs(2);

/// However late it is, leaving is tried for this long.
const LIMIT_MIN: Duration = Duration::from_secs(1);

/// How many acknowledgements are remembered; ids do not come back, so old ones may be forgotten.
const REMEMBERED_MAX: usize = 256;

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Act {
    /// An event for us that was not there before.
    Note(Event),
    /// Leave for the event `id`, everything done within `limit`.
    Leave { limit: Duration, id: String },
    /// Nobody wants us away any more.
    ComeBack,
    /// Tell Azure that it may begin.
    Acknowledge { id: String, kind: Kind },
}

/// What the decision depends on besides the events.
#[derive(Debug, Clone, Copy)]
pub(super) struct Situation<'a> {
    /// The name that events use for this machine.
    pub(super) me: &'a str,
    pub(super) now: Instant,
    /// For the moments that events name. It may jump.
    pub(super) wall: SystemTime,
    /// Whether everything is left.
    pub(super) left: bool,
}

/// What identifies an event. Its id, but Azure's own mock server gives it another one when it starts, so that what it is about
/// counts, too.
type Key = (Kind, BTreeSet<String>);

/// What is known from one look to the next.
#[derive(Debug)]
pub(super) struct Desk {
    policy: Policy,
    /// Events for us, as they were last seen.
    mine: BTreeMap<Key, Seen>,
    leaving: Option<Leaving>,
    acknowledged: BTreeSet<String>,
}

#[derive(Debug)]
struct Seen {
    event: Event,
    /// By when it must have been answered.
    until: Instant,
}

#[derive(Debug)]
struct Leaving {
    /// When it must be over.
    until: Instant,
    /// Since when no event asks for it any more.
    unasked: Option<Instant>,
    /// Whether there is an event to acknowledge once all is left.
    acknowledge: bool,
}

impl Desk {
    pub(super) const fn new(policy: Policy) -> Self {
        Self {
            policy,
            mine: BTreeMap::new(),
            leaving: None,
            acknowledged: BTreeSet::new(),
        }
    }

    /// How many events of `kind` are pending for us.
    pub(super) fn pending(&self, kind: Kind) -> usize {
        let kinds = self.mine.values().map(|it| it.event.kind);
        kinds.filter(|it| *it == kind).count()
    }

    /// Whether an acknowledgement waits for everything to be left.
    pub(super) fn waits_to_acknowledge(&self) -> bool {
        self.leaving.as_ref().is_some_and(|it| it.acknowledge)
    }

    /// Azure has been told that `id` may begin.
    pub(super) fn acknowledged(&mut self, id: &str) {
        if self.acknowledged.len() >= REMEMBERED_MAX {
            self.acknowledged.clear();
        }
        self.acknowledged.insert(id.to_owned());
    }

    /// Looks at what is announced now, and says what to do, in order.
    pub(super) fn look(&mut self, document: &Document, situation: &Situation<'_>) -> Vec<Act> {
        let mut acts = self.take_stock(document, situation);
        let leaves = |it: &&Seen| matches!(self.action(&it.event), Action::Leave | Action::Drain);
        let wanting = self.mine.values().filter(leaves);
        let soonest = wanting.min_by_key(|it| it.until);
        let soonest = soonest.map(|it| (it.until, it.event.id.clone()));
        let acknowledge = self
            .mine
            .values()
            .any(|it| leaves(&it) && self.may_acknowledge(&it.event));
        match (soonest, &mut self.leaving) {
            (Some((until, id)), None) => {
                acts.push(leave(until, id, situation.now));
                self.leaving = Some(Leaving {
                    until,
                    unasked: None,
                    acknowledge,
                });
            }
            (Some((until, id)), Some(leaving)) => {
                leaving.unasked = None;
                leaving.acknowledge = acknowledge;
                if until < leaving.until {
                    leaving.until = until;
                    acts.push(leave(until, id, situation.now));
                }
            }
            (None, Some(leaving)) => {
                leaving.acknowledge = false;
                let since = *leaving.unasked.get_or_insert(situation.now);
                if situation.now - since >= self.policy.settle.get() {
                    self.leaving = None;
                    acts.push(Act::ComeBack);
                }
            }
            (None, None) => {}
        }
        self.acknowledge(situation, &mut acts);
        acts
    }

    /// Takes over what is announced for us, and notes what is new. By when an event must have been answered is fixed when it is
    /// first seen, and again when what it says of its time changes: the wall clock may jump in between.
    fn take_stock(&mut self, document: &Document, situation: &Situation<'_>) -> Vec<Act> {
        let mut acts = Vec::new();
        let mut mine = BTreeMap::new();
        for event in document.events.iter().filter(|it| it.names(situation.me)) {
            let key = (event.kind, event.resources.clone());
            let known = self.mine.get(&key);
            if known.is_none() {
                acts.push(Act::Note(event.clone()));
            }
            let same = known.filter(|it| {
                it.event.started == event.started && it.event.not_before == event.not_before
            });
            let until = match same {
                Some(known) => known.until,
                None => situation.now + self.limit(event, situation.wall),
            };
            let event = event.clone();
            mine.insert(key, Seen { event, until });
        }
        self.mine = mine;
        acts
    }

    fn acknowledge(&self, situation: &Situation<'_>, acts: &mut Vec<Act>) {
        let known = self.mine.values().map(|it| &it.event);
        for event in known.filter(|it| self.may_acknowledge(it)) {
            let due = match self.action(event) {
                Action::Acknowledge => true,
                Action::Drain => situation.left && self.leaving.is_some(),
                Action::Ignore | Action::Leave => false,
            };
            if due {
                acts.push(Act::Acknowledge {
                    id: event.id.clone(),
                    kind: event.kind,
                });
            }
        }
    }

    /// Whether the event is one that Azure may be told about: not begun, not told already, and nobody else's.
    fn may_acknowledge(&self, event: &Event) -> bool {
        let wanted = matches!(self.action(event), Action::Acknowledge | Action::Drain);
        wanted && !event.started && event.is_alone() && !self.acknowledged.contains(&event.id)
    }

    fn action(&self, event: &Event) -> Action {
        let policy = &self.policy;
        match event.kind {
            Kind::Freeze => match event.duration {
                Some(length) if length <= policy.freeze_limit.get() => policy.freeze,
                // a machine that is away for longer is missed by its load balancer
                _ if policy.freeze == Action::Ignore => Action::Ignore,
                _ => policy.reboot,
            },
            Kind::Reboot => policy.reboot,
            Kind::Redeploy => policy.redeploy,
            Kind::Terminate => policy.terminate,
            Kind::Preempt => policy.preempt,
            Kind::Other => Action::Ignore,
        }
    }

    /// How long leaving for `event` may take from now on.
    fn limit(&self, event: &Event, wall: SystemTime) -> Duration {
        let policy = match event.kind {
            Kind::Preempt => self.policy.preempt_deadline,
            _ if event.by_user => self.policy.user_deadline,
            _ => self.policy.drain_deadline,
        };
        let policy = policy.get();
        // what has begun, or does not say when it will, leaves no more than the shortest notice there is
        let notice = match event.not_before {
            _ if event.started => self.policy.preempt_deadline.get(),
            Some(at) => at
                .duration_since(wall)
                .unwrap_or_default()
                .saturating_sub(MARGIN),
            None => policy,
        };
        policy.min(notice).max(LIMIT_MIN)
    }
}

fn leave(until: Instant, id: String, now: Instant) -> Act {
    let limit = until.saturating_duration_since(now).max(LIMIT_MIN);
    Act::Leave { limit, id }
}

#[cfg(test)]
mod tests;
