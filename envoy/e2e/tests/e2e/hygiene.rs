//! A client does not choose its endpoint, and does not steer retries.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, Result};
use hyper::Method;
use serde_json::json;
use tempfile::TempDir;
use tidegate_e2e::bootstrap::STICKY_SESSION;
use tidegate_e2e::clients::http::{Client, Request};
use tidegate_e2e::envoy::{Envoy, Scenario};
use tidegate_e2e::sticky;
use tidegate_e2e::upstream::Upstream;

const NATIVE: &str = "envoy.filters.http.header_mutation";

/// Asks for one endpoint by name, eight times, and returns who served, without the answers that no endpoint gave.
async fn ask_for(envoy: &Envoy, endpoint: &Upstream) -> Result<BTreeSet<String>> {
    let mut client = Client::new(envoy.listener("edge")?);
    let mut endpoints = BTreeSet::new();
    for _ in 0..8 {
        let request = Request::new(Method::GET, "/")
            .header(sticky::ENDPOINT_HEADER, endpoint.address().to_string())
            .header("cookie", "none=1");
        let answer = client.send(request).await?;
        endpoints.extend(answer.header("x-served-by").map(str::to_owned));
    }
    Ok(endpoints)
}

/// Writes a module that traps at the first request.
fn trapping_module() -> Result<(TempDir, PathBuf)> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("traps_on_request.wasm");
    std::fs::write(&path, wat::parse_str(include_str!("traps_on_request.wat"))?)?;
    Ok((folder, path))
}

/// Puts that module in the plugin's place; the failure policy stays the shipped one unless another is given.
fn with_trap(upstreams: &[Upstream], policy: Option<&str>) -> Result<(TempDir, Scenario)> {
    let (folder, module) = trapping_module()?;
    let mut scenario = sticky::scenario(upstreams)?.concurrency(1);
    let bootstrap = scenario.bootstrap().module(STICKY_SESSION, &module)?;
    if let Some(policy) = policy {
        bootstrap.plugin(STICKY_SESSION)?["failure_policy"] = policy.into();
    }
    Ok((folder, scenario))
}

#[tokio::test]
async fn a_client_that_names_an_endpoint_is_not_obeyed() -> Result<()> {
    let upstreams = Upstream::several(4).await?;
    let mut envoy = Envoy::start(sticky::scenario(&upstreams)?).await?;
    assert!(ask_for(&envoy, &upstreams[2]).await?.len() > 1);
    for request in upstreams.iter().flat_map(Upstream::received) {
        assert_eq!(
            request.header(sticky::ENDPOINT_HEADER),
            None,
            "the client's header reached an endpoint"
        );
    }
    envoy.stop().await
}

#[tokio::test]
async fn each_of_the_two_lines_of_defence_is_enough() -> Result<()> {
    let upstreams = Upstream::several(4).await?;
    let mut plugin_only = sticky::scenario(&upstreams)?;
    plugin_only.bootstrap().without_filter(NATIVE)?;
    let mut envoy = Envoy::start(plugin_only).await?;
    assert!(
        ask_for(&envoy, &upstreams[2]).await?.len() > 1,
        "the plugin alone"
    );
    let mut native_only = sticky::scenario(&upstreams)?;
    native_only.bootstrap().without_filter(STICKY_SESSION)?;
    envoy.restart_with(native_only).await?;
    assert!(
        ask_for(&envoy, &upstreams[2]).await?.len() > 1,
        "the native filter alone"
    );
    // Neither: the header decides, so that the assertions above do say something.
    let mut neither = sticky::scenario(&upstreams)?;
    neither
        .bootstrap()
        .without_filter(STICKY_SESSION)?
        .without_filter(NATIVE)?;
    envoy.restart_with(neither).await?;
    assert_eq!(
        ask_for(&envoy, &upstreams[2]).await?,
        BTreeSet::from([upstreams[2].address().to_string()])
    );
    envoy.stop().await
}

#[tokio::test]
async fn after_a_trap_that_fails_open_a_client_is_not_obeyed_either() -> Result<()> {
    let upstreams = Upstream::several(4).await?;
    let (_folder, scenario) = with_trap(&upstreams, None)?;
    let mut envoy = Envoy::start(scenario.clone()).await?;
    assert_eq!(
        ask_for(&envoy, &upstreams[2]).await?.len(),
        4,
        "traffic goes on, round robin"
    );
    assert!(
        envoy
            .log()
            .contains("Function: proxy_on_request_headers failed"),
        "nothing trapped"
    );
    // Without the native filter the dead plugin leaves the client in charge.
    let mut open = scenario;
    open.bootstrap().without_filter(NATIVE)?;
    envoy.restart_with(open).await?;
    assert_eq!(
        ask_for(&envoy, &upstreams[2]).await?,
        BTreeSet::from([upstreams[2].address().to_string()])
    );
    envoy.stop().await
}

#[tokio::test]
async fn after_a_trap_that_fails_closed_every_request_is_answered_503() -> Result<()> {
    let upstreams = Upstream::several(2).await?;
    let (_folder, scenario) = with_trap(&upstreams, Some("FAIL_CLOSED"))?;
    let mut envoy = Envoy::start(scenario).await?;
    let mut client = Client::new(envoy.listener("edge")?);
    for _ in 0..3 {
        assert_eq!(client.get("/").await?.status, 503);
    }
    assert!(
        upstreams
            .iter()
            .all(|upstream| upstream.received().is_empty())
    );
    envoy.stop().await
}

/// What a client may not say: how often Envoy is to try, and what only Tidegate's filters say.
const STEERING: [(&str, &str); 4] = [
    ("x-envoy-retry-on", "5xx"),
    ("x-envoy-max-retries", "5"),
    ("x-envoy-attempt-count", "9"),
    ("x-tidegate-reason", "because"),
];

/// Sends a request that fails and asks for retries; returns how often the endpoint got it and which of the headers.
async fn steer(envoy: &Envoy, upstream: &Upstream) -> Result<(usize, Vec<&'static str>)> {
    let before = upstream.received().len();
    let mut request = Request::new(Method::GET, "/?status=503");
    for (name, value) in STEERING {
        request = request.header(name, value);
    }
    let answer = Client::new(envoy.listener("edge")?).send(request).await?;
    anyhow::ensure!(answer.status == 503, "status {}", answer.status);
    let received = upstream.received();
    let last = received.last().context("no request")?;
    let arrived = STEERING
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| last.header(name).is_some());
    Ok((received.len() - before, arrived.collect()))
}

#[tokio::test]
async fn a_client_does_not_steer_retries() -> Result<()> {
    let upstreams = Upstream::several(1).await?;
    let upstream = &upstreams[0];
    let mut shipped = sticky::scenario(&upstreams)?;
    // Envoy itself believes these headers of nobody but clients that it was told to count as internal.
    shipped.bootstrap().connection_manager()?["internal_address_config"] =
        json!({ "cidr_ranges": [{ "address_prefix": "127.0.0.0", "prefix_len": 8 }] });
    let mut envoy = Envoy::start(shipped.clone()).await?;
    assert_eq!(
        steer(&envoy, upstream).await?,
        (1, Vec::new()),
        "as shipped"
    );
    let mut plugin_only = shipped.clone();
    plugin_only.bootstrap().without_filter(NATIVE)?;
    envoy.restart_with(plugin_only.clone()).await?;
    assert_eq!(
        steer(&envoy, upstream).await?,
        (1, Vec::new()),
        "the plugin alone"
    );
    let mut native_only = shipped;
    native_only.bootstrap().without_filter(STICKY_SESSION)?;
    envoy.restart_with(native_only).await?;
    assert_eq!(
        steer(&envoy, upstream).await?,
        (1, Vec::new()),
        "the native filter alone"
    );
    // Neither: the client is obeyed, so that the assertions above do say something.
    plugin_only.bootstrap().without_filter(STICKY_SESSION)?;
    envoy.restart_with(plugin_only).await?;
    assert_eq!(steer(&envoy, upstream).await?.0, 6);
    envoy.stop().await
}
