//! What a VM that reads the picture shows its requests, whatever lies in shared data.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use proptest::{collection, prelude::*};
use tidegate_policy::{
    endpoints::{Follower, MAX_FOLLOWED, Picture, Unknown},
    snapshot::{
        Endpoint, EndpointAddress, Header, Since, Snapshot, SnapshotError, Version, Versions,
        cluster_digest,
    },
    units::WallTime,
};

const CONFIGURATION: u64 = 7;
const LIMIT: Duration = Duration::from_secs(60);

fn at(seconds: u64) -> WallTime {
    WallTime::from_seconds(1_700_000_000 + seconds)
}

fn versions(epoch: u64, entries: &[(&str, u64, WallTime)]) -> Vec<u8> {
    let mut versions = Versions::new(CONFIGURATION, epoch);
    for (cluster, generation, confirmed_at) in entries {
        let digest = cluster_digest(cluster.as_bytes());
        assert_eq!(versions.try_set(digest, *generation, *confirmed_at), Ok(()));
    }
    let mut bytes = Vec::new();
    versions.encode(&mut bytes);
    bytes
}

/// Is a snapshot with as many endpoints as its generation says.
fn snapshot(cluster: &str, epoch: u64, generation: u64) -> Vec<u8> {
    let mut snapshot = Snapshot::new(Header {
        configuration: CONFIGURATION,
        cluster: cluster_digest(cluster.as_bytes()),
        epoch,
        generation,
        published_at: at(0),
    });
    for port in 0..u16::try_from(generation).unwrap() {
        let address = EndpointAddress {
            ip: [10, 0, 0, 1].into(),
            port,
        };
        let since = Since {
            generation: 1,
            at: at(0),
        };
        assert_eq!(
            snapshot.try_push(address, Endpoint::new(since), b""),
            Ok(())
        );
    }
    let mut bytes = Vec::new();
    snapshot.encode(&mut bytes);
    bytes
}

fn follower() -> Follower {
    Follower::new(CONFIGURATION, LIMIT)
}

/// Offers a version of `echo` and the snapshot that it names, if that is asked for.
fn offer(follower: &mut Follower, epoch: u64, generation: u64, confirmed: WallTime, now: WallTime) {
    let offered = versions(epoch, &[("echo", generation, confirmed)]);
    for cluster in follower.on_versions(&offered, ["echo"], now).unwrap() {
        let bytes = snapshot(&cluster, epoch, generation);
        assert_eq!(follower.on_snapshot(&cluster, bytes), Ok(true));
    }
}

/// Is the version that requests to `echo` see, or why they see none.
fn seen(follower: &Follower, now: WallTime) -> Result<(u64, u64), Unknown> {
    match follower.picture(b"echo", now) {
        Picture::Known(known) => {
            let header = known.view.header();
            let Version {
                epoch, generation, ..
            } = known.version;
            assert_eq!((header.epoch, header.generation), (epoch, generation));
            assert_eq!(known.view.len() as u64, generation);
            Ok((epoch, generation))
        }
        Picture::Unknown(reason) => Err(reason),
    }
}

#[test]
fn snapshot_is_read_when_its_version_changed_and_never_else() {
    let mut follower = follower();
    assert_eq!(seen(&follower, at(0)), Err(Unknown::NotYet));
    let first = versions(1, &[("echo", 3, at(0)), ("other", 9, at(0))]);
    let asked = follower.on_versions(&first, ["echo", "absent"], at(0));
    assert_eq!(asked.unwrap(), ["echo"]);
    // Read again until the snapshot came.
    assert_eq!(
        follower.on_versions(&first, ["echo"], at(0)).unwrap(),
        ["echo"]
    );
    assert_eq!(
        follower.on_snapshot("echo", snapshot("echo", 1, 3)),
        Ok(true)
    );
    assert_eq!(seen(&follower, at(0)), Ok((1, 3)));
    let same = versions(1, &[("echo", 3, at(1))]);
    assert!(
        follower
            .on_versions(&same, ["echo"], at(1))
            .unwrap()
            .is_empty()
    );
    offer(&mut follower, 1, 4, at(2), at(2));
    assert_eq!(seen(&follower, at(2)), Ok((1, 4)));
    assert_eq!(follower.counts().taken, 2);
    // What nobody asked for is not taken.
    assert_eq!(
        follower.on_snapshot("echo", snapshot("echo", 9, 9)),
        Ok(false)
    );
    assert_eq!(
        follower.on_snapshot("other", snapshot("other", 1, 9)),
        Ok(false)
    );
    assert_eq!(seen(&follower, at(2)), Ok((1, 4)));
}

#[test]
fn snapshot_that_its_version_does_not_name_waits_a_tick() {
    let mut follower = follower();
    offer(&mut follower, 2, 3, at(0), at(0));
    // A stalled leader wrote late, or the next snapshot is there before its version.
    for (epoch, generation) in [(1, 5), (2, 6), (3, 5)] {
        let offered = versions(2, &[("echo", 5, at(0))]);
        assert_eq!(
            follower.on_versions(&offered, ["echo"], at(0)).unwrap(),
            ["echo"]
        );
        let late = snapshot("echo", epoch, generation);
        assert_eq!(follower.on_snapshot("echo", late), Ok(false));
        assert_eq!(seen(&follower, at(0)), Ok((2, 3)));
    }
    assert_eq!(follower.counts().mismatched, 3);
    offer(&mut follower, 2, 5, at(0), at(0));
    assert_eq!(seen(&follower, at(0)), Ok((2, 5)));
}

#[test]
fn damaged_and_foreign_bytes_leave_what_is_held() {
    let mut follower = follower();
    offer(&mut follower, 2, 3, at(0), at(0));
    let mut other = Versions::new(CONFIGURATION + 1, 9);
    assert_eq!(other.try_set(cluster_digest(b"echo"), 9, at(0)), Ok(()));
    let mut foreign = Vec::new();
    other.encode(&mut foreign);
    let cases = [
        (foreign, SnapshotError::OtherConfiguration),
        (b"{}".to_vec(), SnapshotError::NotOurs),
    ];
    for (bytes, error) in cases {
        assert_eq!(
            follower.on_versions(&bytes, ["echo"], at(0)),
            Err(error),
            "{error}"
        );
        // And nothing is asked for any more.
        assert_eq!(
            follower.on_snapshot("echo", snapshot("echo", 2, 4)),
            Ok(false)
        );
    }
    let next = versions(2, &[("echo", 4, at(0))]);
    let mut foreign = Snapshot::new(Header {
        configuration: CONFIGURATION + 1,
        cluster: cluster_digest(b"echo"),
        epoch: 2,
        generation: 4,
        published_at: at(0),
    });
    let mut other_configuration = Vec::new();
    foreign.encode(&mut other_configuration);
    foreign.header.configuration = CONFIGURATION;
    foreign.header.cluster = cluster_digest(b"else");
    let mut other_cluster = Vec::new();
    foreign.encode(&mut other_cluster);
    let mut damaged = snapshot("echo", 2, 4);
    damaged[100] ^= 1;
    let cases = [
        (other_configuration, SnapshotError::OtherConfiguration),
        (other_cluster, SnapshotError::OtherCluster),
        (damaged, SnapshotError::Checksum),
        (b"nonsense".to_vec(), SnapshotError::NotOurs),
    ];
    for (bytes, error) in cases {
        assert_eq!(
            follower.on_versions(&next, ["echo"], at(0)).unwrap(),
            ["echo"]
        );
        assert_eq!(follower.on_snapshot("echo", bytes), Err(error), "{error}");
        assert_eq!(seen(&follower, at(0)), Ok((2, 3)));
    }
    assert_eq!(follower.counts().refused, 6);
}

#[test]
fn older_version_is_taken_only_once_the_held_one_is_stale() {
    let mut follower = follower();
    offer(&mut follower, 5, 3, at(0), at(0));
    for (epoch, generation) in [(4, 9), (5, 2)] {
        offer(&mut follower, epoch, generation, at(59), at(59));
        assert_eq!(seen(&follower, at(59)), Ok((5, 3)));
    }
    assert_eq!(follower.counts().older, 2);
    offer(&mut follower, 4, 9, at(60), at(60));
    assert_eq!(seen(&follower, at(60)), Ok((4, 9)));
}

#[test]
fn picture_ages_from_its_confirmation_whatever_the_clock_does() {
    let mut follower = follower();
    offer(&mut follower, 1, 3, at(100), at(100));
    let year = 31_536_000;
    let cases = [
        (100, Ok((1, 3))),
        (159, Ok((1, 3))),
        (160, Err(Unknown::Stale)),
        (41, Ok((1, 3))),
        (40, Err(Unknown::Stale)),
        (100 + year, Err(Unknown::Stale)),
    ];
    for (now, expected) in cases {
        assert_eq!(seen(&follower, at(now)), expected, "{now}");
    }
    // A confirmation makes it young again, also after a jump and after a step back.
    for now in [100, 100 + year, 50] {
        offer(&mut follower, 1, 3, at(now), at(now));
        assert_eq!(seen(&follower, at(now)), Ok((1, 3)), "{now}");
    }
    assert_eq!(follower.counts().taken, 1);
}

#[test]
fn cluster_that_the_leader_or_this_vm_forgets_ages_and_goes() {
    let mut follower = follower();
    for wanted in [&["echo"][..], &[]] {
        offer(&mut follower, 1, 3, at(0), at(0));
        let without = versions(1, &[]);
        let asked = follower.on_versions(&without, wanted.iter().copied(), at(59));
        assert_eq!(asked, Ok(Vec::new()));
        assert_eq!(seen(&follower, at(59)), Ok((1, 3)));
        assert_eq!(seen(&follower, at(60)), Err(Unknown::Stale));
        let asked = follower.on_versions(&without, wanted.iter().copied(), at(60));
        assert_eq!(asked, Ok(Vec::new()));
        assert_eq!(seen(&follower, at(60)), Err(Unknown::NotYet));
        assert_eq!(follower.held().count(), 0);
    }
    // While the leader still knows it, a stale one says that it is stale.
    offer(&mut follower, 1, 3, at(0), at(0));
    offer(&mut follower, 1, 3, at(0), at(61));
    assert_eq!(seen(&follower, at(61)), Err(Unknown::Stale));
}

#[test]
fn clusters_beyond_the_bound_are_not_followed() {
    let names: Vec<String> = (0..MAX_FOLLOWED + 3)
        .map(|number| format!("c{number:03}"))
        .collect();
    let entries: Vec<_> = names.iter().map(|name| (name.as_str(), 1, at(0))).collect();
    let offered = versions(1, &entries);
    let mut follower = follower();
    let mut turn = |names: &[String]| {
        let asked = follower
            .on_versions(&offered, names.iter().map(String::as_str), at(0))
            .unwrap();
        for cluster in &asked {
            let _ = follower
                .on_snapshot(cluster, snapshot(cluster, 1, 1))
                .unwrap();
        }
        (asked.len(), follower.held().count())
    };
    assert_eq!(turn(&names), (MAX_FOLLOWED, MAX_FOLLOWED));
    // Others are not taken until the first are stale.
    assert_eq!(turn(&names[3..]), (3, MAX_FOLLOWED));
}

#[test]
fn name_that_is_no_text_is_not_known() {
    assert!(matches!(
        follower().picture(b"\xff", at(0)),
        Picture::Unknown(Unknown::NotYet)
    ));
}

#[test]
fn reasons_have_a_place_and_a_name() {
    for (place, reason) in Unknown::ALL.into_iter().enumerate() {
        assert_eq!(reason.index(), place);
        assert!(!reason.as_str().is_empty());
    }
}

/// Is what a VM may find at one tick.
#[derive(Clone, Debug)]
struct Tick {
    epoch: u64,
    generation: u64,
    snapshot: (u64, u64),
    after_s: u64,
    nonsense: Option<Vec<u8>>,
}

fn any_tick() -> impl Strategy<Value = Tick> {
    let garbage = proptest::option::weighted(0.1, collection::vec(any::<u8>(), 0..200));
    (
        0..4_u64,
        0..6_u64,
        any::<bool>(),
        (0..4_u64, 0..6_u64),
        0..40_u64,
        garbage,
    )
        .prop_map(|(epoch, generation, same, other, after_s, nonsense)| Tick {
            epoch,
            generation,
            snapshot: if same { (epoch, generation) } else { other },
            after_s,
            nonsense,
        })
}

proptest! {
    #[test]
    fn picture_never_goes_back_while_it_is_fresh(ticks in collection::vec(any_tick(), 1..40)) {
        let mut follower = follower();
        let mut now = 0;
        for tick in ticks {
            now += tick.after_s;
            let before = seen(&follower, at(now));
            let bytes = tick.nonsense.clone().unwrap_or_else(|| {
                versions(tick.epoch, &[("echo", tick.generation, at(now))])
            });
            for cluster in follower.on_versions(&bytes, ["echo"], at(now)).unwrap_or_default() {
                let (epoch, generation) = tick.snapshot;
                let _ = follower.on_snapshot(&cluster, snapshot("echo", epoch, generation));
            }
            let after = seen(&follower, at(now));
            if let Ok(before) = before {
                prop_assert!(after.is_ok_and(|after| after >= before), "{before:?} {after:?}");
            }
        }
    }

    #[test]
    fn any_bytes_are_legal(bytes in collection::vec(any::<u8>(), 0..300)) {
        let mut follower = follower();
        let magic = [b"TgVersio\x00\x01".as_slice(), &bytes].concat();
        for bytes in [&bytes, &magic] {
            prop_assert!(follower.on_versions(bytes, ["echo"], at(0)).is_err());
        }
        let offered = versions(1, &[("echo", 1, at(0))]);
        let magic = [b"TgSnapsh\x00\x01".as_slice(), &bytes].concat();
        for bytes in [bytes, magic] {
            prop_assert!(follower.on_versions(&offered, ["echo"], at(0)).is_ok());
            prop_assert!(follower.on_snapshot("echo", bytes).is_err());
        }
    }
}
