//! Requests of our own.

use std::time::Duration;

use crate::{abi, error::HostError, headers};

/// Is the id of a call-out, unique within a VM while it runs.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct CallId(u32);

impl CallId {
    pub(crate) const fn new(id: u32) -> Self {
        Self(id)
    }
}

/// Sends a request to a cluster. `:method`, `:path` and `:authority` are required.
///
/// The answer comes to [`Plugin::call_response`](crate::Plugin::call_response), a time-out as a
/// 504. `timeout` is rounded up to milliseconds; zero means none. Never call it while a plugin is
/// being configured: it crashes Envoy 1.40 where the plugin is an upstream filter. The first tick
/// is soon enough.
///
/// # Errors The cluster is not known, has no endpoint, or a required header is missing. No answer
/// comes then.
pub fn dispatch(
    cluster: &str,
    request_headers: &[(&[u8], &[u8])],
    body: &[u8],
    timeout: Duration,
) -> Result<CallId, HostError> {
    let timeout_ms = timeout.as_nanos().div_ceil(1_000_000);
    let timeout_ms = u32::try_from(timeout_ms).unwrap_or(u32::MAX);
    let pairs = headers::serialise(request_headers);
    let trailers = headers::serialise(&[]);
    abi::http_call(cluster.as_bytes(), &pairs, body, &trailers, timeout_ms)
        .map(CallId)
        .map_err(|status| HostError::from_status("proxy_http_call", status, &[]))
}
