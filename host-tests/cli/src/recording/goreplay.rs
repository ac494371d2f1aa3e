//! Reads files of GoReplay: raw HTTP/1 messages with a line of their own in front of each.
//!
//! Model: `<type> <id> <time in ns> <latency in ns>`, the message, then a line with three monkeys. Type 1 is a request; 2 its
//! answer; 3 the answer of another server, to which the request was replayed: it stands in where there is no type 2 before
//! it. A request and its answer have the same identity.
//! Limits: no addresses, no connections. A request is held until its answer comes, for as long as the reorder window and as much
//! as [`PENDING_BYTES_MAX`]; one without an answer ends when it began.
//! SOURCE: `protocol.go` and `input_raw.go` of github.com/buger/goreplay.

mod message;

use std::collections::{BTreeMap, HashMap};

use self::message::Message;
use super::entries::Entries;
use super::error::{RecordingError, RecordingProblem};
use super::event::{Close, CloseReason, EventKind};
use super::import::{Context, Converter, Opening};
use super::scan::Recovery;

/// What stands between two payloads.
const SEPARATOR: &[u8] = "\n🐵🙈🙉\n".as_bytes();

/// How much of requests may be held that wait for their answer. A request is some 2 KB: this is some thousands.
const PENDING_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The longest identity; GoReplay's own have 24 or 40 characters.
const ID_BYTES_MAX: usize = 128;

/// Files that are being read.
#[derive(Debug)]
pub(super) struct GoReplay {
    window_ns: u64,
    /// Requests that wait, in the order in which they were read.
    pending: BTreeMap<u64, Pending>,
    by_id: HashMap<Vec<u8>, u64>,
    pending_bytes: usize,
    peak_bytes: usize,
    read: u64,
    newest_ns: u64,
}

#[derive(Debug)]
struct Pending {
    id: Vec<u8>,
    begun_ns: u64,
    stream: u64,
    is_head: bool,
    weight: usize,
    events: Vec<EventKind<'static>>,
}

/// The line in front of a message.
#[derive(Debug, PartialEq, Eq)]
struct Meta<'a> {
    kind: u8,
    id: &'a [u8],
    time_ns: u64,
    latency_ns: u64,
}

impl GoReplay {
    pub(super) fn new(window_ns: u64) -> Self {
        Self {
            window_ns,
            pending: BTreeMap::new(),
            by_id: HashMap::new(),
            pending_bytes: 0,
            peak_bytes: 0,
            read: 0,
            newest_ns: 0,
        }
    }

    /// Says whether a file begins like one of GoReplay; `None` if more has to be seen.
    pub(super) fn recognises(beginning: &[u8]) -> Option<bool> {
        let Some(end) = memchr::memchr(b'\n', beginning) else {
            return (beginning.len() > ID_BYTES_MAX + 64).then_some(false);
        };
        Some(Meta::of(beginning.get(..end)?).is_ok())
    }

    /// Says when the first message of a file was.
    pub(super) fn beginning(beginning: &[u8]) -> Option<u64> {
        let line = beginning.split(|&byte| byte == b'\n').next()?;
        Meta::of(line).ok().map(|meta| meta.time_ns)
    }

    fn request(&mut self, meta: &Meta<'_>, message: Message, context: &mut Context) {
        if let Some(before) = self.by_id.get(meta.id).copied() {
            // An identity that was used again: nothing answers the request before.
            self.give_up(before, context);
        }
        let stream = context.new_id();
        let is_head = message.is_head;
        let mut events = Vec::with_capacity(3);
        let opening = Opening {
            protocol: message.protocol.map(str::to_owned),
            ..Opening::default()
        };
        let open = context.open(&message.headers, opening);
        events.push(EventKind::Open(Box::new(open)));
        events.push(EventKind::RequestHeaders(message.headers));
        events.extend(message.body.map(EventKind::RequestBody));
        events.extend(message.trailers.map(EventKind::RequestTrailers));
        let weight = events.iter().map(EventKind::weight_bytes).sum::<usize>() + meta.id.len();
        self.pending_bytes += weight;
        self.peak_bytes = self.peak_bytes.max(self.pending_bytes);
        self.by_id.insert(meta.id.to_vec(), self.read);
        let pending = Pending {
            id: meta.id.to_vec(),
            begun_ns: meta.time_ns,
            stream,
            is_head,
            weight,
            events,
        };
        self.pending.insert(self.read, pending);
        while let Some((&oldest, pending)) = self.pending.first_key_value() {
            let is_late = pending.begun_ns.saturating_add(self.window_ns) < self.newest_ns;
            if !is_late && self.pending_bytes <= PENDING_BYTES_MAX {
                break;
            }
            self.give_up(oldest, context);
        }
    }

    fn response(&mut self, meta: &Meta<'_>, message: Message, context: &mut Context) {
        let Some(pending) = self
            .by_id
            .get(meta.id)
            .copied()
            .and_then(|at| self.take(at))
        else {
            context
                .statistics
                .skip("answers whose request is missing, or was answered");
            return;
        };
        // The answer of a replay has the time when it was asked for.
        let (begun_ns, ended_ns) = match meta.kind {
            b'3' => {
                let answered_ns = meta.time_ns.saturating_add(meta.latency_ns);
                (answered_ns, answered_ns)
            }
            _ => (meta.time_ns, meta.time_ns.saturating_add(meta.latency_ns)),
        };
        let answered_ns = begun_ns.max(pending.begun_ns);
        let ended_ns = ended_ns.max(answered_ns);
        let stream = pending.stream;
        push(pending, context);
        context.push(
            answered_ns,
            stream,
            EventKind::ResponseHeaders(message.headers),
        );
        if let Some(body) = message.body {
            context.push(ended_ns, stream, EventKind::ResponseBody(body));
        }
        if let Some(trailers) = message.trailers {
            context.push(ended_ns, stream, EventKind::ResponseTrailers(trailers));
        }
        context.push(ended_ns, stream, EventKind::Close(Close::default()));
    }

    /// Ends a request that nothing answers: whether the client went away or nobody captured the answer isn't known.
    fn give_up(&mut self, at: u64, context: &mut Context) {
        let Some(pending) = self.take(at) else {
            return;
        };
        let (begun_ns, stream) = (pending.begun_ns, pending.stream);
        push(pending, context);
        let close = Close {
            reason: CloseReason::Complete,
            ..Close::default()
        };
        context.push(begun_ns, stream, EventKind::Close(close));
    }

    fn take(&mut self, at: u64) -> Option<Pending> {
        let pending = self.pending.remove(&at)?;
        self.pending_bytes -= pending.weight;
        if self.by_id.get(&pending.id) == Some(&at) {
            self.by_id.remove(&pending.id);
        }
        Some(pending)
    }
}

impl Converter for GoReplay {
    fn source(&self) -> &'static str {
        "goreplay"
    }

    fn recovery(&self) -> Recovery {
        Recovery::Separator(SEPARATOR)
    }

    fn cut(&mut self, entries: &mut Entries) -> Result<bool, RecordingError> {
        while entries.next_until(SEPARATOR)? {
            if !entries.entry().trim_ascii().is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn convert(&mut self, entries: &Entries, context: &mut Context) -> Result<(), RecordingError> {
        let entry = entries.entry();
        let refuse = |at: usize, message: String| {
            let before = entry.get(..at).unwrap_or_default();
            let line = memchr::memchr_iter(b'\n', before).count() + 1;
            let column = before.len() - memchr::memrchr(b'\n', before).map_or(0, |end| end + 1) + 1;
            let problem = RecordingProblem::Payload { message };
            RecordingError::of_entry(
                entries.name(),
                entry,
                entries.start(),
                (line, column),
                problem,
            )
        };
        let end = memchr::memchr(b'\n', entry).unwrap_or(entry.len());
        let meta = Meta::of(entry.get(..end).unwrap_or_default())
            .map_err(|(at, expected)| refuse(at, format!("expected {expected}")))?;
        let start = end + 1;
        let payload = entry.get(start..).unwrap_or_default();
        self.read += 1;
        self.newest_ns = self.newest_ns.max(meta.time_ns);
        if meta.kind == b'1' {
            let message =
                Message::request(payload).map_err(|(at, expected)| refuse(start + at, expected))?;
            self.request(&meta, message, context);
        } else {
            let is_head = self
                .by_id
                .get(meta.id)
                .and_then(|at| self.pending.get(at))
                .is_some_and(|pending| pending.is_head);
            let message = Message::response(payload, is_head)
                .map_err(|(at, expected)| refuse(start + at, expected))?;
            self.response(&meta, message, context);
        }
        Ok(())
    }

    fn peak_bytes(&self) -> usize {
        self.peak_bytes
    }

    fn end(&mut self, context: &mut Context) {
        while let Some((&oldest, _)) = self.pending.first_key_value() {
            self.give_up(oldest, context);
        }
    }
}

fn push(pending: Pending, context: &mut Context) {
    for event in pending.events {
        context.push(pending.begun_ns, pending.stream, event);
    }
}

impl<'a> Meta<'a> {
    /// Reads the line; otherwise says where and what was expected.
    fn of(line: &'a [u8]) -> Result<Self, (usize, &'static str)> {
        let mut at = 0;
        let mut parts = line.split(|&byte| byte == b' ').map(|part| {
            let begin = at;
            at += part.len() + 1;
            (begin, part.trim_ascii_end())
        });
        const KIND: &str = "`1` (request), `2` (answer) or `3` (answer of a replay)";
        let kind = match parts.next() {
            Some((_, &[kind @ b'1'..=b'3'])) => kind,
            _ => return Err((0, KIND)),
        };
        let id = match parts.next() {
            Some((_, id)) if !id.is_empty() && id.len() <= ID_BYTES_MAX => id,
            _ => return Err((2, "an identity")),
        };
        let (begin, time) = parts.next().unwrap_or((line.len(), b""));
        let time_ns = number(time).ok_or((begin, "nanoseconds since the Unix epoch"))?;
        // Old versions write no latency, and -1 stands for none.
        let latency_ns = match parts.next() {
            None | Some((_, b"-1" | b"")) => 0,
            Some((begin, latency)) => number(latency).ok_or((begin, "nanoseconds"))?,
        };
        Ok(Meta {
            kind,
            id,
            time_ns,
            latency_ns,
        })
    }
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_in_front_of_a_message_is_read_or_refused_where_it_is_wrong() {
        let meta = |kind, latency_ns| {
            Ok(Meta {
                kind,
                id: b"ab12".as_slice(),
                time_ns: 17,
                latency_ns,
            })
        };
        let cases: [(&str, Result<Meta<'_>, usize>); 9] = [
            ("1 ab12 17 -1", meta(b'1', 0)),
            ("2 ab12 17 5", meta(b'2', 5)),
            ("3 ab12 17", meta(b'3', 0)),
            ("4 ab12 17", Err(0)),
            ("1", Err(2)),
            ("1  17", Err(2)),
            ("1 ab12", Err(6)),
            ("1 ab12 x", Err(7)),
            ("1 ab12 17 x", Err(10)),
        ];
        for (line, expected) in cases {
            let read = Meta::of(line.as_bytes()).map_err(|(at, _)| at);
            assert_eq!(read, expected, "{line}");
        }
    }
}
