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

/// All clients.
#[derive(Debug)]
pub(super) struct Sessions {
    key: SessionKey,
    numbers: HashMap<Name, usize>,
    jars: Vec<Jar>,
    alone: u64,
}

impl Sessions {
    pub(super) fn new(key: SessionKey) -> Self {
        Self {
            key,
            numbers: HashMap::new(),
            jars: Vec::new(),
            alone: 0,
        }
    }

    /// Returns how many there are.
    pub(super) const fn len(&self) -> usize {
        self.jars.len()
    }

    /// Finds the client of a stream; clients are numbered from 0 in the order in which they appear.
    pub(super) fn of(&mut self, open: &Open<'_>, headers: &Headers<'_>) -> usize {
        let name = self
            .key
            .of(open, headers)
            .map(Name::Key)
            .or_else(|| open.connection.map(Name::Connection))
            .unwrap_or_else(|| {
                self.alone += 1;
                Name::Alone(self.alone)
            });
        let next = self.jars.len();
        let number = *self.numbers.entry(name).or_insert(next);
        if number == next {
            self.jars.push(Jar::default());
        }
        number
    }

    /// Takes note of a recorded response: with it the client may have got the cookie that names it from then on.
    pub(super) fn answered(&mut self, session: usize, headers: &Headers<'_>) {
        let SessionKey::Cookie(name) = &self.key else {
            return;
        };
        for (key, value) in &headers.fields {
            if key.as_ref() == b"set-cookie" {
                // The first pair of a `set-cookie` is written as in a `cookie`.
                let pair = value.split(|&byte| byte == b';').next().unwrap_or_default();
                let pair = Headers {
                    fields: vec![(b"cookie".as_slice().into(), pair.into())],
                    end_stream: true,
                    ..Headers::default()
                };
                if let Some(value) = cookie(&pair, name) {
                    let key = Name::Key(String::from_utf8_lossy(value).into_owned());
                    self.numbers.entry(key).or_insert(session);
                }
            }
        }
    }

    /// Returns the cookies of a client.
    pub(super) fn jar(&mut self, session: usize) -> Option<&mut Jar> {
        self.jars.get_mut(session)
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
        .map(|open| sessions.of(open, &none))
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
        assert_eq!(
            sessions.of(&open(2), &headers("cookie", "a=b; sid=x7")),
            first
        );
        assert_ne!(sessions.of(&open(3), &headers("cookie", "sid=x8")), first);
    }
}
