//! Writes of other instances: this one's are told before their clients hear of them, the others' are asked for before a read. A write
//! without a name is told as not known yet, and once more as soon as a beat came after it. Decides what is told; others carry it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lamplighter_core::lifecycle::Tasks;
use lamplighter_core::writes::Writes;
use tokio::sync::oneshot;

use crate::beats::Beats;
use crate::endpoint::Shared;
use crate::position::Position;
use crate::positions::Positions;

/// How long a read waits for what others wrote; then the primary answers.
const ASK_MAX: Duration = Duration::from_millis(50);

/// How long a write's answer waits for its being known.
const TELL_MAX: Duration = Duration::from_millis(50);

/// How long telling once more may take.
const SETTLE_MAX: Duration = Duration::from_secs(2);

/// Resolves when a write is known to the other instances.
pub(crate) struct Told(oneshot::Receiver<()>);

impl Told {
    /// Waits for it, not for long: a write is done whether the others know or not.
    pub(crate) async fn wait(self) {
        // what is not known yet is told again
        let _known = tokio::time::timeout(TELL_MAX, self.0).await;
    }
}

/// The way to the other instances.
#[derive(Debug)]
pub(crate) struct Fleet {
    writes: Writes,
    /// Keys about which the others may not know the last, by when that was written.
    open: Mutex<HashMap<u64, Instant>>,
}

impl Fleet {
    pub(crate) fn new(writes: Writes) -> Self {
        Self {
            writes,
            open: Mutex::default(),
        }
    }

    /// Something was written under `key`, and is in `positions` already.
    pub(crate) fn tell(&self, key: u64, positions: &Positions, beats: &Beats) -> Option<Told> {
        // whoever holds the lock last tells most
        let mut open = self.lock();
        let position = positions.of(key);
        open.insert(key, position.written()?);
        let words = words(&position, beats).unwrap_or_else(|| UNKNOWN.to_owned());
        self.writes.tell(key, words).map(Told)
    }

    /// What other instances wrote under `key`; `None` if that cannot be known.
    pub(crate) async fn ask(&self, key: u64) -> Option<Position> {
        let mut all = Position::default();
        for words in self.writes.ask(key, ASK_MAX).await? {
            all.add(&position(&words)?);
        }
        Some(all)
    }

    /// Tells once more what was not known, or perhaps not told.
    async fn settle(&self, positions: &Positions, beats: &Beats) {
        for (key, words, written, told) in self.tell_open(positions, beats) {
            let known = tokio::time::timeout(SETTLE_MAX, told).await;
            let mut open = self.lock();
            let is_last = open.get(&key) == Some(&written);
            if matches!(known, Ok(Ok(()))) && is_last && words != UNKNOWN {
                open.remove(&key);
            }
        }
    }

    fn tell_open(
        &self,
        positions: &Positions,
        beats: &Beats,
    ) -> Vec<(u64, String, Instant, oneshot::Receiver<()>)> {
        let mut open = self.lock();
        let mut told = Vec::new();
        for (key, written) in open.iter_mut() {
            let position = positions.of(*key);
            let Some(words) = words(&position, beats) else {
                continue;
            };
            *written = position.written().unwrap_or(*written);
            if let Some(receiver) = self.writes.tell(*key, words.clone()) {
                told.push((*key, words, *written, receiver));
            }
        }
        told
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Instant>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Settles what is open at each beat, until we drain.
pub(crate) async fn settle(shared: Arc<Shared>, tasks: Tasks) {
    let mut ticker = tokio::time::interval(shared.heartbeat.interval.get());
    ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticker.tick() => {}
            () = tasks.draining() => return,
        }
        if let Some(fleet) = &shared.fleet {
            fleet.settle(&shared.positions, &shared.beats).await;
        }
    }
}

/// Nobody knows yet what a replica has to have.
const UNKNOWN: &str = "p";

/// A position for other machines: `g:` and GTIDs, or `b:` and a beat; `None` if neither is known.
fn words(position: &Position, beats: &Beats) -> Option<String> {
    if let Some(gtids) = position.gtids() {
        return Some(format!("g:{gtids}"));
    }
    let beat = beats.after(position.written()?)?;
    Some(format!("b:{beat}"))
}

fn position(words: &str) -> Option<Position> {
    match words.split_once(':')? {
        ("g", gtids) => Position::of_others_by_gtids(gtids.as_bytes()),
        ("b", beat) => Some(Position::of_others_by_beat(beat.parse().ok()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GTID: &str = "084925bc-e703-11f1-8a4d-02fc00000001:7-7";

    #[test]
    fn positions_are_told_in_words_and_unknown_words_are_not_guessed() {
        let (beats, at) = (Beats::default(), Instant::now());
        let named = Position::with_gtids(at, GTID.as_bytes());
        assert_eq!(words(&named, &beats).unwrap(), format!("g:{GTID}"));
        assert_eq!(words(&Position::at(at), &beats), None);
        beats.seen_on_primary(41, at);
        let beat = words(&Position::at(at), &beats).unwrap();
        assert_eq!(beat, "b:42");
        assert_eq!(position(&beat), Some(Position::of_others_by_beat(42)));
        assert!(position(&format!("g:{GTID}")).is_some());
        for nothing in [UNKNOWN, "", "g:", "g:x", "b:", "b:-1", "z:1"] {
            assert_eq!(position(nothing), None, "{nothing:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_could_not_be_named_is_told_again_after_a_beat() {
        let (writes, mut errands) = Writes::new();
        let (fleet, positions, beats) =
            (Fleet::new(writes), Positions::default(), Beats::default());
        let mut heard = move || match errands.try_recv() {
            Ok(lamplighter_core::writes::Errand::Tell { position, done, .. }) => {
                done.send(()).ok();
                position
            }
            other => format!("{other:?}"),
        };
        let at = Instant::now();
        positions.add(1, &Position::at(at));
        let _told = fleet.tell(1, &positions, &beats);
        assert_eq!(heard(), "p");
        fleet.settle(&positions, &beats).await;
        assert!(heard().contains("Empty"), "no beat yet");
        beats.seen_on_primary(9, at);
        let (settled, told) = tokio::join!(fleet.settle(&positions, &beats), async { heard() });
        let ((), told) = (settled, told);
        assert_eq!(told, "b:10");
        assert!(fleet.lock().is_empty());
        fleet.settle(&positions, &beats).await;
        assert!(heard().contains("Empty"), "told once");
    }
}
