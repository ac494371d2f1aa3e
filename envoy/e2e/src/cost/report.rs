//! What was measured, for machines and for people.

use serde::Serialize;

use super::figure::Figure;
use super::forms::Form;
use super::gateway::Turn;
use super::spending::Spending;
use super::{ENDPOINTS, Options};
use crate::envoy::KINDS;

/// What was measured.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Raised when the meaning of a field changes.
    pub schema: u32,
    /// How many endpoints there were.
    pub endpoints: usize,
    /// Workers of each Envoy.
    pub workers: u32,
    /// How many connections the requests came on.
    pub connections: u32,
    /// How many rounds there were.
    pub rounds: u32,
    /// How many requests each form served in a round.
    pub requests: u32,
    /// How many per second.
    pub rate: u32,
    /// What was measured of each form.
    pub forms: Vec<Measured>,
    /// What it should come to.
    pub goals: Vec<Goal>,
    /// Where the time of forms with modules goes; none where that was not asked for, or plain or frame was not measured.
    pub spending: Vec<Spending>,
}

/// What was measured of a form.
#[derive(Debug, Serialize)]
pub struct Measured {
    /// Its name.
    pub form: &'static str,
    /// What it consists of.
    pub what: &'static str,
    /// Requests that were answered, over all rounds.
    pub answers: u64,
    /// Those with status 200.
    pub ok: u64,
    /// Processor time per request in microseconds, of all threads, with timers and probes.
    pub total_us: Figure,
    /// The same by threads: main, workers, others.
    pub threads_us: [f64; KINDS.len()],
    /// Processor time in microseconds per second without requests: timers and probes.
    pub idle_us_per_second: Figure,
    /// Processor time per request in microseconds, without what those cost in the same time.
    pub request_us: Figure,
    /// The total as a multiple of the native set's; `null` where that was not measured.
    pub to_native: Option<Figure>,
    /// The total in microseconds more than that of plain; `null` where that was not measured.
    pub more_than_plain_us: Option<Figure>,
    /// The memory that Envoy has resident at the end, in bytes.
    pub resident_bytes: u64,
}

/// Something that a figure should come to.
#[derive(Debug, Serialize)]
pub struct Goal {
    /// What.
    pub what: &'static str,
    /// What it came to.
    pub figure: Figure,
    /// What it may at most be.
    pub at_most: f64,
    /// Whether it is no more.
    pub met: bool,
}

/// What a form of ours may cost in all, as a multiple of the native set.
const TO_NATIVE_AT_MOST: f64 = 1.45;

impl Report {
    pub(super) fn of(options: &Options, rounds: &[Vec<Turn>], resident: &[u64]) -> Self {
        let turns = |form: Form| {
            let index = options.forms.iter().position(|known| *known == form);
            index.and_then(|index| rounds.get(index))
        };
        let forms = options
            .forms
            .iter()
            .zip(rounds)
            .zip(resident)
            .map(|((form, own), resident_bytes)| Measured {
                form: form.name(),
                what: form.what(),
                answers: own.iter().map(|turn| turn.requests).sum(),
                ok: own.iter().map(|turn| turn.ok).sum(),
                total_us: total(own),
                threads_us: threads(own),
                idle_us_per_second: Figure::of(own.len(), |some| 1e6 * idle_share(own, some)),
                request_us: Figure::of(own.len(), |some| {
                    let elapsed = sum(own, some, |turn| turn.elapsed.as_secs_f64());
                    let spent = sum(own, some, |turn| turn.total().as_secs_f64());
                    1e6 * (spent - idle_share(own, some) * elapsed) / requests(own, some)
                }),
                to_native: turns(Form::Native).map(|native| to(own, native)),
                more_than_plain_us: turns(Form::Plain).map(|plain| {
                    Figure::of(own.len(), |some| {
                        per_request(own, some) - per_request(plain, some)
                    })
                }),
                resident_bytes: *resident_bytes,
            })
            .collect::<Vec<_>>();
        Self {
            schema: 1,
            endpoints: ENDPOINTS,
            workers: 1,
            connections: options.connections,
            rounds: options.rounds,
            requests: options.requests,
            rate: options.rate,
            goals: goals(&forms),
            forms,
            spending: Vec::new(),
        }
    }
}

fn goals(forms: &[Measured]) -> Vec<Goal> {
    let stack = forms.iter().filter(|form| form.form == "stack");
    stack
        .filter_map(|stack| {
            let figure = stack.to_native?;
            Some(Goal {
                what: "stack, as a multiple of the native set",
                figure,
                at_most: TO_NATIVE_AT_MOST,
                met: figure.value <= TO_NATIVE_AT_MOST,
            })
        })
        .collect()
}

fn total(turns: &[Turn]) -> Figure {
    Figure::of(turns.len(), |some| per_request(turns, some))
}

fn to(turns: &[Turn], native: &[Turn]) -> Figure {
    Figure::of(turns.len(), |some| {
        per_request(turns, some) / per_request(native, some)
    })
}

/// Returns microseconds per request in some of the rounds.
fn per_request(turns: &[Turn], some: &[usize]) -> f64 {
    1e6 * sum(turns, some, |turn| turn.total().as_secs_f64()) / requests(turns, some)
}

/// Returns which share of a processor the Envoy took while it served nobody.
fn idle_share(turns: &[Turn], some: &[usize]) -> f64 {
    let idle = sum(turns, some, |turn| turn.idle.as_secs_f64());
    if idle > 0.0 {
        sum(turns, some, |turn| turn.spent_idle.as_secs_f64()) / idle
    } else {
        0.0
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a run are far below 2^52"
)]
fn requests(turns: &[Turn], some: &[usize]) -> f64 {
    sum(turns, some, |turn| turn.requests as f64).max(1.0)
}

fn sum(turns: &[Turn], some: &[usize], of: impl Fn(&Turn) -> f64) -> f64 {
    let turns = some.iter().filter_map(|round| turns.get(*round));
    turns.map(of).sum()
}

fn threads(turns: &[Turn]) -> [f64; KINDS.len()] {
    let all: Vec<usize> = (0..turns.len()).collect();
    std::array::from_fn(|kind| {
        let of = |turn: &Turn| {
            let spent = turn.spent.get(kind).copied().unwrap_or_default();
            spent.as_secs_f64()
        };
        1e6 * sum(turns, &all, of) / requests(turns, &all)
    })
}
