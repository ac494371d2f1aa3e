//! Bodies and configurations.

use crate::{
    abi::{self, Status},
    error::HostError,
};

/// Names a buffer of the host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum Buffer {
    /// The request's body.
    RequestBody = 0,
    /// The response's body.
    ResponseBody = 1,
    /// The body of a call-out's response.
    CallResponseBody = 4,
}

/// Is the plugin's configuration in the ABI's numbering.
const PLUGIN_CONFIGURATION: u32 = 7;
/// Is the VM's configuration in the ABI's numbering.
const VM_CONFIGURATION: u32 = 6;

/// Reads at most `max` bytes from `start` on. Past the end there are none.
///
/// # Errors
/// The buffer is not there in this phase.
pub fn read(buffer: Buffer, start: usize, max: usize) -> Result<Vec<u8>, HostError> {
    get(buffer as u32, start, max)
}

/// Puts `value` in front of the buffer's bytes.
///
/// # Errors
/// The buffer is not there in this phase, or may not be written.
pub fn prepend(buffer: Buffer, value: &[u8]) -> Result<(), HostError> {
    set(buffer, 0, 0, value)
}

/// Puts `value` behind the buffer's bytes.
///
/// # Errors
/// The buffer is not there in this phase, or may not be written.
pub fn append(buffer: Buffer, value: &[u8]) -> Result<(), HostError> {
    set(buffer, usize::MAX, 0, value)
}

/// Puts `value` in place of the buffer's bytes. Mind `content-length`: the host does not.
///
/// # Errors
/// The buffer is not there in this phase, or may not be written.
pub fn replace(buffer: Buffer, value: &[u8]) -> Result<(), HostError> {
    set(buffer, 0, usize::MAX, value)
}

/// Reads the configuration of the VM.
///
/// # Errors
/// The host has none to show.
pub fn vm_configuration() -> Result<Vec<u8>, HostError> {
    get(VM_CONFIGURATION, 0, usize::MAX)
}

/// Reads the configuration of the plugin, while it is being configured.
pub(crate) fn plugin_configuration() -> Result<Vec<u8>, HostError> {
    get(PLUGIN_CONFIGURATION, 0, usize::MAX)
}

fn get(kind: u32, start: usize, max: usize) -> Result<Vec<u8>, HostError> {
    abi::buffer_bytes(kind, start, max).map_err(|status| {
        HostError::from_status("proxy_get_buffer_bytes", status, &[Status::NOT_FOUND])
    })
}

fn set(buffer: Buffer, start: usize, size: usize, value: &[u8]) -> Result<(), HostError> {
    abi::set_buffer_bytes(buffer as u32, start, size, value).map_err(|status| {
        HostError::from_status("proxy_set_buffer_bytes", status, &[Status::NOT_FOUND])
    })
}
