//! Puts events of several streams into the order of time.
//!
//! Why: a tap is written when its stream ends, so a file of taps is ordered by ends, and a replay needs the order of
//! what happened. All of it could be sorted only in memory that grows with the recording.
//! Model: an event is held until the newest beginning of a stream is more than the window after it, or until the
//! held events exceed [`HELD_BYTES_MAX`]. One that comes later still is moved to the time that was reached, and counted.
//! Limits: memory ≤ [`HELD_BYTES_MAX`] and one trace. Cost: O(log held) per event.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::event::{Event, EventKind};

/// How much may be held back for the sake of order. A trace with full bodies is some 10 KB, so that this holds
/// thousands of streams that overlap; less would order them worse, more helps nobody.
pub const HELD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Holds events back until their turn.
#[derive(Debug)]
pub(super) struct Reorder {
    /// Times, orders of arrival and places of the first events of runs: events that came one after the other with the same time.
    /// What is sorted is small, whatever the events are.
    held: BinaryHeap<Reverse<(u64, u64, usize)>>,
    /// The rest of the run that is being given.
    running: Option<usize>,
    /// Time and place of the event that came last, while it is held.
    newest: Option<(u64, usize)>,
    slots: Vec<Option<Held>>,
    free: Vec<usize>,
    window_ns: u64,
    newest_ns: u64,
    reached_ns: u64,
    arrived: u64,
    bytes: usize,
    peak: usize,
    late: u64,
}

impl Reorder {
    pub(super) const fn new(window_ns: u64) -> Self {
        Self {
            held: BinaryHeap::new(),
            running: None,
            newest: None,
            slots: Vec::new(),
            free: Vec::new(),
            window_ns,
            newest_ns: 0,
            reached_ns: 0,
            arrived: 0,
            bytes: 0,
            peak: 0,
            late: 0,
        }
    }

    /// Takes an event. The events of one stream come in their order.
    pub(super) fn push(&mut self, event: Event<'static>) {
        if matches!(event.kind, EventKind::Open(_)) {
            self.newest_ns = self.newest_ns.max(event.time_ns);
        }
        let weight = event.weight_bytes();
        self.bytes += weight;
        self.peak = self.peak.max(self.bytes);
        let time_ns = event.time_ns;
        let held = Some(Held {
            weight,
            event,
            next: None,
        });
        let place = if let Some(place) = self.free.pop() {
            if let Some(slot) = self.slots.get_mut(place) {
                *slot = held;
            }
            place
        } else {
            self.slots.push(held);
            self.slots.len() - 1
        };
        let before = self
            .newest
            .filter(|(newest_ns, _)| *newest_ns == time_ns)
            .and_then(|(_, before)| self.slots.get_mut(before)?.as_mut());
        match before {
            Some(before) => before.next = Some(place),
            None => self.held.push(Reverse((time_ns, self.arrived, place))),
        }
        self.newest = Some((time_ns, place));
        self.arrived += 1;
    }

    /// Says that no stream will begin before this time.
    pub(super) fn nothing_before(&mut self, time_ns: u64) {
        self.newest_ns = self.newest_ns.max(time_ns.saturating_add(self.window_ns));
    }

    /// Gives the earliest event if its turn has come; `at_end` when nothing more will be pushed.
    pub(super) fn pop(&mut self, at_end: bool) -> Option<Event<'static>> {
        let place = match self.running.take() {
            Some(place) => place,
            None => {
                let &Reverse((time_ns, _, place)) = self.held.peek()?;
                let due = time_ns.saturating_add(self.window_ns) < self.newest_ns;
                if !(due || at_end || self.bytes > HELD_BYTES_MAX) {
                    return None;
                }
                self.held.pop();
                place
            }
        };
        self.free.push(place);
        let Held {
            weight,
            mut event,
            next,
        } = self.slots.get_mut(place)?.take()?;
        self.running = next;
        if self.newest.is_some_and(|(_, newest)| newest == place) {
            self.newest = None;
        }
        self.bytes -= weight;
        if event.time_ns < self.reached_ns {
            self.late += 1;
            event.time_ns = self.reached_ns;
        }
        self.reached_ns = event.time_ns;
        Some(event)
    }

    /// Returns the largest number of bytes that were held at a time.
    pub(super) const fn peak_bytes(&self) -> usize {
        self.peak
    }

    /// Returns how many events were moved because they came too late.
    pub(super) const fn late(&self) -> u64 {
        self.late
    }
}

#[derive(Debug)]
struct Held {
    weight: usize,
    event: Event<'static>,
    /// The place of the next event of the run.
    next: Option<usize>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(stream: u64, time_ns: u64) -> Event<'static> {
        Event {
            time_ns,
            stream,
            kind: EventKind::Open(Box::default()),
        }
    }

    #[test]
    fn events_within_the_window_come_out_in_the_order_of_time() {
        let mut reorder = Reorder::new(100);
        let mut out = Vec::new();
        for (stream, time_ns) in [(1, 50), (2, 10), (3, 120), (4, 60), (5, 200)] {
            reorder.push(open(stream, time_ns));
            while let Some(event) = reorder.pop(false) {
                out.push(event.stream);
            }
        }
        while let Some(event) = reorder.pop(true) {
            out.push(event.stream);
        }
        assert_eq!(out, [2, 1, 4, 3, 5]);
        assert_eq!(reorder.late(), 0);
    }

    #[test]
    fn events_of_the_same_time_come_out_as_they_came_in_also_while_they_are_given() {
        let mut reorder = Reorder::new(0);
        let mut out = Vec::new();
        for (stream, time_ns) in [(1, 5), (2, 5), (3, 7), (4, 5), (5, 5)] {
            reorder.push(open(stream, time_ns));
        }
        out.push(reorder.pop(true).unwrap().stream);
        // One goes on with the run that is being given, one doesn't.
        reorder.push(open(6, 5));
        reorder.push(open(7, 8));
        while let Some(event) = reorder.pop(true) {
            out.push(event.stream);
        }
        assert_eq!(out, [1, 2, 4, 5, 6, 3, 7]);
        assert_eq!((reorder.bytes, reorder.late()), (0, 0));
    }

    #[test]
    fn an_event_behind_the_window_is_moved_and_counted() {
        let mut reorder = Reorder::new(10);
        reorder.push(open(1, 100));
        reorder.push(open(2, 200));
        assert_eq!(reorder.pop(false).map(|event| event.time_ns), Some(100));
        reorder.push(open(3, 50));
        assert_eq!(
            reorder
                .pop(false)
                .map(|event| (event.stream, event.time_ns)),
            Some((3, 100))
        );
        assert_eq!(reorder.late(), 1);
    }

    #[test]
    fn what_is_held_is_bounded_whatever_the_window() {
        let mut reorder = Reorder::new(u64::MAX);
        let body = crate::recording::event::Body {
            bytes: vec![0; 1 << 20].into(),
            ..Default::default()
        };
        for time_ns in 0..100 {
            reorder.push(Event {
                time_ns,
                stream: 1,
                kind: EventKind::RequestBody(body.clone()),
            });
            while reorder.pop(false).is_some() {}
        }
        assert!(
            reorder.peak_bytes() <= HELD_BYTES_MAX + (2 << 20),
            "{}",
            reorder.peak_bytes()
        );
    }
}
