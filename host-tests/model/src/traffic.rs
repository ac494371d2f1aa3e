//! Requests as they come, in the order of their times.
//!
//! [`Traffic`] yields those of generated and scripted sources, one at a time; a driver merges the requests of recordings,
//! which have to be read. Where two come at the same time, the source that stands first in the scenario goes first.
//! Cost: O(log sources) for a request; memory is that of the sources' templates.

mod generated;
mod scripted;
mod template;
mod websocket;

use std::sync::Arc;

use crate::scenario::{Scenario, Source};
use generated::Generator;
use scripted::Script;

/// A request that comes.
#[derive(Debug, Clone, PartialEq)]
pub struct Arrival {
    /// When, in nanoseconds since the scenario began.
    pub at_ns: u64,
    /// The source, by its position in the scenario.
    pub source: usize,
    /// The request within its source, from 0.
    pub number: u64,
    /// The client within its source. A client is one session with one connection.
    pub client: u64,
    /// The client's address as `ip:port`.
    pub address: String,
    /// Whether the client keeps cookies.
    pub keeps_cookies: bool,
    /// After this long without an answer the client goes away.
    pub gives_up_after_ns: Option<u64>,
    /// The request.
    pub request: Arc<Request>,
    /// How long the recorded upstream took to the headers of its answer, in nanoseconds.
    pub recorded_latency_ns: Option<u64>,
    /// The next request of its source comes when this one has ended (`at_ns` is then the earliest time).
    pub chained: bool,
}

/// What a client sends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// Headers in order, pseudo-headers first.
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    /// The body's parts with their times from the headers, in nanoseconds.
    pub body: Vec<(u64, Vec<u8>)>,
    /// Trailers.
    pub trailers: Vec<(Vec<u8>, Vec<u8>)>,
    /// What the client sends after an upgrade: bytes with their times from the 101, in nanoseconds. A masked Close at the
    /// end is the client's own. Where there are no bytes the client goes away without a word.
    pub frames: Option<Vec<(u64, Vec<u8>)>>,
}

/// The requests of all generated and scripted sources.
#[derive(Debug)]
pub struct Traffic {
    sources: Vec<Stream>,
}

#[derive(Debug)]
struct Stream {
    source: usize,
    kind: Kind,
    /// Looked at before it is taken, so that sources can be merged.
    next: Option<Arrival>,
}

#[derive(Debug)]
enum Kind {
    Generated(Box<Generator>),
    Scripted(Script),
}

impl Traffic {
    /// Makes the traffic of a scenario with one seed; sources that are recordings have none here.
    #[must_use]
    pub fn new(scenario: &Scenario, seed: u64) -> Self {
        let mut sources = Vec::new();
        for (source, of) in scenario.traffic.iter().enumerate() {
            let kind = match of {
                Source::Generated(generated) => Kind::Generated(Box::new(Generator::new(
                    source,
                    generated,
                    scenario.duration.ns(),
                    seed,
                ))),
                Source::Requests(scripted) => {
                    Kind::Scripted(Script::new(source, scripted, scenario.duration.ns()))
                }
                Source::Recording(_) => continue,
            };
            sources.push(Stream {
                source,
                kind,
                next: None,
            });
        }
        Self { sources }
    }

    /// Returns when the next request comes, as far as is known: one that waits for another's end isn't.
    pub fn next_ns(&mut self) -> Option<u64> {
        self.first().map(|(at_ns, _)| at_ns)
    }

    /// Takes the next request. `None`: there is none, or none before a request has ended that another waits for.
    #[expect(
        clippy::should_implement_trait,
        reason = "after `None` there may be more"
    )]
    pub fn next(&mut self) -> Option<Arrival> {
        let (_, index) = self.first()?;
        self.sources.get_mut(index)?.next.take()
    }

    /// A request has ended, answered or not; the one that waits for it may come.
    pub fn ended(&mut self, source: usize, number: u64, now_ns: u64) {
        for stream in self.sources.iter_mut().filter(|it| it.source == source) {
            if let Kind::Scripted(script) = &mut stream.kind {
                // What was looked at isn't first any more if this one comes before it.
                script.ended(number, now_ns, stream.next.take());
            }
        }
    }

    fn first(&mut self) -> Option<(u64, usize)> {
        let mut first: Option<(u64, usize)> = None;
        for (index, stream) in self.sources.iter_mut().enumerate() {
            if stream.next.is_none() {
                stream.next = match &mut stream.kind {
                    Kind::Generated(generator) => generator.next(),
                    Kind::Scripted(script) => script.next(),
                };
            }
            if let Some(next) = &stream.next
                && first.is_none_or(|(at_ns, _)| next.at_ns < at_ns)
            {
                first = Some((next.at_ns, index));
            }
        }
        first
    }
}

/// Returns a client's address: clients count up from the first address, sources have ports of their own.
#[must_use]
pub fn client_address(first: std::net::Ipv4Addr, client: u64, source: usize) -> String {
    let offset = u32::try_from(client & u64::from(u32::MAX)).unwrap_or(0);
    let address = std::net::Ipv4Addr::from(u32::from(first).wrapping_add(offset));
    format!("{address}:{}", 40_000 + source % 20_000)
}

#[cfg(test)]
mod tests;
