//! What one VM decides about the lease, at every boundary.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use proptest::prelude::*;
use tidegate_policy::{
    lease::{
        CREATE_CAS, CasMismatch, Fence, Fenced, LEASE, Lease, MAX_TICK_STEP, QUIET_BEFORE_ASKING,
        RECORD_BYTES, Record, Step,
    },
    units::WallTime,
};

const START_MS: u64 = 1_700_000_000_000;
const A: u64 = 0xa;
const B: u64 = 0xb;
const C: u64 = 0xc;

fn at(ms: u64) -> WallTime {
    WallTime::from_ns((START_MS + ms) * 1_000_000)
}

/// Is the one key, as the host keeps it.
#[derive(Default)]
struct Key(Option<(Vec<u8>, u32)>);

impl Key {
    fn read(&self) -> Option<(&[u8], u32)> {
        self.0.as_ref().map(|(bytes, cas)| (bytes.as_slice(), *cas))
    }

    fn write(&mut self, bytes: &[u8], cas: u32) -> Result<(), CasMismatch> {
        match &mut self.0 {
            None => self.0 = Some((bytes.to_vec(), 1)),
            Some((value, version)) if *version == cas || cas == 0 => {
                *value = bytes.to_vec();
                *version += 1;
            }
            Some(_) => return Err(CasMismatch),
        }
        Ok(())
    }

    /// Lets a VM tick, and whatever it wants to write succeed or not.
    fn tick(&mut self, lease: &mut Lease, saw_stream: bool, now: WallTime) -> Step {
        let step = lease.on_tick(self.read(), saw_stream, now, 0);
        if let Some(write) = step.write() {
            lease.on_written(self.write(&write.bytes, write.cas));
        }
        step
    }

    /// Lets a VM tick whose step is of no interest.
    fn run(&mut self, lease: &mut Lease, saw_stream: bool, now: WallTime) {
        let _ = self.tick(lease, saw_stream, now);
    }

    fn record(&self) -> Record {
        Record::decode(self.read().unwrap().0).unwrap()
    }

    fn overwrite(&mut self, bytes: &[u8]) {
        self.write(bytes, 0).unwrap();
    }
}

#[test]
fn first_vm_creates_the_record_and_renews_it_at_every_tick() {
    let (mut key, mut lease) = (Key::default(), Lease::new(A));
    assert_eq!(lease.epoch(), 0);
    let step = lease.on_tick(key.read(), false, at(0), 0);
    let Step::Create(write) = step else {
        panic!("{step:?}")
    };
    assert_eq!(write.cas, CREATE_CAS);
    assert!(!lease.is_leader(at(0)), "nothing is written yet");
    lease.on_written(key.write(&write.bytes, write.cas));
    assert_eq!(lease.term(at(0)), Some(1));
    let record = key.record();
    assert_eq!((record.holder, record.epoch, record.beat), (A, 1, 1));
    assert_eq!((record.renewed, record.expires), (at(0), at(1000)));
    for tick in 1..=20 {
        let now = at(250 * tick);
        assert!(matches!(key.tick(&mut lease, false, now), Step::Renew(_)));
        assert_eq!((key.record().epoch, key.record().beat), (1, tick + 1));
        assert_eq!(lease.term(now), Some(1));
    }
    assert_eq!((lease.counts().created, lease.counts().renewed), (1, 20));
}

#[test]
fn vm_that_loses_the_race_to_create_does_not_lead() {
    let (mut key, mut first, mut second) = (Key::default(), Lease::new(A), Lease::new(B));
    let steps = [&mut first, &mut second].map(|lease| lease.on_tick(None, false, at(0), 0));
    for (lease, step) in [&mut first, &mut second].into_iter().zip(steps) {
        let write = *step.write().unwrap();
        lease.on_written(key.write(&write.bytes, write.cas));
    }
    assert!(first.is_leader(at(0)));
    assert!(!second.is_leader(at(0)));
    assert_eq!(second.counts().lost_writes, 1);
    assert_eq!(key.tick(&mut second, false, at(250)), Step::Nothing);
    assert_eq!(second.epoch(), 1);
}

#[test]
fn belief_lasts_exactly_one_lease_from_the_clock_of_the_renewal() {
    let (mut key, mut lease) = (Key::default(), Lease::new(A));
    key.run(&mut lease, false, at(5000));
    let nanosecond =
        |now: WallTime, by: i64| WallTime::from_ns(now.as_ns().checked_add_signed(by).unwrap());
    let cases = [
        (at(5000), true),
        (nanosecond(at(6000), -1), true),
        (at(6000), false),
        (nanosecond(at(5000), -1), false),
        (at(0), false),
        (at(31_536_000_000), false),
    ];
    for (now, expected) in cases {
        assert_eq!(lease.is_leader(now), expected, "{now:?}");
    }
    assert_eq!(LEASE, Duration::from_secs(1));
}

#[test]
fn silent_lease_is_taken_at_the_first_tick_after_it_is_over() {
    let (mut key, mut dead, mut lease) = (Key::default(), Lease::new(A), Lease::new(B));
    key.run(&mut dead, false, at(0));
    for ms in [200, 450, 700, 950, 1199] {
        assert_eq!(key.tick(&mut lease, false, at(ms)), Step::Nothing, "{ms}");
    }
    assert!(matches!(
        key.tick(&mut lease, false, at(1200)),
        Step::TakeOver(_)
    ));
    assert_eq!(lease.term(at(1200)), Some(2));
    assert_eq!(key.record().holder, B);
    // The one that was only stalled finds out before it writes anything.
    assert!(!dead.is_leader(at(1300)));
    assert_eq!(key.tick(&mut dead, false, at(1300)), Step::Nothing);
    assert_eq!((dead.term(at(1300)), dead.epoch()), (None, 2));
}

#[test]
fn holder_that_was_stalled_longer_than_its_lease_renews_if_nobody_took_it() {
    let (mut key, mut lease) = (Key::default(), Lease::new(A));
    key.run(&mut lease, false, at(0));
    assert!(!lease.is_leader(at(60_000)));
    assert!(matches!(
        key.tick(&mut lease, false, at(60_000)),
        Step::Renew(_)
    ));
    assert_eq!(lease.term(at(60_000)), Some(1));
}

#[test]
fn write_of_a_replaced_leader_is_recognised_by_readers_and_by_itself() {
    let (mut key, mut old, mut new) = (Key::default(), Lease::new(A), Lease::new(B));
    key.run(&mut old, false, at(0));
    for ms in [0, 500, 1000] {
        key.run(&mut new, false, at(ms));
    }
    // The old one's clock stepped back while it was stalled: it believes, and so does the new one.
    let (old_term, new_term) = (old.term(at(500)).unwrap(), new.term(at(1100)).unwrap());
    let mut reader = Fence::new();
    assert_eq!(reader.admit(old_term), Ok(()), "until the new one writes");
    assert_eq!(reader.admit(new_term), Ok(()));
    let fenced = Fenced {
        epoch: 1,
        newest: 2,
    };
    assert_eq!(reader.admit(old_term), Err(fenced));
    assert_eq!(reader.check(old_term), Err(fenced));
    // What it learns is that it is old; the lease is not taken from the new one for that.
    old.learn(fenced.newest);
    assert_eq!(key.tick(&mut old, false, at(750)), Step::Nothing);
    assert_eq!(old.term(at(750)), None);
}

#[test]
fn refused_renewal_ends_the_belief_at_once() {
    let (mut key, mut lease) = (Key::default(), Lease::new(A));
    key.run(&mut lease, false, at(0));
    let step = lease.on_tick(key.read(), false, at(250), 0);
    assert!(matches!(step, Step::Renew(_)));
    assert!(lease.is_leader(at(250)), "the last renewal still counts");
    lease.on_written(Err(CasMismatch));
    assert!(!lease.is_leader(at(250)));
    assert!(matches!(
        key.tick(&mut lease, false, at(500)),
        Step::Renew(_)
    ));
    assert!(lease.is_leader(at(500)));
}

#[test]
fn outcome_that_nobody_awaits_changes_nothing() {
    let (mut key, mut lease) = (Key::default(), Lease::new(A));
    lease.on_written(Ok(()));
    assert!(!lease.is_leader(at(0)));
    key.run(&mut lease, false, at(0));
    let before = lease.counts();
    lease.on_written(Err(CasMismatch));
    assert!(lease.is_leader(at(0)));
    assert_eq!(lease.counts(), before);
}

#[test]
fn clock_that_stands_still_ends_no_lease() {
    let (mut key, mut holder, mut lease) = (Key::default(), Lease::new(A), Lease::new(B));
    key.run(&mut holder, false, at(0));
    for _ in 0..100 {
        assert_eq!(key.tick(&mut lease, false, at(0)), Step::Nothing);
        assert!(matches!(
            key.tick(&mut holder, false, at(0)),
            Step::Renew(_)
        ));
        assert!(holder.is_leader(at(0)));
    }
    assert_eq!(lease.counts().clock_regressions, 0);
}

#[test]
fn clock_that_steps_back_costs_the_one_who_waits_one_tick() {
    let (mut key, mut holder, mut lease) = (Key::default(), Lease::new(A), Lease::new(B));
    let hour = 3_600_000;
    key.run(&mut holder, false, at(hour));
    for ms in [hour, hour + 500, 0, 250, 499] {
        assert_eq!(key.tick(&mut lease, false, at(ms)), Step::Nothing, "{ms}");
    }
    let step = key.tick(&mut lease, false, at(500));
    assert!(matches!(step, Step::TakeOver(_)), "{step:?}");
    assert_eq!(lease.counts().clock_regressions, 1);
    assert_eq!(lease.term(at(500)), Some(2));
}

#[test]
fn holder_whose_clock_steps_back_leads_again_from_its_next_renewal() {
    let (mut key, mut lease) = (Key::default(), Lease::new(A));
    key.run(&mut lease, false, at(3_600_000));
    assert!(!lease.is_leader(at(0)));
    assert!(matches!(key.tick(&mut lease, false, at(0)), Step::Renew(_)));
    assert_eq!(lease.term(at(0)), Some(1));
}

#[test]
fn clock_that_jumps_a_year_does_not_end_a_lease_that_lives() {
    let (mut key, mut holder, mut lease) = (Key::default(), Lease::new(A), Lease::new(B));
    let year = 31_536_000_000;
    key.run(&mut holder, false, at(0));
    assert_eq!(key.tick(&mut lease, false, at(0)), Step::Nothing);
    assert_eq!(key.tick(&mut lease, false, at(year)), Step::Nothing);
    assert!(matches!(
        key.tick(&mut holder, false, at(year)),
        Step::Renew(_)
    ));
    for jump in 2..50 {
        key.run(&mut holder, false, at(year * jump));
        assert_eq!(key.tick(&mut lease, false, at(year * jump)), Step::Nothing);
    }
    assert_eq!(MAX_TICK_STEP * 2, LEASE);
}

/// Lets a VM wait until it may ask; the holder lives.
fn wait_in_quiet(key: &mut Key, holder: &mut Lease, busy: bool, lease: &mut Lease) -> u64 {
    let mut ms = 0;
    while Duration::from_millis(ms) < QUIET_BEFORE_ASKING {
        key.run(holder, busy, at(ms));
        assert_eq!(key.tick(lease, false, at(ms)), Step::Nothing, "{ms}");
        ms += 250;
    }
    key.run(holder, busy, at(ms));
    ms
}

#[test]
fn vm_without_streams_gets_the_lease_from_one_that_has_them() {
    let (mut key, mut busy, mut quiet) = (Key::default(), Lease::new(A), Lease::new(B));
    let mut third = Lease::new(C);
    let ms = wait_in_quiet(&mut key, &mut busy, true, &mut quiet);
    let beat = key.record().beat;
    assert!(matches!(key.tick(&mut quiet, false, at(ms)), Step::Ask(_)));
    let record = key.record();
    assert_eq!((record.holder, record.wanted_by), (A, Some(B)));
    assert_eq!((record.epoch, record.beat), (1, beat), "no sign of life");
    // It asks once.
    assert_eq!(key.tick(&mut quiet, false, at(ms + 100)), Step::Nothing);
    assert!(busy.is_leader(at(ms + 200)));
    assert!(matches!(
        key.tick(&mut busy, true, at(ms + 250)),
        Step::Yield(_)
    ));
    assert!(!busy.is_leader(at(ms + 250)));
    assert!(key.record().term().is_zero());
    // The one who gave it up and a third one leave it to the one who asked.
    assert_eq!(key.tick(&mut busy, true, at(ms + 300)), Step::Nothing);
    assert_eq!(key.tick(&mut third, true, at(ms + 300)), Step::Nothing);
    let step = key.tick(&mut quiet, false, at(ms + 350));
    assert!(matches!(step, Step::TakeOver(_)), "{step:?}");
    assert_eq!(quiet.term(at(ms + 350)), Some(2));
    assert!(!key.record().saw_stream);
    // And nobody asks for it again.
    assert_eq!(key.tick(&mut busy, true, at(ms + 500)), Step::Nothing);
    assert_eq!((quiet.counts().asked, busy.counts().yielded), (1, 1));
}

#[test]
fn holder_stops_leading_before_its_offer_is_written() {
    let (mut key, mut busy, mut quiet) = (Key::default(), Lease::new(A), Lease::new(B));
    let ms = wait_in_quiet(&mut key, &mut busy, true, &mut quiet);
    key.run(&mut quiet, false, at(ms));
    let step = busy.on_tick(key.read(), true, at(ms + 250), 0);
    assert!(matches!(step, Step::Yield(_)));
    assert!(!busy.is_leader(at(ms + 250)));
}

#[test]
fn vm_does_not_ask_a_holder_without_streams_nor_with_streams_of_its_own() {
    let (mut key, mut holder, mut quiet) = (Key::default(), Lease::new(A), Lease::new(B));
    let ms = wait_in_quiet(&mut key, &mut holder, false, &mut quiet);
    assert_eq!(key.tick(&mut quiet, false, at(ms)), Step::Nothing);
    // The holder gets a stream, and so does the one who waited.
    key.run(&mut holder, true, at(ms + 250));
    assert!(key.record().saw_stream);
    assert_eq!(key.tick(&mut quiet, true, at(ms + 250)), Step::Nothing);
    // Once seen, a stream is never forgotten.
    assert_eq!(key.tick(&mut quiet, false, at(ms + 500)), Step::Nothing);
    assert_eq!(quiet.counts().asked, 0);
}

#[test]
fn offer_to_a_vm_that_died_is_taken_by_another_after_a_lease() {
    let (mut key, mut busy, mut quiet) = (Key::default(), Lease::new(A), Lease::new(B));
    let ms = wait_in_quiet(&mut key, &mut busy, true, &mut quiet);
    key.run(&mut quiet, false, at(ms));
    key.run(&mut busy, true, at(ms + 250));
    for late in [500, 750, 1000, 1250] {
        let step = key.tick(&mut busy, true, at(ms + late));
        assert_eq!(step, Step::Nothing, "{late}");
    }
    let step = key.tick(&mut busy, true, at(ms + 1500));
    assert!(matches!(step, Step::TakeOver(_)), "{step:?}");
    assert_eq!(busy.term(at(ms + 1500)), Some(2));
}

#[test]
fn request_does_not_make_a_dead_holder_look_alive() {
    let (mut key, mut dead, mut third) = (Key::default(), Lease::new(A), Lease::new(C));
    let mut quiet = Lease::new(B);
    let ms = wait_in_quiet(&mut key, &mut dead, true, &mut quiet);
    assert_eq!(key.tick(&mut third, true, at(ms)), Step::Nothing);
    assert!(matches!(
        key.tick(&mut quiet, false, at(ms + 400)),
        Step::Ask(_)
    ));
    assert_eq!(key.tick(&mut third, true, at(ms + 500)), Step::Nothing);
    let step = key.tick(&mut third, true, at(ms + 1000));
    assert!(matches!(step, Step::TakeOver(_)), "{step:?}");
}

#[test]
fn garbage_is_taken_over_with_an_epoch_that_nobody_had() {
    for garbage in [&b""[..], b"{}", &[0; RECORD_BYTES], &[0xff; 100]] {
        let (mut key, mut holder, mut young) = (Key::default(), Lease::new(A), Lease::new(B));
        key.run(&mut holder, false, at(0));
        key.overwrite(garbage);
        let step = key.tick(&mut young, false, at(100));
        assert!(matches!(step, Step::TakeOver(_)), "{step:?}");
        assert_eq!(young.counts().unreadable, 1);
        let epoch = young.term(at(100)).unwrap();
        assert_eq!(epoch, at(100).as_ns() + 1);
        // The holder believes until its next tick, under an epoch that is older.
        assert_eq!(holder.term(at(100)), Some(1));
        assert_eq!(key.tick(&mut holder, false, at(250)), Step::Nothing);
        assert_eq!((holder.term(at(250)), holder.epoch()), (None, epoch));
    }
}

#[test]
fn draw_tells_two_takeovers_of_garbage_at_one_instant_apart() {
    let epochs = [0, u64::from(u32::MAX), 1 << 32, u64::MAX].map(|draw| {
        let mut lease = Lease::new(A);
        let step = lease.on_tick(Some((b"", 9)), false, at(0), draw);
        let write = step.write().unwrap();
        assert_eq!(write.cas, 9);
        Record::decode(&write.bytes).unwrap().epoch - at(0).as_ns()
    });
    assert_eq!(epochs, [1, 1, 2, 1 << 32]);
}

#[test]
fn record_older_than_one_that_was_seen_is_taken_over() {
    let (mut key, mut first, mut second) = (Key::default(), Lease::new(A), Lease::new(B));
    key.run(&mut first, false, at(0));
    let old = key.read().unwrap().0.to_vec();
    for ms in [0, 500, 1000] {
        key.run(&mut second, false, at(ms));
    }
    assert_eq!(second.term(at(1000)), Some(2));
    key.overwrite(&old);
    let step = key.tick(&mut second, false, at(1250));
    assert!(matches!(step, Step::TakeOver(_)), "{step:?}");
    assert_eq!(second.counts().rewound, 1);
    assert!(second.term(at(1250)).unwrap() > at(1250).as_ns());
}

#[test]
fn holder_that_learns_of_a_newer_epoch_takes_one_above_it() {
    let (mut key, mut lease) = (Key::default(), Lease::new(A));
    key.run(&mut lease, false, at(0));
    lease.learn(1);
    assert!(matches!(
        key.tick(&mut lease, false, at(250)),
        Step::Renew(_)
    ));
    let newer = at(1_000_000).as_ns();
    lease.learn(newer);
    let step = key.tick(&mut lease, false, at(500));
    assert!(matches!(step, Step::TakeOver(_)), "{step:?}");
    assert_eq!(lease.term(at(500)), Some(newer + 1));
    lease.learn(5);
    assert_eq!(lease.epoch(), newer + 1);
}

#[test]
fn cas_of_zero_is_never_written_with() {
    let mut lease = Lease::new(A);
    assert_eq!(
        lease.on_tick(Some((b"", 0)), false, at(0), 0),
        Step::Nothing
    );
    assert_eq!(lease.counts().cas_zero, 1);
    // A write that was never made is not the outcome of that tick either.
    let step = lease.on_tick(None, false, at(250), 0);
    assert!(matches!(step, Step::Create(_)));
    let step = lease.on_tick(Some((b"", 0)), false, at(500), 0);
    assert_eq!(step, Step::Nothing);
    lease.on_written(Ok(()));
    assert!(!lease.is_leader(at(500)));
    assert_eq!(Step::Nothing.write(), None);
}

#[test]
fn state_stays_in_its_bound() {
    assert!(size_of::<Lease>() <= 320, "{}", size_of::<Lease>());
}

#[test]
fn vm_whose_draw_is_zero_still_has_an_id() {
    let (mut key, mut lease) = (Key::default(), Lease::new(0));
    key.run(&mut lease, false, at(0));
    assert_eq!(key.record().holder, 1);
    assert!(matches!(
        key.tick(&mut lease, false, at(250)),
        Step::Renew(_)
    ));
}

#[test]
fn epoch_and_beat_at_the_end_of_their_range_stay_there() {
    let (mut key, mut lease) = (Key::default(), Lease::new(A));
    let last = Record {
        holder: B,
        epoch: u64::MAX,
        beat: u64::MAX,
        renewed: WallTime::from_ns(u64::MAX - 1),
        expires: WallTime::from_ns(u64::MAX),
        wanted_by: None,
        saw_stream: false,
    };
    key.overwrite(&last.encode());
    for ms in [0, 500, 1000] {
        key.run(&mut lease, false, at(ms));
    }
    assert_eq!(key.record().holder, A);
    assert_eq!(lease.term(at(1000)), Some(u64::MAX));
    assert_eq!(key.record().beat, u64::MAX);
}

/// Makes a record of any holder, epoch and times, or bytes that are none.
fn value() -> impl Strategy<Value = Vec<u8>> {
    let times = (
        any::<u64>(),
        prop_oneof![Just(0), Just(1_000_000_000), any::<u64>()],
    );
    let id = || prop_oneof![Just(A), Just(B), any::<u64>()];
    let record = (
        id(),
        prop_oneof![0..5_u64, any::<u64>()],
        any::<u64>(),
        times,
        id(),
        any::<bool>(),
    );
    prop_oneof![
        4 => record.prop_map(|(holder, epoch, beat, (renewed, term), wanted, saw_stream)| Record {
            holder,
            epoch,
            beat,
            renewed: WallTime::from_ns(renewed),
            expires: WallTime::from_ns(renewed.saturating_add(term)),
            wanted_by: (wanted % 3 != 0).then_some(wanted),
            saw_stream,
        }.encode().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..80),
    ]
}

proptest! {
    #[test]
    fn any_inputs_keep_the_epoch_growing_and_the_lease_in_its_bounds(
        ticks in proptest::collection::vec(
            (
                proptest::option::of((value(), any::<u32>())),
                any::<bool>(),
                any::<u64>(),
                any::<u64>(),
                proptest::option::of(any::<bool>()),
            ),
            0..40,
        ),
        draw: u64,
    ) {
        let mut lease = Lease::new(draw);
        for (read, saw_stream, now, draw, outcome) in ticks {
            let now = WallTime::from_ns(now);
            let before = lease.epoch();
            let read = read.as_ref().map(|(bytes, cas)| (bytes.as_slice(), *cas));
            let step = lease.on_tick(read, saw_stream, now, draw);
            if let Some(write) = step.write() {
                prop_assert_ne!(write.cas, 0);
                prop_assert_eq!(write.cas, read.map_or(CREATE_CAS, |(_, cas)| cas));
                prop_assert!(Record::decode(&write.bytes).is_ok());
            }
            match outcome {
                Some(true) => lease.on_written(Ok(())),
                Some(false) => lease.on_written(Err(CasMismatch)),
                None => {}
            }
            prop_assert!(lease.epoch() >= before);
            if let Some(term) = lease.term(now) {
                prop_assert!(term <= lease.epoch());
            }
            if outcome == Some(false) && step != Step::Nothing {
                prop_assert!(!lease.is_leader(now));
            }
        }
    }
}
