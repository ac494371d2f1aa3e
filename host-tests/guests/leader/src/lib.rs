//! A filter that takes part in the lease and does nothing else: it counts the ticks at which its VM
//! leads, and dies when a request asks it to.
//!
//! `leader_ticks_led` counts over all VMs; with one leader it grows by one a period, however many
//! VMs there are. `leader_epoch` is the newest epoch that anybody led in; `leader_errors` counts
//! what the host refused.

use std::time::Duration;

use tidegate_proxy::{
    Action, HeadersEvent, HostError, Plugin, Problem, Stream, StreamId, clock,
    headers::Map,
    leader::Leader,
    metric::{Counter, Gauge},
};

/// Is how often VMs tick.
const PERIOD: Duration = Duration::from_millis(250);

/// Takes part in the lease.
#[derive(Debug)]
pub struct Leading {
    parts: Option<Parts>,
}

#[derive(Debug)]
struct Parts {
    leader: Leader,
    led: Counter,
    errors: Counter,
    epoch: Gauge,
}

/// Does nothing with a stream, unless it is asked to die.
#[derive(Debug)]
pub struct Quiet;

impl Parts {
    fn try_new() -> Result<Self, HostError> {
        clock::set_tick_period(PERIOD)?;
        Ok(Self {
            leader: Leader::join("leader")?,
            led: Counter::define("leader_ticks_led")?,
            errors: Counter::define("leader_errors")?,
            epoch: Gauge::define("leader_epoch")?,
        })
    }

    fn tick(&mut self) -> Result<(), HostError> {
        if let Some(epoch) = self.leader.on_tick()? {
            self.led.increment(1)?;
            self.epoch.set(epoch)?;
        }
        Ok(())
    }
}

impl Plugin for Leading {
    const NAME: &'static str = "tidegate leader";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    type Stream = Quiet;

    fn configure(_configuration: &[u8]) -> Result<Self, Vec<Problem>> {
        Ok(Self {
            parts: Parts::try_new().ok(),
        })
    }

    fn digest(&self) -> u64 {
        0
    }

    fn open_stream(&mut self, _id: StreamId) -> Quiet {
        if let Some(parts) = &mut self.parts {
            parts.leader.on_stream();
        }
        Quiet
    }

    fn tick(&mut self) {
        if let Some(parts) = &mut self.parts
            && parts.tick().is_err()
        {
            let _ = parts.errors.increment(1);
        }
    }
}

impl Stream<Leading> for Quiet {
    fn request_headers(&mut self, _plugin: &mut Leading, _event: HeadersEvent) -> Action {
        #[cfg(target_arch = "wasm32")]
        if let Ok(Some(_)) = Map::RequestHeaders.value("x-die") {
            core::arch::wasm32::unreachable();
        }
        #[cfg(not(target_arch = "wasm32"))]
        let _ = Map::RequestHeaders;
        Action::Continue
    }
}

tidegate_proxy::main!(Leading: tick, request_headers);
