//! What is under way, and how old the oldest is: the same as a plain list says, whatever ends first.

use std::time::Duration;

use proptest::prelude::*;
use tidegate_policy::{
    balance::{Ended, InFlight, MAX_STREAMS, Seat, Ticket},
    units::WallTime,
};

const START_MS: u64 = 1_700_000_000_000;

fn at(ms: u64) -> WallTime {
    WallTime::from_ns((START_MS + ms) * 1_000_000)
}

fn with_seats(seats: usize, max_streams: usize) -> InFlight {
    let mut in_flight = InFlight::new(max_streams);
    in_flight.reserve(seats);
    in_flight
}

fn oldest_ms(in_flight: &InFlight, seat: u32, now_ms: u64) -> u128 {
    in_flight.oldest_age(Seat(seat), at(now_ms)).as_millis()
}

#[test]
fn oldest_is_known_whichever_ends_first() {
    let mut in_flight = with_seats(2, 10);
    let first = in_flight.on_start(Seat(0), at(0));
    let second = in_flight.on_start(Seat(0), at(10));
    let third = in_flight.on_start(Seat(0), at(20));
    let other = in_flight.on_start(Seat(1), at(25));
    assert_eq!(oldest_ms(&in_flight, 0, 30), 30);
    assert_eq!(in_flight.on_end(second), Ended::Busy);
    assert_eq!(oldest_ms(&in_flight, 0, 30), 30);
    assert_eq!(in_flight.on_end(first), Ended::Busy);
    assert_eq!(oldest_ms(&in_flight, 0, 30), 10);
    assert_eq!(in_flight.on_end(third), Ended::Idle);
    assert_eq!(oldest_ms(&in_flight, 0, 30), 0);
    assert_eq!(oldest_ms(&in_flight, 1, 30), 5);
    assert_eq!(in_flight.all_requests(), 1);
    assert_eq!(in_flight.on_end(other), Ended::Idle);
    assert_eq!(in_flight.all_requests(), 0);
}

#[test]
fn upgraded_stream_is_counted_apart_and_has_no_age() {
    let mut in_flight = with_seats(1, 10);
    let mut socket = in_flight.on_start(Seat(0), at(0));
    let request = in_flight.on_start(Seat(0), at(5));
    in_flight.on_upgrade(&mut socket);
    in_flight.on_upgrade(&mut socket);
    assert_eq!(
        (in_flight.requests(Seat(0)), in_flight.upgraded(Seat(0))),
        (1, 1)
    );
    assert_eq!(oldest_ms(&in_flight, 0, 3_600_000), 3_599_995);
    assert_eq!(in_flight.on_end(request), Ended::Busy);
    assert_eq!(oldest_ms(&in_flight, 0, 3_600_000), 0);
    assert_eq!(in_flight.on_end(socket), Ended::Idle);
    assert_eq!(
        (in_flight.requests(Seat(0)), in_flight.upgraded(Seat(0))),
        (0, 0)
    );
}

#[test]
fn attempt_without_a_place_is_counted_and_has_no_age() {
    let mut in_flight = with_seats(1, 2);
    let tickets: Vec<Ticket> = (0..3)
        .map(|ms| in_flight.on_start(Seat(0), at(ms)))
        .collect();
    assert_eq!((in_flight.requests(Seat(0)), in_flight.unplaced()), (3, 1));
    for (ticket, left) in tickets.into_iter().zip([2, 1, 0]) {
        let _ = in_flight.on_end(ticket);
        assert_eq!(in_flight.requests(Seat(0)), left);
    }
    assert_eq!(oldest_ms(&in_flight, 0, 10), 0);
    // Both places are free again.
    let again = [0, 1].map(|ms| in_flight.on_start(Seat(0), at(ms)));
    assert_eq!(in_flight.unplaced(), 1);
    drop(again);
}

#[test]
fn limit_is_never_above_the_most() {
    let mut in_flight = with_seats(1, usize::MAX);
    for ms in 0..=u64::try_from(MAX_STREAMS).unwrap() {
        let _ = in_flight.on_start(Seat(0), at(ms));
    }
    assert_eq!(in_flight.unplaced(), 1);
}

#[test]
fn seat_that_is_not_reserved_is_counted_nowhere() {
    let mut in_flight = with_seats(1, 10);
    for seat in [Seat(1), Seat(u32::MAX)] {
        let mut ticket = in_flight.on_start(seat, at(0));
        in_flight.on_upgrade(&mut ticket);
        assert_eq!(in_flight.on_end(ticket), Ended::Idle);
        let ticket = in_flight.on_start(seat, at(0));
        assert_eq!((in_flight.requests(seat), in_flight.all_requests()), (0, 0));
        assert_eq!(in_flight.on_end(ticket), Ended::Idle);
    }
    assert_eq!(in_flight.all_requests(), 0);
    assert_eq!(in_flight.unplaced(), 4);
}

#[test]
fn ages_are_right_at_the_same_instant_after_a_step_back_and_after_a_year() {
    let mut in_flight = with_seats(1, 10);
    let first = in_flight.on_start(Seat(0), at(1_000));
    assert_eq!(oldest_ms(&in_flight, 0, 1_000), 0);
    assert_eq!(oldest_ms(&in_flight, 0, 0), 0);
    // One that began after the step back has the earlier time, but is not the oldest.
    let second = in_flight.on_start(Seat(0), at(0));
    assert_eq!(oldest_ms(&in_flight, 0, 2_000), 1_000);
    let year = Duration::from_secs(31_536_000);
    let later = at(1_000 + u64::try_from(year.as_millis()).unwrap());
    assert_eq!(in_flight.oldest_age(Seat(0), later), year);
    let _ = (in_flight.on_end(first), in_flight.on_end(second));
}

/// Is what may happen: a start at a seat, an upgrade or an end of one of those under way.
#[derive(Clone, Debug)]
enum Event {
    Start(u32),
    Upgrade(prop::sample::Index),
    End(prop::sample::Index),
    Pass(i64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => (0..4_u32).prop_map(Event::Start),
        1 => any::<prop::sample::Index>().prop_map(Event::Upgrade),
        3 => any::<prop::sample::Index>().prop_map(Event::End),
        1 => (-50..1_000_i64).prop_map(Event::Pass),
    ];
    prop::collection::vec(event, 1..300)
}

/// Is an attempt as a plain list has it.
struct Known {
    ticket: Ticket,
    placed: bool,
    started_at: WallTime,
}

const LIMIT: usize = 12;

proptest! {
    #[test]
    fn table_says_what_a_plain_list_says(events in events()) {
        let mut in_flight = with_seats(4, LIMIT);
        // In the order of their beginnings.
        let mut known: Vec<Known> = Vec::new();
        let mut now = START_MS;
        for event in events {
            match event {
                Event::Start(seat) => {
                    let placed = known.iter().filter(|one| one.placed).count() < LIMIT;
                    let now = WallTime::from_ns(now * 1_000_000);
                    let ticket = in_flight.on_start(Seat(seat), now);
                    known.push(Known { ticket, placed, started_at: now });
                }
                Event::Upgrade(index) if !known.is_empty() => {
                    let one = index.index(known.len());
                    known[one].placed = false;
                    in_flight.on_upgrade(&mut known[one].ticket);
                }
                Event::End(index) if !known.is_empty() => {
                    let one = known.remove(index.index(known.len()));
                    let seat = one.ticket.seat();
                    let is_busy = known.iter().any(|other| other.ticket.seat() == seat);
                    let ended = in_flight.on_end(one.ticket);
                    prop_assert_eq!(ended == Ended::Busy, is_busy);
                }
                Event::Pass(ms) => now = now.saturating_add_signed(ms),
                Event::Upgrade(_) | Event::End(_) => {}
            }
            let now = WallTime::from_ns(now * 1_000_000);
            for seat in (0..4).map(Seat) {
                let at_seat = || known.iter().filter(|one| one.ticket.seat() == seat);
                let upgraded = at_seat().filter(|one| one.ticket.is_upgraded()).count();
                let oldest = at_seat().find(|one| one.placed);
                let age = oldest.map_or(Duration::ZERO, |one| now.saturating_since(one.started_at));
                prop_assert_eq!(in_flight.requests(seat) as usize, at_seat().count() - upgraded);
                prop_assert_eq!(in_flight.upgraded(seat) as usize, upgraded);
                prop_assert_eq!(in_flight.oldest_age(seat, now), age);
            }
        }
    }
}
