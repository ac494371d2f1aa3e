//! What all VMs with the same `vm_id` share: data and queues.
//!
//! Limits: nothing is ever evicted, so write few keys. Somebody else's plugin may share the name
//! space: begin keys with plugin and format version.

use crate::{
    abi::{self, Status},
    error::HostError,
};

/// Is a version of a shared value: whoever writes with it succeeds only if nobody wrote in between.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cas(u32);

impl Cas {
    /// Is the host's number of the version.
    pub(crate) const fn number(self) -> u32 {
        self.0
    }
}

/// Says what came of a conditional write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub enum Written {
    /// Somebody else wrote in between.
    Lost,
    /// The value is written.
    Won,
}

/// Reads a value and its version; copies all of it, so read on a tick and not per request. `None`
/// means that nobody ever wrote it; an empty one was written.
///
/// # Errors
/// The host said no.
pub fn read(key: &str) -> Result<Option<(Vec<u8>, Cas)>, HostError> {
    match abi::shared_data(key.as_bytes()) {
        Ok((value, cas)) => Ok(Some((value, Cas(cas)))),
        Err(Status::NOT_FOUND) => Ok(None),
        Err(status) => Err(HostError::from_status("proxy_get_shared_data", status, &[])),
    }
}

/// Writes a value, whatever was there.
///
/// # Errors
/// The host said no.
pub fn write(key: &str, value: &[u8]) -> Result<(), HostError> {
    abi::set_shared_data(key.as_bytes(), value, 0)
        .map_err(|status| HostError::from_status("proxy_set_shared_data", status, &[]))
}

/// Writes a value if it still has the version that was read.
///
/// # Errors
/// The host said no.
pub fn write_if(key: &str, value: &[u8], read: Cas) -> Result<Written, HostError> {
    conditional(key, value, read.0)
}

/// Writes a value if nobody ever wrote it. A host lets a write with any version succeed once for a
/// key that is missing.
///
/// # Errors
/// The host said no.
pub fn create(key: &str, value: &[u8]) -> Result<Written, HostError> {
    conditional(key, value, u32::MAX)
}

pub(crate) fn conditional(key: &str, value: &[u8], cas: u32) -> Result<Written, HostError> {
    match abi::set_shared_data(key.as_bytes(), value, cas) {
        Ok(()) => Ok(Written::Won),
        Err(Status::CAS_MISMATCH) => Ok(Written::Lost),
        Err(status) => Err(HostError::from_status("proxy_set_shared_data", status, &[])),
    }
}

/// Is a shared queue.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Queue(u32);

impl Queue {
    /// Opens a queue of this VM's name space. The VM that registers last is told when something
    /// comes.
    ///
    /// # Errors
    /// The host said no.
    pub fn register(name: &str) -> Result<Self, HostError> {
        abi::register_queue(name.as_bytes())
            .map(Self)
            .map_err(|status| HostError::from_status("proxy_register_shared_queue", status, &[]))
    }

    /// Finds a queue by `vm_id` and name; an empty `vm_id` means this VM's. `None`: nobody
    /// registered it.
    ///
    /// # Errors
    /// The host said no.
    pub fn resolve(vm_id: &str, name: &str) -> Result<Option<Self>, HostError> {
        match abi::resolve_queue(vm_id.as_bytes(), name.as_bytes()) {
            Ok(queue) => Ok(Some(Self(queue))),
            Err(Status::NOT_FOUND) => Ok(None),
            Err(status) => Err(HostError::from_status(
                "proxy_resolve_shared_queue",
                status,
                &[],
            )),
        }
    }

    /// Appends an entry.
    ///
    /// # Errors
    /// The queue is gone.
    pub fn enqueue(self, value: &[u8]) -> Result<(), HostError> {
        abi::enqueue(self.0, value)
            .map_err(|status| HostError::from_status("proxy_enqueue_shared_queue", status, &[]))
    }

    /// Takes the oldest entry; `None` when there is none.
    ///
    /// # Errors
    /// The queue is gone.
    pub fn dequeue(self) -> Result<Option<Vec<u8>>, HostError> {
        match abi::dequeue(self.0) {
            Ok(value) => Ok(Some(value)),
            Err(Status::EMPTY) => Ok(None),
            Err(status) => Err(HostError::from_status(
                "proxy_dequeue_shared_queue",
                status,
                &[],
            )),
        }
    }
}
