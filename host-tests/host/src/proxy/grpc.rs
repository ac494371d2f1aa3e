//! gRPC call-outs, from the driver's side.

use super::{InputError, Proxy};
use crate::grpc::{GrpcEvent, GrpcId, GrpcOutput, PendingGrpc};

impl Proxy {
    /// gRPC calls and streams that the upstream has not closed, by VM and oldest first. One that its
    /// guest cancels is no longer among them.
    pub fn pending_grpc(&self) -> impl Iterator<Item = &PendingGrpc> {
        self.home
            .grpc
            .values()
            .filter(|found| !found.closed_by_upstream)
            .map(|found| &found.pending)
    }

    /// Next thing that a guest sent on a gRPC stream. `None`: nothing for now, or no such stream.
    pub fn poll_grpc(&mut self, stream: GrpcId) -> Option<GrpcOutput> {
        self.home.grpc.get_mut(&stream)?.sent.pop_front()
    }

    /// Gives what a gRPC upstream sent; the callbacks run at once.
    ///
    /// # Errors
    ///
    /// No such call or stream, or the upstream closed it → [`InputError::UnknownCall`].
    pub fn grpc_event(&mut self, id: GrpcId, event: GrpcEvent) -> Result<(), InputError> {
        let known = self.home.grpc.get(&id);
        if known.is_none_or(|found| found.closed_by_upstream) {
            return Err(InputError::UnknownCall);
        }
        self.run(|run| run.give_grpc(id, event));
        Ok(())
    }
}
