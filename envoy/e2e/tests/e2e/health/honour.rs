//! Whether Envoy goes by the list that the filter writes, and nobody else's.

use std::collections::BTreeSet;

use anyhow::Result;
use hyper::Method;
use serde_json::json;
use tidegate_e2e::bootstrap::Bootstrap;
use tidegate_e2e::clients::http::Request;
use tidegate_e2e::endpoints::Rig;
use tidegate_e2e::health::{self, Observe, alone};
use tidegate_e2e::{sticky, wait};

use super::counted;

/// What the log says when lists are not gone by.
const NOTICE: &str = "came from outside of their lists";

fn without_override_host(bootstrap: &mut Bootstrap) -> Result<()> {
    let policy = "envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin";
    bootstrap.cluster(sticky::CLUSTER)?["load_balancing_policy"] = json!({ "policies": [{
        "typed_extension_config": {
            "name": "envoy.load_balancing_policies.round_robin",
            "typed_config": { "@type": format!("type.googleapis.com/{policy}") },
        },
    }] });
    Ok(())
}

fn notices(rig: &Rig) -> usize {
    let log = rig.envoy.log();
    log.lines()
        .filter(|line| line.contains("wasm log") && line.contains(NOTICE))
        .count()
}

#[tokio::test]
async fn a_cluster_that_does_not_go_by_the_list_is_noticed_once_and_traffic_goes_on() -> Result<()>
{
    let mut plan = health::plan(5, Observe::Attempts);
    // Each worker says it for itself.
    plan.workers = 1;
    let mut rig = Rig::start_edited(&plan, without_override_host).await?;
    rig.picture_is(&[0, 1, 2, 3, 4].map(|index| (index, "available")))
        .await?;
    let mut client = rig.client()?;
    wait::until("the log has a notice", async || {
        assert_eq!(client.get("/").await?.status, 200);
        Ok((notices(&rig) > 0).then_some(()))
    })
    .await?;
    for _ in 0..50 {
        assert_eq!(client.get("/").await?.status, 200);
    }
    // Counters are told at ticks.
    let no = "tidegate_health_routing_answers_total.honoured.no";
    rig.envoy.stat_reaches(no, 20).await?;
    assert_eq!(notices(&rig), 1);
    rig.envoy.stop().await
}

#[tokio::test]
async fn lists_are_gone_by_and_nothing_is_noticed() -> Result<()> {
    let mut rig = alone(&health::plan(5, Observe::Attempts)).await?;
    rig.picture_is(&[0, 1, 2, 3, 4].map(|index| (index, "available")))
        .await?;
    for _ in 0..40 {
        assert_eq!(rig.client()?.get("/").await?.status, 200);
    }
    rig.envoy
        .stat_reaches("tidegate_health_routing_answers_total.honoured.yes", 40)
        .await?;
    let answers = counted(&rig, "answers_total.honoured").await?;
    assert_eq!(answers.keys().collect::<Vec<_>>(), ["yes"]);
    assert_eq!(notices(&rig), 0);
    rig.envoy.stop().await
}

#[tokio::test]
async fn a_client_that_names_an_endpoint_is_not_obeyed() -> Result<()> {
    let mut rig = alone(&health::plan(5, Observe::Attempts)).await?;
    rig.picture_is(&[0, 1, 2, 3, 4].map(|index| (index, "available")))
        .await?;
    let own = rig.backends[2].address().to_string();
    let named = [own.clone(), format!("{own},{own},{own}")];
    let mut served = BTreeSet::new();
    for value in named.iter().cycle().take(30) {
        let request = Request::new(Method::GET, "/").header(sticky::ENDPOINT_HEADER, value);
        let answer = rig.client()?.send(request).await?;
        assert_eq!(answer.status, 200);
        served.extend(answer.header("x-served-by").map(str::to_owned));
    }
    assert!(served.len() > 3, "{served:?}");
    // What endpoints see is the filter's list: nobody is named twice.
    for request in rig.backends.iter().flat_map(|backend| backend.requests()) {
        let list = request.header(sticky::ENDPOINT_HEADER).unwrap_or_default();
        let entries: Vec<&str> = list.split(',').map(str::trim).collect();
        assert_eq!(
            entries.iter().collect::<BTreeSet<_>>().len(),
            entries.len(),
            "{list}"
        );
    }
    rig.envoy.stop().await
}
