//! Gateways in the host, with the real module, and the little of a router that a session needs.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tidegate_host::{
    CloseReason, ClusterConfig, HeaderMap, LogLevel, Module, Output, PluginConfig, Proxy,
    StreamAttributes, UpstreamAttributes, VmState,
};

mod feed;
mod watch;

use feed::FEED;
pub(super) use feed::Listed;
use watch::Watch;

use super::random::Random;
use crate::build::module_path;
use crate::engine::engine;

/// When virtual time begins, in seconds since the Unix epoch.
pub(super) const START_SECONDS: u64 = 1_700_000_000;

/// Nanoseconds of a second.
pub(super) const SECOND_NS: u64 = 1_000_000_000;

/// The variable that holds the keys.
const KEYS_VARIABLE: &str = "TIDEGATE_STICKY_KEYS";

/// The module under proof.
#[derive(Debug)]
pub(super) struct Lab {
    module: Module,
}

/// How a gateway is set up.
#[derive(Debug, Clone)]
pub(super) struct Setup {
    /// The plugin's configuration.
    pub(super) configuration: String,
    /// The keys, as the environment has them.
    pub(super) keys: String,
    /// When it starts, in nanoseconds since the Unix epoch.
    pub(super) start_ns: u64,
    /// Begins the randomness that the plugin gets.
    pub(super) seed: u64,
    /// The endpoints of every cluster.
    pub(super) endpoints: Vec<String>,
}

/// A gateway: two workers with the plugin, and a router that obeys the plugin's header or takes
/// turns.
pub(super) struct Gateway {
    proxy: Proxy,
    watch: Watch,
    requests: u32,
    turn: usize,
    /// The endpoints that can be reached at the moment.
    pub(super) endpoints: Vec<String>,
    /// What the discovery service lists at the moment.
    pub(super) listed: Vec<Listed>,
    /// What the process behind an address calls itself, in responses and in answers to probes.
    pub(super) instances: BTreeMap<String, String>,
    /// Whether responses to requests say so too.
    pub(super) announces: bool,
}

/// What a client asks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    /// The cluster that the route leads to.
    pub(super) cluster: &'a str,
    /// The values of the `cookie` header.
    pub(super) cookies: &'a [&'a [u8]],
    /// Whether it asks for a WebSocket.
    pub(super) is_upgrade: bool,
    /// The client's address and port.
    pub(super) client: &'a str,
    /// The path with the query.
    pub(super) path: &'a str,
    /// Further headers.
    pub(super) headers: &'a [(&'a str, &'a str)],
}

impl Default for Asked<'_> {
    fn default() -> Self {
        Self {
            cluster: "echo",
            cookies: &[],
            is_upgrade: false,
            client: "192.0.2.7:40000",
            path: "/",
            headers: &[],
        }
    }
}

/// What one request came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Exchange {
    /// The endpoint that the plugin named.
    pub(super) pinned: Option<String>,
    /// The endpoint that served.
    pub(super) served_by: String,
    /// What the plugin says that it decided.
    pub(super) reason: String,
    /// The `set-cookie` that the plugin added.
    pub(super) set_cookie: Option<String>,
}

impl Lab {
    /// Builds and compiles the module.
    pub(super) fn new() -> anyhow::Result<Self> {
        let path = module_path("sticky-session")?;
        let bytes =
            fs::read(&path).with_context(|| format!("failed to read `{}`", path.display()))?;
        let module = Module::compile(&engine()?, "sticky-session", &bytes)?;
        Ok(Self { module })
    }

    /// Starts a gateway.
    pub(super) fn start(&self, setup: &Setup) -> anyhow::Result<Gateway> {
        let watch = Watch::default();
        let config = PluginConfig {
            name: "sticky-session".into(),
            vm_id: "tidegate".into(),
            configuration: setup.configuration.clone().into_bytes(),
            environment: vec![(KEYS_VARIABLE.into(), setup.keys.clone())],
            ..PluginConfig::default()
        };
        let proxy = Proxy::builder(&engine()?)
            .workers(WORKERS)
            .seed(setup.seed)
            .start_time_ns(setup.start_ns)
            .log_level(LogLevel::Trace)
            .filter(&self.module, config)
            .cluster(cluster(FEED))
            .cluster(cluster("echo"))
            .observer(Box::new(watch.clone()))
            .build()
            .context("failed to start a gateway")?;
        watch.forbid(&setup.keys);
        Ok(Gateway {
            proxy,
            watch,
            requests: 0,
            turn: 0,
            endpoints: setup.endpoints.clone(),
            listed: Vec::new(),
            instances: BTreeMap::new(),
            announces: false,
        })
    }
}

/// A cluster that calls can go to; who answers them is up to the lab.
fn cluster(name: &str) -> ClusterConfig {
    ClusterConfig {
        name: name.into(),
        endpoints: vec!["127.0.0.1:1".into()],
        override_header: None,
    }
}

/// Worker threads of a gateway.
const WORKERS: u32 = 2;

impl Gateway {
    /// Moves the gateway's clock to a time, in nanoseconds since the Unix epoch.
    pub(super) fn at(&mut self, now_ns: u64) -> &mut Self {
        self.proxy.advance_to(now_ns);
        self
    }

    /// What time it is, in nanoseconds since the Unix epoch.
    pub(super) fn now_ns(&self) -> u64 {
        self.proxy.now_ns()
    }

    /// Sends a request to a cluster, with these values of the `cookie` header, and lets an endpoint
    /// answer it.
    pub(super) fn request(&mut self, cluster: &str, cookies: &[&[u8]]) -> anyhow::Result<Exchange> {
        self.ask(&Asked {
            cluster,
            cookies,
            ..Asked::default()
        })
    }

    /// Sends a request and lets an endpoint answer it.
    pub(super) fn ask(&mut self, asked: &Asked<'_>) -> anyhow::Result<Exchange> {
        let worker = self.requests % WORKERS;
        self.requests = self.requests.wrapping_add(1);
        let attributes = StreamAttributes {
            cluster_name: asked.cluster.into(),
            source_address: asked.client.into(),
            protocol: "HTTP/1.1".into(),
            ..StreamAttributes::default()
        };
        self.watch.begin(asked.cookies);
        let stream = self.proxy.open_stream(worker, attributes)?;
        let mut headers = HeaderMap::from([
            (":method", "GET"),
            (":path", asked.path),
            (":authority", "gateway"),
            (":scheme", "https"),
        ]);
        for cookie in asked.cookies {
            headers.add("cookie", cookie);
        }
        for (name, value) in asked.headers {
            headers.add(name, value.as_bytes());
        }
        if asked.is_upgrade {
            headers.add("connection", b"Upgrade");
            headers.add("upgrade", b"websocket");
        }
        self.proxy
            .request_headers(stream, headers, !asked.is_upgrade)?;
        let mut pinned = None;
        while let Some(output) = self.proxy.poll_output(stream) {
            if let Output::RequestHeaders { headers, .. } = output {
                pinned = headers.get_str("x-tidegate-endpoint").map(str::to_owned);
            }
        }
        let served_by = self.route(pinned.as_deref())?;
        let upstream = UpstreamAttributes {
            address: served_by.clone(),
            attempt_count: 1,
            ..UpstreamAttributes::default()
        };
        self.proxy.set_upstream(stream, upstream)?;
        let status = if asked.is_upgrade { "101" } else { "200" };
        let mut headers = HeaderMap::from([(":status", status)]);
        if let Some(instance) = self.instances.get(&served_by).filter(|_| self.announces) {
            headers.add("x-tidegate-instance", instance.as_bytes());
        }
        self.proxy
            .response_headers(stream, headers, !asked.is_upgrade)?;
        let mut response = None;
        while let Some(output) = self.proxy.poll_output(stream) {
            match output {
                Output::ResponseHeaders { headers, .. } | Output::LocalResponse { headers, .. } => {
                    response = Some(headers);
                }
                _ => {}
            }
        }
        self.proxy.close_stream(stream, CloseReason::Complete)?;
        while self.proxy.poll_output(stream).is_some() {}
        let headers = response.ok_or_else(|| anyhow!("a request got no answer"))?;
        let set_cookie = headers.get_str("set-cookie").map(str::to_owned);
        if let Some(cookie) = &set_cookie {
            self.watch.check_last(value_of(cookie).as_bytes());
        }
        Ok(Exchange {
            pinned,
            served_by,
            reason: headers
                .get_str("x-tidegate-reason")
                .unwrap_or_default()
                .into(),
            set_cookie,
        })
    }

    /// Takes the endpoint that was asked for if it is there, else the next one.
    fn route(&mut self, pinned: Option<&str>) -> anyhow::Result<String> {
        if let Some(endpoint) =
            pinned.filter(|pinned| self.endpoints.iter().any(|endpoint| endpoint == pinned))
        {
            return Ok(endpoint.to_owned());
        }
        let next = self.turn.checked_rem(self.endpoints.len()).unwrap_or(0);
        self.turn = self.turn.wrapping_add(1);
        self.endpoints
            .get(next)
            .cloned()
            .context("a gateway without endpoints was asked")
    }

    /// How many VMs trapped so far.
    pub(super) fn traps(&self) -> u64 {
        let dead = self
            .proxy
            .vms()
            .iter()
            .filter(|vm| matches!(vm.state, VmState::Dead(_)))
            .count();
        self.watch
            .state()
            .traps
            .max(u64::try_from(dead).unwrap_or(u64::MAX))
    }

    /// How many log lines held a part of a cookie or of a key.
    pub(super) fn leaks(&self) -> u64 {
        self.watch.state().leaks
    }

    /// How many log lines there were.
    pub(super) fn lines(&self) -> u64 {
        self.watch.state().lines
    }
}

impl Exchange {
    /// Whether the request was decided for this reason.
    pub(super) fn request_was(&self, reason: &str) -> bool {
        self.reason
            .split(';')
            .any(|part| part.strip_prefix("request=") == Some(reason))
    }

    /// Whether the response was decided for this reason.
    pub(super) fn response_was(&self, reason: &str) -> bool {
        self.reason
            .split(';')
            .any(|part| part.strip_prefix("response=") == Some(reason))
    }

    /// The `name=value` that a client would send from now on.
    pub(super) fn cookie(&self) -> anyhow::Result<String> {
        let cookie = self
            .set_cookie
            .as_deref()
            .with_context(|| format!("no cookie was issued: {}", self.reason))?;
        Ok(cookie.split(';').next().unwrap_or_default().to_owned())
    }
}

/// The value of a cookie, from `name=value` or a whole `set-cookie`.
pub(super) fn value_of(cookie: &str) -> &str {
    let pair = cookie.split(';').next().unwrap_or_default();
    pair.split_once('=').map_or("", |(_, value)| value)
}

/// Makes a key for an environment: `ID:BASE64`.
pub(super) fn key(id: u8, random: &mut Random) -> String {
    format!("{id}:{}", STANDARD.encode(random.bytes::<32>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_is_taken_out_of_a_cookie() {
        assert_eq!(value_of("a=b=c; Path=/"), "b=c");
        assert_eq!(value_of("a=b"), "b");
        assert_eq!(value_of("a"), "");
    }
}
