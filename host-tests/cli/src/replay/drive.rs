//! Drives the proxy with a recording, event by event.
//!
//! Model: time is the recording's; what is due in between (ticks, time-outs) happens at its own time. A stream goes to
//! the worker of its connection. The plugins see the recorded requests, plus the cookies that they themselves gave
//! the client; and the recorded responses, from the endpoint that they asked for if the recording knows it.
//! Limits: memory is that of the open streams and of the clients with their cookies.

use std::collections::BTreeMap;
use std::{fmt, io};

use tidegate_host::{ClusterConfig, Engine, Proxy, StreamAttributes};

use super::draw;
use super::exchange::Exchange;
use super::known::Known;
use super::observe::Watching;
use super::options::{Detail, Options, ReplayError};
use super::sessions::Sessions;
use super::totals::Totals;
use super::watch::CounterWatch;
use super::world::{Stream, World};
use crate::recording::{
    Close, CloseReason, Event, EventKind, Header, Headers, Open, RecordingReader,
};

/// A replay under way.
pub struct Replay {
    /// In the order of their numbers, so that what happens to all of them happens in the same order every time.
    streams: BTreeMap<u64, Stream>,
    world: World,
    workers: u32,
    seed: u64,
    /// Whether the headers of a request are needed to know whose it is.
    needs_headers: bool,
}

impl fmt::Debug for Replay {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Replay")
            .field("streams", &self.streams.len())
            .finish_non_exhaustive()
    }
}

/// Replays a whole recording; `sink` gets each exchange when its stream ends, unless only totals are asked for.
///
/// # Errors
/// The recording is malformed, the proxy doesn't start, `sink` fails.
pub fn run(
    engine: &Engine,
    options: Options,
    reader: &mut RecordingReader,
    sink: &mut dyn FnMut(&Exchange) -> io::Result<()>,
) -> Result<Totals, ReplayError> {
    let start_ns = reader.first_time_ns()?.unwrap_or(1_700_000_000_000_000_000);
    let mut replay = Replay::start(engine, options, reader.header(), start_ns)?;
    while let Some(event) = reader.next()? {
        replay.event(event, sink)?;
    }
    replay.finish(sink)
}

impl Replay {
    /// Starts the proxy at the time of the first event.
    ///
    /// # Errors
    /// A plugin refuses its configuration, traps, or can't be instantiated.
    pub fn start(
        engine: &Engine,
        options: Options,
        header: &Header,
        start_ns: u64,
    ) -> Result<Self, ReplayError> {
        let (watching, eyes) = Watching::new(options.log_level);
        let mut builder = Proxy::builder(engine)
            .workers(options.workers.max(1))
            .seed(options.seed)
            .profile(options.profile)
            .start_time_ns(start_ns)
            .log_level(options.log_level)
            .observer(Box::new(eyes));
        for plugin in options.plugins {
            builder = builder.filter(&plugin.module, plugin.config);
        }
        let mut known = Known::default();
        for cluster in &header.clusters {
            let config = ClusterConfig {
                name: cluster.name.clone(),
                endpoints: cluster.endpoints.clone(),
                ..ClusterConfig::default()
            };
            builder = builder.cluster(config);
            for endpoint in &cluster.endpoints {
                known.learn(&cluster.name, endpoint);
            }
        }
        let proxy = builder.build()?;
        let mut counters = CounterWatch::default();
        counters.look(&proxy, &mut Vec::new());
        let mut totals = Totals {
            first_ns: start_ns,
            last_ns: start_ns,
            ..Totals::default()
        };
        if let Some(seen) = watching.take() {
            totals.add_traps(&seen.traps);
        }
        let needs_headers = options.session.needs_headers();
        let world = World {
            proxy,
            sessions: Sessions::new(options.session),
            known,
            totals,
            watching,
            counters,
            detail: options.detail,
            endpoint_header: options.endpoint_header,
            behind_plugins: options.behind_plugins,
            answers: options.answers,
        };
        let (workers, seed) = (options.workers.max(1), options.seed);
        Ok(Self {
            streams: BTreeMap::new(),
            world,
            workers,
            seed,
            needs_headers,
        })
    }

    /// Returns the proxy, to look at.
    #[must_use]
    pub const fn proxy(&self) -> &Proxy {
        &self.world.proxy
    }

    /// Lets an event happen. `sink` gets the exchange if it ends its stream.
    ///
    /// # Errors
    /// The proxy refuses it, `sink` fails.
    pub fn event(
        &mut self,
        event: Event<'_>,
        sink: &mut dyn FnMut(&Exchange) -> io::Result<()>,
    ) -> Result<(), ReplayError> {
        self.advance(event.time_ns)?;
        self.world.totals.events += 1;
        self.world.totals.last_ns = event.time_ns;
        let (number, name) = (event.stream, event.kind.name());
        let refused = |source| ReplayError::Input {
            event: name,
            stream: number,
            source,
        };
        match event.kind {
            EventKind::Open(open) => self.open(number, event.time_ns, *open).map_err(refused),
            EventKind::Close(close) => {
                let Some(mut stream) = self.streams.remove(&number) else {
                    return Ok(());
                };
                self.world.close(&mut stream, &close).map_err(refused)?;
                self.hand_out(&stream.exchange, sink)
            }
            _ => {
                let Some(stream) = self.streams.get_mut(&number) else {
                    return Ok(());
                };
                self.world.apply(stream, event).map_err(refused)
            }
        }
    }

    /// Ends the streams that the recording leaves open and returns the totals.
    ///
    /// # Errors
    /// `sink` fails.
    pub fn finish(
        mut self,
        sink: &mut dyn FnMut(&Exchange) -> io::Result<()>,
    ) -> Result<Totals, ReplayError> {
        let close = Close {
            reason: CloseReason::ClientReset,
            ..Close::default()
        };
        while let Some((number, mut stream)) = self.streams.pop_first() {
            stream.exchange.unfinished = true;
            let refused = |source| ReplayError::Input {
                event: "close",
                stream: number,
                source,
            };
            self.world.close(&mut stream, &close).map_err(refused)?;
            self.hand_out(&stream.exchange, sink)?;
        }
        let World {
            proxy,
            sessions,
            mut totals,
            ..
        } = self.world;
        totals.sessions = sessions.len() as u64;
        totals.ask(&proxy);
        Ok(totals)
    }

    fn hand_out(
        &self,
        exchange: &Exchange,
        sink: &mut dyn FnMut(&Exchange) -> io::Result<()>,
    ) -> Result<(), ReplayError> {
        if self.world.detail == Detail::Totals {
            return Ok(());
        }
        sink(exchange).map_err(ReplayError::Output)
    }

    /// Moves time forward, with all that is due on the way: calls that are made at a tick are answered before the next.
    fn advance(&mut self, now_ns: u64) -> Result<(), ReplayError> {
        let refused = |stream| {
            move |source| ReplayError::Input {
                event: "time",
                stream,
                source,
            }
        };
        let mut has_fired = false;
        while let Some(due_ns) = self
            .world
            .proxy
            .next_timer_ns()
            .filter(|due_ns| *due_ns <= now_ns)
        {
            self.world.proxy.advance_to(due_ns);
            self.world.after_timers_of_plugins().map_err(refused(0))?;
            has_fired = true;
        }
        self.world.proxy.advance_to(now_ns);
        if has_fired {
            for (&number, stream) in &mut self.streams {
                self.world.after_timers(stream).map_err(refused(number))?;
            }
        }
        Ok(())
    }

    fn open(
        &mut self,
        number: u64,
        now_ns: u64,
        open: Open<'_>,
    ) -> Result<(), tidegate_host::InputError> {
        // A stream whose connection isn't known is alone on one.
        let connection = open.connection.unwrap_or_else(|| draw::mix(number) >> 12);
        let worker = draw::worker(connection, self.seed, self.workers);
        let text = |text: &Option<std::borrow::Cow<'_, str>>| {
            text.as_deref().unwrap_or_default().to_owned()
        };
        let cluster = text(&open.cluster);
        let attributes = StreamAttributes {
            connection_id: connection,
            source_address: text(&open.source),
            destination_address: text(&open.destination),
            protocol: open.protocol.as_deref().unwrap_or("HTTP/1.1").to_owned(),
            cluster_name: cluster.clone(),
            route_name: text(&open.route),
            ..StreamAttributes::default()
        };
        let id = self.world.proxy.open_stream(worker, attributes)?;
        self.world.totals.streams += 1;
        let exchange = Exchange {
            stream: number,
            worker,
            opened_ns: now_ns,
            cluster: (self.world.detail == Detail::Exchanges && !cluster.is_empty())
                .then(|| cluster.clone()),
            ..Exchange::default()
        };
        let mut stream = Stream::new(id, cluster, exchange);
        if self.needs_headers {
            let event = Event {
                time_ns: now_ns,
                stream: number,
                kind: EventKind::Open(Box::new(open)),
            };
            if let EventKind::Open(open) = event.into_owned().kind {
                stream.open = Some(*open);
            }
        } else {
            stream.client = self.world.sessions.of(&open, &Headers::default());
            stream.exchange.session = stream.client.session as u64 + 1;
        }
        self.streams.insert(number, stream);
        Ok(())
    }
}
