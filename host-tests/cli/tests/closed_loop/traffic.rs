//! Clients: how many, how long they wait, what they keep; and that a seed decides everything.

use super::support::{run, run_with};

const BUSY: &str = "duration: 5s
workers: 3
traffic:
  - generated: { arrivals: { poisson: { per_second: 200 } }, clients: { count: 20 } }
  - generated: { arrivals: { burst: { size: 5, every: 1s } }, request: { path: /ws, websocket: { count: 3, every: 200ms } } }
routes: [{ cluster: app, retry: { on: [5xx], num_retries: 2 } }]
clusters:
  - name: app
    balancer: { least_request: {} }
    endpoints:
      - { address: '10.0.0.1:80', count: 4, latency: { log_normal: { median: 20ms, sigma: 0.6 } }, errors: [{ ratio: 0.1 }], timeline: [{ from: 2s, until: 3s, state: refuses }] }
      - { address: '10.0.1.1:80', latency: { exponential: { mean: 30ms } } }";

#[test]
fn same_seed_gives_the_same_rows_and_another_one_others() {
    let first = run_with(BUSY, 1);
    let again = run_with(BUSY, 1);
    assert!(first.rows.len() > 900, "{}", first.rows.len());
    assert_eq!(first.rows, again.rows);
    assert_eq!(first.figures, again.figures);
    assert_ne!(first.rows, run_with(BUSY, 2).rows);
}

#[test]
fn client_that_gives_up_is_gone_and_its_attempt_with_it() {
    let ran = run("traffic:
  - requests: { list: [ { gives_up_after: 50ms } ] }
clusters: [{ name: app, endpoints: [{ address: '10.0.0.1:80', concurrency: 1, latency: { constant: 1s } }] }]");
    assert_eq!(
        ran.lines(),
        ["0 / cut [1] DC downstream_remote_disconnect 50"]
    );
}

#[test]
fn request_that_nothing_would_end_is_cut_at_the_end() {
    let ran = run("duration: 1s
traffic:
  - requests: { list: [ {} ] }
routes: [{ cluster: app, timeout: 0s }]
clusters: [{ name: app, endpoints: [{ address: '10.0.0.1:80', timeline: [{ state: hangs }] }] }]");
    assert_eq!(ran.rows.len(), 1);
    assert_eq!(ran.rows[0].status, None);
}

#[test]
fn cookies_of_the_proxy_keep_a_session_where_it_is() {
    let ran = run("traffic:
  - requests: { list: [ { times: 8, client: 1 }, { times: 8, client: 2 } ] }
clusters: [{ name: app, balancer: { stateful_session: {} }, endpoints: [{ address: '10.0.0.1:80', count: 5 }] }]");
    for client in [1, 2] {
        let mut served: Vec<_> = ran
            .rows
            .iter()
            .filter(|row| row.client == client)
            .filter_map(|row| row.served_by())
            .collect();
        assert_eq!(served.len(), 8);
        served.dedup();
        assert_eq!(served.len(), 1, "{:?}", ran.lines());
    }
}

#[test]
fn weighted_clusters_share_as_their_weights_say() {
    let ran = run("duration: 10s
traffic:
  - generated: { arrivals: { steady: { per_second: 1000 } } }
routes: [{ weighted_clusters: { a: 3, b: 1 } }]
clusters:
  - { name: a, endpoints: [{ address: '10.0.0.1:80' }] }
  - { name: b, endpoints: [{ address: '10.0.0.2:80' }] }");
    let first = ran
        .rows
        .iter()
        .filter(|row| row.served_by() == Some("10.0.0.1:80"))
        .count();
    // n = 10 000, p = 3/4: four standard deviations are 173.
    assert_eq!(ran.rows.len(), 10_000);
    assert!(first.abs_diff(7_500) <= 173, "{first}");
}
