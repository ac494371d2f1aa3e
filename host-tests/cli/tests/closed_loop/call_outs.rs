//! Calls that plugins make: to endpoints by the override header, and to the proxy's admin.

use super::support::{Ran, run};

/// Runs a scenario with the plugin that calls what a script says, for ten seconds with one request.
fn calling(script: &str, clusters: &str) -> Ran {
    let script: String = script
        .lines()
        .map(|line| format!("        {line}\n"))
        .collect();
    run(&format!(
        "traffic:
  - requests: {{ list: [ {{ at: 9s }} ] }}
filters:
  - plugin:
      module: probe
      configuration: |
        name a
{script}
clusters:
{clusters}"
    ))
}

/// What the plugin on the worker said about its calls: lines with `needle`, behind the callback's name.
fn said(ran: &Ran, needle: &str) -> Vec<String> {
    ran.logs
        .iter()
        .filter(|line| line.contains("worker") || !line.contains("main"))
        .filter(|line| line.contains(needle))
        .cloned()
        .collect()
}

const PROBE: &str = "configure:
  set_tick_period_milliseconds 1000
tick#1:
  http_call \"app\" {:method=GET; :path=/health/ready; :authority=c; x-endpoint=10.0.0.2:80} \"\" {} 500 &u32
http_call_response:
  get_header_map_value 6 \":status\" &data";

#[test]
fn call_reaches_the_endpoint_that_its_header_names() {
    let cluster = |second: &str| {
        format!(
            "  - name: app
    balancer: {{ override_host: {{ header: x-endpoint }} }}
    endpoints:
      - {{ address: '10.0.0.1:80' }}
      - {{ address: '10.0.0.2:80', latency: {{ constant: 20ms }}, timeline: [{second}] }}"
        )
    };
    for (second, status) in [
        ("", "200"),
        (
            "{ state: { probe: { path: /health, answer: { status: 503 } } } }",
            "503",
        ),
        ("{ state: refuses }", "503"),
        ("{ state: hangs }", "504"),
        ("{ state: unreachable }", "504"),
    ] {
        let ran = calling(PROBE, &cluster(second));
        let said = said(&ran, ":status");
        assert!(!said.is_empty(), "{:?}", ran.logs);
        assert!(
            said.iter().all(|line| line.contains(status)),
            "{second}: {said:?}"
        );
        // A tick of the worker and one of the main thread.
        assert_eq!(ran.figure("call_outs").to_string(), "2");
        assert_eq!(ran.rows.len(), 1);
    }
}

#[test]
fn admin_shows_clusters_counters_and_takes_the_health_check() {
    let script = "configure:
  set_tick_period_milliseconds 1000
tick#1:
  http_call \"admin\" {:method=GET; :path=/clusters?format=json&filter=^app$; :authority=c} \"\" {} 500 &u32
tick#2:
  http_call \"admin\" {:method=GET; :path=/stats?filter=membership_total; :authority=c} \"\" {} 500 &u32
tick#3:
  http_call \"admin\" {:method=POST; :path=/healthcheck/fail; :authority=c} \"\" {} 500 &u32
tick#4:
  http_call \"admin\" {:method=GET; :path=/ready; :authority=c} \"\" {} 500 &u32
http_call_response:
  get_buffer_bytes 4 0 100000 &data";
    let clusters = "  - { name: app, endpoints: [{ address: '10.0.0.1:80', count: 3, timeline: [{ from: 1500ms, state: absent }] }] }
  - { name: admin, kind: admin }";
    let ran = calling(script, clusters);
    let bodies = said(&ran, "get_buffer_bytes");
    let text = bodies.join("\n");
    assert!(text.contains("10.0.0.1"), "{text}");
    assert!(text.contains("cluster.app.membership_total: 0"), "{text}");
    assert!(text.contains("DRAINING"), "{text}");
}

#[test]
fn call_to_a_cluster_without_endpoints_fails_at_once() {
    let ran = calling(
        PROBE,
        "  - { name: other, endpoints: [{ address: '10.0.0.1:80' }] }
  - { name: app, endpoints: [{ address: '10.0.0.2:80', timeline: [{ state: absent }] }] }",
    );
    assert_eq!(said(&ran, ":status"), Vec::<String>::new());
    assert_eq!(ran.figure("call_outs").to_string(), "0");
}
