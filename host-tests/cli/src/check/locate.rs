//! Where in a JSON text a path such as `$.clusters[0].ttl` is.
//!
//! Why by hand: JSON parsers keep values, not places. This one keeps places only, and gives up quietly on text that is
//! not JSON: then the plugin's own message has the line and the column.

use std::ops::Range;

/// Strings of this many bytes and more may be keys: 32 bytes in base64 are 44.
const SECRET_BYTES: usize = 32;

/// Finds the bytes of the value at `path`; `quoted` holds words of the message, one of which may name a field of the
/// object there, which is then what is meant.
pub(super) fn locate(text: &str, path: &str, quoted: &[&str]) -> Option<Range<usize>> {
    let mut scanner = Scanner {
        bytes: text.as_bytes(),
        at: 0,
    };
    let steps = steps(path)?;
    let value = scanner.walk(&steps)?;
    if text.as_bytes().get(value.start) != Some(&b'{') {
        return Some(value);
    }
    // A whole object is no place to look at: its field that the message names, else its first character.
    let named = quoted.iter().find_map(|name| {
        let mut inner = Scanner {
            bytes: text.as_bytes(),
            at: value.start,
        };
        inner.field(name)
    });
    Some(named.unwrap_or(value.start..value.start + 1))
}

/// Returns line and column, from 1, of a byte.
pub(crate) fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = text.as_bytes().get(..at).unwrap_or_default();
    let line = before.split(|byte| *byte == b'\n').count();
    let column = before
        .rsplit(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default()
        .len()
        + 1;
    (line, column)
}

/// Returns the byte at a line and a column, from 1.
pub(super) fn byte_at(text: &str, line: usize, column: usize) -> Option<usize> {
    let mut begin = 0;
    for _ in 1..line {
        begin += text.get(begin..)?.find('\n')? + 1;
    }
    let at = begin + column.checked_sub(1)?;
    (at <= text.len()).then_some(at)
}

/// Blanks out long strings, which may be secrets, and keeps every byte in its place.
pub(super) fn without_secrets(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let mut scanner = Scanner {
        bytes: text.as_bytes(),
        at: 0,
    };
    while scanner.at < text.len() {
        let begin = scanner.at;
        if scanner.peek() != Some(b'"') || scanner.string().is_none() {
            scanner.at = begin + 1;
            continue;
        }
        let inside = begin + 1..scanner.at - 1;
        if inside.len() >= SECRET_BYTES
            && let Some(inside) = bytes.get_mut(inside)
        {
            inside.fill(b'*');
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A step of a path.
#[derive(Debug, PartialEq, Eq)]
enum Step<'a> {
    Field(&'a str),
    Index(usize),
}

fn steps(path: &str) -> Option<Vec<Step<'_>>> {
    let mut rest = path.strip_prefix('$')?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('[') {
            let (index, after) = after.split_once(']')?;
            steps.push(Step::Index(index.parse().ok()?));
            rest = after;
        } else {
            let after = rest.strip_prefix('.')?;
            let end = after.find(['.', '[']).unwrap_or(after.len());
            let (field, after) = after.split_at_checked(end)?;
            steps.push(Step::Field(field));
            rest = after;
        }
    }
    Some(steps)
}

#[derive(Debug)]
struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn take(&mut self, wanted: u8) -> Option<()> {
        self.skip_space();
        (self.peek()? == wanted).then(|| self.at += 1)
    }

    /// Passes a string and returns what is between the quotes, escapes as they stand.
    fn string(&mut self) -> Option<&[u8]> {
        self.take(b'"')?;
        let begin = self.at;
        loop {
            match self.peek()? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        let end = self.at;
        self.at += 1;
        self.bytes.get(begin..end)
    }

    /// Passes a value of any kind. Brackets are counted, not recursed into: the text is a stranger's.
    fn value(&mut self) -> Option<Range<usize>> {
        self.skip_space();
        let begin = self.at;
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                b'"' => {
                    self.string()?;
                }
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    self.at += 1;
                }
                byte if depth > 0
                    && (byte == b',' || byte == b':' || byte.is_ascii_whitespace()) =>
                {
                    self.at += 1
                }
                _ => {
                    let literal = self.bytes.get(self.at..)?;
                    let length = literal
                        .iter()
                        .position(|byte| byte.is_ascii_whitespace() || b",:]}[{\"".contains(byte))
                        .unwrap_or(literal.len());
                    // A stray `,` or `:` is no value.
                    self.at += (length > 0).then_some(length)?;
                }
            }
            if depth == 0 {
                return Some(begin..self.at);
            }
        }
    }

    /// Finds the value at the end of the steps.
    fn walk(&mut self, steps: &[Step<'_>]) -> Option<Range<usize>> {
        for step in steps {
            match step {
                Step::Field(name) => {
                    self.field(name)?;
                    self.take(b':')?;
                }
                Step::Index(index) => {
                    self.take(b'[')?;
                    for _ in 0..*index {
                        self.value()?;
                        self.take(b',')?;
                    }
                }
            }
        }
        self.value()
    }

    /// Goes behind the name of a field of the object that begins here, and returns where the name is.
    fn field(&mut self, name: &str) -> Option<Range<usize>> {
        self.take(b'{')?;
        loop {
            self.skip_space();
            let begin = self.at;
            let found = self.string()? == name.as_bytes();
            if found {
                return Some(begin..self.at);
            }
            self.take(b':')?;
            self.value()?;
            self.take(b',')?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{
  "clusters": [
    { "name": "a, \"b\" ]", "ttl": "3h" },
    { "name": "c", "ttl": 10, "cookie": { "path": null } }
  ],
  "trust": "none"
}"#;

    fn found(path: &str, quoted: &[&str]) -> Option<&'static str> {
        locate(TEXT, path, quoted).and_then(|range| TEXT.get(range))
    }

    #[test]
    fn paths_lead_to_their_values() {
        let cases = [
            ("$.clusters[0].name", r#""a, \"b\" ]""#),
            ("$.clusters[0].ttl", r#""3h""#),
            ("$.clusters[1].ttl", "10"),
            ("$.clusters[1].cookie.path", "null"),
            ("$.clusters[1].cookie", "{"),
            ("$.trust", r#""none""#),
            ("$", "{"),
        ];
        for (path, expected) in cases {
            assert_eq!(found(path, &[]), Some(expected), "{path}");
        }
    }

    #[test]
    fn an_object_is_shown_by_the_field_that_the_message_names() {
        assert_eq!(
            found("$.clusters[1]", &["nothing", "cookie"]),
            Some(r#""cookie""#)
        );
    }

    #[test]
    fn paths_that_lead_nowhere_find_nothing() {
        for path in [
            "$.clusters[2]",
            "$.missing",
            "$.trust.deeper",
            "trust",
            "$.clusters[x]",
            "$.clusters.name",
        ] {
            assert_eq!(found(path, &[]), None, "{path}");
        }
    }

    #[test]
    fn text_that_is_no_json_finds_nothing_and_ends() {
        for text in [
            "",
            "{",
            "{\"a\"",
            "{\"a\":",
            "[1,",
            "{\"a\": \"\\",
            "]",
            "{\"a\":,}",
            "{:}",
            "[[[[",
        ] {
            assert_eq!(locate(text, "$.a", &[]), None, "{text}");
        }
    }

    #[test]
    fn lines_and_columns_count_from_one_both_ways() {
        let at = TEXT.find("\"trust\"").expect("it is there");
        assert_eq!(line_and_column(TEXT, at), (6, 3));
        assert_eq!(byte_at(TEXT, 6, 3), Some(at));
        assert_eq!(byte_at(TEXT, 1, 1), Some(0));
        assert_eq!(byte_at(TEXT, 80, 1), None);
        assert_eq!(byte_at(TEXT, 1, 0), None);
    }

    #[test]
    fn long_strings_are_blanked_and_nothing_moves() {
        let secret = "1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let text = format!("{{\"keys\": {{\"inline\": \"{secret}\"}}, \"ttl\": \"3h\"}}");
        let blanked = without_secrets(&text);
        assert_eq!(blanked.len(), text.len());
        assert_eq!(blanked, text.replace(secret, &"*".repeat(secret.len())));
    }
}
