//! One leader among all VMs that share data: the lease of the policy, over the host.
//!
//! Order: the shared data is read before the clock. The other way round, a silence would look longer
//! than it was, and a lease that lives could be taken.
//! Cost: one read and at most one write of shared data per tick, and a draw.

use tidegate_policy::{
    lease::{CasMismatch, LEASE_FORMAT, Lease, LeaseCounts},
    units::WallTime,
};

use crate::{
    clock, entropy,
    error::HostError,
    shared::{self, Written},
};

/// Is this VM's part in the lease of a plugin.
#[derive(Clone, Debug)]
pub struct Leader {
    lease: Lease,
    key: String,
    saw_stream: bool,
}

impl Leader {
    /// Joins the VMs that share data with this one and run `plugin`.
    ///
    /// # Errors
    /// The host has no randomness: two VMs could not be told apart.
    pub fn join(plugin: &str) -> Result<Self, HostError> {
        let [id] = entropy::draws()?;
        Ok(Self {
            lease: Lease::new(id),
            key: format!("tidegate.{plugin}.lease.{LEASE_FORMAT}"),
            saw_stream: false,
        })
    }

    /// Notes that this VM serves streams: one that does not is preferred.
    pub const fn on_stream(&mut self) {
        self.saw_stream = true;
    }

    /// Does at a tick what the lease wants. Returns the epoch in which this VM leads now; `None`:
    /// it does not.
    ///
    /// # Errors
    /// The host said no. Nothing is lost by it: the belief to lead ends by itself.
    pub fn on_tick(&mut self) -> Result<Option<u64>, HostError> {
        let read = shared::read(&self.key)?;
        let now = clock::wall_time()?;
        let [draw] = entropy::draws()?;
        let read = read
            .as_ref()
            .map(|(value, cas)| (value.as_slice(), cas.number()));
        let step = self.lease.on_tick(read, self.saw_stream, now, draw);
        if let Some(write) = step.write() {
            let written = shared::conditional(&self.key, &write.bytes, write.cas);
            // Whatever kept the write from being made counts as refused.
            let outcome = match written {
                Ok(Written::Won) => Ok(()),
                Ok(Written::Lost) | Err(_) => Err(CasMismatch),
            };
            self.lease.on_written(outcome);
            let _ = written?;
        }
        Ok(self.lease.term(clock::wall_time()?))
    }

    /// Is the epoch in which this VM leads at `now`; `None`: it does not.
    #[must_use]
    pub fn term(&self, now: WallTime) -> Option<u64> {
        self.lease.term(now)
    }

    /// Learns that somebody has written with a newer epoch: the next tick takes the lease over with
    /// a newer one still.
    pub const fn learn(&mut self, epoch: u64) {
        self.lease.learn(epoch);
    }

    /// Counts what this VM did and saw.
    #[must_use]
    pub const fn counts(&self) -> LeaseCounts {
        self.lease.counts()
    }
}
