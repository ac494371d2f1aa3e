//! The requests of a recording, for endpoints that the scenario has.
//!
//! A request goes out whole: its body, its frames and how long the recorded upstream took are known only when its stream
//! has ended, perhaps an hour later. So a recording is read once, before the run: requests are put aside as their streams
//! end (into memory, beyond [`IN_MEMORY_BYTES`] into a file that is gone with the process), and an index says when each
//! comes. Answers aren't kept.
//! Limits: memory is some 60 bytes a request, the requests whose streams are open, and what is put aside in memory.

mod spool;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tidegate_model::scenario::Recorded;
use tidegate_model::traffic::{Arrival, Request, client_address};

use crate::recording::{
    Event, EventKind, Headers, Open, ReadOptions, RecordingError, RecordingReader, SessionKey,
};
use crate::replay::sessions::{Found, Sessions};
use spool::Spool;

/// So much of what is put aside stays in memory.
const IN_MEMORY_BYTES: usize = 64 * 1024 * 1024;

/// A body of which only the size was recorded is made up to this size.
const MADE_BODY_BYTES: u64 = 16 * 1024 * 1024;

/// Clients that aren't recorded ones have addresses from here.
const FIRST_ADDRESS: std::net::Ipv4Addr = std::net::Ipv4Addr::new(10, 160, 0, 1);

/// A recording that has been read.
#[derive(Debug)]
pub struct Recording {
    requests: Vec<Entry>,
    /// The recorded addresses of clients, where they are known.
    addresses: Vec<Option<String>>,
    /// From the first event to the last.
    lasts_ns: u64,
    spool: Mutex<Spool>,
}

#[derive(Debug)]
struct Entry {
    /// From the recording's beginning.
    at_ns: u64,
    /// To the client's next request, or to the recording's end.
    gap_ns: u64,
    client: usize,
    latency_ns: Option<u64>,
    place: u64,
}

impl Recording {
    /// Reads a recording: a file or a folder.
    ///
    /// # Errors
    /// It can't be read or is malformed; what is put aside can't be written.
    pub(super) fn read(path: &Path, session: &SessionKey) -> Result<Self, RecordingError> {
        let options = ReadOptions {
            session: session.clone(),
            ..ReadOptions::default()
        };
        let mut reader = RecordingReader::open(&[path], &options)?;
        let begins_ns = reader.first_time_ns()?.unwrap_or(0);
        let failed = |error| {
            RecordingError::of_input(
                &path.display().to_string(),
                crate::recording::RecordingProblem::Io(error),
            )
        };
        let mut reading = Reading {
            begins_ns,
            ends_ns: begins_ns,
            open: BTreeMap::new(),
            sessions: Sessions::new(session.clone()),
            requests: Vec::new(),
            addresses: Vec::new(),
            spool: Spool::new(IN_MEMORY_BYTES),
        };
        while let Some(event) = reader.next()? {
            reading.event(event).map_err(failed)?;
        }
        reading.finish().map_err(failed)
    }

    /// Returns how many requests there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Whether it says of any request how long the upstream took.
    #[must_use]
    pub fn has_latency(&self) -> bool {
        self.requests.iter().any(|it| it.latency_ns.is_some())
    }

    fn request(&self, place: u64) -> io::Result<Request> {
        self.spool
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(place)
    }
}

/// A recording while it is read.
struct Reading {
    begins_ns: u64,
    ends_ns: u64,
    open: BTreeMap<u64, Stream>,
    sessions: Sessions,
    requests: Vec<Entry>,
    addresses: Vec<Option<String>>,
    spool: Spool,
}

/// A stream of which not all is known.
#[derive(Default)]
struct Stream {
    opened: Open<'static>,
    client: Found,
    /// When its request came; `None` before.
    at_ns: Option<u64>,
    /// When the upstream had all that it needed to begin: when it was chosen, else when the request's last part came.
    begun_ns: u64,
    has_upstream: bool,
    latency_ns: Option<u64>,
    upgraded_ns: Option<u64>,
    is_truncated: bool,
    request: Request,
}

impl Reading {
    fn event(&mut self, event: Event<'_>) -> io::Result<()> {
        let Event {
            time_ns: now_ns,
            stream: number,
            kind,
        } = event;
        self.ends_ns = self.ends_ns.max(now_ns);
        if let EventKind::Open(opened) = kind {
            let owned = Event {
                time_ns: now_ns,
                stream: number,
                kind: EventKind::Open(opened),
            };
            if let EventKind::Open(opened) = owned.into_owned().kind {
                let stream = Stream {
                    opened: *opened,
                    ..Stream::default()
                };
                self.open.insert(number, stream);
            }
            return Ok(());
        }
        if let EventKind::Close(close) = kind {
            let Some(mut stream) = self.open.remove(&number) else {
                return Ok(());
            };
            if stream.request.body.is_empty()
                && let Some(bytes) = close.request_bytes.filter(|bytes| *bytes > 0)
            {
                let bytes = usize::try_from(bytes.min(MADE_BODY_BYTES)).unwrap_or(0);
                stream.request.body.push((0, vec![b'.'; bytes]));
                stream.is_truncated = true;
            }
            return self.put_aside(stream, now_ns);
        }
        let Some(stream) = self.open.get_mut(&number) else {
            return Ok(());
        };
        match kind {
            EventKind::RequestHeaders(headers) => {
                stream.client = self.sessions.of(&stream.opened, &headers);
                stream.at_ns = Some(now_ns);
                stream.begun_ns = now_ns;
                stream.request.headers = owned(&headers.fields);
                self.addresses
                    .resize(self.sessions.len().max(self.addresses.len()), None);
                if let Some(address) = self.addresses.get_mut(stream.client.session)
                    && address.is_none()
                {
                    *address = stream.opened.source.as_deref().map(str::to_owned);
                }
            }
            EventKind::RequestBody(body) => stream.body(now_ns, &body.bytes, body.truncated),
            EventKind::RequestTrailers(trailers) => {
                stream.request.trailers = owned(&trailers.fields);
            }
            EventKind::Upstream(_) => {
                stream.begun_ns = now_ns;
                stream.has_upstream = true;
            }
            EventKind::ResponseHeaders(headers) => {
                stream.answered(now_ns, &headers);
                self.sessions.answered(stream.client, &headers);
            }
            EventKind::ResponseBody(_)
            | EventKind::ResponseTrailers(_)
            | EventKind::Open(_)
            | EventKind::Close(_) => {}
        }
        Ok(())
    }

    fn put_aside(&mut self, mut stream: Stream, now_ns: u64) -> io::Result<()> {
        // A stream without a request is a connection that nothing came over.
        let Some(at_ns) = stream.at_ns else {
            return Ok(());
        };
        if stream.is_truncated {
            stream.tell_length();
        }
        stream.leave(now_ns);
        let place = self.spool.put(&stream.request)?;
        self.requests.push(Entry {
            at_ns: at_ns.saturating_sub(self.begins_ns),
            gap_ns: 0,
            client: stream.client.session,
            latency_ns: stream.latency_ns,
            place,
        });
        Ok(())
    }

    fn finish(mut self) -> io::Result<Recording> {
        while let Some((_, stream)) = self.open.pop_first() {
            self.put_aside(stream, self.ends_ns)?;
        }
        let lasts_ns = self.ends_ns.saturating_sub(self.begins_ns);
        self.requests
            .sort_by_key(|entry| (entry.at_ns, entry.place));
        let mut next_of: Vec<u64> = vec![lasts_ns; self.sessions.len()];
        for entry in self.requests.iter_mut().rev() {
            if let Some(next_ns) = next_of.get_mut(entry.client) {
                entry.gap_ns = next_ns.saturating_sub(entry.at_ns);
                *next_ns = entry.at_ns;
            }
        }
        Ok(Recording {
            requests: self.requests,
            addresses: self.addresses,
            lasts_ns,
            spool: Mutex::new(self.spool),
        })
    }
}

impl Stream {
    fn body(&mut self, now_ns: u64, bytes: &[u8], is_truncated: bool) {
        if let Some(upgraded_ns) = self.upgraded_ns {
            if !bytes.is_empty() {
                let at_ns = now_ns.saturating_sub(upgraded_ns);
                let frames = self.request.frames.get_or_insert_default();
                frames.push((at_ns, bytes.to_vec()));
            }
            return;
        }
        self.is_truncated |= is_truncated;
        if !self.has_upstream {
            self.begun_ns = now_ns;
        }
        if !bytes.is_empty() {
            let at_ns = now_ns.saturating_sub(self.at_ns.unwrap_or(now_ns));
            self.request.body.push((at_ns, bytes.to_vec()));
        }
    }

    fn answered(&mut self, now_ns: u64, headers: &Headers<'_>) {
        // What the proxy said itself tells nothing of an upstream.
        if headers.details.is_none() && self.latency_ns.is_none() {
            self.latency_ns = Some(now_ns.saturating_sub(self.begun_ns));
        }
        if headers.value(":status") == Some(b"101") {
            self.upgraded_ns = Some(now_ns);
            self.request.frames.get_or_insert_default();
        }
    }

    /// Lets a client of a WebSocket go away when it did, unless it said Close.
    fn leave(&mut self, now_ns: u64) {
        /// SOURCE: RFC 6455, section 5.2: the opcode of a Close is the lower half of a frame's first byte.
        const CLOSE: u8 = 8;
        let (Some(upgraded_ns), Some(frames)) = (self.upgraded_ns, &mut self.request.frames) else {
            return;
        };
        let last = frames.last().and_then(|(_, bytes)| bytes.first());
        if last.is_none_or(|first| first & 0x0f != CLOSE) {
            frames.push((now_ns.saturating_sub(upgraded_ns), Vec::new()));
        }
    }

    /// Tells the length of what is left of a body, or was made for it.
    fn tell_length(&mut self) {
        let bytes: usize = self.request.body.iter().map(|(_, part)| part.len()).sum();
        for (name, value) in &mut self.request.headers {
            if name == b"content-length" {
                *value = bytes.to_string().into_bytes();
            }
        }
    }
}

fn owned(fields: &[crate::recording::Field<'_>]) -> Vec<(Vec<u8>, Vec<u8>)> {
    fields
        .iter()
        .map(|(name, value)| (name.to_vec(), value.to_vec()))
        .collect()
}

/// Yields the requests of a recording as a source of a scenario says.
#[derive(Debug)]
pub(super) struct RecordedTraffic {
    recording: Arc<Recording>,
    source: usize,
    from_ns: u64,
    until_ns: u64,
    speed: f64,
    repeat: u64,
    copies: u64,
    /// The next request that no copy came of: which time of the recording, and which of its requests.
    cursor: (u64, usize),
    /// The next copies, by time.
    pending: BinaryHeap<Reverse<Copy>>,
    number: u64,
}

/// A copy of a request that comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Copy {
    at_ns: u64,
    time: u64,
    request: usize,
    copy: u64,
}

impl RecordedTraffic {
    pub(super) fn new(
        recording: Arc<Recording>,
        source: usize,
        of: &Recorded,
        until_ns: u64,
    ) -> Self {
        Self {
            recording,
            source,
            from_ns: of.from.ns(),
            until_ns,
            speed: of.speed,
            repeat: u64::from(of.repeat),
            copies: u64::from(of.copies),
            cursor: (0, 0),
            pending: BinaryHeap::new(),
            number: 0,
        }
    }

    pub(super) fn next(&mut self) -> io::Result<Option<Arrival>> {
        let Some(copy) = self.next_copy() else {
            return Ok(None);
        };
        let Some(entry) = self.recording.requests.get(copy.request) else {
            return Ok(None);
        };
        let mut request = self.recording.request(entry.place)?;
        let frames = request.frames.iter_mut().flatten();
        for (at_ns, _) in request.body.iter_mut().chain(frames) {
            *at_ns = self.scaled(*at_ns);
        }
        let clients = self.recording.addresses.len() as u64;
        let of_clients = copy.time.saturating_mul(self.copies) + copy.copy;
        let client = of_clients.saturating_mul(clients) + entry.client as u64;
        let recorded = self
            .recording
            .addresses
            .get(entry.client)
            .cloned()
            .flatten();
        let address = match recorded {
            // The copies are other clients than the recorded one.
            Some(address) if of_clients == 0 => address,
            _ => client_address(FIRST_ADDRESS, client, self.source),
        };
        let number = self.number;
        self.number += 1;
        Ok(Some(Arrival {
            at_ns: copy.at_ns,
            source: self.source,
            number,
            client,
            address,
            keeps_cookies: true,
            gives_up_after_ns: None,
            request: Arc::new(request),
            recorded_latency_ns: entry.latency_ns,
            chained: false,
        }))
    }

    fn next_copy(&mut self) -> Option<Copy> {
        while let Some(first) = self.at_cursor()
            && self
                .pending
                .peek()
                .is_none_or(|Reverse(next)| first.at_ns <= next.at_ns)
        {
            self.pending.push(Reverse(first));
            let (time, request) = self.cursor;
            self.cursor = if request + 1 < self.recording.requests.len() {
                (time, request + 1)
            } else {
                (time + 1, 0)
            };
        }
        let Reverse(copy) = self.pending.pop()?;
        if copy.at_ns >= self.until_ns {
            return None;
        }
        if copy.copy + 1 < self.copies {
            let next = self.copy(copy.time, copy.request, copy.copy + 1)?;
            self.pending.push(Reverse(next));
        }
        Some(copy)
    }

    fn at_cursor(&self) -> Option<Copy> {
        let (time, request) = self.cursor;
        if time >= self.repeat {
            return None;
        }
        self.copy(time, request, 0)
            .filter(|copy| copy.at_ns < self.until_ns)
    }

    fn copy(&self, time: u64, request: usize, copy: u64) -> Option<Copy> {
        let entry = self.recording.requests.get(request)?;
        let wide = u128::from(entry.gap_ns) * u128::from(copy) / u128::from(self.copies.max(1));
        let later_ns = u64::try_from(wide).unwrap_or(u64::MAX);
        let inside_ns = self.scaled(entry.at_ns.saturating_add(later_ns));
        let begins_ns = self.scaled(self.recording.lasts_ns).saturating_mul(time);
        Some(Copy {
            at_ns: self
                .from_ns
                .saturating_add(begins_ns)
                .saturating_add(inside_ns),
            time,
            request,
            copy,
        })
    }

    fn scaled(&self, ns: u64) -> u64 {
        // As many times as fast takes one part of the time.
        let seconds = std::time::Duration::from_nanos(ns).as_secs_f64() / self.speed;
        std::time::Duration::try_from_secs_f64(seconds)
            .ok()
            .and_then(|time| u64::try_from(time.as_nanos()).ok())
            .unwrap_or(u64::MAX)
    }
}
