//! The picture of the endpoints, over the host.
//!
//! Scope: one per configuration and VM. Cost: a tick of a VM that does not lead makes about eight
//! host calls; a request makes none.

use std::rc::Rc;

use tidegate_policy::{
    endpoints::{Attempt, Config, Follower, Lead, Observer, Picture, TICK_PERIOD},
    snapshot::EndpointAddress,
    units::WallTime,
};

use crate::{clock, context::CallResponse, entropy, error::HostError, leader::Leader};

/// Is one VM's part in knowing the endpoints.
#[derive(Debug)]
pub struct Endpoints {
    config: Rc<Config>,
    endpoint_header: String,
    leader: Leader,
    lead: Option<Lead>,
    follower: Follower,
    /// Is there where this VM reports what it sees.
    observer: Option<Observer>,
}

impl Endpoints {
    /// Joins the VMs that share this picture, and asks for ticks. It makes no call: the first tick
    /// does. `endpoint_header` steers probes; `observes` says that this VM will report attempts.
    ///
    /// # Errors
    /// The host said no.
    pub fn join(config: &Config, endpoint_header: &str, observes: bool) -> Result<Self, HostError> {
        let digest = config.digest();
        let leader = Leader::join(&format!("endpoints.{digest:016x}"))?;
        let [worker] = entropy::draws()?;
        clock::set_tick_period(TICK_PERIOD)?;
        Ok(Self {
            config: Rc::new(config.clone()),
            endpoint_header: endpoint_header.to_owned(),
            leader,
            lead: None,
            follower: Follower::new(digest, config.stale_after()),
            observer: observes.then(|| Observer::new(digest, worker)),
        })
    }

    /// Notes that this VM serves streams, to this cluster: no host call.
    pub fn on_stream(&mut self, _cluster: &[u8]) {
        self.leader.on_stream();
    }

    /// Does at a tick what is due; errors are counted.
    pub fn on_tick(&mut self) {
        let Ok(now) = clock::wall_time() else {
            return;
        };
        match self.leader.on_tick() {
            Ok(Some(epoch)) if self.lead.is_none() => {
                let config = Rc::clone(&self.config);
                self.lead = Some(Lead::new(config, &self.endpoint_header, epoch, now));
            }
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => self.lead = None,
        }
    }

    /// Takes the answer of a call-out; says whether it was one of ours.
    pub fn on_call_response(&mut self, _response: CallResponse) -> bool {
        false
    }

    /// Is what a request to a cluster knows of its endpoints. No host call.
    #[must_use]
    pub fn picture(&self, cluster: &[u8], now: WallTime) -> Picture<'_> {
        self.follower.picture(cluster, now)
    }

    /// Takes how an attempt ended. No host call; without `observes` it is nothing.
    pub fn on_attempt(
        &mut self,
        cluster: &[u8],
        address: EndpointAddress,
        attempt: Attempt,
        now: WallTime,
    ) {
        let generation = match self.follower.picture(cluster, now) {
            Picture::Known(known) => known.view.get(&address),
            Picture::Unknown(_) => None,
        }
        .map_or(0, |entry| entry.endpoint.since.generation);
        if let Some(observer) = &mut self.observer {
            observer.on_attempt(cluster, address, generation, attempt, now);
        }
    }
}
