//! Sessions stay where they began.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use tidegate_e2e::clients::http::Client;
use tidegate_e2e::envoy::Envoy;
use tidegate_e2e::sticky;
use tidegate_e2e::upstream::Upstream;

/// Sends a request and returns who served it.
pub(crate) async fn served_by(client: &mut Client, path: &str) -> Result<String> {
    let answer = client.get(path).await?;
    anyhow::ensure!(
        answer.status == 200,
        "status {}: {}",
        answer.status,
        answer.text()
    );
    Ok(answer
        .header("x-served-by")
        .context("no endpoint served this")?
        .to_owned())
}

#[tokio::test]
async fn a_session_stays_on_one_endpoint_whichever_worker_serves_it() -> Result<()> {
    const SESSIONS: u64 = 40;
    const REQUESTS: u64 = 8;
    let upstreams = Upstream::several(4).await?;
    let mut envoy = Envoy::start(sticky::scenario(&upstreams)?).await?;
    let mut sessions_per_endpoint = BTreeMap::<String, u64>::new();
    for session in 0..SESSIONS {
        let mut client = Client::new(envoy.listener("edge")?);
        let mut endpoints = BTreeSet::new();
        for request in 0..REQUESTS {
            // Half of them on a connection of their own, so that the kernel hands the session to both workers.
            if request % 2 == 0 {
                client.disconnect();
            }
            endpoints.insert(served_by(&mut client, "/").await?);
        }
        assert_eq!(
            endpoints.len(),
            1,
            "session {session} was served by {endpoints:?}"
        );
        *sessions_per_endpoint
            .entry(endpoints.pop_first().unwrap_or_default())
            .or_default() += 1;
    }
    assert_eq!(
        sessions_per_endpoint.len(),
        4,
        "sessions per endpoint: {sessions_per_endpoint:?}"
    );
    envoy
        .stat_reaches(&sticky::responses("kept"), SESSIONS * (REQUESTS - 1))
        .await?;
    let stats = envoy.stats().await?;
    for worker in ["worker_0", "worker_1"] {
        let connections: u64 = stats
            .iter()
            .filter(|(name, _)| {
                name.contains(worker)
                    && name.starts_with("listener.")
                    && name.ends_with("downstream_cx_total")
            })
            .map(|(_, value)| value)
            .sum();
        assert!(connections > 0, "{worker} served no connection");
    }
    let count = |name: String| {
        stats
            .iter()
            .find(|(known, _)| known.ends_with(&name))
            .map_or(0, |(_, value)| *value)
    };
    assert_eq!(count(sticky::requests("new_session")), SESSIONS);
    assert_eq!(count(sticky::requests("pinned")), SESSIONS * (REQUESTS - 1));
    assert_eq!(count(sticky::responses("issued")), SESSIONS);
    envoy.stop().await
}

#[tokio::test]
async fn without_the_plugin_requests_of_a_session_go_round_robin() -> Result<()> {
    let upstreams = Upstream::several(4).await?;
    let mut scenario = sticky::scenario(&upstreams)?.concurrency(1);
    scenario
        .bootstrap()
        .without_filter(tidegate_e2e::bootstrap::STICKY_SESSION)?;
    let mut envoy = Envoy::start(scenario).await?;
    let mut client = Client::new(envoy.listener("edge")?);
    let mut endpoints = BTreeSet::new();
    for _ in 0..4 {
        endpoints.insert(served_by(&mut client, "/").await?);
    }
    assert_eq!(
        endpoints.len(),
        4,
        "the affinity test would pass without a plugin"
    );
    envoy.stop().await
}

#[tokio::test]
async fn sessions_hold_when_envoy_is_restarted() -> Result<()> {
    let upstreams = Upstream::several(4).await?;
    let mut envoy = Envoy::start(sticky::scenario(&upstreams)?).await?;
    let mut sessions = Vec::new();
    for _ in 0..12 {
        let mut client = Client::new(envoy.listener("edge")?);
        let endpoint = served_by(&mut client, "/").await?;
        sessions.push((client, endpoint));
    }
    envoy.restart().await?;
    for (client, endpoint) in &mut sessions {
        client.move_to(envoy.listener("edge")?);
        let answer = client.get("/").await?;
        assert_eq!(answer.header("x-served-by"), Some(endpoint.as_str()));
        assert_eq!(
            answer.set_cookie(sticky::COOKIE),
            None,
            "the session got another cookie"
        );
    }
    envoy.stop().await
}

#[tokio::test]
async fn keys_rotate_over_restarts_without_losing_sessions() -> Result<()> {
    let (old, new) = (sticky::TRIAL_KEYS, sticky::OTHER_TRIAL_KEYS);
    let upstreams = Upstream::several(4).await?;
    let mut envoy = Envoy::start(sticky::scenario(&upstreams)?).await?;
    let mut early = Client::new(envoy.listener("edge")?);
    let early_endpoint = served_by(&mut early, "/").await?;

    // The new key seals, the old one still opens.
    let both = envoy
        .scenario()
        .variable(sticky::KEYS_VARIABLE, &format!("{new},{old}"));
    envoy.restart_with(both).await?;
    early.move_to(envoy.listener("edge")?);
    assert_eq!(served_by(&mut early, "/").await?, early_endpoint);
    let mut late = Client::new(envoy.listener("edge")?);
    let late_endpoint = served_by(&mut late, "/").await?;

    // The old key is gone: what it sealed is refused, what the new one sealed holds.
    let only_new = envoy.scenario().variable(sticky::KEYS_VARIABLE, new);
    envoy.restart_with(only_new).await?;
    late.move_to(envoy.listener("edge")?);
    assert_eq!(served_by(&mut late, "/").await?, late_endpoint);
    early.move_to(envoy.listener("edge")?);
    let answer = early.get("/").await?;
    assert_eq!(answer.status, 200);
    assert!(
        answer.set_cookie(sticky::COOKIE).is_some(),
        "a refused session begins anew"
    );
    assert_eq!(
        envoy
            .stat_reaches(&sticky::requests("refused_unknown_key"), 1)
            .await?,
        1
    );
    envoy.stop().await
}
