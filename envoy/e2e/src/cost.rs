//! What a request costs the real Envoy, in processor time: with modules of ours, without, and with what Envoy has of its own.
//!
//! Why: instructions in a runner are not what an operator pays. A call into the host copies and locks, and a module brings header
//! changes, timers and probes with it; all of that is in the processor time of the proxy, and in nothing else.
//! Model: an Envoy per form, with one worker each, in front of the same endpoints. They serve in turns, round after round, the same
//! number of requests at the same rate, with half of the clients without a cookie; each round begins with another form. The cost of a
//! turn is what the kernel accounts to the threads of that Envoy, so that whoever else works on the machine takes none of it. Figures are ratios
//! of sums over rounds with an interval ([`Figure`]). What timers and probes cost is measured while others have their turn.
//! Limits: caches are shared with the rest of the machine. At another rate another share of a turn is the waking up of threads,
//! so that ratios hold for about the rate that is told. A figure of another machine is another figure.

mod calls;
mod figure;
mod forms;
mod gateway;
mod load;
mod prices;
mod report;
mod server;
mod spending;

use std::net::SocketAddr;

use anyhow::{Result, ensure};

pub use figure::Figure;
pub use forms::Form;
pub use report::{Goal, Measured, Report};
pub use spending::{Calls, Spending};

use gateway::{Gateway, Turn};
use server::Server;

/// How many endpoints there are.
const ENDPOINTS: usize = 4;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which forms; what goals compare is there or the goal is not told.
    pub forms: Vec<Form>,
    /// How many rounds.
    pub rounds: u32,
    /// How many requests a form serves in a round.
    pub requests: u32,
    /// How many requests per second it serves meanwhile.
    pub rate: u32,
    /// How many connections they come on.
    pub connections: u32,
    /// How many requests each Envoy serves before anything is measured, at four times the rate: connections open, sessions begin, and
    /// its engine compiles what runs often.
    pub warm_up: u32,
    /// Whether to find out where the time goes, which takes as long again.
    pub spending: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            forms: Form::ALL.to_vec(),
            rounds: 20,
            requests: 1_000,
            rate: 1_000,
            connections: 8,
            warm_up: 4_000,
            spending: true,
        }
    }
}

/// Measures. `told` hears of each round.
///
/// # Errors
/// Envoy cannot be run, a module cannot be built, or a request gets no answer.
pub async fn measure(options: &Options, mut told: impl FnMut(&str)) -> Result<Report> {
    ensure!(!options.forms.is_empty(), "nothing to measure");
    ensure!(options.rounds > 0, "no rounds");
    let mut servers = Vec::new();
    for _ in 0..ENDPOINTS {
        servers.push(Server::start().await?);
    }
    let addresses: Vec<_> = servers.iter().map(Server::address).collect();
    let mut report = compare(options, &addresses, &mut told).await?;
    if options.spending {
        report.spending = spend(options, &report, &addresses, &mut told).await?;
    }
    Ok(report)
}

/// Lets the forms serve in turns.
async fn compare(
    options: &Options,
    addresses: &[SocketAddr],
    told: &mut impl FnMut(&str),
) -> Result<Report> {
    let mut gateways = Vec::new();
    for form in &options.forms {
        told(&format!("starting {}", form.name()));
        gateways.push(Gateway::start(*form, addresses, options.connections).await?);
    }
    for gateway in &mut gateways {
        gateway.turn(options.warm_up, options.rate * 4).await?;
    }
    let mut rounds: Vec<Vec<Turn>> = vec![Vec::new(); gateways.len()];
    for round in 0..options.rounds {
        told(&format!("round {} of {}", round + 1, options.rounds));
        for index in order(round, gateways.len()) {
            if let (Some(gateway), Some(turns)) = (gateways.get_mut(index), rounds.get_mut(index)) {
                turns.push(gateway.turn(options.requests, options.rate).await?);
            }
        }
    }
    let mut resident = Vec::new();
    for gateway in &mut gateways {
        resident.push(gateway.envoy.resident_bytes()?);
        gateway.envoy.stop().await?;
    }
    Ok(Report::of(options, &rounds, &resident))
}

/// Returns who serves in which turn of a round: each round begins with another one.
fn order(round: u32, count: usize) -> impl Iterator<Item = usize> {
    let first = usize::try_from(round).unwrap_or(0) % count.max(1);
    (first..count).chain(0..first)
}

/// Finds out where the time of forms with modules goes.
async fn spend(
    options: &Options,
    report: &Report,
    addresses: &[SocketAddr],
    told: &mut impl FnMut(&str),
) -> Result<Vec<Spending>> {
    told("counting calls");
    let mut work = Vec::new();
    for form in &options.forms {
        work.push(calls::per_request(*form)?);
    }
    let kinds = spending::kinds(&work);
    let prices = prices::measure(kinds, addresses, options, told).await?;
    let more = |form: Form| {
        let found = report.forms.iter().find(|known| known.form == form.name());
        found.and_then(|form| form.more_than_plain_us)
    };
    let spending = options
        .forms
        .iter()
        .zip(&work)
        .filter(|(_, work)| !work.calls.is_empty())
        .filter_map(|(form, work)| {
            let (own, frame) = (more(*form)?, more(Form::Frame)?);
            Some(Spending::of(
                form.name(),
                own.value,
                frame.value,
                work,
                &prices,
            ))
        });
    Ok(spending.collect())
}
