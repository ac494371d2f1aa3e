use alloc::{format, string::String, vec::Vec};

use super::*;

const WINDOW: Duration = Duration::from_secs(60);

const NOW: WallTime = WallTime::from_seconds(1_000);

fn member(presence: Presence, health: Health) -> Member {
    Member {
        listed: Listed {
            health,
            ..Listed::default()
        },
        presence,
        generation: 1,
        first_seen: WallTime::from_seconds(900),
        last_seen: NOW,
        last_absent: None,
    }
}

fn health(discovered: Discovered) -> Health {
    Health {
        discovered,
        ..Health::default()
    }
}

fn shown(state: State) -> String {
    let seconds = |at: WallTime| match at.as_seconds().checked_sub(1_000) {
        Some(seconds) if seconds <= 3_600 => format!("{seconds}"),
        _ => String::from("never"),
    };
    match state {
        State::Unknown => "unknown".into(),
        State::Available { .. } => "available".into(),
        State::Probing => "probing".into(),
        State::Ejected { until } => format!("ejected:{}", seconds(until)),
        State::Draining { until } => format!("draining:{}", seconds(until)),
        State::Vanished { until } => format!("vanished:{}", seconds(until)),
    }
}

#[test]
fn every_membership_with_every_readiness_has_the_state_of_the_table() {
    let remaining = Duration::from_secs(8);
    let readiness = [
        Readiness::NotProbed,
        Readiness::Probed(Verdict::Healthy),
        Readiness::Probed(Verdict::Unproven { available: true }),
        Readiness::Probed(Verdict::Unproven { available: false }),
        Readiness::Probed(Verdict::Unhealthy),
        Readiness::Probed(Verdict::Draining { remaining }),
        Readiness::Probed(Verdict::Drained),
    ];
    let ejected = Health {
        failed_outlier_check: true,
        ..Health::default()
    };
    let left = Presence::Vanished {
        at: WallTime::from_seconds(970),
    };
    let members = [
        ("available", Presence::Listed, Health::default()),
        ("learned", Presence::Learned, Health::default()),
        ("degraded", Presence::Listed, health(Discovered::Degraded)),
        ("unhealthy", Presence::Listed, health(Discovered::Unhealthy)),
        ("outlier", Presence::Listed, ejected),
        ("draining", Presence::Listed, health(Discovered::Draining)),
        ("vanished", left, Health::default()),
    ];
    let mut table = String::from("\n");
    for (name, presence, health) in members {
        let member = member(presence, health);
        let states: Vec<String> = readiness
            .iter()
            .map(|readiness| shown(state_of(&member, *readiness, None, WINDOW, NOW)))
            .collect();
        table += format!("{name:<9} {}\n", states.join(" ")).as_str();
    }
    // Columns: not probed, healthy, unproven (counted healthy, unhealthy), unhealthy, draining for 8 s, drained.
    let expected = "
available available available unknown ejected:never ejected:never draining:8 draining:0
learned   available available unknown ejected:never ejected:never draining:8 draining:0
degraded  available available unknown ejected:never ejected:never draining:8 draining:0
unhealthy ejected:never ejected:never ejected:never ejected:never ejected:never draining:8 draining:0
outlier   ejected:never ejected:never ejected:never ejected:never ejected:never draining:8 draining:0
draining  draining:60 draining:60 draining:60 draining:60 draining:60 draining:8 draining:0
vanished  vanished:30 vanished:30 vanished:30 vanished:30 vanished:30 vanished:30 vanished:30
";
    assert_eq!(table, expected);
}

#[test]
fn deadline_of_a_drain_only_comes_nearer() {
    let draining = member(Presence::Listed, health(Discovered::Draining));
    let until = |seconds: u64| State::Draining {
        until: WallTime::from_seconds(seconds),
    };
    let state = |before| state_of(&draining, Readiness::NotProbed, Some(before), WINDOW, NOW);
    assert_eq!(state(until(1_030)), until(1_030));
    assert_eq!(state(until(1_090)), until(1_060));
    assert_eq!(state(until(900)), until(900), "drained stays drained");
    assert_eq!(state(State::Unknown), until(1_060));
}

#[test]
fn endpoint_that_was_seen_to_join_begins_slowly() {
    let joined = Member {
        last_absent: Some(WallTime::from_seconds(899)),
        ..member(Presence::Listed, Health::default())
    };
    let slow_start = Some(WallTime::from_seconds(900));
    let state = state_of(&joined, Readiness::NotProbed, None, WINDOW, NOW);
    assert_eq!(state, State::Available { slow_start });
    assert_eq!(since_of(&joined).at, WallTime::from_seconds(899));
}

#[test]
fn member_of_a_snapshot_has_the_state_that_was_published() {
    let since = Since {
        generation: 3,
        at: WallTime::from_seconds(899),
    };
    let at = WallTime::from_seconds;
    for state in [
        State::Available { slow_start: None },
        State::Available {
            slow_start: Some(at(900)),
        },
        State::Ejected { until: NEVER },
        State::Draining { until: at(1_030) },
        State::Draining { until: at(990) },
        State::Vanished { until: at(1_030) },
    ] {
        let eds_health = match state {
            State::Draining { .. } => EdsHealth::Draining,
            _ => EdsHealth::Healthy,
        };
        let endpoint = Endpoint {
            state,
            eds_health,
            ..Endpoint::new(since)
        };
        let member = member_of(&endpoint, false, WINDOW, NOW);
        let again = state_of(&member, Readiness::NotProbed, Some(state), WINDOW, NOW);
        let expected = match state {
            State::Available { .. } => State::Available {
                slow_start: Some(member.first_seen),
            },
            other => other,
        };
        assert_eq!(again, expected);
        assert_eq!(since_of(&member), since);
        assert_eq!(eds_health_of(member.listed.health), eds_health);
        let start = start_of(&endpoint, NOW);
        let is_available = matches!(state, State::Available { .. });
        let Start::Known(verdict, None) = start else {
            panic!("{start:?}");
        };
        assert_eq!(verdict.is_available(), is_available);
    }
}
