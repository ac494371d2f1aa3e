//! What the filters of a chain have in common.

use std::{
    fmt::{self, Write},
    net::IpAddr,
    num::NonZeroU32,
    time::Duration,
};

use tidegate_policy::{
    affinity::Role,
    endpoints::{self, Attempt, Picture, Started, Unknown},
    passive::FailureStatuses,
    snapshot::EndpointAddress,
    units::WallTime,
};
use tidegate_proxy::{
    clock,
    endpoints::{Endpoints, Part},
    headers::Map,
    log::{self, Level},
};

/// Is the response header that says what was decided.
pub(crate) const REASON_HEADER: &str = "x-tidegate-reason";

/// Begins what each filter says in that header.
const EXPLAINING: [&str; 2] = ["health-routing;", "sticky-session;"];

/// Is how often the log's level is asked for where there is no picture, which ticks more often: once
/// for each request would be one more call for all of them.
const LEVEL_PERIOD: Duration = Duration::from_secs(1);

/// Is what a configuration says to the chain.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Says how the endpoints are known; `None`: not at all.
    pub endpoints: Option<endpoints::Config>,
    /// Is the request header that names the endpoints.
    pub endpoint_header: String,
    /// Says whether responses carry the reasons.
    pub has_reason_header: bool,
    /// Says where the chain stands.
    pub role: Role,
    /// Says that in front, too, this VM reports what it sees.
    pub reports_requests: bool,
    /// Says that a filter in front may have made a plan.
    pub reads_plan: bool,
    /// Says that filters behind, or behind the router, want a plan.
    pub writes_plan: bool,
}

/// Is one VM's knowledge and its scratch space, for all filters of a chain.
#[derive(Debug)]
pub struct Common {
    pub(crate) settings: Settings,
    pub(crate) endpoints: Option<Endpoints>,
    /// Is the list of endpoints of the present request, as the header has it.
    text: String,
    /// Says whether somebody reads debug lines; `None` until somebody asked.
    is_debugged: Option<bool>,
    /// Says whether a filter of ours behind explains its decisions; `None` until somebody looked.
    is_explained: Option<bool>,
}

impl Common {
    /// Joins the picture. Traffic does not wait for it: without one the proxy alone knows who is
    /// there.
    pub(crate) fn new(name: &str, settings: Settings) -> Self {
        let is_behind = settings.role == Role::Upstream;
        let part = Part {
            may_lead: !is_behind,
            reports: is_behind || settings.reports_requests,
        };
        let endpoints = settings.endpoints.as_ref().and_then(|config| {
            Endpoints::join(config, &settings.endpoint_header, part)
                .inspect_err(|error| {
                    log::write(Level::Error, &format!("{name} knows no endpoints: {error}"));
                })
                .ok()
        });
        if endpoints.is_none() {
            // Where the host has no timer, the level that was asked for first holds.
            let _ = clock::set_tick_period(LEVEL_PERIOD);
        }
        Self {
            settings,
            endpoints,
            text: String::new(),
            is_debugged: None,
            is_explained: None,
        }
    }

    /// Is what is known of a cluster's endpoints. No host call.
    #[must_use]
    pub fn picture(&self, cluster: &[u8], now: WallTime) -> Picture<'_> {
        match &self.endpoints {
            Some(endpoints) => endpoints.picture(cluster, now),
            None => Picture::Unknown(Unknown::NotConfigured),
        }
    }

    /// Says whether the endpoints are known at all.
    #[must_use]
    pub const fn has_endpoints(&self) -> bool {
        self.endpoints.is_some()
    }

    /// Says whether a cluster is one of those to know.
    #[must_use]
    pub fn knows(&self, cluster: &[u8]) -> bool {
        self.endpoints
            .as_ref()
            .is_some_and(|endpoints| endpoints.knows(cluster))
    }

    /// Says whether attempts at a cluster's endpoints are reported by this VM.
    #[must_use]
    pub fn reports(&self, cluster: &[u8]) -> bool {
        self.endpoints
            .as_ref()
            .is_some_and(|endpoints| endpoints.observes() && endpoints.knows(cluster))
    }

    /// Is how many VMs of the proxy take requests, as far as they report; 1 until that is known.
    #[must_use]
    pub fn workers(&self) -> NonZeroU32 {
        self.endpoints
            .as_ref()
            .map_or(NonZeroU32::MIN, Endpoints::workers)
    }

    /// Reports how an attempt ended. No host call.
    pub fn report(
        &mut self,
        cluster: &[u8],
        address: EndpointAddress,
        attempt: Attempt,
        now: WallTime,
    ) {
        if let Some(endpoints) = &mut self.endpoints {
            endpoints.on_attempt(cluster, address, attempt, now);
        }
    }

    /// Takes that an attempt begins, where attempts are reported. No host call.
    pub(crate) fn start(
        &mut self,
        cluster: &[u8],
        address: EndpointAddress,
        now: WallTime,
    ) -> Option<Started> {
        let endpoints = self.endpoints.as_mut()?;
        if !(endpoints.observes() && endpoints.knows(cluster)) {
            return None;
        }
        endpoints.on_attempt_start(cluster, address, now)
    }

    /// Takes that an attempt waits no more. No host call.
    pub(crate) fn stop(&mut self, started: &Started) {
        if let Some(endpoints) = &mut self.endpoints {
            endpoints.on_attempt_end(started);
        }
    }

    /// Are the statuses that count as an endpoint's failure.
    #[must_use]
    pub fn failure_statuses(&self) -> FailureStatuses {
        match &self.endpoints {
            Some(endpoints) => endpoints.failure_statuses(),
            None => FailureStatuses::default(),
        }
    }

    /// Is the text that names the present request's endpoints.
    #[must_use]
    pub fn endpoints_text(&self) -> &str {
        &self.text
    }

    /// Names the present request's only endpoint.
    pub fn set_endpoint_text(&mut self, endpoint: &str) {
        self.text.clear();
        self.text.push_str(endpoint);
    }

    /// Names the present request's endpoints, in the order of attempts.
    pub fn set_endpoints_text(&mut self, endpoints: impl Iterator<Item = EndpointAddress>) {
        self.text.clear();
        for (place, endpoint) in endpoints.enumerate() {
            if place > 0 {
                self.text.push(',');
            }
            push_address(&mut self.text, endpoint);
        }
    }

    /// Writes a debug line about one request where somebody reads it.
    pub fn debug(&mut self, line: impl FnOnce() -> String) {
        // A host that does not tell has no readers.
        let ask = || log::is_enabled(Level::Debug).unwrap_or(false);
        if *self.is_debugged.get_or_insert_with(ask) {
            log::write(Level::Debug, &line());
        }
    }

    /// Says whether a filter of ours behind this chain, in another module, has explained a decision
    /// in the response's header. Where filters stand does not change from one request to the next: one
    /// response in each tick is looked at. `text` begins with our own name.
    pub(crate) fn is_explained(&mut self, text: &str) -> bool {
        *self.is_explained.get_or_insert_with(|| {
            let value = Map::ResponseHeaders.value(REASON_HEADER).unwrap_or(None);
            let mut others = EXPLAINING.iter().filter(|name| !text.starts_with(**name));
            value.is_some_and(|value| others.any(|name| value.starts_with(name.as_bytes())))
        })
    }

    /// Brings everything up to date; `None` where the host has no clock.
    pub(crate) fn on_tick(&mut self) -> Option<WallTime> {
        // Asked for again by the next who has something to say.
        self.is_debugged = None;
        self.is_explained = None;
        if let Some(endpoints) = &mut self.endpoints {
            endpoints.on_tick();
        }
        clock::wall_time().ok()
    }
}

/// Appends an address as the proxy writes it. Nearly all are of IPv4, and the general code for
/// texts takes some thousand instructions for each.
fn push_address(text: &mut String, address: EndpointAddress) {
    let IpAddr::V4(ip) = address.ip else {
        // A string takes everything.
        let _: fmt::Result = write!(text, "{address}");
        return;
    };
    for (place, octet) in ip.octets().into_iter().enumerate() {
        if place > 0 {
            text.push('.');
        }
        push_number(text, u16::from(octet));
    }
    text.push(':');
    push_number(text, address.port);
}

/// Appends a number in decimal digits.
fn push_number(text: &mut String, number: u16) {
    let mut has_begun = false;
    for unit in [10_000, 1_000, 100, 10, 1] {
        let digit = (number / unit) % 10;
        if has_begun || digit > 0 || unit == 1 {
            has_begun = true;
            text.push(u8::try_from(digit).map_or('0', |digit| char::from(digit | b'0')));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_written_as_its_own_text() {
        let addresses = [
            "0.0.0.0:0",
            "10.0.0.9:8080",
            "255.100.20.1:65535",
            "1.2.3.4:10000",
            "[2001:db8::1]:80",
            "[::ffff:10.0.0.1]:443",
        ];
        for address in addresses {
            let parsed = EndpointAddress::parse(address.as_bytes()).unwrap();
            let mut text = String::new();
            push_address(&mut text, parsed);
            assert_eq!(text, parsed.to_string());
            assert_eq!(text, address);
        }
        for number in 0..=u16::MAX {
            let mut text = String::new();
            push_number(&mut text, number);
            assert_eq!(text, number.to_string());
        }
    }
}
