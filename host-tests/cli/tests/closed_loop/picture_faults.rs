//! The picture while the admin answers badly, host calls fail, and neighbours write under our keys.

use tidegate_policy::config::{Problems, from_json};
use tidegate_policy::endpoints::{Config, seen_key, slot_key};
use tidegate_policy::slots::SlotIndex;
use tidegate_policy::snapshot::{snapshot_key, versions_key};

use super::picture::{Watched, three, watch};

const PROBED: &str = "{ clusters: [ { name: app } ], probe: { interval: 1s, timeout: 500ms } }";

/// Two minutes in which an endpoint leaves after 20 s, and the admin answers badly from 15 to 40 s. Ten million bytes are
/// read for 38 s, in slices.
fn badly(with: &str) -> Watched {
    let scenario = three("{ from: 20s, state: absent }").replace(
        "kind: admin }",
        &format!("kind: admin, admin_faults: [ {{ from: 15s, until: 40s, with: {with} }} ] }}"),
    );
    let scenario = scenario.replace("duration: 60s", "duration: 2m");
    watch(
        "{ clusters: [ { name: app } ], drain_window: 10m }",
        &scenario,
    )
}

#[test]
fn admin_that_answers_badly_leaves_the_last_picture_to_age() {
    for with in [
        "garbage",
        "huge",
        "never",
        "other_cluster",
        "{ status: 503 }",
        "truncated",
    ] {
        let watched = badly(with);
        assert_eq!(
            watched.sequence("app"),
            ["1A 2A 3A", "1A 2V 3A"],
            "{with}: {:?}",
            watched.history
        );
        let learned = watched.when("app", "1A 2V 3A");
        assert!(learned >= 40_000, "{with}: {learned}");
        assert!(
            watched.ages_ms[&14] < 3_000,
            "{with}: {:?}",
            watched.ages_ms
        );
        assert!(
            watched.ages_ms[&39] > 18_000,
            "{with}: {:?}",
            watched.ages_ms
        );
        assert!(
            watched.ran.traps.is_empty(),
            "{with}: {:?}",
            watched.ran.traps
        );
        assert_eq!(watched.ran.rows[0].status, Some(200), "{with}");
    }
}

/// Host calls that the picture needs, of those that a scenario lets fail.
const CALLS: [&str; 6] = [
    "proxy_get_buffer_bytes",
    "proxy_get_current_time_nanoseconds",
    "proxy_get_header_map_value",
    "proxy_get_shared_data",
    "proxy_http_call",
    "proxy_set_shared_data",
];

/// Fourteen seconds with a request every 100 ms, and an endpoint that fails its probes.
fn short(faults: &str) -> String {
    let unready = "{ from: 5s, state: { probe: { path: /health, answer: { status: 503 } } } }";
    three(unready)
        .replace("duration: 60s", "duration: 14s")
        .replace("[ { at: 30s } ]", &requests())
        + faults
}

fn requests() -> String {
    let requests: Vec<String> = (1..=130)
        .map(|index| format!("{{ at: {}ms, client: {} }}", index * 100, index % 7))
        .collect();
    format!("[ {} ]", requests.join(", "))
}

#[test]
fn host_call_that_fails_once_at_any_position_loses_no_request_and_no_picture() {
    for call in CALLS {
        for nth in 1..=12 {
            let faults = format!("\nfaults: [ {{ call: {call}, from: 200ms, nth: {nth} }} ]");
            let watched = watch(PROBED, &short(&faults));
            let at = format!("{call} {nth}");
            assert!(
                watched.ran.traps.is_empty(),
                "{at}: {:?}",
                watched.ran.traps
            );
            let mut rows = watched.ran.rows.iter();
            assert!(rows.all(|row| row.status == Some(200)), "{at}");
            assert_eq!(
                watched.sequence("app").last(),
                Some(&"1A 2E 3A"),
                "{at}: {:?}",
                watched.history
            );
        }
    }
}

#[test]
fn host_call_that_fails_for_a_while_loses_no_request_and_the_picture_comes_back() {
    for call in CALLS {
        let faults = format!("\nfaults: [ {{ call: {call}, from: 2s, until: 7s }} ]");
        let watched = watch(PROBED, &short(&faults));
        assert!(
            watched.ran.traps.is_empty(),
            "{call}: {:?}",
            watched.ran.traps
        );
        let mut rows = watched.ran.rows.iter();
        assert!(rows.all(|row| row.status == Some(200)), "{call}");
        assert_eq!(
            watched.sequence("app").last(),
            Some(&"1A 2E 3A"),
            "{call}: {:?}",
            watched.history
        );
    }
}

#[test]
fn neighbours_nonsense_under_our_keys_costs_no_request_and_the_picture_comes_back() {
    let block =
        r#"{"clusters": [{"name": "app"}], "probe": {"interval": "1s", "timeout": "500ms"}}"#;
    let mut problems = Problems::new();
    let raw = from_json(block, "").unwrap();
    let digest = Config::check(&raw, "$", &mut problems).unwrap().digest();
    let first = SlotIndex::all().next().unwrap();
    let keys = [
        format!("tidegate.endpoints.{digest:016x}.lease.1"),
        snapshot_key("endpoints", digest, b"app"),
        versions_key("endpoints", digest),
        slot_key(digest, first),
        seen_key(digest),
    ];
    let writes: String = keys
        .iter()
        .map(|key| format!("          set_shared_data \"{key}\" \"nonsense\" 0\n"))
        .collect();
    let neighbour = format!(
        "  - plugin:
      module: probe
      vm_id: picture
      configuration: |
        name a
        configure:
          set_tick_period_milliseconds 1000
        tick#6:
{writes}clusters:"
    );
    let scenario = short("").replacen("clusters:", &neighbour, 1);
    // The neighbour is in the list of filters, behind the module.
    let (before, after) = scenario.split_once("  - plugin:").unwrap();
    let (filter, clusters) = after.split_once("clusters:").unwrap();
    let watched = watch(
        PROBED,
        &format!("  - plugin:{filter}{before}clusters:{clusters}"),
    );
    assert!(watched.ran.traps.is_empty(), "{:?}", watched.ran.traps);
    assert_eq!(watched.ran.rows.len(), 130);
    let mut rows = watched.ran.rows.iter();
    assert!(rows.all(|row| row.status == Some(200)));
    assert_eq!(
        watched.sequence("app").last(),
        Some(&"1A 2E 3A"),
        "{:?}",
        watched.history
    );
}
