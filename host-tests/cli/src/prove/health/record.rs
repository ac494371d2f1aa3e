//! What is kept of a run.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};

use tidegate_model::report::{Row, Sink};

use super::as_figure;

/// An endpoint, by the last byte of its address.
pub(super) type Number = u8;

/// What became of one request.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// When it came, in nanoseconds since the scenario began.
    pub(super) started_ns: u64,
    /// Until its end, in nanoseconds.
    pub(super) total_ns: u64,
    /// Until its answer's headers, in nanoseconds; 0 without an answer.
    pub(super) first_byte_ns: u64,
    /// Whether it was answered with a status below 500.
    pub(super) succeeded: bool,
    /// Whether it asked for a WebSocket.
    pub(super) is_socket: bool,
    /// The endpoints of its attempts; `None`: there was none to choose.
    pub(super) endpoints: Vec<Option<Number>>,
}

/// What is kept of a run: every request, what was under way, and the plugin's metrics.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// The requests, in the order of their ends.
    pub(super) requests: Vec<Seen>,
    /// How many were under way at an endpoint when one more began, and when.
    pub(super) under_way: Vec<(Number, u64, u32)>,
    figures: BTreeMap<String, f64>,
}

impl Record {
    /// How many requests there were.
    pub(super) fn count(&self) -> u64 {
        self.requests.len() as u64
    }

    /// The share of requests that something is true of.
    pub(super) fn share(&self, is: impl Fn(&Seen) -> bool) -> f64 {
        let count = self.requests.iter().filter(|seen| is(seen)).count();
        as_figure(count as u64) / as_figure(self.count())
    }

    /// A metric of the plugin; 0 if it was never counted.
    pub(super) fn metric(&self, name: &str) -> f64 {
        let name = format!("metrics.{name}");
        self.figures.get(&name).copied().unwrap_or_default()
    }

    /// The sum of the metrics whose names begin like this.
    pub(super) fn metrics(&self, beginning: &str) -> f64 {
        let beginning = format!("metrics.{beginning}");
        let named = self.figures.range(beginning.clone()..);
        named
            .take_while(|(name, _)| name.starts_with(&beginning))
            .map(|(_, value)| value)
            .sum()
    }

    /// How many callbacks trapped.
    pub(super) fn traps(&self) -> f64 {
        self.figures.get("traps").copied().unwrap_or_default()
    }

    /// When requests came whose first attempt went to this endpoint, in order.
    pub(super) fn starts_at(&self, endpoint: Number) -> Vec<u64> {
        let first = self.requests.iter().filter(|seen| {
            let first = seen.endpoints.first().copied();
            first.flatten() == Some(endpoint)
        });
        let mut starts: Vec<u64> = first.map(|seen| seen.started_ns).collect();
        starts.sort_unstable();
        starts
    }
}

impl Seen {
    /// The endpoint of its last attempt.
    pub(super) fn last_endpoint(&self) -> Option<Number> {
        self.endpoints.last().copied().flatten()
    }
}

impl Sink for Record {
    fn row(&mut self, row: &Row) -> io::Result<()> {
        let endpoints = row.endpoints.iter();
        self.requests.push(Seen {
            started_ns: row.started_ns,
            total_ns: row.total_ns,
            first_byte_ns: row.first_byte_ns.unwrap_or_default(),
            succeeded: row.status.is_some_and(|status| status < 500),
            is_socket: row.socket.is_some(),
            endpoints: endpoints
                .map(|address| number(address.as_deref()?))
                .collect(),
        });
        Ok(())
    }

    fn in_flight(&mut self, endpoint: &str, now_ns: u64, count: u32) {
        if let Some(number) = number(endpoint) {
            self.under_way.push((number, now_ns, count));
        }
    }

    fn figure(&mut self, name: &str, value: f64) {
        self.figures.insert(name.to_owned(), value);
    }
}

/// The last byte of an address.
fn number(address: &str) -> Option<Number> {
    let address: SocketAddr = address.parse().ok()?;
    match address.ip() {
        IpAddr::V4(ip) => ip.octets().last().copied(),
        IpAddr::V6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_tells_endpoints_apart_and_adds_metrics_up() {
        let mut record = Record::default();
        for (at, endpoint) in [(3, "10.0.0.2:80"), (1, "10.0.0.2:80"), (2, "10.0.0.1:80")] {
            let row = Row {
                started_ns: at,
                status: Some(200),
                endpoints: vec![Some(endpoint.to_owned()), None],
                ..Row::default()
            };
            record.row(&row).unwrap();
        }
        assert_eq!(record.starts_at(2), [1, 3]);
        assert_eq!(record.requests[0].last_endpoint(), None);
        for (name, value) in [("a.x", 1.0), ("a.y", 2.0), ("b", 4.0)] {
            record.figure(&format!("metrics.{name}"), value);
        }
        let sums = [record.metrics("a."), record.metric("b"), record.metric("a")];
        assert_eq!(sums.map(f64::to_bits), [3.0, 4.0, 0.0].map(f64::to_bits));
    }
}
