//! The picture of the endpoints: what the real module learns of the model's endpoints and publishes.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking, its helpers too"
)]

use std::collections::BTreeMap;

use tidegate_cli::closed_loop::run_watched;
use tidegate_host::Proxy;
use tidegate_policy::endpoints::KEY_PLUGIN;
use tidegate_policy::snapshot::{SnapshotView, State, VersionsView, cluster_digest, snapshot_key};
use tidegate_policy::units::WallTime;

use super::support::{Ran, load};

/// A key for tests: bytes 0 to 31.
const KEYS: &str = "1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// What is known of a cluster at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    at_ms: u64,
    /// Each endpoint's last number and the first letter of its state: `1A 2E`.
    endpoints: String,
}

/// Watches the picture while a scenario runs.
#[derive(Debug, Default)]
pub(super) struct Watched {
    pub(super) ran: Ran,
    /// What was known of each cluster when that changed.
    pub(super) history: BTreeMap<String, Vec<Known>>,
    /// How many endpoints had announced an instance when it was looked at last.
    instances: usize,
    /// How old what was known was at most, in milliseconds, by the second in which it was looked at.
    pub(super) ages_ms: BTreeMap<u64, u64>,
}

impl Watched {
    fn look(&mut self, now_ns: u64, proxy: &Proxy, clusters: &[&str]) {
        let shared: BTreeMap<&[u8], &[u8]> = proxy
            .shared_data("picture")
            .map(|entry| (entry.key, entry.value))
            .collect();
        let Some(versions) = shared
            .iter()
            .find(|(key, _)| key.ends_with(b".versions"))
            .and_then(|(_, value)| VersionsView::open(value).ok())
        else {
            return;
        };
        for cluster in clusters {
            let digest = cluster_digest(cluster.as_bytes());
            let key = snapshot_key(KEY_PLUGIN, versions.configuration(), cluster.as_bytes());
            let (Some(version), Some(bytes)) = (versions.get(digest), shared.get(key.as_bytes()))
            else {
                continue;
            };
            let Ok(view) = SnapshotView::open(bytes) else {
                continue;
            };
            let header = view.header();
            if (header.epoch, header.generation) != (version.epoch, version.generation) {
                continue;
            }
            let now_ms = now_ns / 1_000_000;
            let now = WallTime::from_ns(proxy.now_ns());
            let age = version.age(now).as_millis();
            let oldest = self.ages_ms.entry(now_ms / 1_000).or_default();
            *oldest = u64::try_from(age).unwrap().max(*oldest);
            self.instances = view
                .iter()
                .filter(|entry| entry.endpoint.instance.is_some())
                .count();
            let known = Known {
                at_ms: now_ms,
                endpoints: shown(&view),
            };
            let history = self.history.entry((*cluster).to_owned()).or_default();
            if history
                .last()
                .is_none_or(|last| last.endpoints != known.endpoints)
            {
                history.push(known);
            }
        }
    }

    /// What was known of a cluster, one after the other.
    pub(super) fn sequence(&self, cluster: &str) -> Vec<&str> {
        let history = self.history.get(cluster).map(Vec::as_slice);
        let history = history.unwrap_or_default().iter();
        history.map(|known| known.endpoints.as_str()).collect()
    }

    /// When it was known for the first time, in milliseconds.
    pub(super) fn when(&self, cluster: &str, endpoints: &str) -> u64 {
        let history = &self.history[cluster];
        history
            .iter()
            .find(|known| known.endpoints == endpoints)
            .unwrap_or_else(|| panic!("never {endpoints:?}: {history:?}"))
            .at_ms
    }
}

fn shown(view: &SnapshotView<'_>) -> String {
    let endpoints = view.iter().map(|entry| {
        let address = entry.address.ip.to_string();
        let number = address.rsplit('.').next().unwrap_or_default().to_owned();
        let state = match entry.endpoint.state {
            State::Unknown => 'U',
            State::Available { .. } => 'A',
            State::Probing => 'P',
            State::Ejected { .. } => 'E',
            State::Draining { .. } => 'D',
            State::Vanished { .. } => 'V',
        };
        format!("{number}{state}")
    });
    endpoints.collect::<Vec<_>>().join(" ")
}

/// Runs a scenario with two workers and the module, whose block `endpoints` is this.
pub(super) fn watch(block: &str, rest: &str) -> Watched {
    watch_with(block, rest, 1, &["app"])
}

pub(super) fn watch_with(block: &str, rest: &str, seed: u64, clusters: &[&str]) -> Watched {
    let yaml = format!(
        "workers: 2
filters:
  - plugin:
      module: sticky-session
      vm_id: picture
      on_trap: fail_open
      environment: {{ TIDEGATE_STICKY_KEYS: '{KEYS}' }}
      configuration: {{ clusters: [ {{ prefix: '' }} ], endpoints: {block} }}
{rest}"
    );
    let loaded = load(&yaml).unwrap();
    let mut watched = Watched::default();
    let mut ran = Ran::default();
    run_watched(&loaded, seed, &mut ran, &mut |now_ns, proxy| {
        watched.look(now_ns, proxy, clusters);
    })
    .unwrap();
    watched.ran = ran;
    watched
}

/// A cluster of three endpoints with something that happens, and the admin's.
pub(super) fn three(second: &str) -> String {
    format!(
        "duration: 60s
traffic:
  - requests: {{ list: [ {{ at: 30s }} ] }}
clusters:
  - name: app
    balancer: {{ override_host: {{ header: x-tidegate-endpoint }} }}
    endpoints:
      - {{ address: '10.0.0.1:80' }}
      - {{ address: '10.0.0.2:80', timeline: [{second}] }}
      - {{ address: '10.0.0.3:80' }}
  - {{ name: envoy_admin, kind: admin }}"
    )
}

/// The same cluster with a feed, whose answers are phases of its only endpoint.
fn with_feed(answers: &str) -> String {
    let clusters = three("");
    let clusters = clusters.replace("  - { name: envoy_admin, kind: admin }", "");
    format!(
        "{clusters}  - name: endpoint_feed
    endpoints: [ {{ address: '10.0.9.1:80', timeline: [{answers}] }} ]"
    )
}

/// A feed's answer from one time to another that lists these endpoints of the cluster.
fn feed(from: &str, until: &str, numbers: &[u8]) -> String {
    let endpoints: Vec<String> = numbers
        .iter()
        .map(|number| format!(r#"{{"address": "10.0.0.{number}:80"}}"#))
        .collect();
    let list = endpoints.join(", ");
    let body =
        format!(r#"{{"version": 1, "clusters": [{{"name": "app", "endpoints": [{list}]}}]}}"#);
    phase(from, until, &format!("body: '{body}'"))
}

/// A phase in which a feed answers like this.
fn phase(from: &str, until: &str, answer: &str) -> String {
    format!(
        "{{ from: {from}, until: {until}, state: {{ probe: {{ path: /endpoints, answer: {{ {answer} }} }} }} }}"
    )
}

#[test]
fn picture_follows_the_membership_that_the_admin_shows() {
    let watched = watch(
        "{ clusters: [ { name: app } ], drain_window: 10s }",
        &three("{ from: 20s, until: 40s, state: absent }"),
    );
    assert_eq!(
        watched.sequence("app"),
        ["1A 2A 3A", "1A 2V 3A", "1A 3A", "1A 2A 3A"],
        "{:?}",
        watched.history
    );
    assert!(watched.when("app", "1A 2A 3A") <= 2_000);
    assert!((20_000..=23_000).contains(&watched.when("app", "1A 2V 3A")));
    assert!((30_000..=33_500).contains(&watched.when("app", "1A 3A")));
    assert!(watched.ran.traps.is_empty(), "{:?}", watched.ran.traps);
}

#[test]
fn probes_eject_an_endpoint_and_bring_it_back() {
    let watched = watch(
        "{ clusters: [ { name: app } ], probe: { interval: 1s, timeout: 500ms } }",
        &three(
            "{ from: 20s, until: 40s, state: { probe: { path: /health, answer: { status: 503 } } } }",
        ),
    );
    let sequence = watched.sequence("app");
    assert!(
        sequence.ends_with(&["1A 2A 3A", "1A 2E 3A", "1A 2A 3A"]),
        "{:?}",
        watched.history
    );
    assert!((22_000..=25_000).contains(&watched.when("app", "1A 2E 3A")));
}

#[test]
fn picture_follows_a_feed_and_keeps_what_a_broken_one_said_last() {
    let answers = [
        feed("0s", "20s", &[1, 2]),
        phase(
            "20s",
            "40s",
            "body: '{\"version\": 1, \"clusters\": [{\"name\": '",
        ),
        feed("40s", "60s", &[1, 3]),
    ];
    let watched = watch(
        "{ clusters: [ { name: app } ], source: { feed: { interval: 1s } } }",
        &with_feed(&answers.join(", ")),
    );
    assert_eq!(watched.sequence("app"), ["1A 2A", "1A 2V 3A"]);
    // After errors it is asked less often, down to every 30 s.
    assert!((40_000..=59_000).contains(&watched.when("app", "1A 2V 3A")));
    assert!(watched.ages_ms[&15] < 2_500, "{:?}", watched.ages_ms);
    assert!(watched.ages_ms[&39] > 17_000, "{:?}", watched.ages_ms);
}

#[test]
fn static_endpoints_are_known_without_a_source() {
    let watched = watch(
        "{ source: { static: [ { cluster: app, endpoints: [ { address: '10.0.0.1:80' } ] } ] } }",
        &three(""),
    );
    assert_eq!(watched.sequence("app"), ["1A"]);
    assert!(watched.when("app", "1A") <= 1_000);
    assert!(watched.ages_ms[&50] <= 1_500, "{:?}", watched.ages_ms);
    assert_eq!(watched.ran.figure("call_outs").to_string(), "0");
}

#[test]
fn drain_answer_and_instance_of_a_probe_are_in_the_picture() {
    let drains = "{ from: 20s, until: 28s, state: { probe: { path: /health, answer: \
                  { status: 503, headers: { x-tidegate-drain: '8' } } } } }";
    let announces = "{ from: 40s, state: { announces: { x-tidegate-instance: a } } }";
    let watched = watch(
        "{ clusters: [ { name: app } ], probe: { interval: 1s, timeout: 500ms } }",
        &three(&format!("{drains}, {announces}")),
    );
    let sequence = watched.sequence("app");
    assert!(
        sequence.ends_with(&["1A 2A 3A", "1A 2D 3A", "1A 2A 3A"]),
        "{:?}",
        watched.history
    );
    assert!((20_000..=23_000).contains(&watched.when("app", "1A 2D 3A")));
    assert_eq!(watched.instances, 1);
}

#[test]
fn control_planes_health_is_in_the_picture() {
    let watched = watch(
        "{ clusters: [ { name: app } ] }",
        &three(
            "{ from: 20s, until: 30s, state: { membership: draining } }, \
             { from: 40s, until: 50s, state: { membership: unhealthy } }",
        ),
    );
    assert_eq!(
        watched.sequence("app"),
        ["1A 2A 3A", "1A 2D 3A", "1A 2A 3A", "1A 2E 3A", "1A 2A 3A"],
        "{:?}",
        watched.history
    );
}

#[test]
fn cluster_that_only_requests_name_is_known_after_the_first_one() {
    let watched = watch("{}", &three(""));
    // The only request comes after half a minute.
    assert!((30_000..=33_500).contains(&watched.when("app", "1A 2A 3A")));
}

#[test]
fn plugin_without_the_block_makes_no_call_and_shares_nothing() {
    let watched = watch("null", &three(""));
    assert_eq!(watched.sequence("app"), [""; 0]);
    assert_eq!(watched.ran.figure("call_outs").to_string(), "0");
}
