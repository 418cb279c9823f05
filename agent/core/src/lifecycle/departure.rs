//! How an instance leaves, step by step, whoever asked for it: a signal, a scheduled event or a command. Memory only.
//!
//! | step | what happens | who takes part |
//! |---|---|---|
//! | shedding | `/lb` is 503; the local web server is asked to end its keep-alive connections | the hook |
//! | finishing | statements and transactions in flight end | MySQL endpoint |
//! | flushing | files that were written here go up | entries that push |
//! | releasing | leases are given back (a warm-up ends when shedding begins), the fleet's list is left | Redis |
//! | left | nothing of the fleet's hangs on this instance: a scheduled event may be acknowledged | |
//!
//! Each step has its share of the time. What is not done by then is abandoned in this order: the next step begins, and the work
//! goes on beside it as long as the process lives.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::DrainSource;

/// One step of leaving.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// The load balancer is told to look away.
    Shedding,
    /// What is in flight ends.
    Finishing,
    /// What was written here is taken to where it belongs.
    Flushing,
    /// What others may have instead is given back.
    Releasing,
    /// Done.
    Left,
}

impl Step {
    /// Every step in its order.
    pub const ALL: [Self; 5] = [
        Self::Shedding,
        Self::Finishing,
        Self::Flushing,
        Self::Releasing,
        Self::Left,
    ];

    /// The word used in metrics and on the status page.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Shedding => "shedding",
            Self::Finishing => "finishing",
            Self::Flushing => "flushing",
            Self::Releasing => "releasing",
            Self::Left => "left",
        }
    }
}

/// How long the local web server may take to be told, if that is longer than what the load balancer needs.
const HOOK_MAX: Duration = Duration::from_secs(10);

/// When each step must be over, counted from the moment the instance was asked to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// How long the load balancer is given.
    pub shed: Duration,
    hook: Duration,
    finish: Duration,
    flush: Duration,
    release: Duration,
}

impl Budget {
    /// Shares `limit` out: the load balancer gets what it needs (`shed`) but at most 40%; of the rest 60% go to what is in
    /// flight, 25% to what has to be taken away, 15% to what is given back.
    #[must_use]
    pub fn within(limit: Duration, shed: Duration) -> Self {
        let shed = shed.min(limit * 2 / 5);
        Self::after(limit.saturating_sub(shed), shed)
    }

    /// As [`Budget::within`], with `limit` counted from when the load balancer has looked away.
    #[must_use]
    pub fn after(limit: Duration, shed: Duration) -> Self {
        Self {
            shed,
            hook: shed.max(HOOK_MAX.min(limit * 2 / 5)),
            finish: shed + limit * 60 / 100,
            flush: shed + limit * 85 / 100,
            release: shed + limit,
        }
    }

    /// When `step` is abandoned at the latest.
    #[must_use]
    pub const fn end(&self, step: Step) -> Duration {
        match step {
            Step::Shedding => self.hook,
            Step::Finishing => self.finish,
            Step::Flushing => self.flush,
            Step::Releasing | Step::Left => self.release,
        }
    }
}

/// How far leaving has come.
#[derive(Debug, Clone)]
pub struct Progress {
    /// Who asked.
    pub source: DrainSource,
    /// Where it is.
    pub step: Step,
    /// When it was asked for.
    pub since: Instant,
    /// When it will be over at the latest.
    pub until: Instant,
    /// What this step still waits for, and how much of it is left if that is known.
    pub waiting: Vec<(Arc<str>, Option<u64>)>,
    /// What was not done in its time.
    pub abandoned: Vec<Arc<str>>,
}

#[derive(Debug, Default)]
struct Roll {
    under_way: Option<UnderWay>,
    duties: BTreeMap<u64, Entry>,
    next: u64,
    /// Grows with every step and every recall, so that a late answer to an old call counts for nothing.
    call: u64,
}

#[derive(Debug, Clone)]
struct UnderWay {
    source: DrainSource,
    step: Step,
    since: Instant,
    until: Instant,
    abandoned: Vec<Arc<str>>,
}

#[derive(Debug)]
struct Entry {
    step: Step,
    name: Arc<str>,
    done: u64,
    left: Option<u64>,
}

impl Roll {
    fn waiting(&self) -> impl Iterator<Item = &Entry> {
        let step = self.under_way.as_ref().map(|it| it.step);
        self.duties
            .values()
            .filter(move |entry| Some(entry.step) == step && entry.done != self.call)
    }
}

/// Who has something to do when the instance leaves, and how far they are. Clones share it.
#[derive(Debug, Clone)]
pub struct Departures(Arc<watch::Sender<Roll>>);

impl Default for Departures {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Roll::default())))
    }
}

impl Departures {
    /// Takes part in `step`, as `name`. The step waits for it each time until it says that it is done, within the step's time.
    pub fn duty(&self, step: Step, name: impl Into<Arc<str>>) -> Duty {
        let mut id = 0;
        self.0.send_modify(|roll| {
            id = roll.next;
            roll.next += 1;
            let entry = Entry {
                step,
                name: name.into(),
                done: 0,
                left: None,
            };
            roll.duties.insert(id, entry);
        });
        Duty {
            id,
            step,
            departures: self.clone(),
            rolls: self.0.subscribe(),
        }
    }

    /// How far leaving has come; `None` when nobody is leaving.
    #[must_use]
    pub fn progress(&self) -> Option<Progress> {
        let roll = self.0.borrow();
        let it = roll.under_way.clone()?;
        let waiting = roll
            .waiting()
            .map(|entry| (Arc::clone(&entry.name), entry.left));
        Some(Progress {
            waiting: waiting.collect(),
            source: it.source,
            step: it.step,
            since: it.since,
            until: it.until,
            abandoned: it.abandoned,
        })
    }

    /// Resolves when leaving has come to `step` or beyond. Safe to cancel.
    pub async fn reached(&self, step: Step) {
        self.until(|roll| roll.under_way.as_ref().is_some_and(|it| it.step >= step))
            .await;
    }

    /// Resolves when nobody is leaving, or no more. Safe to cancel.
    pub async fn recalled(&self) {
        self.until(|roll| roll.under_way.is_none()).await;
    }

    async fn until(&self, mut there: impl FnMut(&Roll) -> bool) {
        let mut rolls = self.0.subscribe();
        let gone = rolls.wait_for(|roll| there(roll)).await.is_err();
        if gone {
            // the sender is ours, so this cannot be
            std::future::pending::<()>().await;
        }
    }

    /// Begins, or goes on for another reason.
    pub(super) fn begin(&self, source: DrainSource, limit: Duration) {
        self.0.send_modify(|roll| {
            let now = Instant::now();
            let it = roll.under_way.get_or_insert_with(|| UnderWay {
                source,
                step: Step::Shedding,
                since: now,
                until: now + limit,
                abandoned: Vec::new(),
            });
            it.source = source;
            it.step = Step::Shedding;
            it.until = now + limit;
            roll.call += 1;
        });
    }

    /// Whether leaving may take longer still than `limit`, and has not come to its end.
    pub(super) fn is_later_than(&self, limit: Duration) -> bool {
        let later = |it: &UnderWay| it.step < Step::Left && it.until > Instant::now() + limit;
        self.0.borrow().under_way.as_ref().is_some_and(later)
    }

    /// Nobody leaves any more.
    pub(super) fn recall(&self) {
        self.0.send_modify(|roll| {
            roll.under_way = None;
            roll.call += 1;
        });
    }

    /// `step` begins.
    pub(super) fn enter(&self, step: Step) {
        self.0.send_modify(|roll| {
            if let Some(it) = &mut roll.under_way {
                it.step = step;
            }
            roll.call += 1;
            for entry in roll.duties.values_mut().filter(|entry| entry.step == step) {
                entry.left = None;
            }
        });
    }

    /// Resolves when everybody who takes part in the present step is done.
    pub(super) async fn done(&self) {
        self.until(|roll| roll.waiting().next().is_none()).await;
    }

    /// The time of the present step is over: says so of those who are not done.
    pub(super) fn abandon(&self) {
        self.0.send_modify(|roll| {
            let names: Vec<_> = roll
                .waiting()
                .map(|entry| Arc::clone(&entry.name))
                .collect();
            if let Some(it) = &mut roll.under_way {
                for name in names {
                    tracing::warn!(
                        step = it.step.label(),
                        what = &*name,
                        "not done in its time"
                    );
                    it.abandoned.push(name);
                }
            }
        });
    }
}

/// Somebody's part in one step of leaving; given up when dropped.
#[derive(Debug)]
pub struct Duty {
    id: u64,
    step: Step,
    departures: Departures,
    rolls: watch::Receiver<Roll>,
}

impl Duty {
    /// Resolves when the step begins, each time it does. Safe to cancel.
    pub async fn called(&mut self) -> Call {
        let (id, step) = (self.id, self.step);
        let called = |roll: &Roll| {
            let now = roll.under_way.as_ref().is_some_and(|it| it.step == step);
            now && roll.duties.get(&id).is_some_and(|it| it.done != roll.call)
        };
        let call = self.rolls.wait_for(called).await.map(|roll| roll.call);
        let Ok(call) = call else {
            // the sender is ours, so this cannot be
            return std::future::pending().await;
        };
        Call {
            id,
            call,
            departures: self.departures.clone(),
        }
    }
}

impl Drop for Duty {
    fn drop(&mut self) {
        self.departures.0.send_modify(|roll| {
            roll.duties.remove(&self.id);
        });
    }
}

/// A step under way; done when dropped.
#[derive(Debug)]
#[must_use = "the step is done when this is dropped"]
pub struct Call {
    id: u64,
    call: u64,
    departures: Departures,
}

impl Call {
    /// How much is left to do, for people.
    pub fn left(&self, count: u64) {
        self.departures.0.send_if_modified(|roll| {
            let entry = roll.duties.get_mut(&self.id);
            entry.is_some_and(|entry| entry.left.replace(count) != Some(count))
        });
    }

    /// Resolves when the step is over, done or not, or the departure was called off: stop bothering. Safe to cancel.
    pub async fn over(&self) {
        self.departures.until(|roll| roll.call != self.call).await;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.departures.0.send_modify(|roll| {
            if let Some(entry) = roll.duties.get_mut(&self.id) {
                entry.done = self.call;
                entry.left = None;
            }
        });
    }
}

#[cfg(test)]
mod tests;
