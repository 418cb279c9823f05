//! Waiting in front of a pool: the [`Line`] decides, here it is asked, waited and told. Touches no server.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lamplighter_core::metrics::IntGauge;
use tokio::sync::oneshot;

use super::line::{Claim, Entry, Line, Served, Shares, Shedding, Ticket};

type Teller = oneshot::Sender<Result<Permit, Refused>>;

/// The right to one connection of a pool. Dropped, it goes to the next in line.
#[derive(Debug)]
pub(super) struct Permit {
    admission: Arc<Admission>,
    claim: Claim,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// None came free in time.
    Late,
    /// The line has stood for a while, and this one has waited for longer than makes sense.
    Shed,
    /// The line stands, and those in it are more than can be served in time.
    Hopeless,
}

impl Refused {
    pub(crate) const ALL: [Self; 3] = [Self::Late, Self::Shed, Self::Hopeless];

    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::Shed => "shed",
            Self::Hopeless => "hopeless",
        }
    }
}

/// How things stand in front of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Places there are.
    pub(crate) limit: usize,
    /// The most of them that the claim asked about may have.
    pub(crate) quota: usize,
    /// Places given away.
    pub(crate) in_use: usize,
    /// How many wait.
    pub(crate) waiting: usize,
}

/// The line of one pool.
#[derive(Debug)]
pub(super) struct Admission {
    line: Mutex<Line<Teller>>,
    /// As the line says; to be read without its lock.
    waiting: AtomicUsize,
    limit: AtomicUsize,
    waiting_gauge: IntGauge,
    limit_gauge: IntGauge,
}

impl Admission {
    pub(super) fn new(
        limit: usize,
        shares: Shares,
        shedding: Shedding,
        waiting_gauge: IntGauge,
        limit_gauge: IntGauge,
    ) -> Arc<Self> {
        limit_gauge.set(i64::try_from(limit).unwrap_or(i64::MAX));
        Arc::new(Self {
            line: Mutex::new(Line::new(limit, shares, shedding)),
            waiting: AtomicUsize::new(0),
            limit: AtomicUsize::new(limit),
            waiting_gauge,
            limit_gauge,
        })
    }

    /// Somebody waits for a place.
    pub(super) fn is_wanted(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    pub(super) fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// How things stand for one with this claim.
    pub(super) fn standing(&self, claim: Claim) -> Standing {
        let line = self.lock();
        Standing {
            limit: line.limit(),
            quota: line.quota(claim),
            in_use: line.in_use(),
            waiting: line.waiting(),
        }
    }

    /// A place that is free, if nobody who may have it waits.
    pub(super) fn try_enter(self: &Arc<Self>, claim: Claim) -> Option<Permit> {
        let entry = self.lock().enter(now, claim);
        (entry == Entry::Granted).then(|| self.permit(claim))
    }

    /// A place at once, or one to be waited for.
    pub(super) fn enter(self: &Arc<Self>, claim: Claim) -> Result<Entered, Refused> {
        let mut line = self.lock();
        match line.enter(now, claim) {
            Entry::Granted => Ok(Entered::At(self.permit(claim))),
            Entry::Hopeless => Err(Refused::Hopeless),
            Entry::MustWait => {
                let (teller, told) = oneshot::channel();
                let ticket = line.join(now(), claim, teller);
                self.note_waiting(&line);
                drop(line);
                Ok(Entered::Waiting(Waiting {
                    admission: Arc::clone(self),
                    claim,
                    ticket,
                    told,
                }))
            }
        }
    }

    /// There are so many places from now on.
    pub(super) fn set_limit(self: &Arc<Self>, limit: usize) {
        let mut line = self.lock();
        line.set_limit(limit);
        self.limit.store(limit, Ordering::Relaxed);
        self.limit_gauge
            .set(i64::try_from(limit).unwrap_or(i64::MAX));
        self.serve(line);
    }

    /// The server was away until now: what was waited for it is held against nobody.
    pub(super) fn excuse(&self) {
        self.lock().excuse(now());
    }

    fn permit(self: &Arc<Self>, claim: Claim) -> Permit {
        Permit {
            admission: Arc::clone(self),
            claim,
        }
    }

    /// Tells everybody whose waiting is over, under the lock that the caller has.
    fn serve<'a>(self: &'a Arc<Self>, mut line: MutexGuard<'a, Line<Teller>>) {
        while line.waiting() > 0
            && let Some(served) = line.serve(now())
        {
            self.note_waiting(&line);
            // a permit that nobody takes any more comes back, for which it needs the lock
            drop(line);
            let _taken = match served {
                Served::Granted(teller, claim) => teller.send(Ok(self.permit(claim))),
                Served::Shed(teller) => teller.send(Err(Refused::Shed)),
            };
            line = self.lock();
        }
    }

    fn note_waiting(&self, line: &Line<Teller>) {
        self.waiting.store(line.waiting(), Ordering::Relaxed);
        self.waiting_gauge
            .set(i64::try_from(line.waiting()).unwrap_or(i64::MAX));
    }

    fn lock(&self) -> MutexGuard<'_, Line<Teller>> {
        // nothing under the lock can leave it half done
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// By the runtime's clock, which a test may hold.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut line = self.admission.lock();
        line.give_back(self.claim);
        self.admission.serve(line);
    }
}

/// What asking for a place came to.
pub(super) enum Entered {
    At(Permit),
    Waiting(Waiting),
}

/// One that waits in line. Dropped, it leaves the line.
pub(super) struct Waiting {
    admission: Arc<Admission>,
    claim: Claim,
    ticket: Ticket,
    told: oneshot::Receiver<Result<Permit, Refused>>,
}

impl Waiting {
    /// Waits for its turn, no longer than `limit`. Safe to cancel and to call again.
    pub(super) async fn turn(&mut self, limit: Duration) -> Result<Permit, Refused> {
        match tokio::time::timeout(limit, &mut self.told).await {
            Ok(Ok(told)) => told,
            Ok(Err(_)) | Err(_) => Err(Refused::Late),
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut line = self.admission.lock();
        line.leave(self.ticket, self.claim);
        self.admission.note_waiting(&line);
        // a permit that was sent meanwhile is dropped with the channel, after the lock
        drop(line);
    }
}
