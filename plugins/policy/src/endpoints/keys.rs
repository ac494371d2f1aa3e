//! The names of what VMs share besides snapshots and versions.

use alloc::{format, string::String};

use super::{KEY_PLUGIN, seen::SEEN_FORMAT};
use crate::slots::{SLOT_FORMAT, SlotIndex};

/// Is the key of the list of clusters that requests go to.
#[must_use]
pub fn seen_key(configuration: u64) -> String {
    format!("tidegate.{KEY_PLUGIN}.{SEEN_FORMAT}.{configuration:016x}.seen")
}

/// Is the key of a slot that a VM reports into.
#[must_use]
pub fn slot_key(configuration: u64, index: SlotIndex) -> String {
    let number = index.number();
    format!("tidegate.{KEY_PLUGIN}.{SLOT_FORMAT}.{configuration:016x}.slot.{number}")
}
