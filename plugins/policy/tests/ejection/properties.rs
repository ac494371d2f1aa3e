//! What holds of ejections whatever is reported.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tidegate_policy::{
    ejection::{Cause, Config, Judge, Start},
    panic_mode::Rule,
    snapshot::{Counts, Failures, State},
    units::WallTime,
};

use crate::court::{Court, counts};

/// Is everything that happened to a judge that keeps no sums: what the rules say, in floating point.
#[derive(Default)]
struct Model {
    /// Are time, endpoint and outcomes.
    log: Vec<(u64, u32, Counts)>,
}

impl Model {
    fn totals(&self, key: u32, now_ms: u64) -> (f64, f64) {
        let first = (now_ms / 5_000).saturating_sub(1) * 5_000;
        let mine = self
            .log
            .iter()
            .filter(|(at, of, _)| *of == key && *at >= first);
        mine.fold((0.0, 0.0), |(attempts, failures), (_, _, counts)| {
            let failed = f64::from(counts.gateway_failures + counts.local_failures);
            let all = f64::from(counts.successes) + failed;
            (attempts + all, failures + failed)
        })
    }

    /// Says how surely an endpoint is to be ejected: above 1 it is, below 1 it is not.
    fn certainty(
        &self,
        key: u32,
        members: u32,
        rows: &BTreeMap<u32, Failures>,
        now_ms: u64,
    ) -> f64 {
        let mut rates = Vec::new();
        let (mut active, mut in_row) = (0, 0);
        let (mut others, mut failed) = (0.0, 0.0);
        for other in 0..members {
            let (attempts, failures) = self.totals(other, now_ms);
            if attempts == 0.0 {
                continue;
            }
            active += 1;
            if other != key {
                others += attempts;
                failed += failures;
            }
            let row = rows.get(&other).copied().unwrap_or_default();
            in_row += usize::from(row.gateway_in_row > 0 || row.local_in_row > 0);
            if attempts >= 20.0 {
                rates.push(failures / attempts);
            }
        }
        rates.sort_by(f64::total_cmp);
        let usual = match rates.len() {
            known if known > 0 && known * 2 >= active => *rates.get((known - 1) / 2).unwrap(),
            _ if others > 0.0 => failed / others,
            _ => 0.0,
        };
        let row = rows.get(&key).copied().unwrap_or_default();
        let row = [row.gateway_in_row, row.local_in_row]
            .into_iter()
            .max()
            .unwrap();
        let shared = active > 1 && (active - in_row) <= (active - 1) / 2;
        let by_row = if row < 5 || shared {
            0.0
        } else if usual == 0.0 {
            f64::INFINITY
        } else {
            1e-9 / usual.powi(i32::from(row))
        };
        let (attempts, failures) = self.totals(key, now_ms);
        let above = failures / attempts - usual;
        let by_rate = if attempts < 20.0 {
            0.0
        } else {
            let chance = 27.64 * (usual * (1.0 - usual) + above / 3.0);
            (above / 0.2).min(attempts * above * above / chance)
        };
        by_row.max(by_rate)
    }
}

prop_compose! {
    /// Is what one endpoint does in one tick: which of the four, and how much of it.
    fn any_tick(members: u32)(
        seen in prop::collection::vec((0..members, 0_u32..40, 0_u32..12, 0_u32..4), 0..6),
        bad in prop::option::of(0..members),
        skip in 0_u64..40,
    ) -> (Vec<(u32, Counts)>, u64) {
        let mut seen: Vec<(u32, Counts)> = seen
            .into_iter()
            .map(|(key, successes, gateway, local)| {
                (key, counts(successes, gateway / 4, local / 3))
            })
            .collect();
        if let Some(key) = bad {
            seen.push((key, counts(0, 3, 0)));
        }
        (seen, if skip == 0 { 30_000 } else { 0 })
    }
}

proptest! {
    /// The judge and a model that keeps everything and decides in floating point agree wherever the
    /// model is sure; and never are fewer left than panic's rule allows.
    #[test]
    fn judge_decides_as_the_rules_say(
        ticks in prop::collection::vec(any_tick(6), 1..80),
    ) {
        let members = 6;
        let mut court = Court::new(members);
        let mut model = Model::default();
        for (seen, skip_ms) in ticks {
            let mut failed = BTreeMap::new();
            for (key, counts) in seen {
                court.saw(key, counts);
                model.log.push((court.now_ms, key, counts));
                if counts.gateway_failures + counts.local_failures > 0 {
                    failed.insert(key, ());
                }
            }
            court.now_ms += skip_ms;
            let before = court.serving(members);
            let changes = court.tick();
            let after = court.serving(members);
            // Who is readmitted begins anew.
            model.log.retain(|(_, key, _)| before.contains(key) || !after.contains(key));
            let ejected: Vec<u32> = changes
                .iter()
                .filter(|change| change.cause.is_some_and(|cause| cause != Cause::TrialFailed))
                .map(|change| change.key)
                .collect();
            let safe = Rule::default().safe_ejections(members, None);
            prop_assert!(u32::try_from(after.len()).unwrap() >= members - safe);
            for key in before {
                let sure = model.certainty(key, members, &court.rows, court.now_ms);
                let is_ejected = ejected.contains(&key);
                if is_ejected {
                    prop_assert!(failed.contains_key(&key));
                    prop_assert!(sure > 0.999, "{key} was ejected at {sure}");
                } else if sure > 1.001 && failed.contains_key(&key) {
                    let full = after.len() == usize::try_from(members - safe).unwrap();
                    prop_assert!(full, "{key} was not ejected at {sure}");
                }
            }
        }
    }

    /// Only counts matter, not how they are spread over a half of the window.
    #[test]
    fn verdict_depends_on_counts_and_not_on_their_spacing(
        failures in 1_u32..30, successes in 10_u32..90, gaps_ms in prop::collection::vec(0_u64..450, 9),
    ) {
        let verdict = |parts: u32| {
            let mut court = Court::new(3);
            for key in 1..3 {
                court.saw(key, counts(60, 1, 0));
            }
            for part in 0..parts {
                let share = |all: u32| all * (part + 1) / parts - all * part / parts;
                court.saw(0, counts(share(successes), share(failures), 0));
                court.now_ms += gaps_ms.get(part as usize).copied().unwrap_or(0);
            }
            court.tick().len()
        };
        let expected = verdict(1);
        for parts in 2..=10 {
            prop_assert_eq!(verdict(parts), expected);
        }
    }

    /// Any reports, states, probes and clocks: no panic, and nobody is left out of a count.
    #[test]
    fn anything_leaves_the_judge_whole(
        steps in prop::collection::vec(
            (0_u8..8, 0_u32..5, any::<[u32; 3]>(), any::<[u8; 2]>(), any::<u64>()),
            0..120,
        ),
    ) {
        let mut judge: Judge<u32> = Judge::new(Config::parse("{}").unwrap());
        for (step, key, [successes, gateway, local], [gateway_row, local_row], time) in steps {
            let now = WallTime::from_ns(time);
            match step {
                0 => judge.add(key, Start::New, now).unwrap(),
                1 => { judge.remove(&key); }
                2 | 3 => {
                    let rows = Failures {
                        gateway_in_row: gateway_row,
                        local_in_row: local_row,
                        ejections: 0,
                    };
                    judge.on_attempts(&key, counts(successes, gateway, local), rows, now);
                }
                4 => judge.on_probe(&key, successes % 2 == 0, now),
                5 => { judge.on_others(&key, State::Draining { until: now }, now); }
                _ => {
                    let before = judge.len();
                    let changes = judge.on_tick(Some(successes % 2_000_000), now, &mut || time);
                    prop_assert!(changes.len() <= before);
                }
            }
            prop_assert!(judge.len() <= 5);
        }
    }
}
