//! What the world knows of a VM.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use wasmtime::Store;

use crate::headers::HeaderMap;
use crate::output::StreamId;
use crate::vm::exports::Exports;
use crate::vm::guest::Guest;
use crate::world::metrics::MetricIds;
use crate::world::streams::{Direction, LocalReply};
use crate::world::timers::Due;

/// A VM that was instantiated. A dead one stays in the list, without its memory.
pub(crate) struct Instance {
    pub(crate) slot: usize,
    pub(crate) thread: u32,
    /// Whether observers and costs include it: base and canary VMs are left out.
    pub(crate) observed: bool,
    /// `None` while it is being called, and once it is dead.
    pub(crate) store: Option<Box<Store<Guest>>>,
    pub(crate) exports: Arc<Exports>,
    /// A root context is being started or configured.
    pub(crate) starting: bool,
    pub(crate) dead: Option<String>,
    pub(crate) contexts: ContextMap,
    pub(crate) next_context: u32,
    /// Context that the running callback is for.
    pub(crate) current: Context,
    /// Context that the guest chose instead; 0: none.
    pub(crate) effective: u32,
    pub(crate) actions: VecDeque<Action>,
    /// A local response was sent: whatever the callback returns, iteration stops.
    pub(crate) stop_iteration: bool,
    pub(crate) ticks: BTreeMap<u32, Tick>,
    pub(crate) roots: Vec<Root>,
    pub(crate) metrics: MetricIds,
    pub(crate) next_http_call: u32,
    pub(crate) next_grpc_call: u32,
    pub(crate) next_grpc_stream: u32,
    pub(crate) last_lookup: u32,
    pub(crate) rng: ChaCha8Rng,
    /// Position of its VM ID's shared data.
    pub(crate) space: usize,
    pub(crate) memory_bytes: u64,
    pub(crate) memory_refused: u64,
}

/// The buffer of bytes that the host hands over.
pub(crate) const CALL_DATA: u32 = 8;

/// A context of a VM.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context {
    pub(crate) id: u32,
    pub(crate) plugin: usize,
    pub(crate) root: u32,
    /// Stream and position of the filter in it; `None` for a root context.
    pub(crate) stream: Option<(StreamId, usize)>,
}

/// What is kept for a root context.
#[derive(Debug, Default)]
pub(crate) struct Root {
    pub(crate) id: u32,
    pub(crate) plugin: usize,
    /// Whether the plugin configuration can be read.
    pub(crate) configuring: bool,
    pub(crate) status_code: u32,
    pub(crate) status_message: String,
    /// The answer that is being delivered.
    pub(crate) response: Option<Box<CallResponse>>,
    /// What of gRPC is being delivered.
    pub(crate) grpc_initial: Option<HeaderMap>,
    pub(crate) grpc_trailing: Option<HeaderMap>,
    pub(crate) grpc_message: Option<Vec<u8>>,
    /// Bytes that the host handed over: buffer 8, until another one is read.
    pub(crate) call_data: Option<Vec<u8>>,
    /// Declared properties: path and whether they can be set once only.
    pub(crate) declared: Vec<(Vec<u8>, bool)>,
    pub(crate) shutdown: Shutdown,
    pub(crate) last_buffer: u32,
}

/// How far the end of a root context has come.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Shutdown {
    #[default]
    Alive,
    /// `proxy_on_done` answered false: the guest will call `proxy_done`.
    Pending,
    Over,
}

/// The answer to a call-out.
#[derive(Debug, Default)]
pub(crate) struct CallResponse {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: HeaderMap,
}

/// A root context's timer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tick {
    pub(crate) period_ns: u64,
    pub(crate) due: Option<Due>,
}

/// What a guest asked for, to be done after the callback.
#[derive(Debug)]
pub(crate) enum Action {
    Continue {
        stream: StreamId,
        filter: usize,
        direction: Direction,
    },
    Reset {
        stream: StreamId,
    },
    LocalReply {
        stream: StreamId,
        reply: Box<LocalReply>,
    },
    DeleteRoot {
        root: u32,
    },
    ContinueConnection {
        connection: StreamId,
        filter: usize,
    },
    CloseConnection {
        connection: StreamId,
        details: &'static str,
    },
    GrpcClosed {
        root: u32,
        token: u32,
        status: u32,
        message: String,
    },
}

/// Contexts by id. Ids are the host's own small numbers, so spreading them is all a hash must do.
pub(crate) type ContextMap = HashMap<u32, Context, BuildHasherDefault<IdHasher>>;

/// Spreads small numbers; nothing depends on the order.
#[derive(Debug, Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, id: u32) {
        // SOURCE: 2^64 divided by the golden ratio, as in Fibonacci hashing.
        self.0 = (self.0 ^ u64::from(id)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl Instance {
    pub(crate) fn root(&self, id: u32) -> Option<&Root> {
        self.roots.iter().find(|root| root.id == id)
    }

    pub(crate) fn root_mut(&mut self, id: u32) -> Option<&mut Root> {
        self.roots.iter_mut().find(|root| root.id == id)
    }

    /// Takes the next id and registers a context under it.
    pub(crate) fn register(
        &mut self,
        plugin: usize,
        root: Option<u32>,
        stream: Option<(StreamId, usize)>,
    ) -> u32 {
        // Ids of contexts that still live are not given out again.
        while self.next_context == 0 || self.contexts.contains_key(&self.next_context) {
            self.next_context = self.next_context.wrapping_add(1);
        }
        let id = self.next_context;
        self.next_context = id.wrapping_add(1);
        self.contexts.insert(
            id,
            Context {
                id,
                plugin,
                root: root.unwrap_or(id),
                stream,
            },
        );
        id
    }

    /// The context that host functions work on: the effective one as long as it exists.
    #[inline]
    pub(crate) fn context(&self) -> Context {
        if self.effective == 0 {
            return self.current;
        }
        self.contexts
            .get(&self.effective)
            .copied()
            .unwrap_or(self.current)
    }
}
