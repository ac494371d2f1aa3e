//! How often a form's modules call the host for one request, by function and by what it is asked for.
//!
//! Model: the very modules with the very configuration in the offline host, which counts. Requests are those of [`super::load`]:
//! half of them without a cookie. The endpoints are told by the configuration and answer all probes, so that a picture is there.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tidegate_cli::engine::engine;
use tidegate_host::{
    CallAnswer, Callback, CloseReason, ClusterConfig, HeaderMap, HostCall, Module, Observer,
    Output, PluginConfig, Proxy, StreamAttributes, StreamId, UpstreamAttributes,
};

use super::forms::Form;
use crate::clients::jar::Jar;
use crate::sticky;

/// How many requests are counted.
const REQUESTS: u32 = 200;

/// When virtual time begins, in nanoseconds since the Unix epoch: any time will do.
const START_NS: u64 = 1_700_000_000_000_000_000;

/// How long the modules learn before anything is counted: several ticks and two rounds of probes.
const LEARNS_NS: u64 = 20_000_000_000;

/// How far the clock goes at a time: a tenth of a tick.
const STEP_NS: u64 = 25_000_000;

/// A call into the host: who calls, when, what, and for what.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Call {
    /// Whether the module is a filter of the cluster.
    pub(super) is_upstream: bool,
    /// The callback that it is in.
    pub(super) callback: &'static str,
    /// The function.
    pub(super) function: &'static str,
    /// The property's path or the header's name; empty where it is for neither.
    pub(super) of: String,
}

/// What a form's modules do for one request.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// Their calls into the host.
    pub(super) calls: BTreeMap<Call, f64>,
    /// Their instructions, in the runner's fuel.
    pub(super) fuel: f64,
}

/// Counts what a form's modules do per request; nothing for a form without modules.
///
/// # Errors
/// A module cannot be built or does not start.
pub(super) fn per_request(form: Form) -> Result<Work> {
    let addresses: Vec<String> = (1..=4)
        .map(|host| SocketAddr::from(([10, 0, 0, host], 8080)).to_string())
        .collect();
    let listed: Vec<Value> = addresses
        .iter()
        .map(|address| json!({ "address": address }))
        .collect();
    let source = json!({ "static": [{ "cluster": sticky::CLUSTER, "endpoints": listed }] });
    let modules = form.modules(&source);
    if modules.is_empty() {
        return Ok(Work::default());
    }
    let engine = engine()?;
    let watch = Watch::default();
    let mut builder = Proxy::builder(&engine)
        .workers(1)
        .seed(1)
        .start_time_ns(START_NS)
        .cluster(ClusterConfig {
            name: sticky::CLUSTER.into(),
            endpoints: addresses.clone(),
            ..ClusterConfig::default()
        })
        .log_level(tidegate_host::LogLevel::Warn)
        .observer(Box::new(watch.clone()));
    for module in &modules {
        let path = tidegate_cli::build::module_path(module.name)?;
        let bytes =
            fs::read(&path).with_context(|| format!("failed to read `{}`", path.display()))?;
        let compiled = Module::compile(&engine, module.name, &bytes)?;
        let place = if module.is_upstream {
            "upstream"
        } else {
            "listener"
        };
        let config = PluginConfig {
            name: format!("{place} {}", module.name),
            vm_id: "tidegate".into(),
            vm_configuration: place.into(),
            configuration: module.configuration.to_string().into_bytes(),
            environment: vec![(sticky::KEYS_VARIABLE.into(), sticky::TRIAL_KEYS.into())],
            ..PluginConfig::default()
        };
        builder = if module.is_upstream {
            builder.upstream_filter(sticky::CLUSTER, &compiled, config)
        } else {
            builder.filter(&compiled, config)
        };
    }
    let mut proxy = builder.build().context("failed to start the modules")?;
    let mut session = Jar::default();
    // The worker has served, and its first session has begun, before anything is counted.
    request(&mut proxy, &addresses, 0, Some(&mut session))?;
    pass(&mut proxy, LEARNS_NS)?;
    request(&mut proxy, &addresses, 1, Some(&mut session))?;
    *watch.lock() = Seen::default();
    for number in 0..REQUESTS {
        let session = (number % 2 == 0).then_some(&mut session);
        request(&mut proxy, &addresses, number, session)?;
        pass(&mut proxy, STEP_NS / 25)?;
    }
    let seen = std::mem::take(&mut *watch.lock());
    let calls = seen.counted.into_iter();
    Ok(Work {
        calls: calls
            .map(|(call, count)| (call, f64::from(count) / f64::from(REQUESTS)))
            .collect(),
        fuel: seen.fuel / f64::from(REQUESTS),
    })
}

/// Lets time pass; call-outs are answered 200 at once.
fn pass(proxy: &mut Proxy, duration_ns: u64) -> Result<()> {
    let end_ns = proxy.now_ns() + duration_ns;
    while proxy.now_ns() < end_ns {
        proxy.advance_to((proxy.now_ns() + STEP_NS).min(end_ns));
        while let Some(call) = proxy.poll_call() {
            let answer = CallAnswer::Response {
                headers: HeaderMap::from([(":status", "200")]),
                body: Vec::new(),
                trailers: HeaderMap::default(),
            };
            proxy.answer_call(call.id, answer)?;
        }
    }
    Ok(())
}

/// Sends a request through the chains and lets an endpoint answer it: the one that was named, else the next one.
fn request(
    proxy: &mut Proxy,
    addresses: &[String],
    number: u32,
    session: Option<&mut Jar>,
) -> Result<()> {
    let attributes = StreamAttributes {
        cluster_name: sticky::CLUSTER.into(),
        source_address: "192.0.2.7:40000".into(),
        protocol: "HTTP/1.1".into(),
        ..StreamAttributes::default()
    };
    let stream = proxy.open_stream(0, attributes)?;
    let mut headers = HeaderMap::from([
        (":method", "GET"),
        (":path", "/api/items?page=2"),
        (":authority", "shop.example.com"),
        (":scheme", "http"),
        ("accept", "application/json"),
    ]);
    if let Some(cookies) = session.as_ref().and_then(|jar| jar.header()) {
        headers.add("cookie", cookies.as_bytes());
    }
    proxy.request_headers(stream, headers, true)?;
    let mut sent = HeaderMap::default();
    while let Some(output) = proxy.poll_output(stream) {
        if let Output::RequestHeaders { headers, .. } = output {
            sent = headers;
        }
    }
    let named = sent
        .get_str(sticky::ENDPOINT_HEADER)
        .and_then(|named| named.split(',').next())
        .map(|named| named.trim().to_owned());
    let next = usize::try_from(number)? % addresses.len().max(1);
    let address = named
        .filter(|named| addresses.contains(named))
        .or_else(|| addresses.get(next).cloned())
        .context("no endpoints")?;
    let upstream = UpstreamAttributes {
        address,
        attempt_count: 1,
        ..UpstreamAttributes::default()
    };
    let attempt = proxy.open_attempt(stream, sticky::CLUSTER, upstream.clone())?;
    if let Some(attempt) = attempt {
        proxy.request_headers(attempt, sent, true)?;
        answer(proxy, attempt)?;
        proxy.close_stream(attempt, CloseReason::Complete)?;
        while proxy.poll_output(attempt).is_some() {}
    }
    proxy.set_upstream(stream, upstream)?;
    let cookie = answer(proxy, stream)?;
    proxy.close_stream(stream, CloseReason::Complete)?;
    while proxy.poll_output(stream).is_some() {}
    if let (Some(jar), Some(cookie)) = (session, cookie) {
        jar.store(&cookie);
    }
    Ok(())
}

/// Lets an endpoint answer, and returns the cookie that the filters added.
fn answer(proxy: &mut Proxy, stream: StreamId) -> Result<Option<String>> {
    let headers = HeaderMap::from([(":status", "200"), ("content-type", "application/json")]);
    proxy.response_headers(stream, headers, true)?;
    let mut cookie = None;
    while let Some(output) = proxy.poll_output(stream) {
        if let Output::ResponseHeaders { headers, .. } = output {
            cookie = headers.get_str("set-cookie").map(str::to_owned);
        }
    }
    Ok(cookie)
}

/// Counts calls of streams.
#[derive(Clone, Debug, Default)]
struct Watch(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    /// Is what the present callback of each VM has called.
    open: BTreeMap<u32, Vec<(&'static str, String)>>,
    counted: BTreeMap<Call, u32>,
    fuel: f64,
}

impl Watch {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Watch {
    fn wants_host_calls(&self) -> bool {
        true
    }

    fn host_call(&mut self, call: HostCall<'_>) {
        let of = match call.name {
            "proxy_get_property" | "proxy_set_property" => call.arguments.replace("\\x00", "."),
            name if name.contains("header_map_value") => {
                // The map comes first, and what is written last.
                let name = call.arguments.split(", ").nth(1);
                name.unwrap_or_default().to_owned()
            }
            _ => String::new(),
        };
        let mut seen = self.lock();
        let open = seen.open.entry(call.place.vm).or_default();
        open.push((call.name, of));
    }

    fn wants_callbacks(&self) -> bool {
        true
    }

    fn callback(&mut self, callback: Callback<'_>) {
        let mut seen = self.lock();
        let calls = seen.open.remove(&callback.place.vm).unwrap_or_default();
        if callback.place.stream.is_none() {
            return;
        }
        seen.fuel += f64::from(u32::try_from(callback.fuel).unwrap_or(u32::MAX));
        for (function, of) in calls {
            let call = Call {
                is_upstream: callback.place.plugin.starts_with("upstream "),
                callback: callback.name,
                function,
                of,
            };
            *seen.counted.entry(call).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_through_sticky_session_is_counted_call_by_call() {
        let work = per_request(Form::StickySession).unwrap();
        let calls = &work.calls;
        let times = |function: &str| -> f64 {
            let of = calls.iter().filter(|(call, _)| call.function == function);
            of.map(|(_, times)| times).sum()
        };
        // Both halves read all headers once; the half without a cookie gets one, with draws for it.
        assert!(
            (times("proxy_get_header_map_pairs") - 1.0).abs() < 1e-9,
            "{calls:?}"
        );
        assert!(
            (times("proxy_add_header_map_value") - 0.5).abs() < 1e-9,
            "{calls:?}"
        );
        assert!(times("random_get") >= 0.5, "{calls:?}");
        // To open a cookie or to write one is most of the work.
        assert!(work.fuel > 10_000.0, "{}", work.fuel);
        assert!(per_request(Form::Plain).unwrap().calls.is_empty());
    }
}
