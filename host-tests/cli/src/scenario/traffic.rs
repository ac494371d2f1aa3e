//! All requests of a scenario, those of recordings too.

use std::io;
use std::sync::Arc;

use tidegate_model::scenario::Source;
use tidegate_model::traffic::{Arrival, Traffic};

use super::load::LoadedScenario;
use super::recorded::RecordedTraffic;

/// The requests of all sources, in the order of their times. Where two come at the same time, a recording's goes last.
#[derive(Debug)]
pub struct ScenarioTraffic {
    made: Traffic,
    recorded: Vec<Recorded>,
}

#[derive(Debug)]
struct Recorded {
    traffic: RecordedTraffic,
    next: Option<Arrival>,
}

impl ScenarioTraffic {
    /// Makes the traffic of one run.
    ///
    /// # Errors
    /// What was put aside of a recording can't be read.
    pub fn new(loaded: &LoadedScenario, seed: u64) -> io::Result<Self> {
        let scenario = &loaded.scenario;
        let mut recorded = Vec::new();
        for (source, of) in scenario.traffic.iter().enumerate() {
            if let (Source::Recording(of), Some(recording)) = (of, loaded.recordings.get(&source)) {
                let mut traffic =
                    RecordedTraffic::new(Arc::clone(recording), source, of, scenario.duration.ns());
                let next = traffic.next()?;
                recorded.push(Recorded { traffic, next });
            }
        }
        Ok(Self {
            made: Traffic::new(scenario, seed),
            recorded,
        })
    }

    /// Returns when the next request comes, as far as is known: one that waits for another's end isn't.
    pub fn next_ns(&mut self) -> Option<u64> {
        let made = self.made.next_ns();
        let recorded = self.first().map(|(at_ns, _)| at_ns);
        match (made, recorded) {
            (Some(made), Some(recorded)) => Some(made.min(recorded)),
            (made, recorded) => made.or(recorded),
        }
    }

    /// Takes the next request. `None`: there is none, or none before a request has ended that another waits for.
    ///
    /// # Errors
    /// What was put aside of a recording can't be read.
    #[expect(
        clippy::should_implement_trait,
        reason = "after `None` there may be more"
    )]
    pub fn next(&mut self) -> io::Result<Option<Arrival>> {
        let made = self.made.next_ns();
        match self.first() {
            Some((at_ns, index)) if made.is_none_or(|made| at_ns < made) => {
                let Some(recorded) = self.recorded.get_mut(index) else {
                    return Ok(None);
                };
                let next = recorded.traffic.next()?;
                Ok(std::mem::replace(&mut recorded.next, next))
            }
            _ => Ok(self.made.next()),
        }
    }

    /// A request has ended, answered or not; the one that waits for it may come.
    pub fn ended(&mut self, source: usize, number: u64, now_ns: u64) {
        self.made.ended(source, number, now_ns);
    }

    fn first(&self) -> Option<(u64, usize)> {
        let known = self.recorded.iter().enumerate();
        known
            .filter_map(|(index, recorded)| Some((recorded.next.as_ref()?.at_ns, index)))
            .min()
    }
}
