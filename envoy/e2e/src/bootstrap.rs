//! An Envoy configuration as a tree: the shipped files, with what a test has to replace.
//!
//! Why: tests run the very files that users get. They are read as YAML, edited by structure (addresses, ports, paths,
//! and whatever the one property under test is about) and written as JSON, which Envoy reads too and in which no string
//! can be taken for a boolean.
#![expect(
    clippy::indexing_slicing,
    reason = "a JSON value that has no such field is null when it is read, and gets one when it is written"
)]

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};

use crate::discovery::Discovery;
use crate::paths;

/// The filter name under which the shipped configurations run health-routing.
pub const HEALTH_ROUTING: &str = "tidegate.health_routing";

/// The filter name under which the shipped configurations run all filters in one module.
pub const STACK: &str = "tidegate.stack";

/// The filter name under which the shipped configurations run sticky-session.
pub const STICKY_SESSION: &str = "tidegate.sticky_session";

/// One Envoy configuration.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    root: Value,
}

impl Bootstrap {
    /// Reads a file of `envoy/bootstrap`, named without its extension.
    ///
    /// # Errors
    /// There is no such file, or it is not YAML.
    pub fn shipped(name: &str) -> Result<Self> {
        let path = paths::bootstraps().join(format!("{name}.yaml"));
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read `{}`", path.display()))?;
        Self::parse(&text).with_context(|| format!("cannot parse `{}`", path.display()))
    }

    /// Reads a configuration from YAML or JSON text.
    ///
    /// # Errors
    /// The text is not YAML.
    pub fn parse(text: &str) -> Result<Self> {
        Ok(Self {
            root: serde_norway::from_str(text)?,
        })
    }

    /// Writes the configuration as JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        self.root.to_string()
    }

    /// Returns the node at a JSON pointer, for what the other methods do not cover.
    ///
    /// # Errors
    /// There is no such node.
    pub fn at(&mut self, pointer: &str) -> Result<&mut Value> {
        self.root
            .pointer_mut(pointer)
            .with_context(|| format!("the configuration has no `{pointer}`"))
    }

    /// Makes the kernel choose every port that Envoy listens on.
    ///
    /// # Errors
    /// A listener has no socket address.
    pub fn ephemeral_ports(&mut self) -> Result<&mut Self> {
        *self.at("/admin/address/socket_address/port_value")? = json!(0);
        for listener in self.listeners()? {
            *listener
                .pointer_mut("/address/socket_address/port_value")
                .context("a listener without a socket address")? = json!(0);
        }
        Ok(self)
    }

    /// Gives a cluster these endpoints instead of its own.
    ///
    /// # Errors
    /// There is no such cluster, or it has no load assignment.
    pub fn endpoints(&mut self, cluster: &str, addresses: &[SocketAddr]) -> Result<&mut Self> {
        let endpoints: Vec<Value> = addresses
            .iter()
            .map(|address| {
                let socket =
                    json!({ "address": address.ip().to_string(), "port_value": address.port() });
                json!({ "endpoint": { "address": { "socket_address": socket } } })
            })
            .collect();
        *self
            .cluster(cluster)?
            .pointer_mut("/load_assignment/endpoints")
            .context("a cluster without a load assignment")? =
            json!([{ "lb_endpoints": endpoints }]);
        Ok(self)
    }

    /// Returns a cluster by name.
    ///
    /// # Errors
    /// There is no such cluster.
    pub fn cluster(&mut self, name: &str) -> Result<&mut Value> {
        self.at("/static_resources/clusters")?
            .as_array_mut()
            .and_then(|clusters| clusters.iter_mut().find(|cluster| cluster["name"] == name))
            .with_context(|| format!("the configuration has no cluster `{name}`"))
    }

    /// Adds a copy of a cluster under another name, with a route for a path prefix in front of the others.
    ///
    /// # Errors
    /// There is no such cluster, or no routes.
    pub fn second_cluster(&mut self, like: &str, name: &str, prefix: &str) -> Result<&mut Self> {
        let mut copy = self.cluster(like)?.clone();
        copy["name"] = json!(name);
        copy["load_assignment"]["cluster_name"] = json!(name);
        let clusters = self.at("/static_resources/clusters")?;
        clusters
            .as_array_mut()
            .context("clusters are not a list")?
            .push(copy);
        let manager = self.connection_manager()?;
        let routes = manager
            .pointer_mut("/route_config/virtual_hosts/0/routes")
            .and_then(Value::as_array_mut)
            .context("the connection manager has no routes")?;
        let mut route = routes
            .first()
            .cloned()
            .context("the connection manager has no route")?;
        route["name"] = json!(name);
        route["match"] = json!({ "prefix": prefix });
        route["route"]["cluster"] = json!(name);
        routes.insert(0, route);
        Ok(self)
    }

    /// Returns the settings of the first listener's HTTP connection manager.
    ///
    /// # Errors
    /// There is none.
    pub fn connection_manager(&mut self) -> Result<&mut Value> {
        self.at("/static_resources/listeners/0/filter_chains/0/filters/0/typed_config")
    }

    /// Returns the HTTP filters of the first listener, in order.
    ///
    /// # Errors
    /// There are none.
    pub fn http_filters(&mut self) -> Result<&mut Vec<Value>> {
        // A look must not make the field: another kind of listener has none.
        self.connection_manager()?
            .get_mut("http_filters")
            .and_then(Value::as_array_mut)
            .context("the connection manager has no HTTP filters")
    }

    /// Removes an HTTP filter.
    ///
    /// # Errors
    /// There is no filter of that name.
    pub fn without_filter(&mut self, name: &str) -> Result<&mut Self> {
        let filters = self.http_filters()?;
        let before = filters.len();
        filters.retain(|filter| filter["name"] != name);
        if filters.len() == before {
            bail!("the configuration has no filter `{name}`");
        }
        Ok(self)
    }

    /// Returns the plugin settings (Envoy's `PluginConfig`) of a WebAssembly filter.
    ///
    /// # Errors
    /// There is no filter of that name.
    pub fn plugin(&mut self, filter: &str) -> Result<&mut Value> {
        self.http_filters()?
            .iter_mut()
            .find(|candidate| candidate["name"] == filter)
            .and_then(|found| found.pointer_mut("/typed_config/config"))
            .with_context(|| format!("the configuration has no plugin `{filter}`"))
    }

    /// Makes a WebAssembly filter load this module.
    ///
    /// # Errors
    /// There is no filter of that name.
    pub fn module(&mut self, filter: &str, path: &Path) -> Result<&mut Self> {
        *self
            .plugin(filter)?
            .pointer_mut("/vm_config/code/local/filename")
            .context("the plugin's code is not a file")? = json!(path);
        Ok(self)
    }

    /// Returns the JSON that a WebAssembly filter is configured with.
    ///
    /// # Errors
    /// There is no filter of that name, or its configuration is not a `StringValue` holding JSON.
    pub fn plugin_configuration(&mut self, filter: &str) -> Result<Value> {
        let configuration = &self.plugin(filter)?["configuration"];
        if configuration["@type"] != "type.googleapis.com/google.protobuf.StringValue" {
            bail!("the configuration of `{filter}` is not a StringValue");
        }
        let text = configuration["value"]
            .as_str()
            .ok_or_else(|| anyhow!("the StringValue holds no string"))?;
        Ok(serde_json::from_str(text)?)
    }

    /// Configures a WebAssembly filter with this JSON.
    ///
    /// # Errors
    /// There is no filter of that name.
    pub fn configure(&mut self, filter: &str, configuration: &Value) -> Result<&mut Self> {
        self.plugin(filter)?["configuration"] = json!({
            "@type": "type.googleapis.com/google.protobuf.StringValue",
            "value": configuration.to_string(),
        });
        Ok(self)
    }

    /// Lets discovery say who the members of a cluster are.
    ///
    /// # Errors
    /// There is no such cluster.
    pub fn discovered(&mut self, cluster: &str, discovery: &Discovery) -> Result<&mut Self> {
        // Who asks for discovery says who it is.
        self.root["node"] = json!({ "id": "gateway", "cluster": "gateway" });
        let cluster = self.cluster(cluster)?;
        cluster["type"] = json!("EDS");
        cluster["eds_cluster_config"] = discovery.source();
        if let Some(cluster) = cluster.as_object_mut() {
            cluster.remove("load_assignment");
        }
        // What changes takes effect at once: else a change of health alone waits for up to a second.
        cluster["common_lb_config"]["update_merge_window"] = json!("0s");
        Ok(self)
    }

    /// Makes every WebAssembly filter of that name load this module, those of clusters too.
    pub fn module_everywhere(&mut self, filter: &str, path: &Path) -> &mut Self {
        self.each_plugin(filter, &mut |plugin| {
            if let Some(filename) = plugin.pointer_mut("/vm_config/code/local/filename") {
                *filename = json!(path);
            }
        });
        self
    }

    /// Edits the JSON that the WebAssembly filters of that name are configured with, those of clusters too.
    ///
    /// # Errors
    /// There is none, or its configuration is not JSON.
    pub fn configure_everywhere(
        &mut self,
        filter: &str,
        edit: &mut dyn FnMut(&mut Value),
    ) -> Result<()> {
        let (mut found, mut problem) = (false, None);
        self.each_plugin(filter, &mut |plugin| {
            found = true;
            let value = &mut plugin["configuration"]["value"];
            match serde_json::from_str(value.as_str().unwrap_or_default()) {
                Ok(mut configuration) => {
                    edit(&mut configuration);
                    *value = json!(configuration.to_string());
                }
                Err(error) => problem = Some(error),
            }
        });
        match problem {
            None if found => Ok(()),
            None => bail!("the configuration has no plugin `{filter}`"),
            Some(error) => Err(error.into()),
        }
    }

    /// Visits the plugin settings of every filter of that name.
    fn each_plugin(&mut self, filter: &str, visit: &mut dyn FnMut(&mut Value)) {
        each_object(&mut self.root, &mut |object| {
            if object.get("name").is_some_and(|name| name == filter)
                && let Some(typed) = object.get_mut("typed_config")
                && let Some(plugin) = typed.get_mut("config")
            {
                visit(plugin);
            }
        });
    }

    /// Puts the tap filters of `record-traffic` in front of the other HTTP filters.
    ///
    /// # Errors
    /// One of the two configurations is not what it was.
    pub fn with_taps(&mut self) -> Result<&mut Self> {
        let mut recorder = Self::shipped("record-traffic")?;
        let taps = recorder.http_filters()?.iter().filter(|filter| {
            filter["name"]
                .as_str()
                .is_some_and(|name| name.starts_with("tap-"))
        });
        let taps: Vec<Value> = taps.cloned().collect();
        self.http_filters()?.splice(0..0, taps);
        Ok(self)
    }

    /// Sends every file access log of the configuration to this file.
    pub fn access_log(&mut self, path: &Path) -> &mut Self {
        each_object(&mut self.root, &mut |object| {
            let kind = object
                .get("@type")
                .and_then(Value::as_str)
                .unwrap_or_default();
            if kind.ends_with("FileAccessLog") {
                object.insert("path".to_owned(), json!(path));
            }
        });
        self
    }

    /// Makes every tap filter of the configuration write its files with this prefix plus the filter's name.
    pub fn tap_prefix(&mut self, folder: &Path) -> &mut Self {
        let filters = self.http_filters().map(std::mem::take).unwrap_or_default();
        let replaced = filters
            .into_iter()
            .map(|mut filter| {
                let name = filter["name"].as_str().unwrap_or_default().to_owned();
                let sink = "/typed_config/common_config/static_config/output_config/sinks/0/file_per_tap/path_prefix";
                if let Some(prefix) = filter.pointer_mut(sink) {
                    *prefix = json!(folder.join(name).join("trace"));
                }
                filter
            })
            .collect();
        if let Ok(filters) = self.http_filters() {
            *filters = replaced;
        }
        self
    }

    fn listeners(&mut self) -> Result<&mut Vec<Value>> {
        self.at("/static_resources/listeners")?
            .as_array_mut()
            .context("listeners are not a list")
    }
}

fn each_object(value: &mut Value, visit: &mut impl FnMut(&mut serde_json::Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            visit(object);
            for child in object.values_mut() {
                each_object(child, visit);
            }
        }
        Value::Array(items) => {
            for item in items {
                each_object(item, visit);
            }
        }
        _ => {}
    }
}
