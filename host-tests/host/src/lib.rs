//! A Proxy-Wasm host without a proxy: it loads filters as Envoy does and runs them offline, in virtual
//! time, so that what a filter does with recorded traffic can be seen and repeated.
//!
//! The host does no I/O. A driver hands in streams, headers, bodies and time, and polls what leaves
//! the filter chain.

pub mod attributes;
mod callback;
mod chain;
pub mod config;
pub mod connection;
pub mod engine;
mod fault;
mod foreign;
pub mod grpc;
pub mod headers;
mod host;
pub mod lookup;
pub mod module;
pub mod observer;
pub mod output;
mod profile;
pub mod proxy;
pub mod report;
mod status;
mod table;
mod vm;
mod world;

pub use attributes::{ResponseAttributes, StreamAttributes, UpstreamAttributes};
pub use config::{ClusterConfig, FailurePolicy, Limits, PluginConfig, Profile};
pub use connection::{ClosedBy, ConnectionId, ConnectionOutput};
pub use engine::{Engine, EngineError, EngineOptions};
pub use fault::HostFault;
pub use grpc::{GrpcEvent, GrpcId, GrpcOutput, PendingGrpc};
pub use headers::HeaderMap;
pub use lookup::{LookupAnswer, LookupId, PendingLookup, ResolvedAddress};
pub use module::{AbiVersion, Module, ModuleError, ModuleInfo};
pub use observer::{Callback, HostCall, LogLevel, LogLine, Observer, Place, VmEvent};
pub use output::{CallAnswer, CallId, CloseReason, Output, PendingCall, StreamId, Thread};
pub use proxy::{InputError, OwnedLogLine, Proxy, ProxyBuilder, StartError};
pub use report::{CallbackCost, MetricKind, MetricValue, PluginCost, SharedEntry, VmInfo, VmState};
pub use status::Status;

/// Runs the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
