//! What the host hands out: what leaves the filter chain, and call-outs that wait for an answer.

use crate::headers::HeaderMap;

/// Names a stream of one proxy.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct StreamId(pub(crate) u64);

/// Names a call-out of one proxy.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct CallId(pub(crate) u64);

/// Why a stream ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CloseReason {
    /// Both directions came to their end.
    Complete,
    /// The client went away.
    ClientReset,
    /// The upstream went away.
    UpstreamReset,
}

/// Something that left the filter chain.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Output {
    /// Request headers, towards the router.
    RequestHeaders {
        /// The headers after all filters.
        headers: HeaderMap,
        /// Whether the request ends here.
        end_stream: bool,
    },
    /// A part of the request body, towards the router.
    RequestBody {
        /// The bytes after all filters; may be empty when `end_stream` is set.
        data: Vec<u8>,
        /// Whether the request ends here.
        end_stream: bool,
    },
    /// Request trailers, towards the router.
    RequestTrailers(HeaderMap),
    /// Response headers, towards the client.
    ResponseHeaders {
        /// The headers after all filters.
        headers: HeaderMap,
        /// Whether the response ends here.
        end_stream: bool,
    },
    /// A part of the response body, towards the client.
    ResponseBody {
        /// The bytes after all filters; may be empty when `end_stream` is set.
        data: Vec<u8>,
        /// Whether the response ends here.
        end_stream: bool,
    },
    /// Response trailers, towards the client.
    ResponseTrailers(HeaderMap),
    /// An answer that the proxy gives instead of the upstream, towards the client.
    LocalResponse {
        /// HTTP status.
        status: u32,
        /// All headers, `:status` first.
        headers: HeaderMap,
        /// The whole body.
        body: Vec<u8>,
        /// Response code details, as in `response.code_details`.
        details: String,
        /// gRPC status that the guest gave, if any.
        grpc_status: Option<i32>,
    },
    /// The stream was cut; nothing more comes.
    Reset {
        /// Response code details.
        details: String,
    },
}

/// A call-out that waits for its answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PendingCall {
    /// Name for [`Proxy::answer_call`](crate::Proxy::answer_call).
    pub id: CallId,
    /// ID that the guest knows the call by: 4, 8, 12, … within one VM.
    pub token: u32,
    /// Plugin that made the call.
    pub plugin: String,
    /// Thread that the call was made on.
    pub thread: Thread,
    /// Cluster that it goes to.
    pub cluster: String,
    /// Request headers, pseudo-headers included.
    pub headers: HeaderMap,
    /// Request body.
    pub body: Vec<u8>,
    /// Request trailers.
    pub trailers: HeaderMap,
    /// When the call was made, in nanoseconds since the Unix epoch.
    pub started_ns: u64,
    /// When it times out; `None` waits for ever.
    pub deadline_ns: Option<u64>,
}

/// The answer to a call-out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CallAnswer {
    /// The upstream answered.
    Response {
        /// Response headers; `:status` is 200 when missing.
        headers: HeaderMap,
        /// The whole body.
        body: Vec<u8>,
        /// Response trailers.
        trailers: HeaderMap,
    },
    /// The connection ended before an answer came: the proxy answers 503 itself.
    Disconnected,
    /// No connection could be made: the proxy answers 503 itself.
    Refused,
    /// The exchange broke before any headers came: the guest sees an answer without headers.
    Reset,
}

/// A thread of the proxy.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Thread {
    /// A worker, counted from 0.
    Worker(u32),
    /// The main thread: its VMs tick and never see a stream.
    Main,
}

impl std::fmt::Display for Thread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Worker(index) => write!(f, "worker {index}"),
            Self::Main => f.write_str("main thread"),
        }
    }
}
