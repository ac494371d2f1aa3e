//! The decisions about an exchange as lines of text, for people and for expectations.

use serde::{Deserialize, Serialize};

use super::exchange::{Change, Exchange, Side};

/// What was decided about one stream. Holds what a client or an upstream could see, and the reasons; nothing of how
/// the proxy came there (workers, fuel, logs).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "the decisions about an exchange")]
pub struct Decision {
    /// Number of the stream in the recording.
    pub stream: u64,
    /// Number of the client.
    pub session: u64,
    /// Method and path.
    pub request: String,
    /// One line per decision.
    pub did: Vec<String>,
}

impl Decision {
    /// Says what happened to an exchange.
    #[must_use]
    pub fn of(exchange: &Exchange) -> Self {
        let mut did = Vec::new();
        side("request", &exchange.request, &mut did);
        if let Some(asked) = &exchange.asked
            && exchange.upstream.as_ref() != Some(asked)
        {
            did.push(format!("asked for {asked}"));
        }
        if let Some(upstream) = &exchange.upstream {
            match exchange
                .recorded_upstream
                .as_ref()
                .filter(|_| exchange.diverged)
            {
                Some(recorded) => did.push(format!("served by {upstream}, recorded {recorded}")),
                None => did.push(format!("served by {upstream}")),
            }
        }
        for call in &exchange.call_outs {
            did.push(format!(
                "called {} {} of {}",
                call.method, call.path, call.cluster
            ));
        }
        if let Some(reply) = &exchange.local_reply {
            did.push(format!(
                "answered {} itself: {}",
                reply.status, reply.details
            ));
        }
        side("response", &exchange.response, &mut did);
        if let Some(reset) = &exchange.reset {
            did.push(format!("cut the stream: {reset}"));
        }
        if exchange.held {
            did.push("held it back to the end".to_owned());
        }
        for trap in &exchange.traps {
            did.push(format!("{} trapped in {}", trap.plugin, trap.callback));
        }
        did.push(match exchange.status {
            Some(status) if exchange.websocket => format!("status {status}, a WebSocket"),
            Some(status) => format!("status {status}"),
            None => "no response".to_owned(),
        });
        Self {
            stream: exchange.stream,
            session: exchange.session,
            request: format!("{} {}", exchange.method, exchange.path),
            did,
        }
    }

    /// Returns the decisions as text, a line each.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!(
            "stream {}, session {}: {}\n",
            self.stream, self.session, self.request
        );
        for line in &self.did {
            text.push_str(line);
            text.push('\n');
        }
        text
    }
}

fn side(name: &str, side: &Side, did: &mut Vec<String>) {
    if !side.reasons.is_empty() {
        let labels: Vec<String> = side
            .reasons
            .iter()
            .map(|reason| match reason.by {
                1 => reason.label().to_owned(),
                by => format!("{} × {by}", reason.label()),
            })
            .collect();
        did.push(format!("{name}: {}", labels.join(", ")));
    }
    did.extend(
        side.changes
            .iter()
            .map(|one| format!("{name} {}", change(one))),
    );
    if let Some(body) = &side.body {
        did.push(format!(
            "{name} ~ body: {} bytes became {}",
            body.bytes_in, body.bytes_out
        ));
    }
}

fn change(one: &Change) -> String {
    match one {
        Change::Added { name, value } => format!("+ {name}: {value}"),
        Change::Removed { name, value } => format!("- {name}: {value}"),
        Change::Reordered => "~ headers in another order".to_owned(),
        Change::Replaced { name, was, value } => format!("~ {name}: {was} became {value}"),
        Change::Trailer(inner) => format!("{} (trailer)", change(inner)),
    }
}
