//! How much work an answer is: bytes, endpoints and slices, from which a slice's time follows.

#![expect(clippy::panic, reason = "a test fails by panicking")]

use std::net::SocketAddr;

use tidegate_policy::{
    membership::{
        ClustersParser, FeedParser, Limits, Listed, Listing, MAX_ANSWER_BYTES, MAX_TOKEN_BYTES,
        Member, Membership, Progress,
    },
    units::WallTime,
};

/// Is what the module's documentation says an endpoint takes, in a listing and for good.
const ENDPOINT_BYTES: [usize; 2] = [100, 200];

/// Is the slice that the figures are for, in bytes.
const SLICE_BYTES: usize = 64 * 1024;

/// Is an endpoint as Envoy 1.40.0 writes it, with counters that a busy day leaves behind.
fn admin_endpoint(index: usize) -> String {
    let counter = |name: &str| {
        format!("      {{\n       \"name\": \"{name}\",\n       \"value\": \"1234567\"\n      }}")
    };
    let gauge = |name: &str| {
        format!("      {{\n       \"type\": \"GAUGE\",\n       \"name\": \"{name}\"\n      }}")
    };
    let counters = [
        "cx_connect_fail",
        "cx_total",
        "rq_error",
        "rq_success",
        "rq_timeout",
        "rq_total",
    ];
    let gauges = ["cx_active", "rq_active", "rq_pending_active"];
    let stats = counters.map(counter).into_iter().chain(gauges.map(gauge));
    format!(
        "    {{\n     \"address\": {{\n      \"socket_address\": {{\n       \"address\": \"10.1.{}.{}\",\n       \"port_value\": 8080\n      }}\n     }},\n     \
         \"stats\": [\n{}\n     ],\n     \"health_status\": {{\n      \"eds_health_status\": \"HEALTHY\"\n     }},\n     \"weight\": 1,\n     \
         \"locality\": {{\n      \"region\": \"eu-west-1\",\n      \"zone\": \"eu-west-1a\"\n     }}\n    }}",
        index / 256,
        index % 256,
        stats.collect::<Vec<_>>().join(",\n")
    )
}

fn admin_answer(endpoints: usize) -> String {
    let list: Vec<_> = (0..endpoints).map(admin_endpoint).collect();
    format!(
        "{{\n \"cluster_statuses\": [\n  {{\n   \"name\": \"echo\",\n   \"host_statuses\": [\n{}\n   ],\n   \"observability_name\": \"echo\"\n  }}\n ]\n}}\n",
        list.join(",\n")
    )
}

fn feed_answer(endpoints: usize) -> String {
    let list = (0..endpoints).map(|index| {
        format!(
            r#"{{"address":"10.1.{}.{}:8080","zone":"eu-west-1a"}}"#,
            index / 256,
            index % 256
        )
    });
    let list = list.collect::<Vec<_>>().join(",");
    format!(r#"{{"version":1,"clusters":[{{"name":"echo","endpoints":[{list}]}}]}}"#)
}

/// Reads an answer in slices and returns the listing, the slices, and the largest in bytes.
fn slices(mut advance: impl FnMut() -> Progress<Vec<Listing>>) -> (Vec<Listing>, usize, usize) {
    let (mut count, mut before, mut largest) = (1, 0, 0);
    loop {
        match advance() {
            Progress::More { read } => {
                largest = largest.max(read - before);
                before = read;
                count += 1;
            }
            Progress::Done(listings) => return (listings, count, largest),
            Progress::Refused(refused) => panic!("{refused}"),
        }
    }
}

#[test]
fn endpoint_takes_no_more_than_is_documented() {
    // A node of a `BTreeMap` that is built by insertion is half full at worst.
    let sizes = [size_of::<Listed>(), size_of::<Member>()];
    let sizes = sizes.map(|size| size + size_of::<SocketAddr>());
    println!("bytes per endpoint: {sizes:?} in a listing and for good");
    assert!(sizes[0] <= ENDPOINT_BYTES[0] && sizes[1] <= ENDPOINT_BYTES[1]);
}

/// `cargo test -p tidegate-policy --test membership_figures -- --nocapture` prints the table.
#[test]
fn slice_never_reads_more_than_its_budget_and_a_token() {
    println!("source endpoints bytes bytes/endpoint slices-of-{SLICE_BYTES} largest-slice");
    for endpoints in [10, 100, 1000, 10_000] {
        let admin = admin_answer(endpoints);
        let feed = feed_answer(endpoints);
        for (source, text) in [("admin", &admin), ("feed", &feed)] {
            assert!(text.len() <= MAX_ANSWER_BYTES);
            let bytes = text.as_bytes();
            let (listings, count, largest) = if source == "admin" {
                let mut parser = ClustersParser::new();
                slices(|| parser.advance(bytes, SLICE_BYTES))
            } else {
                let mut parser = FeedParser::new();
                slices(|| parser.advance(bytes, SLICE_BYTES))
            };
            assert!(largest <= SLICE_BYTES + MAX_TOKEN_BYTES);
            assert_eq!(count, bytes.len() / SLICE_BYTES + 1);
            assert_eq!(listings[0].endpoints().len(), endpoints);
            let mut membership = Membership::new(Limits::default());
            let change = membership
                .apply("echo", &listings, WallTime::from_seconds(1))
                .unwrap();
            assert_eq!(change.added, endpoints);
            println!(
                "{source} {endpoints} {} {} {count} {largest}",
                bytes.len(),
                bytes.len() / endpoints
            );
        }
    }
}
