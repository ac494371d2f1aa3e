//! Counts rows while they come, and tells the report.

use std::collections::{BTreeMap, HashMap};
use std::io;

use super::expect::{Expectation, Window};
use super::sessions::{Counted, Sessions};
use super::tally::{Names, Period, Tally};
use super::times::ms;
use super::{Report, Row, Second, Sink, WindowFigures};
use crate::scenario::{Scenario, Source};
use crate::units::Span;

/// A series has at most so many parts.
const PARTS: u64 = 600;
const SECOND_NS: u64 = 1_000_000_000;

/// Counts the rows of a run.
///
/// Cost: memory for each window that an expectation names, for each endpoint and for each session; none for a row.
#[derive(Debug)]
pub struct Collector {
    names: Names,
    endpoints: HashMap<String, usize>,
    /// The whole run first, then the windows.
    periods: Vec<Period>,
    windows: Vec<Window>,
    tallies: Vec<Tally>,
    sessions: Sessions,
    /// Sources whose every request is a session of its own.
    lone: Vec<bool>,
    lone_sessions: Vec<u64>,
    series: Vec<Part>,
    part_ns: u64,
    run: BTreeMap<String, f64>,
}

impl Collector {
    /// Begins to count what the scenario's expectations need.
    #[must_use]
    pub fn new(scenario: &Scenario) -> Self {
        let expectations: Vec<Expectation> = scenario
            .expect
            .iter()
            .filter_map(|text| Expectation::parse(text).ok())
            .collect();
        Self::with_expectations(scenario, &expectations)
    }

    /// Begins to count what these expectations need, which may be another scenario's: a baseline has none itself.
    #[must_use]
    pub fn with_expectations(scenario: &Scenario, expectations: &[Expectation]) -> Self {
        let mut windows: Vec<Window> = Vec::new();
        let mut bounds = vec![Span::ms(1_000)];
        for expectation in expectations {
            windows.extend(expectation.window());
            bounds.extend(expectation.bounds());
        }
        windows.sort_unstable();
        windows.dedup();
        bounds.sort_unstable();
        bounds.dedup();
        let names = Names::new(scenario, bounds);
        let mut periods = vec![Period {
            from_ns: 0,
            until_ns: u64::MAX,
        }];
        periods.extend(windows.iter().map(|window| Period {
            from_ns: window.from.ns(),
            until_ns: window.until.ns(),
        }));
        let lone = scenario
            .traffic
            .iter()
            .map(|source| matches!(source, Source::Generated(it) if it.clients.count == 0))
            .collect();
        // Whole seconds, so that a part begins where a person would look for it.
        let seconds = scenario.duration.ns().div_ceil(SECOND_NS);
        Self {
            endpoints: names
                .endpoints
                .iter()
                .enumerate()
                .map(|(index, (address, ..))| (address.clone(), index))
                .collect(),
            names,
            tallies: periods.iter().map(|_| Tally::default()).collect(),
            lone_sessions: vec![0; periods.len()],
            periods,
            windows,
            sessions: Sessions::default(),
            lone,
            series: Vec::new(),
            part_ns: seconds.div_ceil(PARTS).max(1) * SECOND_NS,
            run: BTreeMap::new(),
        }
    }

    /// Counts a row.
    pub fn add(&mut self, row: &Row) {
        let endpoints: Vec<Option<usize>> = row
            .endpoints
            .iter()
            .map(|address| Some(*self.endpoints.get(address.as_deref()?)?))
            .collect();
        let is_lone = self.lone.get(row.source).copied().unwrap_or(false);
        for (index, period) in self.periods.iter().enumerate() {
            if !period.contains(row.started_ns) {
                continue;
            }
            if let Some(tally) = self.tallies.get_mut(index) {
                tally.add(row, &endpoints, &self.names);
            }
            if let Some(sessions) = self.lone_sessions.get_mut(index) {
                *sessions += u64::from(is_lone);
            }
        }
        if !is_lone {
            // An error tells nothing of where a session lives.
            let served = if row.is_error() {
                None
            } else {
                endpoints.last().copied().flatten()
            };
            self.sessions.add(
                (row.source, row.client),
                row.started_ns,
                served,
                &self.periods,
            );
        }
        let part = usize::try_from((row.started_ns / self.part_ns).min(PARTS)).unwrap_or(0);
        if self.series.len() <= part {
            self.series.resize(part + 1, Part::default());
        }
        if let Some(part) = self.series.get_mut(part) {
            part.add(row);
        }
    }

    /// Says what came of it.
    #[must_use]
    pub fn report(&self, seed: u64) -> Report {
        let sessions = self.sessions.counted(&self.periods);
        let mut figures = self.tallies.iter().enumerate().map(|(index, tally)| {
            let mut counted = sessions.get(index).copied().unwrap_or_default();
            counted.count += self.lone_sessions.get(index).copied().unwrap_or(0);
            tally.figures(&self.names, counted)
        });
        let overall = figures
            .next()
            .unwrap_or_else(|| Tally::default().figures(&self.names, Counted::default()));
        let windows = self
            .windows
            .iter()
            .zip(figures)
            .map(|(window, figures)| WindowFigures {
                during: window.to_string(),
                figures,
            })
            .collect();
        let mut from_ns = 0;
        let mut series = Vec::with_capacity(self.series.len());
        for part in &self.series {
            series.push(Second {
                from: Span(from_ns),
                requests: part.requests,
                errors: part.errors,
                attempts: part.attempts,
                latency_ms: part.latency_ms(),
            });
            from_ns += self.part_ns;
        }
        Report {
            seed,
            overall,
            run: self.run.clone(),
            windows,
            series,
        }
    }
}

/// A part of the series.
#[derive(Debug, Clone, Default)]
struct Part {
    requests: u64,
    errors: u64,
    attempts: u64,
    answered: u64,
    sum_ns: u128,
}

impl Part {
    fn add(&mut self, row: &Row) {
        self.requests += 1;
        self.errors += u64::from(row.is_error());
        self.attempts += u64::from(row.attempts);
        if let Some(ns) = row.first_byte_ns {
            self.answered += 1;
            self.sum_ns += u128::from(ns);
        }
    }

    /// Returns the mean.
    fn latency_ms(&self) -> Option<f64> {
        let mean_ns = self.sum_ns.checked_div(u128::from(self.answered))?;
        Some(ms(u64::try_from(mean_ns).unwrap_or(u64::MAX)))
    }
}

impl Sink for Collector {
    fn row(&mut self, row: &Row) -> io::Result<()> {
        self.add(row);
        Ok(())
    }

    fn in_flight(&mut self, endpoint: &str, now_ns: u64, count: u32) {
        let Some(endpoint) = self.endpoints.get(endpoint).copied() else {
            return;
        };
        for (tally, period) in self.tallies.iter_mut().zip(&self.periods) {
            if period.contains(now_ns) {
                tally.in_flight(endpoint, count);
            }
        }
    }

    fn figure(&mut self, name: &str, value: f64) {
        self.run.insert(name.to_owned(), value);
    }
}
