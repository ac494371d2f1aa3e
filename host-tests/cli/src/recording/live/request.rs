//! What the admin is asked for: an `envoy.admin.v3.TapRequest`.

use std::str::FromStr;

use serde_json::{Value, json};

use super::LiveOptions;

/// A header that a request must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderMatch {
    name: String,
    /// The whole value; `None` for any.
    value: Option<String>,
}

/// A header that can't be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected `NAME` or `NAME=VALUE`")]
pub struct HeaderMatchError;

impl FromStr for HeaderMatch {
    type Err = HeaderMatchError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(HeaderMatchError);
        }
        Ok(Self {
            name: name.to_ascii_lowercase(),
            value,
        })
    }
}

/// Writes the request, which attaches a tap of this kind.
pub(super) fn tap_request(options: &LiveOptions) -> String {
    let mut headers: Vec<Value> = Vec::new();
    if let Some(path) = &options.path {
        headers.push(json!({ "name": ":path", "string_match": { "prefix": path } }));
    }
    for HeaderMatch { name, value } in &options.headers {
        headers.push(match value {
            Some(value) => json!({ "name": name, "string_match": { "exact": value } }),
            None => json!({ "name": name, "present_match": true }),
        });
    }
    let wanted = if headers.is_empty() {
        json!({ "any_match": true })
    } else {
        json!({ "http_request_headers_match": { "headers": headers } })
    };
    let request = json!({
        "config_id": options.tap_id,
        "tap_config": {
            "match": wanted,
            "output_config": {
                "streaming": options.streamed,
                "max_buffered_rx_bytes": options.max_body_bytes,
                "max_buffered_tx_bytes": options.max_body_bytes,
                "sinks": [{ "format": "JSON_BODY_AS_BYTES", "streaming_admin": {} }],
            },
        },
    });
    request.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_a_name_with_or_without_a_value() {
        let header = |name: &str, value: Option<&str>| HeaderMatch {
            name: name.to_owned(),
            value: value.map(str::to_owned),
        };
        assert_eq!("X-User".parse(), Ok(header("x-user", None)));
        assert_eq!("x-user=a=b".parse(), Ok(header("x-user", Some("a=b"))));
        assert_eq!("x-user=".parse(), Ok(header("x-user", Some(""))));
        assert_eq!("=b".parse::<HeaderMatch>(), Err(HeaderMatchError));
        assert_eq!("x user=b".parse::<HeaderMatch>(), Err(HeaderMatchError));
    }
}
