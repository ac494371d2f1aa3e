//! Hooks that see what guests do, while they do it.

use crate::output::{StreamId, Thread};

/// Severity of a guest's log line.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum LogLevel {
    /// 0
    Trace,
    /// 1
    Debug,
    /// 2
    Info,
    /// 3
    Warn,
    /// 4
    Error,
    /// 5
    Critical,
}

impl LogLevel {
    /// Name in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }

    pub(crate) const fn from_raw(level: u32) -> Option<Self> {
        match level {
            0 => Some(Self::Trace),
            1 => Some(Self::Debug),
            2 => Some(Self::Info),
            3 => Some(Self::Warn),
            4 => Some(Self::Error),
            5 => Some(Self::Critical),
            _ => None,
        }
    }
}

/// Where something happened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Place<'a> {
    /// Virtual time in nanoseconds since the Unix epoch.
    pub at_ns: u64,
    /// Plugin; for what a shared VM does outside a plugin's context, the first of its plugins.
    pub plugin: &'a str,
    /// Thread.
    pub thread: Thread,
    /// VM, as numbered by [`Proxy::vms`](crate::Proxy::vms).
    pub vm: u32,
    /// Context that the host was called for or from; 0 before any exists.
    pub context: u32,
    /// Stream of that context, if it is one.
    pub stream: Option<StreamId>,
}

/// A line that a guest logged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LogLine<'a> {
    /// Where.
    pub place: Place<'a>,
    /// How severe.
    pub level: LogLevel,
    /// The bytes; not always UTF-8.
    pub message: &'a [u8],
}

/// A host function that returned.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct HostCall<'a> {
    /// Where.
    pub place: Place<'a>,
    /// Name without module, such as `proxy_get_property`.
    pub name: &'static str,
    /// The arguments in short: names, sizes, no bodies.
    pub arguments: &'a str,
    /// Raw status that the guest got.
    pub status: i32,
}

/// A callback that returned or trapped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Callback<'a> {
    /// Where.
    pub place: Place<'a>,
    /// Name of the export, such as `proxy_on_request_headers`.
    pub name: &'static str,
    /// Fuel it used, without callbacks that ran inside it.
    pub fuel: u64,
    /// Raw value that it returned, if it returns one and did not trap.
    pub returned: Option<i32>,
}

/// Something that happened to a VM.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum VmEvent<'a> {
    /// A VM started; base and canary VMs are not told of.
    Started {
        /// Where.
        place: Place<'a>,
    },
    /// A guest trapped or broke a limit; all contexts of the VM are gone.
    Trapped {
        /// Where.
        place: Place<'a>,
        /// Callback it happened in.
        callback: &'static str,
        /// What happened, with the guest's stack.
        message: &'a str,
    },
    /// A VM that had trapped was replaced.
    Reloaded {
        /// Where.
        place: Place<'a>,
    },
    /// A VM that had trapped was not replaced: the last time is less than the back-off ago.
    ReloadPutOff {
        /// Where.
        place: Place<'a>,
    },
    /// A VM that had trapped could not be started again.
    ReloadFailed {
        /// Where.
        place: Place<'a>,
        /// Why.
        message: &'a str,
    },
    /// A guest called a function that its plugin is not allowed.
    Denied {
        /// Where.
        place: Place<'a>,
        /// Name without module, such as `proxy_http_call`.
        function: &'static str,
    },
    /// Memory could not grow beyond the limit.
    MemoryRefused {
        /// Where.
        place: Place<'a>,
        /// Size that the guest wanted, in bytes.
        wanted_bytes: u64,
    },
}

/// Sees what guests do. Every method does nothing unless it is written.
pub trait Observer: Send {
    /// A guest logged a line.
    fn log(&mut self, _line: LogLine<'_>) {}
    /// Whether lines and calls of base and canary VMs are wanted, too. They have the number `u32::MAX`.
    fn wants_trials(&self) -> bool {
        false
    }
    /// Whether [`Self::host_call`] is wanted: describing the arguments costs time.
    fn wants_host_calls(&self) -> bool {
        false
    }
    /// A host function returned.
    fn host_call(&mut self, _call: HostCall<'_>) {}
    /// Whether [`Self::callback`] is wanted.
    fn wants_callbacks(&self) -> bool {
        false
    }
    /// A callback returned or trapped.
    fn callback(&mut self, _callback: Callback<'_>) {}
    /// Something happened to a VM.
    fn vm(&mut self, _event: VmEvent<'_>) {}
}

/// Severities that guests are told of by `proxy_get_log_level` are at least this one by default.
impl Default for LogLevel {
    fn default() -> Self {
        Self::Trace
    }
}
