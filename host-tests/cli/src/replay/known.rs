//! The endpoints that can serve a replayed request.

use std::collections::{HashMap, HashSet};

/// The endpoints that the recording knows, by cluster.
#[derive(Debug, Default)]
pub(super) struct Known {
    by_cluster: HashMap<String, HashSet<String>>,
}

impl Known {
    /// Takes note of an endpoint.
    pub(super) fn learn(&mut self, cluster: &str, address: &str) {
        if self
            .by_cluster
            .get(cluster)
            .is_some_and(|known| known.contains(address))
        {
            return;
        }
        self.by_cluster
            .entry(cluster.to_owned())
            .or_default()
            .insert(address.to_owned());
    }

    /// Says whether a cluster has an endpoint; where the cluster isn't known, whether any has.
    pub(super) fn knows(&self, cluster: &str, address: &str) -> bool {
        if cluster.is_empty() {
            return self
                .by_cluster
                .values()
                .any(|known| known.contains(address));
        }
        self.by_cluster
            .get(cluster)
            .is_some_and(|known| known.contains(address))
    }
}
