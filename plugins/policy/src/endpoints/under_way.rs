//! How long attempts at one endpoint wait for their answers.

use alloc::vec::Vec;
use core::time::Duration;

use crate::units::WallTime;

/// Is how many attempts at one endpoint are followed at a time. Beyond that the oldest ones are
/// known, and those say most; one that is not followed costs its age.
const MAX_UNDER_WAY: usize = 1024;

/// Is how old an attempt gets until it is taken for lost: a stream whose end nobody told would else
/// make its endpoint seem slow for ever. As long as an endpoint without attempts is remembered.
const LOST_AFTER: Duration = Duration::from_secs(300);

/// Remembers when attempts began that have no answer yet.
///
/// Cost: a beginning O(1), an end and [`Self::oldest_age`] O(attempts under way); 8 bytes for each,
/// used again. Attempts of one instant are not told apart, nor need they be.
#[derive(Debug, Default)]
pub(super) struct UnderWay {
    began: Vec<WallTime>,
}

impl UnderWay {
    /// Takes that an attempt begins; `false` where it finds no room.
    pub(super) fn on_start(&mut self, now: WallTime) -> bool {
        if self.began.len() >= MAX_UNDER_WAY {
            self.began.retain(|began_at| !is_lost(*began_at, now));
        }
        let has_room = self.began.len() < MAX_UNDER_WAY;
        if has_room {
            self.began.push(now);
        }
        has_room
    }

    /// Takes that one that began then has its answer, or gets none any more.
    pub(super) fn on_end(&mut self, began_at: WallTime) {
        if let Some(place) = self.began.iter().position(|began| *began == began_at) {
            self.began.swap_remove(place);
        }
    }

    /// Says whether there is none.
    pub(super) const fn is_empty(&self) -> bool {
        self.began.is_empty()
    }

    /// Is how long the oldest one waits; zero where there is none, or where the clock stepped back.
    pub(super) fn oldest_age(&self, now: WallTime) -> Duration {
        let ages = self
            .began
            .iter()
            .filter(|began_at| !is_lost(**began_at, now))
            .map(|began_at| now.saturating_since(*began_at));
        ages.max().unwrap_or_default()
    }
}

/// Says whether an attempt is not waited for any more.
fn is_lost(began_at: WallTime, now: WallTime) -> bool {
    now.saturating_since(began_at) >= LOST_AFTER
}
