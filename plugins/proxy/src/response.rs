//! Answers of our own.

use crate::{abi, error::HostError, headers};

/// Is an answer that the proxy gives in place of an endpoint.
#[derive(Clone, Copy, Debug)]
pub struct LocalResponse<'a> {
    /// Is the status code.
    pub status: u16,
    /// Says why, for access logs: `response.code_details`. Spaces become underscores.
    pub details: &'a str,
    /// Are the headers besides those that the proxy writes.
    pub headers: &'a [(&'a [u8], &'a [u8])],
    /// Is the body.
    pub body: &'a [u8],
    /// Is the gRPC status, for a request that is gRPC; `None` lets the proxy derive it.
    pub grpc_status: Option<i32>,
}

/// Answers the current stream. Only the first answer of a callback counts, and whatever the
/// callback returns, the stream goes no further.
///
/// # Errors
/// The host said no.
pub fn send(response: LocalResponse<'_>) -> Result<(), HostError> {
    let pairs = headers::serialise(response.headers);
    abi::send_local_response(
        u32::from(response.status),
        response.details.as_bytes(),
        response.body,
        &pairs,
        response.grpc_status.unwrap_or(-1),
    )
    .map_err(|status| HostError::from_status("proxy_send_local_response", status, &[]))
}
