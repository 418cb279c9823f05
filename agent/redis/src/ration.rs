//! Sharing something out among the instances: one hash in Redis for each thing, a field for each instance with what that instance
//! has, and when it said so (by Redis' clock). One script says what we have, counts the others and gives us our part: never more
//! than what nobody has said to have. So a newcomer gets nothing before the others have given it up. The record of decisions has the
//! protocol and why it holds.

mod script;

use std::time::Duration;

use lamplighter_core::fleet::{Part, RationDesk};
use lamplighter_core::lifecycle::Tasks;
use tokio::time::Instant;

use crate::backoff::splayed;
use crate::upstream::{Link, UpstreamError};
use script::{Reply, Said};

/// For how long a part may be used after it was asked for. Less than [`script::TTL`], by more than an answer may take.
const VALID: Duration = Duration::from_secs(10);

/// After the start nothing is used for so long, while Redis has not been reached yet.
const GRACE: Duration = Duration::from_secs(3);

/// The time between two exchanges of a fleet that is small and settled.
const PAUSE: Duration = Duration::from_secs(1);

/// The longest: a large fleet asks less often, so that Redis has no more to do.
const PAUSE_MAX: Duration = Duration::from_secs(4);

/// Each instance adds so much to the pause.
const PAUSE_EACH: Duration = Duration::from_millis(20);

/// How long it may take to say that we leave.
const LEAVE_MAX: Duration = Duration::from_secs(2);

/// The pause while something is on its way from one instance to another.
const HURRY: Duration = Duration::from_millis(250);

/// Carries word of one thing that is shared out.
pub(crate) struct Steward {
    pub(crate) desk: RationDesk,
    pub(crate) link: Link,
    /// A name that no other process has.
    pub(crate) owner: String,
}

/// What the last exchanges came to.
#[derive(Debug)]
struct Course {
    valid_until: Instant,
    /// What was in use at the last exchange. It is said once more: whoever it was taken from may not have noticed yet.
    before: usize,
}

impl Steward {
    /// Exchanges until draining begins, which is when nothing is in use any more; then takes our field away.
    pub(crate) async fn run(mut self, tasks: Tasks) {
        let mut course = Course {
            valid_until: Instant::now() + GRACE,
            before: 0,
        };
        loop {
            let pause = tokio::select! {
                pause = self.step(&mut course) => pause,
                () = tasks.draining() => break,
            };
            let due = Instant::now() + splayed(pause);
            tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                () = self.link.up(), if self.is_unknown() => {}
                () = tasks.draining() => break,
            }
        }
        if tokio::time::timeout(LEAVE_MAX, self.leave()).await.is_err() {
            // what we may use without asking stays set aside for us for a while
            tracing::info!(
                of = &*self.desk.ration.name,
                "cannot leave the list of those who share"
            );
        }
    }

    /// Takes our field away. A connection that fails just now does not keep the others waiting for our part.
    async fn leave(&mut self) {
        loop {
            self.link.up().await;
            match script::leave(&self.link, &self.desk.ration.name, &self.owner).await {
                Ok(()) => return,
                Err(error) => tracing::debug!(%error, "not left yet"),
            }
            tokio::time::sleep(HURRY).await;
        }
    }

    fn is_unknown(&self) -> bool {
        *self.desk.tell.borrow() == Part::Unknown
    }

    /// One exchange; returns how long to wait before the next.
    async fn step(&mut self, course: &mut Course) -> Duration {
        let using = (self.desk.using)();
        let said = Said {
            owner: &self.owner,
            has: using.max(course.before),
        };
        let asked = Instant::now();
        let answer = script::exchange(&self.link, &self.desk.ration, &said);
        let until = course.valid_until.max(asked + HURRY);
        let answer = match tokio::time::timeout_at(until, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(UpstreamError::Down),
        };
        match answer {
            Ok(reply) if asked.elapsed() < VALID => {
                course.valid_until = asked + VALID;
                course.before = using;
                self.tell(Part::Agreed {
                    amount: reply.amount,
                    among: reply.among,
                });
                pause_after(&reply, said.has)
            }
            Ok(_) | Err(_) => {
                if Instant::now() >= course.valid_until {
                    let amount = self.desk.ration.alone();
                    self.tell(Part::Alone { amount });
                }
                if self.is_unknown() { HURRY } else { PAUSE }
            }
        }
    }

    fn tell(&self, part: Part) {
        let changed = self.desk.tell.send_if_modified(|now| {
            let changed = *now != part;
            *now = part;
            changed
        });
        if changed {
            tracing::debug!(of = &*self.desk.ration.name, ?part, "our part");
        }
    }
}

/// Soon, while we wait for others or others wait for us.
fn pause_after(reply: &Reply, had: usize) -> Duration {
    if reply.amount < reply.share || reply.amount < had {
        return HURRY;
    }
    let among = u32::try_from(reply.among).unwrap_or(u32::MAX);
    PAUSE_EACH.saturating_mul(among).clamp(PAUSE, PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTLED: Reply = Reply {
        amount: 4,
        share: 4,
        among: 3,
    };

    #[test]
    fn who_waits_or_is_waited_for_asks_often_and_a_large_fleet_seldom() {
        assert_eq!(pause_after(&SETTLED, 4), PAUSE);
        assert_eq!(pause_after(&SETTLED, 9), HURRY, "others wait");
        let waits = Reply {
            amount: 0,
            ..SETTLED
        };
        assert_eq!(pause_after(&waits, 0), HURRY);
        let large = |among| Reply { among, ..SETTLED };
        assert_eq!(pause_after(&large(100), 4), Duration::from_secs(2));
        assert_eq!(pause_after(&large(1000), 4), PAUSE_MAX);
    }

    #[test]
    fn a_part_is_used_no_longer_than_others_believe_it_is() {
        let slack = script::TTL.checked_sub(VALID).expect("shorter");
        assert!(slack >= Duration::from_secs(2));
        assert!(VALID > PAUSE_MAX * 2, "one exchange may fail");
    }
}
