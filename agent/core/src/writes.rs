//! Which writes the instances of a scale set know of, by key: told to the others, and asked for. Memory only; who carries it between the
//! machines is not said here, nor what a position means.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// How many errands may wait to be taken.
const WAITING_MAX: usize = 4_096;

/// Something to be carried.
#[derive(Debug)]
pub enum Errand {
    /// This instance wrote: everybody has to know before `done` resolves.
    Tell {
        /// Whose writes.
        key: u64,
        /// Which; replaces what this instance told before.
        position: String,
        /// Resolves when it is known; dropped if it could not be told.
        done: oneshot::Sender<()>,
    },
    /// What every instance told about `key`.
    Ask {
        /// Whose writes.
        key: u64,
        /// Their positions; dropped if nobody can be asked.
        answer: oneshot::Sender<Vec<String>>,
    },
}

/// Where errands come from.
pub type Errands = mpsc::Receiver<Errand>;

/// Sends errands. Clones share the way.
#[derive(Debug, Clone)]
pub struct Writes(mpsc::Sender<Errand>);

impl Writes {
    /// A way to send errands, and the end where they are taken.
    #[must_use]
    pub fn new() -> (Self, Errands) {
        let (sender, errands) = mpsc::channel(WAITING_MAX);
        (Self(sender), errands)
    }

    /// Hands `position` over at once: errands are carried in the order in which they are handed over. `None` if too many wait or
    /// nobody carries them; else what resolves when it is known.
    #[must_use]
    pub fn tell(&self, key: u64, position: String) -> Option<oneshot::Receiver<()>> {
        let (done, told) = oneshot::channel();
        let errand = Errand::Tell {
            key,
            position,
            done,
        };
        self.0.try_send(errand).ok().map(|()| told)
    }

    /// What every instance told about `key`; `None` if that cannot be known within `limit`.
    pub async fn ask(&self, key: u64, limit: Duration) -> Option<Vec<String>> {
        let (answer, answered) = oneshot::channel();
        self.0.try_send(Errand::Ask { key, answer }).ok()?;
        timeout(limit, answered).await.ok()?.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn errands_arrive_in_order_and_nobody_waits_for_ever() {
        let (writes, mut errands) = Writes::new();
        let told = writes.tell(7, "a".to_owned()).unwrap();
        let limit = Duration::from_millis(50);
        let (asked, ()) = tokio::join!(writes.ask(7, limit), async {
            let Some(Errand::Tell {
                key,
                position,
                done,
            }) = errands.recv().await
            else {
                panic!("the first errand");
            };
            assert_eq!((key, &*position), (7, "a"));
            done.send(()).unwrap();
            let Some(Errand::Ask { key: 7, answer }) = errands.recv().await else {
                panic!("the second errand");
            };
            answer.send(vec![position]).unwrap();
        });
        assert_eq!(asked.unwrap(), ["a"]);
        told.await.unwrap();
        // nobody takes it
        assert_eq!(writes.ask(7, limit).await, None);
        drop(errands);
        assert!(writes.tell(7, "b".to_owned()).is_none());
    }
}
