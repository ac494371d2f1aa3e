//! Finds the ends of JSON values, and the beginnings of entries behind a malformed one.

use memchr::{memchr, memchr2, memmem};

/// Finds the end of a JSON object, list or string by counting braces outside of strings.
#[derive(Debug, Default)]
pub(super) struct Scan {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Scan {
    /// Goes through `bytes` up to the end of the value; returns how many belong to it and whether it ended.
    pub(super) fn run(&mut self, bytes: &[u8]) -> (usize, bool) {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            at += 1;
            if self.escaped {
                self.escaped = false;
                continue;
            }
            if self.in_string {
                // Most of a recording is inside of strings: what can't end one is passed over at once.
                match byte {
                    b'\\' => self.escaped = true,
                    b'"' => {
                        self.in_string = false;
                        if self.depth == 0 {
                            return (at, true);
                        }
                    }
                    _ => {
                        let rest = bytes.get(at..).unwrap_or_default();
                        at += memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
                    }
                }
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return (at, true);
                    }
                }
                _ => {}
            }
        }
        (bytes.len(), false)
    }

    /// Goes through a number or a word, of which what ends it isn't part.
    pub(super) fn scalar(bytes: &[u8]) -> (usize, bool) {
        let end = bytes.iter().position(|&byte| {
            matches!(byte, b',' | b'}' | b']' | b':' | b'{' | b'[' | b'"')
                || byte.is_ascii_whitespace()
        });
        (end.unwrap_or(bytes.len()), end.is_some())
    }

    /// Says whether the bytes are one object from brace to brace.
    pub(super) fn is_object(bytes: &[u8]) -> bool {
        bytes.first() == Some(&b'{') && Self::default().run(bytes) == (bytes.len(), true)
    }
}

/// How the next entry is found behind one that is malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recovery {
    /// At the next line: entries are cut at line ends, whatever they hold.
    Line,
    /// At the next line that begins with a brace.
    LineStart,
    /// At the next object whose first key is one of these: keys with which an entry may begin and nothing inside of one does.
    Object(&'static [&'static str]),
    /// Behind the next separator.
    Separator(&'static [u8]),
}

/// The white space that may stand between a brace and the first key.
const BLANK_MAX: usize = 64;

impl Recovery {
    /// Returns the length of the longest beginning that is looked for, in bytes.
    pub(super) fn longest(self) -> usize {
        match self {
            Self::Line => 1,
            Self::LineStart => 2 + BLANK_MAX,
            Self::Object(keys) => {
                BLANK_MAX + 3 + keys.iter().map(|key| key.len()).max().unwrap_or_default()
            }
            Self::Separator(separator) => separator.len(),
        }
    }

    /// Says whether the end of an entry doesn't depend on what the entry holds.
    pub(super) const fn is_blind(self) -> bool {
        matches!(self, Self::Line | Self::Separator(_))
    }

    /// Returns where the first entry begins at or behind `from`.
    pub(super) fn find(self, bytes: &[u8], from: usize) -> Option<usize> {
        match self {
            Self::Line => Some(from + memchr(b'\n', bytes.get(from..)?)? + 1),
            Self::LineStart => {
                let mut at = from;
                loop {
                    at += memchr(b'\n', bytes.get(at..)?)? + 1;
                    let line = bytes.get(at..)?;
                    let blank = blank(line);
                    if line.get(blank) == Some(&b'{') {
                        return Some(at + blank);
                    }
                }
            }
            Self::Object(keys) => {
                let mut at = from;
                loop {
                    at += memchr(b'{', bytes.get(at..)?)?;
                    let inside = bytes.get(at + 1..)?;
                    let key = inside.get(blank(inside)..).unwrap_or_default();
                    if keys.iter().any(|name| begins_with_key(key, name)) {
                        return Some(at);
                    }
                    at += 1;
                }
            }
            Self::Separator(separator) => {
                let found = memmem::find(bytes.get(from.saturating_sub(1)..)?, separator)?;
                Some(from.saturating_sub(1) + found + separator.len())
            }
        }
    }
}

fn blank(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .take(BLANK_MAX)
        .take_while(|byte| byte.is_ascii_whitespace())
        .count()
}

fn begins_with_key(bytes: &[u8], name: &str) -> bool {
    bytes
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_prefix(name.as_bytes()))
        .is_some_and(|rest| rest.first() == Some(&b'"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_value_is_found_wherever_it_is_cut() {
        let text = br#"{"a":"}\"{","b":[{"c":"\\"}]} rest"#;
        let end = text.len() - " rest".len();
        for cut in 0..=text.len() {
            let mut scan = Scan::default();
            let (first, complete) = scan.run(&text[..cut]);
            let (second, complete) = if complete {
                (0, true)
            } else {
                scan.run(&text[cut..])
            };
            assert_eq!((first + second, complete), (end, true), "cut at {cut}");
        }
    }

    #[test]
    fn a_beginning_is_found_by_its_first_key_and_not_inside_of_an_entry() {
        let text = br#"{"a":{"name":"x"},"b":"{\"request\":1}"}, { "request" : {}}"#;
        let at = Recovery::Object(&["request"]).find(text, 1).unwrap();
        assert!(text[at..].starts_with(br#"{ "request""#));
        assert_eq!(Recovery::Object(&["response"]).find(text, 1), None);
        assert_eq!(
            Recovery::LineStart.find(b"{\"a\":\nx\n  {\"b\":1}", 1),
            Some(10)
        );
        assert_eq!(Recovery::Separator(b"--").find(b"a--b", 1), Some(3));
    }
}
