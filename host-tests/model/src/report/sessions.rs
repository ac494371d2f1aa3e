//! Which endpoints served a session, and when that changed.
//!
//! A session is a client of a source. Rows come when requests end, so a WebSocket that lived long comes late: what served a
//! session is kept as stretches of time, and a late row is put where it began.
//! Limits: [`STRETCHES`] stretches are kept for a session; rows that began before those are not looked at any more.
//! Cost: some 100 bytes a session; sessions of one request each are only counted.

use std::collections::HashMap;

use super::tally::Period;

/// So many stretches with one endpoint each are kept; a session that follows no endpoint has one for each request.
const STRETCHES: usize = 16;

/// All sessions.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    known: HashMap<(usize, u64), Session>,
}

#[derive(Debug, Clone, Copy)]
struct Stretch {
    from_ns: u64,
    until_ns: u64,
    endpoint: usize,
}

#[derive(Debug, Default)]
struct Session {
    stretches: Vec<Stretch>,
    /// Before this time nothing is kept.
    settled_ns: u64,
    /// When it moved, for stretches that aren't kept: how often in each period.
    settled: Vec<u32>,
    /// Whether it had a request, in each period.
    seen: Vec<bool>,
}

/// What is told of the sessions of a period.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counted {
    pub(super) count: u64,
    pub(super) moved: u64,
    pub(super) moves: u64,
}

impl Sessions {
    /// A session had a request; `endpoint` served it.
    pub(super) fn add(
        &mut self,
        session: (usize, u64),
        started_ns: u64,
        endpoint: Option<usize>,
        periods: &[Period],
    ) {
        let session = self.known.entry(session).or_default();
        session.seen.resize(periods.len(), false);
        for (seen, period) in session.seen.iter_mut().zip(periods) {
            *seen |= period.contains(started_ns);
        }
        if let Some(endpoint) = endpoint {
            session.serve(started_ns, endpoint, periods);
        }
    }

    /// Returns the figures of each period.
    pub(super) fn counted(&self, periods: &[Period]) -> Vec<Counted> {
        let mut all = vec![Counted::default(); periods.len()];
        // Sums only: the order of the map doesn't matter.
        for session in self.known.values() {
            for (index, counted) in all.iter_mut().enumerate() {
                let Some(period) = periods.get(index) else {
                    continue;
                };
                counted.count += u64::from(session.seen.get(index).copied().unwrap_or(false));
                let moves = session.moves(index, *period);
                counted.moved += u64::from(moves > 0);
                counted.moves += moves;
            }
        }
        all
    }
}

impl Session {
    fn serve(&mut self, at_ns: u64, endpoint: usize, periods: &[Period]) {
        if at_ns < self.settled_ns {
            return;
        }
        let here = Stretch {
            from_ns: at_ns,
            until_ns: at_ns,
            endpoint,
        };
        let next = self
            .stretches
            .partition_point(|stretch| stretch.from_ns <= at_ns);
        let before = next.checked_sub(1);
        if let Some(last) = before.and_then(|index| self.stretches.get_mut(index)) {
            if last.endpoint == endpoint {
                last.until_ns = last.until_ns.max(at_ns);
                return;
            }
            if at_ns < last.until_ns {
                // In the midst of a stretch: two moves, there and back.
                let rest = Stretch {
                    from_ns: last.until_ns,
                    ..*last
                };
                last.until_ns = at_ns;
                self.stretches.insert(next, rest);
                self.stretches.insert(next, here);
                self.settle(periods);
                return;
            }
        }
        match self.stretches.get_mut(next) {
            Some(following) if following.endpoint == endpoint => following.from_ns = at_ns,
            _ => self.stretches.insert(next, here),
        }
        self.settle(periods);
    }

    /// Counts the first moves and forgets them when there are too many.
    fn settle(&mut self, periods: &[Period]) {
        while self.stretches.len() > STRETCHES {
            self.stretches.remove(0);
            let Some(moved) = self.stretches.first() else {
                return;
            };
            self.settled_ns = moved.from_ns;
            self.settled.resize(periods.len(), 0);
            for (count, period) in self.settled.iter_mut().zip(periods) {
                *count += u32::from(period.contains(moved.from_ns));
            }
        }
    }

    fn moves(&self, index: usize, period: Period) -> u64 {
        let kept = self
            .stretches
            .iter()
            .skip(1)
            .filter(|stretch| period.contains(stretch.from_ns))
            .count();
        let settled = self.settled.get(index).copied().unwrap_or(0);
        u64::from(settled) + u64::try_from(kept).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Period = Period {
        from_ns: 0,
        until_ns: u64::MAX,
    };

    fn moves(rows: &[(u64, usize)]) -> (u64, u64) {
        let mut sessions = Sessions::default();
        for (at_ns, endpoint) in rows {
            sessions.add((0, 1), *at_ns, Some(*endpoint), &[ALL]);
        }
        let counted = sessions.counted(&[ALL])[0];
        (counted.moved, counted.moves)
    }

    #[test]
    fn moves_are_counted_in_the_order_in_which_requests_began() {
        let cases: [(&[(u64, usize)], u64); 8] = [
            (&[(1, 7), (2, 7), (3, 7)], 0),
            (&[(1, 7), (2, 8), (3, 8)], 1),
            (&[(1, 7), (2, 8), (3, 7)], 2),
            // A late row that fits where it began.
            (&[(2, 8), (3, 8), (1, 8)], 0),
            (&[(1, 7), (5, 8), (2, 7)], 1),
            (&[(1, 7), (5, 8), (4, 8)], 1),
            // And late rows that don't.
            (&[(2, 8), (3, 8), (1, 7)], 1),
            (&[(1, 7), (5, 7), (3, 8)], 2),
        ];
        for (rows, expected) in cases {
            assert_eq!(moves(rows), (u64::from(expected > 0), expected), "{rows:?}");
        }
    }

    #[test]
    fn a_session_that_follows_no_endpoint_is_counted_in_bounded_memory() {
        let rows: Vec<(u64, usize)> = (0..1_000)
            .map(|at| (at, usize::try_from(at % 3).unwrap()))
            .collect();
        assert_eq!(moves(&rows), (1, 999));
        let mut session = Session::default();
        for (at_ns, endpoint) in &rows {
            session.serve(*at_ns, *endpoint, &[ALL]);
        }
        assert_eq!(session.stretches.len(), STRETCHES);
    }

    #[test]
    fn a_move_belongs_to_the_period_of_the_request_that_went_elsewhere() {
        let period = |from_ns, until_ns| Period { from_ns, until_ns };
        let periods = [ALL, period(0, 10), period(10, 20), period(20, 30)];
        let mut sessions = Sessions::default();
        for (at_ns, endpoint) in [(5, 7), (15, 8)] {
            sessions.add((0, 1), at_ns, Some(endpoint), &periods);
        }
        sessions.add((0, 2), 25, None, &periods);
        let counted: Vec<(u64, u64)> = sessions
            .counted(&periods)
            .iter()
            .map(|counted| (counted.count, counted.moved))
            .collect();
        assert_eq!(counted, [(2, 1), (1, 0), (1, 1), (1, 0)]);
    }
}
