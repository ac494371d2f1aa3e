//! Whose cookies are believed, and what becomes of the others.

use anyhow::{Context, Result};
use hyper::Method;
use serde_json::json;
use tidegate_e2e::bootstrap::STICKY_SESSION;
use tidegate_e2e::clients::http::{Client, Request};
use tidegate_e2e::envoy::Envoy;
use tidegate_e2e::sticky;
use tidegate_e2e::upstream::{Upstream, addresses};

use crate::affinity::served_by;

/// Sends a request with this `cookie` header and nothing in the jar.
async fn with_cookie(
    envoy: &Envoy,
    path: &str,
    cookie: &str,
) -> Result<tidegate_e2e::clients::http::Answer> {
    let request = Request::new(Method::GET, path).header("cookie", cookie);
    Client::new(envoy.listener("edge")?).send(request).await
}

#[tokio::test]
async fn cookies_that_nobody_here_issued_are_refused_counted_and_replaced() -> Result<()> {
    let upstreams = Upstream::several(4).await?;
    // Another operator's Envoy: same cluster, same cookie name, a key of its own under the same number.
    let foreign_keys = "1:YW5vdGhlciBvcGVyYXRvcidzIHNlY3JldCAzMiBCISE=";
    let foreign = sticky::scenario(&upstreams)?.variable(sticky::KEYS_VARIABLE, foreign_keys);
    let mut foreign = Envoy::start(foreign).await?;
    let mut stranger = Client::new(foreign.listener("edge")?);
    served_by(&mut stranger, "/").await?;
    let foreign_value = stranger
        .jar
        .value(sticky::COOKIE)
        .context("no cookie")?
        .to_owned();
    foreign.stop().await?;

    let mut envoy = Envoy::start(sticky::scenario(&upstreams)?).await?;
    let mut client = Client::new(envoy.listener("edge")?);
    served_by(&mut client, "/").await?;
    let value = client
        .jar
        .value(sticky::COOKIE)
        .context("no cookie")?
        .to_owned();
    let mut flipped = value.clone().into_bytes();
    // In the middle: neither the version nor the key's number, both of which are readable.
    let middle = flipped.len() / 2;
    flipped[middle] = if flipped[middle] == b'A' { b'B' } else { b'A' };
    let flipped = String::from_utf8(flipped)?;
    let unknown_version: String = "_".chars().chain(value.chars().skip(1)).collect();
    let truncated = value.chars().take(value.len() / 4).collect();
    let cases = [
        ("refused_unauthentic", flipped),
        ("refused_unauthentic", foreign_value),
        ("refused_malformed", truncated),
        ("refused_malformed", "127.0.0.1:7001".to_owned()),
        ("refused_malformed", "%00%ff\"".to_owned()),
        ("refused_too_long", "A".repeat(4096)),
        ("refused_version", unknown_version),
    ];
    let mut expected = std::collections::BTreeMap::<&str, u64>::new();
    for (reason, cookie) in &cases {
        let answer = with_cookie(&envoy, "/", &format!("{}={cookie}", sticky::COOKIE)).await?;
        assert_eq!(answer.status, 200, "{reason}: traffic is served");
        assert!(
            answer.set_cookie(sticky::COOKIE).is_some(),
            "{reason}: the session begins anew"
        );
        *expected.entry(reason).or_default() += 1;
        assert_eq!(
            envoy
                .stat_reaches(&sticky::requests(reason), expected[reason])
                .await?,
            expected[reason],
            "{reason}: {cookie}"
        );
    }
    let twice = format!("{0}={value}; {0}={value}", sticky::COOKIE);
    assert_eq!(with_cookie(&envoy, "/", &twice).await?.status, 200);
    assert_eq!(
        envoy
            .stat_reaches(&sticky::requests("refused_duplicate"), 1)
            .await?,
        1
    );
    // None of these reached an endpoint as a pinned request.
    let pinned = upstreams
        .iter()
        .flat_map(Upstream::received)
        .filter(|request| request.header(sticky::ENDPOINT_HEADER).is_some());
    assert_eq!(pinned.count(), 0);
    envoy.stop().await
}

#[tokio::test]
async fn two_clusters_have_two_cookies_and_neither_opens_the_other() -> Result<()> {
    let (first, second) = (Upstream::several(3).await?, Upstream::several(3).await?);
    let mut scenario = sticky::scenario(&first)?;
    let bootstrap = scenario.bootstrap();
    bootstrap
        .second_cluster(sticky::CLUSTER, "shop", "/shop")?
        .endpoints("shop", &addresses(&second))?;
    let mut configuration = bootstrap.plugin_configuration(STICKY_SESSION)?;
    let clusters = configuration["clusters"]
        .as_array_mut()
        .context("no clusters")?;
    clusters.push(json!({ "name": "shop", "cookie": { "name": "tidegate-shop" }, "ttl": "1h" }));
    bootstrap.configure(STICKY_SESSION, &configuration)?;
    let mut envoy = Envoy::start(scenario).await?;
    let mut client = Client::new(envoy.listener("edge")?);
    let echo = served_by(&mut client, "/").await?;
    let shop = served_by(&mut client, "/shop").await?;
    for _ in 0..5 {
        client.disconnect();
        assert_eq!(served_by(&mut client, "/").await?, echo);
        assert_eq!(served_by(&mut client, "/shop").await?, shop);
    }
    let of_echo = client.jar.value("tidegate-echo").context("no cookie")?;
    let swapped = format!("tidegate-shop={of_echo}");
    let answer = with_cookie(&envoy, "/shop", &swapped).await?;
    assert_eq!(answer.status, 200);
    assert!(answer.set_cookie("tidegate-shop").is_some());
    assert_eq!(
        envoy
            .stat_reaches(&sticky::requests("refused_unauthentic"), 1)
            .await?,
        1
    );
    envoy.stop().await
}

#[tokio::test]
async fn a_cluster_that_is_not_listed_passes_untouched() -> Result<()> {
    let upstreams = Upstream::several(2).await?;
    let mut scenario = sticky::scenario(&upstreams)?;
    scenario
        .bootstrap()
        .second_cluster(sticky::CLUSTER, "other", "/other")?
        .endpoints("other", &addresses(&upstreams))?;
    let mut envoy = Envoy::start(scenario).await?;
    let answer = Client::new(envoy.listener("edge")?).get("/other").await?;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("set-cookie"), None);
    assert_eq!(
        envoy
            .stat_reaches(&sticky::requests("unlisted_cluster"), 1)
            .await?,
        1
    );
    envoy.stop().await
}

#[tokio::test]
async fn the_cookie_has_the_attributes_that_the_configuration_names() -> Result<()> {
    let upstreams = Upstream::several(1).await?;
    let mut envoy = Envoy::start(sticky::scenario(&upstreams)?).await?;
    let answer = Client::new(envoy.listener("edge")?)
        .get("/?set=app:1")
        .await?;
    let cookie = answer.set_cookie(sticky::COOKIE).context("no cookie")?;
    let attributes: Vec<&str> = cookie.split("; ").skip(1).collect();
    for expected in ["Path=/", "HttpOnly", "SameSite=Lax"] {
        assert!(
            attributes.contains(&expected),
            "{expected} is not among {attributes:?}"
        );
    }
    assert!(
        !attributes.contains(&"Secure"),
        "the request came in the clear"
    );
    assert_eq!(
        answer.set_cookie("app"),
        Some("app=1; Path=/"),
        "the endpoint's own cookie is kept"
    );
    envoy.stop().await
}
