//! What an endpoint's traffic makes of it: the leader's judge, one for each cluster.
//!
//! Model: the workers' reports go to the judge as they are merged, a trial's probe as it is answered,
//! and how an endpoint stands otherwise as often as that is looked at. Once per tick the judge says
//! what changed, and [`combine`] brings that into the states of the snapshot.
//! Limits: an endpoint that has vanished is forgotten: its address comes back as another one. Of one
//! that was not ready and ejected at the same time, the next leader knows only that it was not ready.

use alloc::vec::Vec;

use super::{
    Happened, Lead,
    board::{Target, readiness},
};
use crate::{
    ejection::{Judge, Start, Verdict, combine},
    probe::Outcome,
    snapshot::{Endpoint, EndpointAddress, State},
    units::WallTime,
};

/// Is the judge of a cluster; `None`: nobody is ejected.
pub(super) type Bench = Option<Judge<EndpointAddress>>;

/// Takes how a member stands but for its traffic, and is how it stands in all. `known` is what was
/// published of this life of the address; a judge that does not know it goes on from there.
pub(super) fn judged(
    bench: &mut Bench,
    address: EndpointAddress,
    known: Option<&Endpoint>,
    others: State,
    now: WallTime,
) -> State {
    let Some(judge) = bench else {
        return others;
    };
    if matches!(others, State::Vanished { .. }) {
        judge.remove(&address);
        return others;
    }
    let verdict = known.and_then(|_| judge.on_others(&address, others, now));
    let verdict = verdict.or_else(|| {
        let start = known.map_or(Start::New, |known| Start::Restored(*known));
        judge.add(address, start, now).ok()?;
        judge.on_others(&address, others, now)
    });
    // Whoever finds no room serves.
    combine(
        others,
        verdict.unwrap_or(Verdict::Serving { readmitted: None }),
    )
}

impl Lead {
    /// Lets the judges say what changed since the last tick.
    pub(super) fn judge(&mut self, now: WallTime, draw: &mut dyn FnMut() -> u64) {
        let window = self.config.drain_window();
        let mut happened = Vec::new();
        for (index, board) in self.boards.iter_mut().enumerate() {
            let Some(judge) = &mut board.bench else {
                continue;
            };
            let before = judge.counters();
            // How much an endpoint can take is not known here.
            let changes = judge.on_tick(None, now, draw);
            let after = judge.counters();
            let spared = after.spared.saturating_sub(before.spared);
            self.counts.ejections_spared = self.counts.ejections_spared.saturating_add(spared);
            let readmitted = after.readmissions.saturating_sub(before.readmissions);
            happened.extend((0..readmitted).map(|_| Happened::Readmitted));
            let cluster = self.membership.cluster(&board.name);
            for change in changes {
                if let Some(cause) = change.cause {
                    happened.push(Happened::Ejected { cause });
                }
                let target = Target {
                    board: index,
                    address: change.key,
                };
                let readiness = readiness(self.prober.as_ref(), &target);
                // One that has just left waits for the rebuilding, which goes by the judge as well.
                if let Some(member) = cluster.and_then(|cluster| cluster.member(change.key.into()))
                {
                    board.on_judged(&change, member, readiness, window, now);
                }
            }
        }
        for happened in happened {
            self.happen(happened);
        }
    }

    /// Lets a probe decide a trial.
    pub(super) fn try_by_probe(&mut self, target: &Target, outcome: Outcome, now: WallTime) {
        let is_ready = match outcome {
            Outcome::Success => true,
            Outcome::Failure(_) => false,
            // Who drains asked for nothing new, well or not.
            Outcome::Draining { .. } => return,
        };
        if let Some(judge) = self
            .boards
            .get_mut(target.board)
            .and_then(|board| board.bench.as_mut())
        {
            judge.on_probe(&target.address, is_ready, now);
        }
    }
}
