//! The cookies that the plugins gave a client, which it sends back as a browser would.
//!
//! Model: RFC 6265 sections 5.2 to 5.4 without domains (a recording is one site) and without `Expires` (plugins that
//! are replayed in virtual time say `Max-Age`). `Path`, `Secure` and `Max-Age` hold.

use tidegate_host::HeaderMap;

/// Cookies of one client.
#[derive(Debug, Default)]
pub struct Jar {
    cookies: Vec<Cookie>,
}

#[derive(Debug)]
struct Cookie {
    name: Vec<u8>,
    value: Vec<u8>,
    path: Vec<u8>,
    secure: bool,
    expires_ns: u64,
}

/// A client keeps at most this many cookies; browsers keep 50 of a site and more.
const COOKIES_MAX: usize = 180;

impl Jar {
    /// Takes a `set-cookie` header that came at `now_ns` on the answer to a request for `request_path`.
    pub fn set(&mut self, header: &[u8], request_path: &[u8], now_ns: u64) {
        let mut parts = header.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
        let Some((name, value)) = parts
            .next()
            .and_then(split)
            .filter(|(name, _)| !name.is_empty())
        else {
            return;
        };
        let mut cookie = Cookie {
            name: name.to_vec(),
            value: value.to_vec(),
            path: default_path(request_path).to_vec(),
            secure: false,
            expires_ns: u64::MAX,
        };
        for part in parts {
            let (name, value) = split(part).unwrap_or((part, b""));
            if name.eq_ignore_ascii_case(b"path") && value.starts_with(b"/") {
                cookie.path = value.to_vec();
            } else if name.eq_ignore_ascii_case(b"secure") {
                cookie.secure = true;
            } else if name.eq_ignore_ascii_case(b"max-age") {
                let seconds = std::str::from_utf8(value)
                    .ok()
                    .and_then(|text| text.parse::<i64>().ok());
                if let Some(seconds) = seconds {
                    let nanoseconds = u64::try_from(seconds)
                        .unwrap_or(0)
                        .saturating_mul(1_000_000_000);
                    cookie.expires_ns = if seconds <= 0 {
                        0
                    } else {
                        now_ns.saturating_add(nanoseconds)
                    };
                }
            }
        }
        self.cookies
            .retain(|other| other.name != cookie.name || other.path != cookie.path);
        if cookie.expires_ns > now_ns && self.cookies.len() < COOKIES_MAX {
            self.cookies.push(cookie);
        }
    }

    /// Adds the cookies to a request that don't stand in it already. Tells whether there were any.
    pub fn add_to(&self, headers: &mut HeaderMap, now_ns: u64) -> bool {
        if self.cookies.is_empty() {
            return false;
        }
        let path = headers.get(":path").unwrap_or_default();
        let is_secure = headers.get(":scheme") == Some(b"https");
        let own: Vec<&[u8]> = headers.get_all("cookie").collect();
        let Some(value) = self.header(path, is_secure, &own, now_ns) else {
            return false;
        };
        headers.set("cookie", value);
        true
    }

    /// Returns the `cookie` header of a request that has these of its own; `None` when none comes to them.
    #[must_use]
    pub fn header(
        &self,
        path: &[u8],
        is_secure: bool,
        own: &[&[u8]],
        now_ns: u64,
    ) -> Option<Vec<u8>> {
        let mut value = own.join(b"; ".as_slice());
        let mut has_come = false;
        let due = self
            .cookies
            .iter()
            .filter(|cookie| cookie.expires_ns > now_ns && (is_secure || !cookie.secure))
            .filter(|cookie| path_matches(path, &cookie.path))
            .filter(|cookie| !carries(own, &cookie.name));
        for cookie in due {
            has_come = true;
            if !value.is_empty() {
                value.extend_from_slice(b"; ");
            }
            value.extend_from_slice(&cookie.name);
            value.push(b'=');
            value.extend_from_slice(&cookie.value);
        }
        has_come.then_some(value)
    }
}

fn split(part: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = part.iter().position(|&byte| byte == b'=')?;
    let (name, value) = part.split_at(at);
    Some((name.trim_ascii(), value.get(1..)?.trim_ascii()))
}

fn carries(own: &[&[u8]], name: &[u8]) -> bool {
    own.iter()
        .flat_map(|value| value.split(|&byte| byte == b';'))
        .any(|pair| {
            pair.trim_ascii()
                .strip_prefix(name)
                .is_some_and(|rest| rest.first() == Some(&b'='))
        })
}

/// SOURCE: RFC 6265 section 5.1.4: "the characters of the uri-path from the first character up to, but not
/// including, the right-most %x2F".
fn default_path(request_path: &[u8]) -> &[u8] {
    let path = request_path
        .split(|&byte| byte == b'?')
        .next()
        .unwrap_or_default();
    match path.iter().rposition(|&byte| byte == b'/') {
        None | Some(0) => b"/",
        Some(last) => path.get(..last).unwrap_or(b"/"),
    }
}

fn path_matches(request: &[u8], cookie: &[u8]) -> bool {
    let request = request
        .split(|&byte| byte == b'?')
        .next()
        .unwrap_or_default();
    request.strip_prefix(cookie).is_some_and(|rest| {
        rest.is_empty() || cookie.last() == Some(&b'/') || rest.first() == Some(&b'/')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// A request, its time, and the cookies that it goes with.
    type Case = (
        &'static [(&'static str, &'static str)],
        u64,
        Option<&'static str>,
    );

    fn sent(jar: &Jar, request: &[(&str, &str)], now_ns: u64) -> Option<String> {
        let mut headers: HeaderMap = request.iter().copied().collect();
        jar.add_to(&mut headers, now_ns);
        headers.get_str("cookie").map(str::to_owned)
    }

    #[test]
    fn cookies_go_back_where_their_attributes_allow() {
        let mut jar = Jar::default();
        jar.set(b"a=1; Path=/; HttpOnly", b"/x/y", 0);
        jar.set(b"b=2; path=/shop; Max-Age=10", b"/", 0);
        jar.set(b"c=3; Path=/; Secure", b"/", 0);
        jar.set(b"d=4", b"/x/y?z", 0);
        let cases: [Case; 7] = [
            (&[(":path", "/")], 0, Some("a=1")),
            (&[(":path", "/shop")], 0, Some("a=1; b=2")),
            (&[(":path", "/shopping")], 0, Some("a=1")),
            (&[(":path", "/shop/1?q")], 10 * SECOND, Some("a=1")),
            (&[(":path", "/"), (":scheme", "https")], 0, Some("a=1; c=3")),
            (
                &[(":path", "/x/z"), ("cookie", "a=own")],
                0,
                Some("a=own; d=4"),
            ),
            (&[(":path", "/"), ("cookie", "ab=1")], 0, Some("ab=1; a=1")),
        ];
        for (request, now_ns, expected) in cases {
            assert_eq!(
                sent(&jar, request, now_ns).as_deref(),
                expected,
                "{request:?}"
            );
        }
    }

    #[test]
    fn a_cookie_is_replaced_and_taken_back() {
        let mut jar = Jar::default();
        jar.set(b"a=1; Path=/", b"/", 0);
        jar.set(b"a=2; Path=/", b"/", 0);
        assert_eq!(sent(&jar, &[(":path", "/")], 0).as_deref(), Some("a=2"));
        jar.set(b"a=; Path=/; Max-Age=0", b"/", 0);
        assert_eq!(sent(&jar, &[(":path", "/")], 0), None);
    }

    #[test]
    fn malformed_cookies_are_left_alone() {
        let mut jar = Jar::default();
        for header in [b"".as_slice(), b";", b"no-value", b"=;=;="] {
            jar.set(header, b"", 0);
        }
        jar.set(b"a=1; Max-Age=99999999999999999999", b"", u64::MAX - 1);
        assert_eq!(sent(&jar, &[(":path", "/")], 0).as_deref(), Some("a=1"));
    }
}
