//! Connections: TCP traffic that passes network filters.

use crate::output::StreamId;

/// Names a connection of one proxy.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ConnectionId(pub(crate) StreamId);

/// Who ended a connection with a client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClosedBy {
    /// The client: guests see peer type 2, remote.
    Client,
    /// The proxy, be it that the upstream was done: guests see peer type 1, local.
    Proxy,
}

/// Something that left the network filters.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ConnectionOutput {
    /// Bytes towards the upstream.
    ToUpstream {
        /// The bytes after all filters; may be empty when `end_stream` is set.
        data: Vec<u8>,
        /// Whether the client is done sending.
        end_stream: bool,
    },
    /// Bytes towards the client.
    ToClient {
        /// The bytes after all filters; may be empty when `end_stream` is set.
        data: Vec<u8>,
        /// Whether the upstream is done sending.
        end_stream: bool,
    },
    /// The proxy closed the connection because of a filter; nothing more comes.
    Closed {
        /// Why: `wasm_downstream_close` or `wasm_upstream_close` when a guest asked for it,
        /// `wasm_fail_stream` when its VM is dead.
        details: &'static str,
    },
}
