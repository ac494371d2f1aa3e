//! What one VM decides about its report slot, and what a reader of all slots sees.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use tidegate_policy::{
    lease::{CREATE_CAS, CasMismatch},
    slots::{
        MAX_REPORT_BYTES, ReportTooLong, SLOTS, Sight, SlotClaim, SlotIndex, SlotReport, SlotStep,
        SlotTable, TickError,
    },
    units::WallTime,
};

fn at(ms: u64) -> WallTime {
    WallTime::from_ns((1_700_000_000_000 + ms) * 1_000_000)
}

fn index(number: usize) -> SlotIndex {
    SlotIndex::all().nth(number).unwrap()
}

/// Is the host's map.
#[derive(Default)]
struct Map {
    values: BTreeMap<SlotIndex, (Vec<u8>, u32)>,
    last_cas: u32,
    reads: usize,
}

impl Map {
    fn write(&mut self, index: SlotIndex, bytes: &[u8], cas: u32) -> Result<(), CasMismatch> {
        if let Some((_, version)) = self.values.get(&index)
            && *version != cas
        {
            return Err(CasMismatch);
        }
        self.put(index, bytes);
        Ok(())
    }

    /// Writes whatever was there, as a neighbour does.
    fn put(&mut self, index: SlotIndex, bytes: &[u8]) {
        self.last_cas += 1;
        self.values.insert(index, (bytes.to_vec(), self.last_cas));
    }

    fn decide(&mut self, claim: &mut SlotClaim, report: &[u8], now: WallTime) -> SlotStep {
        let read = |index| {
            self.reads += 1;
            Ok::<_, ()>(self.values.get(&index).cloned())
        };
        claim.on_tick(read, false, report, now).unwrap()
    }

    fn tick(&mut self, claim: &mut SlotClaim, report: &[u8], now: WallTime) -> SlotStep {
        let step = self.decide(claim, report, now);
        if let Some(write) = step.write() {
            claim.on_written(self.write(write.index, &write.bytes, write.cas));
        }
        step
    }

    fn run(&mut self, claim: &mut SlotClaim, now: WallTime) {
        let _ = self.tick(claim, b"", now);
    }

    fn slot(&self, number: usize) -> SlotReport<'_> {
        SlotReport::decode(&self.values.get(&index(number)).unwrap().0).unwrap()
    }
}

#[test]
fn vm_claims_the_first_missing_slot_and_reports_into_it() {
    let (mut map, mut first, mut second) = (Map::default(), SlotClaim::new(1), SlotClaim::new(2));
    assert!(matches!(
        map.tick(&mut first, b"one", at(0)),
        SlotStep::Claim(write) if write.cas == CREATE_CAS && write.index == index(0)
    ));
    map.run(&mut second, at(0));
    assert_eq!(
        (first.held(), second.held()),
        (Some(index(0)), Some(index(1)))
    );
    map.reads = 0;
    let step = map.tick(&mut first, b"two", at(250));
    assert!(matches!(step, SlotStep::Report(_)), "{step:?}");
    assert_eq!(map.reads, 1, "only its own");
    let slot = map.slot(0);
    assert_eq!((slot.holder, slot.beat, slot.report), (1, 2, &b"two"[..]));
    assert_eq!((first.counts().claimed, first.counts().reported), (1, 2));
    assert_eq!(map.values.len(), 2);
}

#[test]
fn vm_that_loses_the_race_for_a_slot_gets_the_next_one() {
    let (mut map, mut first, mut second) = (Map::default(), SlotClaim::new(1), SlotClaim::new(2));
    let steps = [&mut first, &mut second].map(|claim| map.decide(claim, b"", at(0)));
    for (claim, step) in [&mut first, &mut second].into_iter().zip(steps) {
        let write = step.write().unwrap();
        claim.on_written(map.write(write.index, &write.bytes, write.cas));
    }
    assert_eq!((first.held(), second.held()), (Some(index(0)), None));
    assert_eq!(second.counts().lost_writes, 1);
    map.run(&mut second, at(250));
    assert_eq!(second.held(), Some(index(1)));
}

#[test]
fn vm_beyond_the_last_slot_waits_and_is_counted_until_one_expires() {
    let mut map = Map::default();
    let mut claims: Vec<SlotClaim> = (1..=SLOTS).map(|id| SlotClaim::new(id as u64)).collect();
    claims.iter_mut().for_each(|claim| map.run(claim, at(0)));
    assert_eq!(claims.last().unwrap().held(), Some(index(SLOTS - 1)));
    let mut late = SlotClaim::new(1000);
    assert_eq!(map.tick(&mut late, b"", at(0)), SlotStep::Nothing);
    // One dies; the others go on. The late VM sees it silent for 5 s.
    claims.remove(17);
    for tick in 1..=19 {
        let now = at(250 * tick);
        claims.iter_mut().for_each(|claim| map.run(claim, now));
        assert_eq!(map.tick(&mut late, b"", now), SlotStep::Nothing, "{tick}");
    }
    assert_eq!(late.counts().without_slot, 20);
    let step = map.tick(&mut late, b"", at(5000));
    assert!(matches!(step, SlotStep::Claim(_)), "{step:?}");
    assert_eq!(late.held(), Some(index(17)));
    assert_eq!(map.values.len(), SLOTS);
}

#[test]
fn vm_whose_clock_stalls_steps_back_or_jumps_takes_no_slot_that_lives() {
    let year = 31_536_000_000;
    for times in [
        [0; 4],
        [year, 0, 0, 0],
        [0, year, year, year],
        [0, year, 0, year],
    ] {
        let mut map = Map::default();
        for index in SlotIndex::all() {
            map.put(index, &report(u64::from(index.number()) + 100, 1, true));
        }
        let mut late = SlotClaim::new(1);
        for ms in times {
            let step = map.tick(&mut late, b"", at(ms));
            assert_eq!(step, SlotStep::Nothing, "{times:?}");
        }
        let steps_back = u64::from(!times.is_sorted());
        assert_eq!(late.counts().clock_regressions, steps_back, "{times:?}");
    }
}

#[test]
fn vm_whose_slot_was_taken_claims_another() {
    let (mut map, mut stalled) = (Map::default(), SlotClaim::new(1));
    map.run(&mut stalled, at(0));
    let mut heir = SlotClaim::new(2);
    let other = SlotReport {
        holder: 2,
        ..map.slot(0)
    };
    let bytes = other.encode().unwrap();
    map.put(index(0), &bytes);
    // The heir knows its own by the id alone, as when the outcome of a claim was lost.
    map.run(&mut heir, at(100));
    assert_eq!(heir.held(), Some(index(0)));
    map.run(&mut stalled, at(250));
    assert_eq!(stalled.held(), Some(index(1)));
    assert_eq!(stalled.counts().lost_slots, 1);
}

#[test]
fn vm_that_was_stalled_keeps_a_slot_that_nobody_took() {
    let (mut map, mut claim) = (Map::default(), SlotClaim::new(1));
    map.run(&mut claim, at(0));
    let step = map.tick(&mut claim, b"", at(60_000));
    assert!(matches!(step, SlotStep::Report(_)), "{step:?}");
}

#[test]
fn garbage_in_a_slot_is_overwritten_by_its_owner_or_claimed_by_another() {
    let (mut map, mut owner, mut other) = (Map::default(), SlotClaim::new(1), SlotClaim::new(2));
    map.run(&mut owner, at(0));
    map.put(index(0), b"garbage");
    let step = map.tick(&mut owner, b"mine", at(250));
    assert!(matches!(step, SlotStep::Report(_)), "{step:?}");
    assert_eq!(map.slot(0).report, b"mine");
    assert_eq!(owner.counts().unreadable, 1);
    map.put(index(0), b"");
    map.run(&mut other, at(300));
    assert_eq!(
        (other.held(), other.counts().unreadable),
        (Some(index(0)), 1)
    );
    map.run(&mut owner, at(500));
    assert_eq!(owner.held(), Some(index(1)));
}

#[test]
fn refused_report_leaves_the_slot_and_comes_again_at_the_next_tick() {
    let (mut map, mut claim) = (Map::default(), SlotClaim::new(1));
    map.run(&mut claim, at(0));
    let step = map.decide(&mut claim, b"", at(250));
    assert!(step.write().is_some());
    claim.on_written(Err(CasMismatch));
    assert_eq!(claim.held(), Some(index(0)));
    let before = claim.counts();
    claim.on_written(Ok(()));
    assert_eq!(claim.counts(), before, "nobody awaits that");
    let step = map.tick(&mut claim, b"", at(500));
    assert!(matches!(step, SlotStep::Report(_)), "{step:?}");
}

#[test]
fn failing_read_and_too_long_report_write_nothing() {
    let mut claim = SlotClaim::new(1);
    let fails = |_| Err::<Option<(Vec<u8>, u32)>, _>("no");
    let outcome = claim.on_tick(fails, false, b"", at(0));
    assert_eq!(outcome, Err(TickError::Read("no")));
    let bytes = MAX_REPORT_BYTES + 1;
    let missing = |_| Ok::<Option<(Vec<u8>, u32)>, ()>(None);
    let outcome = claim.on_tick(missing, false, &vec![0; bytes], at(0));
    assert_eq!(outcome, Err(TickError::TooLong(ReportTooLong { bytes })));
    claim.on_written(Ok(()));
    assert_eq!(claim.held(), None);
}

#[test]
fn cas_of_zero_is_never_written_with() {
    let mut claim = SlotClaim::new(1);
    let read = |_| Ok::<_, ()>(Some((b"garbage".to_vec(), 0)));
    assert_eq!(
        claim.on_tick(read, false, b"", at(0)),
        Ok(SlotStep::Nothing)
    );
    let mut map = Map::default();
    map.run(&mut claim, at(250));
    assert_eq!(claim.held(), Some(index(0)));
    let step = claim.on_tick(read, false, b"", at(500));
    assert_eq!(step, Ok(SlotStep::Nothing), "nor into its own");
}

#[test]
fn vm_that_has_seen_a_stream_says_so_for_ever() {
    let (mut map, mut claim) = (Map::default(), SlotClaim::new(1));
    for (ms, saw_stream, expected) in [(0, false, false), (250, true, true), (500, false, true)] {
        let read = |index| Ok::<_, ()>(map.values.get(&index).cloned());
        let step = claim.on_tick(read, saw_stream, b"", at(ms)).unwrap();
        let write = step.write().unwrap();
        claim.on_written(map.write(write.index, &write.bytes, write.cas));
        assert_eq!(map.slot(0).saw_stream, expected, "{ms}");
    }
}

/// Is what a slot shows to a reader that looks at the moment.
fn look<'a>(table: &mut SlotTable, map: &'a Map, number: usize, now: WallTime) -> Sight<'a> {
    table.on_tick(now);
    let value = map.values.get(&index(number));
    table.on_read(index(number), value.map(|(bytes, _)| bytes.as_slice()))
}

fn report(holder: u64, beat: u64, saw_stream: bool) -> Vec<u8> {
    let slot = SlotReport {
        holder,
        beat,
        written: at(0),
        saw_stream,
        report: b"",
    };
    slot.encode().unwrap()
}

#[test]
fn reader_tells_first_fresh_unchanged_and_expired_reports_apart() {
    let (mut map, mut table) = (Map::default(), SlotTable::new());
    assert_eq!(look(&mut table, &map, 0, at(0)), Sight::Missing);
    assert_eq!((table.live(), table.live_with_streams()), (0, 0));
    map.put(index(0), &report(1, 5, true));
    assert_eq!(look(&mut table, &map, 0, at(0)), Sight::First(map.slot(0)));
    assert_eq!((table.live(), table.live_with_streams()), (1, 1));
    assert_eq!(look(&mut table, &map, 0, at(250)), Sight::Unchanged);
    for (beat, missed) in [(6, 0), (9, 2), (9 + 3, 2), (4, 0)] {
        map.put(index(0), &report(1, beat, true));
        let fresh = Sight::Fresh {
            slot: map.slot(0),
            missed,
        };
        assert_eq!(look(&mut table, &map, 0, at(500)), fresh, "{beat}");
    }
    for ms in (1000..5500).step_by(500) {
        assert_eq!(look(&mut table, &map, 0, at(ms)), Sight::Unchanged, "{ms}");
        assert_eq!(table.live(), 1);
    }
    assert_eq!(look(&mut table, &map, 0, at(5500)), Sight::Expired);
    assert_eq!((table.live(), table.live_with_streams()), (0, 0));
    // Another VM has it now, without streams; then it comes back to life.
    map.put(index(0), &report(2, 1, false));
    assert_eq!(
        look(&mut table, &map, 0, at(5750)),
        Sight::First(map.slot(0))
    );
    assert_eq!((table.live(), table.live_with_streams()), (1, 0));
}

#[test]
fn reader_lets_a_slot_with_garbage_age_on() {
    let (mut map, mut table) = (Map::default(), SlotTable::new());
    map.put(index(0), b"garbage");
    assert_eq!(look(&mut table, &map, 0, at(0)), Sight::Unreadable);
    assert_eq!(table.live(), 0);
    map.put(index(0), &report(1, 1, true));
    assert_eq!(look(&mut table, &map, 0, at(0)), Sight::First(map.slot(0)));
    map.put(index(0), b"");
    for ms in (500..5000).step_by(500) {
        assert_eq!(look(&mut table, &map, 0, at(ms)), Sight::Unreadable);
        assert_eq!(table.live_with_streams(), 1, "{ms}");
    }
    assert_eq!(look(&mut table, &map, 0, at(5000)), Sight::Unreadable);
    assert_eq!(table.live(), 0);
}

#[test]
fn reader_whose_clock_stalls_steps_back_or_jumps_expires_nothing() {
    let year = 31_536_000_000;
    for times in [
        [0, 0, 0, 0],
        [year, 0, 0, 0],
        [0, year, year, year],
        [0, year, 0, year],
    ] {
        let (mut map, mut table) = (Map::default(), SlotTable::new());
        map.put(index(0), &report(1, 1, true));
        for ms in times {
            let _ = look(&mut table, &map, 0, at(ms));
            assert_eq!(table.live(), 1, "{times:?}");
        }
    }
}

#[test]
fn state_of_either_side_stays_in_its_bound() {
    assert!(size_of::<SlotClaim>() <= 5120, "{}", size_of::<SlotClaim>());
    assert!(size_of::<SlotTable>() <= 5120, "{}", size_of::<SlotTable>());
    assert_eq!(SlotIndex::all().count(), SLOTS);
    assert_eq!(SlotIndex::all().last().unwrap().number(), 63);
}

type Value = Option<(Vec<u8>, u32)>;

fn value_of(values: &[Value], slot: SlotIndex) -> &Value {
    values.get(usize::from(slot.number())).unwrap()
}

proptest! {
    #[test]
    fn any_values_in_the_slots_give_one_write_at_most_with_the_cas_that_was_read(
        ticks in proptest::collection::vec(
            (proptest::collection::vec(proptest::option::of(any::<bool>()), SLOTS), any::<u64>()),
            1..20,
        ),
    ) {
        let mut claim = SlotClaim::new(7);
        let mut table = SlotTable::new();
        for (values, now) in ticks {
            let now = WallTime::from_ns(now);
            table.on_tick(now);
            let values: Vec<_> = values
                .into_iter()
                .enumerate()
                .map(|(at, live)| live.map(|live| {
                    let bytes = if live { report(at as u64 + 1, 1, true) } else { Vec::new() };
                    (bytes, u32::try_from(at).unwrap() + 1)
                }))
                .collect();
            for (slot, value) in SlotIndex::all().zip(&values) {
                let _ = table.on_read(slot, value.as_ref().map(|(bytes, _)| bytes.as_slice()));
            }
            prop_assert!(table.live() <= SLOTS);
            let read = |slot: SlotIndex| Ok::<_, ()>(value_of(&values, slot).clone());
            let step = claim.on_tick(read, true, b"", now).unwrap();
            if let Some(write) = step.write() {
                let value = value_of(&values, write.index).as_ref();
                let cas = value.map_or(CREATE_CAS, |(_, cas)| *cas);
                prop_assert_eq!(write.cas, cas);
                claim.on_written(Ok(()));
            }
        }
    }
}
