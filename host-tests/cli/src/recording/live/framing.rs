//! Cuts what Envoy sends into whole objects, counts them, and stamps each with the time of its arrival.
//!
//! Why: a recording ends wherever it is told to, and half an object is no input; a streamed tap has no times of its own.

use std::num::NonZeroU64;

use super::super::scan::Scan;

/// The most that is shown of what isn't JSON, in bytes.
const SHOWN_BYTES: usize = 60;

/// What came so far and isn't read yet.
#[derive(Debug)]
pub(super) struct Framing {
    /// The object that isn't whole yet.
    pending: Vec<u8>,
    scan: Scan,
    ready: Vec<u8>,
    /// How much of what is ready was read.
    given: usize,
    objects: u64,
    most: Option<NonZeroU64>,
    max_entry_bytes: usize,
}

/// What Envoy doesn't write.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("expected an object, got `{found}`")]
    NoObject { found: String },
    #[error("a trace is longer than {limit_bytes} bytes: raise `--max-entry-bytes`")]
    TooLong { limit_bytes: usize },
}

impl Framing {
    /// Takes at most so many objects, none of them longer than `max_entry_bytes`.
    pub(super) fn new(most: Option<NonZeroU64>, max_entry_bytes: usize) -> Self {
        Self {
            pending: Vec::new(),
            scan: Scan::default(),
            ready: Vec::new(),
            given: 0,
            objects: 0,
            most,
            max_entry_bytes,
        }
    }

    /// Returns how many whole objects came.
    pub(super) const fn objects(&self) -> u64 {
        self.objects
    }

    /// Says whether as many came as are wanted.
    pub(super) fn is_full(&self) -> bool {
        self.most.is_some_and(|most| self.objects >= most.get())
    }

    /// Takes what arrived at a time; what is more than wanted is dropped.
    pub(super) fn take(&mut self, mut bytes: &[u8], arrived_ns: u64) -> Result<(), Malformed> {
        while !self.is_full() {
            if self.pending.is_empty() {
                bytes = bytes.trim_ascii_start();
                if bytes.first().is_some_and(|&first| first != b'{') {
                    let shown = bytes.get(..SHOWN_BYTES).unwrap_or(bytes);
                    let found = String::from_utf8_lossy(shown)
                        .trim_end()
                        .escape_debug()
                        .to_string();
                    return Err(Malformed::NoObject { found });
                }
            }
            if bytes.is_empty() {
                break;
            }
            let (taken, complete) = self.scan.run(bytes);
            let (own, rest) = bytes.split_at_checked(taken).unwrap_or((bytes, &[]));
            if self.pending.len() + own.len() > self.max_entry_bytes {
                return Err(Malformed::TooLong {
                    limit_bytes: self.max_entry_bytes,
                });
            }
            self.pending.extend_from_slice(own);
            bytes = rest;
            if complete {
                self.finish(arrived_ns);
            }
        }
        Ok(())
    }

    /// Gives what is ready; 0 when nothing is.
    pub(super) fn give(&mut self, buffer: &mut [u8]) -> usize {
        let rest = self.ready.get(self.given..).unwrap_or_default();
        let size = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..size), rest.get(..size)) {
            to.copy_from_slice(from);
        }
        self.given += size;
        if self.given == self.ready.len() {
            self.ready.clear();
            self.given = 0;
        }
        size
    }

    fn finish(&mut self, arrived_ns: u64) {
        let fields = self.pending.get(1..).unwrap_or_default().trim_ascii_start();
        self.ready.extend_from_slice(b"{");
        if fields.first() == Some(&b'"') {
            self.ready
                .extend_from_slice(format!("\"arrived_ns\":{arrived_ns},").as_bytes());
        }
        self.ready.extend_from_slice(fields);
        self.ready.push(b'\n');
        self.pending.clear();
        self.scan = Scan::default();
        self.objects += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(framing: &mut Framing) -> String {
        let mut out = Vec::new();
        let mut buffer = [0; 7];
        loop {
            let size = framing.give(&mut buffer);
            if size == 0 {
                return String::from_utf8(out).unwrap();
            }
            out.extend_from_slice(&buffer[..size]);
        }
    }

    #[test]
    fn objects_are_stamped_whole_however_they_are_cut() {
        let sent = b"{\n \"a\": \"}{\\\"\"\n}\n{\"b\":[{}]}\n\n{}\n{\"c\":1";
        let expected =
            "{\"arrived_ns\":5,\"a\": \"}{\\\"\"\n}\n{\"arrived_ns\":5,\"b\":[{}]}\n{}\n";
        for piece in 1..=sent.len() {
            let mut framing = Framing::new(None, 1000);
            let mut got = String::new();
            for part in sent.chunks(piece) {
                framing.take(part, 5).unwrap();
                got.push_str(&all(&mut framing));
            }
            assert_eq!(
                (got.as_str(), framing.objects()),
                (expected, 3),
                "in pieces of {piece}"
            );
        }
    }

    #[test]
    fn no_more_objects_are_taken_than_wanted() {
        let mut framing = Framing::new(NonZeroU64::new(2), 1000);
        framing
            .take(b"{\"a\":1}{\"b\":2}{\"c\":3}nonsense", 1)
            .unwrap();
        assert!(framing.is_full());
        assert_eq!(
            all(&mut framing),
            "{\"arrived_ns\":1,\"a\":1}\n{\"arrived_ns\":1,\"b\":2}\n"
        );
    }

    #[test]
    fn what_is_no_object_is_refused_and_what_came_before_is_kept() {
        let mut framing = Framing::new(None, 1000);
        let taken = framing.take(b"{\"a\":1}\n<html>\n", 1);
        let found = "<html>".to_owned();
        assert_eq!(taken, Err(Malformed::NoObject { found }));
        assert_eq!(all(&mut framing), "{\"arrived_ns\":1,\"a\":1}\n");
    }

    #[test]
    fn an_object_longer_than_the_limit_is_refused_before_it_is_held() {
        for (text, fits) in [(&b"{\"a\":123}"[..], true), (&b"{\"a\":1234}"[..], false)] {
            for piece in [1, 100] {
                let mut framing = Framing::new(None, 9);
                let taken = text
                    .chunks(piece)
                    .try_for_each(|part| framing.take(part, 1));
                assert_eq!(taken.is_ok(), fits);
                assert!(framing.pending.len() <= 9);
            }
        }
    }
}
