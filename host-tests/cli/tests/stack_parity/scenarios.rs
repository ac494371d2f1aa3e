//! The committed scenarios, in a closed loop, through both forms.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tidegate_cli::closed_loop;
use tidegate_cli::engine::engine;
use tidegate_cli::output::{Colour, Format, Output};
use tidegate_cli::scenario::LoadedScenario;
use tidegate_cli::workspace;
use tidegate_model::report::{Row, Sink};

use super::forms::{Filters, Form, KEYS, KEYS_VARIABLE, is_of_a_form};

/// How many times as rare generated requests are: what happens when is the scenario's, and one in twenty of its requests
/// shows it.
const RARER: f64 = 20.0;

/// How many requests of a run may fall between the ticks of two VMs: the picture changes a few times, a tick is 250 ms, and
/// none of the scenarios whose sessions depend on the picture has more than 100 requests a second.
const FEW: f64 = 75.0;

/// What a run came to.
#[derive(Debug, Default, PartialEq)]
struct Ran {
    rows: Vec<Row>,
    figures: BTreeMap<String, f64>,
    traps: Vec<String>,
}

impl Sink for Ran {
    fn row(&mut self, row: &Row) -> io::Result<()> {
        self.rows.push(row.clone());
        Ok(())
    }

    fn in_flight(&mut self, _endpoint: &str, _now_ns: u64, _count: u32) {}

    fn figure(&mut self, name: &str, value: f64) {
        // What a form costs is the difference between them.
        let is_cost = name.starts_with("fuel") || name.starts_with("memory");
        if !is_cost && !is_of_a_form(name) {
            self.figures.insert(name.to_owned(), value);
        }
    }

    fn trap(&mut self, plugin: &str, callback: &str, _thread: &str, message: &str) {
        self.traps.push(format!("{plugin} {callback}: {message}"));
    }
}

/// The module of a filter of a scenario.
fn module_of(filter: &Value) -> Option<&str> {
    filter.get("plugin")?.get("module")?.as_str()
}

/// Takes the configuration of a module out of a chain.
fn of(chain: &[Value], module: &str) -> Option<Value> {
    let filter = chain.iter().find(|it| module_of(it) == Some(module))?;
    Some(filter["plugin"]["configuration"].clone())
}

/// Puts the modules of a form in the place of the first of ours.
fn in_form(chain: &mut Vec<Value>, form: Form) {
    let filters = Filters {
        sticky_session: of(chain, "sticky-session"),
        health_routing: of(chain, "health-routing"),
    };
    let is_ours =
        |filter: &Value| matches!(module_of(filter), Some("sticky-session" | "health-routing"));
    let Some(place) = chain.iter().position(is_ours) else {
        return;
    };
    let first = chain[place].clone();
    chain.retain(|filter| !is_ours(filter));
    for (offset, (module, configuration)) in filters.chain(form).into_iter().enumerate() {
        let mut filter = first.clone();
        let plugin = &mut filter["plugin"];
        plugin["module"] = json!(module);
        plugin["configuration"] = configuration;
        plugin["environment"] = json!({ KEYS_VARIABLE: KEYS });
        chain.insert(place + offset, filter);
    }
}

/// Makes paths whole, and leaves out what the comparison does not need.
fn shorten(scenario: &mut Value, folder: &Path) {
    for field in ["baselines", "expect", "seeds", "seed"] {
        scenario.as_object_mut().unwrap().remove(field);
    }
    let traffic = scenario["traffic"].as_array_mut();
    for source in traffic.into_iter().flatten() {
        if let Some(file) = source.pointer_mut("/recording/file") {
            *file = json!(folder.join(file.as_str().unwrap()));
        }
        let arrivals = source.pointer_mut("/generated/arrivals");
        let arrivals = arrivals.and_then(Value::as_object_mut).into_iter();
        for (_, arrival) in arrivals.flatten() {
            if let Some(rate) = arrival.get_mut("per_second") {
                *rate = json!((rate.as_f64().unwrap() / RARER).max(1.0));
            }
        }
    }
}

fn chains(scenario: &mut Value) -> Vec<&mut Vec<Value>> {
    let mut chains = Vec::new();
    for (field, value) in scenario.as_object_mut().unwrap() {
        if field == "filters" {
            chains.extend(value.as_array_mut());
        } else if field == "clusters" {
            let clusters = value.as_array_mut().into_iter().flatten();
            chains.extend(clusters.filter_map(|it| it.get_mut("upstream_filters")?.as_array_mut()));
        }
    }
    chains
}

fn run(scenario: &Value, form: Form, seed: u64) -> Ran {
    let mut scenario = scenario.clone();
    for chain in chains(&mut scenario) {
        in_form(chain, form);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scenario.yaml");
    fs::write(&path, scenario.to_string()).unwrap();
    let output = Output::new(Format::Human, Colour::Never, true);
    let loaded = LoadedScenario::load(&engine().unwrap(), &path, &output).unwrap();
    let mut ran = Ran::default();
    closed_loop::run(&loaded, seed, &mut ran).unwrap();
    ran
}

fn assert_equal(what: &str, scenario: &Value, seed: u64) -> Ran {
    let (separate, stacked) = (
        run(scenario, Form::Separate, seed),
        run(scenario, Form::Stacked, seed),
    );
    for (one, other) in separate.rows.iter().zip(&stacked.rows) {
        assert_eq!(one, other, "{what}");
    }
    assert_eq!(separate.rows.len(), stacked.rows.len(), "{what}");
    let (one, other) = (&separate.figures, &stacked.figures);
    assert_eq!(
        one.keys().collect::<Vec<_>>(),
        other.keys().collect::<Vec<_>>()
    );
    for (name, one) in one {
        // Each VM reads a picture that changed with its own next tick, so that what sticky-session says about a session
        // may be a tick older in one form. Where requests went is the same.
        let most = if name.contains("sticky_session_requests_total") {
            FEW
        } else {
            0.0
        };
        let difference = (one - other[name]).abs();
        assert!(difference <= most, "{what}: {name} {one} {}", other[name]);
    }
    assert_eq!(stacked.traps, Vec::<String>::new(), "{what}");
    separate
}

/// The scenarios in which a module of ours has a configuration of its own.
fn corpus() -> Vec<(PathBuf, Value)> {
    let mut folders = vec![workspace::root().join("host-tests/scenarios")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "yaml") {
                let text = fs::read_to_string(&path).unwrap();
                let Ok(mut scenario) = serde_norway::from_str::<Value>(&text) else {
                    panic!("{}", path.display())
                };
                let is_ours = scenario.is_object()
                    && chains(&mut scenario).into_iter().any(|chain| {
                        let mut modules = chain.iter().filter_map(module_of);
                        modules.any(|it| it == "sticky-session" || it == "health-routing")
                    });
                if is_ours {
                    shorten(&mut scenario, &folder);
                    found.push((path, scenario));
                }
            }
        }
    }
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    found
}

#[test]
fn stack_does_in_every_scenario_what_the_modules_do() {
    let corpus = corpus();
    for (path, scenario) in &corpus {
        let what = path.display().to_string();
        let ran = assert_equal(&what, scenario, 1);
        assert!(!ran.rows.is_empty(), "{what}");
    }
    assert!(corpus.len() >= 2, "{}", corpus.len());
}

/// Both filters, endpoints that are slow, fail and leave, retries, sessions with sockets, and the module behind the
/// router: what the committed scenarios show one by one.
fn everything(observe: &str) -> Value {
    let endpoints = json!({ "clusters": [{ "name": "app" }], "probe": { "interval": "1s", "timeout": "500ms" } });
    let plugin = |module: &str, vm: &str, configuration: Value| {
        json!({ "plugin": {
            "module": module,
            "vm_id": "tidegate",
            "vm_configuration": vm,
            "on_trap": "fail_open",
            "environment": { KEYS_VARIABLE: KEYS },
            "configuration": configuration,
        }})
    };
    let sticky = json!({ "clusters": [{ "name": "app" }], "endpoints": endpoints });
    let health =
        json!({ "clusters": [{ "name": "app" }], "endpoints": endpoints, "observe": observe });
    let mut behind = health.clone();
    behind["role"] = json!("upstream");
    let upstream_filters = if observe == "attempts" {
        json!([plugin("health-routing", "behind", behind)])
    } else {
        json!([])
    };
    json!({
        "what": "everything at once",
        "duration": "20s",
        "workers": 2,
        "traffic": [
            { "generated": { "from": "4s", "arrivals": { "poisson": { "per_second": 100 } } } },
            { "requests": { "list": [
                { "at": "5s", "times": 40, "client": 1, "request": {} },
                { "at": "6s", "times": 3, "client": 2, "request": { "websocket": { "count": 5, "every": "300ms" } } },
                { "at": "8s", "times": 40, "client": 3, "request": {} },
            ] } },
        ],
        "routes": [{ "cluster": "app", "timeout": "3s", "retry": { "on": ["5xx", "connect-failure"], "num_retries": 2 } }],
        "filters": [
            plugin("sticky-session", "sticky", sticky),
            plugin("health-routing", "health", health),
        ],
        "clusters": [
            { "name": "envoy_admin", "kind": "admin" },
            {
                "name": "app",
                "balancer": { "override_host": { "header": "x-tidegate-endpoint" } },
                "upstream_filters": upstream_filters,
                "endpoints": [
                    { "address": "10.0.0.1:80", "count": 3, "latency": { "log_normal": { "median": "20ms", "sigma": 0.3 } } },
                    { "address": "10.0.0.4:80", "latency": { "constant": "200ms" } },
                    { "address": "10.0.0.5:80", "latency": { "constant": "5ms" }, "timeline": [
                        { "from": "8s", "until": "12s", "state": { "fails": { "ratio": 1, "with": { "status": 503 } } } },
                    ] },
                    { "address": "10.0.0.6:80", "latency": { "constant": "10ms" }, "timeline": [
                        { "from": "9s", "until": "13s", "state": "absent" },
                    ] },
                ],
            },
        ],
    })
}

#[test]
fn stack_does_what_both_modules_do_together_in_both_ways_of_observing() {
    for observe in ["requests", "attempts"] {
        for seed in [1, 2] {
            let ran = assert_equal(observe, &everything(observe), seed);
            assert!(ran.rows.len() > 1500, "{}", ran.rows.len());
            assert!(ran.rows.iter().any(|row| row.attempts > 1));
        }
    }
}

/// Two modules less one are other VMs, with other numbers: then only what chance leaves alone is the same.
#[test]
fn stack_alone_shares_requests_out_as_the_modules_do() {
    let scenario = everything("requests");
    let mut alone = scenario.clone();
    for chain in chains(&mut alone) {
        in_form(chain, Form::Stacked);
        chain.retain(|filter| module_of(filter) != Some("sticky-session"));
    }
    let shares = |scenario: &Value, form: Form| {
        let mut shares: BTreeMap<String, f64> = BTreeMap::new();
        for seed in 1..=5 {
            for row in run(scenario, form, seed).rows {
                let last = row.endpoints.last().cloned().flatten().unwrap_or_default();
                *shares.entry(last).or_default() += 1.0;
            }
        }
        shares
    };
    let (separate, stacked) = (
        shares(&scenario, Form::Separate),
        shares(&alone, Form::Separate),
    );
    assert_eq!(
        separate.keys().collect::<Vec<_>>(),
        stacked.keys().collect::<Vec<_>>()
    );
    for (endpoint, one) in &separate {
        let other = stacked[endpoint];
        // Two counts of as good as independent requests: 4σ of their difference, twice that for what a session
        // takes along.
        let sigma = (one + other).sqrt();
        assert!(
            (one - other).abs() < 8.0 * sigma,
            "{endpoint}: {one} {other}"
        );
    }
}
