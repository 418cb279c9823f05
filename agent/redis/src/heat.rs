//! Which keys clients ask for most: a sample of what passes through the endpoint, kept for each warm job that wants to know. Bounded by
//! the job's `hot_keys`. In memory only.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One read in so many is looked at.
const SAMPLE: u32 = 8;

/// So many times the wanted number of keys are remembered, so that a newcomer has a chance.
const ROOM: usize = 4;

/// What is left of an old count each time new ones are added.
const FADE: f32 = 0.9;

/// Longer keys are not worth the memory, in bytes.
const KEY_MAX: usize = 512;

/// All lists. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heat {
    lists: Arc<[Arc<HotList>]>,
    reads: Arc<AtomicU32>,
}

impl Heat {
    pub(crate) fn new(lists: impl IntoIterator<Item = Arc<HotList>>) -> Self {
        Self {
            lists: lists.into_iter().collect(),
            reads: Arc::default(),
        }
    }

    /// Whether nobody wants to know.
    pub(crate) fn is_idle(&self) -> bool {
        self.lists.is_empty()
    }

    /// Somebody reads `key`.
    pub(crate) fn note(&self, key: &[u8]) {
        if self.is_idle() || key.len() > KEY_MAX {
            return;
        }
        // scattered, not every eighth: of what comes by turns that would see a part only (Knuth, multiplicative hashing)
        let turn = self.reads.fetch_add(1, Ordering::Relaxed);
        if turn.wrapping_mul(0x9e37_79b9) >= u32::MAX / SAMPLE {
            return;
        }
        for list in self
            .lists
            .iter()
            .filter(|list| key.starts_with(&list.prefix))
        {
            list.note(key);
        }
    }
}

/// The keys of one job.
#[derive(Debug)]
pub(crate) struct HotList {
    prefix: Vec<u8>,
    keys_max: usize,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    /// Since they were last taken.
    new: HashMap<Vec<u8>, u32>,
    /// All, the older the fainter: what is left when Redis has lost its list.
    memory: HashMap<Vec<u8>, f32>,
}

/// Keys and how often they were asked for.
pub(crate) type Ranking = Vec<(Vec<u8>, f32)>;

impl HotList {
    /// Keys that begin with `prefix`; `keys_max` of them are wanted.
    pub(crate) fn new(prefix: &str, keys_max: u32) -> Self {
        Self {
            prefix: prefix.as_bytes().to_vec(),
            keys_max: usize::try_from(keys_max).unwrap_or(usize::MAX),
            counts: Mutex::default(),
        }
    }

    fn note(&self, key: &[u8]) {
        let mut counts = self.lock();
        if let Some(count) = counts.new.get_mut(key) {
            *count = count.saturating_add(1);
        } else if counts.new.len() < self.keys_max.saturating_mul(ROOM) {
            counts.new.insert(key.to_vec(), 1);
        }
    }

    /// The counts since the last call, and all that is remembered; each the most asked first.
    pub(crate) fn take(&self) -> (Ranking, Ranking) {
        let mut counts = self.lock();
        let Counts { new, memory } = &mut *counts;
        let new = std::mem::take(new);
        for count in memory.values_mut() {
            *count *= FADE;
        }
        for (key, count) in &new {
            *memory.entry(key.clone()).or_default() += in_floats(*count);
        }
        let memory = ranked(memory.drain().collect(), self.keys_max);
        counts.memory = memory.iter().cloned().collect();
        drop(counts);
        let new = new.into_iter().map(|(key, count)| (key, in_floats(count)));
        (ranked(new.collect(), self.keys_max), memory)
    }

    /// How many keys are wanted.
    pub(crate) const fn keys_max(&self) -> usize {
        self.keys_max
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ranked(mut all: Ranking, keys_max: usize) -> Ranking {
    all.sort_unstable_by(|(a, one), (b, other)| other.total_cmp(one).then_with(|| a.cmp(b)));
    all.truncate(keys_max);
    all
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a rank, for which 24 bits are enough"
)]
const fn in_floats(count: u32) -> f32 {
    count as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(ranking: &Ranking) -> Vec<&str> {
        let names = ranking.iter();
        names
            .map(|(key, _)| std::str::from_utf8(key).unwrap())
            .collect()
    }

    #[test]
    fn the_most_asked_come_first_and_what_is_old_fades() {
        let list = Arc::new(HotList::new("p:", 2));
        let heat = Heat::new([Arc::clone(&list)]);
        for (key, reads) in [("p:1", 30), ("p:2", 60), ("p:3", 10), ("q:1", 90)] {
            (0..reads * SAMPLE).for_each(|_| heat.note(key.as_bytes()));
        }
        let (new, memory) = list.take();
        assert_eq!(names(&new), ["p:2", "p:1"]);
        assert_eq!(new, memory);
        (0..100 * SAMPLE).for_each(|_| heat.note(b"p:9"));
        let (new, memory) = list.take();
        assert_eq!(names(&new), ["p:9"], "counted since the last time");
        assert_eq!(names(&memory), ["p:9", "p:2"]);
    }

    #[test]
    fn a_list_does_not_grow_with_the_keys() {
        let list = Arc::new(HotList::new("", 10));
        let heat = Heat::new([Arc::clone(&list)]);
        for number in 0..10_000_u32 {
            heat.note(format!("k{number}").as_bytes());
        }
        assert_eq!(list.lock().new.len(), 10 * ROOM);
        heat.note(&[b'x'; KEY_MAX + 1]);
        let (new, memory) = list.take();
        assert_eq!((new.len(), memory.len()), (10, 10));
    }
}
