//! What came of a scenario: a row per request, figures over all of them, and what was expected of the figures.
//!
//! The closed loop and the real Envoy fill the same rows, so that they can be compared.

use std::io;

use crate::router::Flags;

/// What became of one request. Endpoints are addresses as the scenario has them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Row {
    /// The source, by its position in the scenario.
    pub source: usize,
    /// The request within its source, from 0.
    pub number: u64,
    /// Copy or client within the source.
    pub client: u64,
    /// When its headers came, in nanoseconds since the scenario began.
    pub started_ns: u64,
    /// The worker that had it.
    pub worker: u32,
    /// Method.
    pub method: String,
    /// Path.
    pub path: String,
    /// What the client was answered; `None`: nothing, its connection was cut or it went away.
    pub status: Option<u16>,
    /// Envoy's response flags.
    pub flags: Flags,
    /// Envoy's response code details.
    pub details: String,
    /// The endpoint of each attempt, in order; `None`: there was none to choose, or it isn't known.
    pub endpoints: Vec<Option<String>>,
    /// How many attempts the proxy says that there were.
    pub attempts: u32,
    /// From its headers to the answer's headers, in nanoseconds; `None` without an answer.
    pub first_byte_ns: Option<u64>,
    /// From its headers to its end, in nanoseconds.
    pub total_ns: u64,
    /// Bytes of the answer's body.
    pub body_bytes: u64,
    /// What happened on it as a WebSocket; of every request that asked for one, also when it was refused.
    pub socket: Option<Socket>,
}

/// What happened on a WebSocket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Socket {
    /// Messages that the client sent.
    pub sent: u64,
    /// Messages that it got back.
    pub received: u64,
    /// The code it was closed with, at the client; `None`: its connection was cut (1006).
    pub close_code: Option<u16>,
}

/// Takes what a run reports, as it happens: the report, a file, or both.
pub trait Sink {
    /// A request has ended.
    ///
    /// # Errors
    /// What it is written to fails.
    fn row(&mut self, row: &Row) -> io::Result<()>;

    /// So many requests are under way at an endpoint now, from all workers. Called when the number has grown.
    fn in_flight(&mut self, endpoint: &str, now_ns: u64, count: u32);

    /// A figure of the whole run that rows don't show, at the run's end: one of [`RUN_FIGURES`], or `metrics.NAME` for a
    /// counter or gauge of a plugin.
    fn figure(&mut self, name: &str, value: f64);

    /// A plugin trapped in a callback on a thread.
    fn trap(&mut self, _plugin: &str, _callback: &str, _thread: &str, _message: &str) {}
}

/// Figures of a whole run that the driver reports, with what they are.
pub const RUN_FIGURES: [(&str, &str); 4] = [
    ("call_outs", "calls that plugins made"),
    ("fuel_per_request", "instructions of plugins per request"),
    ("guest_faults", "callbacks that ran out of fuel or memory"),
    (
        "traps",
        "callbacks that trapped, those without fuel or memory too",
    ),
];

impl Row {
    /// Returns the endpoint that answered.
    #[must_use]
    pub fn served_by(&self) -> Option<&str> {
        self.endpoints.last()?.as_deref()
    }
}
