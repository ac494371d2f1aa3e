//! What an operator sees of the picture.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::num::{NonZeroU32, NonZeroU64};

use serde_json::{Value, json};
use tidegate_policy::{
    config::{Problems, from_json},
    endpoints::{Config, Follower, MAX_STATUS_BYTES, RawEndpoints, Status, StatusQuery},
    snapshot::{
        EdsHealth, EjectionCause, Endpoint, EndpointAddress, Failures, Header, Latency, Since,
        Snapshot, State, Versions, cluster_digest,
    },
    units::WallTime,
};

fn at(seconds: u64) -> WallTime {
    WallTime::from_seconds(1_700_000_000 + seconds)
}

fn config() -> Config {
    let raw: RawEndpoints = from_json(r#"{"status_path":"/picture"}"#, "").unwrap();
    Config::check(&raw, "$.endpoints", &mut Problems::new()).unwrap()
}

fn address(number: u32) -> EndpointAddress {
    let [_, b, c, d] = number.to_be_bytes();
    EndpointAddress {
        ip: [10, b, c, d].into(),
        port: 80,
    }
}

fn endpoint(state: State) -> Endpoint {
    Endpoint {
        state,
        ..Endpoint::new(Since {
            generation: 2,
            at: at(1),
        })
    }
}

/// Is a follower that holds these endpoints of each cluster.
fn follower(clusters: &[(&str, Vec<Endpoint>)]) -> Follower {
    let configuration = config().digest();
    let mut versions = Versions::new(configuration, 3);
    let mut follower = Follower::new(configuration, config().stale_after());
    let (mut snapshots, mut bytes) = (Vec::new(), Vec::new());
    for (cluster, endpoints) in clusters {
        let mut snapshot = Snapshot::new(Header {
            configuration,
            cluster: cluster_digest(cluster.as_bytes()),
            epoch: 3,
            generation: 9,
            published_at: at(0),
        });
        for (number, endpoint) in (1_u32..).zip(endpoints) {
            let pushed = snapshot.try_push(address(number), *endpoint, b"zone \"a\"");
            assert_eq!(pushed, Ok(()));
        }
        let digest = cluster_digest(cluster.as_bytes());
        assert_eq!(versions.try_set(digest, 9, at(0)), Ok(()));
        snapshot.encode(&mut bytes);
        snapshots.push((*cluster, bytes.clone()));
    }
    versions.encode(&mut bytes);
    let names = clusters.iter().map(|(cluster, _)| *cluster);
    follower.on_versions(&bytes, names, at(0)).unwrap();
    for (cluster, bytes) in snapshots {
        assert_eq!(follower.on_snapshot(cluster, bytes), Ok(true));
    }
    follower
}

fn written(follower: &Follower, path: &str, clusters: &[&str], now: WallTime) -> Value {
    let query = StatusQuery::parse(path.as_bytes(), "/picture").unwrap();
    let mut out = String::new();
    let config = config();
    let status = Status {
        config: &config,
        follower,
        term: Some(3),
    };
    status.write(&mut out, &query, clusters.iter().copied(), now);
    assert!(out.len() <= MAX_STATUS_BYTES);
    serde_json::from_str(&out).unwrap()
}

#[test]
fn status_shows_everything_that_a_snapshot_has() {
    let full = Endpoint {
        weight: NonZeroU32::new(7).unwrap(),
        eds_health: EdsHealth::Degraded,
        instance: NonZeroU64::new(0xabcd),
        latency: Some(Latency::new(std::time::Duration::from_millis(5), at(2))),
        failures: Failures {
            gateway_in_row: 1,
            local_in_row: 2,
            ejections: 3,
        },
        priority: 1,
        ejected_for: EjectionCause::ExcessRate,
        ..endpoint(State::Draining { until: at(60) })
    };
    let follower = follower(&[("echo", vec![full])]);
    let shown = written(&follower, "/picture", &["absent", "echo"], at(4));
    let expected = json!({
        "schema": 1,
        "configuration": format!("{:016x}", config().digest()),
        "source": "admin",
        "now_ms": 1_700_000_004_000_u64,
        "leads_in_epoch": 3,
        "workers": 1,
        "clusters": [
            {"cluster": "absent", "picture": "not_yet"},
            {
                "cluster": "echo",
                "picture": "known",
                "epoch": 3,
                "generation": 9,
                "confirmed_at_ms": 1_700_000_000_000_u64,
                "age_ms": 4000,
                "published_at_ms": 1_700_000_000_000_u64,
                "endpoints_total": 1,
                "endpoints": [{
                    "address": "10.0.0.1:80",
                    "state": "draining",
                    "until_ms": 1_700_000_060_000_u64,
                    "eds_health": "degraded",
                    "weight": 7,
                    "priority": 1,
                    "joins": 2,
                    "absent_until_ms": 1_700_000_001_000_u64,
                    "zone": "zone \"a\"",
                    "instance": "000000000000abcd",
                    "latency_us": 5000,
                    "latency_at_ms": 1_700_000_002_000_u64,
                    "gateway_failures_in_row": 1,
                    "local_failures_in_row": 2,
                    "ejections": 3,
                    "ejected_for": "excess_rate",
                }],
                "endpoints_left_out": 0,
            },
        ],
        "clusters_left_out": 0,
    });
    assert_eq!(shown, expected);
}

#[test]
fn every_state_has_its_name_and_only_a_deadline_that_will_come() {
    let never = WallTime::from_ns(u64::MAX);
    let states = [
        State::Unknown,
        State::Available { slow_start: None },
        State::Available {
            slow_start: Some(at(3)),
        },
        State::Probing,
        State::Ejected { until: never },
        State::Ejected { until: at(9) },
        State::Draining { until: at(9) },
        State::Vanished { until: at(9) },
    ];
    let follower = follower(&[("echo", states.map(endpoint).to_vec())]);
    let shown = written(&follower, "/picture", &["echo"], at(0));
    let endpoints = shown["clusters"][0]["endpoints"].as_array().unwrap();
    let lines: Vec<_> = endpoints
        .iter()
        .map(|endpoint| {
            (
                endpoint["state"].as_str().unwrap(),
                endpoint.get("until_ms").is_some(),
                endpoint.get("slow_start_ms").is_some(),
            )
        })
        .collect();
    let expected = [
        ("unknown", false, false),
        ("available", false, false),
        ("available", false, true),
        ("probing", false, false),
        ("ejected", false, false),
        ("ejected", true, false),
        ("draining", true, false),
        ("vanished", true, false),
    ];
    assert_eq!(lines, expected);
}

#[test]
fn stale_picture_is_shown_and_says_so() {
    let follower = follower(&[("echo", vec![endpoint(State::Unknown)])]);
    let shown = written(&follower, "/picture", &["echo"], at(60));
    assert_eq!(shown["clusters"][0]["picture"], "stale");
    assert_eq!(shown["clusters"][0]["age_ms"], 60_000);
    assert_eq!(shown["clusters"][0]["endpoints_total"], 1);
}

#[test]
fn query_chooses_one_cluster_and_other_paths_are_others() {
    let follower = follower(&[("a b", Vec::new()), ("echo", Vec::new())]);
    for (path, expected) in [
        ("/picture", &["a b", "echo"][..]),
        ("/picture?", &["a b", "echo"]),
        ("/picture?cluster=echo", &["echo"]),
        ("/picture?x=1&cluster=a%20b&cluster=echo", &["a b"]),
        ("/picture?cluster=absent", &[]),
        ("/picture?cluster=%zz%", &[]),
    ] {
        let shown = written(&follower, path, &["a b", "echo"], at(0));
        let clusters = shown["clusters"].as_array().unwrap().iter();
        let names: Vec<_> = clusters
            .map(|cluster| cluster["cluster"].as_str().unwrap())
            .collect();
        assert_eq!(names, expected, "{path}");
    }
    for path in ["/pictures", "/picture/", "/", "", "/x/picture"] {
        assert_eq!(StatusQuery::parse(path.as_bytes(), "/picture"), None);
    }
}

#[test]
fn answer_is_bounded_and_says_what_it_leaves_out() {
    let many = vec![endpoint(State::Unknown); 5000];
    let names: Vec<String> = (0..64).map(|number| format!("c{number:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let clusters: Vec<_> = [("c00", many.clone()), ("c01", many)].into();
    let follower = follower(&clusters);
    let shown = written(&follower, "/picture", &names, at(0));
    let first = &shown["clusters"][0];
    let (total, left_out) = (&first["endpoints_total"], &first["endpoints_left_out"]);
    assert_eq!(total, 5000);
    let count = first["endpoints"].as_array().unwrap().len() as u64;
    assert!(count > 800, "{count}");
    assert_eq!(left_out.as_u64().unwrap(), 5000 - count);
    let shown_clusters = shown["clusters"].as_array().unwrap().len() as u64;
    assert_eq!(
        shown["clusters_left_out"].as_u64().unwrap(),
        64 - shown_clusters
    );
}
