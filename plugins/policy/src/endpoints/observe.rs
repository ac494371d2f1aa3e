//! What one VM saw of the endpoints: totals, for its slot.

use alloc::vec::Vec;

use crate::{snapshot::EndpointAddress, units::WallTime};

/// Is how one attempt ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Attempt {
    /// Answered with something that is no gateway failure, after this long.
    Success {
        /// Is the time to the response's headers, in microseconds.
        latency_us: u32,
    },
    /// Answered with 502, 503 or 504 by the endpoint.
    GatewayFailure,
    /// Given up by the proxy: connect failure, reset, time-out.
    LocalFailure,
    /// Says nothing about the endpoint, but that it is there: 429, an answer of another filter.
    Neutral,
}

/// Collects what one VM sees.
#[derive(Debug)]
pub struct Observer {
    configuration: u64,
    worker: u64,
}

impl Observer {
    /// Starts without having seen anything. `worker` is a draw; `configuration` the block's digest.
    #[must_use]
    pub const fn new(configuration: u64, worker: u64) -> Self {
        Self {
            configuration,
            worker,
        }
    }

    /// Takes how an attempt ended. Bounded: what finds no room is counted and left out.
    pub fn on_attempt(
        &mut self,
        cluster: &[u8],
        address: EndpointAddress,
        attempt: Attempt,
        now: WallTime,
    ) {
        let _ = (
            self.configuration,
            self.worker,
            cluster,
            address,
            attempt,
            now,
        );
    }

    /// Replaces `out` by this tick's report, for the slot: at most its 64 KiB.
    pub fn report(&mut self, out: &mut Vec<u8>, now: WallTime) {
        let _ = (self, now);
        out.clear();
    }
}
