//! Takes out what a client may not send.

use tidegate_policy::hygiene;
use tidegate_proxy::{
    HostError,
    headers::{Map, Pairs},
};

/// Removes the headers that a client may not send. All are tried; the first failure is told.
pub(crate) fn remove_reserved(headers: &Pairs, endpoint_header: &str) -> Result<(), HostError> {
    let mut result = Ok(());
    for (name, _) in headers.iter() {
        if hygiene::is_reserved(name, endpoint_header.as_bytes()) {
            result = result.and(Map::RequestHeaders.remove(name));
        }
    }
    result
}
