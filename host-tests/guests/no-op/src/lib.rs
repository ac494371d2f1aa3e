//! The smallest filter on `tidegate-proxy`: every callback comes, and none does anything. What it
//! costs is what any filter costs.

use tidegate_proxy::{Plugin, Problem, Stream, StreamId};

/// Does nothing.
#[derive(Debug)]
pub struct NoOp;

/// Does nothing with a stream.
#[derive(Debug)]
pub struct NoOpStream;

impl Plugin for NoOp {
    const NAME: &'static str = "tidegate no-op";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    type Stream = NoOpStream;

    fn configure(_configuration: &[u8]) -> Result<Self, Vec<Problem>> {
        Ok(Self)
    }

    fn digest(&self) -> u64 {
        0
    }

    fn open_stream(&mut self, _id: StreamId) -> NoOpStream {
        NoOpStream
    }
}

impl Stream<NoOp> for NoOpStream {}

tidegate_proxy::main!(
    NoOp: tick,
    call_response,
    queue_ready,
    request_headers,
    request_body,
    request_trailers,
    response_headers,
    response_body,
    response_trailers,
    log,
);
