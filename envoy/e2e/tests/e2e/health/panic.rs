//! Too few endpoints are available, or none: traffic goes on, to the least bad, and the reason says so.

use anyhow::{Context, Result};
use serde_json::json;
use tidegate_e2e::endpoints::{Readiness, Rig};
use tidegate_e2e::health::{self, Observe, alone};

/// Sends a request, which has to be served, and returns the reason that was given.
async fn reason(rig: &Rig) -> Result<String> {
    let answer = rig.client()?.get("/").await?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let reason = answer
        .header("x-tidegate-reason")
        .context("no reason is given")?;
    let request = reason
        .split(';')
        .find_map(|part| part.strip_prefix("request="));
    Ok(request
        .with_context(|| format!("`{reason}` has no reason"))?
        .to_owned())
}

#[tokio::test]
async fn with_too_few_endpoints_or_none_available_requests_are_served_and_say_so() -> Result<()> {
    let plan = health::plan(5, Observe::Attempts).with_fields(&json!({ "reason_header": true }));
    let mut rig = alone(&plan).await?;
    let picture = |ready: usize| {
        [0, 1, 2, 3, 4].map(|index| {
            (
                index,
                if index < ready {
                    "available"
                } else {
                    "ejected"
                },
            )
        })
    };
    rig.picture_is(&picture(5)).await?;
    assert!(["equal", "lower_load"].contains(&reason(&rig).await?.as_str()));
    // Three of five are enough.
    for backend in &rig.backends[3..] {
        backend.set(Readiness::NotReady);
    }
    rig.picture_is(&picture(3)).await?;
    let before: usize = rig.backends[3..].iter().map(|b| b.requests().len()).sum();
    for _ in 0..20 {
        assert!(["equal", "lower_load"].contains(&reason(&rig).await?.as_str()));
    }
    let after: usize = rig.backends[3..].iter().map(|b| b.requests().len()).sum();
    assert_eq!(after, before, "an ejected endpoint was asked");
    // Two are not; they are the least bad, and are not alone.
    rig.backends[2].set(Readiness::NotReady);
    rig.picture_is(&picture(2)).await?;
    for _ in 0..20 {
        assert_eq!(reason(&rig).await?, "panic");
    }
    // Nobody says that it is ready, and everybody serves.
    for backend in &rig.backends {
        backend.set(Readiness::NotReady);
    }
    rig.picture_is(&picture(0)).await?;
    for _ in 0..40 {
        assert_eq!(reason(&rig).await?, "nobody_available");
    }
    assert!(
        rig.backends
            .iter()
            .all(|backend| !backend.requests().is_empty())
    );
    let counted = super::counted(&rig, "requests_total.reason").await?;
    assert!(counted.get("panic") >= Some(&20), "{counted:?}");
    // And back.
    for backend in &rig.backends {
        backend.set(Readiness::Ready);
    }
    rig.picture_is(&picture(5)).await?;
    assert!(["equal", "lower_load", "newcomer"].contains(&reason(&rig).await?.as_str()));
    rig.envoy.stop().await
}
