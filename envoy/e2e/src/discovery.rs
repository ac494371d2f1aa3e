//! Discovery (EDS) by files that Envoy watches: a cluster's members come and go without a restart.
//!
//! Why: what follows the membership has to be seen following it, and a file is the smallest control plane that Envoy has.
//! Limits: a whole assignment at a time. Envoy looks at a file that was moved to its place, not at one that was written there.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// A cluster's members, for a test that changes them.
#[derive(Clone, Debug)]
pub struct Discovery {
    cluster: String,
    folder: PathBuf,
}

/// What discovery says of a member.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Health {
    /// Serves, at less than its full strength.
    Degraded,
    /// Finishes what it has.
    Draining,
    /// Serves.
    #[default]
    Healthy,
    /// Does not serve.
    Unhealthy,
}

impl Health {
    /// Returns the name in Envoy's API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Degraded => "DEGRADED",
            Self::Draining => "DRAINING",
            Self::Healthy => "HEALTHY",
            Self::Unhealthy => "UNHEALTHY",
        }
    }
}

impl Discovery {
    /// Speaks for `cluster` by a file in `folder`, which is to be watched for this alone.
    #[must_use]
    pub fn new(cluster: &str, folder: &Path) -> Self {
        Self {
            cluster: cluster.to_owned(),
            folder: folder.to_owned(),
        }
    }

    /// Returns what an EDS cluster has in its `eds_cluster_config`.
    #[must_use]
    pub fn source(&self) -> Value {
        source(&self.folder, &self.cluster)
    }

    /// Says who the members are from now on.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn publish(&self, members: &[(SocketAddr, Health)]) -> Result<()> {
        let members: Vec<Value> = members
            .iter()
            .map(|(address, health)| {
                let socket =
                    json!({ "address": address.ip().to_string(), "port_value": address.port() });
                json!({
                    "endpoint": { "address": { "socket_address": socket } },
                    "health_status": health.name(),
                })
            })
            .collect();
        let endpoints = json!([{ "locality": {}, "lb_endpoints": members }]);
        publish(&self.folder, &self.cluster, &endpoints)
    }
}

/// Returns the `eds_cluster_config` of a cluster whose members are in a folder's file.
pub(crate) fn source(folder: &Path, cluster: &str) -> Value {
    json!({ "eds_config": {
        "resource_api_version": "V3",
        "path_config_source": {
            "path": file(folder, cluster),
            "watched_directory": { "path": folder },
        },
    } })
}

/// Replaces a cluster's members by these endpoints of a `ClusterLoadAssignment`.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn publish(folder: &Path, cluster: &str, endpoints: &Value) -> Result<()> {
    let assignment = json!({
        "version_info": "1",
        "resources": [{
            "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            "cluster_name": cluster,
            "endpoints": endpoints,
        }],
    });
    // Envoy looks at a file that was moved to its place.
    let path = file(folder, cluster);
    let new = path.with_extension("new");
    std::fs::write(&new, assignment.to_string())
        .and_then(|()| std::fs::rename(&new, &path))
        .with_context(|| format!("cannot write `{}`", path.display()))
}

fn file(folder: &Path, cluster: &str) -> PathBuf {
    folder.join(format!("{cluster}.json"))
}
