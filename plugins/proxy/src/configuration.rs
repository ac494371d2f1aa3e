//! A configuration on its way from the proxy's bytes to text.

use std::borrow::Cow;

use tidegate_policy::config::Problem;

/// Is what all three problems end with.
const SHIP: &str = "ship JSON text in a google.protobuf.StringValue: \
                    {\"@type\": \"type.googleapis.com/google.protobuf.StringValue\", \
                    \"value\": \"{…}\"}";

/// Takes the configuration's bytes as text.
///
/// # Errors No bytes or white space only: `config-empty`. The bytes of a `google.protobuf.Struct`,
/// which Envoy does not turn into JSON: `config-is-struct`. Not UTF-8: `config-not-text`.
pub fn text(bytes: &[u8]) -> Result<&str, Problem> {
    let problem = |code, message: &str| Problem {
        path: String::from("$"),
        code,
        message: String::from(message),
        help: Cow::Borrowed(SHIP),
    };
    if bytes.trim_ascii().is_empty() {
        return Err(problem("config-empty", "must be JSON, got nothing"));
    }
    if is_struct(bytes) {
        let message = "must be JSON, got the bytes of a google.protobuf.Struct";
        return Err(problem("config-is-struct", message));
    }
    str::from_utf8(bytes).map_err(|_| {
        problem(
            "config-not-text",
            "must be JSON, got bytes that are not UTF-8",
        )
    })
}

/// Recognises a serialised `Struct`: its first field is an entry (tag 0x0a, length), whose first
/// field is the key (tag 0x0a, length). A line feed, which is 0x0a as well, is followed by other
/// things in JSON.
fn is_struct(bytes: &[u8]) -> bool {
    let Some((0x0a, rest)) = bytes.split_first() else {
        return false;
    };
    // The length is a varint: bytes with the high bit go on.
    let digits = rest.iter().take_while(|byte| **byte >= 0x80).count();
    let Some([0x0a, key_length, key @ ..]) = rest.get(digits.saturating_add(1)..) else {
        return false;
    };
    // Behind the key comes the value (tag 0x12).
    key.get(usize::from(*key_length)) == Some(&0x12)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configuration_that_is_no_text_says_what_to_ship() {
        // `{"a": "b"}` and `{"clusters": 1}` as a Struct.
        let short = b"\x0a\x08\x0a\x01a\x12\x03\x1a\x01b";
        let long = b"\x0a\x95\x01\x0a\x08clusters\x12\x09\x11\0\0\0\0\0\0\xf0\x3f";
        let cases: [(&[u8], &str); 6] = [
            (b"", "config-empty"),
            (b" \n", "config-empty"),
            (b"\0\xff", "config-not-text"),
            (short, "config-is-struct"),
            (long, "config-is-struct"),
            (b"{\"a\": \"\xff\"}", "config-not-text"),
        ];
        for (bytes, code) in cases {
            let problem = text(bytes).unwrap_err();
            assert_eq!((problem.path.as_str(), problem.code), ("$", code));
            assert!(problem.help.contains("StringValue"));
        }
    }

    #[test]
    fn configuration_that_begins_with_line_feeds_is_text() {
        for json in ["{}", "\n{}", "\n\n\n{}", "\n \n{\"a\": 1}"] {
            assert_eq!(text(json.as_bytes()), Ok(json));
        }
    }
}
