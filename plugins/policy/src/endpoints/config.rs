//! The `endpoints` block of a plugin's configuration, checked.

mod check;
mod raw;

use alloc::{format, string::String, vec::Vec};
use core::time::Duration;

pub use raw::RawEndpoints;

pub use crate::clusters::Selector;

use crate::{
    config::{format_duration, write_json_string},
    digest::fnv1a_64,
    ejection,
    membership::Listing,
    passive::FailureStatuses,
    probe,
};

/// Is the checked block.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    pub(crate) clusters: Vec<Selector>,
    pub(crate) source: Source,
    pub(crate) probe: Option<probe::Config>,
    pub(crate) drain_window: Duration,
    pub(crate) failure_statuses: FailureStatuses,
    pub(crate) ejection: Option<ejection::Config>,
    pub(crate) stale_after: Duration,
    pub(crate) status_path: Option<String>,
}

/// Says where endpoints are known from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Source {
    /// Envoy's admin.
    Admin(Admin),
    /// An HTTP server.
    Feed(Feed),
    /// Whoever serves a request.
    Learned,
    /// The configuration.
    Static(Vec<Listing>),
}

impl Source {
    /// Is the cluster that leads to the source; `None` where nobody is asked.
    #[must_use]
    pub fn cluster(&self) -> Option<&str> {
        match self {
            Self::Admin(admin) => Some(&admin.cluster),
            Self::Feed(feed) => Some(&feed.cluster),
            Self::Learned | Self::Static(_) => None,
        }
    }

    fn write_json(&self, json: &mut String) {
        match self {
            Self::Admin(admin) => {
                json.push_str("{\"admin\":{\"cluster\":");
                write_json_string(json, &admin.cluster);
                write_durations(
                    json,
                    [("interval", admin.interval), ("refresh", admin.refresh)],
                );
                json.push('}');
            }
            Self::Feed(feed) => {
                json.push_str("{\"feed\":{\"cluster\":");
                write_json_string(json, &feed.cluster);
                json.push_str(",\"path\":");
                write_json_string(json, &feed.path);
                json.push_str(",\"host\":");
                write_json_string(json, &feed.host);
                write_durations(
                    json,
                    [("interval", feed.interval), ("timeout", feed.timeout)],
                );
                json.push('}');
            }
            Self::Learned => json.push_str("{\"learned\":{}"),
            Self::Static(listings) => {
                json.push_str("{\"static\":[");
                for (index, listing) in listings.iter().enumerate() {
                    json.push_str(if index == 0 { "" } else { "," });
                    write_listing(json, listing);
                }
                json.push(']');
            }
        }
        json.push('}');
    }
}

fn write_durations<const N: usize>(json: &mut String, fields: [(&str, Duration); N]) {
    for (name, duration) in fields {
        json.push(',');
        write_json_string(json, name);
        json.push(':');
        write_json_string(json, &format_duration(duration));
    }
}

/// Writes a cluster of a static source.
fn write_listing(json: &mut String, listing: &Listing) {
    json.push_str("{\"cluster\":");
    write_json_string(json, listing.cluster());
    json.push_str(",\"endpoints\":[");
    for (index, (address, listed)) in listing.endpoints().enumerate() {
        json.push_str(if index == 0 { "" } else { "," });
        json.push_str(&format!(
            "{{\"address\":\"{address}\",\"weight\":{},\"priority\":{},\"zone\":",
            listed.weight, listed.priority
        ));
        write_json_string(json, listing.zone(listed.zone));
        json.push('}');
    }
    json.push_str("]}");
}

/// Says how Envoy's admin is asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Admin {
    /// Is the cluster that leads there.
    pub cluster: String,
    /// Is how often the counters are looked at.
    pub interval: Duration,
    /// Is how old a list gets when no counter moved.
    pub refresh: Duration,
}

/// Says how a feed is asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Feed {
    /// Is the cluster that leads there.
    pub cluster: String,
    /// Is the path.
    pub path: String,
    /// Is the `host`.
    pub host: String,
    /// Is how often it is asked.
    pub interval: Duration,
    /// Is how long an answer may take.
    pub timeout: Duration,
}

impl Config {
    /// Appends the block as JSON with every default, in the order of the documentation. Reading it
    /// gives an equal one.
    pub fn write_json(&self, json: &mut String) {
        self.write_picture(json);
        json.push_str(",\"stale_after\":");
        write_json_string(json, &format_duration(self.stale_after));
        json.push_str(",\"status_path\":");
        match &self.status_path {
            Some(path) => write_json_string(json, path),
            None => json.push_str("null"),
        }
        json.push('}');
    }

    /// Names what the picture depends on: VMs with equal digests share one. `stale_after` and
    /// `status_path`, which each reader has for itself, have no part in it.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let mut json = String::new();
        self.write_picture(&mut json);
        fnv1a_64(json.as_bytes())
    }

    /// Appends the fields that the picture depends on; the bracket stays open.
    fn write_picture(&self, json: &mut String) {
        json.push_str("{\"clusters\":[");
        for (index, selector) in self.clusters.iter().enumerate() {
            json.push_str(if index == 0 { "{" } else { ",{" });
            selector.write_json(json);
            json.push('}');
        }
        json.push_str("],\"source\":");
        self.source.write_json(json);
        json.push_str(",\"probe\":");
        match &self.probe {
            Some(probe) => probe.write_json(json),
            None => json.push_str("null"),
        }
        json.push_str(",\"drain_window\":");
        write_json_string(json, &format_duration(self.drain_window));
        json.push_str(",\"failure_statuses\":[");
        for (index, status) in self.failure_statuses.iter().enumerate() {
            json.push_str(if index == 0 { "" } else { "," });
            json.push_str(&format!("{status}"));
        }
        json.push_str("],\"ejection\":");
        match &self.ejection {
            Some(ejection) => ejection.write_json(json),
            None => json.push_str("null"),
        }
    }

    /// Are the clusters to know; none for all.
    #[must_use]
    pub fn clusters(&self) -> &[Selector] {
        &self.clusters
    }

    /// Says whether a cluster with this name is to be known. The one that leads to the source never
    /// is, whatever prefix covers it.
    #[must_use]
    pub fn knows(&self, cluster: &[u8]) -> bool {
        let is_source = self.source.cluster().map(str::as_bytes) == Some(cluster);
        let is_listed =
            self.clusters.is_empty() || self.clusters.iter().any(|selector| selector.has(cluster));
        is_listed && !is_source
    }

    /// Says where endpoints are known from.
    #[must_use]
    pub const fn source(&self) -> &Source {
        &self.source
    }

    /// Says how endpoints are probed; `None`: not at all.
    #[must_use]
    pub const fn probe(&self) -> Option<&probe::Config> {
        self.probe.as_ref()
    }

    /// Is how long an endpoint that left counts as draining.
    #[must_use]
    pub const fn drain_window(&self) -> Duration {
        self.drain_window
    }

    /// Are the statuses of an endpoint that count as its failure.
    #[must_use]
    pub const fn failure_statuses(&self) -> FailureStatuses {
        self.failure_statuses
    }

    /// Says how endpoints are ejected for their traffic's failures; `None`: not at all.
    #[must_use]
    pub const fn ejection(&self) -> Option<&ejection::Config> {
        self.ejection.as_ref()
    }

    /// Is how old the picture may get until requests do without it.
    #[must_use]
    pub const fn stale_after(&self) -> Duration {
        self.stale_after
    }

    /// Is the path that shows the picture.
    #[must_use]
    pub fn status_path(&self) -> Option<&str> {
        self.status_path.as_deref()
    }
}
