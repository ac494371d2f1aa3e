//! Single requests at given times, and chains of them: each after the end of the one before.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Arrival, Request, client_address, template};
use crate::scenario::{Scripted, ScriptedRequest};
use crate::units::Span;

/// Clients of scripted requests have addresses of their own.
const FIRST_ADDRESS: std::net::Ipv4Addr = std::net::Ipv4Addr::new(10, 128, 0, 1);

/// Yields the requests of one source. They are numbered as they stand in the list, whenever they come.
#[derive(Debug)]
pub(super) struct Script {
    source: usize,
    duration_ns: u64,
    entries: Vec<Entry>,
    /// What may come: time and number.
    ready: BTreeSet<(u64, u64)>,
}

#[derive(Debug)]
struct Entry {
    /// The number of its first request, and of the one behind its last.
    first: u64,
    end: u64,
    /// Whether its first request waits for the end of the one before it.
    waits: bool,
    client: u64,
    gives_up_after_ns: Option<u64>,
    request: Arc<Request>,
}

impl Script {
    pub(super) fn new(source: usize, of: &Scripted, duration_ns: u64) -> Self {
        let mut script = Self {
            source,
            duration_ns,
            entries: Vec::with_capacity(of.list.len()),
            ready: BTreeSet::new(),
        };
        let mut first = 0_u64;
        for (index, entry) in of.list.iter().enumerate() {
            let end = first.saturating_add(u64::from(entry.times));
            let starts_ns = match entry.at {
                Some(at) => Some(at.ns()),
                None => (index == 0).then_some(0),
            };
            if let Some(at_ns) = starts_ns
                && end > first
            {
                script.ready.insert((at_ns, first));
            }
            script
                .entries
                .push(Entry::new(entry, first, end, starts_ns.is_none()));
            first = end;
        }
        script
    }

    pub(super) fn next(&mut self) -> Option<Arrival> {
        let (at_ns, number) = self.ready.pop_first()?;
        if at_ns >= self.duration_ns {
            // All others come later still.
            self.ready.clear();
            return None;
        }
        let entry = self.entry(number)?;
        Some(Arrival {
            at_ns,
            source: self.source,
            number,
            client: entry.client,
            address: client_address(FIRST_ADDRESS, entry.client, self.source),
            keeps_cookies: true,
            gives_up_after_ns: entry.gives_up_after_ns,
            request: Arc::clone(&entry.request),
            recorded_latency_ns: None,
            chained: self.follower(number).is_some(),
        })
    }

    /// A request has ended: the one that waits for it comes now. `looked_at` was taken by [`Self::next`] before its time.
    pub(super) fn ended(&mut self, number: u64, now_ns: u64, looked_at: Option<Arrival>) {
        if let Some(arrival) = looked_at {
            self.ready.insert((arrival.at_ns, arrival.number));
        }
        if let Some(follower) = self.follower(number) {
            self.ready.insert((now_ns, follower));
        }
    }

    /// Returns the request that waits for this one.
    fn follower(&self, number: u64) -> Option<u64> {
        let next = number.checked_add(1)?;
        let entry = self.entry(next)?;
        (next > entry.first || entry.waits).then_some(next)
    }

    fn entry(&self, number: u64) -> Option<&Entry> {
        let index = self.entries.partition_point(|entry| entry.end <= number);
        self.entries.get(index)
    }
}

impl Entry {
    fn new(of: &ScriptedRequest, first: u64, end: u64, waits: bool) -> Self {
        Self {
            first,
            end,
            waits,
            client: u64::from(of.client),
            gives_up_after_ns: of.gives_up_after.map(Span::ns),
            request: Arc::new(template::request(&of.request)),
        }
    }
}
