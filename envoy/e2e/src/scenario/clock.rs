//! The scenario's time, in real time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// Nanoseconds since the scenario began. Before that, while Envoy starts, it is 0; copies are the same clock.
#[derive(Debug, Clone)]
pub(super) struct Clock(Arc<watch::Sender<Option<Instant>>>);

impl Clock {
    /// Makes a clock that stands at 0.
    pub(super) fn stopped() -> Self {
        Self(Arc::new(watch::channel(None).0))
    }

    /// Begins the scenario.
    pub(super) fn begin(&self) {
        self.0.send_replace(Some(Instant::now()));
    }

    /// Returns the time.
    pub(super) fn now_ns(&self) -> u64 {
        let begun = *self.0.borrow();
        begun.map_or(0, |begun| {
            u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
        })
    }

    /// Waits until a time. 0 is when the scenario begins.
    pub(super) async fn until(&self, ns: u64) {
        let mut begun = self.0.subscribe();
        // The sender is this clock: it is there as long as somebody waits.
        let begun = match begun.wait_for(Option::is_some).await {
            Ok(begun) => *begun,
            Err(_) => None,
        };
        if let Some(begun) = begun {
            tokio::time::sleep_until(begun + Duration::from_nanos(ns)).await;
        }
    }
}
