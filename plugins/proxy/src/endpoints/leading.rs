//! What the VM does that leads: the policy's [`Lead`], over the host.
//!
//! Cost of a tick: one read for each slot that was ever claimed and one more; one call-out for each
//! probe and question that is due; one write for each snapshot that changed, and one of the versions
//! once a second. The first tick of a term reads every snapshot of the predecessor.

use std::{collections::BTreeMap, rc::Rc};

use tidegate_policy::{
    endpoints::{
        Answer, Call, CallKey, Config, KEY_PLUGIN, Lead, Publication, Selector, Source, slot_key,
    },
    slots::SlotIndex,
    snapshot::{VersionsView, cluster_digest, snapshot_key, versions_key},
    units::WallTime,
};

use super::draws::Draws;
use crate::{
    buffer::{self, Buffer},
    call::{self, CallId},
    context::CallResponse,
    error::HostError,
    headers::Map,
    lease::Read,
    shared::{self, Written},
};

/// Says that another VM leads, with a newer epoch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Replaced {
    /// Is its epoch.
    pub(super) by: u64,
}
