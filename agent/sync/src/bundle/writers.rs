//! Small files of a bundle, written by several threads at once while the next ones are unpacked. Touches the destination by
//! what it is given to do, nothing by itself.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Scope, available_parallelism};

/// How many files one thread may have been given and not yet returned. With [`SMALL`] it bounds the memory.
const EACH_MAX: usize = 8;
/// More threads than this only wait for the file system.
const THREADS_MAX: usize = 4;
/// Up to this size, in bytes, a file is handed over whole.
pub(super) const SMALL: u64 = 256 * 1024;

/// Threads that do `Job`s. What became of them comes back in the order in which they were given: they go round, and so do the
/// answers.
pub(super) struct Writers<Job, Done> {
    threads: Vec<(SyncSender<Job>, Receiver<Done>)>,
    given: usize,
    taken: usize,
}

impl<Job: Send, Done: Send> Writers<Job, Done> {
    /// Starts as many as there are processors, within reason. They end with this value.
    pub(super) fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        work: impl Fn(Job) -> Done + Copy + Send + 'scope,
    ) -> Self
    where
        Job: 'scope,
        Done: 'scope,
    {
        let count = available_parallelism().map_or(1, usize::from);
        let threads = (0..count.min(THREADS_MAX))
            .map(|_| {
                let (give, jobs) = sync_channel::<Job>(EACH_MAX);
                let (finished, done) = sync_channel(EACH_MAX);
                scope.spawn(move || {
                    jobs.into_iter()
                        .try_for_each(|job| finished.send(work(job)))
                });
                (give, done)
            })
            .collect();
        Self {
            threads,
            given: 0,
            taken: 0,
        }
    }

    /// Whether one has to be taken before another can be given.
    pub(super) fn is_full(&self) -> bool {
        self.given - self.taken >= self.threads.len() * EACH_MAX
    }

    /// Gives one more. It is given back if nobody is there to do it: a thread panicked.
    pub(super) fn give(&mut self, job: Job) -> Result<(), Job> {
        let (give, _) = &self.threads[self.given % self.threads.len()];
        give.send(job).map_err(|unsent| unsent.0)?;
        self.given += 1;
        Ok(())
    }

    /// Waits for the oldest that was given and not yet taken; `None` if there is none, or its thread panicked.
    pub(super) fn take(&mut self) -> Option<Done> {
        if self.taken == self.given {
            return None;
        }
        let (_, done) = &self.threads[self.taken % self.threads.len()];
        self.taken += 1;
        done.recv().ok()
    }
}

#[cfg(test)]
mod tests {
    //! The order, and the bound.
    use super::*;

    #[test]
    fn what_is_given_comes_back_in_order_and_no_more_than_the_bound_is_under_way() {
        std::thread::scope(|scope| {
            let mut writers = Writers::start(scope, |job: usize| job * 2);
            let mut came = Vec::new();
            for job in 0..1000 {
                if writers.is_full() {
                    came.push(writers.take().unwrap());
                }
                writers.give(job).unwrap();
                assert!(job + 1 - came.len() <= THREADS_MAX * EACH_MAX);
            }
            came.extend(std::iter::from_fn(|| writers.take()));
            assert_eq!(came, (0..1000).map(|job| job * 2).collect::<Vec<_>>());
        });
    }
}
