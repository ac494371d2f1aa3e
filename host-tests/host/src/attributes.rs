//! Facts about streams that guests read as properties.

/// What is known about a stream when it opens. An empty string means that the proxy does not know.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct StreamAttributes {
    /// Property `connection.id`.
    pub connection_id: u64,
    /// Client address as `ip:port`: properties `source.address` and `source.port`.
    pub source_address: String,
    /// Listener address as `ip:port`: properties `destination.address` and `destination.port`.
    pub destination_address: String,
    /// `HTTP/1.1`, `HTTP/2`: property `request.protocol`.
    pub protocol: String,
    /// Property `request.id`; empty: the header `x-request-id`.
    pub request_id: String,
    /// Cluster that the route chose: property `xds.cluster_name`. Empty: no route matched.
    pub cluster_name: String,
    /// Property `xds.route_name`.
    pub route_name: String,
    /// Property `xds.virtual_host_name`.
    pub virtual_host_name: String,
    /// Property `xds.filter_chain_name`.
    pub filter_chain_name: String,
    /// Property `xds.listener_direction`: 0 unspecified, 1 inbound, 2 outbound.
    pub listener_direction: u8,
    /// Server name that the client asked for in TLS: property `connection.requested_server_name`.
    pub requested_server_name: String,
    /// Property `connection.tls_version`; empty: not TLS.
    pub tls_version: String,
    /// Property `connection.mtls`.
    pub mtls: bool,
    /// Further properties: path with dots (`xds.node.id`), value in the property's encoding. They
    /// win over what the host models.
    pub extra: Vec<(String, Vec<u8>)>,
}

/// What is known once an endpoint was chosen.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct UpstreamAttributes {
    /// Address of the endpoint as `ip:port`: properties `upstream.address` and `upstream.port`.
    pub address: String,
    /// Local address of the upstream connection: property `upstream.local_address`.
    pub local_address: String,
    /// Property `upstream.request_attempt_count`; 1 without retries.
    pub attempt_count: u64,
    /// Property `upstream.transport_failure_reason`; empty: none.
    pub transport_failure_reason: String,
    /// Property `upstream.cx_pool_ready_duration` in nanoseconds; `None`: no connection yet.
    pub cx_pool_ready_duration_ns: Option<u64>,
}

/// What is known about the response besides its bytes.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ResponseAttributes {
    /// Envoy's response flags as bits: property `response.flags`.
    pub flags: u64,
    /// Property `response.code_details`; empty: `via_upstream` once headers came.
    pub code_details: String,
    /// Time to the last byte of the upstream: property `response.backend_latency` in nanoseconds.
    pub backend_latency_ns: Option<u64>,
}
