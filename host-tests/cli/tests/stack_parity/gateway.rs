//! A gateway with a chain in front of a few endpoints, one of each kind.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};
use tidegate_cli::build::module_path;
use tidegate_cli::engine::engine;
use tidegate_host::{
    CloseReason, ClusterConfig, HeaderMap, LogLevel, Module, Output, PluginConfig, Proxy,
    ResponseAttributes, StreamAttributes, StreamId, UpstreamAttributes,
};

use super::forms::{KEYS, KEYS_VARIABLE, Part, is_of_a_form};

/// The endpoints, by the last number of their address: 2 is slow, 3 fails for a while, 4 says once that it drains.
const ENDPOINTS: [&str; 4] = ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80", "10.0.0.4:80"];

/// Worker threads.
const WORKERS: u32 = 2;

/// When it starts, in nanoseconds since the Unix epoch.
const START_NS: u64 = 1_800_000_000_000_000_000;

const MS: u64 = 1_000_000;

/// Response flags of a client that went away.
/// SOURCE: the order of `CoreResponseFlag` in Envoy's `envoy/stream_info/stream_info.h`.
const CLIENT_LEFT: u64 = 1 << 14;

/// The block that all filters share.
pub(crate) fn endpoints() -> Value {
    let listed: Vec<Value> = ENDPOINTS
        .iter()
        .map(|address| json!({ "address": address }))
        .collect();
    json!({
        "clusters": [{ "name": "app" }],
        "source": { "static": [{ "cluster": "app", "endpoints": listed }] },
        // Successors follow numbers of the session, which another VM drew in the other form; scenarios have them.
        "ejection": null,
    })
}

/// All that a chain did to one request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Seen {
    /// The request as the router got it.
    pub(crate) request: Vec<(String, String)>,
    /// What the filters agreed on.
    pub(crate) plan: Option<Vec<u8>>,
    /// The answer as the client got it; empty: none.
    pub(crate) response: Vec<(String, String)>,
}

impl Seen {
    /// The values of a header of the answer.
    pub(crate) fn answers<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.response.iter().filter(move |(it, _)| it == name);
        named.map(|(_, value)| value.as_str())
    }
}

/// What all modules took for some requests.
#[derive(Debug, Default)]
pub(crate) struct Cost {
    /// The cookie that the last answer carried.
    pub(crate) cookie: Option<String>,
    /// Host calls by function.
    pub(crate) calls: BTreeMap<&'static str, u64>,
    pub(crate) callbacks: u64,
    pub(crate) fuel: u64,
}

/// A gateway that runs.
pub(crate) struct Gateway {
    proxy: Proxy,
    has_upstream_filters: bool,
    /// The cookie of each client.
    cookies: BTreeMap<u64, String>,
    turn: usize,
}

impl Gateway {
    /// Starts one with these modules in front and behind the router.
    pub(crate) fn start(front: &[Part], behind: &[Part], seed: u64) -> Self {
        let engine = engine().unwrap();
        let mut builder = Proxy::builder(&engine)
            .workers(WORKERS)
            .seed(seed)
            .start_time_ns(START_NS)
            .log_level(LogLevel::Warn)
            .cluster(ClusterConfig {
                name: "app".into(),
                endpoints: ENDPOINTS.map(String::from).to_vec(),
                override_header: None,
            });
        for (is_behind, (module, configuration)) in front
            .iter()
            .map(|part| (false, part))
            .chain(behind.iter().map(|part| (true, part)))
        {
            let bytes = fs::read(module_path(module).unwrap()).unwrap();
            let compiled = Module::compile(&engine, module, &bytes).unwrap();
            let config = PluginConfig {
                name: (*module).to_owned(),
                vm_id: "tidegate".into(),
                vm_configuration: format!("{module} {is_behind}").into_bytes(),
                configuration: configuration.to_string().into_bytes(),
                environment: vec![(KEYS_VARIABLE.into(), KEYS.into())],
                ..PluginConfig::default()
            };
            builder = if is_behind {
                builder.upstream_filter("app", &compiled, config)
            } else {
                builder.filter(&compiled, config)
            };
        }
        let mut proxy = builder.build().unwrap();
        // A few ticks: the picture is there.
        proxy.advance_to(START_NS + 2_000 * MS);
        Self {
            proxy,
            has_upstream_filters: !behind.is_empty(),
            cookies: BTreeMap::new(),
            turn: 0,
        }
    }

    /// Sends so many requests, one after the other.
    pub(crate) fn run(&mut self, requests: u64) -> Vec<Seen> {
        (0..requests).map(|number| self.request(number)).collect()
    }

    /// Sends so many requests of one session at one instant, so that no tick is among them, and says what all modules
    /// took for them: host calls by function, and instructions.
    pub(crate) fn session(&mut self, requests: u64, cookie: Option<&str>) -> Cost {
        self.cookies.clear();
        self.proxy.reset_cost();
        let mut last = None;
        for _ in 0..requests {
            let mut headers = plain();
            if let Some(cookie) = cookie {
                headers.add("cookie", cookie.as_bytes());
            }
            let attributes = StreamAttributes {
                cluster_name: "app".into(),
                source_address: "192.0.2.1:4000".into(),
                protocol: "HTTP/1.1".into(),
                ..StreamAttributes::default()
            };
            let stream = self.proxy.open_stream(0, attributes).unwrap();
            self.proxy.request_headers(stream, headers, true).unwrap();
            self.drain(stream);
            let upstream = UpstreamAttributes {
                address: ENDPOINTS[0].to_owned(),
                attempt_count: 1,
                ..UpstreamAttributes::default()
            };
            self.proxy.set_upstream(stream, upstream).unwrap();
            let answer = HeaderMap::from([(":status", "200")]);
            self.proxy.response_headers(stream, answer, true).unwrap();
            while let Some(output) = self.proxy.poll_output(stream) {
                if let Output::ResponseHeaders { headers, .. } = output {
                    last = headers.get_str("set-cookie").map(str::to_owned);
                }
            }
            self.proxy
                .close_stream(stream, CloseReason::Complete)
                .unwrap();
            self.drain(stream);
        }
        let mut cost = Cost {
            cookie: last.and_then(|it| Some(it.split(';').next()?.to_owned())),
            ..Cost::default()
        };
        for plugin in self.proxy.cost() {
            for (function, count) in plugin.host_calls {
                *cost.calls.entry(function).or_default() += count;
            }
            for callback in plugin.callbacks {
                cost.callbacks += callback.calls;
                cost.fuel += callback.fuel_total;
            }
        }
        cost
    }

    /// The counters and gauges of the filters.
    pub(crate) fn metrics(&self) -> BTreeMap<String, String> {
        let metrics = self.proxy.metrics();
        metrics
            .filter(|(name, _, _)| !is_of_a_form(name))
            .map(|(name, _, value)| (name.to_owned(), format!("{value:?}")))
            .collect()
    }

    /// What the VMs have told each other.
    pub(crate) fn shared_data(&self) -> Vec<(String, Vec<u8>)> {
        let entries = self.proxy.shared_data("tidegate");
        entries
            .map(|entry| {
                let key = String::from_utf8_lossy(entry.key).into_owned();
                (key, entry.value.to_vec())
            })
            .collect()
    }

    /// Sends a request; its number says what it is like.
    fn request(&mut self, number: u64) -> Seen {
        let client = number * 7 % 13;
        let worker = u32::try_from(number / 3 % 2).unwrap();
        let is_upgrade = number % 11 == 5;
        let cluster = if number % 23 == 9 { "other" } else { "app" };
        let attributes = StreamAttributes {
            cluster_name: cluster.into(),
            source_address: format!("192.0.2.{client}:4000"),
            protocol: "HTTP/1.1".into(),
            ..StreamAttributes::default()
        };
        let stream = self.proxy.open_stream(worker, attributes).unwrap();
        let mut headers = plain();
        if number % 17 == 3 {
            headers.add("cookie", b"tidegate-app=forged");
        } else if let Some(cookie) = self.cookies.get(&client) {
            headers.add("cookie", cookie.as_bytes());
        }
        if number % 19 == 4 {
            headers.add("x-tidegate-endpoint", b"10.0.0.3:80");
            headers.add("x-envoy-max-retries", b"9");
        }
        if is_upgrade {
            headers.add("connection", b"Upgrade");
            headers.add("upgrade", b"websocket");
        }
        self.proxy
            .request_headers(stream, headers, !is_upgrade)
            .unwrap();
        let mut request = Vec::new();
        while let Some(output) = self.proxy.poll_output(stream) {
            if let Output::RequestHeaders { headers, .. } = output {
                request = pairs(&headers);
            }
        }
        let plan = self.proxy.custom_property(stream, "tidegate.plan");
        let plan = plan.map(<[u8]>::to_vec);
        let mut response = self.serve(stream, number, &request, is_upgrade);
        if let Some((_, cookie)) = response.iter().find(|(name, _)| name == "set-cookie") {
            let pair = cookie.split(';').next().unwrap_or_default();
            // Some clients begin anew now and then.
            if !number.is_multiple_of(29) {
                self.cookies.insert(client, pair.to_owned());
            }
        }
        if number.is_multiple_of(97) {
            self.cookies.remove(&client);
        }
        // Sealed by another VM in the other form.
        request.retain(|(name, _)| name != "cookie");
        for (name, cookie) in &mut response {
            if name == "set-cookie" {
                let (pair, attributes) = cookie.split_once(';').unwrap_or_default();
                let (name, value) = pair.split_once('=').unwrap_or_default();
                *cookie = format!("{name}=<{} bytes>;{attributes}", value.len());
            }
        }
        Seen {
            request,
            plan,
            response,
        }
    }

    /// Lets the endpoints that were named have their attempts, until one does not fail.
    fn serve(
        &mut self,
        stream: StreamId,
        number: u64,
        request: &[(String, String)],
        is_upgrade: bool,
    ) -> Vec<(String, String)> {
        let named = request
            .iter()
            .find(|(name, _)| name == "x-tidegate-endpoint");
        let named = named.map(|(_, list)| list.clone()).unwrap_or_default();
        let mut named = named.split(',').filter(|it| !it.is_empty());
        let mut attempts = 0_u64;
        loop {
            attempts += 1;
            let address = named.next().map_or_else(
                || {
                    self.turn += 1;
                    ENDPOINTS[self.turn % ENDPOINTS.len()].to_owned()
                },
                str::to_owned,
            );
            let upstream = UpstreamAttributes {
                address: address.clone(),
                attempt_count: attempts,
                ..UpstreamAttributes::default()
            };
            self.proxy.set_upstream(stream, upstream.clone()).unwrap();
            let fails = address == ENDPOINTS[2] && (600..1200).contains(&number);
            let drains = address == ENDPOINTS[3] && number.is_multiple_of(501);
            let status = match (fails, drains) {
                (true, _) | (_, true) => "503",
                _ if is_upgrade => "101",
                _ => "200",
            };
            let mut headers = HeaderMap::from([(":status", status)]);
            if drains {
                headers.add("x-tidegate-drain", b"5");
            }
            let took_ms = match address.as_str() {
                "10.0.0.2:80" => 60,
                "10.0.0.3:80" if fails => 1,
                _ => 8,
            };
            let attempt = self.attempt(stream, &upstream, request);
            self.proxy.advance_to(self.proxy.now_ns() + took_ms * MS);
            // Few connections break, and few clients leave.
            let is_broken = number % 211 == 7;
            let has_left = number % 223 == 8;
            if let Some(attempt) = attempt {
                if !is_broken && !has_left {
                    let answer = headers.clone();
                    self.proxy.response_headers(attempt, answer, true).unwrap();
                }
                self.drain(attempt);
                self.proxy
                    .close_stream(attempt, CloseReason::Complete)
                    .unwrap();
                self.drain(attempt);
            }
            if is_broken || has_left {
                let flags = if has_left { CLIENT_LEFT } else { 0 };
                let response = ResponseAttributes {
                    flags,
                    ..ResponseAttributes::default()
                };
                self.proxy.set_response(stream, response).unwrap();
                let reason = if has_left {
                    CloseReason::ClientReset
                } else {
                    CloseReason::UpstreamReset
                };
                self.proxy.close_stream(stream, reason).unwrap();
                self.drain(stream);
                return Vec::new();
            }
            if fails && attempts < 3 {
                continue;
            }
            self.proxy
                .response_headers(stream, headers, !is_upgrade)
                .unwrap();
            let mut response = Vec::new();
            while let Some(output) = self.proxy.poll_output(stream) {
                if let Output::ResponseHeaders { headers, .. } = output {
                    response = pairs(&headers);
                }
            }
            self.proxy
                .close_stream(stream, CloseReason::Complete)
                .unwrap();
            self.drain(stream);
            return response;
        }
    }

    /// Begins an attempt behind the router, where filters stand there.
    fn attempt(
        &mut self,
        stream: StreamId,
        upstream: &UpstreamAttributes,
        request: &[(String, String)],
    ) -> Option<StreamId> {
        if !self.has_upstream_filters {
            return None;
        }
        let attempt = self.proxy.open_attempt(stream, "app", upstream.clone());
        let attempt = attempt.unwrap()?;
        let mut headers = HeaderMap::default();
        for (name, value) in request {
            headers.add(name, value.as_bytes());
        }
        self.proxy.request_headers(attempt, headers, true).unwrap();
        self.drain(attempt);
        Some(attempt)
    }

    fn drain(&mut self, stream: StreamId) {
        while self.proxy.poll_output(stream).is_some() {}
    }
}

/// The headers of a request without anything special.
fn plain() -> HeaderMap {
    HeaderMap::from([
        (":method", "GET"),
        (":path", "/"),
        (":authority", "gateway"),
        (":scheme", "https"),
    ])
}

/// A map as text, by name: the order of headers with different names means nothing.
fn pairs(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut pairs: Vec<(String, String)> = headers
        .iter()
        .map(|(name, value)| (text(name), text(value)))
        .collect();
    pairs.sort_by(|(one, _), (other, _)| one.cmp(other));
    pairs
}
