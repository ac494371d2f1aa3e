//! The proxy: threads, VMs, filter chains, and the driver's side of it.

use crate::attributes::{ResponseAttributes, StreamAttributes, UpstreamAttributes};
use crate::config::{ClusterConfig, PluginConfig, Profile};
use crate::engine::Engine;
use crate::headers::HeaderMap;
use crate::module::Module;
use crate::observer::{LogLevel, Observer};
use crate::output::{CallAnswer, CallId, CloseReason, Output, PendingCall, StreamId};
use crate::report::{MetricKind, MetricValue, PluginCost, SharedEntry, VmInfo};

/// Why a proxy did not start. Envoy with a static configuration would exit.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// `proxy_on_vm_start` or `proxy_on_configure` answered false.
    #[error("plugin `{plugin}` refused its configuration in {callback}")]
    Rejected {
        /// Name of the plugin.
        plugin: String,
        /// Callback that answered false.
        callback: &'static str,
        /// What the plugin logged while it started.
        logs: Vec<OwnedLogLine>,
    },
    /// The module trapped while it started.
    #[error("plugin `{plugin}` trapped in {callback}: {message}")]
    Trapped {
        /// Name of the plugin.
        plugin: String,
        /// Callback that trapped.
        callback: &'static str,
        /// What happened.
        message: String,
        /// What the plugin logged while it started.
        logs: Vec<OwnedLogLine>,
    },
    /// The module could not be instantiated.
    #[error("plugin `{plugin}`: instantiate the module: {message}")]
    Instantiate {
        /// Name of the plugin.
        plugin: String,
        /// What the engine said.
        message: String,
    },
    /// The configuration of the proxy does not hold together.
    #[error("{0}")]
    BadSetup(
        /// What is wrong.
        String,
    ),
}

/// A log line that outlives the observer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OwnedLogLine {
    /// How severe.
    pub level: LogLevel,
    /// The bytes; not always UTF-8.
    pub message: Vec<u8>,
}

/// Why an input was refused. The proxy is as it was before.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// No such stream, or it is closed and drained.
    #[error("no such stream")]
    UnknownStream,
    /// No such call-out, or it is answered.
    #[error("no such call-out")]
    UnknownCall,
    /// The input cannot come now, such as a body before headers.
    #[error("{0}")]
    OutOfOrder(
        /// What the order is.
        &'static str,
    ),
    /// No such worker.
    #[error("no such worker")]
    UnknownWorker,
}

/// Collects what a proxy consists of.
#[derive(Debug)]
#[must_use = "call `build`"]
pub struct ProxyBuilder {
    _private: (),
}

impl ProxyBuilder {
    /// Number of worker threads; 1 without this.
    pub fn workers(self, _workers: u32) -> Self {
        self
    }

    /// Seed of all randomness; 0 without this.
    pub fn seed(self, _seed: u64) -> Self {
        self
    }

    /// Virtual time at start, in nanoseconds since the Unix epoch; 2023-11-14T22:13:20Z without this.
    pub fn start_time_ns(self, _start_time_ns: u64) -> Self {
        self
    }

    /// The proxy to behave like.
    pub fn profile(self, _profile: Profile) -> Self {
        self
    }

    /// Adds a plugin to the listener's filter chain: requests pass the plugins in the order of these
    /// calls, responses in the reverse order.
    pub fn filter(self, _module: &Module, _config: PluginConfig) -> Self {
        self
    }

    /// Adds a plugin to the upstream filter chain of a cluster.
    pub fn upstream_filter(self, _cluster: &str, _module: &Module, _config: PluginConfig) -> Self {
        self
    }

    /// Adds a singleton service: one VM on the main thread, no streams.
    pub fn singleton(self, _module: &Module, _config: PluginConfig) -> Self {
        self
    }

    /// Adds a cluster that call-outs can name.
    pub fn cluster(self, _cluster: ClusterConfig) -> Self {
        self
    }

    /// Node ID and node cluster: properties `xds.node.id` and `xds.node.cluster`.
    pub fn node(self, _id: &str, _cluster: &str) -> Self {
        self
    }

    /// Level that `proxy_get_log_level` tells; lines below it reach no observer. Trace without this.
    pub fn log_level(self, _level: LogLevel) -> Self {
        self
    }

    /// Draws the order of events that are due at the same instant from the seed. Without this it is
    /// thread, VM, kind.
    pub fn shuffle_simultaneous(self, _shuffle: bool) -> Self {
        self
    }

    /// Sets the observer; there is one.
    pub fn observer(self, _observer: Box<dyn Observer>) -> Self {
        self
    }

    /// Starts all VMs as the proxy does: a base VM and a canary per plugin, then one VM per worker
    /// and one for the main thread.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub fn build(self) -> Result<Proxy, StartError> {
        Ok(Proxy { _private: () })
    }
}

/// A proxy that runs Proxy-Wasm plugins, without sockets, threads or clocks.
///
/// Inputs come in through methods, outputs are polled with [`Self::poll_output`], time moves with
/// [`Self::advance_to`]. After each input drain the outputs of the stream to `None`.
#[derive(Debug)]
pub struct Proxy {
    _private: (),
}

impl Proxy {
    /// Begins to put a proxy together.
    pub fn builder(_engine: &Engine) -> ProxyBuilder {
        ProxyBuilder { _private: () }
    }

    /// Virtual time in nanoseconds since the Unix epoch.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        0
    }

    /// Moves time forward and runs everything that is due until then, each event at its own time.
    /// A time that is not later runs only what is due already.
    pub fn advance_to(&mut self, _now_ns: u64) {}

    /// When the next event is due; `None` if nothing waits.
    #[must_use]
    pub fn next_timer_ns(&self) -> Option<u64> {
        None
    }

    /// Opens a stream on a worker. Its contexts are created when its request headers come.
    ///
    /// # Errors
    ///
    /// No such worker → [`InputError::UnknownWorker`].
    pub fn open_stream(
        &mut self,
        _worker: u32,
        _attributes: StreamAttributes,
    ) -> Result<StreamId, InputError> {
        Ok(StreamId(0))
    }

    /// Opens one attempt of a stream through the upstream filters of a cluster. It is a stream of
    /// its own, which sees the properties that the stream's filters set. `None` when the cluster has
    /// no upstream filters.
    ///
    /// # Errors
    ///
    /// No such stream → [`InputError::UnknownStream`].
    pub fn open_attempt(
        &mut self,
        _stream: StreamId,
        _cluster: &str,
        _upstream: UpstreamAttributes,
    ) -> Result<Option<StreamId>, InputError> {
        Ok(None)
    }

    /// Gives the request headers.
    ///
    /// # Errors
    ///
    /// See [`InputError`].
    pub fn request_headers(
        &mut self,
        _stream: StreamId,
        _headers: HeaderMap,
        _end_stream: bool,
    ) -> Result<(), InputError> {
        Ok(())
    }

    /// Gives a part of the request body.
    ///
    /// # Errors
    ///
    /// See [`InputError`].
    pub fn request_body(
        &mut self,
        _stream: StreamId,
        _data: &[u8],
        _end_stream: bool,
    ) -> Result<(), InputError> {
        Ok(())
    }

    /// Gives the request trailers; they end the request.
    ///
    /// # Errors
    ///
    /// See [`InputError`].
    pub fn request_trailers(
        &mut self,
        _stream: StreamId,
        _trailers: HeaderMap,
    ) -> Result<(), InputError> {
        Ok(())
    }

    /// Tells which endpoint serves; before the response headers.
    ///
    /// # Errors
    ///
    /// See [`InputError`].
    pub fn set_upstream(
        &mut self,
        _stream: StreamId,
        _upstream: UpstreamAttributes,
    ) -> Result<(), InputError> {
        Ok(())
    }

    /// Tells what is known about the response besides its bytes; any time before the stream closes.
    ///
    /// # Errors
    ///
    /// See [`InputError`].
    pub fn set_response(
        &mut self,
        _stream: StreamId,
        _response: ResponseAttributes,
    ) -> Result<(), InputError> {
        Ok(())
    }

    /// Tells that the route chose another cluster, after request headers changed.
    ///
    /// # Errors
    ///
    /// See [`InputError`].
    pub fn set_cluster(&mut self, _stream: StreamId, _cluster: &str) -> Result<(), InputError> {
        Ok(())
    }

    /// Gives the response headers.
    ///
    /// # Errors
    ///
    /// See [`InputError`].
    pub fn response_headers(
        &mut self,
        _stream: StreamId,
        _headers: HeaderMap,
        _end_stream: bool,
    ) -> Result<(), InputError> {
        Ok(())
    }

    /// Gives a part of the response body.
    ///
    /// # Errors
    ///
    /// See [`InputError`].
    pub fn response_body(
        &mut self,
        _stream: StreamId,
        _data: &[u8],
        _end_stream: bool,
    ) -> Result<(), InputError> {
        Ok(())
    }

    /// Gives the response trailers; they end the response.
    ///
    /// # Errors
    ///
    /// See [`InputError`].
    pub fn response_trailers(
        &mut self,
        _stream: StreamId,
        _trailers: HeaderMap,
    ) -> Result<(), InputError> {
        Ok(())
    }

    /// Ends a stream: log → done → delete for every filter (an upstream filter gets no log). The
    /// stream is forgotten once its outputs are drained.
    ///
    /// # Errors
    ///
    /// See [`InputError`].
    pub fn close_stream(
        &mut self,
        _stream: StreamId,
        _reason: CloseReason,
    ) -> Result<(), InputError> {
        Ok(())
    }

    /// Next thing that left the filter chain. `None`: nothing for now, or no such stream.
    pub fn poll_output(&mut self, _stream: StreamId) -> Option<Output> {
        None
    }

    /// Whether a filter holds the request or the response back.
    #[must_use]
    pub fn is_paused(&self, _stream: StreamId) -> bool {
        false
    }

    /// Whether a filter changed the request headers so that the proxy would choose the route again.
    #[must_use]
    pub fn route_cache_cleared(&self, _stream: StreamId) -> bool {
        false
    }

    /// Call-outs that wait for an answer, oldest first.
    pub fn pending_calls(&self) -> impl Iterator<Item = &PendingCall> {
        [].iter()
    }

    /// Answers a call-out; the callback runs at once.
    ///
    /// # Errors
    ///
    /// No such call-out → [`InputError::UnknownCall`].
    pub fn answer_call(&mut self, _call: CallId, _answer: CallAnswer) -> Result<(), InputError> {
        Ok(())
    }

    /// Pushes a message into a queue, as another VM would. Tells whether the queue exists.
    pub fn enqueue(&mut self, _vm_id: &str, _queue: &str, _message: &[u8]) -> bool {
        false
    }

    /// All metrics, by name.
    pub fn metrics(&self) -> impl Iterator<Item = (&str, MetricKind, MetricValue)> {
        std::iter::empty()
    }

    /// Value of one metric.
    #[must_use]
    pub fn metric(&self, _name: &str) -> Option<MetricValue> {
        None
    }

    /// Shared data of a VM ID, by key.
    pub fn shared_data(&self, _vm_id: &str) -> impl Iterator<Item = SharedEntry<'_>> {
        std::iter::empty()
    }

    /// What each plugin cost so far, in the order of the builder's calls.
    #[must_use]
    pub fn cost(&self) -> Vec<PluginCost> {
        Vec::new()
    }

    /// Forgets the cost so far, for measuring a part of a run.
    pub fn reset_cost(&mut self) {}

    /// All VMs, in order of creation.
    #[must_use]
    pub fn vms(&self) -> Vec<VmInfo> {
        Vec::new()
    }

    /// Linear memory of all VMs in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        0
    }

    /// Replaces the observer and hands back the old one.
    pub fn set_observer(
        &mut self,
        _observer: Option<Box<dyn Observer>>,
    ) -> Option<Box<dyn Observer>> {
        None
    }
}
