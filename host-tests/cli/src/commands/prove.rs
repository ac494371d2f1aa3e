//! `tidegate prove`.

use serde::Serialize;

use super::e2e;
use crate::exit::{ExitCode, Failure};
use crate::fidelity;
use crate::output::{Align, Output, Table, bold, dim, green, red, thousands};
use crate::prove::{AREAS, Area, Finding, Options, Report, area};

/// The area that needs the real Envoy: its proofs are in the end-to-end tests' package.
const FIDELITY: &str = "fidelity";
const FIDELITY_WHAT: &str = "the runner's host against the real Envoy, line by line";

/// Arguments of `tidegate prove`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// What to prove; without one, the areas and their claims are listed.
    #[arg(value_name = "AREA")]
    area: Option<String>,
    /// Take ten times as many samples, which takes longer than a minute.
    #[arg(long)]
    long: bool,
    /// Run only the proofs that have a claim whose name begins like this.
    #[arg(long, value_name = "CLAIM", requires = "area")]
    only: Option<String>,
    /// Begins the random sequences; with the same seed the same figures come out.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What `--json` prints without an area.
#[derive(Debug, Serialize)]
struct Listing {
    schema: u32,
    areas: Vec<ListedArea>,
}

#[derive(Debug, Serialize)]
struct ListedArea {
    area: &'static str,
    what: &'static str,
    claims: Vec<ListedClaim>,
}

#[derive(Debug, Serialize)]
struct ListedClaim {
    id: String,
    what: String,
    unit: &'static str,
    target: String,
}

/// Proves an area, or lists them.
///
/// # Errors
/// There is no such area (usage), or a module can't be built or run.
pub fn run(arguments: &Arguments, output: &Output) -> anyhow::Result<ExitCode> {
    let Some(name) = &arguments.area else {
        return list(output);
    };
    if name == FIDELITY {
        return e2e::run(FIDELITY, output, |_| {});
    }
    let Some(area) = area(name) else {
        let mut known: Vec<&str> = AREAS.iter().map(|area| area.name).collect();
        known.push(FIDELITY);
        let known = known.join(", ");
        return Err(Failure::usage(format_args!(
            "there is no area `{name}`; there are: {known}"
        ))
        .into());
    };
    let options = Options {
        seed: arguments.seed,
        long: arguments.long,
    };
    let only = arguments.only.as_deref();
    let report = area.prove(options, only, output)?;
    if report.proofs.is_empty() {
        return Err(Failure::usage(format_args!(
            "`{name}` has no claim that begins with `{}`",
            only.unwrap_or_default()
        ))
        .into());
    }
    if output.is_json() {
        output.json(&report)?;
    } else {
        print(area, &report, options, output)?;
    }
    Ok(if report.holds() {
        ExitCode::Passed
    } else {
        ExitCode::Internal
    })
}

/// The claims of that area: one for each case.
fn list_fidelity() -> anyhow::Result<ListedArea> {
    let claims = fidelity::cases()?.into_iter().map(|case| ListedClaim {
        id: format!("{FIDELITY}.{}", case.name),
        what: case.what,
        unit: "lines",
        target: "== 0".to_owned(),
    });
    Ok(ListedArea {
        area: FIDELITY,
        what: FIDELITY_WHAT,
        claims: claims.collect(),
    })
}

fn list(output: &Output) -> anyhow::Result<ExitCode> {
    let areas = AREAS.iter().map(|area| ListedArea {
        area: area.name,
        what: area.what,
        claims: area
            .proofs
            .iter()
            .flat_map(|proof| proof.claims)
            .map(|claim| ListedClaim {
                id: claim.id.to_owned(),
                what: claim.what.to_owned(),
                unit: claim.unit,
                target: claim.target.to_string(),
            })
            .collect(),
    });
    let listing = Listing {
        schema: 1,
        areas: areas
            .map(Ok)
            .chain([list_fidelity()])
            .collect::<anyhow::Result<_>>()?,
    };
    if output.is_json() {
        output.json(&listing)?;
        return Ok(ExitCode::Passed);
    }
    for area in &listing.areas {
        output.line(format_args!(
            "{}: {}",
            bold().apply_to(area.area),
            area.what
        ))?;
        let mut table = Table::new(&[
            ("claim", Align::Left),
            ("figure", Align::Left),
            ("target", Align::Right),
        ]);
        for claim in &area.claims {
            table.row([&claim.id, &claim.what, &claim.target]);
        }
        output.line(table)?;
    }
    Ok(ExitCode::Passed)
}

fn print(area: &Area, report: &Report, options: Options, output: &Output) -> anyhow::Result<()> {
    output.line(format_args!(
        "{}: {}",
        bold().apply_to(area.name),
        area.what
    ))?;
    output.line("")?;
    let mut table = Table::new(&[
        ("", Align::Left),
        ("claim", Align::Left),
        ("figure", Align::Left),
        ("of", Align::Right),
        ("measured", Align::Right),
        ("target", Align::Right),
        ("instead", Align::Left),
    ]);
    for finding in &report.proofs {
        let verdict = match finding.holds {
            true if finding.is_told => dim().apply_to("told"),
            true => green().apply_to("holds"),
            false => red().apply_to("MISSED"),
        };
        table.row([
            verdict.to_string(),
            finding.id.to_owned(),
            finding.what.to_owned(),
            thousands(finding.cases),
            measured(finding),
            finding.target.clone(),
            instead(finding),
        ]);
    }
    output.line(table)?;
    let claims = || report.proofs.iter().filter(|finding| !finding.is_told);
    output.line(format_args!(
        "{} of {} claims hold, with seed {}",
        claims().filter(|finding| finding.holds).count(),
        claims().count(),
        options.seed
    ))?;
    for finding in report.proofs.iter().filter(|finding| !finding.holds) {
        output.line(format_args!(
            "{} again: {}",
            finding.id,
            dim().apply_to(&finding.command)
        ))?;
    }
    Ok(())
}

/// Writes what the obvious alternatives come to.
fn instead(finding: &Finding) -> String {
    let written = finding
        .baseline
        .iter()
        .map(|(name, figure)| format!("{name}: {}", short(*figure)));
    written.collect::<Vec<_>>().join(", ")
}

/// Writes a figure with its interval, if it has one.
fn measured(finding: &Finding) -> String {
    match finding.ci95 {
        Some([low, high]) => format!(
            "{} [{}, {}]",
            short(finding.figure),
            short(low),
            short(high)
        ),
        None => short(finding.figure),
    }
}

/// Writes a count as it is, and any other figure with four digits that count.
fn short(figure: f64) -> String {
    if figure.fract().abs() <= 0.0 || !figure.is_finite() {
        return figure.to_string();
    }
    let before = (0..15_i32).find(|digits| figure.abs() < 10_f64.powi(*digits));
    let zeros = (0..15_i32).find(|zeros| figure.abs() >= 10_f64.powi(-zeros - 1));
    let decimals = match (before, zeros) {
        (Some(0), Some(zeros)) => zeros + 4,
        (Some(digits), _) => 4 - digits,
        (None, _) => 0,
    };
    format!("{figure:.0$}", usize::try_from(decimals).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn figures_have_four_digits_that_count() {
        let cases = [
            (0.0, "0"),
            (4.0, "4"),
            (1_000_000.0, "1000000"),
            (0.000_803_523, "0.0008035"),
            (0.045_491_2, "0.04549"),
            (0.998_453, "0.9985"),
            (1.111_24, "1.111"),
            (211.573_3, "211.6"),
            (12_345.6, "12346"),
            (-0.5, "-0.5000"),
            (f64::NAN, "NaN"),
        ];
        assert_eq!(
            cases.map(|(figure, _)| short(figure)),
            cases.map(|(_, written)| written.to_owned())
        );
    }
}
