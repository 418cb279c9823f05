//! Which machine this is, as the platform says: for metrics, logs, jitter and the fleet's list. Memory only; the platform crate
//! finds it out, and nobody may wait for it: without it the agent works, nameless.

use std::sync::Arc;

use tokio::sync::watch;

/// The machine as Azure knows it. A field is empty when Azure did not say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Instance {
    /// The id that no other machine ever has, also when its disk was copied.
    pub vm_id: String,
    /// The name that scheduled events use.
    pub name: String,
    /// The scale set.
    pub scale_set: String,
    /// The region.
    pub location: String,
    /// The availability zone, `1`, `2` or `3`.
    pub zone: String,
    /// `Regular` or `Spot`.
    pub priority: String,
    /// The full resource id.
    pub resource_id: String,
}

/// The machine as far as it is known by now. Clones share it.
#[derive(Debug, Clone)]
pub struct InstanceView(watch::Receiver<Option<Arc<Instance>>>);

impl InstanceView {
    /// Nobody knows yet; whoever finds out tells it through the sender.
    #[must_use]
    pub fn new() -> (watch::Sender<Option<Arc<Instance>>>, Self) {
        let (sender, receiver) = watch::channel(None);
        (sender, Self(receiver))
    }

    /// What is known now.
    #[must_use]
    pub fn now(&self) -> Option<Arc<Instance>> {
        self.0.borrow().clone()
    }

    /// Resolves at the next change; never again once no change can come. Safe to cancel.
    pub async fn changed(&mut self) {
        let gone = self.0.changed().await.is_err();
        if gone {
            std::future::pending::<()>().await;
        }
    }
}
