//! Sessions and keys go to the lowest priority that has an available endpoint.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use tidegate_policy::{
    affinity::{Config, Matcher, RequestDecision, RequestReason, Tables, key_hash, on_key},
    endpoints::{Known, Picture},
    snapshot::{Checked, Endpoint, EndpointAddress, Header, Since, Snapshot, State, Version},
    successor::TableSize,
    units::WallTime,
};

const AVAILABLE: State = State::Available { slow_start: None };
const EJECTED: State = State::Ejected {
    until: WallTime::from_seconds(2_000_000_000),
};
const VANISHED: State = State::Vanished {
    until: WallTime::from_seconds(2_000_000_000),
};

fn checked(endpoints: &[(u8, u8, State)]) -> Checked {
    let mut snapshot = Snapshot::new(Header {
        configuration: 1,
        cluster: 2,
        epoch: 3,
        generation: 4,
        published_at: WallTime::default(),
    });
    let since = Since {
        generation: 1,
        at: WallTime::default(),
    };
    for (number, priority, state) in endpoints {
        let endpoint = Endpoint {
            state: *state,
            priority: *priority,
            ..Endpoint::new(since)
        };
        let address = EndpointAddress::parse(format!("10.0.0.{number}:80").as_bytes());
        let pushed = snapshot.try_push(address.unwrap(), endpoint, b"");
        assert_eq!(pushed, Ok(()));
    }
    let mut bytes = Vec::new();
    snapshot.encode(&mut bytes);
    Checked::try_new(bytes).unwrap()
}

fn picture(checked: &Checked) -> Picture<'_> {
    Picture::Known(Known {
        view: checked.view(),
        version: Version {
            epoch: 3,
            generation: 4,
            confirmed_at: WallTime::default(),
        },
    })
}

/// Are the last numbers of the endpoints that new sessions go to.
fn placed(endpoints: &[(u8, u8, State)]) -> BTreeSet<String> {
    let text = "{\"clusters\": [{\"name\": \"echo\"}], \"endpoints\": {}}";
    let keys = "1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let config = Config::parse(text, |_| Some(keys.into())).unwrap();
    let matcher = Matcher::new(config.clusters());
    let policy = &matcher.find(b"echo").unwrap().policy;
    let checked = checked(endpoints);
    let new = || RequestDecision::unpinned(RequestReason::NewSession);
    (0..200)
        .filter_map(|draw| {
            let decision = policy.place_anew(new(), draw, picture(&checked));
            decision.endpoint().map(|address| last(address.as_str()))
        })
        .collect()
}

/// Are those that keys go to, and whether by the table or as successors.
fn keyed(endpoints: &[(u8, u8, State)]) -> BTreeSet<(String, RequestReason)> {
    let checked = checked(endpoints);
    let mut tables = Tables::new();
    tables.want(b"echo", TableSize::try_new(1009).unwrap());
    tables.on_tick(|_| picture(&checked), u32::MAX);
    (0_u32..500)
        .filter_map(|key| {
            let hash = key_hash(&key.to_be_bytes());
            let decision = on_key(hash, tables.get(b"echo"), picture(&checked));
            let address = decision.endpoint()?;
            Some((last(address.as_str()), decision.reason))
        })
        .collect()
}

fn last(address: &str) -> String {
    let number = address.split(['.', ':']).nth(3);
    number.unwrap_or_default().to_owned()
}

fn set<const N: usize>(numbers: [&str; N]) -> BTreeSet<String> {
    numbers.map(str::to_owned).into()
}

#[test]
fn session_goes_to_the_lowest_priority_that_has_an_available_endpoint() {
    let levels = |one: State, two: State, three: State| {
        placed(&[
            (1, 0, one),
            (2, 0, two),
            (3, 1, three),
            (4, 1, AVAILABLE),
            (5, 200, AVAILABLE),
        ])
    };
    assert_eq!(levels(AVAILABLE, AVAILABLE, AVAILABLE), set(["1", "2"]));
    assert_eq!(levels(EJECTED, AVAILABLE, AVAILABLE), set(["2"]));
    assert_eq!(levels(EJECTED, VANISHED, AVAILABLE), set(["3", "4"]));
    assert_eq!(levels(EJECTED, EJECTED, EJECTED), set(["4"]));
    // One on trial takes its part of a level, and no level by itself where there is another.
    assert_eq!(
        levels(State::Probing, AVAILABLE, AVAILABLE),
        set(["1", "2"])
    );
    assert_eq!(levels(State::Probing, EJECTED, AVAILABLE), set(["3", "4"]));
    assert_eq!(
        placed(&[(1, 0, EJECTED), (2, 3, State::Probing)]),
        set(["2"])
    );
    assert_eq!(placed(&[(1, 1, EJECTED)]), set([]));
}

#[test]
fn key_goes_to_the_lowest_priority_and_to_the_next_when_nobody_there_is_available() {
    use RequestReason::{Keyed, KeyedSuccessor};
    let of = |numbers: &[&str], reason| -> BTreeSet<(String, RequestReason)> {
        numbers
            .iter()
            .map(|number| ((*number).to_owned(), reason))
            .collect()
    };
    let levels = |one, two| {
        keyed(&[
            (1, 1, one),
            (2, 1, two),
            (3, 2, AVAILABLE),
            (4, 2, AVAILABLE),
        ])
    };
    assert_eq!(levels(AVAILABLE, AVAILABLE), of(&["1", "2"], Keyed));
    assert_eq!(
        levels(EJECTED, AVAILABLE),
        of(&["2"], Keyed)
            .union(&of(&["2"], KeyedSuccessor))
            .cloned()
            .collect()
    );
    assert_eq!(levels(EJECTED, EJECTED), of(&["3", "4"], KeyedSuccessor));
    // Once a level has left, the next one has the table.
    assert_eq!(levels(VANISHED, VANISHED), of(&["3", "4"], Keyed));
}
