use super::*;
use crate::balance::Host;

fn hosts() -> Hosts {
    let host = |port: u16, health| Host {
        address: format!("10.0.0.1:{port}"),
        weight: 1,
        zone: if port == 1 { "a" } else { "" }.to_owned(),
        health,
        active_requests: u32::from(port),
    };
    Hosts {
        all: vec![
            host(1, Health::Healthy),
            host(2, Health::Draining),
            host(3, Health::Healthy),
        ],
        members: vec![0, 1],
        generation: 4,
    }
}

fn ask(admin: &mut Admin, method: &str, target: &str) -> (u16, String) {
    let hosts = hosts();
    let stats = [HostStats {
        rq_total: 7,
        ..HostStats::default()
    }];
    let limits = CircuitBreakers::default();
    let view = |name| ClusterView {
        name,
        hosts: &hosts,
        stats: &stats,
        limits: &limits,
    };
    let mut further = [("wasmcustom.a".to_owned(), 3)].into_iter();
    let answer = admin.answer(method, target, &[view("app"), view("other")], &mut further);
    (answer.status, answer.body)
}

#[test]
fn membership_counters_are_those_of_the_members() {
    let (status, body) = ask(
        &mut Admin::default(),
        "GET",
        "/stats?filter=^cluster%5C.app%5C.membership_",
    );
    let expected = "cluster.app.membership_change: 4\n\
                    cluster.app.membership_degraded: 0\n\
                    cluster.app.membership_excluded: 1\n\
                    cluster.app.membership_healthy: 1\n\
                    cluster.app.membership_total: 2\n";
    assert_eq!((status, body.as_str()), (200, expected));
    let (_, body) = ask(
        &mut Admin::default(),
        "GET",
        "/stats?format=json&filter=wasm",
    );
    assert_eq!(body, r#"{"stats":[{"name":"wasmcustom.a","value":3}]}"#);
}

#[test]
fn clusters_are_shown_as_protobuf_writes_json() {
    let (_, body) = ask(
        &mut Admin::default(),
        "GET",
        "/clusters?format=json&filter=^app$",
    );
    let shown: Value = serde_json::from_str(&body).expect("it is JSON");
    let statuses = shown.pointer("/cluster_statuses");
    assert_eq!(statuses.and_then(Value::as_array).map(Vec::len), Some(1));
    let at = |path: &str| {
        shown
            .pointer(&format!("/cluster_statuses/0{path}"))
            .cloned()
    };
    assert_eq!(
        at("/host_statuses/0/locality"),
        Some(json!({ "zone": "a" }))
    );
    assert_eq!(
        at("/host_statuses/0/stats/4"),
        Some(json!({ "name": "rq_total", "value": "7" }))
    );
    assert_eq!(
        at("/host_statuses/0/stats/0"),
        Some(json!({ "name": "cx_connect_fail" }))
    );
    assert_eq!(
        at("/host_statuses/1/health_status"),
        Some(json!({ "eds_health_status": "DRAINING" }))
    );
    assert_eq!(at("/host_statuses/2"), None);
    assert_eq!(
        ask(
            &mut Admin::default(),
            "GET",
            "/clusters?format=json&filter=nobody"
        ),
        (200, "{}\n".to_owned())
    );
}

#[test]
fn clusters_are_written_in_envoys_order_and_with_its_spaces() {
    let (_, body) = ask(
        &mut Admin::default(),
        "GET",
        "/clusters?format=json&filter=^app$",
    );
    // SOURCE: seen in Envoy 1.40.
    let begin = "{\n \"cluster_statuses\": [\n  {\n   \"name\": \"app\",\n   \"host_statuses\": [\n    {\n     \"address\": {\n      \
                 \"socket_address\": {\n       \"address\": \"10.0.0.1\",\n       \"port_value\": 1\n      }\n     },\n     \"stats\": [\n      {\n       \"name\": \"cx_connect_fail\"\n";
    assert!(body.starts_with(begin), "{body}");
    let order = [
        "\"stats\"",
        "\"health_status\"",
        "\"weight\"",
        "\"locality\"",
        "\"circuit_breakers\"",
        "\"observability_name\"",
    ];
    let places: Vec<_> = order.iter().map(|name| body.find(name)).collect();
    assert!(
        places.is_sorted() && places.iter().all(Option::is_some),
        "{places:?}"
    );
}

#[test]
fn health_check_fails_and_is_taken_back_by_post_only() {
    let mut admin = Admin::default();
    assert_eq!(ask(&mut admin, "GET", "/ready"), (200, "LIVE\n".to_owned()));
    assert_eq!(ask(&mut admin, "GET", "/healthcheck/fail").0, 405);
    assert_eq!(ask(&mut admin, "POST", "/healthcheck/fail").0, 200);
    assert_eq!(
        ask(&mut admin, "GET", "/ready"),
        (503, "DRAINING\n".to_owned())
    );
    assert_eq!(ask(&mut admin, "POST", "/healthcheck/ok").0, 200);
    assert_eq!(ask(&mut admin, "GET", "/ready").0, 200);
}

#[test]
fn nonsense_is_refused() {
    let mut admin = Admin::default();
    for (target, status) in [
        ("/clusters?filter=(", 400),
        ("/stats?filter=%28", 400),
        ("/x", 404),
        ("", 404),
        ("/stats?filter=%zz%", 200),
    ] {
        assert_eq!(ask(&mut admin, "GET", target).0, status, "{target}");
    }
}

#[test]
fn bad_answer_is_what_its_name_says() {
    let good = || AdminAnswer {
        status: 200,
        is_json: true,
        body: "{\"cluster_statuses\": []}".to_owned(),
    };
    let spoiled = |with| good().spoiled(with).map(|bad| (bad.status, bad.body));
    assert_eq!(spoiled(BadAnswer::Never), None);
    assert_eq!(spoiled(BadAnswer::Status(503)), Some((503, String::new())));
    let (status, half) = spoiled(BadAnswer::Truncated).unwrap();
    assert_eq!((status, half.as_str()), (200, "{\"cluster_st"));
    let is_json = |with| {
        let (_, body) = spoiled(with).unwrap();
        serde_json::from_str::<Value>(&body).is_ok()
    };
    assert!(is_json(BadAnswer::OtherCluster) && is_json(BadAnswer::Huge));
    assert!(!is_json(BadAnswer::Garbage) && !is_json(BadAnswer::Truncated));
    assert!(spoiled(BadAnswer::Huge).unwrap().1.len() > 10_000_000);
}
