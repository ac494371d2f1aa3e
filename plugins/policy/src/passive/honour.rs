//! Whether a cluster goes by our lists.

use super::conclude::Honoured;

/// Is how many answers in a row a first notice takes. One may be an endpoint that just left; ten
/// without one between that was honoured are not.
const FIRST_NOTICE: u32 = 10;

/// Is how many notices a cluster gets at most, as long as the VM lives: rows of 10 to 10^9.
pub const MAX_NOTICES: u32 = 9;

/// Is worth a line in the log: the cluster seems to have no `override_host`, or reads another
/// header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub struct Notice {
    /// Is how many answers in a row were not by the list.
    pub row: u32,
}

/// Remembers whether one cluster goes by our lists. 12 bytes, O(1).
#[derive(Clone, Copy, Debug)]
pub struct Honour {
    row: u32,
    next_notice: u32,
    is_believed: bool,
}

impl Honour {
    /// Starts without knowing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            row: 0,
            next_notice: FIRST_NOTICE,
            is_believed: false,
        }
    }

    /// Takes what one answer showed. A row that is ended and begins again has to be ten times as
    /// long for the next notice, so that flickering gives no more of them.
    pub const fn on_answer(&mut self, honoured: Honoured) -> Option<Notice> {
        match honoured {
            Honoured::Unclear => return None,
            Honoured::Yes => {
                self.row = 0;
                self.is_believed = true;
                return None;
            }
            Honoured::No => {
                self.row = self.row.saturating_add(1);
                self.is_believed = false;
            }
        }
        // The bound saturates at u32::MAX, which no row exceeds and none is told twice at.
        if self.row < self.next_notice || self.next_notice == u32::MAX {
            return None;
        }
        self.next_notice = self.next_notice.saturating_mul(10);
        Some(Notice { row: self.row })
    }

    /// Says whether the last answer that showed anything was by the list.
    #[must_use]
    pub const fn is_believed(self) -> bool {
        self.is_believed
    }

    /// Says that lists seem not to be honoured: as many in a row as a first notice takes.
    #[must_use]
    pub const fn is_ignored(self) -> bool {
        self.row >= FIRST_NOTICE
    }
}

impl Default for Honour {
    fn default() -> Self {
        Self::new()
    }
}
