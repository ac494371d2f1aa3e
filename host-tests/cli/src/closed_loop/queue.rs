//! What happens when.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use tidegate_host::CallId;
use tidegate_model::router::Reset;

/// Something that happens at a time. Streams and works are named by numbers that are never used again: an event about one
/// that is gone means nothing.
#[derive(Debug, Clone)]
pub(super) enum Event {
    /// The next request comes.
    Arrive,
    /// The client sends the next part of a request's body.
    RequestBody {
        /// The stream.
        stream: u64,
        /// Which part.
        part: usize,
    },
    /// The client sends a frame on a WebSocket.
    Frame {
        /// The stream.
        stream: u64,
        /// Which.
        index: usize,
    },
    /// The client goes away if it has no answer.
    GiveUp { stream: u64 },
    /// The route's time-out is over.
    Timeout { stream: u64 },
    /// The time of one attempt is over.
    PerTryTimeout { stream: u64, work: u64 },
    /// The next attempt begins.
    Retry { stream: u64 },
    /// A connection to an endpoint is made.
    Connected {
        cluster: usize,
        thread: usize,
        host: usize,
    },
    /// A connection to an endpoint can't be made.
    ConnectFails {
        cluster: usize,
        thread: usize,
        host: usize,
        reset: Reset,
    },
    /// An attempt, or a call-out, ends without an answer.
    Fails { work: u64, reset: Reset },
    /// An endpoint does with a request what it was going to do.
    Serves { work: u64 },
    /// The body of an answer ends, or is cut off.
    BodyEnds { work: u64, is_cut: bool },
    /// An endpoint sends bytes on a WebSocket; then, if it is over, it closes the connection.
    SocketData {
        work: u64,
        bytes: Vec<u8>,
        is_over: bool,
    },
    /// The admin answers a call-out.
    AdminAnswers { call: CallId },
    /// A call-out ends because its time is over.
    CallEnds { work: u64 },
    /// Something about the endpoints of a cluster changes.
    EndpointsChange { cluster: usize },
}

/// Events in the order of their times, and of their making among those of one time.
#[derive(Debug, Default)]
pub(super) struct Queue {
    heap: BinaryHeap<Entry>,
    made: u64,
    /// How many events are about streams and call-outs.
    pending: usize,
}

#[derive(Debug)]
struct Entry {
    at_ns: u64,
    made: u64,
    event: Event,
}

impl Queue {
    pub(super) fn push(&mut self, at_ns: u64, event: Event) {
        self.pending += usize::from(event.is_pending());
        self.heap.push(Entry {
            at_ns,
            made: self.made,
            event,
        });
        self.made += 1;
    }

    pub(super) fn next_ns(&self) -> Option<u64> {
        self.heap.peek().map(|entry| entry.at_ns)
    }

    pub(super) fn pop(&mut self) -> Option<(u64, Event)> {
        let entry = self.heap.pop()?;
        self.pending -= usize::from(entry.event.is_pending());
        Some((entry.at_ns, entry.event))
    }

    /// Whether anything is going to happen to a stream or a call-out.
    pub(super) const fn is_pending(&self) -> bool {
        self.pending > 0
    }
}

impl Event {
    const fn is_pending(&self) -> bool {
        !matches!(self, Self::EndpointsChange { .. })
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        // The heap gives the greatest: that is the earliest.
        (other.at_ns, other.made).cmp(&(self.at_ns, self.made))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Entry {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_as_they_were_made() {
        let mut queue = Queue::default();
        for (at_ns, stream) in [(5, 1), (3, 2), (5, 3), (3, 4), (0, 5)] {
            queue.push(at_ns, Event::Retry { stream });
        }
        let order = std::iter::from_fn(|| queue.pop()).map(|(at_ns, event)| match event {
            Event::Retry { stream } => (at_ns, stream),
            _ => (at_ns, 0),
        });
        let order: Vec<_> = order.collect();
        assert_eq!(order, [(0, 5), (3, 2), (3, 4), (5, 1), (5, 3)]);
    }

    #[test]
    fn changes_of_endpoints_keep_no_run_going() {
        let mut queue = Queue::default();
        queue.push(9, Event::EndpointsChange { cluster: 0 });
        assert!(!queue.is_pending());
        queue.push(1, Event::Arrive);
        assert!(queue.is_pending());
        queue.pop();
        assert!(!queue.is_pending());
        assert_eq!(queue.next_ns(), Some(9));
    }
}
