//! gRPC calls and streams that are under way.

use std::collections::VecDeque;

use super::World;
use crate::grpc::{GrpcId, GrpcOutput, PendingGrpc};
use crate::world::timers::Due;

/// A gRPC call or stream.
#[derive(Debug)]
pub(crate) struct Grpc {
    pub(crate) instance: usize,
    pub(crate) root: u32,
    pub(crate) timer: Option<Due>,
    pub(crate) pending: PendingGrpc,
    /// What the guest sent on a stream and nobody has polled yet.
    pub(crate) sent: VecDeque<GrpcOutput>,
    /// Whether the guest's last message was sent.
    pub(crate) ended: bool,
    /// Whether initial metadata was told.
    pub(crate) is_answered: bool,
    /// A call's answer, which waits for its status.
    pub(crate) answer: Option<Vec<u8>>,
    pub(crate) closed_by_guest: bool,
    pub(crate) closed_by_upstream: bool,
}

impl World {
    /// Drops a gRPC call or stream; tells whether there was one.
    pub(crate) fn forget_grpc(&mut self, id: GrpcId) -> bool {
        let Some(found) = self.grpc.remove(&id) else {
            return false;
        };
        if let Some(due) = found.timer {
            self.timers.remove(due);
        }
        true
    }
}
