//! The one layer between Tidegate's policies and a Proxy-Wasm host.
//!
//! Everything that a host can refuse is a `Result`, everything that a client can send is bytes, and
//! nothing here panics: a panic kills a VM that serves thousands of streams. A plugin implements
//! [`Plugin`] and [`Stream`] and names them with [`main!`].

mod abi;
pub mod buffer;
pub mod call;
pub mod clock;
pub mod configuration;
mod context;
mod dispatcher;
pub mod endpoints;
pub mod entropy;
pub mod environment;
mod error;
pub mod headers;
pub mod leader;
pub mod log;
mod macros;
pub mod metric;
pub mod property;
pub mod response;
pub mod shared;

pub use context::{
    Action, BodyEvent, CallResponse, HeadersEvent, Plugin, Stream, StreamId, TrailersEvent,
};
pub use error::HostError;
pub use tidegate_policy::config::Problem;

/// What the expansion of [`main!`] needs; no part of the interface.
#[doc(hidden)]
pub mod private {
    pub use crate::{
        abi::allocate,
        dispatcher::{Dispatcher, start},
    };
}
