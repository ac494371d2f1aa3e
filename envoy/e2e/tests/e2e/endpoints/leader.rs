//! One VM leads; when it dies, another one does.

use std::time::Duration;

use anyhow::{Context, Result};
use tidegate_e2e::discovery::Health::Healthy;
use tidegate_e2e::endpoints::{Plan, Rig};
use tidegate_e2e::wait;

use super::faults::{order, with_neighbour};
use super::sessions_on;
use crate::affinity::served_by;

/// The longest time without a probe around a takeover: the lease and a tick of whoever takes it, and the interval with its jitter,
/// in which the new leader asks each endpoint once.
const LONGEST_SILENCE: Duration = Duration::from_millis(2_000 + 2 * 250 + 1_500);

#[tokio::test]
async fn when_the_leaders_vm_dies_another_leads_and_no_request_is_lost() -> Result<()> {
    let mut rig = Rig::start_edited(&Plan::of(3), with_neighbour).await?;
    // The neighbour ticks more often and is therefore the first to lead: it can be told to die.
    wait::until("the neighbour leads", async || {
        let stats = rig.envoy.stats().await?;
        let leads = stats
            .iter()
            .any(|(name, value)| name.ends_with("neighbour_leads") && *value > 0);
        Ok(leads.then_some(()))
    })
    .await?;
    rig.picture_is(&[0, 1, 2].map(|index| (index, "available")))
        .await?;
    let mut sessions = sessions_on(&rig, 1, 4).await?;
    let home = rig.backends[1].address().to_string();
    order(&mut rig.client()?, "die").await?;
    rig.envoy.stat_reaches("neighbour_deaths", 1).await?;
    let dead = rig.probes();
    wait::until("somebody probes again", async || {
        for client in &mut sessions {
            client.disconnect();
            assert_eq!(served_by(client, "/").await?, home);
        }
        Ok((rig.probes().len() > dead.len() + 6).then_some(()))
    })
    .await?;
    let probes = rig.probes();
    let times: Vec<_> = probes.iter().skip(dead.len().saturating_sub(2)).collect();
    let silence = times
        .windows(2)
        .map(|pair| pair[1].saturating_duration_since(*pair[0]))
        .max()
        .context("no probes")?;
    println!("longest time without a probe: {silence:?}");
    assert!(silence <= LONGEST_SILENCE, "{silence:?} without a probe");
    // The new leader goes on where the dead one ended, and learns.
    rig.publish(&[(0, Healthy), (1, Healthy)])?;
    rig.picture_is(&[(0, "available"), (1, "available"), (2, "vanished")])
        .await?;
    assert!(
        rig.envoy.log().contains("proxy_on_tick"),
        "the VM did not die"
    );
    rig.envoy.stop().await
}
