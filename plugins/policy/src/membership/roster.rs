//! Keeps who the endpoints of all clusters are, within limits.

use alloc::{collections::BTreeMap, string::String};
use core::{net::SocketAddr, time::Duration};

use super::{
    cluster::{Change, Cluster, Member, Presence},
    listing::{Listed, Listing, MAX_CLUSTERS, MAX_ENDPOINTS},
};
use crate::units::WallTime;

/// Is how long a vanished endpoint is draining where nothing else is configured: the guide's window.
pub const DRAIN_WINDOW: Duration = Duration::from_secs(60);

/// Is how far apart two empty listings must be for the second to be believed.
///
/// Shorter than a control plane's restart and one of its hiccups would empty a cluster; much longer
/// and a cluster that was scaled to zero keeps addresses that others may get.
pub const EMPTY_CONFIRMATION: Duration = Duration::from_secs(5);

/// Is how long a learned endpoint is kept that no request came back from.
///
/// It must outlast the quiet of a small cluster at night, or picking starts from nothing.
pub const LEARNED_IDLE: Duration = Duration::from_secs(600);

/// Are the limits and windows of a [`Membership`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Is the number of clusters, at most [`MAX_CLUSTERS`]; 0 keeps none.
    pub clusters: usize,
    /// Is the number of endpoints of all clusters together, at most [`MAX_ENDPOINTS`]. As many
    /// vanished ones are kept besides, the oldest are forgotten first.
    pub endpoints: usize,
    /// Is how long a vanished endpoint is draining; zero forgets it at the next tick.
    pub drain_window: Duration,
    /// Is how far apart two empty listings must be; zero believes the second at once.
    pub empty_confirmation: Duration,
    /// Is how long a learned endpoint is kept unseen.
    pub learned_idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            clusters: MAX_CLUSTERS,
            endpoints: MAX_ENDPOINTS,
            drain_window: DRAIN_WINDOW,
            empty_confirmation: EMPTY_CONFIRMATION,
            learned_idle: LEARNED_IDLE,
        }
    }
}

/// Says why a listing was not applied. Nothing changed then, and the last good one ages.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotApplied {
    /// The answer does not have the cluster that was asked for.
    #[error("the answer does not have the cluster")]
    Absent,
    /// It has no endpoints, the cluster had some, and nothing confirms it yet.
    #[error("the cluster is empty all at once; ask again")]
    EmptyUnconfirmed {
        /// Is how long to wait before it can be confirmed.
        ask_again_in: Duration,
    },
    /// The answer has a cluster that was not asked for.
    #[error("the answer has another cluster")]
    OtherCluster,
    /// There are as many clusters as there may be.
    #[error("there are too many clusters")]
    TooManyClusters,
    /// All clusters together would have more endpoints than they may.
    #[error("there are too many endpoints")]
    TooManyEndpoints,
}

/// Counts since the start; each saturates.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Totals {
    /// Is the number of listings that were applied.
    pub applied: u64,
    /// Is the number of listings that were not applied, and of answers that were reported broken.
    pub refused: u64,
    /// Is the number of times that the clock was seen to step back.
    pub clock_regressions: u64,
    /// Is the number of vanished or learned endpoints that were forgotten early for lack of room.
    pub evicted: u64,
}

/// Keeps who the endpoints of all clusters are; see the module for what it promises.
///
/// # Examples
/// ```
/// use tidegate_policy::{
///     membership::{FeedParser, Limits, Membership, Progress},
///     units::WallTime,
/// };
///
/// let answer = br#"{"version": 1, "clusters": [
///     {"name": "echo", "endpoints": [{"address": "10.0.0.1:80"}]}]}"#;
/// let now = WallTime::from_seconds(1_700_000_000);
/// let mut membership = Membership::new(Limits::default());
/// let mut parser = FeedParser::new();
/// // One slice per tick; the answer must stay the same until the parser is done with it.
/// loop {
///     match parser.advance(answer, 64) {
///         Progress::More { .. } => continue,
///         Progress::Done(listings) => {
///             let change = membership.apply("echo", &listings, now)?;
///             assert_eq!(change.added, 1);
///         }
///         Progress::Refused(_) => membership.on_refused("echo", now),
///     }
///     break;
/// }
/// assert_eq!(membership.cluster("echo").map(|echo| echo.present()), Some(1));
/// # Ok::<(), tidegate_policy::membership::NotApplied>(())
/// ```
#[derive(Debug)]
pub struct Membership {
    limits: Limits,
    clusters: BTreeMap<String, Cluster>,
    latest: WallTime,
    totals: Totals,
}

impl Membership {
    /// Starts without knowing anybody. Limits above the crate's caps are the caps.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits: Limits {
                clusters: limits.clusters.min(MAX_CLUSTERS),
                endpoints: limits.endpoints.min(MAX_ENDPOINTS),
                ..limits
            },
            clusters: BTreeMap::new(),
            latest: WallTime::default(),
            totals: Totals::default(),
        }
    }

    /// Finds a cluster; `None` means that nothing is known about it.
    #[must_use]
    pub fn cluster(&self, name: &str) -> Option<&Cluster> {
        self.clusters.get(name)
    }

    /// Goes through the clusters, ordered by name.
    pub fn clusters(&self) -> impl ExactSizeIterator<Item = (&str, &Cluster)> {
        self.clusters
            .iter()
            .map(|(name, cluster)| (name.as_str(), cluster))
    }

    /// Is what was counted.
    #[must_use]
    pub const fn totals(&self) -> Totals {
        self.totals
    }

    /// Applies the answer to a question for one cluster; an empty listing needs a second one.
    ///
    /// A feed answers for all clusters at once: give it one listing at a time
    /// (`core::slice::from_ref`), and none for a cluster that it lacks. The same goes for a static
    /// list, which is applied once and whose age means nothing.
    ///
    /// Cost: O(n log n) in the cluster's endpoints.
    ///
    /// # Errors
    /// No listing of `asked`: `Absent`. One of another cluster besides or instead: `OtherCluster`.
    /// No endpoints at once: `EmptyUnconfirmed`. A limit: `TooManyClusters`, `TooManyEndpoints`.
    pub fn apply(
        &mut self,
        asked: &str,
        answer: &[Listing],
        now: WallTime,
    ) -> Result<Change, NotApplied> {
        self.observe(now);
        let applied = self.try_apply(asked, answer, now);
        match applied {
            Ok(_) => self.totals.applied = self.totals.applied.saturating_add(1),
            Err(_) => self.refuse(asked),
        }
        applied
    }

    /// Counts an answer that never became a listing: refused by a parser, an error, none at all.
    pub fn on_refused(&mut self, asked: &str, now: WallTime) {
        self.observe(now);
        self.refuse(asked);
    }

    /// Learns that an endpoint served a request. Where a listing was applied before, that one rules
    /// and nothing is learned.
    ///
    /// Cost: O(log n) for a known one, O(clusters) for a new one, O(n) at the limit, where the
    /// cluster's one that served least recently makes room.
    ///
    /// # Errors
    /// No room for another cluster: `TooManyClusters`. The other clusters have all the room for
    /// endpoints: `TooManyEndpoints`.
    pub fn learn(
        &mut self,
        name: &str,
        address: SocketAddr,
        now: WallTime,
    ) -> Result<(), NotApplied> {
        self.observe(now);
        if let Some(cluster) = self.clusters.get_mut(name) {
            if cluster.listed_at.is_some() {
                return Ok(());
            }
            if let Some(member) = cluster.members.get_mut(&address) {
                member.last_seen = member.last_seen.max(now);
                return Ok(());
            }
        }
        let is_full = self.present_elsewhere(None) >= self.limits.endpoints;
        if is_full && !self.clusters.contains_key(name) {
            return Err(NotApplied::TooManyEndpoints);
        }
        let cluster = room(&mut self.clusters, self.limits.clusters, name)?;
        if is_full {
            let known = cluster.members.iter();
            let oldest = known
                .map(|(address, member)| (member.last_seen, *address))
                .min();
            let Some((_, oldest)) = oldest else {
                return Err(NotApplied::TooManyEndpoints);
            };
            cluster.members.remove(&oldest);
            self.totals.evicted = self.totals.evicted.saturating_add(1);
        }
        cluster.generation = cluster.generation.saturating_add(1);
        let member = Member {
            listed: Listed::default(),
            presence: Presence::Learned,
            generation: cluster.generation,
            first_seen: now,
            last_seen: now,
            last_absent: None,
        };
        cluster.members.insert(address, member);
        cluster.listed = cluster.members.len();
        Ok(())
    }

    /// Takes over what a former leader published of a cluster: its last good listing was applied at
    /// `listed_at` (`None`: its endpoints were learned), `generation` was its youngest. Every member comes with the name of its zone.
    ///
    /// A cluster that is known already stays as it is. Members beyond the limit are left out, those
    /// that come last; so are generations above `generation`. `now` bounds what lies in the future.
    ///
    /// # Errors
    /// There are as many clusters as there may be: `TooManyClusters`.
    pub fn restore<'m>(
        &mut self,
        name: &str,
        generation: u64,
        listed_at: Option<WallTime>,
        members: impl IntoIterator<Item = (SocketAddr, &'m str, Member)>,
        now: WallTime,
    ) -> Result<(), NotApplied> {
        self.observe(now);
        if self.clusters.contains_key(name) {
            return Ok(());
        }
        let room_for = self
            .limits
            .endpoints
            .saturating_sub(self.present_elsewhere(None));
        let cluster = room(&mut self.clusters, self.limits.clusters, name)?;
        cluster.generation = generation;
        cluster.listed_at = listed_at;
        for (address, zone, mut member) in members.into_iter().take(room_for) {
            if member.generation > generation {
                continue;
            }
            member.listed.zone = cluster.zones.id(zone).unwrap_or_default();
            cluster.members.insert(address, member);
        }
        let present = cluster.members.values();
        cluster.listed = present
            .filter(|member| !matches!(member.presence, Presence::Vanished { .. }))
            .count();
        cluster.on_tick(&self.limits, now);
        Ok(())
    }

    /// Forgets whoever has drained, and learned endpoints that were not seen for long.
    ///
    /// It returns how many: where it is not 0, what was published of the clusters is out of date.
    ///
    /// Cost: O(all endpoints). A step back of the clock lengthens no window by more than itself
    /// plus one window: what lies in the future is moved to `now`.
    pub fn on_tick(&mut self, now: WallTime) -> usize {
        self.observe(now);
        self.clusters.values_mut().fold(0, |forgotten, cluster| {
            forgotten.saturating_add(cluster.on_tick(&self.limits, now))
        })
    }

    /// Forgets clusters that `keep` denies: those that no configuration names any more.
    pub fn retain_clusters(&mut self, keep: impl Fn(&str) -> bool) {
        self.clusters.retain(|name, _| keep(name));
    }

    fn try_apply(
        &mut self,
        asked: &str,
        answer: &[Listing],
        now: WallTime,
    ) -> Result<Change, NotApplied> {
        if answer.iter().any(|listing| listing.cluster != asked) {
            return Err(NotApplied::OtherCluster);
        }
        let listing = answer.first().ok_or(NotApplied::Absent)?;
        let elsewhere = self.present_elsewhere(Some(asked));
        if elsewhere.saturating_add(listing.endpoints.len()) > self.limits.endpoints {
            return Err(NotApplied::TooManyEndpoints);
        }
        let vanished_elsewhere = self.clusters.iter().filter(|(name, _)| *name != asked);
        let vanished_elsewhere = vanished_elsewhere.fold(0_usize, |sum, (_, cluster)| {
            sum.saturating_add(cluster.members.len().saturating_sub(cluster.listed))
        });
        let cluster = room(&mut self.clusters, self.limits.clusters, asked)?;
        if listing.endpoints.is_empty() {
            cluster.confirm_empty(self.limits.empty_confirmation, now)?;
        }
        let change = cluster.apply(listing, now);
        let room = self.limits.endpoints.saturating_sub(vanished_elsewhere);
        let evicted = u64::try_from(cluster.evict_vanished(room)).unwrap_or(u64::MAX);
        self.totals.evicted = self.totals.evicted.saturating_add(evicted);
        Ok(change)
    }

    /// Is how many endpoints the clusters other than `name` have.
    fn present_elsewhere(&self, name: Option<&str>) -> usize {
        let others = self.clusters.iter();
        let others = others.filter(|(other, _)| Some(other.as_str()) != name);
        others.fold(0, |sum, (_, cluster)| sum.saturating_add(cluster.listed))
    }

    fn refuse(&mut self, asked: &str) {
        self.totals.refused = self.totals.refused.saturating_add(1);
        if let Some(cluster) = self.clusters.get_mut(asked) {
            cluster.refused = cluster.refused.saturating_add(1);
        }
    }

    fn observe(&mut self, now: WallTime) {
        if now < self.latest {
            self.totals.clock_regressions = self.totals.clock_regressions.saturating_add(1);
        }
        self.latest = now;
    }
}

/// Finds a cluster or makes it.
fn room<'c>(
    clusters: &'c mut BTreeMap<String, Cluster>,
    limit: usize,
    name: &str,
) -> Result<&'c mut Cluster, NotApplied> {
    if !clusters.contains_key(name) && clusters.len() >= limit {
        return Err(NotApplied::TooManyClusters);
    }
    Ok(clusters.entry(String::from(name)).or_default())
}
