//! Finds the entries in a HAR: goes down to `log.entries` and cuts one of its objects at a time.
//!
//! Why: the document may be a gigabyte, and the parser would want all of it. What is beside the entries is passed over
//! without being kept. Memory: one entry.

use super::super::entries::Entries;
use super::super::error::RecordingError;
use super::super::scan::Scan;

/// Where in the document the reader is.
#[derive(Debug, Default)]
pub(super) struct Outline {
    place: Place,
    /// Entries that were begun.
    count: u64,
    has_entries: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    /// Before the document.
    #[default]
    Start,
    /// Among the members of the document or of `log`.
    Members { is_log: bool, is_first: bool },
    /// In the list, before the first entry or `]`.
    FirstEntry,
    /// Behind an entry.
    NextEntry,
    /// Behind an entry that was malformed: whatever begins with a brace is next.
    AnyEntry,
    /// Behind the document.
    End,
}

impl Outline {
    /// Returns where the last entry is in the document, as a path.
    pub(super) fn path(&self) -> String {
        format!("$.log.entries[{}]", self.count.saturating_sub(1))
    }

    /// Goes on behind a malformed entry.
    pub(super) const fn recovered(&mut self) {
        self.place = Place::AnyEntry;
    }

    /// Cuts the next entry; `false` when the document is over.
    pub(super) fn next_entry(&mut self, entries: &mut Entries) -> Result<bool, RecordingError> {
        loop {
            match self.place {
                Place::Start => {
                    expect(entries, b'{', "an object, `{`")?;
                    self.place = Place::Members {
                        is_log: false,
                        is_first: true,
                    };
                }
                Place::Members { is_log, is_first } => self.member(entries, is_log, is_first)?,
                Place::FirstEntry | Place::NextEntry | Place::AnyEntry => {
                    if self.entry(entries)? {
                        return Ok(true);
                    }
                }
                Place::End => {
                    return match entries.skip_blank()? {
                        None => Ok(false),
                        Some(_) => Err(entries.unexpected("nothing behind the document")),
                    };
                }
            }
        }
    }

    /// Goes past one member of the document or of `log`, or into it.
    fn member(
        &mut self,
        entries: &mut Entries,
        is_log: bool,
        is_first: bool,
    ) -> Result<(), RecordingError> {
        let mut next = entries.skip_blank()?;
        if next == Some(b'}') {
            if is_log && !self.has_entries {
                return Err(entries.unexpected("`entries` in `log`"));
            }
            entries.take_byte();
            self.place = if is_log {
                Place::Members {
                    is_log: false,
                    is_first: false,
                }
            } else {
                Place::End
            };
            return Ok(());
        }
        if !is_first {
            if next != Some(b',') {
                return Err(entries.unexpected("`,` or `}`"));
            }
            entries.take_byte();
            next = entries.skip_blank()?;
        }
        if next != Some(b'"') {
            return Err(entries.unexpected("a key in quotes"));
        }
        let mut key = Vec::new();
        entries.skip_value(Some(&mut key))?;
        expect(entries, b':', "`:`")?;
        match (is_log, key.as_slice()) {
            (false, b"\"log\"") => {
                expect(entries, b'{', "an object, `{`")?;
                self.place = Place::Members {
                    is_log: true,
                    is_first: true,
                };
            }
            (true, b"\"entries\"") => {
                expect(entries, b'[', "a list, `[`")?;
                self.has_entries = true;
                self.place = Place::FirstEntry;
            }
            _ => {
                entries.skip_value(None)?;
                self.place = Place::Members {
                    is_log,
                    is_first: false,
                };
            }
        }
        Ok(())
    }

    /// Cuts an entry; `false` when the list is over.
    fn entry(&mut self, entries: &mut Entries) -> Result<bool, RecordingError> {
        let mut next = entries.skip_blank()?;
        if next == Some(b',') && self.place != Place::FirstEntry {
            entries.take_byte();
            next = entries.skip_blank()?;
            if next != Some(b'{') {
                return Err(entries.unexpected("an entry, `{`"));
            }
        } else if next == Some(b']') {
            entries.take_byte();
            self.place = Place::Members {
                is_log: true,
                is_first: false,
            };
            return Ok(false);
        } else if self.place == Place::NextEntry {
            return Err(entries.unexpected("`,` or `]`"));
        } else if next != Some(b'{') {
            return Err(entries.unexpected("an entry, `{`"));
        }
        self.place = Place::NextEntry;
        self.count += 1;
        entries.next_object()
    }

    /// Says whether a document begins like a HAR; `None` if more has to be seen.
    pub(super) fn recognises(beginning: &[u8]) -> Option<bool> {
        let mut rest = blank(beginning);
        if *rest.first()? != b'{' {
            return Some(false);
        }
        rest = blank(rest.get(1..)?);
        loop {
            if *rest.first()? != b'"' {
                return Some(false);
            }
            let key = value(rest)?;
            let name = rest.get(..key)?;
            rest = blank(rest.get(key..)?);
            if *rest.first()? != b':' {
                return Some(false);
            }
            rest = blank(rest.get(1..)?);
            let first = *rest.first()?;
            if name == b"\"log\"" {
                return Some(first == b'{');
            }
            rest = blank(rest.get(value(rest)?..)?);
            if *rest.first()? != b',' {
                return Some(false);
            }
            rest = blank(rest.get(1..)?);
        }
    }
}

fn expect(entries: &mut Entries, byte: u8, name: &str) -> Result<(), RecordingError> {
    if entries.skip_blank()? != Some(byte) {
        return Err(entries.unexpected(name));
    }
    entries.take_byte();
    Ok(())
}

fn blank(bytes: &[u8]) -> &[u8] {
    bytes.trim_ascii_start()
}

/// Returns the length of the value that the bytes begin with, if all of it is there.
fn value(bytes: &[u8]) -> Option<usize> {
    let (length, complete) = match bytes.first()? {
        b'{' | b'[' | b'"' => Scan::default().run(bytes),
        _ => Scan::scalar(bytes),
    };
    (complete && length > 0).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_recognised_by_its_log_and_not_by_a_string_of_that_name() {
        let cases: [(&str, Option<bool>); 9] = [
            ("{ \"log\" : {", Some(true)),
            ("{\"x\":[1,{\"log\":2}],\"y\":5,\"log\":{", Some(true)),
            ("{\"log\":\"a line\",\"stream\":\"stdout\"}", Some(false)),
            ("{\"format\":{}}", Some(false)),
            ("[{\"log\":{}}]", Some(false)),
            ("{}", Some(false)),
            ("{\"lo", None),
            ("", None),
            ("{\"log\":", None),
        ];
        for (text, expected) in cases {
            assert_eq!(Outline::recognises(text.as_bytes()), expected, "{text}");
        }
    }

    fn entries_of(text: &str) -> Result<Vec<String>, RecordingError> {
        let input = std::io::Cursor::new(text.to_owned().into_bytes());
        let mut entries = Entries::new("har".to_owned(), Box::new(input), 1000)?;
        let mut outline = Outline::default();
        let mut all = Vec::new();
        while outline.next_entry(&mut entries)? {
            all.push(String::from_utf8_lossy(entries.entry()).into_owned());
        }
        Ok(all)
    }

    #[test]
    fn entries_are_found_whatever_is_around_them() {
        let text = "{\"a\":[{}],\"log\":{\"pages\":[{\"entries\":[1]}],\"entries\" : [\n{\"x\":1} ,{\"y\":[2]}\n],\"n\":null},\"b\":-1.5e3 }\n";
        assert_eq!(entries_of(text).unwrap(), ["{\"x\":1}", "{\"y\":[2]}"]);
        assert!(entries_of("{\"log\":{\"entries\":[]}}").unwrap().is_empty());
    }
}
