//! The runner's side: plays a case through the offline host, in virtual time.
//!
//! Model: the driver is what Envoy has around the filters. It makes the header maps that the connection manager would
//! (`edge`), routes, tries again and answers call-outs as
//! the case's clusters do (`driver`, `router`).

mod driver;
mod edge;
mod exchange;
mod router;

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use tidegate_host::{
    ClusterConfig, Engine, FailurePolicy as HostPolicy, LogLevel, LogLine, Module, Observer,
    PluginConfig, Proxy, Thread as HostThread,
};

use super::case::{Behaviour, Case, FailurePolicy, Plugin, Position};
use super::line::{Line, Thread};
use driver::Driver;
pub use edge::{HOST, framing};

/// The log of a run, which the observer writes while the driver reads.
#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<Vec<Line>>>);

impl Log {
    fn add(&self, line: Line) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(line);
    }

    fn lines(&self) -> Vec<Line> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whether a line of the proxy has this text.
    fn has(&self, text: &str) -> bool {
        self.lines().iter().any(|line| {
            matches!(line.thread, Thread::Main | Thread::Worker) && line.to_string().contains(text)
        })
    }
}

impl Observer for Log {
    fn log(&mut self, line: LogLine<'_>) {
        let thread = match line.place.thread {
            HostThread::Main => Thread::Main,
            HostThread::Worker(_) => Thread::Worker,
        };
        let message = String::from_utf8_lossy(line.message);
        let text = match Line::of_probe(&message) {
            Some((_, text)) => text.to_owned(),
            None => format!("[{}] {message}", line.level.name()),
        };
        self.add(Line::new(thread, &text));
    }

    fn wants_trials(&self) -> bool {
        true
    }
}

/// Plays a case and returns its log.
///
/// # Errors
/// The proxy doesn't start, or the case waits for what never happens.
pub fn run(engine: &Engine, probe: &Module, case: &Case) -> Result<Vec<Line>> {
    play(engine, probe, case).with_context(|| format!("case `{}`", case.name))
}

fn play(engine: &Engine, probe: &Module, case: &Case) -> Result<Vec<Line>> {
    let log = Log::default();
    let mut builder = Proxy::builder(engine)
        .log_level(LogLevel::Info)
        .node("probe-node", "probe-cluster")
        .observer(Box::new(log.clone()));
    for plugin in &case.plugins {
        let config = config(case, plugin);
        builder = match plugin.position {
            Position::Listener => builder.filter(probe, config),
            Position::Singleton => builder.singleton(probe, config),
            Position::Upstream => {
                builder.upstream_filter(&case.cluster_name("upstream"), probe, config)
            }
        };
    }
    builder = builder.cluster(ClusterConfig {
        name: case.cluster_name("upstream"),
        endpoints: vec![edge::UPSTREAM.to_owned()],
        ..ClusterConfig::default()
    });
    for cluster in &case.clusters {
        let endpoints = match cluster.behaviour {
            Behaviour::Empty => Vec::new(),
            _ => vec![edge::UPSTREAM.to_owned()],
        };
        builder = builder.cluster(ClusterConfig {
            name: case.cluster_name(&cluster.name),
            endpoints,
            ..ClusterConfig::default()
        });
    }
    let proxy = builder.build()?;
    let mut driver = Driver::new(case, proxy, log.clone());
    driver.play()?;
    Ok(log.lines())
}

fn config(case: &Case, plugin: &Plugin) -> PluginConfig {
    PluginConfig {
        name: plugin.name.clone(),
        root_id: plugin.root_id().to_owned(),
        vm_id: case.vm_id(plugin).to_owned(),
        vm_configuration: plugin.vm_script.clone().into_bytes(),
        configuration: plugin.script.clone().into_bytes(),
        environment: case.environment(plugin),
        failure_policy: match plugin.failure_policy {
            FailurePolicy::FailClosed => HostPolicy::FailClosed,
            FailurePolicy::FailOpen => HostPolicy::FailOpen,
            FailurePolicy::FailReload => HostPolicy::FailReload,
        },
        allow_on_headers_stop_iteration: plugin.allow_on_headers_stop_iteration,
        ..PluginConfig::default()
    }
}
