//! What the one VM does that holds the lease.
//!
//! Model: a source's answers become the membership of each cluster, probes and reports what is
//! known of its endpoints, a judge ejects by the traffic's failures, and all that makes a snapshot. A membership that changed makes the snapshot anew,
//! in a tick; an answer to a probe and a report change records of it.
//! Cold start: of a predecessor's snapshots, where there are some ([`Lead::restore`]): nobody who
//! was not available becomes available by a takeover.
//! Limits: an answer that is not used changes nothing, is counted, and lets `confirmed_at` age. At
//! most one answer is read at a time, 64 KiB of it per tick, and one tick builds the snapshots of
//! about 4096 endpoints: more than one cluster's where they are small, and one of any size. A call
//! whose answer never comes is given up by its question. Clusters: those that are named, and 64 that
//! requests went to.
//! Scope: of the leader's term; a new term begins with a new one.
//! Cost: a tick O(slice + changed clusters' endpoints · log n), once a second O(all endpoints).

mod board;
mod calls;
mod feed;
mod reading;
mod reports;
mod source;
mod state;
mod traffic;

use alloc::{
    collections::{BTreeMap, VecDeque},
    rc::Rc,
    string::String,
    vec::Vec,
};
use core::{num::NonZeroU32, time::Duration};

pub use calls::{Answer, Call, CallKey, SourceError};

use self::{
    board::{Board, Target},
    calls::Asked,
    source::Asker,
    state::member_of,
};
use super::{
    KEY_PLUGIN,
    config::{Config, Selector, Source},
};
use crate::{
    ejection::{Cause, others_of},
    membership::{Limits, Membership, timer::Timer},
    probe::{self, DRAIN_HEADER, INSTANCE_HEADER, Outcome, Probe, Prober},
    slots::SlotTable,
    snapshot::{Endpoint, SnapshotView, Versions, cluster_digest, versions_key},
    units::WallTime,
};

/// Is how many clusters are taken in because requests go there, besides those that are named.
///
/// Whoever chooses the clusters of requests could else choose how much the leader asks and keeps.
pub const MAX_SEEN: usize = 64;

/// Is how often the versions are written when no snapshot changed, so that readers see them age or
/// not.
const VOUCH_EVERY: Duration = Duration::from_secs(1);

/// Is how often those who have drained are looked for.
const FORGET_EVERY: Duration = Duration::from_secs(1);

/// Is of how many endpoints one tick makes snapshots before it leaves the rest to the next, and
/// the same again for writing them. 10 000 at once take about 5 ms.
const TICK_ENDPOINTS: usize = 4096;

/// Is a write into shared data.
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use]
pub struct Publication {
    /// Is the key.
    pub key: String,
    /// Is the value.
    pub bytes: Vec<u8>,
    /// Says that nothing changed since it was written: write it only where something else stands
    /// there now.
    pub is_repair: bool,
}

/// Counts what a leader did and saw, since it leads. All saturate.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LeadCounts {
    /// Snapshots that were published because they changed.
    pub published: u64,
    /// Probes that were started.
    pub probes: u64,
    /// Probes that failed.
    pub probe_failures: u64,
    /// Answers of a source that were not used, for whichever reason.
    pub source_errors: u64,
    /// Reports of VMs that were overwritten before they were read.
    pub reports_lost: u64,
    /// Endpoints that failed enough to be ejected while too few others were available.
    pub ejections_spared: u64,
}

/// Is what has happened since it was asked last, in order.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Happened {
    /// An endpoint was ejected for its traffic's failures.
    Ejected {
        /// Says for which.
        cause: Cause,
    },
    /// A probe was answered, or nobody answered it.
    Probed(Outcome),
    /// An endpoint was readmitted after an ejection.
    Readmitted,
    /// An answer of the source was not used.
    SourceFailed(SourceError),
}

/// Is how many happenings are kept until somebody asks; the oldest go first.
const MAX_HAPPENED: usize = 1024;

/// Learns, probes, merges and publishes while the lease is held.
///
/// Contract, at every tick in which the lease is held: [`Self::on_reports`], [`Self::on_tick`], then
/// [`Self::poll_call`] until it is `None`, then [`Self::poll_publication`] until it is `None`, each
/// written in this order; a write that was not made is told by [`Self::on_not_written`]. An answer
/// goes to [`Self::on_answer`], whenever it comes.
#[derive(Debug)]
pub struct Lead {
    config: Rc<Config>,
    endpoint_header: String,
    epoch: u64,
    configuration: u64,
    membership: Membership,
    boards: Vec<Board>,
    /// Is how many of the boards nobody named.
    seen: usize,
    asker: Asker,
    prober: Option<Prober<Target>>,
    probes: VecDeque<Probe<Target>>,
    calls: BTreeMap<CallKey, Asked>,
    next_key: u64,
    slots: SlotTable,
    forget: Timer,
    /// Is how often the clock had stepped back when those who drained were looked for.
    regressions: u64,
    vouch: Option<Timer>,
    /// Is of how many endpoints snapshots may still be written in this tick.
    room: usize,
    has_healed: bool,
    /// Says that the versions were asked for in this tick: nothing follows them.
    has_vouched: bool,
    happened: VecDeque<Happened>,
    counts: LeadCounts,
}

impl Lead {
    /// Begins a term. `endpoint_header` steers a probe to its endpoint.
    #[must_use]
    pub fn new(config: Rc<Config>, endpoint_header: &str, epoch: u64, now: WallTime) -> Self {
        let limits = Limits {
            drain_window: config.drain_window(),
            ..Limits::default()
        };
        let mut lead = Self {
            endpoint_header: String::from(endpoint_header),
            epoch,
            configuration: config.digest(),
            membership: Membership::new(limits),
            boards: Vec::new(),
            seen: 0,
            asker: Asker::new(config.source()),
            prober: config.probe().cloned().map(Prober::new),
            probes: VecDeque::new(),
            calls: BTreeMap::new(),
            next_key: 0,
            slots: SlotTable::new(),
            forget: Timer::default(),
            regressions: 0,
            vouch: None,
            room: 0,
            has_healed: false,
            has_vouched: false,
            happened: VecDeque::new(),
            counts: LeadCounts::default(),
            config,
        };
        let config = Rc::clone(&lead.config);
        for selector in config.clusters() {
            if let Selector::Name(name) = selector {
                lead.add(name);
            }
        }
        if let Source::Static(listings) = config.source() {
            for listing in listings {
                lead.add(listing.cluster());
                // What stands in a configuration is within all limits.
                let listing = core::slice::from_ref(listing);
                let asked = listing.first().map_or("", |listing| listing.cluster());
                let _ = lead.membership.apply(asked, listing, now);
                lead.on_membership(asked, now);
            }
        }
        lead
    }

    /// Goes on with what a predecessor published about a cluster; bytes that are no snapshot of
    /// ours are nothing, and so is a cluster that is not to be known. `confirmed_at` is what the
    /// versions said of it; `None` where they said nothing.
    ///
    /// Call it before the first tick.
    pub fn restore(
        &mut self,
        cluster: &str,
        snapshot: &[u8],
        confirmed_at: Option<WallTime>,
        now: WallTime,
    ) {
        let Ok(view) = SnapshotView::open(snapshot) else {
            return;
        };
        let header = view.header();
        let is_ours = header.configuration == self.configuration
            && header.cluster == cluster_digest(cluster.as_bytes());
        if !is_ours || !(self.board(cluster).is_some() || self.on_seen(cluster)) {
            return;
        }
        let confirmed_at = confirmed_at.unwrap_or(header.published_at).min(now);
        let is_learned = matches!(self.config.source(), Source::Learned);
        let generations = view.iter().map(|entry| entry.endpoint.since.generation);
        let generation = generations.max().unwrap_or_default();
        let window = self.config.drain_window();
        let members = view.iter().map(|entry| {
            let zone = str::from_utf8(entry.zone).unwrap_or_default();
            // What traffic said goes to the judge, and would else be taken for the others' opinion.
            let others = Endpoint {
                state: others_of(entry.endpoint.state, now),
                ..entry.endpoint
            };
            let member = member_of(&others, is_learned, window, confirmed_at);
            (entry.address.into(), zone, member)
        });
        let listed_at = (!is_learned).then_some(confirmed_at);
        // A cluster beyond the limit begins from nothing; there is none within the blocks' own.
        let _ = self
            .membership
            .restore(cluster, u64::from(generation), listed_at, members, now);
        if let Some(board) = self
            .board(cluster)
            .and_then(|index| self.boards.get_mut(index))
        {
            board.restore(&view);
            board.confirmed_at = board.confirmed_at.or(Some(confirmed_at));
        }
    }

    /// Takes a cluster in that requests go to and that a prefix of the block covers. `false` where
    /// it does not, where it is there already, or where there is no room.
    pub fn on_seen(&mut self, cluster: &str) -> bool {
        let is_new = self.config.knows(cluster.as_bytes()) && self.board(cluster).is_none();
        if !is_new || self.seen >= MAX_SEEN {
            return false;
        }
        self.seen = self.seen.saturating_add(1);
        self.add(cluster);
        true
    }

    /// Does what is due: gives up what was not answered, reads on in an answer, forgets who has
    /// drained, makes snapshots of what changed. `draw` gives random numbers.
    pub fn on_tick(&mut self, now: WallTime, draw: &mut dyn FnMut() -> u64) {
        for board in &mut self.boards {
            board.is_refused = false;
        }
        self.room = TICK_ENDPOINTS;
        self.has_healed = false;
        self.has_vouched = false;
        self.give_up(now, draw);
        self.read_on(now, draw);
        self.forget.observe(now);
        if self.forget.is_over(now) {
            self.forget = Timer::new(now, FORGET_EVERY);
            let forgotten = self.membership.on_tick(now);
            // After a step back of the clock, what lay in the future is now.
            let regressions = self.membership.totals().clock_regressions;
            let has_stepped = regressions != self.regressions;
            self.regressions = regressions;
            if forgotten > 0 || has_stepped {
                self.boards
                    .iter_mut()
                    .for_each(|board| board.is_outdated = true);
            }
        }
        self.rebuild(now, draw);
        self.judge(now, draw);
        self.probe(now, draw);
    }

    /// Is a call to make now.
    pub fn poll_call(&mut self, now: WallTime, draw: &mut dyn FnMut() -> u64) -> Option<Call> {
        if let Some(call) = self.poll_source(now, draw) {
            return Some(call);
        }
        let config = Rc::clone(&self.config);
        let probing = config.probe()?;
        loop {
            let probe = self.probes.pop_front()?;
            let Some(board) = self.boards.get(probe.key.board) else {
                continue;
            };
            let cluster = board.name.clone();
            let address = alloc::format!("{}", probe.key.address);
            let mut headers = owned(probing.headers(&address));
            headers.push((self.endpoint_header.clone(), address));
            self.counts.probes = self.counts.probes.saturating_add(1);
            let key = self.ask(Asked::Probe {
                ticket: probe.ticket,
                started: now,
            });
            return Some(Call {
                key,
                cluster,
                headers,
                timeout: probe.timeout,
            });
        }
    }

    /// Says that the host did not make a call.
    pub fn on_not_sent(&mut self, key: CallKey, now: WallTime, draw: &mut dyn FnMut() -> u64) {
        match self.calls.remove(&key) {
            None => {}
            Some(Asked::Probe { ticket, .. }) => {
                if let Some(prober) = &mut self.prober {
                    prober.on_not_sent(ticket);
                }
            }
            Some(asked) => self.source_failed(&asked, SourceError::NotSent, now, draw),
        }
    }

    /// Takes an answer. One that nobody waits for any more is nothing.
    pub fn on_answer(
        &mut self,
        key: CallKey,
        answer: &dyn Answer,
        now: WallTime,
        draw: &mut dyn FnMut() -> u64,
    ) {
        match self.calls.remove(&key) {
            None => {}
            Some(Asked::Probe { ticket, started }) => {
                self.on_probe_answer(ticket, started, answer, now)
            }
            Some(asked) => self.on_source_answer(&asked, answer, now, draw),
        }
    }

    /// Says whether somebody waits for the answer to a call.
    #[must_use]
    pub fn awaits(&self, key: CallKey) -> bool {
        self.calls.contains_key(&key)
    }

    /// Is what to write now: snapshots that changed, and behind them the versions, which are also
    /// written once a second so that readers see them age or not. They are the last of a tick.
    pub fn poll_publication(&mut self, now: WallTime) -> Option<Publication> {
        if self.has_vouched {
            return None;
        }
        if self.room > 0 {
            let mut boards = self.boards.iter_mut();
            if let Some((length, publication)) =
                boards.find_map(|board| Some((board.snapshot.len(), board.publication(now)?)))
            {
                self.room = self.room.saturating_sub(length);
                self.vouch = None;
                self.counts.published = self.counts.published.saturating_add(1);
                return Some(publication);
            }
        }
        if !self.has_healed
            && let Some(healing) = self.boards.iter_mut().find_map(|board| board.healing(now))
        {
            self.has_healed = true;
            return Some(healing);
        }
        if let Some(vouch) = &mut self.vouch {
            vouch.observe(now);
            if !vouch.is_over(now) {
                return None;
            }
        }
        self.vouch = Some(Timer::new(now, VOUCH_EVERY));
        self.has_vouched = true;
        Some(self.versions(now))
    }

    /// Says that a write was not made: it is asked for again at the next tick, and until then no
    /// version names that snapshot.
    pub fn on_not_written(&mut self, publication: &Publication) {
        self.vouch = None;
        let boards = self.boards.iter_mut();
        for board in boards.filter(|board| board.key() == publication.key) {
            board.on_not_written();
        }
    }

    /// Is what happened and was not asked for yet, the oldest first: for metrics.
    pub fn poll_happened(&mut self) -> Option<Happened> {
        self.happened.pop_front()
    }

    /// Lists the endpoints of each cluster that is known, in the order in which clusters became
    /// known; the time is when the source last vouched for them.
    pub fn clusters(
        &self,
    ) -> impl Iterator<Item = (&str, WallTime, impl Iterator<Item = &Endpoint>)> {
        self.boards.iter().filter_map(|board| {
            let endpoints = board.snapshot.iter().map(|(_, endpoint)| endpoint);
            Some((board.name.as_str(), board.confirmed_at?, endpoints))
        })
    }

    /// Is the term's epoch.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Is what was counted.
    #[must_use]
    pub const fn counts(&self) -> LeadCounts {
        self.counts
    }

    /// Adds a cluster that is not there yet.
    fn add(&mut self, cluster: &str) {
        if self.board(cluster).is_some() {
            return;
        }
        let ejection = self.config.ejection().copied();
        let board = Board::new(cluster, self.configuration, self.epoch, ejection);
        self.boards.push(board);
        self.asker.add(cluster);
    }

    fn board(&self, cluster: &str) -> Option<usize> {
        self.boards.iter().position(|board| board.name == cluster)
    }

    /// Remembers what a call is about, under a new key.
    fn ask(&mut self, asked: Asked) -> CallKey {
        let key = CallKey(self.next_key);
        self.next_key = self.next_key.saturating_add(1);
        self.calls.insert(key, asked);
        key
    }

    /// Takes note that the source vouched for a cluster, whose membership may be another now.
    fn on_membership(&mut self, cluster: &str, now: WallTime) {
        let index = self.board(cluster);
        if let Some(board) = index.and_then(|index| self.boards.get_mut(index)) {
            board.confirm(now);
            board.is_outdated = true;
        }
    }

    /// Makes the snapshots of changed memberships.
    fn rebuild(&mut self, now: WallTime, draw: &mut dyn FnMut() -> u64) {
        let mut room = TICK_ENDPOINTS;
        let window = self.config.drain_window();
        for (index, board) in self.boards.iter_mut().enumerate() {
            if !board.is_outdated || room == 0 {
                continue;
            }
            let Some(cluster) = self.membership.cluster(&board.name) else {
                board.is_outdated = false;
                continue;
            };
            let prober = self.prober.as_mut();
            board.rebuild(index, cluster, prober, window, now, draw);
            room = room.saturating_sub(board.snapshot.len());
        }
    }

    /// Starts probes that are due and takes those that nobody answered.
    fn probe(&mut self, now: WallTime, draw: &mut dyn FnMut() -> u64) {
        let Some(prober) = &mut self.prober else {
            return;
        };
        let tick = prober.tick(now, draw);
        self.probes.extend(tick.probes);
        // Tickets are as old as their calls: older ones than the oldest are not waited for any more.
        let oldest = prober.oldest_outstanding();
        self.calls.retain(|_, asked| match asked {
            Asked::Probe { ticket, .. } => oldest.is_some_and(|oldest| *ticket >= oldest),
            Asked::Admin(_) | Asked::Feed => true,
        });
        for change in tick.timed_out {
            self.on_probed(change, now);
        }
    }

    fn on_probe_answer(
        &mut self,
        ticket: probe::Ticket,
        started: WallTime,
        answer: &dyn Answer,
        now: WallTime,
    ) {
        let (Some(prober), Some(probing)) = (&mut self.prober, self.config.probe()) else {
            return;
        };
        let status = answer.status();
        // Each look is a host call: only those that can matter are made.
        let drain = (status == Some(503))
            .then(|| answer.header(DRAIN_HEADER))
            .flatten();
        let instance = status.and_then(|_| answer.header(INSTANCE_HEADER));
        let header = |name: &str| match name {
            DRAIN_HEADER => drain.as_deref(),
            INSTANCE_HEADER => instance.as_deref(),
            _ => None,
        };
        let answer = probing.classify(status, header, now.saturating_since(started));
        if let Some(change) = prober.on_answer(ticket, answer, now) {
            self.on_probed(change, now);
        }
    }

    /// Brings what a probe said into the picture.
    fn on_probed(&mut self, change: probe::Change<Target>, now: WallTime) {
        self.happen(Happened::Probed(change.outcome));
        if matches!(change.outcome, Outcome::Failure(_)) {
            self.counts.probe_failures = self.counts.probe_failures.saturating_add(1);
        }
        let target = change.key;
        self.try_by_probe(&target, change.outcome, now);
        let (Some(board), Some(prober)) = (self.boards.get_mut(target.board), self.prober.as_ref())
        else {
            return;
        };
        let cluster = self.membership.cluster(&board.name);
        if let Some(member) = cluster.and_then(|cluster| cluster.member(target.address.into())) {
            let window = self.config.drain_window();
            board.on_probed(&target, member, prober, change.instance, window, now);
        }
    }

    /// Is what vouches for all clusters whose snapshots are written.
    fn versions(&mut self, now: WallTime) -> Publication {
        let is_asked = self.config.source().cluster().is_some();
        let mut versions = Versions::new(self.configuration, self.epoch);
        let workers = u32::try_from(self.slots.live_with_streams()).unwrap_or(u32::MAX);
        versions.workers = NonZeroU32::new(workers).unwrap_or(NonZeroU32::MIN);
        for board in &mut self.boards {
            if !is_asked && board.confirmed_at.is_some() {
                board.confirmed_at = Some(now);
            }
            if let (Some(confirmed_at), Some(_)) = (board.confirmed_at, board.written_at) {
                let generation = board.snapshot.header.generation;
                // There are fewer boards than versions have room for.
                let _ = versions.try_set(board.cluster, generation, confirmed_at);
            }
        }
        let mut bytes = Vec::new();
        versions.encode(&mut bytes);
        Publication {
            key: versions_key(KEY_PLUGIN, self.configuration),
            bytes,
            is_repair: false,
        }
    }

    fn happen(&mut self, happened: Happened) {
        if self.happened.len() >= MAX_HAPPENED {
            self.happened.pop_front();
        }
        self.happened.push_back(happened);
    }
}

/// Copies headers.
fn owned<const N: usize>(headers: [(&'static str, &str); N]) -> Vec<(String, String)> {
    headers
        .map(|(name, value)| (String::from(name), String::from(value)))
        .into()
}
