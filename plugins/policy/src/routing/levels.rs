//! Which of a cluster's priority levels serves.
//!
//! Why: endpoints of a lower priority are there for when those of a higher one cannot serve: another
//! region, a larger machine that costs more.
//! Model: each level is judged by itself, by the rule of panic: one that is in panic hands over to
//! the next, which is what it is there for. Where none has enough, the first that has anybody
//! available serves, in panic; where nobody is available at all, the first that can be reached.
//! Level 0 is the highest. All requests go to one level: they change over when a tick says so.
//! Inputs / Output: how each endpoint stands, and at which level; the level and its [`Mode`].
//! Cold start: without endpoints the mode is `Nobody`.
//! Limits: 256 levels. Endpoints at other levels are no candidates and no spares; sessions that live
//! there stay.
//! Scope: per worker VM; a pure function of the picture. Cost: O(log levels) for each endpoint.

use alloc::vec::Vec;

use crate::panic_mode::{Census, Fitness, Mode};

/// Counts endpoints by level. Its memory is used again.
#[derive(Clone, Debug, Default)]
pub(super) struct Levels {
    /// Are sorted by priority.
    censuses: Vec<(u8, Census)>,
}

/// Is who serves until the next tick.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Served {
    /// Is the level.
    pub(super) priority: u8,
    /// Says whom to choose among, of that level.
    pub(super) mode: Mode,
}

impl Served {
    /// Says whether an endpoint is chosen among.
    pub(super) fn admits(self, priority: u8, fitness: Fitness) -> bool {
        priority == self.priority && self.mode.admits(fitness)
    }
}

impl Levels {
    pub(super) fn clear(&mut self) {
        self.censuses.clear();
    }

    /// Counts one more endpoint.
    pub(super) fn count(&mut self, priority: u8, fitness: Fitness) {
        let found = self
            .censuses
            .binary_search_by_key(&priority, |(level, _)| *level);
        let place = match found {
            Ok(place) => place,
            Err(place) => {
                self.censuses.insert(place, (priority, Census::default()));
                place
            }
        };
        if let Some((_, census)) = self.censuses.get_mut(place) {
            census.count(fitness);
        }
    }

    /// Decides which level serves. `judge` is the rule of panic.
    pub(super) fn decide(&self, judge: impl Fn(&Census) -> Mode) -> Served {
        // The least is taken: a level in which enough are available before one in panic, and so on.
        let ranked = self.censuses.iter().map(|(priority, census)| {
            let mode = judge(census);
            let rank = match mode {
                Mode::Normal => 0_u8,
                Mode::Panic => 1,
                Mode::NobodyAvailable => 2,
                Mode::Nobody => 3,
            };
            let priority = *priority;
            (rank, Served { priority, mode })
        });
        let best = ranked.min_by_key(|(rank, served)| (*rank, served.priority));
        best.map_or(
            Served {
                priority: 0,
                mode: Mode::Nobody,
            },
            |(_, served)| served,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{Levels, Served};
    use crate::panic_mode::{Fitness, Mode, Rule};

    const UP: Fitness = Fitness::Available;
    const BAD: Fitness = Fitness::Unhealthy;

    fn decide(levels: &[(u8, &[Fitness])]) -> Served {
        let mut counted = Levels::default();
        for (priority, endpoints) in levels {
            for fitness in *endpoints {
                counted.count(*priority, *fitness);
            }
        }
        counted.decide(|census| Rule::default().mode(census, None))
    }

    /// Are the endpoints of each level.
    type Members = &'static [(u8, &'static [Fitness])];

    #[test]
    fn level_serves_while_enough_are_available_and_then_hands_over() {
        let cases: [(Members, u8, Mode); 9] = [
            (&[], 0, Mode::Nobody),
            (&[(0, &[UP]), (1, &[UP])], 0, Mode::Normal),
            (&[(3, &[UP]), (2, &[UP])], 2, Mode::Normal),
            (&[(0, &[UP, BAD]), (1, &[UP])], 0, Mode::Normal),
            (&[(0, &[UP, BAD, BAD]), (1, &[UP])], 1, Mode::Normal),
            (
                &[(0, &[UP, BAD, BAD]), (1, &[UP, BAD, BAD])],
                0,
                Mode::Panic,
            ),
            (&[(0, &[BAD]), (1, &[UP, BAD, BAD])], 1, Mode::Panic),
            (
                &[(0, &[Fitness::Gone]), (1, &[BAD]), (2, &[BAD])],
                1,
                Mode::NobodyAvailable,
            ),
            (&[(0, &[Fitness::Gone])], 0, Mode::Nobody),
        ];
        for (levels, priority, mode) in cases {
            assert_eq!(decide(levels), Served { priority, mode }, "{levels:?}");
        }
    }
}
