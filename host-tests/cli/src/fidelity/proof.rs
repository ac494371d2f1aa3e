//! What a comparison of all cases comes to, as figures.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;
use tidegate_host::Engine;

use super::compare::Comparison;
use super::line::Line;

/// The callbacks of the specification that modules get in an HTTP filter, by the names that scripts use.
pub const PHASES: [&str; 16] = [
    "configure",
    "context_create",
    "delete",
    "done",
    "http_call_response",
    "initialize",
    "log",
    "queue_ready",
    "request_body",
    "request_headers",
    "request_trailers",
    "response_body",
    "response_headers",
    "response_trailers",
    "tick",
    "vm_start",
];

/// Functions of the specification, without `proxy_`.
///
/// SOURCE: ABI 0.2.1.
const SPECIFIED: usize = 46;

/// Functions that no script calls: those that only ABI 0.1.0 has, which the probe is not of, and those of the tool chains,
/// which have no status to show.
pub const NOT_CALLED: [&str; 6] = [
    "clear_route_cache",
    "continue_request",
    "continue_response",
    "emscripten_notify_memory_growth",
    "get_configuration",
    "pthread_equal",
];

/// What was called where.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    /// Host functions, by their names without `proxy_`.
    pub functions: BTreeSet<String>,
    /// Callbacks.
    pub phases: BTreeSet<String>,
}

impl Coverage {
    /// Notes what the lines of a log show.
    pub fn add(&mut self, lines: &[Line]) {
        for line in lines {
            // `plugin context phase: [variable =] function arguments -> result`, or `plugin context phase(arguments)`
            let mut words = line.text.splitn(3, ' ').skip(1);
            let context = words.next().unwrap_or_default();
            let Some(rest) = words.next().filter(|_| context.parse::<u32>().is_ok()) else {
                continue;
            };
            let end = rest.find(|letter: char| !letter.is_ascii_lowercase() && letter != '_');
            let Some((phase, rest)) = end.and_then(|end| rest.split_at_checked(end)) else {
                continue;
            };
            if rest.starts_with('(') || rest.starts_with('#') {
                self.phases.insert(phase.to_owned());
            } else if let Some(call) = rest.strip_prefix(": ") {
                let mut words = call.split(' ');
                let first = words.next().unwrap_or_default();
                let name = match (words.next(), words.next()) {
                    (Some("="), Some(name)) => name,
                    _ => first,
                };
                let name = if name == "exit" { "proc_exit" } else { name };
                self.functions.insert(name.to_owned());
            }
        }
    }

    /// Returns the functions that the host has and that no case calls.
    #[must_use]
    pub fn missing_functions(&self, engine: &Engine) -> BTreeSet<String> {
        functions(engine)
            .filter(|name| !self.functions.contains(name) && !NOT_CALLED.contains(&name.as_str()))
            .collect()
    }

    /// Returns the callbacks that no case has.
    #[must_use]
    pub fn missing_phases(&self) -> Vec<&'static str> {
        let missing = PHASES.iter().filter(|phase| !self.phases.contains(**phase));
        missing.copied().collect()
    }

    /// Returns how many functions of the specification are called.
    #[must_use]
    pub fn specified(&self) -> usize {
        let called = SPECIFICATION
            .iter()
            .filter(|name| self.functions.contains(**name));
        called.count()
    }
}

/// The names of the host's functions, as scripts have them.
fn functions(engine: &Engine) -> impl Iterator<Item = String> {
    engine.host_functions().map(|name| {
        let name = name.rsplit('.').next().unwrap_or(name);
        name.strip_prefix("proxy_").unwrap_or(name).to_owned()
    })
}

/// SOURCE: the host functions of ABI 0.2.1.
const SPECIFICATION: [&str; SPECIFIED] = [
    "done",
    "set_effective_context",
    "log",
    "fd_write",
    "get_log_level",
    "get_current_time_nanoseconds",
    "clock_time_get",
    "set_tick_period_milliseconds",
    "random_get",
    "environ_sizes_get",
    "environ_get",
    "set_buffer_bytes",
    "get_buffer_bytes",
    "get_buffer_status",
    "get_header_map_size",
    "get_header_map_pairs",
    "set_header_map_pairs",
    "get_header_map_value",
    "add_header_map_value",
    "replace_header_map_value",
    "remove_header_map_value",
    "continue_stream",
    "close_stream",
    "get_status",
    "send_local_response",
    "http_call",
    "grpc_call",
    "grpc_stream",
    "grpc_send",
    "grpc_cancel",
    "grpc_close",
    "set_shared_data",
    "get_shared_data",
    "register_shared_queue",
    "resolve_shared_queue",
    "enqueue_shared_queue",
    "dequeue_shared_queue",
    "define_metric",
    "record_metric",
    "increment_metric",
    "get_metric",
    "get_property",
    "set_property",
    "call_foreign_function",
    "args_sizes_get",
    "args_get",
];

/// One claim with its figure, as `tidegate prove` prints it.
#[derive(Clone, Debug, Serialize)]
pub struct Proof {
    /// Names the claim.
    pub id: String,
    /// What the figure is.
    pub what: String,
    /// The figure.
    pub figure: usize,
    /// Its unit.
    pub unit: &'static str,
    /// What it must be.
    pub target: String,
    /// Its confidence interval: none, since nothing here is drawn.
    pub ci95: Option<[f64; 2]>,
    /// Whether it is.
    pub holds: bool,
    /// What others reach: nobody to compare with.
    pub baseline: BTreeMap<String, f64>,
    /// How many lines, cases or functions it is about.
    pub cases: usize,
    /// The command that prints it anew.
    pub command: &'static str,
}

/// What a total must be.
#[derive(Clone, Copy, Debug)]
enum Bound {
    AtLeast(usize),
    AtMost(usize),
    Exactly(usize),
}

impl Bound {
    const fn holds(self, figure: usize) -> bool {
        match self {
            Self::AtLeast(bound) => figure >= bound,
            Self::AtMost(bound) => figure <= bound,
            Self::Exactly(bound) => figure == bound,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(bound) => write!(formatter, ">= {bound}"),
            Self::AtMost(bound) => write!(formatter, "<= {bound}"),
            Self::Exactly(bound) => write!(formatter, "== {bound}"),
        }
    }
}

/// What prints the claims anew.
const COMMAND: &str = "cargo tidegate prove fidelity";

/// The fewest cases that make a comparison.
const CASES_MIN: usize = 40;

/// Lines that may differ for known reasons: one in a hundred, or the host is another one.
const EXPLAINED_MAX: usize = 80;

/// All claims.
#[derive(Clone, Debug, Serialize)]
pub struct Proofs {
    schema: u32,
    area: &'static str,
    /// What the runner was compared with.
    pub against: String,
    /// The claims.
    pub proofs: Vec<Proof>,
}

impl Proofs {
    /// Makes the claims of comparisons; `titles` says what each case is about. With the coverage of all cases there are claims
    /// about all of them together.
    #[must_use]
    pub fn of(
        against: String,
        comparisons: &[Comparison],
        titles: &BTreeMap<String, String>,
        coverage: Option<&Coverage>,
    ) -> Self {
        let mut proofs: Vec<Proof> = comparisons
            .iter()
            .map(|compared| {
                let figure = compared.unexplained().count() + compared.unused.len();
                Proof {
                    id: format!("fidelity.{}", compared.case),
                    what: titles.get(&compared.case).cloned().unwrap_or_default(),
                    figure,
                    unit: "lines",
                    target: Bound::Exactly(0).to_string(),
                    ci95: None,
                    // A case without lines proves nothing.
                    holds: figure == 0 && compared.lines > 0,
                    baseline: BTreeMap::new(),
                    cases: compared.lines,
                    command: COMMAND,
                }
            })
            .collect();
        if let Some(coverage) = coverage {
            let differing = proofs.iter().map(|proof| proof.figure).sum();
            proofs.extend(totals(comparisons, differing, coverage));
        }
        Self {
            schema: 1,
            area: "fidelity",
            against,
            proofs,
        }
    }

    /// Whether every claim holds.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.proofs.iter().all(|proof| proof.holds)
    }
}

/// The claims about all cases together.
fn totals(comparisons: &[Comparison], differing: usize, coverage: &Coverage) -> [Proof; 6] {
    let lines = comparisons.iter().map(|compared| compared.lines).sum();
    let explained = comparisons.iter().map(Comparison::explained).sum();
    let total =
        |id: &str, what: &str, unit, (figure, cases): (usize, usize), target: Bound| Proof {
            id: format!("fidelity.total.{id}"),
            what: what.to_owned(),
            figure,
            unit,
            target: target.to_string(),
            ci95: None,
            holds: target.holds(figure),
            baseline: BTreeMap::new(),
            cases,
            command: COMMAND,
        };
    let phases = PHASES.len() - coverage.missing_phases().len();
    let many = comparisons.len();
    [
        total(
            "cases",
            "cases compared",
            "cases",
            (many, many),
            Bound::AtLeast(CASES_MIN),
        ),
        total(
            "lines",
            "lines compared",
            "lines",
            (lines, lines),
            Bound::AtLeast(1),
        ),
        total(
            "differing",
            "lines that differ and that nobody explains",
            "lines",
            (differing, lines),
            Bound::Exactly(0),
        ),
        total(
            "explained",
            "lines that differ for a reason that is written down",
            "lines",
            (explained, lines),
            Bound::AtMost(EXPLAINED_MAX),
        ),
        total(
            "functions",
            "host functions of the specification that a case calls",
            "functions",
            (coverage.specified(), SPECIFIED),
            Bound::Exactly(SPECIFIED),
        ),
        total(
            "phases",
            "callbacks of an HTTP filter that a case has",
            "callbacks",
            (phases, PHASES.len()),
            Bound::Exactly(PHASES.len()),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fidelity::Thread;

    #[test]
    fn coverage_is_read_from_the_log() {
        let mut coverage = Coverage::default();
        let lines = [
            "a 1 tick#2()",
            "a 2 request_headers(3, 1)",
            "a 2 request_headers: q = resolve_shared_queue \"\" \"q\" &u32 -> OK 1",
            "a 2 request_headers: done -> NOT_FOUND",
            "a 2 request_headers: exit 3 -> came back",
            "[info] any text: at all",
        ]
        .map(|text| Line::new(Thread::Worker, text));
        coverage.add(&lines);
        let sorted = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(coverage.phases, sorted(&["request_headers", "tick"]));
        assert_eq!(
            coverage.functions,
            sorted(&["done", "proc_exit", "resolve_shared_queue"])
        );
        assert_eq!(coverage.specified(), 2);
    }
}
