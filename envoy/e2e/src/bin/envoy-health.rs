//! Prints what routing by health does beside `least_request`, in one real Envoy under the same load:
//! `envoy-health [--json] [--observe attempts|requests]`.

use anyhow::{Context, Result, bail};
use tidegate_cli::output::{Align, Colour, Format, Output, Table};
use tidegate_e2e::health::Observe;
use tidegate_e2e::health::report::{Figure, Report, measure};

#[tokio::main]
async fn main() -> Result<()> {
    let mut observe = Observe::Attempts;
    let mut format = Format::Human;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => format = Format::Json,
            "--observe" => {
                let value = arguments.next().context("`--observe` needs a value")?;
                observe = match value.as_str() {
                    "attempts" => Observe::Attempts,
                    "requests" => Observe::Requests,
                    _ => bail!("`{value}` is nothing to observe"),
                };
            }
            _ => bail!("unknown option `{argument}`"),
        }
    }
    let output = Output::new(format, Colour::Auto, false);
    let report = measure(observe).await?;
    if output.is_json() {
        output.json(&report)?;
    } else {
        print(&report, &output)?;
    }
    Ok(())
}

fn print(report: &Report, output: &Output) -> Result<()> {
    output.line(format_args!(
        "five endpoints, two workers, outcomes of {}, the same load for both",
        report.observe
    ))?;
    let mut table = Table::new(&[
        ("", Align::Left),
        ("ours", Align::Right),
        ("least_request", Align::Right),
        ("goal", Align::Right),
        ("", Align::Left),
    ]);
    for figure in &report.figures {
        table.row([
            figure.what.to_owned(),
            shown(figure, figure.ours),
            figure
                .least_request
                .map(|value| shown(figure, value))
                .unwrap_or_default(),
            figure.goal.clone().unwrap_or_default(),
            match figure.holds {
                None => "",
                Some(true) => "met",
                Some(false) => "missed",
            }
            .to_owned(),
        ]);
    }
    output.line(table)?;
    Ok(())
}

fn shown(figure: &Figure, value: f64) -> String {
    match figure.unit {
        "ratio" => format!("{:.2} %", value * 100.0),
        "ms" => format!("{value:.1} ms"),
        _ => format!("{value:.0}"),
    }
}
