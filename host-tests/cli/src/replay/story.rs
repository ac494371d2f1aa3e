//! What sticky-session did for the sessions of a recording, told for people who see it for the first time.
//!
//! Model: a session's home is the endpoint that its cookie names when it first comes back. Of the requests that came back with the cookie,
//! those that the recorded proxy served elsewhere lost their session; those that the plugin let go elsewhere would.

use std::collections::BTreeMap;

use serde::Serialize;

use super::exchange::{Exchange, Side};

/// What the counters of sticky-session's decisions about requests begin with.
const REQUESTS: &str = "tidegate_sticky_session_requests_total.reason.";
/// What those about responses begin with.
const RESPONSES: &str = "tidegate_sticky_session_responses_total.reason.";

/// One session.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SessionStory {
    /// Its number.
    pub session: u64,
    /// Requests that an endpoint served, WebSockets included.
    pub requests: u64,
    /// WebSockets.
    pub websockets: u64,
    /// Endpoint that it was pinned to; `None` when it never got a cookie.
    pub pinned_to: Option<String>,
    /// The request whose answer pinned it.
    pub pinned_by: Option<String>,
    /// Cookies that were issued.
    pub issued: u64,
    /// Requests that came back with a cookie that was accepted.
    pub accepted: u64,
    /// Cookies that were refused, by reason.
    pub refused: BTreeMap<String, u64>,
    /// Of the requests that came back, those that the recorded proxy sent elsewhere.
    pub moved_in_recording: u64,
    /// Of the requests that came back, those that sticky-session let go elsewhere.
    pub moved: u64,
    /// Endpoints that served the session in the recording.
    pub endpoints_in_recording: u64,
    #[serde(skip)]
    recorded: Vec<String>,
    #[serde(skip)]
    given: Vec<Given>,
    #[serde(skip)]
    returned: Vec<Returned>,
}

/// A cookie that was issued.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Given {
    opened_ns: u64,
    request: String,
    endpoint: Option<String>,
}

/// A request that came back with a cookie.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Returned {
    opened_ns: u64,
    asked: Option<String>,
    recorded: Option<String>,
    served: Option<String>,
}

/// All sessions of a recording.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Story {
    /// The sessions, by number.
    pub sessions: Vec<SessionStory>,
}

/// Sums over all sessions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct StoryTotals {
    /// Sessions.
    pub sessions: u64,
    /// Sessions that were pinned.
    pub pinned: u64,
    /// Requests that an endpoint served.
    pub requests: u64,
    /// WebSockets.
    pub websockets: u64,
    /// Cookies that were issued.
    pub issued: u64,
    /// Requests that came back with a cookie that was accepted.
    pub accepted: u64,
    /// Cookies that were refused, by reason.
    pub refused: BTreeMap<String, u64>,
    /// Of the requests that came back, those that the recorded proxy sent elsewhere.
    pub moved_in_recording: u64,
    /// Of the requests that came back, those that sticky-session let go elsewhere.
    pub moved: u64,
}

impl Story {
    /// Takes note of an exchange.
    pub fn add(&mut self, exchange: &Exchange) {
        let index = usize::try_from(exchange.session.saturating_sub(1)).unwrap_or(usize::MAX);
        while self.sessions.len() <= index && self.sessions.len() < usize::MAX {
            let session = self.sessions.len() as u64 + 1;
            self.sessions.push(SessionStory {
                session,
                ..SessionStory::default()
            });
        }
        if let Some(session) = self.sessions.get_mut(index) {
            session.add(exchange);
        }
    }

    /// Completes what can be told only at the end.
    pub fn finish(&mut self) {
        for session in &mut self.sessions {
            session.finish();
        }
    }

    /// Sums up.
    #[must_use]
    pub fn totals(&self) -> StoryTotals {
        let mut totals = StoryTotals::default();
        for session in &self.sessions {
            totals.sessions += 1;
            totals.pinned += u64::from(session.pinned_to.is_some());
            totals.requests += session.requests;
            totals.websockets += session.websockets;
            totals.issued += session.issued;
            totals.accepted += session.accepted;
            totals.moved_in_recording += session.moved_in_recording;
            totals.moved += session.moved;
            for (reason, count) in &session.refused {
                *totals.refused.entry(reason.clone()).or_default() += count;
            }
        }
        totals
    }
}

impl SessionStory {
    fn add(&mut self, exchange: &Exchange) {
        if let Some(recorded) = &exchange.recorded_upstream {
            self.requests += 1;
            self.websockets += u64::from(exchange.websocket);
            if !self.recorded.contains(recorded) {
                self.recorded.push(recorded.clone());
            }
        }
        for (reason, by) in reasons(&exchange.request, REQUESTS) {
            if reason == "pinned" {
                self.accepted += by;
                self.returned.push(Returned {
                    opened_ns: exchange.opened_ns,
                    asked: exchange.asked.clone(),
                    recorded: exchange.recorded_upstream.clone(),
                    served: exchange.upstream.clone(),
                });
            } else if let Some(why) = reason.strip_prefix("refused_") {
                *self.refused.entry(why.to_owned()).or_default() += by;
            }
        }
        for (reason, by) in reasons(&exchange.response, RESPONSES) {
            if matches!(reason, "issued" | "re_pinned") {
                self.issued += by;
                self.given.push(Given {
                    opened_ns: exchange.opened_ns,
                    request: format!("{} {}", exchange.method, exchange.path),
                    endpoint: exchange.upstream.clone(),
                });
            }
        }
    }

    fn finish(&mut self) {
        self.endpoints_in_recording = self.recorded.len() as u64;
        // Exchanges are told of when they end, the long ones last.
        self.given.sort_by_key(|given| given.opened_ns);
        self.returned.sort_by_key(|returned| returned.opened_ns);
        let named = self
            .returned
            .iter()
            .find_map(|returned| returned.asked.as_ref());
        let home = named
            .or_else(|| self.given.iter().find_map(|given| given.endpoint.as_ref()))
            .cloned();
        let by = self.given.iter().find(|given| given.endpoint == home);
        self.pinned_by = by.map(|given| given.request.clone());
        let elsewhere = |endpoint: &Option<String>| endpoint.is_some() && *endpoint != home;
        let count = |moved: &dyn Fn(&Returned) -> bool| {
            self.returned
                .iter()
                .filter(|returned| moved(returned))
                .count() as u64
        };
        self.moved_in_recording = count(&|returned| elsewhere(&returned.recorded));
        self.moved = count(&|returned| elsewhere(&returned.served));
        self.pinned_to = home;
    }
}

/// Returns what sticky-session counted about one side.
fn reasons<'a>(side: &'a Side, prefix: &'a str) -> impl Iterator<Item = (&'a str, u64)> {
    side.reasons
        .iter()
        .filter_map(move |reason| Some((reason.metric.strip_prefix(prefix)?, reason.by)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::Reason;

    fn exchange(
        opened_ns: u64,
        request: &str,
        response: &str,
        recorded: &str,
        served: &str,
    ) -> Exchange {
        let side = |prefix: &str, reason: &str| Side {
            reasons: vec![Reason {
                metric: format!("{prefix}{reason}"),
                by: 1,
            }],
            ..Side::default()
        };
        Exchange {
            session: 1,
            opened_ns,
            method: "GET".to_owned(),
            path: format!("/{opened_ns}"),
            request: side(REQUESTS, request),
            response: side(RESPONSES, response),
            recorded_upstream: Some(recorded.to_owned()),
            upstream: Some(served.to_owned()),
            asked: (request == "pinned").then(|| served.to_owned()),
            ..Exchange::default()
        }
    }

    #[test]
    fn moves_are_those_of_requests_that_came_back() {
        let mut story = Story::default();
        for exchange in [
            exchange(2, "pinned", "kept", "b", "a"),
            exchange(3, "pinned", "kept", "a", "a"),
            exchange(4, "pinned", "served_elsewhere", "c", "c"),
            // The first request ended last.
            exchange(1, "new_session", "issued", "a", "a"),
            exchange(5, "refused_expired", "issued", "b", "b"),
        ] {
            story.add(&exchange);
        }
        story.finish();
        let session = &story.sessions[0];
        assert_eq!(session.pinned_to.as_deref(), Some("a"));
        assert_eq!(session.pinned_by.as_deref(), Some("GET /1"));
        assert_eq!((session.issued, session.accepted), (2, 3));
        assert_eq!((session.moved_in_recording, session.moved), (2, 1));
        assert_eq!(session.endpoints_in_recording, 3);
        assert_eq!(story.totals().refused.get("expired"), Some(&1));
    }
}
