//! Where requests come from.

use tidegate_model::traffic::Arrival;

use super::RunError;

/// Requests in the order of their times.
pub(crate) trait Arrivals {
    /// Returns the next request. `None`: there is none for now; there may be one after [`Arrivals::ended`].
    fn next_arrival(&mut self) -> Result<Option<Arrival>, RunError>;

    /// A request has ended: one that waits for its end can come, not before `now_ns`.
    fn ended(&mut self, source: usize, number: u64, now_ns: u64);
}

/// Placeholder until the traffic of scenarios is there.
pub(super) fn of(loaded: &crate::scenario::LoadedScenario, seed: u64) -> Box<dyn Arrivals> {
    use std::sync::Arc;
    use tidegate_model::scenario::{Arrivals as When, Source};
    struct Poisson {
        rate: f64,
        at: f64,
        number: u64,
        draws: tidegate_model::draw::Draws,
        request: Arc<tidegate_model::traffic::Request>,
    }
    impl Arrivals for Poisson {
        fn next_arrival(&mut self) -> Result<Option<Arrival>, RunError> {
            self.at += self.draws.exponential(1e9 / self.rate);
            self.number += 1;
            Ok(Some(Arrival {
                at_ns: self.at as u64,
                source: 0,
                number: self.number - 1,
                client: self.number,
                address: "10.128.0.1:1000".to_owned(),
                keeps_cookies: false,
                gives_up_after_ns: None,
                request: Arc::clone(&self.request),
                recorded_latency_ns: None,
                chained: false,
            }))
        }
        fn ended(&mut self, _: usize, _: u64, _: u64) {}
    }
    let rate = match loaded.scenario.traffic.first() {
        Some(Source::Generated(generated)) => match generated.arrivals {
            When::Poisson { per_second } | When::Steady { per_second } => per_second,
            _ => 1.0,
        },
        _ => 1.0,
    };
    let headers = [
        (":method", "GET"),
        (":path", "/"),
        (":authority", "a"),
        (":scheme", "http"),
    ];
    Box::new(Poisson {
        rate,
        at: 0.0,
        number: 0,
        draws: tidegate_model::draw::Draws::new(seed, "arrivals", 0),
        request: Arc::new(tidegate_model::traffic::Request {
            headers: headers
                .iter()
                .map(|(a, b)| (a.as_bytes().to_vec(), b.as_bytes().to_vec()))
                .collect(),
            ..Default::default()
        }),
    })
}
