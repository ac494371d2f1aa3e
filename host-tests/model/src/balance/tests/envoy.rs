//! Envoy's balancers: against what the real one chose, and their distributions.

use super::*;
use crate::balance::hash;

/// What Envoy 1.40.0 chose of endpoints 127.0.0.1:18801 and so on, weights as given, for the requests with the header
/// `x-key: key-0`, `key-1` and so on: the endpoints' positions as digits.
struct Golden {
    of: Of,
    weights: &'static [u32],
    chosen: &'static str,
}

fn goldens() -> [Golden; 5] {
    let ring = Of::RingHash {
        minimum_ring_size: 1_024,
    };
    [
        Golden {
            of: ring.clone(),
            weights: &[1; 7],
            chosen: concat!(
                "025644535223131145153623440606500561632023064335420516342601546104214211066315321624646066",
                "152052444216313526060041666200620601365401052230324232503542345346532246060301540302463652"
            ),
        },
        Golden {
            of: Of::Maglev,
            weights: &[1; 7],
            chosen: concat!(
                "261661364403214634654401646044632431655216056262650013224450153450151036506403652061102531",
                "212525354250244531664634121526141435202262532165011013622321450554453350223215134521400202"
            ),
        },
        Golden {
            of: ring,
            weights: &[1, 2, 3, 1, 5],
            chosen: concat!(
                "022244443244141142142144444404140344432024042434424414442421444244214221100441321424141022",
                "142022414244313444440041430411421044442421022444344232144442344444434244441104244004422412"
            ),
        },
        Golden {
            of: Of::Maglev,
            weights: &[1, 2, 3, 1, 5],
            chosen: concat!(
                "241141324403214244444441344444442431242214424242422214224440124401141214202403232211102441",
                "212424314201244444224444422124141434202222132421411412122421421044423340223211134424404242"
            ),
        },
        Golden {
            of: Of::Maglev,
            weights: &[1, 2],
            chosen: concat!(
                "111101111101111111110011111001110111111111011101100011111100111101111010001100101011101101",
                "110110111101011101101110101111111111100111101111011011111111011011110110001011101111100101"
            ),
        },
    ]
}

#[test]
fn hashes_lead_where_the_real_envoy_sends_them() {
    for Golden {
        of,
        weights,
        chosen,
    } in goldens()
    {
        let (mut bench, hosts) = (Bench::new(&of, 1), hosts(weights));
        let picked: String = (0..chosen.len())
            .map(|number| {
                let key = format!("key-{number}");
                let pick = Pick {
                    hash: Some(hash(&[key.as_bytes()])),
                    ..Pick::default()
                };
                bench.pick_for(&hosts, &pick).unwrap().to_string()
            })
            .collect();
        assert_eq!(picked, chosen, "{of:?} {weights:?}");
    }
}

#[test]
fn weighted_round_robin_goes_round_as_the_real_envoy_does() {
    // Envoy 1.40.0 chose this again and again, of endpoints with these weights; where it begins is drawn.
    let cycle = "442414240312";
    let hosts = hosts(&[1, 2, 3, 1, 5]);
    let mut beginnings = std::collections::BTreeSet::new();
    for seed in 0..100 {
        let mut bench = Bench::new(&Of::RoundRobin, seed);
        let picked: String = (0..24)
            .map(|_| bench.pick(&hosts).unwrap().to_string())
            .collect();
        assert!(cycle.repeat(3).contains(&picked), "{picked}");
        beginnings.insert(picked);
    }
    assert_eq!(beginnings.len(), 12);
}

#[test]
fn round_robin_takes_each_in_turn_from_a_drawn_one() {
    let hosts = hosts(&[3; 4]);
    let mut beginnings = [0; 4];
    for seed in 0..400 {
        let mut bench = Bench::new(&Of::RoundRobin, seed);
        let picked: Vec<usize> = (0..8).map(|_| bench.pick(&hosts).unwrap()).collect();
        beginnings[picked[0]] += 1;
        for pair in picked.windows(2) {
            assert_eq!(pair[1], (pair[0] + 1) % 4);
        }
    }
    let shares = beginnings.map(|count| f64::from(count) / 400.0);
    assert_shares(&shares, &[0.25; 4], 400);
}

#[test]
fn random_is_uniform_whatever_the_weights() {
    let shares = Bench::new(&Of::Random, 1).shares(&hosts(&[1, 9, 1, 1]), 100_000);
    assert_shares(&shares, &[0.25; 4], 100_000);
}

#[test]
fn least_request_draws_with_replacement() {
    let mut hosts = hosts(&[1; 4]);
    for (host, active_requests) in hosts.all.iter_mut().zip([3, 0, 2, 1]) {
        host.active_requests = active_requests;
    }
    for (choice_count, picks) in [(1, 100_000), (2, 100_000), (5, 100_000)] {
        // The one with the r-th fewest wins if all draws are of it or of busier ones, and not all of busier ones.
        let power = f64::from(choice_count);
        let at_least = |rank: f64| ((4.0 - rank) / 4.0_f64).powf(power);
        let wins = |rank: f64| at_least(rank) - at_least(rank + 1.0);
        let expected = [wins(3.0), wins(0.0), wins(2.0), wins(1.0)];
        let shares = Bench::new(&Of::LeastRequest { choice_count }, 1).shares(&hosts, picks);
        assert_shares(&shares, &expected, picks);
    }
}

#[test]
fn least_request_with_equal_counts_is_uniform() {
    let shares =
        Bench::new(&Of::LeastRequest { choice_count: 2 }, 9).shares(&hosts(&[5; 5]), 100_000);
    assert_shares(&shares, &[0.2; 5], 100_000);
}

#[test]
fn weighted_least_request_divides_weights_by_requests_under_way() {
    let mut hosts = hosts(&[1, 2, 4]);
    let mut bench = Bench::new(&Of::LeastRequest { choice_count: 2 }, 1);
    // With nothing under way, shares are those of the weights; exact but for the beginning and the end.
    let shares = bench.shares(&hosts, 70_000);
    for (share, expected) in shares.iter().zip([1.0 / 7.0, 2.0 / 7.0, 4.0 / 7.0]) {
        assert!((share - expected).abs() < 1e-3, "{shares:?}");
    }
    hosts.all[2].active_requests = 3;
    let shares = bench.shares(&hosts, 40_000);
    for (share, expected) in shares.iter().zip([0.25, 0.5, 0.25]) {
        assert!((share - expected).abs() < 1e-3, "{shares:?}");
    }
}

#[test]
fn weights_share_the_ring_and_the_table() {
    let hosts = hosts(&[1, 2, 3, 1, 5]);
    let mut draws = Draws::new(1, "hashes", 0);
    let ring = Of::RingHash {
        minimum_ring_size: 65_536,
    };
    // A table's shares are those of the weights up to a place each. A ring's arcs are as long as chance makes them:
    // with p of P points, a share's standard deviation is about √(p) / P.
    for (of, points) in [(ring, 65_536.0), (Of::Maglev, f64::INFINITY)] {
        let mut bench = Bench::new(&of, 1);
        let mut counts = [0_u32; 5];
        for _ in 0..100_000 {
            let pick = Pick {
                hash: Some(draws.next_u64()),
                ..Pick::default()
            };
            counts[bench.pick_for(&hosts, &pick).unwrap()] += 1;
        }
        for (count, weight) in counts.into_iter().zip([1.0, 2.0, 3.0, 1.0, 5.0]) {
            let (share, expected) = (f64::from(count) / 100_000.0, weight / 12.0);
            let variance = expected * (1.0 - expected) / 100_000.0 + expected / points;
            let bound = 4.0 * f64::sqrt(variance) + 1.0 / 65_537.0;
            assert!((share - expected).abs() <= bound, "{of:?} {counts:?}");
        }
    }
}

#[test]
fn removing_an_endpoint_moves_only_its_keys_on_the_ring_and_few_others_in_the_table() {
    let before = hosts(&[1; 10]);
    let mut after = before.clone();
    after.members.remove(4);
    after.generation = 2;
    // One point per endpoint, before and after. (With more, those that are left get more of them, which takes from
    // others: of the default size, 7 % of the other keys move here.)
    let ring = Of::RingHash {
        minimum_ring_size: 1,
    };
    for (of, most_others) in [(ring, 0), (Of::Maglev, 300)] {
        let mut bench = Bench::new(&of, 1);
        let keys: Vec<u64> = (0..10_000_u32)
            .map(|key| hash(&[&key.to_be_bytes()]))
            .collect();
        let mut chosen = |hosts: &Hosts| -> Vec<usize> {
            keys.iter()
                .map(|key| {
                    let pick = Pick {
                        hash: Some(*key),
                        ..Pick::default()
                    };
                    bench.pick_for(hosts, &pick).unwrap()
                })
                .collect()
        };
        let (first, second) = (chosen(&before), chosen(&after));
        let others = first
            .iter()
            .zip(&second)
            .filter(|(first, second)| **first != 4 && first != second)
            .count();
        assert!(others <= most_others, "{of:?} {others}");
        assert!(second.iter().all(|host| *host != 4));
    }
}

#[test]
fn request_without_a_hash_goes_anywhere() {
    for of in [
        Of::Maglev,
        Of::RingHash {
            minimum_ring_size: 65_536,
        },
    ] {
        let shares = Bench::new(&of, 1).shares(&hosts(&[1; 4]), 10_000);
        assert!(
            shares.iter().all(|share| (0.2..0.3).contains(share)),
            "{shares:?}"
        );
    }
}

#[test]
fn hash_of_several_values_ignores_their_order() {
    assert_eq!(hash(&[b"a", b"b"]), hash(&[b"b", b"a"]));
    assert_ne!(hash(&[b"a", b"b"]), hash(&[b"a"]));
    // The value that the algorithm's author gives for the empty input.
    assert_eq!(hash(&[b""]), 0xef46_db37_51d8_e999);
}
