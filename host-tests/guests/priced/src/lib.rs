//! Calls one function of the host again and again, so that a measurement can tell what one call costs.
//!
//! Its configuration is a line, `PHASE TIMES CALL [ARGUMENT]`: `request 50 property xds.cluster_name` reads that property fifty
//! times in each request's headers callback. `nothing` makes no calls: what is left then is the price of the callbacks. The calls
//! go through the layer that every plugin uses, so that the price is what a plugin pays, the bytes copied for it included.

mod call;

use call::Call;
use tidegate_proxy::{
    Action, HeadersEvent, Plugin, Problem, Stream, StreamId,
    headers::Map,
    metric::{Counter, Gauge},
};

/// Is the configuration of a module that calls nothing.
const NOTHING: &str = "nothing";

/// Calls what its configuration says.
#[derive(Debug)]
pub struct Priced {
    order: Option<Order>,
    counter: Option<Counter>,
    gauge: Option<Gauge>,
}

/// Is what to call, and when.
#[derive(Debug)]
struct Order {
    map: Map,
    times: u32,
    call: Call,
}

impl Order {
    /// Reads a configuration; `None` where it is no such line.
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let map = match words.next()? {
            "request" => Map::RequestHeaders,
            "response" => Map::ResponseHeaders,
            _ => return None,
        };
        let times = words.next()?.parse().ok()?;
        let call = Call::parse(words.next()?, words.next())?;
        Some(Self { map, times, call })
    }
}

/// Is a stream, which nothing is remembered about.
#[derive(Debug)]
pub struct PricedStream;

impl Plugin for Priced {
    const NAME: &'static str = "tidegate priced";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    type Stream = PricedStream;

    fn configure(configuration: &[u8]) -> Result<Self, Vec<Problem>> {
        let line = str::from_utf8(configuration).unwrap_or_default();
        let order = if line.trim() == NOTHING {
            None
        } else {
            let unknown = || {
                Problem::new(
                    "$",
                    "unknown-call",
                    format!("`{line}` is no call that has a price here"),
                    "write `PHASE TIMES CALL [ARGUMENT]`, or `nothing`",
                )
            };
            Some(Order::parse(line).ok_or_else(|| vec![unknown()])?)
        };
        Ok(Self {
            order,
            counter: Counter::define("priced_counter").ok(),
            gauge: Gauge::define("priced_gauge").ok(),
        })
    }

    fn digest(&self) -> u64 {
        0
    }

    fn open_stream(&mut self, _id: StreamId) -> PricedStream {
        PricedStream
    }
}

impl Priced {
    /// Makes the calls that are due where these headers are at hand.
    fn act(&self, map: Map) {
        let due = self.order.as_ref().filter(|order| order.map == map);
        let Some(order) = due else {
            return;
        };
        for _ in 0..order.times {
            // What the host refuses has a price as well.
            let _ = order.call.run(map, self.counter, self.gauge);
        }
    }
}

impl Stream<Priced> for PricedStream {
    fn request_headers(&mut self, plugin: &mut Priced, _event: HeadersEvent) -> Action {
        plugin.act(Map::RequestHeaders);
        Action::Continue
    }

    fn response_headers(&mut self, plugin: &mut Priced, _event: HeadersEvent) -> Action {
        plugin.act(Map::ResponseHeaders);
        Action::Continue
    }
}

tidegate_proxy::main!(Priced: request_headers, response_headers);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_and_anything_else_is_refused() {
        let order = Order::parse("request 50 property xds.cluster_name").unwrap();
        assert_eq!((order.map, order.times), (Map::RequestHeaders, 50));
        for line in [
            "later 50 clock",
            "request many clock",
            "request 50 nonsense",
            "request 50 property",
            "request",
        ] {
            assert!(Order::parse(line).is_none(), "{line}");
        }
    }
}
