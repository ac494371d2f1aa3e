//! When which endpoint is asked, and what its answers make of it, in virtual time.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;
use tidegate_policy::{
    digest::xxh64,
    probe::{
        Announcement, Answer, Change, Config, Failure, Full, MAX_ENDPOINTS, Outcome, Probe, Prober,
        Start, Ticket, Traffic, Verdict,
    },
    units::WallTime,
};

const TICK_MS: u64 = 250;
const UNPROVEN: Verdict = Verdict::Unproven { available: true };
const FAILED: Outcome = Outcome::Failure(Failure::Status);
const YEAR_MS: u64 = 365 * 86_400_000;

/// Is a prober with a clock and draws of its own.
struct World {
    prober: Prober<u32>,
    now_ms: u64,
    draws: u64,
}

impl World {
    fn new(config: &str) -> Self {
        Self {
            prober: Prober::new(Config::parse(config).unwrap()),
            now_ms: 1_700_000_000_000,
            draws: 0,
        }
    }

    /// Has these endpoints, all added at once.
    fn with(config: &str, endpoints: u32) -> Self {
        let mut world = Self::new(config);
        for key in 0..endpoints {
            world.add(key, Start::New).unwrap();
        }
        world
    }

    const fn now(&self) -> WallTime {
        WallTime::from_ns(self.now_ms * 1_000_000)
    }

    fn draw(&mut self) -> u64 {
        self.draws += 1;
        xxh64(&self.draws.to_le_bytes(), 7)
    }

    fn add(&mut self, key: u32, start: Start) -> Result<(), Full> {
        let draw = self.draw();
        self.prober.add(key, start, self.now(), draw)
    }

    /// Lets a tick's time pass, then ticks.
    fn tick(&mut self) -> (Vec<Probe<u32>>, Vec<Change<u32>>) {
        self.now_ms += TICK_MS;
        self.tick_now()
    }

    fn tick_now(&mut self) -> (Vec<Probe<u32>>, Vec<Change<u32>>) {
        let (now, before) = (self.now(), self.draws);
        let mut draws = self.draws;
        let tick = self.prober.tick(now, || {
            draws += 1;
            xxh64(&draws.to_le_bytes(), 7)
        });
        self.draws = draws;
        let used = usize::try_from(draws - before).unwrap();
        assert_eq!(used, tick.probes.len(), "one draw for each probe");
        (tick.probes, tick.timed_out)
    }

    fn answer_as(
        &mut self,
        ticket: Ticket,
        outcome: Outcome,
        instance: Announcement,
    ) -> Option<Change<u32>> {
        let now = self.now();
        self.prober
            .on_answer(ticket, Answer { outcome, instance }, now)
    }

    fn answer(&mut self, ticket: Ticket, outcome: Outcome) -> Option<Change<u32>> {
        self.answer_as(ticket, outcome, Announcement::Absent)
    }

    /// Ticks until the only endpoint is probed.
    fn next_probe(&mut self) -> Ticket {
        loop {
            if let Some(probe) = self.tick().0.first() {
                return probe.ticket;
            }
        }
    }

    /// Answers the next probe of the only endpoint, and hands out the verdict.
    fn probed(&mut self, outcome: Outcome) -> Verdict {
        let ticket = self.next_probe();
        self.answer(ticket, outcome).unwrap().after
    }

    fn verdict(&self) -> Verdict {
        self.prober.verdict(&0).unwrap()
    }
}

#[test]
fn endpoint_is_unhealthy_after_three_failures_and_healthy_after_two_successes() {
    let mut world = World::with("{}", 1);
    let outcomes = [
        Outcome::Success,
        Outcome::Success,
        FAILED,
        FAILED,
        FAILED,
        Outcome::Success,
    ];
    let verdicts = outcomes.map(|outcome| world.probed(outcome));
    let (healthy, unhealthy) = (Verdict::Healthy, Verdict::Unhealthy);
    assert_eq!(
        verdicts,
        [UNPROVEN, healthy, healthy, healthy, unhealthy, unhealthy]
    );
    assert_eq!(world.probed(Outcome::Success), healthy);
}

#[test]
fn initial_setting_says_what_an_unproven_endpoint_counts_as() {
    for (config, available) in [("{}", true), ("{\"initial\": \"unhealthy\"}", false)] {
        let mut world = World::with(config, 1);
        assert_eq!(world.verdict().is_available(), available);
        assert_eq!(world.probed(Outcome::Success).is_available(), available);
        assert!(world.probed(Outcome::Success).is_available());
    }
}

/// A failure of readiness is noticed within 16 s of the first failing answer: two gaps of at most
/// 5.5 s and a tick each, and a timeout of 3 s with a second of grace and a tick.
#[test]
fn silent_endpoint_is_unhealthy_within_sixteen_seconds_of_its_first_silence() {
    for seed in 0..200 {
        let mut world = World::new("{}");
        world.draws = seed * 1000;
        world.add(0, Start::Known(Verdict::Healthy, None)).unwrap();
        world.next_probe();
        let first_ms = world.now_ms;
        while world.verdict() == Verdict::Healthy {
            world.tick();
        }
        let took_ms = world.now_ms - first_ms;
        assert!((10_000..=16_000).contains(&took_ms), "{took_ms}");
    }
}

#[test]
fn draining_endpoint_is_drained_at_its_deadline_and_not_before() {
    let mut world = World::with("{}", 1);
    world.probed(Outcome::Success);
    let verdict = world.probed(Outcome::Draining { seconds: 2 });
    assert_eq!(
        verdict,
        Verdict::Draining {
            remaining: Duration::from_secs(2)
        }
    );
    assert!(!verdict.is_available());
    for _ in 0..7 {
        world.tick();
    }
    let last = Duration::from_millis(TICK_MS);
    assert_eq!(world.verdict(), Verdict::Draining { remaining: last });
    world.tick();
    assert_eq!(world.verdict(), Verdict::Drained);
    let ticket = world.next_probe();
    let change = world.answer(ticket, FAILED).unwrap();
    assert_eq!(
        (change.before, change.after),
        (Verdict::Drained, Verdict::Unhealthy)
    );
}

/// p = 1/20 for each of the 20 ticks of an interval, n = 2000: 100 ± 4·√(n·p·(1 − p)) = 100 ± 39.
#[test]
fn first_probes_are_spread_over_the_interval() {
    let mut world = World::with("{\"probes_per_tick\": 1024}", 2000);
    let counts: Vec<usize> = (0..20).map(|_| world.tick().0.len()).collect();
    assert_eq!(counts.iter().sum::<usize>(), 2000);
    assert!(
        counts.iter().all(|count| count.abs_diff(100) <= 39),
        "{counts:?}"
    );
}

#[test]
fn endpoint_is_probed_once_per_interval_at_most_and_every_interval_and_a_tenth_at_least() {
    let mut world = World::with("{}", 50);
    let mut last = BTreeMap::new();
    let mut gaps_ms = Vec::new();
    for _ in 0..4 * 600 {
        let (probes, _) = world.tick();
        for probe in probes {
            if let Some(before) = last.insert(probe.key, world.now_ms) {
                gaps_ms.push(world.now_ms - before);
            }
            world.answer(probe.ticket, Outcome::Success).unwrap();
        }
    }
    let (least, most) = (
        *gaps_ms.iter().min().unwrap(),
        *gaps_ms.iter().max().unwrap(),
    );
    assert!(least >= 5000 && most <= 5500 + TICK_MS, "{least} {most}");
    // Jitter from 0 to 500 ms, seen at the next tick of 250 ms: half of the gaps are 5.25 s and half 5.5 s.
    let longer = gaps_ms.iter().filter(|gap_ms| **gap_ms == 5500).count();
    let (longer, total) = (longer as f64, gaps_ms.len() as f64);
    assert!(
        (longer - total / 2.0).abs() <= 4.0 * (total / 4.0).sqrt(),
        "{longer} of {total}"
    );
    assert!(gaps_ms.len() >= 50 * 104, "{}", gaps_ms.len());
}

#[test]
fn overloaded_prober_asks_everybody_once_before_anybody_twice() {
    let mut world = World::with("{\"probes_per_tick\": 3}", 1000);
    world.now_ms += 10_000;
    let mut asked = BTreeMap::new();
    for tick in 1..=1000_u32 {
        let (probes, _) = world.tick();
        assert_eq!(probes.len(), 3);
        for probe in probes {
            *asked.entry(probe.key).or_insert(0) += 1;
            world.answer(probe.ticket, Outcome::Success).unwrap();
        }
        let most = *asked.values().max().unwrap();
        if asked.len() < 1000 {
            assert_eq!(most, 1, "tick {tick}");
        } else {
            // Jitter lets those who were asked within half a second of each other change places.
            let least = *asked.values().min().unwrap();
            assert!(most - least <= 2, "tick {tick}: {least} to {most}");
        }
    }
    assert_eq!(asked.len(), 1000);
}

#[test]
fn endpoint_has_one_probe_outstanding_until_it_is_given_up() {
    let mut world = World::with("{}", 1);
    let ticket = world.next_probe();
    // 3 s and the grace of 1 s.
    for _ in 0..15 {
        assert_eq!(world.tick(), (vec![], vec![]));
        assert_eq!(world.prober.outstanding(), 1);
    }
    let (probes, timed_out) = world.tick();
    assert!(probes.is_empty());
    assert_eq!(timed_out[0].outcome, Outcome::Failure(Failure::Timeout));
    assert_eq!(world.prober.outstanding(), 0);
    assert_eq!(world.answer(ticket, Outcome::Success), None);
    assert_eq!(world.prober.counters().late_answers, 1);
}

#[test]
fn tick_gives_up_no_more_probes_than_it_may_start() {
    let mut world = World::with("{\"probes_per_tick\": 4}", 10);
    let started: usize = (0..15).map(|_| world.tick().0.len()).sum();
    world.now_ms += 60_000;
    let (probes, timed_out) = world.tick_now();
    assert_eq!((probes.len(), timed_out.len()), (4, 4));
    let (_, left) = world.tick_now();
    assert!(started > 4, "{started}");
    assert_eq!(left.len(), (started - 4).min(4));
}

#[test]
fn answer_is_taken_once_and_only_of_members() {
    let mut world = World::with("{}", 1);
    let ticket = world.next_probe();
    assert!(world.answer(ticket, Outcome::Success).is_some());
    assert!(world.answer(ticket, Outcome::Success).is_none());
    let ticket = world.next_probe();
    assert!(world.prober.remove(&0));
    assert!(!world.prober.remove(&0));
    assert!(world.answer(ticket, FAILED).is_none());
    assert_eq!(world.prober.counters().late_answers, 2);
    world.add(0, Start::New).unwrap();
    let ticket = world.next_probe();
    world.add(0, Start::New).unwrap();
    assert!(world.answer(ticket, FAILED).is_none());
    assert_eq!((world.prober.len(), world.prober.outstanding()), (1, 0));
}

#[test]
fn endpoint_that_is_added_again_begins_again() {
    let mut world = World::with("{}", 1);
    world.probed(Outcome::Draining { seconds: 60 });
    world.add(0, Start::New).unwrap();
    assert_eq!(world.verdict(), UNPROVEN);
}

#[test]
fn probe_that_was_not_sent_says_nothing_about_the_endpoint() {
    let mut world = World::with("{}", 1);
    for _ in 0..10 {
        let ticket = world.next_probe();
        assert!(world.prober.on_not_sent(ticket));
        assert!(!world.prober.on_not_sent(ticket));
    }
    assert_eq!(world.verdict(), UNPROVEN);
    assert_eq!(world.prober.counters().late_answers, 0);
}

#[test]
fn new_leader_goes_on_with_what_the_former_published() {
    let draining = Verdict::Draining {
        remaining: Duration::from_secs(9),
    };
    for verdict in [
        UNPROVEN,
        Verdict::Healthy,
        Verdict::Unhealthy,
        Verdict::Drained,
        draining,
    ] {
        let mut world = World::new("{}");
        world.add(0, Start::Known(verdict, Some(5))).unwrap();
        let listed: Vec<_> = world.prober.verdicts().collect();
        assert_eq!(listed, [(&0, verdict, Some(5))]);
    }
    let mut world = World::new("{}");
    let remaining = Duration::MAX;
    world
        .add(0, Start::Known(Verdict::Draining { remaining }, None))
        .unwrap();
    let remaining = Duration::from_secs(3600);
    assert_eq!(world.verdict(), Verdict::Draining { remaining });
}

#[test]
fn endpoint_that_announces_another_instance_is_another_one() {
    let mut world = World::with("{}", 1);
    let mut say = |outcome, digest| {
        let ticket = world.next_probe();
        let change = world
            .answer_as(ticket, outcome, Announcement::Digest(digest))
            .unwrap();
        (change.after, change.replaced)
    };
    let success = Outcome::Success;
    assert_eq!(say(success, 1), (UNPROVEN, false));
    assert_eq!(say(success, 1), (Verdict::Healthy, false));
    assert_eq!(say(success, 2), (UNPROVEN, true));
    assert_eq!(say(success, 2), (Verdict::Healthy, false));
    say(Outcome::Draining { seconds: 60 }, 2);
    assert_eq!(say(success, 3), (UNPROVEN, true));
    say(success, 3);
    // A random instance with each failure does not keep it healthy,
    assert_eq!(say(FAILED, 4), (Verdict::Healthy, true));
    assert_eq!(say(FAILED, 5), (Verdict::Healthy, true));
    assert_eq!(say(FAILED, 6), (Verdict::Unhealthy, true));
    // and an unhealthy one is not available before it has proven itself.
    assert_eq!(say(success, 7), (Verdict::Unhealthy, true));
    assert_eq!(say(success, 8), (Verdict::Unhealthy, true));
    assert_eq!(say(success, 8), (Verdict::Healthy, false));
    assert_eq!(world.prober.counters().replacements, 7);
    let ticket = world.next_probe();
    let change = world
        .answer_as(ticket, success, Announcement::Malformed)
        .unwrap();
    assert_eq!((change.instance, change.replaced), (Some(8), false));
    let malformed = Outcome::Failure(Failure::DrainMalformed);
    assert_eq!(world.probed(malformed), Verdict::Healthy);
    let counters = world.prober.counters();
    assert_eq!(
        (counters.malformed_instances, counters.malformed_drains),
        (1, 1)
    );
}

/// Answers the next probe and says how many whole intervals it came after the one before.
fn gap(world: &mut World, outcome: Outcome, traffic: Traffic) -> u64 {
    let before_ms = world.now_ms;
    world.prober.on_traffic(&0, traffic);
    let ticket = world.next_probe();
    world.answer(ticket, outcome).unwrap();
    (world.now_ms - before_ms) / 5000
}

#[test]
fn economy_asks_every_third_time_while_traffic_succeeds_and_never_less() {
    let succeeds = Traffic {
        succeeded: true,
        failed: false,
    };
    let fails = Traffic {
        succeeded: true,
        failed: true,
    };
    let mut world = World::with("{\"probe_economy\": true}", 1);
    gap(&mut world, Outcome::Success, succeeds);
    let gaps: Vec<u64> = (0..6)
        .map(|_| gap(&mut world, Outcome::Success, succeeds))
        .collect();
    // The first success leaves it unproven.
    assert_eq!(gaps, [1, 2, 3, 3, 3, 3]);
    // A failure of traffic brings the interval back at once.
    assert_eq!(gap(&mut world, Outcome::Success, fails), 1);
    assert_eq!(gap(&mut world, Outcome::Success, succeeds), 1);
    assert_eq!(gap(&mut world, Outcome::Success, succeeds), 2);
    // So does a failure of the probe, for all that follow.
    assert_eq!(gap(&mut world, FAILED, succeeds), 3);
    assert_eq!(gap(&mut world, Outcome::Success, succeeds), 1);
    // Without traffic the stretch ends with the next answer.
    assert_eq!(gap(&mut world, Outcome::Success, Traffic::default()), 2);
    assert_eq!(gap(&mut world, Outcome::Success, Traffic::default()), 1);
    let mut world = World::with("{}", 1);
    gap(&mut world, Outcome::Success, succeeds);
    assert!((0..6).all(|_| gap(&mut world, Outcome::Success, succeeds) == 1));
    world.prober.on_traffic(&99, fails);
}

#[test]
fn clock_that_stands_still_starts_nothing_and_loses_no_answer() {
    let mut world = World::with("{}", 1);
    let ticket = world.next_probe();
    for _ in 0..1000 {
        assert_eq!(world.tick_now(), (vec![], vec![]));
    }
    assert!(world.answer(ticket, Outcome::Success).is_some());
    assert_eq!(world.prober.counters().clock_regressions, 0);
}

#[test]
fn clock_that_steps_back_costs_one_tick_and_is_counted() {
    let mut world = World::with("{}", 1);
    world.probed(Outcome::Success);
    let verdict = world.probed(Outcome::Draining { seconds: 60 });
    world.now_ms -= YEAR_MS;
    world.tick_now();
    assert_eq!(world.verdict(), verdict);
    assert_eq!(world.prober.counters().clock_regressions, 1);
    let from_ms = world.now_ms;
    world.next_probe();
    assert!(world.now_ms - from_ms <= 5500 + TICK_MS);
}

#[test]
fn clock_that_jumps_a_year_is_one_failure_at_most_and_a_bounded_tick() {
    let mut world = World::with("{}", 500);
    for _ in 0..8 {
        world.tick();
    }
    let outstanding = world.prober.outstanding();
    assert!(outstanding > 100, "{outstanding}");
    world.now_ms += YEAR_MS;
    let mut given_up = 0;
    for _ in 0..40 {
        let (probes, timed_out) = world.tick_now();
        assert!(probes.len() <= 64 && timed_out.len() <= 64);
        assert!(timed_out.iter().all(|change| change.after == UNPROVEN));
        given_up += timed_out.len();
    }
    assert_eq!((given_up, world.prober.outstanding()), (outstanding, 500));
}

#[test]
fn prober_takes_its_cap_and_no_more() {
    let cap = u32::try_from(MAX_ENDPOINTS).unwrap();
    let mut world = World::with("{}", cap);
    assert_eq!(world.add(cap, Start::New), Err(Full));
    assert_eq!(world.add(0, Start::New), Ok(()));
    assert_eq!(world.prober.len(), MAX_ENDPOINTS);
    world.prober.remove(&1);
    assert_eq!(world.add(cap, Start::New), Ok(()));
}

#[test]
fn churn_leaves_the_prober_where_it_began() {
    let mut world = World::with("{}", 10);
    for round in 0..100_000_u32 {
        world.add(10 + round, Start::New).unwrap();
        if round % 8 == 0 {
            world.tick();
        }
        if round >= 50 {
            assert!(world.prober.remove(&(10 + round - 50)));
        }
        assert!(world.prober.outstanding() <= world.prober.len());
    }
    assert_eq!(world.prober.len(), 60);
    for key in 100_000..100_010 {
        world.prober.remove(&key);
    }
    for key in (0..10).chain(99_960..100_010) {
        world.prober.remove(&key);
    }
    assert!(world.prober.is_empty());
    assert_eq!(
        (world.prober.outstanding(), world.prober.next_work()),
        (0, None)
    );
}

#[test]
fn next_work_says_when_the_next_tick_has_something_to_do() {
    let mut world = World::with("{}", 20);
    for _ in 0..200 {
        let wait = world.prober.next_work().unwrap();
        let expected = wait <= Duration::from_millis(TICK_MS);
        let (probes, timed_out) = world.tick();
        assert_eq!(!probes.is_empty() || !timed_out.is_empty(), expected);
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Add(u8),
    Answer(u8, u8),
    NotSent(u8),
    Remove(u8),
    Tick(u16),
    Back(u16),
    Traffic(u8, bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => any::<u8>().prop_map(|key| Step::Add(key % 12)),
        6 => (any::<u8>(), any::<u8>()).prop_map(|(probe, what)| Step::Answer(probe, what)),
        1 => any::<u8>().prop_map(Step::NotSent),
        1 => any::<u8>().prop_map(|key| Step::Remove(key % 12)),
        8 => (0_u16..3000).prop_map(Step::Tick),
        1 => any::<u16>().prop_map(Step::Back),
        2 => (any::<u8>(), any::<bool>()).prop_map(|(key, failed)| Step::Traffic(key % 12, failed)),
    ]
}

proptest! {
    /// Whatever happens: one probe per member, none for others, never two within an interval of
    /// passed time, and everybody is asked in the end.
    #[test]
    fn member_is_probed_and_never_too_often(
        steps in prop::collection::vec(step(), 1..150),
        economy in any::<bool>(),
    ) {
        let config = format!("{{\"probe_economy\": {economy}, \"probes_per_tick\": 3}}");
        let mut world = World::new(&config);
        let mut members = BTreeMap::<u32, Option<u64>>::new();
        let mut waiting = Vec::<Probe<u32>>::new();
        let mut passed_ms = 0_u64;
        for step in steps {
            match step {
                Step::Add(key) => {
                    world.add(key.into(), Start::New).unwrap();
                    members.insert(key.into(), None);
                    waiting.retain(|probe| probe.key != u32::from(key));
                }
                Step::Answer(probe, what) => {
                    if waiting.is_empty() {
                        continue;
                    }
                    let probe = waiting.remove(usize::from(probe) % waiting.len());
                    let outcome = match what % 4 {
                        0 => FAILED,
                        1 => Outcome::Draining { seconds: u16::from(what) },
                        _ => Outcome::Success,
                    };
                    let instance = Announcement::Digest(u64::from(what % 16 / 8) + 1);
                    prop_assert!(world.answer_as(probe.ticket, outcome, instance).is_some());
                }
                Step::NotSent(probe) => {
                    if !waiting.is_empty() {
                        let probe = waiting.remove(usize::from(probe) % waiting.len());
                        prop_assert!(world.prober.on_not_sent(probe.ticket));
                    }
                }
                Step::Remove(key) => {
                    let was = members.remove(&key.into()).is_some();
                    prop_assert_eq!(world.prober.remove(&key.into()), was);
                    waiting.retain(|probe| probe.key != u32::from(key));
                }
                Step::Traffic(key, failed) => {
                    world.prober.on_traffic(&key.into(), Traffic { succeeded: true, failed });
                }
                Step::Back(by_ms) => {
                    world.now_ms -= u64::from(by_ms);
                    // The prober sees it with the next call that has a time.
                    let (probes, timed_out) = world.tick_now();
                    for change in timed_out {
                        waiting.retain(|probe| probe.key != change.key);
                    }
                    waiting.extend(probes);
                    for probe in &waiting {
                        members.insert(probe.key, None);
                    }
                }
                Step::Tick(by_ms) => {
                    world.now_ms += u64::from(by_ms);
                    passed_ms += u64::from(by_ms);
                    let (probes, timed_out) = world.tick_now();
                    for change in timed_out {
                        let before = waiting.len();
                        waiting.retain(|probe| probe.key != change.key);
                        prop_assert_eq!(waiting.len() + 1, before);
                    }
                    for probe in probes {
                        prop_assert!(waiting.iter().all(|other| other.key != probe.key));
                        let last = members.insert(probe.key, Some(passed_ms));
                        prop_assert!(last.is_some(), "no member");
                        if let Some(Some(last)) = last {
                            prop_assert!(passed_ms - last >= 5000, "{} {}", last, passed_ms);
                        }
                        waiting.push(probe);
                    }
                }
            }
            prop_assert_eq!(world.prober.len(), members.len());
            prop_assert_eq!(world.prober.outstanding(), waiting.len());
        }
        // Three intervals and a tenth, a timeout with its grace, and their ticks.
        let mut asked = BTreeMap::new();
        for _ in 0..4 * 22 {
            for probe in world.tick().0 {
                asked.insert(probe.key, ());
            }
        }
        prop_assert_eq!(asked.len(), members.len());
    }
}
