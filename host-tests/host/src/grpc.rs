//! gRPC call-outs: what guests ask for and send, and what a driver answers.

use crate::headers::HeaderMap;
use crate::output::Thread;

/// Names a gRPC call or stream of one proxy.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct GrpcId(u64);

impl GrpcId {
    /// A VM's own numbers are unique within it, and no VM's number is given out again.
    pub(crate) fn of(instance: usize, token: u32) -> Self {
        Self(((instance as u64) << 32) | u64::from(token))
    }
}

/// A gRPC call, or a stream whose other end is open.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PendingGrpc {
    /// Name for [`Proxy::grpc_event`](crate::Proxy::grpc_event).
    pub id: GrpcId,
    /// ID that the guest knows it by: 5, 9, 13, … for calls, 6, 10, 14, … for streams of one VM.
    pub token: u32,
    /// Plugin that made it.
    pub plugin: String,
    /// Thread that it was made on.
    pub thread: Thread,
    /// Cluster that it goes to; for Google's gRPC client the target.
    pub cluster: String,
    /// Full name of the service.
    pub service: String,
    /// Name of the method.
    pub method: String,
    /// Initial metadata, as the guest gave it.
    pub metadata: HeaderMap,
    /// The message of a call; `None`: a stream, whose messages [`Proxy::poll_grpc`](crate::Proxy::poll_grpc)
    /// hands out.
    pub message: Option<Vec<u8>>,
    /// When it was made, in nanoseconds since the Unix epoch.
    pub started_ns: u64,
    /// When a call times out; `None` waits for ever. A guest's 0 is `None` here, but Envoy sends
    /// `grpc-timeout: 0m` for it, and a real server answers DEADLINE_EXCEEDED at once.
    pub deadline_ns: Option<u64>,
}

/// Something that a guest sent on a gRPC stream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum GrpcOutput {
    /// A message.
    Message {
        /// The bytes.
        data: Vec<u8>,
        /// Whether it is the last one.
        end_stream: bool,
    },
    /// The guest closed its end without a last message.
    Closed,
}

/// Something that comes back from a gRPC upstream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum GrpcEvent {
    /// Initial metadata. `:status` is added when missing.
    InitialMetadata(HeaderMap),
    /// A message. A call has one, which the guest sees once the call is closed with status 0.
    Message(Vec<u8>),
    /// The upstream is done.
    Close {
        /// gRPC status.
        status: u32,
        /// Its message; the guest sees where it came from appended.
        message: String,
        /// Trailing metadata. `grpc-status` and `grpc-message` are added when missing.
        metadata: HeaderMap,
    },
    /// No connection could be made: the proxy closes it with UNAVAILABLE.
    Refused,
}
