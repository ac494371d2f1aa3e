//! When a VM sends a request to an endpoint that is on trial.

use alloc::vec::Vec;
use core::time::Duration;

use crate::{snapshot::EndpointAddress, units::WallTime};

/// Is how many trials a VM remembers for one cluster. More endpoints on trial wait for a place, or
/// for other VMs.
pub const MAX_TRIALS: usize = 64;

/// Is the time over which VMs spread their trials of one endpoint, and after which one tries again
/// that heard nothing. Each VM draws its moment: of 16 on average `1 + 16·0.5/5` have tried until
/// all know the first one's result, half a second later. Shorter, and each VM sends a request to an
/// endpoint that is down; longer, and one VM alone readmits late.
pub const TRIAL_SPREAD: Duration = Duration::from_secs(5);

/// Lists the endpoints on trial, with the moment of the next request. O(64), 40 bytes each.
#[derive(Clone, Debug, Default)]
pub struct Trials {
    due: Vec<(EndpointAddress, WallTime)>,
}

impl Trials {
    /// Starts without one.
    #[must_use]
    pub const fn new() -> Self {
        Self { due: Vec::new() }
    }

    /// Takes who is on trial by a new picture: one draw for each that was not by the last one.
    pub fn on_picture(
        &mut self,
        probing: impl Iterator<Item = EndpointAddress> + Clone,
        now: WallTime,
        draw: &mut dyn FnMut() -> u64,
    ) {
        self.due
            .retain(|(address, _)| probing.clone().any(|other| other == *address));
        for address in probing {
            if self.due.len() >= MAX_TRIALS {
                return;
            }
            if !self.due.iter().any(|(other, _)| *other == address) {
                self.due.push((address, later(now, draw())));
            }
        }
    }

    /// Is the endpoint to send this request to, if one is due; it is due again after
    /// [`TRIAL_SPREAD`], should nothing have come of it.
    pub fn take(&mut self, now: WallTime) -> Option<EndpointAddress> {
        let (address, due) = self.due.iter_mut().find(|(_, due)| {
            // One that is further ahead than any draw: the clock stepped back.
            *due <= now || due.saturating_since(now) > TRIAL_SPREAD
        })?;
        *due = later(now, u64::MAX);
        Some(*address)
    }

    /// Is the number of endpoints on trial that are remembered.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.due.len()
    }

    /// Says whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.due.is_empty()
    }
}

/// Is a moment within the spread, where the draw says.
fn later(now: WallTime, draw: u64) -> WallTime {
    let spread_ns = TRIAL_SPREAD.as_nanos();
    let later_ns = u128::from(draw).saturating_mul(spread_ns) >> 64;
    let later_ns = u64::try_from(later_ns).unwrap_or(u64::MAX);
    WallTime::from_ns(now.as_ns().saturating_add(later_ns))
}
