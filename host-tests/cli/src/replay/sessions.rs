//! The clients of a recording.
//!
//! Scope: the whole replay, whatever the workers. Cost: a hash look-up per stream, and per client some hundred bytes and its cookies.

use std::collections::HashMap;

use super::jar::Jar;
use crate::recording::{Headers, Open, SessionKey, cookie};

/// What names a client.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Name {
    /// Its connection.
    Connection(u64),
    /// What the key says.
    Key(String),
    /// Nothing is known: a client for this stream alone. Numbers of streams come again, so this counts.
    Alone(u64),
}

/// A client.
#[derive(Debug, Default)]
struct Client {
    jar: Jar,
    /// Whether a cookie of the recording names it: the next one who is given such a cookie is somebody else.
    is_named: bool,
}

/// A client, and how it was found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Its number, from 0.
    pub(crate) session: usize,
    /// Whether by a cookie of the recording.
    by_cookie: bool,
}

/// All clients.
#[derive(Debug)]
pub(crate) struct Sessions {
    key: SessionKey,
    numbers: HashMap<Name, usize>,
    clients: Vec<Client>,
    alone: u64,
}

impl Sessions {
    pub(crate) fn new(key: SessionKey) -> Self {
        Self {
            key,
            numbers: HashMap::new(),
            clients: Vec::new(),
            alone: 0,
        }
    }

    /// Returns how many there are.
    pub(crate) const fn len(&self) -> usize {
        self.clients.len()
    }

    /// Finds the client of a stream; clients are numbered from 0 in the order in which they appear.
    pub(crate) fn of(&mut self, open: &Open<'_>, headers: &Headers<'_>) -> Found {
        let by_cookie = self
            .key
            .cookies()
            .iter()
            .any(|name| cookie(headers, name).is_some());
        let name = self
            .key
            .of(open, headers)
            .map(Name::Key)
            .or_else(|| open.connection.map(Name::Connection))
            .unwrap_or_else(|| {
                self.alone += 1;
                Name::Alone(self.alone)
            });
        let next = self.clients.len();
        let session = *self.numbers.entry(name).or_insert(next);
        if session == next {
            self.clients.push(Client {
                is_named: by_cookie,
                ..Client::default()
            });
        }
        Found { session, by_cookie }
    }

    /// Takes note of a recorded response: with it the client may have got the cookie that names it from then on.
    pub(crate) fn answered(&mut self, found: Found, headers: &Headers<'_>) {
        if !self.key.needs_headers() {
            return;
        }
        let names: Vec<String> = self.key.cookies().into_iter().map(str::to_owned).collect();
        for (key, value) in &headers.fields {
            if key.as_ref() != b"set-cookie" {
                continue;
            }
            // The first pair of a `set-cookie` is written as in a `cookie`.
            let pair = value.split(|&byte| byte == b';').next().unwrap_or_default();
            let pair = Headers {
                fields: vec![(b"cookie".as_slice().into(), pair.into())],
                ..Headers::default()
            };
            for name in &names {
                if let Some(value) = cookie(&pair, name) {
                    self.name(found, String::from_utf8_lossy(value).into_owned());
                }
            }
        }
    }

    fn name(&mut self, found: Found, value: String) {
        let name = Name::Key(value);
        if self.numbers.contains_key(&name) {
            return;
        }
        let next = self.clients.len();
        let session = match self.clients.get_mut(found.session) {
            // Several clients behind one address are one until each has its cookie.
            Some(client) if client.is_named && !found.by_cookie => {
                self.clients.push(Client {
                    is_named: true,
                    ..Client::default()
                });
                next
            }
            Some(client) => {
                client.is_named = true;
                found.session
            }
            None => return,
        };
        self.numbers.insert(name, session);
    }

    /// Returns the cookies of a client.
    pub(crate) fn jar(&mut self, session: usize) -> Option<&mut Jar> {
        self.clients.get_mut(session).map(|client| &mut client.jar)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &str, value: &str) -> Headers<'static> {
        let field = |text: &str| text.as_bytes().to_vec().into();
        Headers {
            fields: vec![(field(name), field(value))],
            end_stream: true,
            ..Headers::default()
        }
    }

    #[test]
    fn clients_are_told_apart_by_what_the_recording_names_then_by_connection() {
        let mut sessions = Sessions::new(SessionKey::Auto);
        let open = |connection, session: Option<&'static str>| Open {
            connection,
            session: session.map(Into::into),
            ..Open::default()
        };
        let none = Headers::default();
        let numbers: Vec<usize> = [
            open(Some(1), None),
            open(Some(2), Some("ann")),
            open(Some(3), Some("ann")),
            open(Some(1), None),
            open(None, None),
            open(None, None),
        ]
        .iter()
        .map(|open| sessions.of(open, &none).session)
        .collect();
        assert_eq!(numbers, [0, 1, 1, 0, 2, 3]);
    }

    #[test]
    fn a_client_is_known_by_the_cookie_that_it_is_given() {
        let mut sessions = Sessions::new(SessionKey::Cookie("sid".to_owned()));
        let open = |connection| Open {
            connection: Some(connection),
            ..Open::default()
        };
        let first = sessions.of(&open(1), &Headers::default());
        sessions.answered(first, &headers("set-cookie", "sid=x7; Path=/"));
        let again = sessions.of(&open(2), &headers("cookie", "a=b; sid=x7"));
        assert_eq!(again.session, first.session);
        // The application gives it another one.
        sessions.answered(again, &headers("set-cookie", "sid=x9; Path=/"));
        assert_eq!(
            sessions.of(&open(4), &headers("cookie", "sid=x9")).session,
            first.session
        );
        assert_ne!(
            sessions.of(&open(3), &headers("cookie", "sid=x8")).session,
            first.session
        );
    }

    #[test]
    fn clients_behind_one_address_part_when_each_has_its_cookie() {
        let mut sessions = Sessions::new("cookie:sid,source-ip".parse().unwrap());
        let open = Open {
            source: Some("10.0.0.1:5".into()),
            ..Open::default()
        };
        let both = sessions.of(&open, &Headers::default());
        sessions.answered(both, &headers("set-cookie", "sid=ann"));
        sessions.answered(both, &headers("set-cookie", "sid=bob"));
        let ann = sessions.of(&open, &headers("cookie", "sid=ann"));
        let bob = sessions.of(&open, &headers("cookie", "sid=bob"));
        assert_eq!(ann.session, both.session);
        assert_ne!(bob.session, ann.session);
    }
}
