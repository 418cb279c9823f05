//! The restart whose successor gets the listening sockets. Waits; touches nothing.

use std::time::Duration;

use super::super::Phase;
use super::super::control::Request;
use super::Supervisor;
use crate::net::Handover;

/// How long a restart waits for those who are connected to leave by themselves. Requests are over long before; who keeps an idle
/// connection open for longer finds it closed, as after any restart.
const HANDOVER_MAX: Duration = Duration::from_secs(2);

impl Supervisor {
    /// Sets how [`super::Control::restart`] hands the listening sockets over.
    pub fn set_handover(&mut self, handover: Handover) {
        self.handover = handover;
    }

    /// HandingOver: until nobody is connected any more, or those who stay have had their time.
    pub(super) async fn finish_for_the_connected(&mut self) {
        self.handover.begin();
        let handover = self.handover.clone();
        let mut quiet = std::pin::pin!(tokio::time::timeout(HANDOVER_MAX, handover.quiet()));
        loop {
            tokio::select! {
                _ = &mut quiet => return,
                Some(ended) = self.running.join_next() => return self.note_end(ended),
                Some(request) = self.requests.recv() => match request {
                    Request::Stop => return self.enter(Phase::Stopping),
                    Request::Drain(..) | Request::Undrain(_) | Request::Restart => tracing::info!("already leaving"),
                },
            }
        }
    }
}
