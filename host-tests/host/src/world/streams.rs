//! Streams: what has come in, what each filter was shown, what has left.

use std::collections::VecDeque;

use crate::attributes::{ResponseAttributes, StreamAttributes, UpstreamAttributes};
use crate::connection::ConnectionOutput;
use crate::headers::HeaderMap;
use crate::output::{CallId, Output, StreamId};

/// Direction of a part of an exchange.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Direction {
    Request,
    Response,
}

/// What a stream is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum StreamKind {
    /// A client's request through the listener's filters.
    Listener,
    /// One attempt of another stream, through a cluster's upstream filters.
    Attempt { of: StreamId },
    /// A call-out through a cluster's upstream filters.
    CallOut { call: CallId },
    /// A client's connection through the listener's network filters.
    Connection,
}

/// A stream.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) kind: StreamKind,
    pub(crate) thread: u32,
    pub(crate) chain: usize,
    pub(crate) opened_ns: u64,
    pub(crate) attributes: StreamAttributes,
    pub(crate) upstream: UpstreamAttributes,
    pub(crate) response_facts: ResponseAttributes,
    /// Filters in the order of the request; empty until request headers come.
    pub(crate) filters: Vec<Filter>,
    pub(crate) request: Side,
    pub(crate) response: Side,
    /// The proxy's own answer, while it passes the filters.
    pub(crate) local: Option<Box<LocalReply>>,
    /// An answer that waits for the filter callback to return.
    pub(crate) prepared: Option<Box<LocalReply>>,
    /// Values that filters set, by their whole path.
    pub(crate) custom: Vec<Custom>,
    /// Objects set by `set_envoy_filter_state`.
    pub(crate) filter_state: Vec<(String, Vec<u8>)>,
    pub(crate) route_cache_cleared: bool,
    pub(crate) is_head: bool,
    pub(crate) is_grpc: bool,
    /// Response code that the proxy has noted: with the upstream's headers, or when headers left.
    pub(crate) response_code: Option<u32>,
    /// Nothing more comes out: the response is complete or the stream was cut.
    pub(crate) finished: bool,
    pub(crate) closed: bool,
    /// When the last byte was in or out; known once the stream closes.
    pub(crate) duration_ns: Option<u64>,
    pub(crate) outputs: VecDeque<Output>,
    /// What left the filters of a connection.
    pub(crate) connection_outputs: VecDeque<ConnectionOutput>,
}

/// A value set with `proxy_set_property`.
#[derive(Clone, Debug)]
pub(crate) struct Custom {
    pub(crate) path: Vec<u8>,
    pub(crate) value: Vec<u8>,
    pub(crate) read_only: bool,
}

/// One direction of a stream.
#[derive(Debug, Default)]
pub(crate) struct Side {
    pub(crate) headers: HeaderMap,
    /// Whether headers have come (the request's from the client; the response's, or a local one's).
    pub(crate) started: bool,
    /// Whether headers have left the last filter.
    pub(crate) emitted: bool,
    /// The bytes that are passing the filters now.
    pub(crate) passing: Vec<u8>,
    /// The bytes that a filter holds back. Some-and-empty is a held-back end of stream.
    pub(crate) held: Option<Vec<u8>>,
    /// Whether the filter that holds back asked for back-pressure instead of a limit.
    pub(crate) streaming: bool,
    pub(crate) trailers: Option<HeaderMap>,
    /// Whether the end has come.
    pub(crate) complete: bool,
    /// Whether the end has left the last filter.
    pub(crate) ended: bool,
    /// Whether the filters' iteration was ended by a local reply.
    pub(crate) aborted: bool,
    /// Callbacks of filters that run right now.
    pub(crate) calling: u32,
    /// Body bytes: of a request those that came in, of a response those that left.
    pub(crate) bytes: u64,
}

/// Which bytes a filter looks at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Body {
    Passing,
    Held,
}

/// Whether a filter lets things pass.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Iteration {
    #[default]
    Continue,
    /// Headers are held back; bodies still reach the filter.
    StopHeaders,
    /// Everything is held back, and bounded.
    StopAllBuffer,
    /// Everything is held back with back-pressure.
    StopAllWatermark,
}

impl Iteration {
    pub(crate) const fn stops_all(self) -> bool {
        matches!(self, Self::StopAllBuffer | Self::StopAllWatermark)
    }
}

/// A plugin's filter in one stream.
#[derive(Debug)]
pub(crate) struct Filter {
    pub(crate) plugin: usize,
    /// `None`: there was no VM when the stream began.
    pub(crate) instance: Option<usize>,
    pub(crate) context: u32,
    pub(crate) root: u32,
    /// Whether the guest was told of the context.
    pub(crate) created: bool,
    /// Whether a network filter was offered the connection.
    pub(crate) connected: bool,
    pub(crate) destroyed: bool,
    /// Left out: the VM was dead and the policy is to let traffic pass.
    pub(crate) skip: bool,
    /// Whether the stream was failed because of this filter.
    pub(crate) failed: bool,
    pub(crate) end_of_stream: bool,
    pub(crate) logging: bool,
    pub(crate) request: FilterSide,
    pub(crate) response: FilterSide,
    /// Buffer that was read last, which is what buffer 8 shows.
    pub(crate) last_buffer: u32,
    /// Properties that the context declared.
    pub(crate) declared: Vec<Vec<u8>>,
}

/// One direction of a filter.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FilterSide {
    pub(crate) iteration: Iteration,
    pub(crate) headers_continued: bool,
    pub(crate) end_stream: bool,
    /// What the guest can reach.
    pub(crate) headers: bool,
    pub(crate) body: Option<Body>,
    pub(crate) trailers: bool,
    /// The guest wants to see everything that is held back.
    pub(crate) buffering: bool,
}

/// An answer of the proxy itself.
#[derive(Debug, Default)]
pub(crate) struct LocalReply {
    pub(crate) status: u32,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) details: String,
    pub(crate) grpc_status: Option<i32>,
    /// What has left the filters.
    pub(crate) sent: HeaderMap,
    pub(crate) sent_body: Vec<u8>,
}

impl Filter {
    pub(crate) const fn side(&self, direction: Direction) -> &FilterSide {
        match direction {
            Direction::Request => &self.request,
            Direction::Response => &self.response,
        }
    }

    pub(crate) const fn side_mut(&mut self, direction: Direction) -> &mut FilterSide {
        match direction {
            Direction::Request => &mut self.request,
            Direction::Response => &mut self.response,
        }
    }
}

impl Stream {
    pub(crate) fn new(
        kind: StreamKind,
        thread: u32,
        chain: usize,
        opened_ns: u64,
        attributes: StreamAttributes,
    ) -> Self {
        Self {
            kind,
            thread,
            chain,
            opened_ns,
            attributes,
            upstream: UpstreamAttributes::default(),
            response_facts: ResponseAttributes::default(),
            filters: Vec::new(),
            request: Side::default(),
            response: Side::default(),
            local: None,
            prepared: None,
            custom: Vec::new(),
            filter_state: Vec::new(),
            route_cache_cleared: false,
            is_head: false,
            is_grpc: false,
            response_code: None,
            finished: false,
            closed: false,
            duration_ns: None,
            outputs: VecDeque::new(),
            connection_outputs: VecDeque::new(),
        }
    }

    pub(crate) const fn side(&self, direction: Direction) -> &Side {
        match direction {
            Direction::Request => &self.request,
            Direction::Response => &self.response,
        }
    }

    pub(crate) const fn side_mut(&mut self, direction: Direction) -> &mut Side {
        match direction {
            Direction::Request => &mut self.request,
            Direction::Response => &mut self.response,
        }
    }

    /// Position of a filter in the order in which a direction passes the filters, and back.
    pub(crate) fn step(&self, direction: Direction, index: usize) -> usize {
        match direction {
            Direction::Request => index,
            Direction::Response => self.filters.len().saturating_sub(1).saturating_sub(index),
        }
    }
}

/// All streams. Memory of closed ones is used again.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    entries: Vec<Entry>,
    free: Vec<u32>,
}

#[derive(Debug, Default)]
struct Entry {
    generation: u32,
    stream: Option<Box<Stream>>,
}

const INDEX_BITS: u32 = 32;

const fn index_of(id: StreamId) -> usize {
    (id.0 & 0xffff_ffff) as usize
}

const fn generation_of(id: StreamId) -> u64 {
    id.0 >> INDEX_BITS
}

impl Streams {
    pub(crate) fn add(&mut self, stream: Stream) -> StreamId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.entries.push(Entry::default());
            u32::try_from(self.entries.len().saturating_sub(1)).unwrap_or(u32::MAX)
        });
        let mut generation = 0;
        if let Some(entry) = self.entries.get_mut(index as usize) {
            generation = entry.generation;
            entry.stream = Some(Box::new(stream));
        }
        StreamId((u64::from(generation) << INDEX_BITS) | u64::from(index))
    }

    #[inline]
    pub(crate) fn get(&self, id: StreamId) -> Option<&Stream> {
        let entry = self.entries.get(index_of(id))?;
        if u64::from(entry.generation) != generation_of(id) {
            return None;
        }
        entry.stream.as_deref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, id: StreamId) -> Option<&mut Stream> {
        let entry = self.entries.get_mut(index_of(id))?;
        if u64::from(entry.generation) != generation_of(id) {
            return None;
        }
        entry.stream.as_deref_mut()
    }

    pub(crate) fn filter(&self, id: StreamId, index: usize) -> Option<(&Stream, &Filter)> {
        let stream = self.get(id)?;
        Some((stream, stream.filters.get(index)?))
    }

    pub(crate) fn filter_mut(&mut self, id: StreamId, index: usize) -> Option<&mut Filter> {
        self.get_mut(id)?.filters.get_mut(index)
    }

    pub(crate) fn remove(&mut self, id: StreamId) {
        if self.get(id).is_none() {
            return;
        }
        if let Some(entry) = self.entries.get_mut(index_of(id)) {
            entry.stream = None;
            // A name that came round again would reach a stranger's stream: retire the entry instead.
            if let Some(next) = entry.generation.checked_add(1) {
                entry.generation = next;
                self.free
                    .push(u32::try_from(index_of(id)).unwrap_or(u32::MAX));
            }
        }
    }
}
