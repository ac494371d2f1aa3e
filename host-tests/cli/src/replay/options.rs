//! What a replay is made with, and how it fails.

use std::{fmt, io};

use tidegate_host::{
    CallAnswer, InputError, LogLevel, Module, PendingCall, PluginConfig, Profile, StartError,
};

use crate::exit::ExitCode;
use crate::recording::{RecordingError, SessionKey};

/// The header in which Tidegate's plugins name the endpoint, unless their configuration says otherwise.
pub const ENDPOINT_HEADER: &str = "x-tidegate-endpoint";

/// A plugin of the chain: its module and its configuration.
#[derive(Debug, Clone)]
pub struct Plugin {
    /// The compiled module.
    pub module: Module,
    /// The configuration; its `name` names the plugin in all that is reported.
    pub config: PluginConfig,
}

/// How much is kept of each exchange.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Detail {
    /// Every exchange is handed out with all that happened to it.
    #[default]
    Exchanges,
    /// Only the totals are counted; nothing is handed out. The replay is quicker.
    Totals,
}

/// Answers the calls of plugins.
pub type Answers = Box<dyn FnMut(&PendingCall) -> CallAnswer + Send>;

/// What a replay is made with.
pub struct Options {
    /// The chain; requests pass it in this order.
    pub plugins: Vec<Plugin>,
    /// Worker threads of the proxy, at least 1. A connection stays on one.
    pub workers: u32,
    /// Seed of all that looks random: which worker a connection goes to, and what the plugins draw.
    pub seed: u64,
    /// The proxy to behave like.
    pub profile: Profile,
    /// Which streams are one client.
    pub session: SessionKey,
    /// Whether the traffic was recorded behind the same plugins. Then it already is what comes of their decisions:
    /// clients send the recorded cookies only, and every request is served by the recorded endpoint.
    pub behind_plugins: bool,
    /// The header in which the plugins name the endpoint that they want, in lower case.
    pub endpoint_header: String,
    /// How much is kept.
    pub detail: Detail,
    /// The level that plugins are told to log at; what is below it isn't kept.
    pub log_level: LogLevel,
    /// Answers the calls of plugins; `None` refuses each, which a plugin sees as a 503.
    pub answers: Option<Answers>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            plugins: Vec::new(),
            workers: 1,
            seed: 1,
            profile: Profile::default(),
            session: SessionKey::Auto,
            behind_plugins: false,
            endpoint_header: ENDPOINT_HEADER.to_owned(),
            detail: Detail::Exchanges,
            log_level: LogLevel::Warn,
            answers: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Options")
            .field("plugins", &self.plugins)
            .field("workers", &self.workers)
            .field("seed", &self.seed)
            .field("profile", &self.profile)
            .field("session", &self.session)
            .field("behind_plugins", &self.behind_plugins)
            .field("endpoint_header", &self.endpoint_header)
            .field("detail", &self.detail)
            .field("log_level", &self.log_level)
            .finish_non_exhaustive()
    }
}

/// A replay that can't go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The proxy refused what the recording says: a fault of this tool.
    #[error("the proxy refused `{event}` of stream {stream}")]
    Input {
        /// The event.
        event: &'static str,
        /// The stream.
        stream: u64,
        /// Why.
        #[source]
        source: InputError,
    },
    /// The recording is at fault.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// What is handed out can't be written.
    #[error("can't write the result")]
    Output(#[source] io::Error),
    /// The proxy didn't start.
    #[error(transparent)]
    Start(#[from] StartError),
}

impl ReplayError {
    /// Returns the code that a command ends with when this is why.
    #[must_use]
    pub const fn exit_code(&self) -> ExitCode {
        match self {
            Self::Recording(_) => ExitCode::Usage,
            Self::Start(StartError::Rejected { .. }) => ExitCode::ConfigRejected,
            Self::Start(StartError::Trapped { .. } | StartError::Instantiate { .. }) => {
                ExitCode::GuestTrapped
            }
            Self::Input { .. } | Self::Output(_) | Self::Start(_) => ExitCode::Internal,
        }
    }
}
