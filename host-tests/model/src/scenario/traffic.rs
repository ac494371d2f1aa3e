//! Where requests come from.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use crate::units::Span;

/// A source of requests; several run side by side.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Source {
    /// Requests of one kind, at a rate.
    Generated(Generated),
    /// The requests of a recording.
    Recording(Recorded),
    /// Single requests at given times.
    Requests(Scripted),
}

/// Requests of one kind, at a rate.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generated {
    /// Names the source in the report.
    pub name: Option<String>,
    /// When it begins.
    #[serde(default)]
    pub from: Span,
    /// When it ends; without it, with the scenario.
    pub until: Option<Span>,
    /// When requests come.
    pub arrivals: Arrivals,
    /// Who sends them.
    #[serde(default)]
    pub clients: Clients,
    /// What they are.
    #[serde(default)]
    pub request: RequestTemplate,
}

/// When requests come. Rates are requests per second and at least 0.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Arrivals {
    /// At equal distances.
    Steady {
        /// Requests per second.
        per_second: f64,
    },
    /// Independently of each other, at a constant mean rate.
    Poisson {
        /// Requests per second.
        per_second: f64,
    },
    /// Independently, at a rate that goes from one value to another over the source's time.
    Ramp {
        /// Requests per second at the beginning.
        from: f64,
        /// Requests per second at the end.
        to: f64,
    },
    /// Independently, at a rate that jumps for a while.
    Spike {
        /// Requests per second before and after.
        base: f64,
        /// Requests per second meanwhile.
        peak: f64,
        /// When it jumps, from the beginning of the source.
        at: Span,
        /// How long it stays there.
        lasts: Span,
    },
    /// Several at once, again and again.
    Burst {
        /// Requests at once.
        size: u32,
        /// Time between two bursts.
        every: Span,
    },
}

/// Who sends requests. A client has one address, one session and one connection, and keeps the cookies it gets.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clients {
    /// How many there are; each request is of one of them, drawn uniformly. 0: each request is a new client's.
    #[serde(default)]
    pub count: u32,
    /// The first one's address without a port; the others count up from it.
    #[serde(default = "first_address")]
    pub address: std::net::Ipv4Addr,
    /// Whether they keep cookies.
    #[serde(default = "yes")]
    pub cookies: bool,
    /// After this long without an answer a client goes away.
    pub gives_up_after: Option<Span>,
}

impl Default for Clients {
    fn default() -> Self {
        Self {
            count: 0,
            address: first_address(),
            cookies: true,
            gives_up_after: None,
        }
    }
}

const fn first_address() -> std::net::Ipv4Addr {
    std::net::Ipv4Addr::new(10, 128, 0, 1)
}

const fn yes() -> bool {
    true
}

/// A request of a generated source.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestTemplate {
    /// The method.
    #[serde(default = "get")]
    pub method: String,
    /// Path and query.
    #[serde(default = "root")]
    pub path: String,
    /// The host.
    #[serde(default = "host")]
    pub authority: String,
    /// Further headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Bytes of the body.
    #[serde(default)]
    pub body_bytes: u64,
    /// Makes it a WebSocket upgrade, with what the client sends on it.
    pub websocket: Option<Messages>,
}

impl Default for RequestTemplate {
    fn default() -> Self {
        Self {
            method: get(),
            path: root(),
            authority: host(),
            headers: BTreeMap::new(),
            body_bytes: 0,
            websocket: None,
        }
    }
}

fn get() -> String {
    "GET".to_owned()
}

fn root() -> String {
    "/".to_owned()
}

fn host() -> String {
    "shop.example".to_owned()
}

/// What a client sends on a WebSocket, as masked text frames; then it closes with 1000.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Messages {
    /// How many messages.
    #[serde(default)]
    pub count: u32,
    /// Time between two of them, and before the first and the Close.
    #[serde(default = "second")]
    pub every: Span,
    /// Bytes of each.
    #[serde(default = "sixteen")]
    pub bytes: u32,
}

const fn second() -> Span {
    Span::ms(1_000)
}

const fn sixteen() -> u32 {
    16
}

/// The requests of a recording. Endpoints of the scenario answer them, not the recorded ones.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// Names the source in the report.
    pub name: Option<String>,
    /// The file or folder, from the folder of the scenario; every format that `record` reads.
    pub file: PathBuf,
    /// When its first request comes.
    #[serde(default)]
    pub from: Span,
    /// How many times as fast it goes.
    #[serde(default = "unit")]
    pub speed: f64,
    /// How often it goes from its beginning to its end; each time the clients are new ones.
    #[serde(default = "once")]
    pub repeat: u32,
    /// How many copies of each client there are; the copies of a request are spread over the time to the recording's
    /// next request of that client.
    #[serde(default = "once")]
    pub copies: u32,
    /// Which streams are one client, as the `--session` of `replay`.
    #[serde(default = "auto")]
    pub session: String,
}

const fn unit() -> f64 {
    1.0
}

const fn once() -> u32 {
    1
}

fn auto() -> String {
    "auto".to_owned()
}

/// Single requests at given times.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scripted {
    /// Names the source in the report.
    pub name: Option<String>,
    /// The requests, in the order of their times.
    pub list: Vec<ScriptedRequest>,
}

/// A request at a given time.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptedRequest {
    /// When it comes. Without it, when the one before has ended.
    pub at: Option<Span>,
    /// How many of it come one after the other, each when the one before has ended.
    #[serde(default = "once")]
    pub times: u32,
    /// Which client sends it; clients of scripted requests keep cookies and have a connection each.
    #[serde(default)]
    pub client: u32,
    /// After this long without an answer the client goes away.
    pub gives_up_after: Option<Span>,
    /// The request.
    #[serde(default)]
    pub request: RequestTemplate,
}
