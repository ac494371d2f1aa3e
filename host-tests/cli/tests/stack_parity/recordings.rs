//! The committed recordings, as they were recorded, through both forms.

use std::collections::BTreeSet;
use std::fs;

use serde_json::json;
use tidegate_cli::build::module_path;
use tidegate_cli::engine::engine;
use tidegate_cli::recording::{ReadOptions, RecordingReader};
use tidegate_cli::replay::{self, Change, Exchange, Options, Plugin};
use tidegate_cli::workspace;
use tidegate_host::{Module, PluginConfig};

use super::forms::{Filters, Form, Part, is_of_a_form};

/// How the recorded shop tells its clients apart; before they sign in, and for programs without cookies, address and program.
const CLIENTS: &str = "cookie:shop-session,source-ip+header:user-agent";

/// The key of the recorded cookies; it has never protected anything.
const KEYS: &str = "1:dHJpYWwga2V5IG9uZSwgbm90IGZvciByZWFsIHVzZSE=";

fn plugin((module, configuration): &Part) -> Plugin {
    let bytes = fs::read(module_path(module).unwrap()).unwrap();
    Plugin {
        module: Module::compile(&engine().unwrap(), module, &bytes).unwrap(),
        config: PluginConfig {
            name: (*module).to_owned(),
            vm_id: "tidegate".into(),
            vm_configuration: module.as_bytes().to_vec(),
            configuration: configuration.to_string().into_bytes(),
            ..PluginConfig::default()
        },
    }
}

/// Replays a recording, and leaves out the counters that only one form has.
fn replay(recording: &str, chain: &[Part], seed: u64) -> Vec<Exchange> {
    let folder = workspace::root()
        .join("host-tests/recordings")
        .join(recording);
    let options = ReadOptions {
        access_logs: vec![folder.join("access-log.jsonl")],
        ..ReadOptions::default()
    };
    let mut reader = RecordingReader::open(&[folder.join("tap-streamed.json")], &options).unwrap();
    let options = Options {
        plugins: chain.iter().map(plugin).collect(),
        workers: 2,
        seed,
        session: CLIENTS.parse().unwrap(),
        behind_plugins: recording != "round-robin",
        ..Options::default()
    };
    let mut exchanges = Vec::new();
    replay::run(&engine().unwrap(), options, &mut reader, &mut |exchange| {
        let mut exchange = exchange.clone();
        for side in [&mut exchange.request, &mut exchange.response] {
            side.reasons.retain(|reason| !is_of_a_form(&reason.metric));
            // Each VM reads the picture with its own first tick.
            for reason in &mut side.reasons {
                reason.metric = reason.metric.replace("pinned_no_picture", "pinned");
            }
            for change in &mut side.changes {
                if let Change::Added { value, .. } = change {
                    *value = value.replace("pinned_no_picture", "pinned");
                }
            }
            cancel(&mut side.changes);
            // The order of headers with different names means nothing.
            side.changes
                .sort_by_cached_key(|change| format!("{change:?}"));
        }
        exchanges.push(exchange);
        Ok(())
    })
    .unwrap();
    exchanges
}

/// Takes out what was added and removed alike: with the names of reasons made equal, a reason may be the recorded one.
fn cancel(changes: &mut Vec<Change>) {
    while let Some((added, removed)) = changes.iter().enumerate().find_map(|(index, change)| {
        let Change::Added { name, value } = change else {
            return None;
        };
        let counterpart = Change::Removed {
            name: name.clone(),
            value: value.clone(),
        };
        let other = changes.iter().position(|change| *change == counterpart)?;
        Some((index, other))
    }) {
        changes.remove(added.max(removed));
        changes.remove(added.min(removed));
    }
}

/// The endpoints of a recording.
fn served(recording: &str) -> BTreeSet<String> {
    let exchanges = replay(recording, &[], 1);
    let upstreams = exchanges.into_iter().filter_map(|it| it.recorded_upstream);
    upstreams.collect()
}

#[test]
fn stack_decides_about_the_recordings_as_the_modules_do() {
    for recording in ["round-robin", "sticky-session"] {
        let listed: Vec<_> = served(recording)
            .into_iter()
            .map(|address| json!({ "address": address }))
            .collect();
        assert!(listed.len() > 2, "{recording}: {listed:?}");
        let endpoints = json!({
            "clusters": [{ "name": "echo" }],
            "source": { "static": [{ "cluster": "echo", "endpoints": listed }] },
        });
        let filters = Filters {
            sticky_session: Some(json!({
                "clusters": [{ "name": "echo", "cookie": { "name": "tidegate-echo" } }],
                "keys": { "inline": KEYS },
                "endpoints": endpoints,
                "reason_header": true,
            })),
            health_routing: Some(json!({
                "clusters": [{ "name": "echo" }],
                "endpoints": endpoints,
                "reason_header": true,
            })),
        };
        let separate = replay(recording, &filters.chain(Form::Separate), 1);
        let stacked = replay(recording, &filters.chain(Form::Stacked), 1);
        assert!(separate.len() > 100, "{recording}: {}", separate.len());
        for (one, other) in separate.iter().zip(&stacked) {
            assert_eq!(one, other, "{recording}");
        }
        assert_eq!(separate.len(), stacked.len());
        let touched = separate.iter().filter(|it| !it.is_untouched());
        let touched = touched.count();
        assert!(touched > 100, "{recording}: {touched}");
        // Another order is another decision: the comparison notices it.
        let switched = replay(recording, &filters.chain(Form::Switched), 1);
        assert_ne!(separate, switched, "{recording}");
    }
}
