//! What a VM reports of the attempts that it saw: the policy's observer and its slot, over the host.
//!
//! Cost: an attempt makes no host call. A tick makes none before the first attempt, then one read
//! and one write; up to 64 reads while this VM has no slot.

use tidegate_policy::{
    endpoints::{Attempt, Observer, ObserverCounts, Started, slot_key},
    lease::CasMismatch,
    slots::{SlotClaim, SlotIndex},
    snapshot::EndpointAddress,
    units::WallTime,
};

use crate::{
    error::HostError,
    shared::{self, Written},
};

/// Is one VM's part in reporting.
#[derive(Debug)]
pub(super) struct Reporting {
    configuration: u64,
    observer: Observer,
    claim: SlotClaim,
    saw_stream: bool,
    /// Is the last report; its capacity is used again.
    report: Vec<u8>,
    /// Is the key of the slot that this VM has.
    key: Option<(SlotIndex, String)>,
}

impl Reporting {
    /// Starts without a slot. `worker` is a draw that tells this VM from all others.
    pub(super) fn new(configuration: u64, worker: u64) -> Self {
        Self {
            configuration,
            observer: Observer::new(configuration, worker),
            claim: SlotClaim::new(worker),
            saw_stream: false,
            report: Vec::new(),
            key: None,
        }
    }

    /// Takes how an attempt ended; `generation` is the endpoint's in the picture, zero where that
    /// does not have it.
    pub(super) fn on_attempt(
        &mut self,
        cluster: &[u8],
        address: EndpointAddress,
        generation: u32,
        attempt: Attempt,
        now: WallTime,
    ) {
        self.saw_stream = true;
        self.observer
            .on_attempt(cluster, address, generation, attempt, now);
    }

    /// Takes that an attempt begins; see [`Observer::on_start`].
    pub(super) fn on_start(
        &mut self,
        cluster: &[u8],
        address: EndpointAddress,
        generation: u32,
        now: WallTime,
    ) -> Option<Started> {
        self.saw_stream = true;
        self.observer.on_start(cluster, address, generation, now)
    }

    /// Takes that it has its answer, or gets none.
    pub(super) fn on_end(&mut self, started: &Started) {
        self.observer.on_end(started);
    }

    /// Writes the report of this tick. A VM that saw nothing yet wants no slot: the main thread's.
    ///
    /// # Errors
    /// The host said no. What was seen is in the reports that follow.
    pub(super) fn on_tick(&mut self, now: WallTime) -> Result<(), HostError> {
        if !self.saw_stream {
            return Ok(());
        }
        self.observer.report(&mut self.report, now);
        let (configuration, key) = (self.configuration, &self.key);
        let mut failed = None;
        let read = |index| {
            let named = match key {
                Some((slot, key)) if *slot == index => shared::read(key),
                _ => shared::read(&slot_key(configuration, index)),
            };
            named
                .map(|value| value.map(|(bytes, cas)| (bytes, cas.number())))
                .inspect_err(|error| failed = Some(*error))
        };
        let step = self.claim.on_tick(read, true, &self.report, now);
        if let Some(error) = failed {
            return Err(error);
        }
        // A report is never longer than a slot: the observer sees to it.
        let Some(write) = step.as_ref().ok().and_then(|step| step.write()) else {
            return Ok(());
        };
        let key = match self.key.take() {
            Some((slot, key)) if slot == write.index => key,
            _ => slot_key(configuration, write.index),
        };
        let written = shared::conditional(&key, &write.bytes, write.cas);
        self.key = Some((write.index, key));
        // Whatever kept the write from being made counts as refused.
        self.claim.on_written(match written {
            Ok(Written::Won) => Ok(()),
            Ok(Written::Lost) | Err(_) => Err(CasMismatch),
        });
        written.map(|_| ())
    }

    /// Is what was not reported.
    pub(super) const fn observer_counts(&self) -> ObserverCounts {
        self.observer.counts()
    }
}
