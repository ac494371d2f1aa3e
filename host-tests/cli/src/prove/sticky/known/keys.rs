//! Requests that bring a key: the same endpoint at every gateway, and no cookie.

use super::{Claim, Fleet, SECOND_NS, cases, endpoints, listed, none};
use crate::prove::lab::{Asked, Exchange, Gateway, Lab};
use crate::prove::{Evidence, Options};

pub(in crate::prove::sticky) const CLAIMS: &[Claim] = &[
    none(
        "keys.disagreements",
        "keys (header, query parameter, address) that two gateways send to different endpoints",
        "keys",
    ),
    none(
        "keys.balanced",
        "requests with a key that the proxy had to balance",
        "requests",
    ),
    none(
        "keys.others",
        "keys of the other endpoints that move when one is ejected",
        "keys",
    ),
    none(
        "keys.return",
        "keys not on their endpoint again when it is back",
        "keys",
    ),
    none(
        "keys.cookies",
        "requests with a key whose response carries a cookie, or whose own cookie counted",
        "requests",
    ),
];

const KEYS: usize = 3000;
const EJECTED: &str = "10.0.0.3:8080";
/// How long a table of the default size takes to be built, at most, and then some.
const BUILT_NS: u64 = 15 * SECOND_NS;

#[derive(Debug, Clone, Copy)]
enum Kind {
    Address,
    Header,
    Query,
}

/// Sends a request with a key.
fn ask(kind: Kind, key: usize, gateway: &mut Gateway) -> anyhow::Result<Exchange> {
    let (high, low) = (key / 250, key % 250);
    let (client, path, value) = (
        format!("192.0.{high}.{low}:{}", 1024 + key),
        format!("/shop?page=1&user=u%2B{key}"),
        format!("user-{key}"),
    );
    // A cookie under the name that would be ours says nothing here.
    let cookies: &[&[u8]] = &[b"tidegate-echo=AQHVj5b"];
    let asked = Asked {
        cookies,
        ..Asked::default()
    };
    match kind {
        Kind::Address => gateway.ask(&Asked {
            client: &client,
            ..asked
        }),
        Kind::Header => gateway.ask(&Asked {
            headers: &[("x-user", &value)],
            ..asked
        }),
        Kind::Query => gateway.ask(&Asked {
            path: &path,
            ..asked
        }),
    }
}

pub(in crate::prove::sticky) fn prove(options: Options) -> anyhow::Result<Vec<Evidence>> {
    let lab = Lab::new()?;
    let mut counts = [0_u64; 5];
    let (mut keys, mut requests) = (0, 0);
    let names = endpoints(10);
    for (rule, kind) in [
        ("\"client_address\"", Kind::Address),
        ("{\"header\": \"x-user\"}", Kind::Header),
        ("{\"query\": \"user\"}", Kind::Query),
    ] {
        let fleet = Fleet::new(&lab, &format!(", \"key\": {rule}"), "", options.seed);
        // The second one knew another endpoint before.
        let mut more = names.clone();
        more.push("10.0.2.1:8080".into());
        let mut gateways = [
            fleet.start_one(&names)?,
            fleet.start_at(1, super::START_SECONDS * SECOND_NS)?,
        ];
        let [_, second] = &mut gateways;
        second.serve(&more)?;
        for gateway in &mut gateways {
            gateway.settle(BUILT_NS)?;
            gateway.serve(&names)?;
            gateway.settle(BUILT_NS)?;
        }
        let [disagreements, balanced, others, returned, cookies] = &mut counts;
        let mut rounds: Vec<Vec<String>> = Vec::new();
        for health in [&[][..], &[(EJECTED, "unhealthy")], &[]] {
            for gateway in &mut gateways {
                gateway.discover(&listed(&names, health))?;
            }
            let mut round = Vec::new();
            for key in 0..KEYS {
                let mut places = Vec::new();
                for gateway in &mut gateways {
                    let exchange = ask(kind, key, gateway)?;
                    requests += 1;
                    *balanced += u64::from(!exchange.reason.contains("request=keyed"));
                    *cookies += u64::from(exchange.set_cookie.is_some());
                    places.push(exchange.served_by);
                }
                *disagreements += u64::from(places.first() != places.last());
                round.extend(places.pop());
            }
            rounds.push(round);
        }
        let [before, during, after] = rounds.as_slice() else {
            anyhow::bail!("a round is missing");
        };
        keys += cases(before.len());
        for ((before, during), after) in before.iter().zip(during).zip(after) {
            *others += u64::from(before != EJECTED && before != during);
            *returned += u64::from(before != after);
        }
    }
    let all = [3 * keys, requests, keys, keys, requests];
    Ok(counts
        .into_iter()
        .zip(all)
        .map(|(count, cases)| Evidence::count(count, cases))
        .collect())
}
