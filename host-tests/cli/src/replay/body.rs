//! Compares a body before and after the plugins without keeping it.

use super::exchange::BodyChange;

/// What came and what left of one direction of one stream.
#[derive(Debug, Default)]
pub(super) struct BodyWatch {
    bytes_in: u64,
    bytes_out: u64,
    /// What came and hasn't left, or left and hasn't come; the other one is empty.
    ahead: Vec<u8>,
    is_out_ahead: bool,
    is_changed: bool,
}

impl BodyWatch {
    /// Notes a piece that comes.
    pub(super) fn comes(&mut self, piece: &[u8]) {
        self.bytes_in = self.bytes_in.saturating_add(piece.len() as u64);
        self.step(piece, false);
    }

    /// Notes a piece that leaves.
    pub(super) fn leaves(&mut self, piece: &[u8]) {
        self.bytes_out = self.bytes_out.saturating_add(piece.len() as u64);
        self.step(piece, true);
    }

    /// Says how the body was changed. What came and was never let go counts if `is_whole`.
    pub(super) const fn change(&self, is_whole: bool) -> Option<BodyChange> {
        if self.is_changed
            || self.is_out_ahead && !self.ahead.is_empty()
            || is_whole && !self.ahead.is_empty()
        {
            return Some(BodyChange {
                bytes_in: self.bytes_in,
                bytes_out: self.bytes_out,
            });
        }
        None
    }

    fn step(&mut self, piece: &[u8], is_out: bool) {
        if self.is_changed || piece.is_empty() {
            return;
        }
        if self.ahead.is_empty() || self.is_out_ahead == is_out {
            self.is_out_ahead = is_out;
            self.ahead.extend_from_slice(piece);
            return;
        }
        let common = self.ahead.len().min(piece.len());
        let (now, later) = piece.split_at(common);
        if self.ahead.get(..common) != Some(now) {
            self.is_changed = true;
            self.ahead = Vec::new();
            return;
        }
        self.ahead.drain(..common);
        if !later.is_empty() {
            self.is_out_ahead = is_out;
            self.ahead.extend_from_slice(later);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(steps: &[(&str, &str)]) -> Option<BodyChange> {
        let mut watch = BodyWatch::default();
        for (comes, leaves) in steps {
            watch.comes(comes.as_bytes());
            watch.leaves(leaves.as_bytes());
        }
        watch.change(true)
    }

    #[test]
    fn only_what_the_bytes_are_matters_not_how_they_are_cut() {
        assert_eq!(watch(&[("abc", "abc"), ("d", "d")]), None);
        assert_eq!(watch(&[("abc", ""), ("d", "a"), ("", "bcd")]), None);
        assert_eq!(watch(&[("", "ab"), ("abc", "c")]), None);
    }

    #[test]
    fn changes_are_seen_wherever_they_are() {
        let change = |bytes_in, bytes_out| {
            Some(BodyChange {
                bytes_in,
                bytes_out,
            })
        };
        assert_eq!(watch(&[("abc", "abd")]), change(3, 3));
        assert_eq!(watch(&[("abc", "abcd")]), change(3, 4));
        assert_eq!(watch(&[("abc", "ab")]), change(3, 2));
        assert_eq!(watch(&[("", "x")]), change(0, 1));
    }
}
