//! Cookies that somebody made, changed, moved or kept too long: none is accepted, none traps, none
//! is logged.

use std::collections::BTreeSet;
use std::thread;

use anyhow::{anyhow, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{configuration, endpoints, none};
use crate::prove::lab::{Gateway, Lab, SECOND_NS, START_SECONDS, Setup, key, value_of};
use crate::prove::random::Random;
use crate::prove::{Claim, Evidence, Options};

pub(super) const FORGERIES: &[Claim] = &[
    none(
        "cookie.control",
        "cookies as they were issued that are not accepted",
        "cookies",
    ),
    none(
        "cookie.forged",
        "random values, and values sealed under our key id with another key, accepted",
        "cookies",
    ),
    none(
        "cookie.truncated",
        "cookies cut at either end, at every length, accepted",
        "cookies",
    ),
    none(
        "cookie.reordered",
        "cookies whose bytes are rotated or whose blocks are swapped accepted",
        "cookies",
    ),
    none(
        "cookie.other_cluster",
        "cookies of another cluster accepted",
        "cookies",
    ),
    none(
        "cookie.old_key",
        "cookies under a key that was taken away accepted",
        "cookies",
    ),
    none(
        "cookie.next_key",
        "cookies under a key that is not there yet accepted",
        "cookies",
    ),
    none(
        "cookie.expired",
        "cookies one second after their TTL accepted",
        "cookies",
    ),
    none(
        "cookie.duplicate",
        "requests with two values under our name, equal ones included, accepted",
        "requests",
    ),
    none(
        "cookie.long",
        "values of 257 bytes to 4 KiB, valid ones made longer included, accepted",
        "cookies",
    ),
    none("cookie.traps", "VMs that trapped on any of these", "VMs"),
    none(
        "cookie.logged",
        "log lines that hold a part of a cookie or of a key",
        "lines",
    ),
];

pub(super) const MUTATIONS: &[Claim] = &[
    none(
        "mutated.accepted",
        "cookies with random changes accepted",
        "cookies",
    ),
    none("mutated.traps", "VMs that trapped on one", "VMs"),
    none(
        "mutated.logged",
        "log lines that hold a part of a cookie or of a key",
        "lines",
    ),
];

const NOW_NS: u64 = START_SECONDS * SECOND_NS;

/// Is what a cookie of the cluster `echo` begins with.
const NAME: &str = "tidegate-echo=";

fn setup(keys: &str, seed: u64) -> Setup {
    Setup {
        configuration: configuration(""),
        keys: keys.into(),
        start_ns: NOW_NS,
        seed,
        endpoints: endpoints(4),
    }
}

/// Begins so many sessions and hands out their cookies, as `name=value`.
fn issue(gateway: &mut Gateway, cluster: &str, count: usize) -> anyhow::Result<Vec<String>> {
    (0..count)
        .map(|_| gateway.request(cluster, &[])?.cookie())
        .collect()
}

/// Counts requests that the plugin accepted, and adds up what else was seen.
#[derive(Debug, Default)]
struct Trial {
    accepted: u64,
    cases: u64,
}

impl Trial {
    /// Presents cookies, and checks that the reason for a refusal is one of those expected.
    fn present(
        &mut self,
        gateway: &mut Gateway,
        cookies: &[&[u8]],
        reasons: &[&str],
    ) -> anyhow::Result<()> {
        let exchange = gateway.request("echo", cookies)?;
        self.cases += 1;
        if exchange.pinned.is_some() {
            self.accepted += 1;
        } else {
            let expected = reasons.iter().any(|reason| exchange.request_was(reason));
            ensure!(
                expected,
                "refused with `{}`, expected one of {reasons:?}",
                exchange.reason
            );
        }
        Ok(())
    }

    fn evidence(&self) -> Evidence {
        Evidence::count(self.accepted, self.cases)
    }
}

pub(super) fn forgeries(options: Options) -> anyhow::Result<Vec<Evidence>> {
    let lab = Lab::new()?;
    let mut random = Random::new(options.seed);
    let (old, ours, next) = (
        key(1, &mut random),
        key(2, &mut random),
        key(3, &mut random),
    );
    let foreign = key(2, &mut random);
    let mut gateway = lab.start(&setup(&ours, options.seed))?;
    let start = |keys: &str| lab.start(&setup(keys, options.seed.wrapping_add(1)));
    let cookies = issue(&mut gateway, "echo", 64)?;
    let (mut makers, mut evidence) = (Vec::new(), Vec::new());

    let mut control = Trial::default();
    for cookie in &cookies {
        control.present(&mut gateway, &[cookie.as_bytes()], &[])?;
    }
    evidence.push(Evidence::count(
        control.cases - control.accepted,
        control.cases,
    ));

    let mut forged = Trial::default();
    let mut maker = start(&foreign)?;
    for cookie in issue(&mut maker, "echo", 1000)? {
        forged.present(&mut gateway, &[cookie.as_bytes()], &["refused_unauthentic"])?;
    }
    for _ in 0..10_000 {
        let mut bytes = random.bytes::<73>();
        // Version and key id are known to everybody.
        bytes
            .iter_mut()
            .zip([1, 2])
            .for_each(|(byte, known)| *byte = known);
        let cookie = format!("{NAME}{}", URL_SAFE_NO_PAD.encode(bytes));
        forged.present(&mut gateway, &[cookie.as_bytes()], &["refused_unauthentic"])?;
    }
    makers.push(maker);
    evidence.push(forged.evidence());

    let mut truncated = Trial::default();
    let refused = [
        "refused_malformed",
        "refused_unauthentic",
        "refused_version",
        "refused_unknown_key",
    ];
    for cookie in &cookies {
        let value = value_of(cookie);
        for length in 0..value.len() {
            for part in [value.get(..length), value.get(value.len() - length..)]
                .into_iter()
                .flatten()
            {
                let cookie = format!("{NAME}{part}");
                truncated.present(&mut gateway, &[cookie.as_bytes()], &refused)?;
            }
        }
    }
    evidence.push(truncated.evidence());

    let mut reordered = Trial::default();
    for cookie in &cookies {
        for value in orders(value_of(cookie)) {
            let cookie = format!("{NAME}{value}");
            reordered.present(&mut gateway, &[cookie.as_bytes()], &refused)?;
        }
    }
    evidence.push(reordered.evidence());

    let mut other_cluster = Trial::default();
    for cookie in issue(&mut gateway, "chat", 1000)? {
        let cookie = format!("{NAME}{}", value_of(&cookie));
        other_cluster.present(&mut gateway, &[cookie.as_bytes()], &["refused_unauthentic"])?;
    }
    evidence.push(other_cluster.evidence());

    for keys in [&old, &next] {
        let mut trial = Trial::default();
        let mut maker = start(keys)?;
        for cookie in issue(&mut maker, "echo", 1000)? {
            trial.present(&mut gateway, &[cookie.as_bytes()], &["refused_unknown_key"])?;
        }
        makers.push(maker);
        evidence.push(trial.evidence());
    }

    let mut duplicate = Trial::default();
    for (first, second) in cookies.iter().zip(cookies.iter().cycle().skip(1)) {
        for other in [first, second] {
            let both = format!("{first}; {other}");
            let apart = format!("{first}; theme=dark; {other}");
            for cookies in [
                vec![both.as_bytes()],
                vec![apart.as_bytes()],
                vec![first.as_bytes(), other.as_bytes()],
            ] {
                duplicate.present(&mut gateway, &cookies, &["refused_duplicate"])?;
            }
        }
    }

    let mut long = Trial::default();
    for cookie in &cookies {
        for length in [257, 1024, 4096] {
            let value = value_of(cookie);
            let padded = format!("{NAME}{value}{}", "A".repeat(length - value.len()));
            let repeated: String = value.chars().cycle().take(length).collect();
            for cookie in [padded, format!("{NAME}{repeated}")] {
                long.present(&mut gateway, &[cookie.as_bytes()], &["refused_too_long"])?;
            }
        }
    }

    let mut expired = Trial::default();
    gateway.at(NOW_NS + (3 * 3600 + 1) * SECOND_NS);
    for cookie in &cookies {
        expired.present(&mut gateway, &[cookie.as_bytes()], &["refused_expired"])?;
    }
    evidence.extend([expired.evidence(), duplicate.evidence(), long.evidence()]);

    makers.push(gateway);
    let cases = makers.iter().map(Gateway::lines).sum();
    evidence.push(Evidence::count(
        makers.iter().map(Gateway::traps).sum(),
        cases,
    ));
    evidence.push(Evidence::count(
        makers.iter().map(Gateway::leaks).sum(),
        cases,
    ));
    Ok(evidence)
}

/// Every rotation of a value, and every pair of its groups of four characters exchanged.
fn orders(value: &str) -> BTreeSet<String> {
    let mut orders = BTreeSet::new();
    for split in 1..value.len() {
        if let Some((head, tail)) = value.split_at_checked(split) {
            orders.insert(format!("{tail}{head}"));
        }
    }
    let groups: Vec<&[u8]> = value.as_bytes().chunks(4).collect();
    for left in 0..groups.len() {
        for right in left + 1..groups.len() {
            let mut swapped = groups.clone();
            swapped.swap(left, right);
            orders.insert(String::from_utf8_lossy(&swapped.concat()).into_owned());
        }
    }
    orders.remove(value);
    orders
}

pub(super) fn mutations(options: Options) -> anyhow::Result<Vec<Evidence>> {
    let lab = Lab::new()?;
    let total: u64 = if options.long { 10_000_000 } else { 1_000_000 };
    // One half on each core; which half a case is in does not depend on the machine.
    let halves = thread::scope(|scope| {
        let run = |half: u64| {
            let lab = &lab;
            move || {
                mutate(
                    lab,
                    options.seed.wrapping_mul(2).wrapping_add(half),
                    total / 2,
                )
            }
        };
        let threads = [scope.spawn(run(0)), scope.spawn(run(1))];
        threads.map(|thread| {
            thread
                .join()
                .map_err(|_| anyhow!("a thread of the proof panicked"))
        })
    });
    let (mut accepted, mut traps, mut leaks, mut lines) = (0, 0, 0, 0);
    for half in halves {
        let (trial, gateway) = half??;
        ensure!(trial.cases == total / 2, "a half is not complete");
        accepted += trial.accepted;
        traps += gateway.traps();
        leaks += gateway.leaks();
        lines += gateway.lines();
    }
    Ok(vec![
        Evidence::count(accepted, total),
        Evidence::count(traps, total),
        Evidence::count(leaks, lines),
    ])
}

/// Presents so many changed cookies.
fn mutate(lab: &Lab, seed: u64, count: u64) -> anyhow::Result<(Trial, Gateway)> {
    let mut random = Random::new(seed);
    let keys = format!("{},{}", key(1, &mut random), key(2, &mut random));
    let mut gateway = lab.start(&setup(&keys, seed))?;
    let cookies = issue(&mut gateway, "echo", 256)?;
    let values: Vec<Vec<u8>> = cookies
        .iter()
        .map(|cookie| value_of(cookie).as_bytes().to_vec())
        .collect();
    let valid: BTreeSet<&[u8]> = values.iter().map(Vec::as_slice).collect();
    let mut trial = Trial::default();
    let refused = [
        "new_session",
        "refused_duplicate",
        "refused_malformed",
        "refused_too_long",
        "refused_unauthentic",
        "refused_unknown_key",
        "refused_version",
    ];
    while trial.cases < count {
        let mut value = random.pick(&values).cloned().unwrap_or_default();
        for _ in 0..=random.below(3) {
            change(&mut value, &values, &mut random);
        }
        let trimmed = value.trim_ascii();
        let first = trimmed
            .split(|byte| *byte == b';')
            .next()
            .unwrap_or_default()
            .trim_ascii();
        if valid.contains(first) {
            continue;
        }
        let cookie = [NAME.as_bytes(), &value].concat();
        trial.present(&mut gateway, &[&cookie], &refused)?;
    }
    Ok((trial, gateway))
}

/// Changes a value in one of the ways that errors, proxies and attackers change text.
fn change(value: &mut Vec<u8>, others: &[Vec<u8>], random: &mut Random) {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let at = random.below(value.len());
    let letter = random.pick(ALPHABET).copied().unwrap_or(b'A');
    // What a proxy lets through in a header's value: no control characters.
    let octet = u8::try_from(0x20 + random.below(0xe0)).unwrap_or(b' ');
    match random.below(10) {
        0 | 1 => replace(value, at, |_| letter),
        2 => replace(value, at, |_| if octet == 0x7f { b'~' } else { octet }),
        // The case of a letter, or a neighbour in the alphabet.
        3 => replace(value, at, |byte| byte ^ 0x20),
        4 => value.insert(at, letter),
        5 => {
            if !value.is_empty() {
                value.remove(at);
            }
        }
        6 => {
            let other = random.below(value.len());
            if at < value.len() && other < value.len() {
                value.swap(at, other);
            }
        }
        7 => value.truncate(at),
        8 => {
            let repeated = value.get(at..).unwrap_or_default().to_vec();
            value.extend(repeated);
        }
        // The head of one and the tail of another.
        _ => {
            let tail = random
                .pick(others)
                .and_then(|other| other.get(at..))
                .unwrap_or_default()
                .to_vec();
            value.truncate(at);
            value.extend(tail);
        }
    }
}

fn replace(value: &mut [u8], at: usize, by: impl FnOnce(u8) -> u8) {
    if let Some(byte) = value.get_mut(at) {
        *byte = by(*byte);
    }
}
