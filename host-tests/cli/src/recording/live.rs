//! Records from a running Envoy: the admin's `/tap` as an input like any other.
//!
//! Model: a POST attaches a tap to the filters that wait for its `config_id`; the answer never ends and holds a JSON object per
//! exchange, written when its stream has ended (or one per event, for a streamed tap). Each gets the time of its
//! arrival as a field. The input ends at the border of an object: after so many, after a time, by a signal, or
//! because Envoy went away. Closing the connection takes the tap off again.
//! Limits: Envoy allows one tap at a time. Envoy keeps what a recorder doesn't read in its own memory, without a bound: so nothing
//! here waits for anything but Envoy, and the connection is closed before the recording is put together.
//! Memory: the object that is being received, at most [`LiveOptions::max_entry_bytes`], and one read of the socket.

mod admin;
mod clusters;
mod error;
mod framing;
mod request;

use std::future::Future;
use std::io::{self, Read};
use std::num::NonZeroU64;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Serialize;
use tokio::runtime::Runtime;

pub use self::admin::{AdminAddress, AdminAddressError};
pub use self::clusters::{Surroundings, look_around};
pub use self::error::LiveError;
pub use self::request::{HeaderMatch, HeaderMatchError};

use self::framing::Framing;

/// What to record, and until when.
#[derive(Debug, Clone)]
pub struct LiveOptions {
    /// Envoy's admin.
    pub admin: AdminAddress,
    /// The `config_id` of the tap filter.
    pub tap_id: String,
    /// Only requests whose path begins so.
    pub path: Option<String>,
    /// Only requests that have all of these headers.
    pub headers: Vec<HeaderMatch>,
    /// How much of a body Envoy keeps, each way, in bytes.
    pub max_body_bytes: u32,
    /// Whether to record events as they come instead of exchanges when they are over.
    pub streamed: bool,
    /// The input ends after so many objects; `None` without such an end.
    pub exchanges: Option<NonZeroU64>,
    /// The input ends after this time; `None` without such an end.
    pub duration: Option<Duration>,
    /// The longest object, in bytes.
    pub max_entry_bytes: usize,
}

/// Why a live recording ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LiveEnd {
    /// Envoy ended its answer.
    Closed,
    /// The exchanges that were asked for are there.
    Counted,
    /// The connection to the admin broke; how is in the text.
    Cut(String),
    /// The time is over.
    Elapsed,
    /// Somebody ended it, by Ctrl-C or SIGTERM.
    Interrupted,
    /// What came is not what Envoy writes; what it is is in the text.
    Malformed(String),
}

/// How far a live recording is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LiveState {
    /// Objects that arrived: exchanges, or events of a streamed tap.
    pub objects: u64,
    /// Bytes that Envoy sent.
    pub bytes: u64,
    /// Why it ended; `None` while it runs.
    pub end: Option<LiveEnd>,
}

/// A tap that is attached to a running Envoy, as an input to read.
pub struct LiveTap {
    connection: Option<Connection>,
    framing: Framing,
    state: Arc<Mutex<LiveState>>,
    on_progress: OnProgress,
}

/// What is called whenever something has arrived.
pub type OnProgress = Box<dyn FnMut(&LiveState) + Send>;

struct Connection {
    runtime: Runtime,
    body: Incoming,
    stop: Pin<Box<dyn Future<Output = LiveEnd> + Send>>,
    /// Why it is about to end: what is on its way is still read.
    stopped: Option<(LiveEnd, Instant)>,
}

/// How long nothing may come, after the end was asked for, until it is the end: what happened before is on its way. Envoy hands
/// a trace from a worker to the main thread and writes it, which takes a few milliseconds.
const REST_TIME: Duration = Duration::from_millis(100);
/// How long the rest may take under traffic that never pauses.
const REST_TIME_MAX: Duration = Duration::from_secs(1);

impl std::fmt::Debug for LiveTap {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("LiveTap")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl LiveTap {
    /// Attaches a tap. From now on SIGINT and SIGTERM end the recording and no longer the process.
    ///
    /// # Errors
    /// The admin can't be reached, refuses, or isn't Envoy's.
    pub fn attach(options: &LiveOptions, on_progress: OnProgress) -> Result<Self, LiveError> {
        let runtime = admin::runtime()?;
        let request = request::tap_request(options);
        let body = runtime.block_on(admin::attach(&options.admin, &options.tap_id, request))?;
        let stop = {
            let _inside = runtime.enter();
            stop(options.duration).map_err(LiveError::Signals)?
        };
        Ok(Self {
            connection: Some(Connection {
                runtime,
                body,
                stop,
                stopped: None,
            }),
            framing: Framing::new(options.exchanges, options.max_entry_bytes),
            state: Arc::default(),
            on_progress,
        })
    }

    /// Returns a view of how far it is, which outlives the input.
    #[must_use]
    pub fn state(&self) -> Arc<Mutex<LiveState>> {
        Arc::clone(&self.state)
    }

    fn end(&mut self, end: LiveEnd) {
        // Envoy takes the tap off when the connection is gone.
        self.connection = None;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.end.get_or_insert(end);
    }

    fn took(&mut self, bytes: usize) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.objects = self.framing.objects();
        state.bytes += bytes as u64;
        (self.on_progress)(&state);
    }
}

impl Read for LiveTap {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let given = self.framing.give(buffer);
            if given > 0 || buffer.is_empty() {
                return Ok(given);
            }
            if self.framing.is_full() {
                self.end(LiveEnd::Counted);
            }
            let Some(connection) = &mut self.connection else {
                return Ok(0);
            };
            match connection.next() {
                Ok(bytes) => {
                    let taken = self.framing.take(&bytes, now_ns());
                    self.took(bytes.len());
                    if let Err(malformed) = taken {
                        self.end(LiveEnd::Malformed(malformed.to_string()));
                    }
                }
                Err(end) => self.end(end),
            }
        }
    }
}

impl Connection {
    /// Waits for what comes next.
    fn next(&mut self) -> Result<hyper::body::Bytes, LiveEnd> {
        let (body, stop, stopped) = (&mut self.body, &mut self.stop, &mut self.stopped);
        self.runtime.block_on(async {
            loop {
                let rest = stopped.as_ref().map(|(_, last)| {
                    let next = tokio::time::Instant::now() + REST_TIME;
                    next.min(tokio::time::Instant::from_std(*last))
                });
                let over = async {
                    match rest {
                        Some(rest) => tokio::time::sleep_until(rest).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    biased;
                    end = &mut *stop, if stopped.is_none() => {
                        *stopped = Some((end, Instant::now() + REST_TIME_MAX));
                    }
                    () = over => {
                        let end = stopped.take().map_or(LiveEnd::Closed, |(end, _)| end);
                        return Err(end);
                    }
                    frame = body.frame() => match frame {
                        None => return Err(LiveEnd::Closed),
                        Some(Err(error)) => return Err(LiveEnd::Cut(chain(&error))),
                        Some(Ok(frame)) => {
                            if let Ok(bytes) = frame.into_data() {
                                return Ok(bytes);
                            }
                        }
                    },
                }
            }
        })
    }
}

/// What ends a recording from outside. It is made once and kept: a signal that comes between two reads counts.
fn stop(duration: Option<Duration>) -> io::Result<Pin<Box<dyn Future<Output = LiveEnd> + Send>>> {
    let elapsed = async move {
        match duration {
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    let interrupted = interrupted()?;
    Ok(Box::pin(async move {
        tokio::select! {
            () = interrupted => LiveEnd::Interrupted,
            () = elapsed => LiveEnd::Elapsed,
        }
    }))
}

#[cfg(unix)]
fn interrupted() -> io::Result<impl Future<Output = ()> + Send> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

#[cfg(not(unix))]
fn interrupted() -> io::Result<impl Future<Output = ()> + Send> {
    Ok(async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    })
}

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}

/// Writes an error with its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
