//! What holds for any snapshot and for any bytes.

use core::net::{IpAddr, Ipv4Addr};

use proptest::{collection, prelude::*, sample::subsequence};

use super::*;

fn any_address() -> impl Strategy<Value = EndpointAddress> {
    let ip = prop_oneof![
        // Few addresses, so that duplicates and neighbours occur.
        (0..4_u8).prop_map(|last| IpAddr::V4(Ipv4Addr::new(10, 0, 0, last))),
        any::<[u8; 4]>().prop_map(|octets| IpAddr::V4(octets.into())),
        any::<[u8; 16]>().prop_map(|octets| IpAddr::V6(octets.into())),
    ];
    (ip, prop_oneof![0..3_u16, any::<u16>()]).prop_map(|(ip, port)| EndpointAddress { ip, port })
}

fn any_time() -> impl Strategy<Value = WallTime> {
    any::<u64>().prop_map(WallTime::from_ns)
}

fn any_endpoint() -> impl Strategy<Value = Endpoint> {
    let state = prop_oneof![
        Just(State::Unknown),
        Just(State::Probing),
        proptest::option::of(any_time()).prop_map(|slow_start| State::Available { slow_start }),
        any_time().prop_map(|until| State::Ejected { until }),
        any_time().prop_map(|until| State::Draining { until }),
        any_time().prop_map(|until| State::Vanished { until }),
    ];
    let eds_health = prop_oneof![
        Just(EdsHealth::Unknown),
        Just(EdsHealth::Healthy),
        Just(EdsHealth::Unhealthy),
        Just(EdsHealth::Draining),
        Just(EdsHealth::Timeout),
        Just(EdsHealth::Degraded),
    ];
    let since = (any::<u32>(), any_time()).prop_map(|(generation, at)| Since { generation, at });
    let latency = proptest::option::of((any::<u64>(), any_time())).prop_map(|latency| {
        latency.map(|(micros, at)| Latency::new(Duration::from_micros(micros), at))
    });
    let failures =
        any::<[u8; 3]>().prop_map(|[gateway_in_row, local_in_row, ejections]| Failures {
            gateway_in_row,
            local_in_row,
            ejections,
        });
    let cause = proptest::sample::select(EjectionCause::ALL.to_vec());
    let numbers = (1..=u32::MAX, any::<u64>(), any::<u8>(), cause);
    (numbers, state, eds_health, since, latency, failures).prop_map(
        |(
            (weight, instance, priority, ejected_for),
            state,
            eds_health,
            since,
            latency,
            failures,
        )| Endpoint {
            weight: NonZeroU32::new(weight).unwrap(),
            priority,
            state,
            eds_health,
            since,
            instance: NonZeroU64::new(instance),
            latency,
            failures,
            ejected_for,
        },
    )
}

type Pushed = (EndpointAddress, Endpoint, Vec<u8>);

fn any_pushes() -> impl Strategy<Value = Vec<Pushed>> {
    let zone = prop_oneof![
        Just(Vec::new()),
        (0..5_u8).prop_map(|zone| vec![zone]),
        collection::vec(any::<u8>(), 0..=64),
    ];
    collection::vec((any_address(), any_endpoint(), zone), 0..40)
}

fn pushed(pushes: &[Pushed]) -> Snapshot {
    let mut snapshot = Snapshot::new(header());
    for (address, endpoint, zone) in pushes {
        let expected = match snapshot.get(address) {
            Some(_) => Err(PushError::Duplicate(*address)),
            None => Ok(()),
        };
        assert_eq!(snapshot.try_push(*address, *endpoint, zone), expected);
    }
    snapshot
}

proptest! {
    #[test]
    fn any_snapshot_opens_as_it_was_written(pushes in any_pushes()) {
        let snapshot = pushed(&pushes);
        let bytes = encoded(&snapshot);
        let view = SnapshotView::open(&bytes).unwrap();
        let read: Vec<_> = view.iter().map(|entry| (entry.address, entry.endpoint)).collect();
        let written: Vec<_> = snapshot.iter().map(|(address, endpoint)| (address, *endpoint)).collect();
        prop_assert_eq!(read, written);
        for (address, _, _) in &pushes {
            let first = pushes.iter().find(|(other, _, _)| other == address).unwrap();
            let entry = view.get(address).unwrap();
            prop_assert_eq!(entry.zone, first.2.as_slice());
            prop_assert_eq!(entry.endpoint.weight, first.1.weight);
        }
        prop_assert_eq!(encoded(&view.to_snapshot()), bytes);
    }

    #[test]
    fn order_of_pushes_leaves_no_trace(
        (pushes, shuffled) in any_pushes().prop_map(|mut pushes| {
            pushes.sort_by_key(|(address, _, _)| *address);
            pushes.dedup_by_key(|(address, _, _)| *address);
            pushes
        }).prop_flat_map(|pushes| (Just(pushes.clone()), Just(pushes).prop_shuffle())),
    ) {
        prop_assert_eq!(encoded(&pushed(&pushes)), encoded(&pushed(&shuffled)));
    }

    #[test]
    fn any_bytes_are_refused_without_a_panic(bytes in collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(SnapshotView::open(&bytes).is_err());
        let ours = [b"TgSnapsh\x00\x02".as_slice(), &bytes].concat();
        prop_assert!(SnapshotView::open(&ours).is_err());
        prop_assert!(Checked::try_new(ours).is_err());
    }

    #[test]
    fn what_opens_under_any_changes_can_be_read(
        changes in collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
        cut in subsequence((0..30_usize).collect::<Vec<_>>(), 0..2),
    ) {
        let bytes = resealed(&encoded(&small()), |body| {
            for (place, value) in changes {
                let place = place.index(body.len());
                body[place] = value;
            }
            if let Some(cut) = cut.first() {
                body.truncate(body.len() - cut);
            }
        });
        if let Ok(view) = SnapshotView::open(&bytes) {
            prop_assert_eq!(view.iter().count(), view.len());
            prop_assert!(view.iter().all(|entry| view.get(&entry.address) == Some(entry)));
            prop_assert_eq!(view.to_snapshot().len(), view.len());
            let checked = Checked::try_new(bytes.clone()).unwrap();
            prop_assert!(checked.view().iter().eq(view.iter()));
        }
    }
}
