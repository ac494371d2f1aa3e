//! An endpoint is gone.

use anyhow::{Context, Result};
use serde_json::json;
use tidegate_e2e::bootstrap::STICKY_SESSION;
use tidegate_e2e::clients::http::Client;
use tidegate_e2e::clients::websocket::{Event, WebSocket};
use tidegate_e2e::envoy::{Envoy, Scenario};
use tidegate_e2e::sticky;
use tidegate_e2e::upstream::Upstream;

use crate::affinity::served_by;

/// Starts a session and takes its endpoint away. Returns Envoy, the client, and the endpoint's address.
async fn lose_endpoint(
    scenario: Scenario,
    upstreams: &mut Vec<Upstream>,
) -> Result<(Envoy, Client, String)> {
    let envoy = Envoy::start(scenario).await?;
    let mut client = Client::new(envoy.listener("edge")?);
    let endpoint = served_by(&mut client, "/").await?;
    upstreams.retain(|upstream| upstream.address().to_string() != endpoint);
    // Envoy has to see its idle connections to it closed: a request on one of those would be reset, not refused.
    tidegate_e2e::wait::until(
        "Envoy has no connection to the endpoint that is gone",
        async || {
            let clusters = envoy.admin("/clusters").await?;
            Ok(clusters
                .contains(&format!("::{endpoint}::cx_active::0"))
                .then_some(()))
        },
    )
    .await?;
    Ok((envoy, client, endpoint))
}

#[tokio::test]
async fn a_session_whose_endpoint_is_gone_is_served_elsewhere_and_keeps_its_cookie() -> Result<()> {
    let mut upstreams = Upstream::several(4).await?;
    let (mut envoy, mut client, gone) =
        lose_endpoint(sticky::scenario(&upstreams)?, &mut upstreams).await?;
    let cookie = client
        .jar
        .value(sticky::COOKIE)
        .context("no cookie")?
        .to_owned();
    for _ in 0..6 {
        let answer = client.get("/").await?;
        assert_eq!(answer.status, 200);
        assert_ne!(answer.header("x-served-by"), Some(gone.as_str()));
        assert_eq!(
            answer.set_cookie(sticky::COOKIE),
            None,
            "without a snapshot a cookie is never replaced"
        );
    }
    assert_eq!(
        envoy
            .stat_reaches(&sticky::responses("served_elsewhere"), 6)
            .await?,
        6
    );
    // The endpoint is back, and so is the session.
    let back = Upstream::at(
        gone.parse()?,
        std::sync::Arc::new(tidegate_e2e::upstream::Answer::asked_by),
    )
    .await?;
    assert_eq!(served_by(&mut client, "/").await?, gone);
    assert_eq!(client.jar.value(sticky::COOKIE), Some(cookie.as_str()));
    assert_eq!(back.received().len(), 1);
    envoy.stop().await
}

#[tokio::test]
async fn with_re_pin_a_session_whose_endpoint_is_gone_moves_once_and_stays() -> Result<()> {
    let mut upstreams = Upstream::several(4).await?;
    let mut scenario = sticky::scenario(&upstreams)?;
    let mut configuration = scenario.bootstrap().plugin_configuration(STICKY_SESSION)?;
    configuration["clusters"][0]["when_unreachable"] = json!("re_pin");
    scenario
        .bootstrap()
        .configure(STICKY_SESSION, &configuration)?;
    let (mut envoy, mut client, gone) = lose_endpoint(scenario, &mut upstreams).await?;
    let answer = client.get("/").await?;
    let successor = answer
        .header("x-served-by")
        .context("nobody served")?
        .to_owned();
    assert_ne!(successor, gone);
    assert!(
        answer.set_cookie(sticky::COOKIE).is_some(),
        "the session moves"
    );
    for _ in 0..6 {
        client.disconnect();
        assert_eq!(served_by(&mut client, "/").await?, successor);
    }
    assert_eq!(
        envoy
            .stat_reaches(&sticky::responses("re_pinned"), 1)
            .await?,
        1
    );
    assert_eq!(envoy.stat_reaches(&sticky::responses("kept"), 6).await?, 6);
    envoy.stop().await
}

#[tokio::test]
async fn a_websocket_whose_endpoint_is_gone_opens_elsewhere() -> Result<()> {
    let mut upstreams = Upstream::several(3).await?;
    let (mut envoy, mut client, gone) =
        lose_endpoint(sticky::scenario(&upstreams)?, &mut upstreams).await?;
    let mut socket = WebSocket::open(&mut client, "/ws", &[]).await?;
    socket.text("who").await?;
    let Event::Text(endpoint) = socket.next().await? else {
        anyhow::bail!("no answer")
    };
    assert_ne!(endpoint, gone);
    socket.close(1000).await?;
    envoy.stop().await
}

#[tokio::test]
async fn an_answer_that_is_an_error_starts_no_session() -> Result<()> {
    let upstreams = Upstream::several(2).await?;
    let mut envoy = Envoy::start(sticky::scenario(&upstreams)?).await?;
    let mut client = Client::new(envoy.listener("edge")?);
    for path in ["/?status=500", "/?status=503", "/?end=reset-early"] {
        let answer = client.get(path).await?;
        assert!(answer.status >= 500, "{path}");
        assert_eq!(answer.set_cookie(sticky::COOKIE), None, "{path}");
    }
    let errors = sticky::responses("not_issued_error");
    assert_eq!(envoy.stat_reaches(&errors, 3).await?, 3);
    // A refusal by the application is its answer, and pins.
    assert!(
        client
            .get("/?status=404")
            .await?
            .set_cookie(sticky::COOKIE)
            .is_some()
    );
    envoy.stop().await
}

#[tokio::test]
async fn with_no_endpoint_left_envoy_answers_503_and_no_cookie() -> Result<()> {
    let mut upstreams = Upstream::several(1).await?;
    let (mut envoy, mut client, _) =
        lose_endpoint(sticky::scenario(&upstreams)?, &mut upstreams).await?;
    let answer = client.get("/").await?;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("set-cookie"), None);
    envoy.stop().await
}
