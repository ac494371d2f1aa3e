//! The picture of the endpoints, over the host.
//!
//! Scope: one per configuration and VM. Cost: a tick of a VM that does not lead makes about eight
//! host calls; a request makes none.

mod answering;
mod draws;
mod leading;
pub mod metrics;
mod reporting;

use std::{num::NonZeroU32, rc::Rc};

use tidegate_policy::{
    endpoints::{
        Attempt, Config, Follower, KEY_PLUGIN, Picture, Seen, Started, TICK_PERIOD, Unknown,
        decode_seen, seen_key,
    },
    passive::FailureStatuses,
    snapshot::{EndpointAddress, snapshot_key, versions_key},
    units::WallTime,
};

pub use self::draws::Draws;
use self::{leading::Leading, metrics::Metrics, reporting::Reporting};
use crate::{
    clock,
    context::CallResponse,
    entropy,
    error::HostError,
    leader::Leader,
    log::{self, Level},
    shared::{self, Cas, Written},
};

/// Is what was read under a key of shared data.
type Read = Result<Option<(Vec<u8>, Cas)>, HostError>;

/// Says what a VM does besides reading the picture.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Part {
    /// Says that it may hold the lease. One behind the router may not: it stands behind the cluster,
    /// and a probe that began in it would enter it again. (The proxy makes the main thread's VM of a
    /// cluster's filter before any listener's, so that it would mostly be the first to ask.)
    pub may_lead: bool,
    /// Says that it will report attempts.
    pub reports: bool,
}

/// Is one VM's part in knowing the endpoints.
#[derive(Debug)]
pub struct Endpoints {
    config: Rc<Config>,
    configuration: u64,
    endpoint_header: String,
    leader: Leader,
    /// Says whether this VM may hold the lease.
    may_lead: bool,
    leading: Option<Leading>,
    follower: Follower,
    seen: Seen,
    draws: Draws,
    /// Is there where this VM reports what it sees.
    reporting: Option<Reporting>,
    metrics: Option<Metrics>,
    /// Is when this VM ticked last.
    ticked_at: Option<WallTime>,
    saw_stream: bool,
    /// Are the requests that had no picture, by reason.
    without_picture: [u64; Unknown::ALL.len()],
}

impl Endpoints {
    /// Joins the VMs that share this picture, and asks for ticks. It makes no call: the first tick
    /// does. `endpoint_header` steers probes.
    ///
    /// # Errors
    /// The host said no.
    pub fn join(config: &Config, endpoint_header: &str, part: Part) -> Result<Self, HostError> {
        let configuration = config.digest();
        let leader = Leader::join(&format!("{KEY_PLUGIN}.{configuration:016x}"))?;
        let [worker, seed] = entropy::draws()?;
        clock::set_tick_period(TICK_PERIOD)?;
        // The picture does not wait for metrics.
        let metrics = Metrics::define()
            .inspect_err(|error| {
                log::write(Level::Error, &format!("endpoints count nothing: {error}"));
            })
            .ok();
        Ok(Self {
            config: Rc::new(config.clone()),
            configuration,
            endpoint_header: endpoint_header.to_owned(),
            leader,
            may_lead: part.may_lead,
            leading: None,
            follower: Follower::new(configuration, config.stale_after()),
            seen: Seen::new(),
            draws: Draws::new(seed),
            reporting: part.reports.then(|| Reporting::new(configuration, worker)),
            metrics,
            ticked_at: None,
            saw_stream: false,
            without_picture: [0; Unknown::ALL.len()],
        })
    }

    /// Notes that this VM serves streams, to this cluster, once for each: no host call.
    pub fn on_stream(&mut self, cluster: &[u8]) {
        self.saw_stream = true;
        self.leader.on_stream();
        self.seen.on_stream(cluster, &self.config);
        // The last tick's time is as good, and is there already.
        let picture = self.picture(cluster, self.ticked_at.unwrap_or_default());
        if let Picture::Unknown(reason) = picture
            && let Some(count) = self.without_picture.get_mut(reason.index())
        {
            *count = count.saturating_add(1);
        }
    }

    /// Is how many VMs of the proxy take requests, as far as they report; 1 until that is known.
    #[must_use]
    pub const fn workers(&self) -> NonZeroU32 {
        self.follower.workers()
    }

    /// Says whether a cluster is one of those to know.
    #[must_use]
    pub fn knows(&self, cluster: &[u8]) -> bool {
        self.config.knows(cluster)
    }

    /// Are the statuses of an endpoint that count as its failure.
    #[must_use]
    pub fn failure_statuses(&self) -> FailureStatuses {
        self.config.failure_statuses()
    }

    /// Says whether this VM reports attempts, so that whoever sees one asks for its outcome.
    #[must_use]
    pub const fn observes(&self) -> bool {
        self.reporting.is_some()
    }

    /// Does at a tick what is due. What the host refuses is left out, and nothing else with it: the
    /// next tick tries again.
    pub fn on_tick(&mut self) {
        let term = if self.may_lead {
            self.leader.on_tick()
        } else {
            Ok(None)
        };
        let versions = shared::read(&versions_key(KEY_PLUGIN, self.configuration));
        let Ok(now) = clock::wall_time() else {
            return;
        };
        // A lease that could not be renewed lasts for a while.
        let term = term.unwrap_or_else(|_| self.leader.term(now));
        self.ticked_at = Some(now);
        self.follow(&versions, now);
        if let Some(reporting) = &mut self.reporting {
            // What could not be reported is in the next report.
            let _ = reporting.on_tick(now);
        }
        let seen = self.look_who_was_seen(term.is_some());
        match term {
            Some(epoch) => self.lead(epoch, &versions, &seen, now),
            None => self.leading = None,
        }
        if let Some(metrics) = &mut self.metrics {
            let observed = self.reporting.as_ref().map(Reporting::observer_counts);
            metrics.on_tick(self.follower.counts(), observed, &self.without_picture);
        }
    }

    /// Takes the answer of a call-out; says whether it was one of ours.
    pub fn on_call_response(&mut self, response: CallResponse) -> bool {
        let Some(leading) = &mut self.leading else {
            return false;
        };
        let Ok(now) = clock::wall_time() else {
            return false;
        };
        leading.on_call_response(response, &mut self.draws, now)
    }

    /// Says whether this VM leads: learns, probes and publishes for all.
    #[must_use]
    pub const fn leads(&self) -> bool {
        self.leading.is_some()
    }

    /// Is what a request to a cluster knows of its endpoints. No host call.
    #[must_use]
    pub fn picture(&self, cluster: &[u8], now: WallTime) -> Picture<'_> {
        match self.follower.picture(cluster, now) {
            Picture::Unknown(Unknown::NotYet) if !self.config.knows(cluster) => {
                Picture::Unknown(Unknown::NotConfigured)
            }
            picture => picture,
        }
    }

    /// Takes how an attempt ended. No host call; where this VM does not report it is nothing.
    pub fn on_attempt(
        &mut self,
        cluster: &[u8],
        address: EndpointAddress,
        attempt: Attempt,
        now: WallTime,
    ) {
        let generation = self.generation(cluster, &address, now);
        if let Some(reporting) = &mut self.reporting {
            reporting.on_attempt(cluster, address, generation, attempt, now);
        }
    }

    /// Takes that an attempt begins, so that others hear of one that hangs before it ends; keep the
    /// result for [`Self::on_attempt_end`]. `None` where that is not followed. No host call.
    pub fn on_attempt_start(
        &mut self,
        cluster: &[u8],
        address: EndpointAddress,
        now: WallTime,
    ) -> Option<Started> {
        let generation = self.generation(cluster, &address, now);
        let reporting = self.reporting.as_mut()?;
        reporting.on_start(cluster, address, generation, now)
    }

    /// Takes that the headers of its answer came, or that it was given up. No host call.
    pub fn on_attempt_end(&mut self, started: &Started) {
        if let Some(reporting) = &mut self.reporting {
            reporting.on_end(started);
        }
    }

    /// Is an endpoint's generation in the picture; zero where that does not have it.
    fn generation(&self, cluster: &[u8], address: &EndpointAddress, now: WallTime) -> u32 {
        match self.follower.picture(cluster, now) {
            Picture::Known(known) => known.view.get(address),
            Picture::Unknown(_) => None,
        }
        .map_or(0, |entry| entry.endpoint.since.generation)
    }

    /// Reads the snapshots whose version changed.
    fn follow(&mut self, versions: &Read, now: WallTime) {
        let Ok(Some((versions, _))) = versions else {
            return;
        };
        let clusters = leading::names(&self.config)
            .into_iter()
            .chain(self.seen.met());
        let Ok(changed) = self.follower.on_versions(versions, clusters, now) else {
            return;
        };
        for cluster in changed {
            let key = snapshot_key(KEY_PLUGIN, self.configuration, cluster.as_bytes());
            if let Ok(Some((snapshot, _))) = shared::read(&key) {
                // What is held stays where this is none of ours; the follower counts it.
                let _ = self.follower.on_snapshot(&cluster, snapshot);
            }
        }
    }

    /// Adds to the list of clusters what this VM met, and reads it where this VM leads.
    fn look_who_was_seen(&mut self, leads: bool) -> Vec<String> {
        if !(leads || self.seen.has_news()) {
            return Vec::new();
        }
        let key = seen_key(self.configuration);
        let Ok(read) = shared::read(&key) else {
            return Vec::new();
        };
        let bytes = read.as_ref().map(|(bytes, _)| bytes.as_slice());
        if self.seen.has_news()
            && let Some(list) = self.seen.on_read(bytes)
        {
            let written = match &read {
                Some((_, cas)) => shared::write_if(&key, &list, *cas),
                None => shared::create(&key, &list),
            };
            if written == Ok(Written::Won) {
                self.seen.on_written();
                return names_of(&list);
            }
        }
        bytes.map(names_of).unwrap_or_default()
    }

    /// Does what the holder of the lease does.
    fn lead(&mut self, epoch: u64, versions: &Read, seen: &[String], now: WallTime) {
        let seen = || seen.iter().map(String::as_str);
        let mut leading = match self.leading.take() {
            Some(leading) if leading.epoch() == epoch => leading,
            _ => {
                let read = versions.as_ref().ok().and_then(Option::as_ref);
                let header = &self.endpoint_header;
                match Leading::begin(&self.config, header, epoch, read, seen(), now) {
                    Ok(leading) => {
                        log::write(
                            Level::Info,
                            &format!("this VM leads the endpoints in epoch {epoch}"),
                        );
                        if let Some(metrics) = &mut self.metrics {
                            metrics.on_term();
                        }
                        leading
                    }
                    Err(replaced) => return self.leader.learn(replaced.by),
                }
            }
        };
        leading.on_seen(seen());
        match leading.on_tick(versions, &mut self.draws, now) {
            Ok(()) => {
                if let Some(metrics) = &mut self.metrics {
                    metrics.on_led(leading.lead_mut(), self.saw_stream);
                }
                self.leading = Some(leading);
            }
            Err(replaced) => self.leader.learn(replaced.by),
        }
    }
}

/// Lists the clusters of a list; none where it is no list.
fn names_of(list: &[u8]) -> Vec<String> {
    decode_seen(list)
        .map(|names| names.into_iter().collect())
        .unwrap_or_default()
}
