//! What operators see, and what nobody may see.

use anyhow::{Context, Result};
use hyper::Method;
use serde_json::json;
use tidegate_e2e::bootstrap::STICKY_SESSION;
use tidegate_e2e::clients::http::{Client, Request};
use tidegate_e2e::envoy::Envoy;
use tidegate_e2e::sticky;
use tidegate_e2e::upstream::Upstream;
use tidegate_e2e::wait;

use crate::affinity::served_by;

#[tokio::test]
async fn decisions_are_counted_under_a_reason_and_labelled_for_prometheus() -> Result<()> {
    let upstreams = Upstream::several(2).await?;
    let mut envoy = Envoy::start(sticky::scenario(&upstreams)?).await?;
    let mut client = Client::new(envoy.listener("edge")?);
    for _ in 0..4 {
        served_by(&mut client, "/").await?;
    }
    envoy.stat_reaches(&sticky::responses("kept"), 3).await?;
    let stats = envoy.stats().await?;
    assert_eq!(
        stats.get("wasmcustom.tidegate_sticky_session_requests_total.reason.pinned"),
        Some(&3)
    );
    assert_eq!(
        stats.get("wasmcustom.tidegate_sticky_session_responses_total.reason.issued"),
        Some(&1)
    );
    let text = envoy.admin("/stats/prometheus").await?;
    for line in [
        "tidegate_sticky_session_requests_total{reason=\"new_session\"} 1",
        "tidegate_sticky_session_requests_total{reason=\"pinned\"} 3",
        "tidegate_sticky_session_responses_total{reason=\"issued\"} 1",
        "tidegate_sticky_session_responses_total{reason=\"kept\"} 3",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "`{line}` is not in /stats/prometheus"
        );
    }
    envoy.stop().await
}

#[tokio::test]
async fn the_reason_header_explains_and_is_off_unless_asked_for() -> Result<()> {
    let upstreams = Upstream::several(2).await?;
    let scenario = sticky::scenario(&upstreams)?;
    let mut envoy = Envoy::start(scenario.clone()).await?;
    assert_eq!(
        Client::new(envoy.listener("edge")?)
            .get("/")
            .await?
            .header("x-tidegate-reason"),
        None
    );
    let mut explaining = scenario;
    let mut configuration = explaining
        .bootstrap()
        .plugin_configuration(STICKY_SESSION)?;
    configuration["reason_header"] = json!(true);
    explaining
        .bootstrap()
        .configure(STICKY_SESSION, &configuration)?;
    envoy.restart_with(explaining).await?;
    let mut client = Client::new(envoy.listener("edge")?);
    let reason = |answer: &tidegate_e2e::clients::http::Answer| {
        answer.header("x-tidegate-reason").map(str::to_owned)
    };
    assert_eq!(
        reason(&client.get("/").await?).as_deref(),
        Some("sticky-session;request=new_session;response=issued")
    );
    assert_eq!(
        reason(&client.get("/").await?).as_deref(),
        Some("sticky-session;request=pinned;response=kept")
    );
    let forged = Request::new(Method::GET, "/").header("cookie", format!("{}=x", sticky::COOKIE));
    assert_eq!(
        reason(&client.send(forged).await?).as_deref(),
        Some("sticky-session;request=refused_malformed;response=issued")
    );
    envoy.stop().await
}

#[tokio::test]
async fn no_cookie_and_no_key_is_logged_even_at_debug_level() -> Result<()> {
    let upstreams = Upstream::several(2).await?;
    // Everything at debug but two components that print every header of every request, whatever filters do.
    let scenario = sticky::scenario(&upstreams)?
        .log_level("debug")
        .component_log_level("http:info,router:info");
    let mut envoy = Envoy::start(scenario).await?;
    let mut client = Client::new(envoy.listener("edge")?);
    for _ in 0..2 {
        served_by(&mut client, "/").await?;
    }
    let value = client
        .jar
        .value(sticky::COOKIE)
        .context("no cookie")?
        .to_owned();
    let forged = Request::new(Method::GET, "/").header(
        "cookie",
        format!("{}=c2VjcmV0LWluLWEtY29va2ll", sticky::COOKIE),
    );
    client.send(forged).await?;
    let log = wait::until("the plugin logs its decisions", async || {
        let log = envoy.log();
        Ok(log.contains("refused_").then_some(log))
    })
    .await?;
    assert!(log.contains("pinned"), "no decision is in the log");
    let (_, key) = sticky::TRIAL_KEYS.split_once(':').context("no key")?;
    for (secret, what) in [
        (value.as_str(), "a cookie"),
        ("c2VjcmV0LWluLWEtY29va2ll", "a forged cookie"),
        (key, "a key"),
    ] {
        assert!(!log.contains(secret), "{what} is in the log");
    }
    envoy.stop().await?;
    let access_log = std::fs::read_to_string(envoy.folder().join("access.log"))?;
    assert_eq!(access_log.lines().count(), 3);
    assert!(
        !access_log.contains(&value),
        "a cookie is in the access log"
    );
    Ok(())
}

#[tokio::test]
async fn the_admin_shows_what_readers_need_and_nothing_else() -> Result<()> {
    let upstreams = Upstream::several(1).await?;
    let mut envoy = Envoy::start(sticky::scenario(&upstreams)?).await?;
    for path in [
        "/ready",
        "/stats",
        "/stats?filter=tidegate",
        "/stats/prometheus",
        "/clusters?format=json",
        "/listeners",
    ] {
        assert_eq!(envoy.admin_answer(path).await?.0, 200, "{path}");
    }
    for path in [
        "/config_dump",
        "/quitquitquit",
        "/healthcheck/fail",
        "/logging",
        "/drain_listeners",
        "/certs",
        "/ready/x",
    ] {
        assert_eq!(envoy.admin_answer(path).await?.0, 403, "{path}");
    }
    envoy.stop().await
}
