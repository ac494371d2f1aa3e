//! The picture of the endpoints: what the real module learns of the model's endpoints and publishes.

use std::collections::BTreeMap;
use std::time::Duration;

use tidegate_cli::closed_loop::run_watched;
use tidegate_host::Proxy;
use tidegate_policy::endpoints::KEY_PLUGIN;
use tidegate_policy::snapshot::{
    Checked, SnapshotView, State, VersionsView, cluster_digest, snapshot_key,
};

use super::support::{Ran, load};

/// A key for tests: bytes 0 to 31.
const KEYS: &str = "1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// What is known of a cluster at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    at_ms: u64,
    /// Each endpoint's last number and the first letter of its state: `1A 2E`.
    endpoints: String,
    epoch: u64,
    age_ms: u64,
}

/// Watches the picture while a scenario runs.
#[derive(Debug, Default)]
struct Watched {
    ran: Ran,
    /// What was known of each cluster when that changed.
    history: BTreeMap<String, Vec<Known>>,
    /// Snapshots that were written because something changed.
    published: u64,
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
            let known = Known {
                at_ms: now_ns / 1_000_000,
                endpoints: shown(&view),
                epoch: version.epoch,
                age_ms: u64::try_from(
                    header
                        .published_at
                        .saturating_since(version.confirmed_at)
                        .as_millis(),
                )
                .unwrap(),
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
    fn sequence(&self, cluster: &str) -> Vec<&str> {
        let history = self.history.get(cluster).map(Vec::as_slice);
        let history = history.unwrap_or_default().iter();
        history.map(|known| known.endpoints.as_str()).collect()
    }

    /// When it was known for the first time, in milliseconds.
    fn when(&self, cluster: &str, endpoints: &str) -> u64 {
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
fn watch(block: &str, rest: &str) -> Watched {
    watch_with(block, rest, 1, &["app"])
}

fn watch_with(block: &str, rest: &str, seed: u64, clusters: &[&str]) -> Watched {
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
fn three(second: &str) -> String {
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
    let _ = (Duration::ZERO, Checked::try_new(Vec::new()).is_err());
}
