//! Carries positions of writes between the machines: one hash for each key, a field for each instance, gone some time after the last
//! write. Whatever waits goes out in one pipeline; while it is on its way the next one gathers.

use std::time::Duration;

use lamplighter_core::instance::InstanceView;
use lamplighter_core::lifecycle::Tasks;
use lamplighter_core::writes::{Errand, Errands};
use redis::Pipeline;

use crate::upstream::Link;

/// The name of the scale set stands between the braces; the key, in hexadecimal digits, behind them.
const KEY: &str = "lmp:writes:";

/// How long a position is kept after the last write: longer than any replica that is read from may be behind.
const KEPT: Duration = Duration::from_secs(600);

/// Errands in one pipeline.
const AT_ONCE: usize = 256;

/// The carrier.
#[derive(Debug)]
pub(crate) struct Carrier {
    pub(crate) errands: Errands,
    pub(crate) instance: InstanceView,
    pub(crate) link: Link,
    /// Who we are while the platform has not said it.
    pub(crate) owner: String,
}

impl Carrier {
    /// Carries until draining begins; by then nobody writes any more.
    pub(crate) async fn run(mut self, tasks: Tasks) {
        let mut batch = Vec::with_capacity(AT_ONCE);
        loop {
            tokio::select! {
                count = self.errands.recv_many(&mut batch, AT_ONCE) => {
                    if count == 0 {
                        return;
                    }
                }
                () = tasks.draining() => return,
            }
            self.carry(&mut batch).await;
        }
    }

    /// Those whose errand fails are told by its end.
    async fn carry(&self, batch: &mut Vec<Errand>) {
        let Ok(mut connection) = self.link.get() else {
            return batch.clear();
        };
        let pipeline = self.pipeline(batch);
        let answers: Vec<Vec<String>> = match pipeline.query_async(&mut connection).await {
            Ok(answers) => answers,
            Err(error) => {
                let error = self.link.failed(error);
                tracing::debug!(%error, "positions of writes are not carried");
                return batch.clear();
            }
        };
        let mut answers = answers.into_iter();
        for errand in batch.drain(..) {
            // whoever sent it may have given up
            match errand {
                Errand::Tell { done, .. } => drop(done.send(())),
                Errand::Ask { answer, .. } => {
                    drop(answer.send(answers.next().unwrap_or_default()));
                }
            }
        }
    }

    fn pipeline(&self, batch: &[Errand]) -> Pipeline {
        let (id, set) = match self.instance.now() {
            Some(instance) => (instance.vm_id.clone(), instance.scale_set.clone()),
            None => (self.owner.clone(), String::new()),
        };
        let name = |key: u64| format!("{KEY}{{{set}}}{key:016x}");
        let mut pipeline = redis::pipe();
        for errand in batch {
            match errand {
                Errand::Tell { key, position, .. } => {
                    let name = name(*key);
                    pipeline
                        .cmd("HSET")
                        .arg(&name)
                        .arg(&id)
                        .arg(position)
                        .ignore()
                        .cmd("EXPIRE")
                        .arg(&name)
                        .arg(KEPT.as_secs())
                        .ignore();
                }
                Errand::Ask { key, .. } => {
                    pipeline.cmd("HVALS").arg(name(*key));
                }
            }
        }
        pipeline
    }
}
