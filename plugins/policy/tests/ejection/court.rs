//! A judge of ejections in virtual time.

use std::collections::BTreeMap;

use tidegate_policy::{
    ejection::{Change, Config, Judge, Start, Verdict},
    snapshot::{Counts, Failures},
    units::WallTime,
};

const TICK_MS: u64 = 250;

/// Is a judge, its virtual clock, and the rows as the merge makes them.
pub(crate) struct Court {
    pub(crate) judge: Judge<u32>,
    pub(crate) now_ms: u64,
    pub(crate) rows: BTreeMap<u32, Failures>,
    pub(crate) draws: u64,
}

pub(crate) fn at_ms(ms: u64) -> WallTime {
    WallTime::from_ns(1_700_000_000_000_000_000 + ms * 1_000_000)
}

pub(crate) fn counts(successes: u32, gateway_failures: u32, local_failures: u32) -> Counts {
    Counts {
        successes,
        gateway_failures,
        local_failures,
    }
}

impl Court {
    pub(crate) fn new(members: u32) -> Self {
        Self::with("{}", members)
    }

    pub(crate) fn with(config: &str, members: u32) -> Self {
        let mut court = Self {
            judge: Judge::new(Config::parse(config).unwrap()),
            now_ms: 0,
            rows: BTreeMap::new(),
            draws: 0,
        };
        for key in 0..members {
            court.judge.add(key, Start::New, at_ms(0)).unwrap();
        }
        court
    }

    pub(crate) fn now(&self) -> WallTime {
        at_ms(self.now_ms)
    }

    /// Takes what came in of an endpoint, in one report of one worker; successes came last.
    pub(crate) fn saw(&mut self, key: u32, counts: Counts) {
        let rows = self.rows.entry(key).or_default();
        let grow = |row: &mut u8, ended: bool, failures: u32| {
            let grown = u8::try_from(u32::from(*row) + failures).unwrap_or(u8::MAX);
            *row = if ended { 0 } else { grown };
        };
        let reached = counts.successes > 0 || counts.gateway_failures > 0;
        grow(
            &mut rows.gateway_in_row,
            counts.successes > 0,
            counts.gateway_failures,
        );
        grow(&mut rows.local_in_row, reached, counts.local_failures);
        self.judge
            .on_attempts(&key, counts, *rows, at_ms(self.now_ms));
    }

    pub(crate) fn tick(&mut self) -> Vec<Change<u32>> {
        self.now_ms += TICK_MS;
        let now = at_ms(self.now_ms);
        let mut draws = 0;
        let changes = self.judge.on_tick(None, now, &mut || {
            draws += 1;
            0
        });
        self.draws += draws;
        changes
    }

    /// Ticks for so long, and lists what changed.
    pub(crate) fn wait(&mut self, seconds: u64) -> Vec<Change<u32>> {
        (0..seconds * 1000 / TICK_MS)
            .flat_map(|_| self.tick())
            .collect()
    }

    pub(crate) fn is_serving(&self, key: u32) -> bool {
        matches!(self.judge.verdict(&key), Some((Verdict::Serving { .. }, _)))
    }

    pub(crate) fn serving(&self, members: u32) -> Vec<u32> {
        (0..members).filter(|key| self.is_serving(*key)).collect()
    }
}
