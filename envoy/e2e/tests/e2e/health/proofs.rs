//! What is promised in figures, with outcomes of attempts and with those of requests alone.

use anyhow::Result;
use tidegate_e2e::health::report::{FAILING_AT_MOST, P99_AT_MOST};
use tidegate_e2e::health::{Observe, dying, failing, joining, slow};

async fn slow_endpoint(observe: Observe) -> Result<()> {
    let slow = slow::run(observe).await?;
    assert!(slow.p99_ratio() <= P99_AT_MOST, "{slow:?}");
    assert_eq!(slow.ours.failed + slow.least_request.failed, 0, "{slow:?}");
    Ok(())
}

#[tokio::test]
async fn one_slow_endpoint_costs_at_most_a_third_of_what_it_costs_least_request() -> Result<()> {
    slow_endpoint(Observe::Attempts).await
}

#[tokio::test]
async fn one_slow_endpoint_costs_as_little_where_only_requests_are_seen() -> Result<()> {
    slow_endpoint(Observe::Requests).await
}

async fn failing_endpoint(observe: Observe) -> Result<()> {
    let failing = failing::run(observe).await?;
    assert!(failing.ours.share < FAILING_AT_MOST, "{failing:?}");
    // Else this would prove nothing: by its latency it is the best of all.
    assert!(failing.least_request.share > 0.2, "{failing:?}");
    Ok(())
}

#[tokio::test]
async fn an_endpoint_that_fails_at_once_gets_next_to_nothing_after_a_second() -> Result<()> {
    failing_endpoint(Observe::Attempts).await
}

#[tokio::test]
async fn an_endpoint_that_fails_at_once_gets_as_little_where_only_requests_are_seen() -> Result<()>
{
    failing_endpoint(Observe::Requests).await
}

#[tokio::test]
async fn the_share_of_a_cold_joiner_rises_as_slow_start_says() -> Result<()> {
    let joining = joining::run(Observe::Attempts).await?;
    assert_eq!(joining.quarters.len(), 4);
    for quarter in &joining.quarters {
        assert!(quarter.is_as_expected(), "{joining:?}");
    }
    Ok(())
}

#[tokio::test]
async fn an_endpoint_that_dies_fails_nothing_but_what_it_had_and_must_not_be_repeated() -> Result<()>
{
    let dying = dying::run(Observe::Attempts).await?;
    assert_eq!(dying.ours.failed, 0, "{dying:?}");
    // It died with requests under way, which were served elsewhere; with `least_request` a fifth of all are, for as long as it is a
    // member.
    assert!(dying.ours.retried > 0, "{dying:?}");
    assert!(
        dying.ours.retried * 2 < dying.least_request.retried,
        "{dying:?}"
    );
    Ok(())
}
