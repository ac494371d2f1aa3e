//! An endpoint in virtual time: when it takes connections, how long it works, what it answers.
//!
//! Model: a queue of requests in the order of their coming and `concurrency` places to work on them. The time that a
//! request takes is drawn when work on it begins. A request that the proxy gives up frees its place at once.
//! A WebSocket takes no place.

use std::collections::VecDeque;

use crate::draw::Draws;
use crate::latency::{Sampler, rounded};
use crate::scenario::{Answer, Endpoint, Errors, Failure, Health, Phase, Sockets, State};

/// Whether a connection comes about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connects {
    /// At once.
    Yes,
    /// It is refused at once.
    Refused,
    /// Neither: whoever waits for it has to know when to stop.
    Never,
}

/// A request as it reaches an endpoint.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Path and query.
    pub path: &'a str,
    /// Whether it asks for an upgrade to a WebSocket.
    pub upgrade: bool,
    /// How long the recorded upstream took, in nanoseconds.
    pub recorded_ns: Option<u64>,
}

/// What an endpoint does with a request, and when.
#[derive(Debug, Clone, PartialEq)]
pub struct Served {
    /// When it happens, in nanoseconds.
    pub at_ns: u64,
    /// What happens.
    pub with: Serving,
}

/// What an endpoint does.
#[derive(Debug, Clone, PartialEq)]
pub enum Serving {
    /// It answers: headers now, the body's end `body_takes` later.
    Answer(Answer),
    /// It answers 101 and sends messages back.
    Socket(Answer),
    /// It closes the connection.
    Disconnect,
    /// It answers, and closes the connection before the body's end.
    DisconnectInBody(Answer),
    /// Nothing.
    Silence,
}

/// An endpoint.
#[derive(Debug)]
pub struct Server {
    /// Its address.
    pub address: String,
    spec: Endpoint,
    latency: Sampler,
    phases: Vec<(Phase, Option<Sampler>)>,
    draws: Draws,
    /// Requests being worked on.
    busy: Vec<u64>,
    waiting: VecDeque<(u64, Waiting)>,
}

#[derive(Debug)]
struct Waiting {
    recorded_ns: Option<u64>,
    path: String,
}

/// What became of a request that came.
#[derive(Debug, Clone, PartialEq)]
pub enum Begun {
    /// This happens to it.
    Serves(Served),
    /// It waits; [`Server::next`] says when it begins.
    Waits,
}

impl Server {
    /// Makes an endpoint; `spec.count` doesn't matter. `index` names its stream of draws.
    #[must_use]
    pub fn new(spec: Endpoint, seed: u64, index: u64) -> Self {
        let latency = Sampler::new(&spec.latency);
        let phases = spec.timeline.iter().map(|phase| {
            let sampler = match &phase.state {
                State::Slow(latency) => Some(Sampler::new(latency)),
                _ => None,
            };
            (phase.clone(), sampler)
        });
        Self {
            address: spec.address.to_string(),
            latency,
            phases: phases.collect(),
            draws: Draws::new(seed, "endpoint", index),
            busy: Vec::new(),
            waiting: VecDeque::new(),
            spec,
        }
    }

    /// Whether a connection comes about now.
    #[must_use]
    pub fn connects(&self, now_ns: u64) -> Connects {
        let mut connects = Connects::Yes;
        for state in self.states(now_ns) {
            match state {
                State::Refuses => connects = Connects::Refused,
                State::Unreachable => connects = Connects::Never,
                _ => {}
            }
        }
        connects
    }

    /// Its health in the membership; `None`: it isn't a member now.
    #[must_use]
    pub fn membership(&self, now_ns: u64) -> Option<Health> {
        let mut health = Some(Health::Healthy);
        for state in self.states(now_ns) {
            match state {
                State::Absent => health = None,
                State::Membership(of) => health = health.and(Some(*of)),
                _ => {}
            }
        }
        health
    }

    /// Times at which something changes about it, in no order.
    pub fn changes(&self) -> impl Iterator<Item = u64> {
        self.phases.iter().flat_map(|(phase, _)| {
            std::iter::once(phase.from.ns()).chain(phase.until.map(|until| until.ns()))
        })
    }

    /// A whole request came under this number.
    pub fn begin(&mut self, number: u64, asked: &Asked<'_>, now_ns: u64) -> Begun {
        let hangs = self
            .states(now_ns)
            .any(|state| matches!(state, State::Hangs));
        if hangs {
            return Begun::Serves(Served {
                at_ns: now_ns,
                with: Serving::Silence,
            });
        }
        if let Some(answer) = self.probe_answer(asked.path, now_ns) {
            return Begun::Serves(Served {
                at_ns: now_ns,
                with: Serving::Answer(self.announced(answer, now_ns)),
            });
        }
        if asked.upgrade && self.spec.sockets == Sockets::Echo {
            let mut answer = self.announced(self.spec.answer.clone(), now_ns);
            answer.status = 101;
            let served = self.work(asked.recorded_ns, now_ns);
            let with = match served.with {
                Serving::Answer(_) => Serving::Socket(answer),
                other => other,
            };
            return Begun::Serves(Served {
                at_ns: served.at_ns,
                with,
            });
        }
        let places = self.spec.concurrency.map_or(usize::MAX, |places| {
            usize::try_from(places).unwrap_or(usize::MAX)
        });
        if self.busy.len() < places {
            self.busy.push(number);
            return Begun::Serves(self.work(asked.recorded_ns, now_ns));
        }
        let room = self.spec.queue.map_or(usize::MAX, |room| {
            usize::try_from(room).unwrap_or(usize::MAX)
        });
        if self.waiting.len() >= room {
            let full = Answer {
                status: 503,
                ..Answer::default()
            };
            return Begun::Serves(Served {
                at_ns: now_ns,
                with: Serving::Answer(self.announced(full, now_ns)),
            });
        }
        let waiting = Waiting {
            recorded_ns: asked.recorded_ns,
            path: asked.path.to_owned(),
        };
        self.waiting.push_back((number, waiting));
        Begun::Waits
    }

    /// A request has ended, or the proxy gave it up. Returns the one that work begins on instead, if one waits.
    pub fn end(&mut self, number: u64, now_ns: u64) -> Option<(u64, Served)> {
        self.waiting.retain(|(waiting, _)| *waiting != number);
        let place = self.busy.iter().position(|busy| *busy == number)?;
        self.busy.swap_remove(place);
        let (next, waiting) = self.waiting.pop_front()?;
        self.busy.push(next);
        let asked = Asked {
            path: &waiting.path,
            upgrade: false,
            recorded_ns: waiting.recorded_ns,
        };
        let hangs = self
            .states(now_ns)
            .any(|state| matches!(state, State::Hangs));
        if hangs {
            let with = Serving::Silence;
            return Some((
                next,
                Served {
                    at_ns: now_ns,
                    with,
                },
            ));
        }
        Some((next, self.work(asked.recorded_ns, now_ns)))
    }

    /// How many requests it has, waiting ones included.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.busy.len().saturating_add(self.waiting.len())
    }

    /// Draws what becomes of a request that work begins on.
    fn work(&mut self, recorded_ns: Option<u64>, now_ns: u64) -> Served {
        let mut latency_ns = self.latency.draw(recorded_ns, &mut self.draws);
        let mut factor = 1.0;
        let mut failing: Option<Errors> = None;
        for errors in &self.spec.errors {
            if self.draws.happens(errors.ratio.value()) && failing.is_none() {
                failing = Some(errors.clone());
            }
        }
        for (phase, sampler) in &self.phases {
            if !covers(phase, now_ns) {
                continue;
            }
            match &phase.state {
                State::Fails(errors) if self.draws.happens(errors.ratio.value()) => {
                    failing = Some(errors.clone());
                }
                State::Slow(_) => {
                    if let Some(sampler) = sampler {
                        latency_ns = sampler.draw(recorded_ns, &mut self.draws);
                    }
                }
                State::Slower(times) => factor *= times,
                State::Cold(times) => factor *= cooling(phase, *times, now_ns),
                _ => {}
            }
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "a day in nanoseconds is below 2^53"
        )]
        if (factor - 1.0).abs() > f64::EPSILON {
            latency_ns = rounded(latency_ns as f64 * factor);
        }
        let answer = self.announced(self.spec.answer.clone(), now_ns);
        let Some(errors) = failing else {
            return Served {
                at_ns: now_ns.saturating_add(latency_ns),
                with: Serving::Answer(answer),
            };
        };
        let after_ns = errors.after.map_or(latency_ns, |after| after.ns());
        let with = match errors.with {
            Failure::Status(status) => Serving::Answer(Answer {
                status,
                body_bytes: 0,
                body: None,
                ..answer
            }),
            Failure::Disconnect => Serving::Disconnect,
            Failure::DisconnectInBody => Serving::DisconnectInBody(answer),
            Failure::Silence => Serving::Silence,
        };
        Served {
            at_ns: now_ns.saturating_add(after_ns),
            with,
        }
    }

    fn probe_answer(&self, asked: &str, now_ns: u64) -> Option<Answer> {
        let mut found = None;
        for state in self.states(now_ns) {
            if let State::Probe { path, answer } = state
                && asked.starts_with(path)
            {
                found = Some(answer.clone());
            }
        }
        found
    }

    fn announced(&self, mut answer: Answer, now_ns: u64) -> Answer {
        for state in self.states(now_ns) {
            if let State::Announces(headers) = state {
                let further = headers
                    .iter()
                    .map(|(name, value)| (name.clone(), value.clone()));
                answer.headers.extend(further);
            }
        }
        answer
    }

    fn states(&self, now_ns: u64) -> impl Iterator<Item = &State> {
        self.phases
            .iter()
            .filter(move |(phase, _)| covers(phase, now_ns))
            .map(|(phase, _)| &phase.state)
    }
}

fn covers(phase: &Phase, now_ns: u64) -> bool {
    phase.from.ns() <= now_ns && phase.until.is_none_or(|until| now_ns < until.ns())
}

/// How many times as long work takes while an endpoint gets warm: in a straight line from `times` to 1.
fn cooling(phase: &Phase, times: f64, now_ns: u64) -> f64 {
    let Some(until) = phase.until else {
        return times;
    };
    let length = until.ns().saturating_sub(phase.from.ns());
    let gone = now_ns.saturating_sub(phase.from.ns());
    if length == 0 {
        return 1.0;
    }
    let share = std::time::Duration::from_nanos(gone).as_secs_f64()
        / std::time::Duration::from_nanos(length).as_secs_f64();
    times + (1.0 - times) * share
}

#[cfg(test)]
mod tests;
