//! Secrets in headers: cookies, credentials, and parameters of URLs.

use super::super::event::Field;
use super::{Redactor, Secret};

/// Words in the name of a header or parameter that say that its value is a secret.
const SECRET_WORDS: [&str; 28] = [
    "accesskey",
    "apikey",
    "assertion",
    "auth",
    "authentication",
    "authorization",
    "credential",
    "credentials",
    "csrf",
    "csrftoken",
    "jsessionid",
    "jwt",
    "nonce",
    "otp",
    "passphrase",
    "passwd",
    "password",
    "phpsessid",
    "pin",
    "pwd",
    "secret",
    "session",
    "sessionid",
    "sid",
    "sig",
    "signature",
    "token",
    "xsrf",
];

/// Words that say so in a parameter only.
const SECRET_PARAMETER_WORDS: [&str; 4] = ["code", "key", "state", "ticket"];

/// Two words that say so when they follow each other.
const SECRET_PAIRS: [(&str, &str); 3] = [("access", "key"), ("api", "key"), ("private", "key")];

/// Headers that hold a URL or a path.
const URL_HEADERS: [&[u8]; 11] = [
    b":path",
    b"content-location",
    b"link",
    b"location",
    b"referer",
    b"refresh",
    b"x-envoy-original-path",
    b"x-forwarded-uri",
    b"x-original-uri",
    b"x-original-url",
    b"x-rewrite-url",
];

/// The longest word of `sec-websocket-protocol` that is a protocol's name; clients that can set no header put tokens there.
const PROTOCOL_NAME_MAX: usize = 32;

impl Redactor {
    /// Takes the secrets out of headers or trailers.
    pub(super) fn redact_fields(&self, fields: &mut [Field<'_>]) {
        for (name, value) in fields {
            if let Some(redacted) = self.redact_value(name, value) {
                *value = redacted.into();
            }
        }
    }

    /// Returns what replaces a value; `None` where it stays.
    fn redact_value(&self, name: &[u8], value: &[u8]) -> Option<Vec<u8>> {
        let takes_credentials = self.takes(Secret::Authorization);
        match name {
            b"cookie" => self.takes(Secret::Cookies).then(|| self.cookies(value)),
            b"set-cookie" => self.takes(Secret::Cookies).then(|| self.set_cookie(value)),
            b"authorization" | b"proxy-authorization" => {
                takes_credentials.then(|| self.credentials(value))
            }
            b"sec-websocket-protocol" => takes_credentials.then(|| self.protocols(value)),
            name if URL_HEADERS.contains(&name) => {
                self.takes(Secret::Query).then(|| self.url(value))
            }
            name => (takes_credentials && is_secret(name, false))
                .then(|| self.pseudonym(value).into_bytes()),
        }
    }

    /// `a=1; b=2`: names stay.
    fn cookies(&self, value: &[u8]) -> Vec<u8> {
        let pairs: Vec<Vec<u8>> = value
            .split(|&byte| byte == b';')
            .map(|pair| self.pair(pair.trim_ascii()))
            .collect();
        pairs.join(b"; ".as_slice())
    }

    /// `a=1; Path=/; HttpOnly`: the name and the attributes stay.
    fn set_cookie(&self, value: &[u8]) -> Vec<u8> {
        let end = memchr::memchr(b';', value).unwrap_or(value.len());
        let (pair, attributes) = value.split_at_checked(end).unwrap_or((value, b""));
        [self.pair(pair.trim_ascii()), attributes.to_vec()].concat()
    }

    fn pair(&self, pair: &[u8]) -> Vec<u8> {
        let (name, value) = match memchr::memchr(b'=', pair) {
            Some(at) => pair.split_at_checked(at + 1).unwrap_or((b"", pair)),
            None => (b"".as_slice(), pair),
        };
        if value.is_empty() {
            return name.to_vec();
        }
        [name, self.pseudonym(value).as_bytes()].concat()
    }

    /// `Bearer x`: the scheme stays where there is one.
    fn credentials(&self, value: &[u8]) -> Vec<u8> {
        let (scheme, secret) = match memchr::memchr(b' ', value) {
            Some(at) => value.split_at_checked(at + 1).unwrap_or((b"", value)),
            None => (b"".as_slice(), value),
        };
        [scheme, self.pseudonym(secret.trim_ascii()).as_bytes()].concat()
    }

    fn protocols(&self, value: &[u8]) -> Vec<u8> {
        let protocols: Vec<Vec<u8>> = value
            .split(|&byte| byte == b',')
            .map(|protocol| {
                let protocol = protocol.trim_ascii();
                if protocol.len() > PROTOCOL_NAME_MAX {
                    self.pseudonym(protocol).into_bytes()
                } else {
                    protocol.to_vec()
                }
            })
            .collect();
        protocols.join(b", ".as_slice())
    }

    /// Takes out a user with its password, and the values of parameters with a name that says that they are secret.
    fn url(&self, value: &[u8]) -> Vec<u8> {
        let value = self.without_user(value);
        let begins = |byte: &u8| matches!(byte, b'?' | b'#' | b';');
        let Some(begin) = value.iter().position(begins) else {
            return value;
        };
        let (path, parameters) = value.split_at_checked(begin).unwrap_or((&value, b""));
        let mut redacted = path.to_vec();
        for parameter in
            parameters.split_inclusive(|byte| matches!(byte, b'?' | b'#' | b'&' | b';'))
        {
            let (parameter, separator) = match parameter.split_last() {
                Some((last, before)) if matches!(last, b'?' | b'#' | b'&' | b';') => {
                    (before, Some(*last))
                }
                _ => (parameter, None),
            };
            let is_secret_pair = memchr::memchr(b'=', parameter).and_then(|at| {
                let name = parameter.get(..at)?;
                is_secret(name, true).then_some(())
            });
            match is_secret_pair {
                Some(()) => redacted.extend(self.pair(parameter)),
                None => redacted.extend_from_slice(parameter),
            }
            redacted.extend(separator);
        }
        redacted
    }

    fn without_user(&self, value: &[u8]) -> Vec<u8> {
        let begin = memchr::memmem::find(value, b"://").map(|at| at + 3);
        let Some((before, rest)) = begin.and_then(|begin| value.split_at_checked(begin)) else {
            return value.to_vec();
        };
        let end = rest
            .iter()
            .position(|byte| matches!(byte, b'/' | b'?' | b'#'))
            .unwrap_or(rest.len());
        let authority = rest.get(..end).unwrap_or_default();
        let Some(at) = memchr::memrchr(b'@', authority) else {
            return value.to_vec();
        };
        let (user, host) = rest.split_at_checked(at).unwrap_or((b"", rest));
        [before, self.pseudonym(user).as_bytes(), host].concat()
    }
}

/// Says whether a name has a word that makes its value a secret: `x-auth-token`, `accessToken`, `api_key`.
fn is_secret(name: &[u8], is_parameter: bool) -> bool {
    let words = words(name);
    let is_secret_word = |word: &String| {
        SECRET_WORDS.contains(&word.as_str())
            || is_parameter && SECRET_PARAMETER_WORDS.contains(&word.as_str())
    };
    words.iter().any(is_secret_word)
        || words
            .iter()
            .zip(words.iter().skip(1))
            .any(|(one, other)| SECRET_PAIRS.contains(&(one.as_str(), other.as_str())))
}

/// Cuts a name into words, at what is no letter or digit and where a capital follows a small letter.
fn words(name: &[u8]) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_small = false;
    for &byte in name {
        let begins = !byte.is_ascii_alphanumeric() || was_small && byte.is_ascii_uppercase();
        was_small = byte.is_ascii_lowercase();
        if begins {
            words.push(String::new());
        }
        if byte.is_ascii_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.push(char::from(byte.to_ascii_lowercase()));
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_is_secret() {
        let cases = [
            ("x-auth-token", false, true),
            ("X-API-Key", false, true),
            ("x-csrf-token", false, true),
            ("x-amz-security-token", false, true),
            ("www-authenticate", false, false),
            ("sec-websocket-key", false, false),
            ("x-request-id", false, false),
            ("content-type", false, false),
            ("author", false, false),
            ("accessToken", true, true),
            ("sessionId", true, true),
            ("code", true, true),
            ("code", false, false),
            ("page", true, false),
            ("keyboard", true, false),
        ];
        for (name, is_parameter, expected) in cases {
            assert_eq!(is_secret(name.as_bytes(), is_parameter), expected, "{name}");
        }
    }

    #[test]
    fn only_values_are_replaced_and_equal_ones_alike() {
        let all: Vec<Secret> = Secret::ALL.iter().map(|(secret, _)| *secret).collect();
        let redactor = Redactor::new(&all, b"a key of sixteen bytes").unwrap();
        let redact = |name: &str, value: &str| {
            redactor
                .redact_value(name.as_bytes(), value.as_bytes())
                .map_or_else(
                    || value.to_owned(),
                    |value| String::from_utf8(value).unwrap(),
                )
        };
        let p = |value: &str| redactor.pseudonym(value.as_bytes());
        let (s1, s2) = (p("s1"), p("s2"));
        let cases = [
            (
                "cookie",
                "a=s1; b=s2;c",
                format!("a={s1}; b={s2}; {}", p("c")),
            ),
            ("cookie", "a=", "a=".to_owned()),
            (
                "set-cookie",
                "a=s1; Path=/; Max-Age=5",
                format!("a={s1}; Path=/; Max-Age=5"),
            ),
            ("authorization", "Bearer s1", format!("Bearer {s1}")),
            ("authorization", "s1", s1.clone()),
            ("x-api-key", "s1", s1.clone()),
            (
                ":path",
                "/a?page=2&access_token=s1#x",
                format!("/a?page=2&access_token={s1}#x"),
            ),
            (
                ":path",
                "/a;jsessionid=s1?b=1",
                format!("/a;jsessionid={s1}?b=1"),
            ),
            (
                "location",
                "https://u:p@h/a#token=s1&x=1",
                format!("https://{}@h/a#token={s1}&x=1", p("u:p")),
            ),
            ("referer", "https://h/a?x=1", "https://h/a?x=1".to_owned()),
            ("accept", "s1", "s1".to_owned()),
            ("sec-websocket-protocol", "chat, v1", "chat, v1".to_owned()),
        ];
        for (name, value, expected) in cases {
            assert_eq!(redact(name, value), expected, "{name}: {value}");
        }
        assert_eq!(s1.len(), 22);
    }
}
