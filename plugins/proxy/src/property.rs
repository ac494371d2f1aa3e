//! What the proxy knows about a stream, typed.

use std::{marker::PhantomData, time::Duration};

use crate::{
    abi::{self, Status},
    error::HostError,
};

/// Names a property and the type of its value.
#[derive(Debug)]
pub struct Property<T> {
    /// Is the path, its segments separated by zero bytes.
    path: &'static [u8],
    value: PhantomData<fn() -> T>,
}

impl<T> Clone for Property<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Property<T> {}

/// Is the cluster that the route chose; readable once the request's headers are there.
pub const CLUSTER_NAME: Property<Vec<u8>> = Property::new(b"xds\0cluster_name");
/// Is the number of the client's connection.
pub const CONNECTION_ID: Property<u64> = Property::new(b"connection\0id");
/// Is how long the request took; readable at the end of a stream only.
pub const REQUEST_DURATION: Property<Duration> = Property::new(b"request\0duration");
/// Is the status code; readable once the response's headers are there.
pub const RESPONSE_CODE: Property<u64> = Property::new(b"response\0code");
/// Says how the response came about; `via_upstream` when an endpoint gave it.
pub const RESPONSE_CODE_DETAILS: Property<Vec<u8>> = Property::new(b"response\0code_details");
/// Is the proxy's response flags, a bit each.
pub const RESPONSE_FLAGS: Property<u64> = Property::new(b"response\0flags");
/// Is the name of the route; empty where it has none.
pub const ROUTE_NAME: Property<Vec<u8>> = Property::new(b"xds\0route_name");
/// Is the client's address with its port; the listener's trusted hops are taken into account.
pub const SOURCE_ADDRESS: Property<Vec<u8>> = Property::new(b"source\0address");
/// Is the address of the endpoint that served or was tried last; there is none before the response.
pub const UPSTREAM_ADDRESS: Property<Vec<u8>> = Property::new(b"upstream\0address");
/// Is how many attempts the router made so far.
pub const UPSTREAM_ATTEMPTS: Property<u64> = Property::new(b"upstream\0request_attempt_count");

impl<T> Property<T> {
    /// Names a property by its path: segments separated by zero bytes, none at the end.
    #[must_use]
    pub const fn new(path: &'static [u8]) -> Self {
        Self {
            path,
            value: PhantomData,
        }
    }
}

impl<T: Value> Property<T> {
    /// Reads the property of the current stream; `None` means that it has none, or none in this
    /// phase.
    ///
    /// # Errors
    /// The host said no, or the bytes are no such value.
    pub fn read(self) -> Result<Option<T>, HostError> {
        match abi::property(self.path) {
            Ok(bytes) => T::decode(bytes).map(Some).ok_or(HostError::Malformed {
                function: "proxy_get_property",
            }),
            Err(Status::NOT_FOUND) => Ok(None),
            Err(status) => Err(HostError::from_status("proxy_get_property", status, &[])),
        }
    }
}

impl Property<Vec<u8>> {
    /// Sets a property of our own, which later filters of the stream can read. The path must have
    /// one segment: Envoy does not find one of several again.
    ///
    /// # Errors
    /// There is no stream, or the host said no.
    pub fn write(self, value: &[u8]) -> Result<(), HostError> {
        abi::set_property(self.path, value).map_err(|status| {
            HostError::from_status("proxy_set_property", status, &[Status::NOT_FOUND])
        })
    }
}

/// Is a type that a property can have.
pub trait Value: Sized {
    /// Reads the host's bytes; `None` where they are no such value.
    fn decode(bytes: Vec<u8>) -> Option<Self>;
}

impl Value for Vec<u8> {
    fn decode(bytes: Vec<u8>) -> Option<Self> {
        Some(bytes)
    }
}

impl Value for String {
    fn decode(bytes: Vec<u8>) -> Option<Self> {
        Self::from_utf8(bytes).ok()
    }
}

impl Value for u64 {
    fn decode(bytes: Vec<u8>) -> Option<Self> {
        bytes.as_slice().try_into().ok().map(Self::from_le_bytes)
    }
}

impl Value for bool {
    fn decode(bytes: Vec<u8>) -> Option<Self> {
        match bytes.as_slice() {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }
}

/// Is nanoseconds with a sign in the ABI; a negative one is none.
impl Value for Duration {
    fn decode(bytes: Vec<u8>) -> Option<Self> {
        let nanoseconds = i64::from_le_bytes(bytes.as_slice().try_into().ok()?);
        u64::try_from(nanoseconds).ok().map(Self::from_nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_is_read_from_the_encoding_of_the_abi() {
        assert_eq!(u64::decode(vec![2, 1, 0, 0, 0, 0, 0, 0]), Some(258));
        assert_eq!(u64::decode(vec![2, 1]), None);
        assert_eq!(bool::decode(vec![1]), Some(true));
        assert_eq!(bool::decode(vec![2]), None);
        assert_eq!(String::decode(vec![0xff]), None);
        assert_eq!(Vec::decode(vec![0xff]), Some(vec![0xff]));
        let second = 1_000_000_000_i64;
        assert_eq!(
            Duration::decode(second.to_le_bytes().to_vec()),
            Some(Duration::from_secs(1))
        );
        assert_eq!(Duration::decode((-second).to_le_bytes().to_vec()), None);
    }

    #[test]
    fn property_without_a_host_is_refused_and_does_not_panic() {
        let error = CLUSTER_NAME.read().unwrap_err();
        assert_eq!(
            error,
            HostError::Refused {
                function: "proxy_get_property",
                status: 12
            }
        );
    }
}
