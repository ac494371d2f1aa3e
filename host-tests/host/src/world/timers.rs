//! What is due when. Events at the same instant have a fixed order.

use std::collections::BTreeMap;

use crate::grpc::GrpcId;
use crate::output::CallId;

/// When an event is due and, at one instant, in which order.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Due {
    pub(crate) at_ns: u64,
    /// Drawn from the seed when simultaneous events are shuffled, else 0.
    salt: u64,
    thread: u32,
    slot: u32,
    kind: u8,
    sequence: u64,
}

/// What is due.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// A root context ticks.
    Tick { instance: usize, root: u32 },
    /// A queue has a message.
    QueueReady { slot: usize, root: u32, token: u32 },
    /// A call-out took too long.
    CallTimeout { call: CallId },
    /// A gRPC call took too long.
    GrpcTimeout { call: GrpcId },
}

/// All that is due.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    events: BTreeMap<Due, Event>,
    sequence: u64,
}

impl Timers {
    pub(crate) fn add(
        &mut self,
        at_ns: u64,
        salt: u64,
        thread: u32,
        slot: usize,
        event: Event,
    ) -> Due {
        self.sequence = self.sequence.wrapping_add(1);
        let due = Due {
            at_ns,
            salt,
            thread,
            slot: u32::try_from(slot).unwrap_or(u32::MAX),
            kind: match event {
                Event::Tick { .. } => 0,
                Event::QueueReady { .. } => 1,
                Event::CallTimeout { .. } => 2,
                Event::GrpcTimeout { .. } => 3,
            },
            sequence: self.sequence,
        };
        self.events.insert(due, event);
        due
    }

    pub(crate) fn remove(&mut self, due: Due) {
        self.events.remove(&due);
    }

    pub(crate) fn next_ns(&self) -> Option<u64> {
        self.events.first_key_value().map(|(due, _)| due.at_ns)
    }

    /// Takes the first event that is due by `now_ns`.
    pub(crate) fn pop(&mut self, now_ns: u64) -> Option<(Due, Event)> {
        let entry = self.events.first_entry()?;
        (entry.key().at_ns <= now_ns).then(|| entry.remove_entry())
    }
}
