//! Picks the endpoint of one request: of two at random the one that stands better, or else the one
//! with the lower load.
//!
//! Why: the lowest of all would be the lowest for every worker at once, and all would go there; two
//! at random are nearly as good and never agree on one. It is also all the same how many there are.
//! Model: of two the fitter one is taken; of equally fit ones the one that did not fail lately; of
//! these the one with the lower load. An endpoint that fails in a millisecond has nothing under way
//! and the lowest load of all. One that is slow is no reason to spare another: above twice the mean
//! the load decides. Where both failed lately, up to [`FURTHER`] more are drawn, and the
//! first that did not is taken; where all did, the two are compared as if none had.
//! Fitness differs in panic only, as candidates are chosen. Of `N` of which a share `a` is fit these
//! get `1 − (1 − a)²` of the requests, more or less `a/N`: three quarters at a half, a fifth at a
//! tenth, and the others never nothing.
//! `load = estimate · (in_flight / weight + 1) / factor`, where `weight` is relative to the
//! mean and `factor` is the slow start's (or the drain's), relative to the largest. `estimate` is
//! the larger of the average of peaks and the age of the oldest request, at least 10 µs. With all
//! weights alike the two are distinct and uniform; otherwise each is drawn by weight, and may be the
//! same one twice. This is what one gets from as many equal endpoints as the weight says behind one
//! address: shares of equally fast ones follow the weights, idle or under load.
//! A newcomer (factor below 1) that is drawn first and did not fail lately is taken outright with probability `factor`, so
//! that it is picked with probability factor/N whatever its load; but only up to three times its
//! share `factor × mean` of the requests under way, or 8 by all workers, if that is more. While
//! nobody has a sample of it, up to 6 by all workers, if it is at most 10 times as slow as the mean.
//! Of several zones the own one's endpoints are compared, then `zones` decides.
//! Inputs / Output: candidates, prepared on a tick; what is seen of an endpoint now; three draws.
//! A seat, the reason, and the loads that were compared.
//! Cold start: an endpoint without an estimate is worth the mean of those that have one, 1 ms where
//! none has: the requests under way decide.
//! Limits: ties go to the one that was drawn first, so that equals are picked alike. Draws are
//! multiplied, not divided: an index is off from uniform by less than N/2^64. Loads are finite; at
//! a factor of 0 an endpoint is no candidate.
//! Scope: per worker VM. Cost: O(1) for a pick, at most four looks, and eight more where endpoints
//! failed; O(N) to prepare, without allocation once N was reached; 64 bytes for each candidate, 24
//! more where weights differ.
//! Source: M. Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001; draws by
//! weight after A. J. Walker's alias method, 1977. Differs from `(in_flight + 1) / weight`: with
//! that, the heavier of two idle endpoints would always win.

mod draw;

use core::{cmp::Ordering, num::NonZeroU32};

use super::{
    in_flight::Seat,
    zones::{Spill, Zone},
};
use crate::panic_mode::Fitness;
use draw::{Drawn, Group, scaled};

/// Is how many draws a pick takes, whatever it uses of them.
pub const DRAWS: usize = 3;

/// Is the least estimate in nanoseconds. Below it differences say nothing; without it the one of
/// two long idle endpoints that was slower an hour ago would take all of a burst.
const MIN_ESTIMATE_NS: f64 = 10_000.0;

/// Is the largest estimate in nanoseconds: 584 years, all that the clock can hold.
const MAX_ESTIMATE_NS: f64 = 1.9e19;

/// Is the least factor of a candidate. What drains with less than a millionth of its share has
/// none; loads would not be finite either.
const MIN_FACTOR: f64 = 1e-6;

/// Is what endpoints are worth before anybody was sampled: any number is as good.
const NO_ESTIMATE_NS: f64 = 1_000_000.0;

/// Is how many requests a newcomer may have under way by outright picks of all workers, where its
/// share of all requests under way is less. Fewer starve one that is slow at first.
const OUTRIGHT: f64 = 8.0;

/// Is the same while nobody has a sample of it: this many may find out how slow it is.
const OUTRIGHT_UNPROVEN: f64 = 6.0;

/// Is how many times slower than the mean a newcomer of which nobody has a sample may be without
/// having more under way than [`OUTRIGHT_UNPROVEN`].
const UNPROVEN_SLOWNESS: f64 = 10.0;

/// Is how many times its share of the requests under way a newcomer may have by outright picks: one
/// that is three times as slow as the others still gets all of its share of the requests.
const OUTRIGHT_SHARES: f64 = 3.0;

/// Is how many more are drawn where both of two failed lately. With three of ten that fail, one
/// request in 15 draws two of them, and one in 1800 six.
pub const FURTHER: usize = 4;

/// Is how many times as slow as one that failed, or as the mean, another may be and still be taken
/// instead. Without a limit an endpoint that is slow takes the requests of all that fail now and
/// then: with one failure in a hundred, three times as many requests take over a second.
const SPARING_SLOWNESS: f64 = 2.0;

/// Is one endpoint that a request may go to.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// Is its place in the tables of the VM.
    pub seat: Seat,
    /// Is its weight among the candidates; 0 takes it out.
    pub weight: u32,
    /// Is the slow start's factor, or the drain's: 0 takes it out. Above 1 counts as 1.
    pub factor: f64,
    /// Says whether the factor is below 1 because it joined.
    pub newcomer: bool,
    /// Is whether it is near.
    pub zone: Zone,
    /// Says how it stands: the fittest are taken first.
    pub fitness: Fitness,
}

impl Candidate {
    /// Says whether it has a share at all.
    #[must_use]
    pub fn may_be_picked(&self) -> bool {
        self.weight > 0 && self.factor >= MIN_FACTOR
    }
}

/// Is what a VM sees of an endpoint at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sight {
    /// Is the average of peaks, decayed to now, in nanoseconds; `None` before the first sample.
    pub cost_ns: Option<f64>,
    /// Is the age of the oldest request under way, in nanoseconds; 0 where there is none.
    pub oldest_age_ns: f64,
    /// Is the number of requests under way.
    pub in_flight: u32,
    /// Says that it failed a moment ago, and did not succeed since.
    pub has_failed: bool,
}

impl Sight {
    /// Is how long an endpoint is thought to take; without a sample it is worth `default_ns`.
    fn estimate_ns(&self, default_ns: f64) -> f64 {
        // A number that is none is the smaller one.
        MIN_ESTIMATE_NS
            .max(self.oldest_age_ns)
            .max(self.cost_ns.unwrap_or(default_ns))
            .min(MAX_ESTIMATE_NS)
    }
}

/// Is what an endpoint was compared by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// Is the endpoint.
    pub seat: Seat,
    /// Is its estimate, in nanoseconds.
    pub estimate_ns: f64,
    /// Is the number of its requests under way.
    pub in_flight: u32,
    /// Is the load: the lower one wins, of those that stand alike.
    pub load: f64,
    /// Says how the endpoint stands.
    pub fitness: Fitness,
    /// Says that it failed a moment ago.
    pub has_failed: bool,
}

impl Load {
    /// Says why this one is taken before another: it stands better; `None` where it does not.
    /// `usual_ns` is the mean of the estimates.
    fn stands_before(&self, other: &Self, usual_ns: f64) -> Option<Reason> {
        match self.fitness.cmp(&other.fitness) {
            Ordering::Less => Some(Reason::Fitter),
            Ordering::Equal if self.has_failed || !other.has_failed => None,
            Ordering::Equal => {
                let slowest_ns = SPARING_SLOWNESS * other.estimate_ns.max(usual_ns);
                (self.estimate_ns <= slowest_ns).then_some(Reason::OtherFailed)
            }
            Ordering::Greater => None,
        }
    }

    /// Says why the first of two that were drawn is taken, or the second.
    fn compare(&self, second: &Self, usual_ns: f64) -> Compared {
        if let Some(reason) = self.stands_before(second, usual_ns) {
            return Compared::First(reason);
        }
        if let Some(reason) = second.stands_before(self, usual_ns) {
            return Compared::Second(reason);
        }
        if second.load < self.load {
            Compared::Second(Reason::LowerLoad)
        } else if self.load < second.load {
            Compared::First(Reason::LowerLoad)
        } else {
            Compared::First(Reason::Equal)
        }
    }
}

/// Is which of two is taken.
enum Compared {
    First(Reason),
    Second(Reason),
}

/// Says why an endpoint was picked.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Reason {
    /// Its load is the same as the other's, and it was drawn first.
    Equal,
    /// The other one is less fit.
    Fitter,
    /// Its load is lower than the other's.
    LowerLoad,
    /// It joined lately, and it was its turn.
    Newcomer,
    /// It was the only one, or was drawn twice.
    Only,
    /// The other one failed a moment ago.
    OtherFailed,
    /// The own zone is slower by the factor, and busier.
    OtherZone,
}

/// Is a decision with its numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use]
pub struct Picked {
    /// Is the endpoint, and what it was compared by.
    pub endpoint: Load,
    /// Is the one that lost; `None` where none was looked at.
    pub other: Option<Load>,
    /// Says why.
    pub reason: Reason,
}

/// Says why no endpoint was picked: the proxy balances.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NotPicked {
    /// No endpoint may take a request.
    NoCandidate,
}

/// Holds the endpoints that requests may go to, from one tick to the next.
#[derive(Clone, Debug)]
pub struct Candidates {
    own: Group,
    others: Group,
    spill: Spill,
    /// Is what an endpoint without an estimate is worth.
    default_ns: f64,
    /// Is what is usual: the mean of the estimates; without any nothing is slow.
    usual_ns: f64,
}

/// Is one candidate as it is compared: everything is relative.
#[derive(Clone, Copy, Debug)]
struct Prepared {
    seat: Seat,
    weight: f64,
    factor: f64,
    outright: Outright,
    fitness: Fitness,
}

/// Says when a newcomer is taken outright; never, by default.
#[derive(Clone, Copy, Debug, Default)]
struct Outright {
    /// Is the probability once it is drawn; and while it has no sample.
    chance: f64,
    unproven_chance: f64,
    /// Is how many requests it may have under way to be taken; and while it has no sample.
    below: f64,
    unproven_below: f64,
}

impl Outright {
    /// Takes a newcomer's factor, the mean number of requests under way, and how many workers
    /// decide alike without seeing each other's requests.
    fn new(factor: f64, mean_in_flight: f64, workers: f64) -> Self {
        let share = factor * mean_in_flight;
        // What would be under way at one that is as slow as it may be.
        let slow = (share * workers * UNPROVEN_SLOWNESS).max(OUTRIGHT_UNPROVEN);
        Self {
            chance: factor,
            unproven_chance: factor * OUTRIGHT_UNPROVEN / slow,
            // A worker has whole requests only: one at least.
            below: (OUTRIGHT_SHARES * share).max(OUTRIGHT / workers).max(1.0),
            unproven_below: (OUTRIGHT_UNPROVEN / workers).max(1.0),
        }
    }

    fn takes(&self, sight: &Sight, coin: f64) -> bool {
        let (chance, below) = match sight.cost_ns {
            Some(_) => (self.chance, self.below),
            None => (self.unproven_chance, self.unproven_below),
        };
        !sight.has_failed && coin < chance && f64::from(sight.in_flight) + 1.0 <= below
    }
}

impl Candidates {
    /// Starts without a candidate.
    #[must_use]
    pub const fn new(spill: Spill) -> Self {
        Self {
            own: Group::EMPTY,
            others: Group::EMPTY,
            spill,
            default_ns: NO_ESTIMATE_NS,
            usual_ns: f64::INFINITY,
        }
    }

    /// Takes the candidates until the next tick, and looks at each of them once.
    ///
    /// `workers` is how many VMs decide alike without seeing each other's requests, 1 where that is
    /// not known: what a newcomer has to bear is shared by them.
    pub fn prepare(
        &mut self,
        candidates: impl Iterator<Item = Candidate> + Clone,
        workers: NonZeroU32,
        look: impl Fn(Seat) -> Sight,
    ) {
        let candidates = candidates.filter(Candidate::may_be_picked);
        let workers = f64::from(workers.get());
        let mut sums = Sums::default();
        for candidate in candidates.clone() {
            sums.add(&candidate, look(candidate.seat));
        }
        let mean_ns = sums.mean_estimate_ns();
        self.default_ns = mean_ns.unwrap_or(NO_ESTIMATE_NS);
        self.usual_ns = mean_ns.unwrap_or(f64::INFINITY);
        self.own.clear();
        self.others.clear();
        for candidate in candidates {
            let factor = (candidate.factor.min(1.0) / sums.largest_factor).max(MIN_FACTOR);
            let is_newcomer = candidate.newcomer && factor < 1.0;
            let prepared = Prepared {
                seat: candidate.seat,
                weight: f64::from(candidate.weight) / sums.mean_weight(),
                factor,
                outright: if is_newcomer {
                    Outright::new(factor, sums.mean_in_flight(), workers)
                } else {
                    Outright::default()
                },
                fitness: candidate.fitness,
            };
            match candidate.zone {
                Zone::Own => self.own.push(prepared),
                Zone::Other => self.others.push(prepared),
            }
        }
        self.own.finish();
        self.others.finish();
    }

    /// Is the number of candidates.
    #[must_use]
    pub fn len(&self) -> usize {
        self.own.len().saturating_add(self.others.len())
    }

    /// Says whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Picks an endpoint. `look` is asked at most four times, where nobody failed lately.
    ///
    /// # Errors
    /// There is no candidate.
    pub fn pick(
        &self,
        look: impl Fn(Seat) -> Sight,
        draws: [u64; DRAWS],
    ) -> Result<Picked, NotPicked> {
        let [first, second, third] = draws;
        if self.own.is_empty() {
            // The other zones are the own one, then.
            let nearest = self.compare(&self.others, &look, [first, second]);
            return nearest.ok_or(NotPicked::NoCandidate);
        }
        let nearest = self
            .compare(&self.own, &look, [first, second])
            .ok_or(NotPicked::NoCandidate)?;
        if nearest.reason == Reason::Newcomer {
            return Ok(nearest);
        }
        let Some(other) = self.nearest_of_others(&look, third) else {
            return Ok(nearest);
        };
        let own = nearest.endpoint;
        if own.stands_before(&other, self.usual_ns).is_some() {
            return Ok(nearest);
        }
        let reason = match other.stands_before(&own, self.usual_ns) {
            Some(reason) => reason,
            None if self.spill.leaves(own, other) => Reason::OtherZone,
            None => return Ok(nearest),
        };
        Ok(Picked {
            endpoint: other,
            other: Some(own),
            reason,
        })
    }

    /// Compares two of the other zones, with one draw. One without a sample is worth nothing there.
    fn nearest_of_others(&self, look: &impl Fn(Seat) -> Sight, draw: u64) -> Option<Load> {
        let first = self.others.draw(draw)?;
        let load = load_of(first.candidate, look(first.candidate.seat), 0.0);
        let Some(second) = self.others.draw_second(&first, scaled(first.coin)) else {
            return Some(load);
        };
        let other = load_of(second, look(second.seat), 0.0);
        Some(match load.compare(&other, self.usual_ns) {
            Compared::First(_) => load,
            Compared::Second(_) => other,
        })
    }

    /// Compares two of a group; `None` where it is empty.
    fn compare(
        &self,
        group: &Group,
        look: &impl Fn(Seat) -> Sight,
        [first, second]: [u64; 2],
    ) -> Option<Picked> {
        let first = group.draw(first)?;
        let sight = look(first.candidate.seat);
        let load = load_of(first.candidate, sight, self.default_ns);
        if first.candidate.outright.takes(&sight, first.coin) {
            return Some(Picked {
                endpoint: load,
                other: None,
                reason: Reason::Newcomer,
            });
        }
        let picked = self.compare_with_second(group, look, &first, load, second);
        if !picked.endpoint.has_failed {
            return Some(picked);
        }
        let better = self.look_further(group, look, &picked.endpoint, second);
        Some(better.unwrap_or(picked))
    }

    fn compare_with_second(
        &self,
        group: &Group,
        look: &impl Fn(Seat) -> Sight,
        first: &Drawn<'_>,
        load: Load,
        draw: u64,
    ) -> Picked {
        let picked = |endpoint, other, reason| Picked {
            endpoint,
            other,
            reason,
        };
        let Some(second) = group.draw_second(first, draw) else {
            return picked(load, None, Reason::Only);
        };
        let other = load_of(second, look(second.seat), self.default_ns);
        match load.compare(&other, self.usual_ns) {
            Compared::First(reason) => picked(load, Some(other), reason),
            Compared::Second(reason) => picked(other, Some(load), reason),
        }
    }

    /// Looks for one that stands before an endpoint which failed lately, at a few more draws made
    /// of one: as uniform, so that nobody gets the requests of a whole row of failed ones.
    fn look_further(
        &self,
        group: &Group,
        look: &impl Fn(Seat) -> Sight,
        failed: &Load,
        draw: u64,
    ) -> Option<Picked> {
        let mut draw = draw;
        for _ in 0..FURTHER {
            draw = next_draw(draw);
            let further = group.draw(draw)?.candidate;
            let load = load_of(further, look(further.seat), self.default_ns);
            if let Some(reason) = load.stands_before(failed, self.usual_ns) {
                return Some(Picked {
                    endpoint: load,
                    other: Some(*failed),
                    reason,
                });
            }
        }
        None
    }
}

/// Makes a draw of a draw: a step of a linear congruential generator modulo 2^64, whose upper bits
/// are what is used.
const fn next_draw(draw: u64) -> u64 {
    draw.wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407)
}

/// Compares what is seen of a candidate; without an estimate it is worth `default_ns`.
fn load_of(candidate: &Prepared, sight: Sight, default_ns: f64) -> Load {
    let estimate_ns = sight.estimate_ns(default_ns);
    let queue = f64::from(sight.in_flight) / candidate.weight + 1.0;
    Load {
        seat: candidate.seat,
        estimate_ns,
        in_flight: sight.in_flight,
        load: estimate_ns * queue / candidate.factor,
        fitness: candidate.fitness,
        has_failed: sight.has_failed,
    }
}

/// Adds up what the candidates have in common.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    candidates: f64,
    weights: f64,
    largest_factor: f64,
    in_flight: f64,
    estimates_ns: f64,
    estimated: f64,
}

impl Sums {
    fn add(&mut self, candidate: &Candidate, sight: Sight) {
        self.candidates += 1.0;
        self.weights += f64::from(candidate.weight);
        self.largest_factor = self.largest_factor.max(candidate.factor.min(1.0));
        self.in_flight += f64::from(sight.in_flight);
        if sight.cost_ns.is_some() {
            self.estimates_ns += sight.estimate_ns(0.0);
            self.estimated += 1.0;
        }
    }

    fn mean_weight(&self) -> f64 {
        self.weights / self.candidates.max(1.0)
    }

    fn mean_in_flight(&self) -> f64 {
        self.in_flight / self.candidates.max(1.0)
    }

    fn mean_estimate_ns(&self) -> Option<f64> {
        (self.estimated > 0.0).then(|| self.estimates_ns / self.estimated)
    }
}
