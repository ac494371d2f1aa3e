//! What a running Envoy says about itself: its version, its clusters and their endpoints, which a tap lacks.

use serde::Deserialize;

use super::super::header::Cluster;
use super::admin::{self, AdminAddress};
use super::error::LiveError;

/// What a running Envoy says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Its version, as `1.40.0`; `None` where the admin doesn't allow `/server_info`.
    pub version: Option<String>,
    /// Its clusters with their endpoints; `None` where the admin doesn't allow `/clusters`.
    pub clusters: Option<Vec<Cluster>>,
}

/// Asks an Envoy about itself. What it doesn't tell stays unknown: a recording is worth having without it.
#[must_use]
pub fn look_around(address: &AdminAddress) -> Surroundings {
    let Ok(runtime) = admin::runtime() else {
        return Surroundings::default();
    };
    runtime.block_on(async {
        let clusters = admin::get(address, "/clusters?format=json").await;
        let info = admin::get(address, "/server_info").await;
        let told = |answer: Result<Option<String>, LiveError>| answer.ok().flatten();
        Surroundings {
            version: told(info).as_deref().and_then(version),
            clusters: told(clusters).as_deref().and_then(endpoints),
        }
    })
}

#[derive(Deserialize)]
struct Info {
    version: String,
}

#[derive(Deserialize)]
struct Clusters {
    #[serde(default)]
    cluster_statuses: Vec<ClusterStatus>,
}

#[derive(Deserialize)]
struct ClusterStatus {
    name: String,
    #[serde(default)]
    host_statuses: Vec<HostStatus>,
}

#[derive(Deserialize)]
struct HostStatus {
    address: Option<Address>,
}

#[derive(Deserialize)]
struct Address {
    socket_address: Option<SocketAddress>,
}

#[derive(Deserialize)]
struct SocketAddress {
    address: String,
    port_value: u16,
}

/// Takes the version out of `COMMIT/VERSION/…`.
fn version(text: &str) -> Option<String> {
    let info: Info = serde_json::from_str(text).ok()?;
    info.version.split('/').nth(1).map(str::to_owned)
}

/// Takes the endpoints that have an address and a port; `None` for what isn't Envoy's list.
fn endpoints(text: &str) -> Option<Vec<Cluster>> {
    let clusters: Clusters = serde_json::from_str(text).ok()?;
    let clusters = clusters.cluster_statuses.into_iter().map(|cluster| {
        let endpoints = cluster.host_statuses.into_iter().filter_map(|host| {
            let SocketAddress {
                address,
                port_value,
            } = host.address?.socket_address?;
            Some(if address.contains(':') {
                format!("[{address}]:{port_value}")
            } else {
                format!("{address}:{port_value}")
            })
        });
        Cluster {
            endpoints: endpoints.collect(),
            name: cluster.name,
        }
    });
    Some(clusters.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_have_the_endpoints_with_an_address() {
        let text = r#"{"cluster_statuses":[{"name":"a","host_statuses":[
            {"address":{"socket_address":{"address":"10.0.0.1","port_value":80}},"weight":1},
            {"address":{"socket_address":{"address":"::1","port_value":81}}},
            {"address":{"pipe":{"path":"/run/a"}}}]},{"name":"b","added_via_api":true}]}"#;
        let cluster = |name: &str, endpoints: &[&str]| Cluster {
            name: name.to_owned(),
            endpoints: endpoints.iter().map(|&text| text.to_owned()).collect(),
        };
        let expected = vec![
            cluster("a", &["10.0.0.1:80", "[::1]:81"]),
            cluster("b", &[]),
        ];
        assert_eq!(endpoints(text), Some(expected));
        assert_eq!(endpoints("not JSON"), None);
    }

    #[test]
    fn the_version_is_the_number_only() {
        let text = r#"{"version":"9e55/1.40.0/Clean/RELEASE/BoringSSL","state":"LIVE"}"#;
        assert_eq!(version(text).as_deref(), Some("1.40.0"));
    }
}
