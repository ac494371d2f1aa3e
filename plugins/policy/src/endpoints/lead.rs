//! What the one VM does that holds the lease.

use alloc::{rc::Rc, string::String, vec::Vec};
use core::time::Duration;

use super::config::Config;
use crate::{slots::SlotIndex, units::WallTime};

/// Names a call-out that is under way.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct CallKey(u64);

/// Is a call-out to make.
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use]
pub struct Call {
    /// Names it.
    pub key: CallKey,
    /// Is the Envoy cluster to call.
    pub cluster: String,
    /// Are the request's headers, `:method`, `:path` and `:authority` among them. There is no body.
    pub headers: Vec<(String, String)>,
    /// Is how long the answer may take.
    pub timeout: Duration,
}

/// Is what came of a call-out.
pub trait Answer {
    /// Is the status; `None` where no headers came: a reset.
    fn status(&self) -> Option<u16>;
    /// Looks up a header by its name in lower case.
    fn header(&self, name: &str) -> Option<Vec<u8>>;
    /// Is the length of the body in bytes, to be asked before it is copied.
    fn body_bytes(&self) -> usize;
    /// Copies the body; `None` where the host does not give it.
    fn body(&self) -> Option<Vec<u8>>;
}

/// Is a write into shared data.
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use]
pub struct Publication {
    /// Is the key.
    pub key: String,
    /// Is the value.
    pub bytes: Vec<u8>,
}

/// Counts what a leader did and saw, since it leads. All saturate.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LeadCounts {
    /// Snapshots that were published.
    pub published: u64,
    /// Probes that were started.
    pub probes: u64,
    /// Probes that failed.
    pub probe_failures: u64,
    /// Answers of a source that were not used.
    pub source_errors: u64,
}

/// Learns, probes, merges and publishes while the lease is held.
///
/// Contract, at every tick in which the lease is held: [`Self::on_tick`], then
/// [`Self::poll_call`] until it is `None`, then [`Self::poll_publication`] until it is `None`,
/// each written in this order. An answer goes to [`Self::on_answer`], whenever it comes.
#[derive(Debug)]
pub struct Lead {
    config: Rc<Config>,
    epoch: u64,
}

impl Lead {
    /// Begins a term. `endpoint_header` steers a probe to its endpoint.
    #[must_use]
    pub fn new(config: Rc<Config>, endpoint_header: &str, epoch: u64, now: WallTime) -> Self {
        let _ = (endpoint_header, now);
        Self { config, epoch }
    }

    /// Goes on with what a predecessor published about a cluster; bytes that are no snapshot of
    /// ours are nothing.
    pub fn restore(&mut self, cluster: &str, snapshot: &[u8], now: WallTime) {
        let _ = (&self.config, self.epoch, cluster, snapshot, now);
    }

    /// Takes a cluster in that requests go to and that a prefix of the block covers. `false` where
    /// it does not, or where there is no room.
    pub fn on_seen(&mut self, cluster: &str) -> bool {
        let _ = (&self.config, cluster);
        false
    }

    /// Does what is due: gives up what was not answered, reads on in an answer, forgets who has
    /// drained. `draw` gives random numbers.
    pub fn on_tick(&mut self, now: WallTime, draw: &mut dyn FnMut() -> u64) {
        let _ = (&self.config, now, draw);
    }

    /// Is a call to make now.
    pub fn poll_call(&mut self, now: WallTime, draw: &mut dyn FnMut() -> u64) -> Option<Call> {
        let _ = (&self.config, now, draw);
        None
    }

    /// Says that the host did not make a call.
    pub fn on_not_sent(&mut self, key: CallKey, now: WallTime, draw: &mut dyn FnMut() -> u64) {
        let _ = (&self.config, key, now, draw);
    }

    /// Takes an answer.
    pub fn on_answer(
        &mut self,
        key: CallKey,
        answer: &dyn Answer,
        now: WallTime,
        draw: &mut dyn FnMut() -> u64,
    ) {
        let _ = (&self.config, key, answer.status(), now, draw);
    }

    /// Takes what lies in the slots; what was merged before is nothing.
    pub fn on_reports<'r>(
        &mut self,
        reports: impl IntoIterator<Item = (SlotIndex, &'r [u8])>,
        now: WallTime,
    ) {
        let _ = (&self.config, reports.into_iter().count(), now);
    }

    /// Is what to write now: snapshots that changed, and behind them the versions, which are also
    /// written once a second so that readers see them age or not.
    pub fn poll_publication(&mut self, now: WallTime) -> Option<Publication> {
        let _ = (&self.config, now);
        None
    }

    /// Is what was counted.
    #[must_use]
    pub fn counts(&self) -> LeadCounts {
        LeadCounts::default()
    }
}
