//! Random numbers of the host, fit for keys and nonces.

use crate::{abi, error::HostError};

/// Draws `N` numbers.
///
/// # Errors
/// The host has no randomness to give; there is no substitute.
pub fn draws<const N: usize>() -> Result<[u64; N], HostError> {
    let mut bytes = vec![0_u8; N.saturating_mul(8)];
    abi::random(&mut bytes).map_err(|status| HostError::from_status("random_get", status, &[]))?;
    let mut draws = [0; N];
    for (draw, bytes) in draws.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *draw = u64::from_le_bytes(*bytes);
    }
    Ok(draws)
}
