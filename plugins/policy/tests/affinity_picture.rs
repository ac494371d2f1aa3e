//! What is decided about a session by a picture of the endpoints.
//!
//! `BLESS=1 cargo test -p tidegate-policy --test affinity_picture` writes the table again.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    num::{NonZeroU32, NonZeroU64},
};

use tidegate_policy::{
    affinity::{
        Binding, Config, Kind, Matcher, RequestDecision, RequestReason, ResponseReason, ServedBy,
        client_hash, known_instance,
    },
    endpoints::{Known, Picture, Unknown},
    snapshot::{Checked, Endpoint, EndpointAddress, Header, Since, Snapshot, State, Version},
    units::WallTime,
};

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/affinity_matrix.txt");
const KEYS: &str = "1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const NOW: u64 = 1_700_000_000;
/// Is when the sessions begin.
const BEGUN: u64 = NOW - 600;
const OWN: &str = "10.0.0.1:80";
const AVAILABLE: State = State::Available { slow_start: None };

fn at(seconds: u64) -> WallTime {
    WallTime::from_seconds(seconds)
}

/// Is a picture that was confirmed at [`NOW`].
struct Scene {
    snapshot: Snapshot,
    checked: Checked,
}

impl Scene {
    fn new(endpoints: &[(&str, State)]) -> Self {
        let mut snapshot = Snapshot::new(Header {
            configuration: 1,
            cluster: 2,
            epoch: 3,
            generation: 4,
            published_at: at(NOW),
        });
        let since = Since {
            generation: 1,
            at: WallTime::default(),
        };
        for (address, state) in endpoints {
            let endpoint = Endpoint {
                state: *state,
                ..Endpoint::new(since)
            };
            let address = EndpointAddress::parse(address.as_bytes()).unwrap();
            snapshot.try_push(address, endpoint, b"").unwrap();
        }
        let checked = check(&snapshot);
        Self { snapshot, checked }
    }

    /// Is a cluster of the own endpoint in this state, and of two others that are available.
    fn of_own(state: State) -> Self {
        Self::new(&[
            (OWN, state),
            ("10.0.0.2:80", AVAILABLE),
            ("10.0.0.3:80", AVAILABLE),
        ])
    }

    fn with(mut self, address: &str, change: impl FnOnce(&mut Endpoint)) -> Self {
        let address = EndpointAddress::parse(address.as_bytes()).unwrap();
        self.snapshot.update(&address, change).unwrap();
        self.checked = check(&self.snapshot);
        self
    }

    fn picture(&self) -> Picture<'_> {
        Picture::Known(Known {
            view: self.checked.view(),
            version: Version {
                epoch: 3,
                generation: 4,
                confirmed_at: at(NOW),
            },
        })
    }
}

fn check(snapshot: &Snapshot) -> Checked {
    let mut bytes = Vec::new();
    snapshot.encode(&mut bytes);
    Checked::try_new(bytes).unwrap()
}

/// Is a gateway with one rule for the cluster `echo`.
struct Gateway {
    config: Config,
    matcher: Matcher,
}

impl Gateway {
    fn with(fields: &str) -> Self {
        let text =
            format!("{{\"clusters\": [{{\"name\": \"echo\"{fields}}}], \"endpoints\": {{}}}}");
        let config = Config::parse(&text, |_| Some(KEYS.into())).unwrap();
        let matcher = Matcher::new(config.clusters());
        Self { config, matcher }
    }

    fn draining(mode: &str) -> Self {
        Self::with(&format!(", \"when_draining\": \"{mode}\""))
    }

    fn request(&self, cookie: &str, kind: Kind, picture: Picture<'_>, now: u64) -> RequestDecision {
        let rule = self.matcher.find(b"echo").unwrap();
        let binding = Binding {
            cluster: b"echo",
            cookie_name: &rule.cookie_name,
        };
        let keys = self.config.keys();
        rule.policy
            .on_request(cookie.as_bytes(), keys, binding, kind, picture, at(now))
    }

    /// Is the reason and the cookie of a response with this status.
    fn respond(
        &self,
        request: &RequestDecision,
        status: u16,
        served_by: &str,
        picture: Picture<'_>,
        now: u64,
    ) -> (ResponseReason, Option<String>) {
        let rule = self.matcher.find(b"echo").unwrap();
        let binding = Binding {
            cluster: b"echo",
            cookie_name: &rule.cookie_name,
        };
        let served_by = ServedBy::Endpoint(served_by.as_bytes());
        let decision = rule
            .policy
            .on_response(request, served_by, || Ok::<_, ()>(status))
            .unwrap();
        let cookie = decision.write.map(|write| {
            let keys = self.config.keys();
            let instance = known_instance(picture, write.address());
            let draws = [1, 2, 3, now];
            let set = rule
                .policy
                .write(&write, instance, keys, binding, true, at(now), draws)
                .unwrap();
            let (_, rest) = set.split_once('=').unwrap();
            rest.split(';').next().unwrap().to_owned()
        });
        (decision.reason, cookie)
    }

    /// Begins a session on an endpoint and hands out the cookie's value.
    fn issue(&self, address: &str, picture: Picture<'_>, now: u64) -> String {
        let request = RequestDecision::unpinned(RequestReason::NewSession);
        let (reason, cookie) = self.respond(&request, 200, address, picture, now);
        assert_eq!(reason, ResponseReason::Issued);
        cookie.unwrap()
    }

    /// Is the endpoint that a cookie names, as a gateway without a picture shows it.
    fn named_by(&self, cookie: &str, now: u64) -> String {
        let request = self.request(cookie, Kind::Plain, NOTHING, now);
        request.endpoint().unwrap().as_str().to_owned()
    }
}

const NOTHING: Picture<'static> = Picture::Unknown(Unknown::NotConfigured);

fn endpoint_of(request: &RequestDecision) -> &str {
    request.endpoint().map_or("", |address| address.as_str())
}

#[test]
fn table_of_states_modes_and_kinds_is_the_committed_one() {
    let until = |seconds| at(seconds);
    let far = WallTime::from_ns(u64::MAX);
    let states: [(&str, Option<State>); 12] = [
        ("unknown", Some(State::Unknown)),
        ("available", Some(AVAILABLE)),
        (
            "slow start",
            Some(State::Available {
                slow_start: Some(at(NOW)),
            }),
        ),
        ("probing", Some(State::Probing)),
        ("ejected", Some(State::Ejected { until: far })),
        (
            "ejected, trial due",
            Some(State::Ejected { until: until(NOW) }),
        ),
        (
            "draining",
            Some(State::Draining {
                until: until(NOW + 1),
            }),
        ),
        ("drained", Some(State::Draining { until: until(NOW) })),
        (
            "vanished",
            Some(State::Vanished {
                until: until(NOW + 1),
            }),
        ),
        (
            "vanished, to forget",
            Some(State::Vanished { until: until(NOW) }),
        ),
        ("not listed, cookie old", None),
        ("not listed, cookie young", None),
    ];
    let mut table = String::from(
        "What becomes of a session on `own` when two others are available, and when nobody is.\n",
    );
    for (name, state) in states {
        writeln!(table, "\n{name}").unwrap();
        let scenes = [
            state.map_or_else(
                || Scene::new(&[("10.0.0.2:80", AVAILABLE), ("10.0.0.3:80", AVAILABLE)]),
                Scene::of_own,
            ),
            state.map_or_else(|| Scene::new(&[]), |state| Scene::new(&[(OWN, state)])),
        ];
        let begun = if name.ends_with("young") {
            NOW - 5
        } else {
            BEGUN
        };
        for mode in ["hand_over", "keep", "move"] {
            for kind in [Kind::Plain, Kind::Upgrade] {
                let gateway = Gateway::draining(mode);
                let cookie = gateway.issue(OWN, NOTHING, begun);
                let mut cells = Vec::new();
                for scene in &scenes {
                    let request = gateway.request(&cookie, kind, scene.picture(), NOW);
                    let to = endpoint_of(&request).to_owned();
                    let (answer, set) = gateway.respond(&request, 200, &to, scene.picture(), NOW);
                    let role = |address: &str| if address == OWN { "own" } else { "successor" };
                    let cookie = set.map_or("as it is", |set| role(&gateway.named_by(&set, NOW)));
                    cells.push(format!(
                        "{} -> {}, {}, cookie: {cookie}",
                        request.reason.as_str(),
                        role(&to),
                        answer.as_str(),
                    ));
                }
                writeln!(table, "  {mode:9} {:7} {}", format!("{kind:?}"), cells[0]).unwrap();
                writeln!(table, "  {:17}  alone: {}", "", cells[1]).unwrap();
            }
        }
    }
    if std::env::var_os("BLESS").is_some() {
        fs::write(TABLE, &table).unwrap();
    }
    let committed = fs::read_to_string(TABLE).unwrap_or_default();
    assert_eq!(table, committed, "BLESS=1 writes it again");
}

#[test]
fn session_without_a_picture_is_pinned_and_the_reason_says_why_there_is_none() {
    let gateway = Gateway::with("");
    let cookie = gateway.issue(OWN, NOTHING, BEGUN);
    for (unknown, expected) in [
        (Unknown::NotConfigured, RequestReason::Pinned),
        (Unknown::NotYet, RequestReason::PinnedNoPicture),
        (Unknown::Stale, RequestReason::PinnedStalePicture),
    ] {
        let picture = Picture::Unknown(unknown);
        let request = gateway.request(&cookie, Kind::Plain, picture, NOW);
        assert_eq!((request.reason, endpoint_of(&request)), (expected, OWN));
        let (reason, set) = gateway.respond(&request, 200, "10.0.0.2:80", picture, NOW);
        assert_eq!((reason, set), (ResponseReason::ServedElsewhere, None));
    }
}

#[test]
fn endpoint_that_the_picture_lacks_is_gone_five_seconds_before_its_confirmation() {
    let gateway = Gateway::with("");
    let scene = Scene::new(&[("10.0.0.2:80", AVAILABLE)]);
    let cases = [
        (NOW - 6, RequestReason::SuccessorGone),
        (NOW - 5, RequestReason::PinnedUnlisted),
        (NOW + 30, RequestReason::PinnedUnlisted),
    ];
    for (begun, expected) in cases {
        let cookie = gateway.issue(OWN, NOTHING, begun);
        let request = gateway.request(&cookie, Kind::Plain, scene.picture(), NOW);
        assert_eq!(request.reason, expected, "{begun}");
    }
}

#[test]
fn cookie_from_before_the_address_was_last_absent_is_refused() {
    let gateway = Gateway::with("");
    let since = |ns| Scene::of_own(AVAILABLE).with(OWN, |own| own.since.at = WallTime::from_ns(ns));
    let begun_ns = BEGUN * 1_000_000_000;
    let cases = [
        (0, RequestReason::Pinned),
        (begun_ns, RequestReason::Pinned),
        (begun_ns + 1_000_000, RequestReason::RefusedReusedAddress),
    ];
    for (ns, expected) in cases {
        let cookie = gateway.issue(OWN, NOTHING, BEGUN);
        let scene = since(ns);
        let request = gateway.request(&cookie, Kind::Plain, scene.picture(), NOW);
        assert_eq!(request.reason, expected, "{ns}");
        let is_pinned = expected == RequestReason::Pinned;
        assert_eq!(endpoint_of(&request), if is_pinned { OWN } else { "" });
        // A session begins, on whoever serves.
        let (reason, _) = gateway.respond(&request, 200, OWN, scene.picture(), NOW);
        assert_eq!(reason == ResponseReason::Issued, !is_pinned);
    }
}

#[test]
fn session_that_moved_to_an_endpoint_younger_than_itself_stays_there() {
    let gateway = Gateway::with("");
    let joined = NOW - 10;
    let scene = Scene::new(&[
        (
            OWN,
            State::Vanished {
                until: at(NOW + 50),
            },
        ),
        ("10.0.0.9:80", AVAILABLE),
    ])
    .with("10.0.0.9:80", |endpoint| endpoint.since.at = at(joined));
    let cookie = gateway.issue(OWN, NOTHING, BEGUN);
    let request = gateway.request(&cookie, Kind::Plain, scene.picture(), NOW);
    assert_eq!(request.reason, RequestReason::SuccessorGone);
    let (_, moved) = gateway.respond(&request, 200, "10.0.0.9:80", scene.picture(), NOW);
    let moved = moved.unwrap();
    let again = gateway.request(&moved, Kind::Plain, scene.picture(), NOW + 1);
    assert_eq!(
        (again.reason, endpoint_of(&again)),
        (RequestReason::Pinned, "10.0.0.9:80")
    );
    // It is as old as it was.
    let end = BEGUN + 3 * 3600;
    let over = gateway.request(&moved, Kind::Plain, scene.picture(), end);
    assert_eq!(over.reason, RequestReason::RefusedExpired);
}

#[test]
fn cookie_binds_the_instance_and_another_one_is_refused() {
    let gateway = Gateway::with("");
    let digest = NonZeroU64::new;
    let scene =
        |instance| Scene::of_own(AVAILABLE).with(OWN, |own| own.instance = digest(instance));
    let (none, first, second) = (scene(0), scene(7), scene(8));
    let cookie = gateway.issue(OWN, first.picture(), BEGUN);
    let reason = |scene: &Scene, cookie: &str| {
        gateway
            .request(cookie, Kind::Plain, scene.picture(), NOW)
            .reason
    };
    assert_eq!(reason(&first, &cookie), RequestReason::Pinned);
    assert_eq!(reason(&none, &cookie), RequestReason::Pinned);
    assert_eq!(
        reason(&second, &cookie),
        RequestReason::RefusedOtherInstance
    );
    // One that knows none learns it with the next response, and once.
    let cookie = gateway.issue(OWN, none.picture(), BEGUN);
    let request = gateway.request(&cookie, Kind::Plain, first.picture(), NOW);
    let (answer, set) = gateway.respond(&request, 200, OWN, first.picture(), NOW);
    assert_eq!(answer, ResponseReason::Refreshed);
    let bound = set.unwrap();
    assert_eq!(reason(&second, &bound), RequestReason::RefusedOtherInstance);
    let request = gateway.request(&bound, Kind::Plain, first.picture(), NOW);
    let (answer, _) = gateway.respond(&request, 200, OWN, first.picture(), NOW);
    assert_eq!(answer, ResponseReason::Kept);
}

#[test]
fn session_of_an_ejected_endpoint_follows_whoever_served_and_is_not_pulled_back() {
    let gateway = Gateway::with("");
    let ejected = Scene::of_own(State::Ejected {
        until: at(u64::MAX),
    });
    let cookie = gateway.issue(OWN, NOTHING, BEGUN);
    let request = gateway.request(&cookie, Kind::Plain, ejected.picture(), NOW);
    let successor = endpoint_of(&request).to_owned();
    let other = if successor == "10.0.0.2:80" {
        "10.0.0.3:80"
    } else {
        "10.0.0.2:80"
    };
    // Who served, with which status; the reason, and who the cookie names then.
    let cases = [
        (
            successor.as_str(),
            200,
            ResponseReason::RePinned,
            Some(successor.as_str()),
        ),
        (other, 200, ResponseReason::RePinned, Some(other)),
        (other, 101, ResponseReason::RePinned, Some(other)),
        (
            successor.as_str(),
            503,
            ResponseReason::ServedElsewhere,
            None,
        ),
        (other, 500, ResponseReason::ServedElsewhere, None),
        ("/run/socket", 200, ResponseReason::ServedElsewhere, None),
        (OWN, 200, ResponseReason::Kept, None),
        (OWN, 503, ResponseReason::Kept, None),
    ];
    for (served_by, status, expected, names) in cases {
        let (reason, set) = gateway.respond(&request, status, served_by, ejected.picture(), NOW);
        assert_eq!(reason, expected, "{served_by} {status}");
        let named = set.as_ref().map(|set| gateway.named_by(set, NOW));
        assert_eq!(named.as_deref(), names);
        if let Some(set) = set {
            let back = Scene::of_own(AVAILABLE);
            let next = gateway.request(&set, Kind::Plain, back.picture(), NOW + 1);
            assert_eq!(
                (next.reason, Some(endpoint_of(&next))),
                (RequestReason::Pinned, names)
            );
        }
    }
}

#[test]
fn session_that_is_handed_over_goes_to_whoever_served_instead() {
    let gateway = Gateway::draining("hand_over");
    let scene = Scene::of_own(State::Draining {
        until: at(NOW + 30),
    });
    let cookie = gateway.issue(OWN, NOTHING, BEGUN);
    let request = gateway.request(&cookie, Kind::Plain, scene.picture(), NOW);
    assert_eq!(endpoint_of(&request), OWN);
    let heir = {
        let upgrade = gateway.request(&cookie, Kind::Upgrade, scene.picture(), NOW);
        endpoint_of(&upgrade).to_owned()
    };
    for (served_by, status, expected, names) in [
        (OWN, 200, ResponseReason::HandedOver, Some(heir.as_str())),
        (OWN, 503, ResponseReason::HandedOver, Some(heir.as_str())),
        (
            "10.0.0.2:80",
            200,
            ResponseReason::RePinned,
            Some("10.0.0.2:80"),
        ),
        (
            "10.0.0.3:80",
            200,
            ResponseReason::RePinned,
            Some("10.0.0.3:80"),
        ),
        ("10.0.0.3:80", 503, ResponseReason::ServedElsewhere, None),
    ] {
        let (reason, set) = gateway.respond(&request, status, served_by, scene.picture(), NOW);
        let named = set.map(|set| gateway.named_by(&set, NOW));
        assert_eq!(
            (reason, named.as_deref()),
            (expected, names),
            "{served_by} {status}"
        );
    }
}

#[test]
fn gateways_with_equal_pictures_agree_and_sessions_spread() {
    let endpoints: Vec<(String, State)> = (1..=10)
        .map(|number| {
            let state = if number == 1 {
                State::Draining { until: at(NOW) }
            } else {
                AVAILABLE
            };
            (format!("10.0.0.{number}:80"), state)
        })
        .collect();
    let listed: Vec<(&str, State)> = endpoints
        .iter()
        .map(|(address, state)| (address.as_str(), *state))
        .collect();
    let reversed: Vec<(&str, State)> = listed.iter().rev().copied().collect();
    let (one, other) = (Scene::new(&listed), Scene::new(&reversed));
    let (left, right) = (Gateway::with(""), Gateway::draining("move"));
    let mut seen = BTreeSet::new();
    for number in 0..200 {
        // The time of the issue is the nonce's draw.
        let cookie = left.issue("10.0.0.1:80", NOTHING, BEGUN - number);
        let request = left.request(&cookie, Kind::Plain, one.picture(), NOW);
        let same = right.request(&cookie, Kind::Upgrade, other.picture(), NOW);
        assert_eq!(endpoint_of(&request), endpoint_of(&same));
        seen.insert(endpoint_of(&request).to_owned());
    }
    assert_eq!(seen.len(), 9);
}

#[test]
fn first_requests_of_one_client_agree_where_its_address_places_them() {
    let scene = Scene::of_own(AVAILABLE);
    let (balance, place) = (
        Gateway::with(""),
        Gateway::with(", \"first_request\": \"client_address\""),
    );
    let policy = |gateway: &Gateway| gateway.matcher.find(b"echo").unwrap().policy.clone();
    assert!(!policy(&balance).places_first() && policy(&place).places_first());
    let first = |source: &[u8], reason, picture| {
        let decision = RequestDecision::unpinned(reason);
        policy(&place).place_first(decision, client_hash(source), picture)
    };
    let new = RequestReason::NewSession;
    let one = first(b"192.0.2.7:1", new, scene.picture());
    let two = first(b"192.0.2.7:2", new, scene.picture());
    assert_eq!(one.reason, RequestReason::NewSessionByAddress);
    assert!(one.endpoint().is_some());
    assert_eq!(one, two);
    let expired = first(
        b"192.0.2.7:3",
        RequestReason::RefusedExpired,
        scene.picture(),
    );
    assert_eq!(
        (expired.reason, expired.endpoint()),
        (RequestReason::RefusedExpired, one.endpoint())
    );
    for (source, picture) in [
        (&b"/run/socket"[..], scene.picture()),
        (b"192.0.2.7:1", NOTHING),
        (b"192.0.2.7:1", Scene::new(&[]).picture()),
    ] {
        assert_eq!(first(source, new, picture), RequestDecision::unpinned(new));
    }
    // Whoever serves has the session.
    let (reason, set) = place.respond(&one, 200, "10.0.0.3:80", scene.picture(), NOW);
    assert_eq!(reason, ResponseReason::Issued);
    assert_eq!(place.named_by(&set.unwrap(), NOW), "10.0.0.3:80");
}

#[test]
fn new_sessions_go_where_a_member_takes_them_by_weight() {
    let ejected = State::Ejected {
        until: at(NOW + 30),
    };
    let gone = State::Vanished {
        until: at(NOW + 30),
    };
    for (state, expected) in [
        (AVAILABLE, false),
        (State::Unknown, false),
        (State::Probing, false),
        (gone, false),
        (State::Draining { until: at(NOW) }, true),
        (ejected, true),
    ] {
        let scene = Scene::of_own(state);
        assert_eq!(scene.checked.view().turns_away(), expected, "{state:?}");
    }
    let scene = Scene::of_own(ejected).with("10.0.0.3:80", |endpoint| {
        endpoint.weight = NonZeroU32::new(3).unwrap();
    });
    let gateway = Gateway::with("");
    let policy = &gateway.matcher.find(b"echo").unwrap().policy;
    let new = || RequestDecision::unpinned(RequestReason::NewSession);
    let heavy = (0..10_000_u64)
        .filter(|number| {
            let draw = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let placed = policy.place_anew(new(), draw, scene.picture());
            assert_eq!(placed.reason, RequestReason::NewSessionByPicture);
            assert_ne!(endpoint_of(&placed), OWN);
            endpoint_of(&placed) == "10.0.0.3:80"
        })
        .count();
    // n = 10 000, p = 3/4: four standard deviations are 173.
    assert!((7_327..=7_673).contains(&heavy), "{heavy}");
    let expired = RequestDecision::unpinned(RequestReason::RefusedExpired);
    let placed = policy.place_anew(expired, 1, scene.picture());
    assert_eq!(placed.reason, RequestReason::RefusedExpired);
    assert!(placed.endpoint().is_some());
    for picture in [NOTHING, Scene::new(&[(OWN, ejected)]).picture()] {
        assert_eq!(policy.place_anew(new(), 1, picture), new());
    }
}

#[test]
fn clock_that_stands_still_steps_back_or_jumps_ahead_only_moves_deadlines() {
    let gateway = Gateway::draining("keep");
    let scene = Scene::of_own(State::Draining {
        until: at(NOW + 30),
    });
    let cookie = gateway.issue(OWN, NOTHING, BEGUN);
    let reason = |now| {
        gateway
            .request(&cookie, Kind::Plain, scene.picture(), now)
            .reason
    };
    assert_eq!(reason(NOW), RequestReason::PinnedDraining);
    assert_eq!(reason(NOW), RequestReason::PinnedDraining);
    assert_eq!(reason(BEGUN), RequestReason::PinnedDraining);
    assert_eq!(reason(NOW + 30), RequestReason::SuccessorDraining);
    assert_eq!(reason(NOW + 365 * 86_400), RequestReason::RefusedExpired);
}
