//! The discovery service and the probes of a gateway: who answers the plugin's calls.

use std::fmt::Write as _;

use tidegate_host::{CallAnswer, HeaderMap};

use super::{Gateway, SECOND_NS};

/// The cluster that leads to the discovery service.
pub(super) const FEED: &str = "endpoint_feed";

/// How often the calls are answered: as often as the plugin ticks.
const STEP_NS: u64 = SECOND_NS / 4;

/// How long a change takes to be known everywhere in a gateway, at most: a jittered interval, a tick
/// each to read the answer, to publish it and to follow, and one to spare for each.
const KNOWN_NS: u64 = 3 * SECOND_NS;

/// An endpoint as the discovery service has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::prove) struct Listed {
    /// Its address and port.
    pub(in crate::prove) address: String,
    /// Its health: `healthy`, `draining` or `unhealthy`.
    pub(in crate::prove) health: &'static str,
    /// Its share.
    pub(in crate::prove) weight: u32,
}

impl Listed {
    /// A healthy endpoint like the others.
    pub(in crate::prove) fn healthy(address: &str) -> Self {
        Self {
            address: address.into(),
            health: "healthy",
            weight: 1,
        }
    }
}

impl Gateway {
    /// Says what the discovery service lists from now on, and waits until the gateway knows.
    pub(in crate::prove) fn discover(&mut self, listed: &[Listed]) -> anyhow::Result<()> {
        self.listed = listed.to_vec();
        self.settle(KNOWN_NS)
    }

    /// Lists these endpoints as healthy, which can be reached as well, and waits until the gateway
    /// knows.
    pub(in crate::prove) fn serve(&mut self, endpoints: &[String]) -> anyhow::Result<()> {
        self.endpoints = endpoints.to_vec();
        let listed: Vec<Listed> = endpoints
            .iter()
            .map(|address| Listed::healthy(address))
            .collect();
        self.discover(&listed)
    }

    /// Lets so many nanoseconds pass, in which the plugin's calls are answered.
    pub(in crate::prove) fn settle(&mut self, time_ns: u64) -> anyhow::Result<()> {
        let end_ns = self.now_ns() + time_ns;
        while self.now_ns() < end_ns {
            self.at((self.now_ns() + STEP_NS).min(end_ns));
            while let Some(call) = self.proxy.poll_call() {
                let answer = if call.cluster == FEED {
                    CallAnswer::Response {
                        headers: HeaderMap::from([(":status", "200")]),
                        body: self.list().into_bytes(),
                        trailers: HeaderMap::new(),
                    }
                } else {
                    self.probe(call.headers.get_str("x-tidegate-endpoint"))
                };
                self.proxy.answer_call(call.id, answer)?;
            }
        }
        Ok(())
    }

    /// What an endpoint answers to a probe: whoever can be reached is ready.
    fn probe(&self, endpoint: Option<&str>) -> CallAnswer {
        let Some(endpoint) = endpoint.filter(|asked| self.endpoints.iter().any(|it| it == asked))
        else {
            return CallAnswer::Refused;
        };
        let mut headers = HeaderMap::from([(":status", "200")]);
        if let Some(instance) = self.instances.get(endpoint) {
            headers.add("x-tidegate-instance", instance.as_bytes());
        }
        CallAnswer::Response {
            headers,
            body: Vec::new(),
            trailers: HeaderMap::new(),
        }
    }

    /// The list in the format of the feed.
    fn list(&self) -> String {
        let mut list =
            String::from("{\"version\":1,\"clusters\":[{\"name\":\"echo\",\"endpoints\":[");
        for (index, endpoint) in self.listed.iter().enumerate() {
            let Listed {
                address,
                health,
                weight,
            } = endpoint;
            // Writing into a string does not fail.
            let _ = write!(
                list,
                "{}{{\"address\":\"{address}\",\"health\":\"{health}\",\"weight\":{weight}}}",
                if index == 0 { "" } else { "," }
            );
        }
        list.push_str("]}]}");
        list
    }
}
