//! Measures what knowing the endpoints costs the real Envoy:
//! `envoy-endpoints [--json] [--endpoints N] [--rounds N] [--seconds N] [--rate N]`.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use tidegate_cli::bench::Spread;
use tidegate_cli::output::{Align, Colour, Format, Output, Table, bytes, thousands};
use tidegate_e2e::endpoints::cost::{Options, Report, measure};

#[tokio::main]
async fn main() -> Result<()> {
    let mut options = Options {
        endpoints: 500,
        rounds: 5,
        round: Duration::from_secs(6),
        rate: 200,
    };
    let mut format = Format::Human;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--json" {
            format = Format::Json;
            continue;
        }
        let value = arguments
            .next()
            .with_context(|| format!("`{argument}` needs a value"))?;
        let number: u32 = value
            .parse()
            .with_context(|| format!("`{value}` is no number"))?;
        match argument.as_str() {
            "--endpoints" => options.endpoints = usize::try_from(number)?,
            "--rounds" => options.rounds = number,
            "--seconds" => options.round = Duration::from_secs(number.into()),
            "--rate" => options.rate = number,
            _ => bail!("unknown option `{argument}`"),
        }
    }
    let output = Output::new(format, Colour::Auto, false);
    let report = measure(options).await?;
    if output.is_json() {
        output.json(&report)?;
    } else {
        print(&report, &output)?;
    }
    Ok(())
}

fn print(report: &Report, output: &Output) -> Result<()> {
    output.line(format_args!(
        "{} endpoints, {} requests per second, {} rounds of {} s, processor time per second (median, least to most)",
        thousands(u64::try_from(report.endpoints)?),
        report.rate,
        report.rounds,
        report.round_ms / 1_000,
    ))?;
    let mut table = Table::new(&[
        ("threads", Align::Left),
        ("with the picture", Align::Right),
        ("without", Align::Right),
        ("more", Align::Right),
    ]);
    for thread in &report.threads {
        table.row([
            thread.kind.to_owned(),
            milliseconds(thread.with_us),
            milliseconds(thread.without_us),
            milliseconds(thread.more_us),
        ]);
    }
    output.line(table)?;
    let [with, without] = report.resident_bytes;
    output.line(format_args!(
        "{:.1} probes, {:.2} questions to the admin and {:.3} lists per second; {} resident with it, {} without",
        report.probes_per_second,
        report.admin_calls_per_second,
        report.lists_per_second,
        bytes(with),
        bytes(without),
    ))?;
    Ok(())
}

fn milliseconds(spread: Spread) -> String {
    let tenths = |us: u64| format!("{}.{}", us / 1_000, us % 1_000 / 100);
    format!(
        "{} ms ({} to {})",
        tenths(spread.median),
        tenths(spread.min),
        tenths(spread.max)
    )
}
