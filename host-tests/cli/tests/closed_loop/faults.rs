//! Filters that fail, and host calls that are made to.

use super::support::{Ran, load, run};

fn hostile(guest: &str, policy: &str) -> Ran {
    let path =
        tidegate_cli::workspace::root().join(format!("host-tests/guests/hostile/{guest}.wat"));
    run(&format!(
        "workers: 2
traffic:
  - requests: {{ list: [ {{ times: 4 }} ] }}
filters:
  - plugin: {{ module: {}, on_trap: {policy}, fuel_per_callback: 1000000, memory_bytes: 1048576 }}
clusters: [{{ name: app, endpoints: [{{ address: '10.0.0.1:80' }}] }}]",
        path.display()
    ))
}

#[test]
fn endless_loop_is_a_guest_fault_and_the_run_goes_on() {
    let ran = hostile("never_returns", "fail_closed");
    assert_eq!(ran.rows.len(), 4);
    assert!(
        ran.rows.iter().all(|row| row.status == Some(503)),
        "{:?}",
        ran.lines()
    );
    assert!(ran.figure("guest_faults") >= 1.0);
    assert!(ran.traps[0].contains("fuel"), "{:?}", ran.traps);
    let open = hostile("never_returns", "fail_open");
    let served = open
        .rows
        .iter()
        .filter(|row| row.status == Some(200))
        .count();
    assert_eq!(
        served,
        3,
        "all but the one that trapped: {:?}",
        open.lines()
    );
}

#[test]
fn memory_that_grows_without_end_is_held() {
    let ran = hostile("allocates_forever", "fail_closed");
    assert_eq!(ran.rows.len(), 4);
    assert!(
        ran.rows.iter().all(|row| row.status == Some(200)),
        "{:?}",
        ran.lines()
    );
}

#[test]
fn guest_that_does_not_start_ends_the_run_with_its_reason() {
    for (guest, reason) in [
        ("traps_in_start", "trapped"),
        ("rejects_configuration", "configuration"),
    ] {
        let path =
            tidegate_cli::workspace::root().join(format!("host-tests/guests/hostile/{guest}.wat"));
        let loaded = load(&format!(
            "traffic: [{{ requests: {{ list: [ {{}} ] }} }}]
filters: [{{ plugin: {{ module: {} }} }}]
clusters: [{{ name: app, endpoints: [{{ address: '10.0.0.1:80' }}] }}]",
            path.display()
        ))
        .unwrap();
        let error = tidegate_cli::closed_loop::run(&loaded, 1, &mut Ran::default()).unwrap_err();
        assert!(error.to_string().contains(reason), "{guest}: {error}");
    }
}

#[test]
fn host_call_that_fails_answers_its_status_when_the_scenario_says() {
    let ran = run("traffic:
  - requests: { list: [ { at: 0s }, { at: 1s }, { at: 2s } ] }
filters:
  - plugin:
      module: probe
      name: probe
      configuration: |
        name a
        request_headers:
          get_header_map_value 0 \":path\" &data
faults:
  - { call: proxy_get_header_map_value, plugin: probe, from: 1s, until: 2s, status: not_found }
clusters: [{ name: app, endpoints: [{ address: '10.0.0.1:80' }] }]");
    let answers: Vec<bool> = ran
        .logs
        .iter()
        .filter(|line| line.contains(":path"))
        .map(|line| line.contains("NOT_FOUND") || line.contains("-> 1"))
        .collect();
    assert_eq!(answers, [false, true, false], "{:?}", ran.logs);
    assert!(ran.rows.iter().all(|row| row.status == Some(200)));
}

#[test]
fn upstream_filter_sees_each_attempt_and_its_answer_ends_them() {
    let ran = run("traffic:
  - requests: { list: [ {} ] }
routes: [{ cluster: app, retry: { on: [5xx], num_retries: 5, back_off: { base: 1ms } } }]
clusters:
  - name: app
    endpoints: [{ address: '10.0.0.1:80', errors: [{ ratio: 1 }] }]
    upstream_filters:
      - plugin:
          module: probe
          configuration: |
            name u
            request_headers:
              get_property \"upstream\\0address\" &data
            3/request_headers:
              send_local_response 429 \"no more\" \"stop\" {x-u=1} -1");
    let seen = ran
        .logs
        .iter()
        .filter(|line| line.contains("10.0.0.1:80"))
        .count();
    assert_eq!(
        ran.rows[0].status,
        Some(429),
        "{:?}\n{:#?}",
        ran.lines(),
        ran.logs
    );
    assert!(seen >= 2, "{:#?}", ran.logs);
}

#[test]
fn plugin_that_calls_without_end_ends_the_run_with_its_name() {
    let loaded = load(
        "traffic: [{ requests: { list: [ { at: 9s } ] } }]
filters:
  - plugin:
      module: probe
      name: storm
      configuration: |
        name a
        configure:
          set_tick_period_milliseconds 1000
        tick#1:
          http_call \"app\" {:method=GET; :path=/; :authority=c} \"\" {} 500 &u32
        http_call_response:
          http_call \"app\" {:method=GET; :path=/; :authority=c} \"\" {} 500 &u32
clusters: [{ name: app, endpoints: [{ address: '10.0.0.1:80' }] }]",
    )
    .unwrap();
    let error = tidegate_cli::closed_loop::run(&loaded, 1, &mut Ran::default()).unwrap_err();
    let said = error.to_string();
    assert!(
        said.contains("`storm`") && said.contains("1s after"),
        "{said}"
    );
}

#[test]
fn request_that_is_repeated_for_ever_is_cut_ten_minutes_after_the_end() {
    let ran = run(
        "duration: 1s
traffic: [{ requests: { list: [ {} ] } }]
routes: [{ cluster: app, timeout: 0s, retry: { on: [connect-failure], num_retries: 4000000000 } }]
clusters: [{ name: app, endpoints: [{ address: '10.0.0.1:80', timeline: [{ state: refuses }] }] }]",
    );
    assert_eq!(ran.rows.len(), 1);
    let row = &ran.rows[0];
    assert_eq!(row.status, None);
    assert!(row.total_ns <= 601_000_000_000, "{}", row.total_ns);
}

#[test]
fn headers_are_removed_in_front_of_the_plugins_or_behind_them() {
    let scenario = |front: &str, behind: &str, upstream: &str| {
        run(&format!(
            "traffic:
  - requests: {{ list: [ {{ times: 6, request: {{ headers: {{ x-seen: 'yes', x-endpoint: '10.0.0.3:80' }} }} }} ] }}
filters:
{front}
  - plugin:
      module: probe
      configuration: |
        name a
        request_headers:
          get_header_map_value 0 \"x-seen\" &data
          replace_header_map_value 0 \"x-endpoint\" \"10.0.0.2:80\"
{behind}
clusters:
  - name: app
    balancer: {{ override_host: {{ header: x-endpoint }} }}
    endpoints: [{{ address: '10.0.0.1:80', count: 3 }}]
    upstream_filters:
{upstream}
      - plugin:
          module: probe
          configuration: |
            name u
            request_headers:
              get_header_map_value 0 \"x-seen\" &data"
        ))
    };
    // Which plugins saw the header, and whether the endpoint that the first one named served all.
    let told = |ran: &Ran| {
        let saw = |name: &str| {
            let lines = ran.logs.iter().filter(|line| line.contains("x-seen"));
            let of = format!(" {name} ");
            lines
                .filter(|line| line.contains(&of))
                .any(|line| line.contains("yes"))
        };
        let named = ran
            .rows
            .iter()
            .all(|row| row.served_by() == Some("10.0.0.2:80"));
        (saw("a"), saw("u"), named)
    };
    assert_eq!(told(&scenario("", "", "")), (true, true, true));
    let front = "  - remove_headers: [x-seen, x-endpoint]";
    assert_eq!(told(&scenario(front, "", "")), (false, false, true));
    assert_eq!(told(&scenario("", front, "")), (true, false, false));
    let upstream = "      - remove_headers: [x-seen]";
    assert_eq!(told(&scenario("", "", upstream)), (true, false, true));
}
