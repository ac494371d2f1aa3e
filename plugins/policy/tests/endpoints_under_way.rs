//! What a VM tells of attempts that wait for their answers.

use std::{
    num::{NonZeroU32, NonZeroU64},
    time::Duration,
};

use proptest::{collection, prelude::*};
use tidegate_policy::{
    balance::{Decay, Pool, Settings, Share, SlowStart, Spill, Ticket},
    endpoints::{Attempt, KEPT_REPORTS, Observer, Started},
    snapshot::{Endpoint, EndpointAddress, Entry, Latency, ReportViews, Since},
    units::WallTime,
};

const ECHO: EndpointAddress = EndpointAddress {
    ip: std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)),
    port: 80,
};

fn at_ms(ms: u64) -> WallTime {
    WallTime::from_ns(1_700_000_000_000_000_000 + ms * 1_000_000)
}

fn start(observer: &mut Observer, now_ms: u64) -> Option<Started> {
    observer.on_start(b"echo", ECHO, 1, at_ms(now_ms))
}

fn succeed(observer: &mut Observer, latency_us: u32, now_ms: u64) {
    let attempt = Attempt::Success { latency_us };
    observer.on_attempt(b"echo", ECHO, 1, attempt, at_ms(now_ms));
}

/// Is the latency that a report has of the endpoint; `None` where the report does not have it.
fn told(observer: &mut Observer, now_ms: u64) -> Option<Option<Latency>> {
    let mut bytes = Vec::new();
    observer.report(&mut bytes, at_ms(now_ms));
    let views = ReportViews::new(&bytes).map(Result::unwrap);
    let mut entries = views.flat_map(|view| view.iter());
    entries
        .find(|(address, _)| *address == ECHO)
        .map(|(_, observed)| observed.latency)
}

fn millis(latency: Option<Option<Latency>>) -> Option<u32> {
    Some(latency??.estimate_us.get() / 1000)
}

#[test]
fn hang_is_told_while_it_lasts_and_not_after() {
    let mut observer = Observer::new(1, 2);
    succeed(&mut observer, 20_000, 0);
    let started = start(&mut observer, 0).unwrap();
    assert_eq!(millis(told(&mut observer, 10)), Some(20));
    // Its news are old, and the wait alone keeps it in the reports.
    for tick in 1..=20 {
        assert_eq!(
            millis(told(&mut observer, tick * 250)),
            Some(u32::try_from(tick * 250).unwrap())
        );
    }
    observer.on_end(&started);
    assert_eq!(millis(told(&mut observer, 5_250)), Some(20));
    for tick in 0..KEPT_REPORTS {
        let now_ms = 5_500 + u64::from(tick) * 250;
        assert_eq!(
            told(&mut observer, now_ms).is_some(),
            tick + 1 < KEPT_REPORTS
        );
    }
}

#[test]
fn first_attempt_of_an_endpoint_has_no_estimate_to_exceed() {
    let mut observer = Observer::new(1, 2);
    let started = start(&mut observer, 0).unwrap();
    assert_eq!(told(&mut observer, 60_000), None);
    observer.on_end(&started);
    succeed(&mut observer, 60_000_000, 60_000);
    assert_eq!(millis(told(&mut observer, 60_000)), Some(60_000));
}

/// An end that nobody told must not make an endpoint seem slow for ever.
#[test]
fn attempt_whose_end_is_never_told_is_given_up_after_five_minutes() {
    let mut observer = Observer::new(1, 2);
    succeed(&mut observer, 20_000, 0);
    let _lost = start(&mut observer, 0);
    assert_eq!(millis(told(&mut observer, 299_750)), Some(299_750));
    succeed(&mut observer, 20_000, 300_000);
    assert_eq!(millis(told(&mut observer, 300_000)), Some(20));
}

#[test]
fn attempts_under_way_are_bounded_and_the_oldest_are_known() {
    let mut observer = Observer::new(1, 2);
    succeed(&mut observer, 20_000, 0);
    let started: Vec<_> = (0..1024)
        .map(|_| start(&mut observer, 1_000).unwrap())
        .collect();
    assert!(start(&mut observer, 2_000).is_none());
    assert_eq!(millis(told(&mut observer, 3_000)), Some(2_000));
    for started in &started {
        observer.on_end(started);
    }
    assert!(start(&mut observer, 3_000).is_some());
    // Those that are lost make room as well.
    for _ in 0..1023 {
        assert!(start(&mut observer, 3_000).is_some());
    }
    assert!(start(&mut observer, 302_999).is_none());
    assert!(start(&mut observer, 303_000).is_some());
}

#[test]
fn clock_that_stands_still_steps_back_or_jumps_makes_no_wait_of_its_own() {
    let mut observer = Observer::new(1, 2);
    succeed(&mut observer, 20_000, 10_000);
    let started = start(&mut observer, 10_000).unwrap();
    assert_eq!(millis(told(&mut observer, 10_000)), Some(20));
    assert_eq!(millis(told(&mut observer, 1_000)), Some(20));
    assert_eq!(millis(told(&mut observer, 31_536_000_000)), Some(20));
    observer.on_end(&started);
    observer.on_end(&started);
    assert_eq!(observer.counts().left_out, 0);
}

#[test]
fn another_life_of_the_address_does_not_wait_for_the_first_ones_attempts() {
    let mut observer = Observer::new(1, 2);
    succeed(&mut observer, 20_000, 0);
    let started = start(&mut observer, 0).unwrap();
    let attempt = Attempt::Success { latency_us: 30_000 };
    observer.on_attempt(b"echo", ECHO, 2, attempt, at_ms(5_000));
    assert_eq!(millis(told(&mut observer, 5_000)), Some(30));
    observer.on_end(&started);
    assert_eq!(millis(told(&mut observer, 5_250)), Some(30));
}

/// Is a balancer's pool of the one endpoint: what a report says is to be what it would say.
fn pool(now_ms: u64) -> Pool {
    let mut pool = Pool::new(Settings {
        decay: Decay::DEFAULT,
        slow_start: SlowStart::new(Duration::ZERO, NonZeroU32::MIN, 0),
        drain_window: Duration::from_secs(60),
        spill: Spill::new(1_000_000),
        recent_failure: Duration::from_secs(1),
    });
    let since = Since {
        generation: 1,
        at: at_ms(0),
    };
    let entry = Entry {
        address: ECHO,
        endpoint: Endpoint {
            instance: NonZeroU64::new(1),
            ..Endpoint::new(since)
        },
        zone: b"",
        name: &[],
    };
    pool.prepare([(entry, Share::FULL)], b"", NonZeroU32::MIN, at_ms(now_ms));
    pool
}

proptest! {
    /// Attempts begin, one of them ends well or not, time passes: the report has what the
    /// balancer's pool would report, which keeps its own books.
    #[test]
    fn report_says_of_an_endpoint_what_a_balancer_would(
        steps in collection::vec((0_u8..4, any::<prop::sample::Index>(), 0_u64..3_000), 1..60),
    ) {
        let mut observer = Observer::new(1, 2);
        let mut pool = pool(0);
        let seat = pool.seat(&ECHO).unwrap();
        let mut under_way: Vec<(Started, Ticket, u64)> = Vec::new();
        let mut now_ms = 0;
        for (kind, which, passed_ms) in steps {
            now_ms += passed_ms;
            let now = at_ms(now_ms);
            if kind < 2 {
                let started = start(&mut observer, now_ms).unwrap();
                under_way.push((started, pool.on_start(seat, now), now_ms));
            } else if !under_way.is_empty() {
                let (started, ticket, began_ms) = under_way.swap_remove(which.index(under_way.len()));
                observer.on_end(&started);
                if kind == 2 {
                    let latency = Duration::from_millis(now_ms - began_ms);
                    succeed(&mut observer, u32::try_from(latency.as_micros()).unwrap(), now_ms);
                    pool.on_sample(&ticket, latency, now);
                } else {
                    observer.on_attempt(b"echo", ECHO, 1, Attempt::LocalFailure, now);
                }
                pool.on_end(ticket);
            }
            if let Some(told) = told(&mut observer, now_ms) {
                prop_assert_eq!(told, pool.latency(seat, now));
            } else {
                // It is left out only where there is no news of it: nobody waits for long.
                let waits = pool.latency(seat, now).is_some_and(|latency| latency.at == now);
                prop_assert!(!waits || passed_ms == 0);
            }
        }
    }
}
