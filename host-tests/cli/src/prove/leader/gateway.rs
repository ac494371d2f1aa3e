//! A proxy with the real module that knows its endpoints, and everything that it writes into shared data.

use std::fs;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use tidegate_host::{
    CallAnswer, CloseReason, ClusterConfig, FailurePolicy, HeaderMap, HostCall, Module, Observer,
    PluginConfig, Proxy, StreamAttributes,
};
use tidegate_policy::snapshot::{Checked, VersionsView};

use crate::build::module_path;
use crate::engine::engine;
use crate::prove::lab::{SECOND_NS, START_SECONDS};
use crate::prove::random::Random;

/// What all VMs of the gateway share their data under.
const VM_ID: &str = "tidegate";

/// How often the gateway is looked at: a tenth of a tick.
const LOOK_NS: u64 = 25_000_000;

/// How many endpoints the cluster `app` has.
pub(super) const ENDPOINTS: u8 = 10;

/// Asks each endpoint every second.
pub(super) const PROBED: &str =
    r#""probe": {"interval": "1s", "timeout": "500ms", "unhealthy_after": 3, "healthy_after": 2}"#;

/// The module, compiled.
pub(super) fn module() -> anyhow::Result<Module> {
    let path = module_path("sticky-session")?;
    let bytes = fs::read(&path).with_context(|| format!("failed to read `{}`", path.display()))?;
    Ok(Module::compile(&engine()?, "sticky-session", &bytes)?)
}

/// A write into shared data that the host accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) at_ns: u64,
    pub(super) vm: u32,
    pub(super) what: Kind,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Lease,
    Snapshot,
    Versions,
}

impl Kind {
    fn of(arguments: &str) -> Option<Self> {
        Some(if arguments.contains(".lease.") {
            Self::Lease
        } else if arguments.contains(".snapshot.") {
            Self::Snapshot
        } else if arguments.contains(".versions") {
            Self::Versions
        } else {
            return None;
        })
    }
}

/// A probe that a VM sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Probe {
    pub(super) at_ns: u64,
    pub(super) endpoint: String,
}

/// The gateway.
pub(super) struct Gateway {
    proxy: Proxy,
    watch: Watch,
    pub(super) probes: Vec<Probe>,
    /// Endpoints whose readiness fails at present.
    pub(super) failing: Vec<String>,
    /// How often the published epoch went back.
    pub(super) epochs_back: u64,
    epoch: u64,
}

impl Gateway {
    /// Starts one with so many workers; `block` are more fields of the `endpoints` block.
    pub(super) fn start(
        module: &Module,
        workers: u32,
        block: &str,
        seed: u64,
    ) -> anyhow::Result<Self> {
        let watch = Watch::default();
        let endpoints: Vec<String> = (1..=ENDPOINTS).map(endpoint).collect();
        let listed: Vec<String> = endpoints
            .iter()
            .map(|endpoint| format!("{{\"address\": \"{endpoint}\"}}"))
            .collect();
        let configuration = format!(
            r#"{{"clusters": [{{"name": "app"}}], "endpoints": {{"clusters": [{{"name": "app"}}],
            "source": {{"static": [{{"cluster": "app", "endpoints": [{}]}}]}}{}{block}}}}}"#,
            listed.join(","),
            if block.is_empty() { "" } else { ", " },
        );
        let mut random = Random::new(seed);
        let config = PluginConfig {
            name: "sticky-session".into(),
            vm_id: VM_ID.into(),
            configuration: configuration.into_bytes(),
            environment: vec![(
                "TIDEGATE_STICKY_KEYS".into(),
                crate::prove::lab::key(1, &mut random),
            )],
            failure_policy: FailurePolicy::FailOpen,
            ..PluginConfig::default()
        };
        let proxy = Proxy::builder(&engine()?)
            .workers(workers)
            .seed(seed)
            .start_time_ns(START_SECONDS * SECOND_NS)
            .shuffle_simultaneous(true)
            .cluster(ClusterConfig {
                name: "app".into(),
                endpoints,
                override_header: Some("x-tidegate-endpoint".into()),
            })
            .filter(module, config)
            .observer(Box::new(watch.clone()))
            .build()
            .context("failed to start a gateway")?;
        Ok(Self {
            proxy,
            watch,
            probes: Vec::new(),
            failing: Vec::new(),
            epochs_back: 0,
            epoch: 0,
        })
    }

    pub(super) fn now_ns(&self) -> u64 {
        self.proxy.now_ns()
    }

    /// Lets every worker serve a request, so that the main thread's VM alone has seen no stream.
    pub(super) fn serve_everywhere(&mut self, workers: u32) -> anyhow::Result<()> {
        for worker in 0..workers {
            let attributes = StreamAttributes {
                cluster_name: "app".into(),
                source_address: "192.0.2.7:40000".into(),
                protocol: "HTTP/1.1".into(),
                ..StreamAttributes::default()
            };
            let stream = self.proxy.open_stream(worker, attributes)?;
            let headers = [
                (":method", "GET"),
                (":path", "/"),
                (":authority", "gateway"),
                (":scheme", "https"),
            ];
            self.proxy
                .request_headers(stream, HeaderMap::from(headers), true)?;
            self.proxy
                .response_headers(stream, HeaderMap::from([(":status", "200")]), true)?;
            self.proxy.close_stream(stream, CloseReason::Complete)?;
            while self.proxy.poll_output(stream).is_some() {}
        }
        Ok(())
    }

    /// Lets time pass; probes are answered at once, 200 or 503.
    pub(super) fn pass(&mut self, duration_ns: u64) -> anyhow::Result<()> {
        let end_ns = self.now_ns().saturating_add(duration_ns);
        while self.now_ns() < end_ns {
            self.look()?;
        }
        Ok(())
    }

    /// Lets a tenth of a tick pass.
    pub(super) fn look(&mut self) -> anyhow::Result<()> {
        self.proxy.advance_to(self.now_ns().saturating_add(LOOK_NS));
        while let Some(call) = self.proxy.poll_call() {
            let endpoint = call
                .headers
                .get_str("x-tidegate-endpoint")
                .unwrap_or_default()
                .to_owned();
            let status = if self.failing.contains(&endpoint) {
                "503"
            } else {
                "200"
            };
            self.probes.push(Probe {
                at_ns: call.started_ns,
                endpoint,
            });
            let answer = CallAnswer::Response {
                headers: HeaderMap::from([(":status", status)]),
                body: Vec::new(),
                trailers: HeaderMap::default(),
            };
            self.proxy.answer_call(call.id, answer)?;
        }
        let epoch = self.value(".versions").and_then(|bytes| {
            let versions = VersionsView::open(bytes).ok()?;
            Some(versions.epoch())
        });
        if let Some(epoch) = epoch {
            self.epochs_back += u64::from(epoch < self.epoch);
            self.epoch = epoch;
        }
        Ok(())
    }

    /// The VM that renewed the lease last.
    pub(super) fn holder(&self) -> Option<u32> {
        let written = self.watch.lock();
        let lease = written.iter().rev().find(|write| write.what == Kind::Lease);
        lease.map(|write| write.vm)
    }

    /// Kills a VM and says whether it lived.
    pub(super) fn kill(&mut self, vm: u32) -> bool {
        self.proxy.kill_vm(vm, "killed by the proof")
    }

    /// What was written since a moment.
    pub(super) fn written_since(&self, at_ns: u64) -> Vec<Written> {
        let written = self.watch.lock();
        let later = written.iter().filter(|write| write.at_ns >= at_ns);
        later.cloned().collect()
    }

    /// The snapshot of the cluster, if it is one.
    pub(super) fn snapshot(&self) -> Option<Checked> {
        Checked::try_new(self.value(".snapshot.app")?.to_vec()).ok()
    }

    fn value(&self, ending: &str) -> Option<&[u8]> {
        let mut entries = self.proxy.shared_data(VM_ID);
        let entry = entries.find(|entry| entry.key.ends_with(ending.as_bytes()));
        entry.map(|entry| entry.value)
    }
}

/// The address of an endpoint.
pub(super) fn endpoint(number: u8) -> String {
    format!("10.0.0.{number}:8080")
}

/// Remembers the writes.
#[derive(Debug, Clone, Default)]
struct Watch(Arc<Mutex<Vec<Written>>>);

impl Watch {
    fn lock(&self) -> MutexGuard<'_, Vec<Written>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Watch {
    fn wants_host_calls(&self) -> bool {
        true
    }

    fn host_call(&mut self, call: HostCall<'_>) {
        if call.name == "proxy_set_shared_data"
            && call.status == 0
            && let Some(what) = Kind::of(call.arguments)
        {
            self.lock().push(Written {
                at_ns: call.place.at_ns,
                vm: call.place.vm,
                what,
            });
        }
    }
}
