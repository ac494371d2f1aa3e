use super::*;

fn scenario(traffic: &str) -> Scenario {
    let text = format!(
        "what: a test\nduration: 10s\nclusters: [{{ name: c, endpoints: [{{ address: 10.0.0.1:80 }}] }}]\ntraffic: {traffic}\n"
    );
    let value: serde_json::Value = serde_norway::from_str(&text).expect(&text);
    serde_json::from_value(value).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn all(traffic: &str, seed: u64) -> Vec<Arrival> {
    let mut traffic = Traffic::new(&scenario(traffic), seed);
    let mut arrivals = Vec::new();
    while let Some(arrival) = traffic.next() {
        arrivals.push(arrival);
    }
    arrivals
}

fn ms(arrivals: &[Arrival]) -> Vec<u64> {
    arrivals
        .iter()
        .map(|arrival| arrival.at_ns / 1_000_000)
        .collect()
}

/// Within four standard deviations of a Poisson count.
#[track_caller]
fn near(counted: usize, expected: f64) {
    let counted = f64::from(u32::try_from(counted).unwrap());
    let allowed = 4.0 * expected.sqrt();
    assert!(
        (counted - expected).abs() <= allowed,
        "{counted} instead of {expected} ± {allowed}"
    );
}

fn between(arrivals: &[Arrival], from_s: u64, until_s: u64) -> usize {
    let range = from_s * 1_000_000_000..until_s * 1_000_000_000;
    arrivals
        .iter()
        .filter(|arrival| range.contains(&arrival.at_ns))
        .count()
}

#[test]
fn steady_requests_come_at_equal_distances_from_the_beginning_to_before_the_end() {
    let arrivals = all(
        "[{ generated: { from: 1s, until: 2s, arrivals: { steady: { per_second: 4 } } } }]",
        1,
    );
    assert_eq!(ms(&arrivals), [1000, 1250, 1500, 1750]);
    let clients: Vec<u64> = arrivals.iter().map(|arrival| arrival.client).collect();
    assert_eq!(clients, [0, 1, 2, 3], "each is a client of its own");
    assert_eq!(arrivals[3].address, "10.128.0.4:40000");
}

#[test]
fn bursts_come_at_once_and_again() {
    let arrivals = all(
        "[{ generated: { arrivals: { burst: { size: 2, every: 4s } } } }]",
        1,
    );
    assert_eq!(ms(&arrivals), [0, 0, 4000, 4000, 8000, 8000]);
}

#[test]
fn independent_requests_come_at_their_rates() {
    let arrivals = all(
        "[{ generated: { arrivals: { poisson: { per_second: 1000 } } } }]",
        3,
    );
    near(arrivals.len(), 10_000.0);
    // The gaps of a Poisson process are exponential: a share of 1/e is longer than the mean.
    let long = arrivals
        .windows(2)
        .filter(|pair| pair[1].at_ns - pair[0].at_ns > 1_000_000)
        .count();
    near(long, 10_000.0 * (-1.0_f64).exp());

    let arrivals = all(
        "[{ generated: { arrivals: { ramp: { from: 0, to: 2000 } } } }]",
        3,
    );
    near(between(&arrivals, 0, 5), 2_500.0);
    near(between(&arrivals, 5, 10), 7_500.0);
    let arrivals = all(
        "[{ generated: { arrivals: { ramp: { from: 2000, to: 0 } } } }]",
        3,
    );
    near(between(&arrivals, 0, 5), 7_500.0);
    near(between(&arrivals, 5, 10), 2_500.0);
    let arrivals = all(
        "[{ generated: { arrivals: { ramp: { from: 500, to: 500 } } } }]",
        3,
    );
    near(arrivals.len(), 5_000.0);

    let arrivals = all(
        "[{ generated: { from: 1s, arrivals: { spike: { base: 100, peak: 2000, at: 2s, lasts: 3s } } } }]",
        3,
    );
    near(between(&arrivals, 1, 3), 200.0);
    near(between(&arrivals, 3, 6), 6_000.0);
    near(between(&arrivals, 6, 10), 400.0);
}

#[test]
fn a_rate_of_zero_is_no_request_and_a_spike_from_nothing_is_one() {
    for arrivals in [
        "steady: { per_second: 0 }",
        "poisson: { per_second: 0 }",
        "ramp: { from: 0, to: 0 }",
        "spike: { base: 0, peak: 0, at: 1s, lasts: 1s }",
        "burst: { size: 0, every: 1s }",
    ] {
        let traffic = format!("[{{ generated: {{ arrivals: {{ {arrivals} }} }} }}]");
        assert_eq!(all(&traffic, 1).len(), 0, "{arrivals}");
    }
    let arrivals = all(
        "[{ generated: { arrivals: { spike: { base: 0, peak: 1000, at: 2s, lasts: 1s } } } }]",
        1,
    );
    near(between(&arrivals, 2, 3), 1_000.0);
    assert_eq!(arrivals.len(), between(&arrivals, 2, 3));
}

#[test]
fn a_seed_gives_the_same_requests_and_another_seed_others() {
    let traffic =
        "[{ generated: { clients: { count: 7 }, arrivals: { poisson: { per_second: 100 } } } }]";
    assert_eq!(all(traffic, 5), all(traffic, 5));
    assert_ne!(ms(&all(traffic, 5)), ms(&all(traffic, 6)));
    let mut seen = [0_usize; 7];
    for arrival in all(traffic, 5) {
        seen[usize::try_from(arrival.client).unwrap()] += 1;
    }
    assert!(seen.iter().all(|count| *count > 90), "{seen:?}");
}

#[test]
fn sources_are_merged_by_time_and_the_first_goes_first() {
    let arrivals = all(
        "[{ generated: { arrivals: { steady: { per_second: 0.25 } } } },
          { requests: { list: [{ at: 2s }, { at: 4s }] } }]",
        1,
    );
    let order: Vec<(u64, usize)> = arrivals
        .iter()
        .map(|arrival| (arrival.at_ns / 1_000_000_000, arrival.source))
        .collect();
    assert_eq!(order, [(0, 0), (2, 1), (4, 0), (4, 1), (8, 0)]);
}

#[test]
fn a_request_without_a_time_waits_for_the_end_of_the_one_before() {
    let scenario = scenario(
        "[{ requests: { list: [{ at: 1s, times: 2, client: 3 }, { client: 4 }, { at: 5s }] } }]",
    );
    let mut traffic = Traffic::new(&scenario, 1);
    let first = traffic.next().unwrap();
    assert_eq!(
        (first.at_ns, first.number, first.client, first.chained),
        (1_000_000_000, 0, 3, true)
    );
    // Known is only what has a time of its own, and that stays where it was when another comes before it.
    assert_eq!(traffic.next_ns(), Some(5_000_000_000));
    traffic.ended(0, 0, 1_500_000_000);
    let second = traffic.next().unwrap();
    assert_eq!((second.at_ns, second.number), (1_500_000_000, 1));
    traffic.ended(0, 1, 2_000_000_000);
    let third = traffic.next().unwrap();
    assert_eq!(
        (third.at_ns, third.number, third.client, third.chained),
        (2_000_000_000, 2, 4, false)
    );
    assert_eq!(traffic.next().map(|it| it.number), Some(3));
    assert_eq!(traffic.next(), None);
    // What nobody waits for changes nothing.
    traffic.ended(0, 3, 6_000_000_000);
    traffic.ended(7, 0, 6_000_000_000);
    assert_eq!(traffic.next(), None);
}

#[test]
fn nothing_comes_after_the_end() {
    let scenario = scenario("[{ requests: { list: [{ at: 1s, times: 2 }, { at: 11s }] } }]");
    let mut traffic = Traffic::new(&scenario, 1);
    assert!(traffic.next().is_some());
    traffic.ended(0, 0, 10_000_000_000);
    assert_eq!(traffic.next(), None);
}

#[test]
fn a_template_becomes_a_request() {
    let arrivals = all(
        "[{ requests: { list: [{ request: { method: POST, path: /a, authority: x, body_bytes: 3,
            headers: { X-Trace: t } } }] } }]",
        1,
    );
    let request = &arrivals[0].request;
    let headers: Vec<String> = request
        .headers
        .iter()
        .map(|(name, value)| {
            format!(
                "{}={}",
                String::from_utf8_lossy(name),
                String::from_utf8_lossy(value)
            )
        })
        .collect();
    assert_eq!(
        headers,
        [
            ":method=POST",
            ":path=/a",
            ":scheme=http",
            ":authority=x",
            "x-trace=t",
            "content-length=3"
        ]
    );
    assert_eq!(request.body, [(0, b"...".to_vec())]);
    assert_eq!(request.frames, None);
}
