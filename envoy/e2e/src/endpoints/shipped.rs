//! Which configuration is to run.

use std::net::SocketAddr;

use anyhow::Result;

use super::ADMIN_CLUSTER;
use crate::bootstrap::{Bootstrap, HEALTH_ROUTING, STACK, STICKY_SESSION};
use crate::discovery::Discovery;
use crate::sticky;

/// A shipped configuration that knows its endpoints, and the plugin in it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Shipped {
    /// The file's name without its extension.
    pub file: &'static str,
    /// The name of the plugin's filters, the listener's and the cluster's.
    pub filter: &'static str,
    /// The plugin's module.
    pub module: &'static str,
    /// Where the rule of the cluster is in the plugin's configuration, as a JSON pointer.
    pub rule: &'static str,
}

impl Shipped {
    /// Routing by health alone.
    pub const HEALTH_ROUTING: Self = Self {
        file: "health-routing",
        filter: HEALTH_ROUTING,
        module: "health-routing",
        rule: "/clusters/0",
    };

    /// All filters in one module.
    pub const STACK: Self = Self {
        file: "stack",
        filter: STACK,
        module: "stack",
        rule: "/health_routing/clusters/0",
    };

    /// Sticky sessions that follow their endpoints.
    pub const STICKY_SESSION: Self = Self {
        file: "sticky-session-endpoints",
        filter: STICKY_SESSION,
        module: "sticky-session",
        rule: "/clusters/0",
    };

    /// Returns the configuration with this discovery, and with this server for Envoy's admin.
    ///
    /// # Errors
    /// The module cannot be built, or the file is not what it was.
    pub fn bootstrap(self, discovery: &Discovery, admin: SocketAddr) -> Result<Bootstrap> {
        let mut bootstrap = Bootstrap::shipped(self.file)?;
        bootstrap.discovered(sticky::CLUSTER, discovery)?;
        bootstrap.endpoints(ADMIN_CLUSTER, &[admin])?;
        bootstrap.module_everywhere(self.filter, &tidegate_cli::build::module_path(self.module)?);
        Ok(bootstrap)
    }
}
