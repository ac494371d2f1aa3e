//! What a filter sees of what a client sent: HTTP fields of a browser's or a capture's recording as Envoy shows them.
//!
//! Why: a filter never sees `host` or `transfer-encoding`, and sees `:authority` and `:path` in every version of HTTP. Envoy takes
//! hop-by-hop fields away before the first filter, and keeps `connection` and `upgrade` for an upgrade only.
//! SOURCE: `ConnectionManagerUtility::mutateRequestHeaders` in Envoy 1.40.0; the order of pseudo-headers is that of its taps.

use super::event::Field;

/// What a client asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) authority: &'a [u8],
    pub(super) path: &'a [u8],
    pub(super) method: &'a [u8],
    pub(super) scheme: &'a [u8],
}

/// Fields that Envoy takes away from every request.
const NEVER_SEEN: [&[u8]; 4] = [
    b"host",
    b"keep-alive",
    b"proxy-connection",
    b"transfer-encoding",
];

/// Makes the fields of a request. Pseudo-headers among `fields` win over the target, and `host` does where there is none.
pub(super) fn request_fields<'a>(
    target: Target<'a>,
    fields: &[(Vec<u8>, &'a [u8])],
    is_upgrade: bool,
) -> Vec<Field<'static>> {
    let value = |name: &[u8]| {
        fields
            .iter()
            .find(|(other, _)| other.as_slice() == name)
            .map(|(_, value)| *value)
    };
    let authority = value(b":authority")
        .or_else(|| value(b"host"))
        .unwrap_or(target.authority);
    let pseudo: [(&[u8], &[u8]); 4] = [
        (b":authority", authority),
        (b":path", value(b":path").unwrap_or(target.path)),
        // HTTP/2 opens a WebSocket with CONNECT; a filter sees the GET of HTTP/1.1 in both.
        (b":method", if is_upgrade { b"GET" } else { target.method }),
        (b":scheme", value(b":scheme").unwrap_or(target.scheme)),
    ];
    let mut all: Vec<Field<'static>> = pseudo
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (name.to_vec().into(), value.to_vec().into()))
        .collect();
    for (name, value) in fields {
        let is_hop = NEVER_SEEN.contains(&name.as_slice())
            || !is_upgrade && matches!(name.as_slice(), b"connection" | b"upgrade");
        if !is_hop && !name.starts_with(b":") {
            all.push((name.clone().into(), value.to_vec().into()));
        }
    }
    if is_upgrade {
        add_upgrade(&mut all);
    }
    all
}

/// Makes the fields of a response.
pub(super) fn response_fields(
    status: u16,
    fields: &[(Vec<u8>, &[u8])],
    is_upgrade: bool,
) -> Vec<Field<'static>> {
    let mut all: Vec<Field<'static>> = vec![(
        b":status".as_slice().into(),
        status.to_string().into_bytes().into(),
    )];
    for (name, value) in fields {
        if !name.starts_with(b":") && name.as_slice() != b"transfer-encoding" {
            all.push((name.clone().into(), value.to_vec().into()));
        }
    }
    if is_upgrade {
        add_upgrade(&mut all);
    }
    all
}

/// Adds what makes a handshake of WebSocket one: browsers don't always show it.
fn add_upgrade(fields: &mut Vec<Field<'static>>) {
    for (name, value) in [("upgrade", "websocket"), ("connection", "Upgrade")] {
        if !fields
            .iter()
            .any(|(other, _)| other.as_ref() == name.as_bytes())
        {
            fields.push((name.as_bytes().into(), value.as_bytes().into()));
        }
    }
}

/// Writes a version of HTTP as Envoy names it; `None` for what names none.
pub(super) fn protocol(version: &str) -> Option<&'static str> {
    Some(match version.to_ascii_lowercase().as_str() {
        "http/1.0" => "HTTP/1.0",
        "http/1.1" => "HTTP/1.1",
        "h2" | "http/2" | "http/2.0" => "HTTP/2",
        "h3" | "http/3" | "http/3.0" => "HTTP/3",
        _ => return None,
    })
}

/// Cuts a URL: scheme, authority without user and password, path with query and without fragment. `None` if it has no
/// authority, as `data:`.
pub(super) fn split_url(url: &str) -> Option<(&str, &str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let rest = rest.split('#').next().unwrap_or_default();
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end)?;
    let authority = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    Some((scheme, authority, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_cut_into_what_a_proxy_sees_of_it() {
        let cases = [
            (
                "https://a.example/x?y=1#z",
                Some(("https", "a.example", "/x?y=1")),
            ),
            (
                "wss://u:p@a.example:8443",
                Some(("wss", "a.example:8443", "")),
            ),
            ("http://[::1]:80?q", Some(("http", "[::1]:80", "?q"))),
            ("data:text/plain,x", None),
        ];
        for (url, expected) in cases {
            assert_eq!(split_url(url), expected, "{url}");
        }
    }

    #[test]
    fn a_filter_sees_pseudo_headers_and_no_hop_by_hop_fields() {
        let target = Target {
            authority: b"url.example",
            path: b"/p",
            method: b"POST",
            scheme: b"https",
        };
        let fields: Vec<(Vec<u8>, &[u8])> = vec![
            (b"host".to_vec(), b"host.example"),
            (b"connection".to_vec(), b"keep-alive"),
            (b"transfer-encoding".to_vec(), b"chunked"),
            (b"accept".to_vec(), b"*/*"),
        ];
        let lines = |fields: Vec<Field<'static>>| -> Vec<String> {
            fields
                .iter()
                .map(|(name, value)| {
                    format!(
                        "{}={}",
                        String::from_utf8_lossy(name),
                        String::from_utf8_lossy(value)
                    )
                })
                .collect()
        };
        assert_eq!(
            lines(request_fields(target, &fields, false)),
            [
                ":authority=host.example",
                ":path=/p",
                ":method=POST",
                ":scheme=https",
                "accept=*/*"
            ]
        );
        assert_eq!(
            lines(request_fields(target, &fields, true)),
            [
                ":authority=host.example",
                ":path=/p",
                ":method=GET",
                ":scheme=https",
                "connection=keep-alive",
                "accept=*/*",
                "upgrade=websocket"
            ]
        );
    }
}
