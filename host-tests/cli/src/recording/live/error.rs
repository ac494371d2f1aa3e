//! What can keep a tap from being attached, with advice.

use std::error::Error;
use std::{fmt, io};

use hyper::StatusCode;
use miette::Diagnostic;

use super::super::error::render;
use super::admin::AdminAddress;

/// A tap that can't be attached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LiveError {
    /// Somebody else's tap is attached.
    #[error("another tap is attached to the Envoy at `{address}`, and Envoy allows one at a time")]
    Busy {
        /// The admin.
        address: String,
    },
    /// The admin doesn't let anybody at `/tap`.
    #[error("the admin at `{address}` doesn't allow `/tap`")]
    NotAllowed {
        /// The admin.
        address: String,
    },
    /// What answers speaks no HTTP.
    #[error("what listens at `{address}` is no Envoy admin: {message}")]
    NotHttp {
        /// The admin.
        address: String,
        /// What is wrong.
        message: String,
    },
    /// There is no `/tap`: no tap filter waits for the admin.
    #[error("the Envoy at `{address}` has no tap filter that the admin can switch on")]
    NoTap {
        /// The admin.
        address: String,
        /// The filter that was asked for.
        tap_id: String,
    },
    /// An answer that Envoy isn't known to give.
    #[error("the admin at `{address}` answers {status}: {text}")]
    Refused {
        /// The admin.
        address: String,
        /// The status code.
        status: u16,
        /// The answer's beginning.
        text: String,
    },
    /// The system doesn't let the recorder wait for signals and sockets.
    #[error("can't wait for signals and sockets")]
    Signals(#[source] io::Error),
    /// The admin doesn't answer.
    #[error("the admin at `{address}` doesn't answer")]
    Silent {
        /// The admin.
        address: String,
    },
    /// There is a tap filter, but not this one.
    #[error("no tap filter of the Envoy at `{address}` has the `config_id` `{tap_id}`")]
    UnknownId {
        /// The admin.
        address: String,
        /// The filter that was asked for.
        tap_id: String,
    },
    /// Nobody listens.
    #[error("can't reach Envoy's admin at `{address}`")]
    Unreachable {
        /// The admin.
        address: String,
        /// Why.
        source: io::Error,
    },
}

/// The most that is shown of an answer that nobody expected, in characters.
const SHOWN_CHARACTERS: usize = 200;

impl LiveError {
    pub(super) fn no_http(address: &AdminAddress, error: &(dyn Error + 'static)) -> Self {
        Self::NotHttp {
            address: address.to_string(),
            message: super::chain(error),
        }
    }

    /// Makes an error of what the admin answered instead of attaching the tap.
    pub(super) fn of_answer(
        address: &AdminAddress,
        tap_id: &str,
        status: StatusCode,
        text: &str,
    ) -> Self {
        let address = address.to_string();
        let tap_id = tap_id.to_owned();
        match status {
            StatusCode::FORBIDDEN => Self::NotAllowed { address },
            StatusCode::NOT_FOUND => Self::NoTap { address, tap_id },
            _ if text.starts_with("Unknown config id") => Self::UnknownId { address, tap_id },
            _ if text.contains("already exists") => Self::Busy { address },
            _ => {
                let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
                Self::Refused {
                    address,
                    status: status.as_u16(),
                    text: line.chars().take(SHOWN_CHARACTERS).collect(),
                }
            }
        }
    }

    /// Renders the error for people, several lines with the advice, with colours if asked.
    #[must_use]
    pub fn render(&self, colours: bool) -> String {
        render(self, colours)
    }
}

impl Diagnostic for LiveError {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let text = match self {
            Self::Busy { .. } => "end the other recorder; Envoy takes a tap off when its connection closes".to_owned(),
            Self::NotAllowed { .. } => {
                "add `{ exact: \"/tap\" }` to `admin.allow_paths`, and `{ prefix: \"/clusters\" }`, which tells the endpoints".to_owned()
            }
            Self::NotHttp { .. } | Self::Silent { .. } | Self::Unreachable { .. } => {
                "it is `admin.address` in the bootstrap; of a pod, `kubectl port-forward POD 9901` brings it here (Istio: 15000)".to_owned()
            }
            Self::NoTap { tap_id, .. } => filter(tap_id),
            Self::UnknownId { tap_id, .. } => {
                format!("`--tap-id` names another filter; or {}", filter(tap_id))
            }
            Self::Refused { .. } | Self::Signals(_) => return None,
        };
        Some(Box::new(text))
    }
}

/// Says how to add the filter that waits for a tap. It costs next to nothing while no tap is attached.
fn filter(tap_id: &str) -> String {
    format!(
        r#"put this filter in front of the plugins, and of `envoy.filters.http.router`:
- name: "tap-live"
  typed_config:
    "@type": "type.googleapis.com/envoy.extensions.filters.http.tap.v3.Tap"
    record_headers_received_time: true
    record_downstream_connection: true
    record_upstream_connection: true
    common_config: {{ admin_config: {{ config_id: "{tap_id}" }} }}"#
    )
}
