//! What the module behind the router sees of attempts, in its own VM and in one that it shares.

#![expect(
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

use std::collections::BTreeMap;

use tidegate_cli::closed_loop::run_watched;
use tidegate_policy::snapshot::{Endpoint, SnapshotView};

use super::support::{Ran, load};

/// A key for tests: bytes 0 to 31.
const KEYS: &str = "1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// What was published last.
#[derive(Debug, Default)]
struct Seen {
    ran: Ran,
    /// Each endpoint by the last number of its address.
    endpoints: BTreeMap<u8, Endpoint>,
}

impl Seen {
    /// Gateway and local failures in a row.
    fn rows(&self, endpoint: u8) -> (u8, u8) {
        let failures = self.endpoints[&endpoint].failures;
        (failures.gateway_in_row, failures.local_in_row)
    }

    /// Callbacks that came while another one of their VM ran.
    fn reentered(&self) -> f64 {
        self.ran
            .figure("metrics.tidegate_sticky_session_reentered_total")
    }

    fn latency_ms(&self, endpoint: u8) -> Option<u32> {
        let latency = self.endpoints[&endpoint].latency?;
        Some(latency.estimate_us.get() / 1000)
    }
}

/// Runs one worker with the module in front and, in a VM whose configuration is this, behind the router.
fn run(behind: &str, block: &str, rest: &str) -> Seen {
    let yaml = format!(
        "duration: 20s
routes: [ {{ cluster: app, timeout: 1s }} ]
filters:
  - plugin:
      module: sticky-session
      vm_id: picture
      vm_configuration: front
      on_trap: fail_open
      environment: {{ TIDEGATE_STICKY_KEYS: '{KEYS}' }}
      configuration: {{ clusters: [ {{ name: app }} ], endpoints: {block} }}
clusters:
  - {{ name: envoy_admin, kind: admin }}
  - name: app
    balancer: {{ override_host: {{ header: x-tidegate-endpoint }} }}
    upstream_filters:
      - plugin:
          module: sticky-session
          vm_id: picture
          vm_configuration: {behind}
          on_trap: fail_open
          environment: {{ TIDEGATE_STICKY_KEYS: '{KEYS}' }}
          configuration: {{ role: upstream, clusters: [ {{ name: app }} ], endpoints: {block} }}
{rest}"
    );
    let loaded = load(&yaml).unwrap();
    let (mut seen, mut ran) = (Seen::default(), Ran::default());
    run_watched(&loaded, 1, &mut ran, &mut |_, proxy| {
        for entry in proxy.shared_data("picture") {
            let is_snapshot = String::from_utf8_lossy(entry.key).contains(".snapshot.app");
            if is_snapshot && let Ok(view) = SnapshotView::open(entry.value) {
                for entry in view.iter() {
                    let std::net::IpAddr::V4(ip) = entry.address.ip else {
                        continue;
                    };
                    let [.., number] = ip.octets();
                    seen.endpoints.insert(number, entry.endpoint);
                }
            }
        }
    })
    .unwrap();
    seen.ran = ran;
    seen
}

const BLOCK: &str = "{ clusters: [ { name: app } ] }";

/// Five endpoints that each do something else, and ten requests in turn for each.
const FIVE: &str = "    endpoints:
      - { address: '10.0.0.1:80', latency: { constant: 30ms } }
      - { address: '10.0.0.2:80', timeline: [ { state: { fails: { ratio: 1, with: { status: 503 } } } } ] }
      - { address: '10.0.0.3:80', timeline: [ { state: refuses } ] }
      - { address: '10.0.0.4:80', timeline: [ { state: { fails: { ratio: 1, with: disconnect } } } ] }
      - { address: '10.0.0.5:80', timeline: [ { state: { fails: { ratio: 1, with: { status: 429 } } } } ] }
traffic:
  - generated: { from: 5s, until: 10s, arrivals: { steady: { per_second: 10 } } }";

#[test]
fn every_attempt_is_seen_with_its_outcome() {
    let seen = run("behind", BLOCK, FIVE);
    assert_eq!(seen.ran.traps, Vec::<String>::new());
    assert_eq!(seen.latency_ms(1), Some(30), "{seen:?}");
    assert_eq!(seen.rows(1), (0, 0));
    assert_eq!(seen.rows(2), (10, 0));
    assert_eq!(seen.rows(3), (0, 10));
    assert_eq!(seen.rows(4), (0, 10));
    assert_eq!(seen.rows(5), (0, 0));
    for failed in 2..=5 {
        assert_eq!(seen.latency_ms(failed), None, "{failed}");
    }
    assert_eq!(seen.reentered().to_string(), "0");
}

#[test]
fn probes_pass_a_filter_in_the_leaders_own_vm_unseen_and_nothing_traps() {
    let block = "{ clusters: [ { name: app } ], probe: { interval: 1s, timeout: 500ms } }";
    let rest =
        "    endpoints: [ { address: '10.0.0.1:80', latency: { constant: 30ms }, count: 3 } ]
traffic:
  - generated: { from: 5s, until: 10s, arrivals: { steady: { per_second: 10 } } }";
    let shared = run("front", block, rest);
    assert_eq!(shared.ran.traps, Vec::<String>::new());
    let statuses: Vec<_> = shared.ran.rows.iter().map(|row| row.status).collect();
    assert_eq!(statuses, vec![Some(200); 50]);
    assert!(shared.reentered() > 0.0, "{:?}", shared.ran.figures);
    let apart = run("behind", block, rest);
    assert_eq!(apart.ran.traps, Vec::<String>::new());
    assert_eq!(apart.latency_ms(1), Some(30));
    assert_eq!(apart.reentered().to_string(), "0");
}

#[test]
fn attempt_that_its_client_gives_up_is_nobodys_failure() {
    let hangs = |gives_up: &str| {
        run(
            "behind",
            BLOCK,
            &format!(
                "    endpoints: [ {{ address: '10.0.0.1:80', timeline: [ {{ state: hangs }} ] }} ]
traffic:
  - requests: {{ list: [ {{ at: 5s, times: 4 {gives_up} }} ] }}"
            ),
        )
    };
    let given_up = hangs(", gives_up_after: 200ms");
    assert_eq!(given_up.rows(1), (0, 0), "{given_up:?}");
    assert_eq!(hangs("").rows(1), (0, 4));
}
