//! Who gets the next place of a pool: at most so many places, given in the order of asking among those who may have one, and nobody
//! keeps waiting for what will not come in time. A state machine: the time comes in, what is to be done goes out; no IO, no clock.

mod pressure;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use lamplighter_core::units::Percent;

use pressure::Pressure;
pub(crate) use pressure::Shedding;

/// Who asks, and what for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim {
    /// Which of [`Shares::tenants`] it is.
    pub(crate) tenant: usize,
    pub(crate) kind: ClaimKind,
}

/// What a place is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClaimKind {
    /// What belongs on this server.
    Regular,
    /// A read that belongs on a replica, of which none is fit.
    Fallback,
}

impl Claim {
    /// The agent's own: its jobs and the upkeep of the pool.
    pub(crate) const OWN: Self = Self {
        tenant: 0,
        kind: ClaimKind::Regular,
    };

    /// Each tenant has two lines.
    const fn class(self) -> usize {
        match self.kind {
            ClaimKind::Regular => self.tenant * 2,
            ClaimKind::Fallback => self.tenant * 2 + 1,
        }
    }
}

/// How much of a pool may go to whom.
#[derive(Debug, Clone)]
pub(crate) struct Shares {
    /// The most that each client user may have; the first is the agent itself.
    pub(crate) tenants: Arc<[Percent]>,
    /// The most that reads may have which belong on a replica.
    pub(crate) fallback: Percent,
}

/// A place in the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

/// What came of asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// The place is the asker's.
    Granted,
    /// All are in use: wait in line.
    MustWait,
    /// Those in line already are more than can be served in time.
    Hopeless,
}

/// What became of one that waited.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Served<W> {
    /// The place is its own.
    Granted(W, Claim),
    /// It has waited for longer than makes sense while the line stands.
    Shed(W),
}

/// One tenant's line for one kind of claim.
#[derive(Debug)]
struct Class<W> {
    claim: Claim,
    waiting: BTreeMap<Ticket, (Instant, W)>,
    pressure: Pressure,
}

/// The line in front of a pool; `W` is how one that waits is told.
#[derive(Debug)]
pub(super) struct Line<W> {
    limit: usize,
    in_use: usize,
    /// In use by tenant.
    by_tenant: Vec<usize>,
    /// In use by reads that belong on a replica.
    by_fallback: usize,
    shares: Shares,
    classes: Vec<Class<W>>,
    waiting: usize,
    next: u64,
    /// Until then the server itself was away, which says nothing of the line.
    excused: Option<Instant>,
}

impl<W> Line<W> {
    pub(super) fn new(limit: usize, shares: Shares, shedding: Shedding) -> Self {
        let tenants = shares.tenants.len();
        let class = |tenant| {
            [ClaimKind::Regular, ClaimKind::Fallback].map(|kind| Class {
                claim: Claim { tenant, kind },
                waiting: BTreeMap::new(),
                pressure: Pressure::new(shedding),
            })
        };
        Self {
            limit,
            in_use: 0,
            by_tenant: vec![0; tenants],
            by_fallback: 0,
            shares,
            classes: (0..tenants).flat_map(class).collect(),
            waiting: 0,
            next: 0,
            excused: None,
        }
    }

    pub(super) const fn limit(&self) -> usize {
        self.limit
    }

    /// Places given away.
    pub(super) const fn in_use(&self) -> usize {
        self.in_use
    }

    /// How many wait.
    pub(super) const fn waiting(&self) -> usize {
        self.waiting
    }

    /// The most places that one with this claim could find itself among: what [`Line::limit`] leaves to its tenant and its kind.
    pub(super) fn quota(&self, claim: Claim) -> usize {
        let tenant = self.shares.tenants.get(claim.tenant);
        let own = tenant.map_or(self.limit, |share| self.part(*share));
        match claim.kind {
            ClaimKind::Regular => own,
            ClaimKind::Fallback => own.min(self.part(self.shares.fallback)),
        }
    }

    /// At least one of any.
    fn part(&self, share: Percent) -> usize {
        share.of(self.limit).max(1).min(self.limit)
    }

    /// A place at once, if one is free and nobody who may have it came before.
    pub(super) fn enter(&mut self, now: impl FnOnce() -> Instant, claim: Claim) -> Entry {
        if self.may_have(claim) && self.first().is_none() {
            self.take(claim);
            if let Some(class) = self.classes.get_mut(claim.class()) {
                class.pressure.relieve();
            }
            return Entry::Granted;
        }
        let class = self.classes.get(claim.class());
        let hopeless =
            class.is_some_and(|class| class.pressure.is_hopeless(class.waiting.len(), now));
        if hopeless {
            Entry::Hopeless
        } else {
            Entry::MustWait
        }
    }

    /// Waits from `now` on.
    pub(super) fn join(&mut self, now: Instant, claim: Claim, who: W) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        if let Some(class) = self.classes.get_mut(claim.class()) {
            class.waiting.insert(ticket, (now, who));
            self.waiting += 1;
        }
        ticket
    }

    /// Waits no longer. Nothing happens if its turn has come before.
    pub(super) fn leave(&mut self, ticket: Ticket, claim: Claim) {
        if let Some(class) = self.classes.get_mut(claim.class())
            && class.waiting.remove(&ticket).is_some()
        {
            self.waiting -= 1;
        }
    }

    /// A place is free again; see [`Line::serve`].
    pub(super) fn give_back(&mut self, claim: Claim) {
        self.in_use = self.in_use.saturating_sub(1);
        if let Some(own) = self.by_tenant.get_mut(claim.tenant) {
            *own = own.saturating_sub(1);
        }
        if claim.kind == ClaimKind::Fallback {
            self.by_fallback = self.by_fallback.saturating_sub(1);
        }
    }

    /// There are so many places from now on. What is in use beyond them stays in use until it is given back; see [`Line::serve`].
    pub(super) const fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// The server was away until `now`: nobody is shed for what was waited before.
    pub(super) const fn excuse(&mut self, now: Instant) {
        self.excused = Some(now);
    }

    /// The next whose waiting is over; to be asked again until there is none.
    pub(super) fn serve(&mut self, now: Instant) -> Option<Served<W>> {
        let index = self.first()?;
        let class = self.classes.get_mut(index)?;
        let (_, (since, who)) = class.waiting.pop_first()?;
        self.waiting -= 1;
        let since = self.excused.map_or(since, |excused| excused.max(since));
        let claim = class.claim;
        if class
            .pressure
            .sheds(now, now.saturating_duration_since(since))
        {
            return Some(Served::Shed(who));
        }
        self.take(claim);
        Some(Served::Granted(who, claim))
    }

    /// The line whose first has asked before all others that may have a place now.
    fn first(&self) -> Option<usize> {
        if self.waiting == 0 || self.in_use >= self.limit {
            return None;
        }
        let heads = self
            .classes
            .iter()
            .enumerate()
            .filter_map(|(index, class)| {
                let (ticket, _) = class.waiting.first_key_value()?;
                self.may_have(class.claim).then_some((*ticket, index))
            });
        heads.min().map(|(_, index)| index)
    }

    fn may_have(&self, claim: Claim) -> bool {
        let own = self.by_tenant.get(claim.tenant).copied().unwrap_or(0);
        let share = self.shares.tenants.get(claim.tenant);
        let fallback_full = claim.kind == ClaimKind::Fallback
            && self.by_fallback >= self.part(self.shares.fallback);
        self.in_use < self.limit
            && share.is_none_or(|share| own < self.part(*share))
            && !fallback_full
    }

    fn take(&mut self, claim: Claim) {
        self.in_use += 1;
        if let Some(own) = self.by_tenant.get_mut(claim.tenant) {
            *own += 1;
        }
        if claim.kind == ClaimKind::Fallback {
            self.by_fallback += 1;
        }
    }
}

#[cfg(test)]
mod tests;
