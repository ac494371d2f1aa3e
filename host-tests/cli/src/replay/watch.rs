//! Which counters of the plugins went up since the last look.
//!
//! Why: every filter counts what it decides, and few say it in any other way. So the counters that went up while a
//! filter handled a stream are the reasons of what it did, whoever wrote it.
//! Cost: O(metrics) per look.

use tidegate_host::{MetricValue, Proxy};

use super::exchange::Reason;

/// The counters at the last look.
#[derive(Debug, Default)]
pub(super) struct CounterWatch {
    counters: Vec<(String, u64)>,
}

impl CounterWatch {
    /// Looks again; adds what went up to `reasons`.
    pub(super) fn look(&mut self, proxy: &Proxy, reasons: &mut Vec<Reason>) {
        let mut index = 0;
        for (name, _, value) in proxy.metrics() {
            let MetricValue::Counter(value) = value else {
                continue;
            };
            // The proxy lists them in order of their names: a name that isn't here is a new one.
            if self
                .counters
                .get(index)
                .is_none_or(|(known, _)| known != name)
            {
                self.counters.insert(index, (name.to_owned(), 0));
            }
            if let Some((name, before)) = self.counters.get_mut(index)
                && value > *before
            {
                add(reasons, name, value - *before);
                *before = value;
            }
            index += 1;
        }
    }
}

/// Adds to the reason of this name, or adds it.
fn add(reasons: &mut Vec<Reason>, metric: &str, by: u64) {
    match reasons.iter_mut().find(|reason| reason.metric == metric) {
        Some(reason) => reason.by += by,
        None => reasons.push(Reason {
            metric: metric.to_owned(),
            by,
        }),
    }
}
