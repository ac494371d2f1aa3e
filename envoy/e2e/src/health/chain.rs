//! Sticky-session and health-routing one behind the other, as modules of their own.
//!
//! Model: the configuration of sticky-session, with the filters of health-routing's: the listener's behind the one that is there, the
//! cluster's in place of it, since one that reports attempts is enough. What both must know alike is sticky-session's.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::bootstrap::{Bootstrap, HEALTH_ROUTING, STICKY_SESSION};
use crate::endpoints::{Plan, Rig, Shipped};
use crate::sticky;

/// Starts both, as a plan of sticky-session's says.
///
/// # Errors
/// As [`Rig::start`].
pub async fn start(plan: &Plan) -> Result<Rig> {
    Rig::start_edited(plan, behind).await
}

/// Puts health-routing behind sticky-session.
fn behind(bootstrap: &mut Bootstrap) -> Result<()> {
    const OPTIONS: &str = "typed_extension_protocol_options";
    let block = bootstrap.plugin_configuration(STICKY_SESSION)?;
    let block = block.get("endpoints").context("no `endpoints`")?.clone();
    let shipped = Shipped::HEALTH_ROUTING;
    let mut other = Bootstrap::shipped(shipped.file)?;
    let module = tidegate_cli::build::module_path(shipped.module)?;
    other.module_everywhere(HEALTH_ROUTING, &module);
    other.configure_everywhere(HEALTH_ROUTING, &mut |configuration| {
        configuration["endpoints"] = block.clone();
    })?;
    let named = |filters: &[Value], name: &str| {
        let found = filters.iter().position(|filter| filter["name"] == name);
        found.with_context(|| format!("no filter `{name}`"))
    };
    let filters = other.http_filters()?;
    let filter = filters.swap_remove(named(filters, HEALTH_ROUTING)?);
    let filters = bootstrap.http_filters()?;
    let place = named(filters, STICKY_SESSION)? + 1;
    filters.insert(place, filter);
    let options = other.cluster(sticky::CLUSTER)?[OPTIONS].take();
    bootstrap.cluster(sticky::CLUSTER)?[OPTIONS] = options;
    Ok(())
}
