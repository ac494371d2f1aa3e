//! When to ask a feed.

use core::time::Duration;

use super::{CallKey, reading::Reading};
use crate::{
    endpoints::Feed,
    membership::timer::{Timer, backoff, jitter},
    units::WallTime,
};

/// Is the longest wait after errors.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// Is how long after its timeout an answer is given up: the proxy times it out first and says so.
const GRACE: Duration = Duration::from_secs(1);

/// Is how long an answer may be read in slices, as long as one of the admin's.
const READ_LIMIT: Duration = Duration::from_secs(60);

/// Asks a feed: one question at a time, jittered by a quarter; after k errors in a row the wait is
/// doubled k times, up to 30 s.
#[derive(Debug)]
pub(super) struct FeedAsker {
    /// Is the question under way.
    pub(super) call: Option<CallKey>,
    pub(super) reading: Option<Reading>,
    /// Is until the next question, or until one is given up.
    timer: Timer,
    errors: u32,
}

impl FeedAsker {
    pub(super) fn new() -> Self {
        Self {
            call: None,
            reading: None,
            timer: Timer::default(),
            errors: 0,
        }
    }

    /// Gives up what has waited too long; says whether it did.
    pub(super) fn on_tick(&mut self, feed: &Feed, draw: u64, now: WallTime) -> bool {
        self.timer.observe(now);
        if self.is_idle() || !self.timer.is_over(now) {
            return false;
        }
        self.on_failed(feed, draw, now);
        true
    }

    /// Says whether to ask now.
    pub(super) fn is_due(&self, now: WallTime) -> bool {
        self.is_idle() && self.timer.is_over(now)
    }

    pub(super) fn on_asked(&mut self, key: CallKey, feed: &Feed, now: WallTime) {
        self.call = Some(key);
        self.timer = Timer::new(now, feed.timeout.saturating_add(GRACE));
    }

    pub(super) fn on_reading(&mut self, reading: Reading, now: WallTime) {
        self.call = None;
        self.reading = Some(reading);
        self.timer = Timer::new(now, READ_LIMIT);
    }

    /// Takes note that an answer was read whole.
    pub(super) fn on_read(&mut self, feed: &Feed, draw: u64, now: WallTime) {
        self.end();
        self.errors = 0;
        self.timer = Timer::new(now, jitter(feed.interval, draw));
    }

    /// Takes note that a question came to nothing.
    pub(super) fn on_failed(&mut self, feed: &Feed, draw: u64, now: WallTime) {
        self.end();
        self.errors = self.errors.saturating_add(1);
        let wait = backoff(MAX_BACKOFF, feed.interval, self.errors, draw);
        self.timer = Timer::new(now, wait);
    }

    fn end(&mut self) {
        self.call = None;
        self.reading = None;
    }

    const fn is_idle(&self) -> bool {
        self.call.is_none() && self.reading.is_none()
    }
}
