//! At most two requests a second, whoever asks. Pure but for the clock.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The time between two requests when they come as fast as they may.
const SPACING: Duration = Duration::from_millis(500);

/// Hands out moments, each [`SPACING`] after the last.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    next: Mutex<Option<Instant>>,
}

impl Pace {
    /// Resolves when the caller may ask. The lock is held for a few instructions only.
    pub(crate) async fn wait(&self) {
        let turn = self.take(Instant::now());
        tokio::time::sleep_until(turn).await;
    }

    fn take(&self, now: Instant) -> Instant {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = next.map_or(now, |next| next.max(now));
        *next = Some(turn + SPACING);
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn ten_at_once_take_four_and_a_half_seconds() {
        let (pace, start) = (Pace::default(), Instant::now());
        let waits = (0..10).map(|_| pace.wait());
        for wait in waits {
            wait.await;
        }
        assert_eq!(start.elapsed(), SPACING * 9);
        tokio::time::sleep(SPACING * 20).await;
        let start = Instant::now();
        pace.wait().await;
        assert_eq!(start.elapsed(), Duration::ZERO, "a pause is not saved up");
        pace.wait().await;
        assert_eq!(start.elapsed(), SPACING);
    }
}
