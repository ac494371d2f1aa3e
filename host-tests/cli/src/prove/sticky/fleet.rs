//! Several gateways, restarts, new keys, and endpoints that come and go.

use std::collections::BTreeMap;

use super::{configuration, endpoints, none};
use crate::prove::lab::{Gateway, Lab, SECOND_NS, START_SECONDS, Setup, key};
use crate::prove::random::Random;
use crate::prove::{Claim, Evidence, Options, Target};

pub(super) const ROTATION: &[Claim] = &[none(
    "rotation.lost",
    "requests that lost their session while two gateways changed their key in three steps",
    "requests",
)];

pub(super) const RESTART: &[Claim] = &[none(
    "restart.lost",
    "sessions lost when both gateways start anew",
    "sessions",
)];

pub(super) const SCALING: &[Claim] = &[
    none(
        "scale.growth",
        "sessions moved when a fifth endpoint joins four",
        "sessions",
    ),
    none(
        "scale.others",
        "sessions of the other endpoints moved when the fifth leaves",
        "sessions",
    ),
    none(
        "scale.served",
        "requests of the leaving endpoint's sessions that no endpoint served",
        "requests",
    ),
    none(
        "scale.return",
        "sessions of the endpoint that left not on it again when it returns",
        "sessions",
    ),
    Claim {
        id: "scale.re_pin",
        what: "moves of each session of the leaving endpoint in ten requests, with re_pin",
        unit: "moves per session",
        target: Target::Exactly(1.0),
    },
];

const SESSIONS: usize = 1000;

/// The TTL of the rotation, in seconds, and in the configuration's words.
const TTL_SECONDS: u64 = 3600;
const TTL: &str = ", \"ttl\": \"1h\"";

/// A client that has a cookie.
#[derive(Debug, Clone)]
struct Client {
    cookie: String,
    endpoint: String,
    begun_ns: u64,
}

impl Client {
    fn begin(gateway: &mut Gateway, now_ns: u64) -> anyhow::Result<Self> {
        let exchange = gateway.at(now_ns).request("echo", &[])?;
        Ok(Self {
            cookie: exchange.cookie()?,
            endpoint: exchange.served_by,
            begun_ns: now_ns,
        })
    }

    /// Sends a request and says whether another endpoint than before served it. A new cookie
    /// replaces the old one.
    fn moves(&mut self, gateway: &mut Gateway) -> anyhow::Result<bool> {
        let exchange = gateway.request("echo", &[self.cookie.as_bytes()])?;
        if exchange.set_cookie.is_some() {
            self.cookie = exchange.cookie()?;
        }
        let moved = exchange.served_by != self.endpoint;
        self.endpoint = exchange.served_by;
        Ok(moved)
    }
}

fn setup(fields: &str, keys: &str, now_ns: u64, seed: u64) -> Setup {
    Setup {
        configuration: configuration(fields),
        keys: keys.into(),
        start_ns: now_ns,
        seed,
        endpoints: endpoints(4),
    }
}

pub(super) fn rotation(options: Options) -> anyhow::Result<Vec<Evidence>> {
    let lab = Lab::new()?;
    let mut random = Random::new(options.seed);
    let (old, new) = (key(1, &mut random), key(2, &mut random));
    let (both, turned) = (format!("{old},{new}"), format!("{new},{old}"));
    // When each gateway gets which keys, in seconds: the documented steps, one gateway after the
    // other.
    let steps = [
        (600, 0, &both),
        (1200, 1, &both),
        (1800, 0, &turned),
        (2400, 1, &turned),
        (2400 + TTL_SECONDS, 0, &new),
        (3000 + TTL_SECONDS, 1, &new),
    ];
    let (lost, requests) = rotate(&lab, &old, &steps, options.seed)?;
    let at_once = [(600, 0, &new), (1200, 1, &new)];
    let (lost_at_once, _) = rotate(&lab, &old, &at_once, options.seed)?;
    Ok(vec![
        Evidence::count(lost, requests).against("new_key_at_once", lost_at_once),
    ])
}

/// Runs clients against two gateways while these steps are taken, and counts lost sessions and
/// requests.
fn rotate(
    lab: &Lab,
    first: &str,
    steps: &[(u64, usize, &String)],
    seed: u64,
) -> anyhow::Result<(u64, u64)> {
    let mut random = Random::new(seed);
    let start_ns = START_SECONDS * SECOND_NS;
    let mut gateways = Vec::new();
    for number in 0..2 {
        gateways.push(lab.start(&setup(TTL, first, start_ns, seed.wrapping_add(number)))?);
    }
    let mut clients: Vec<Client> = Vec::new();
    let (mut lost, mut requests) = (0, 0);
    for second in (0..3 * TTL_SECONDS).step_by(30) {
        let now_ns = start_ns + second * SECOND_NS;
        for (_, gateway, keys) in steps.iter().filter(|(at, ..)| *at == second) {
            if let Some(gateway) = gateways.get_mut(*gateway) {
                *gateway = lab.start(&setup(TTL, keys, now_ns, seed.wrapping_add(second)))?;
            }
        }
        for gateway in &mut gateways {
            gateway.at(now_ns);
        }
        clients.retain(|client| now_ns < client.begun_ns + TTL_SECONDS * SECOND_NS);
        for gateway in &mut gateways {
            clients.push(Client::begin(gateway, now_ns)?);
        }
        // Every client comes by, at whichever gateway.
        for client in &mut clients {
            let number = random.below(gateways.len());
            if let Some(gateway) = gateways.get_mut(number) {
                let exchange = gateway.request("echo", &[client.cookie.as_bytes()])?;
                requests += 1;
                lost += u64::from(
                    !exchange.request_was("pinned") || exchange.served_by != client.endpoint,
                );
            }
        }
    }
    Ok((lost, requests))
}

pub(super) fn restart(options: Options) -> anyhow::Result<Vec<Evidence>> {
    let lab = Lab::new()?;
    let mut random = Random::new(options.seed);
    let keys = key(1, &mut random);
    let start_ns = START_SECONDS * SECOND_NS;
    let start = |now_ns: u64, seed: u64| -> anyhow::Result<Vec<Gateway>> {
        (0..2)
            .map(|number| lab.start(&setup("", &keys, now_ns, seed.wrapping_add(number))))
            .collect()
    };
    let mut before = start(start_ns, options.seed)?;
    let mut clients = Vec::new();
    for number in 0..SESSIONS {
        if let Some(gateway) = before.get_mut(number % 2) {
            clients.push(Client::begin(gateway, start_ns)?);
        }
    }
    drop(before);
    let mut after = start(start_ns + 5 * SECOND_NS, options.seed.wrapping_add(2))?;
    let (mut lost, mut turn) = (0, 0_usize);
    let mut lost_without = 0;
    let names = endpoints(4);
    for client in &mut clients {
        let number = random.below(after.len());
        if let Some(gateway) = after.get_mut(number) {
            let endpoint = client.endpoint.clone();
            lost += u64::from(client.moves(gateway)?);
            // What taking turns from the start would have done.
            lost_without += u64::from(names.get(turn % names.len()) != Some(&endpoint));
            turn += random.below(2) + 1;
        }
    }
    let cases = u64::try_from(clients.len())?;
    Ok(vec![
        Evidence::count(lost, cases).against("round_robin", lost_without),
    ])
}

pub(super) fn scaling(options: Options) -> anyhow::Result<Vec<Evidence>> {
    let lab = Lab::new()?;
    let mut random = Random::new(options.seed);
    let keys = key(1, &mut random);
    let start_ns = START_SECONDS * SECOND_NS;
    let mut gateway = lab.start(&setup("", &keys, start_ns, options.seed))?;
    let mut evidence = Vec::new();

    let mut clients: Vec<Client> = (0..SESSIONS)
        .map(|_| Client::begin(&mut gateway, start_ns))
        .collect::<anyhow::Result<_>>()?;
    gateway.endpoints = endpoints(5);
    let moved = count_moves(&mut clients, &mut gateway)?;
    evidence.push(
        Evidence::count(moved, u64::try_from(clients.len())?)
            .against("round_robin", modulo_moves(clients.len(), 4, 5)),
    );

    for _ in 0..SESSIONS {
        clients.push(Client::begin(&mut gateway, start_ns)?);
    }
    let leaving = endpoints(5).pop().unwrap_or_default();
    let (mut theirs, mut others): (Vec<Client>, Vec<Client>) = clients
        .into_iter()
        .partition(|client| client.endpoint == leaving);
    let homes: BTreeMap<String, String> = theirs
        .iter()
        .map(|client| (client.cookie.clone(), client.endpoint.clone()))
        .collect();
    gateway.endpoints = endpoints(4);
    let cases = u64::try_from(others.len())?;
    evidence.push(Evidence::count(
        count_moves(&mut others, &mut gateway)?,
        cases,
    ));

    let (mut unserved, mut requests) = (0, 0);
    for client in &mut theirs {
        for _ in 0..10 {
            let exchange = gateway.request("echo", &[client.cookie.as_bytes()])?;
            requests += 1;
            let served = exchange.response_was("served_elsewhere") && exchange.served_by != leaving;
            unserved += u64::from(!served || exchange.set_cookie.is_some());
        }
    }
    evidence.push(Evidence::count(unserved, requests));

    gateway.endpoints = endpoints(5);
    let mut away = 0;
    for client in &theirs {
        let exchange = gateway.request("echo", &[client.cookie.as_bytes()])?;
        away += u64::from(homes.get(&client.cookie) != Some(&exchange.served_by));
    }
    evidence.push(Evidence::count(away, u64::try_from(theirs.len())?));

    // The same sessions at a gateway that moves them.
    let re_pin = ", \"when_unreachable\": \"re_pin\"";
    let mut mover = lab.start(&setup(
        re_pin,
        &keys,
        start_ns,
        options.seed.wrapping_add(1),
    ))?;
    let (mut fewest, mut most) = (u64::MAX, 0);
    for client in &mut theirs {
        let mut moves = 0;
        for _ in 0..10 {
            moves += u64::from(client.moves(&mut mover)?);
        }
        fewest = fewest.min(moves);
        most = most.max(moves);
    }
    // Every session has the same number, or the figure is none.
    let moves = if fewest == most { most } else { u64::MAX };
    evidence.push(Evidence::count(moves, u64::try_from(theirs.len())?));
    Ok(evidence)
}

fn count_moves(clients: &mut [Client], gateway: &mut Gateway) -> anyhow::Result<u64> {
    let mut moved = 0;
    for client in clients {
        moved += u64::from(client.moves(gateway)?);
    }
    Ok(moved)
}

/// How many of so many sessions move when their number, modulo the endpoints, is what places them:
/// taking turns.
pub(super) fn modulo_moves(sessions: usize, before: usize, after: usize) -> u64 {
    let moved = (0..sessions)
        .filter(|number| number % before != number % after)
        .count();
    u64::try_from(moved).unwrap_or(u64::MAX)
}
