//! Measures what a request costs the real Envoy:
//! `envoy-cost [--json] [--rounds N] [--requests N] [--rate N] [--form NAME]… [--brief]`.

use anyhow::{Context, Result, bail};
use tidegate_cli::output::{Align, Colour, Format, Output, Table, bytes, thousands};
use tidegate_e2e::cost::{Figure, Form, Options, Report, Spending, measure};

#[tokio::main]
async fn main() -> Result<()> {
    let mut options = Options::default();
    let (mut format, mut forms) = (Format::Human, Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--json" {
            format = Format::Json;
            continue;
        }
        if argument == "--brief" {
            options.spending = false;
            continue;
        }
        let value = arguments
            .next()
            .with_context(|| format!("`{argument}` needs a value"))?;
        if argument == "--form" {
            forms.push(Form::find(&value)?);
            continue;
        }
        let number: u32 = value
            .parse()
            .with_context(|| format!("`{value}` is no number"))?;
        match argument.as_str() {
            "--rounds" => options.rounds = number,
            "--requests" => options.requests = number,
            "--rate" => options.rate = number,
            _ => bail!("unknown option `{argument}`"),
        }
    }
    if !forms.is_empty() {
        options.forms = forms;
    }
    let output = Output::new(format, Colour::Auto, false);
    let progress = output.progress("measuring", None);
    let report = measure(&options, |text| progress.message(text.to_owned())).await?;
    progress.finish();
    if output.is_json() {
        output.json(&report)?;
    } else {
        print(&report, &output)?;
    }
    Ok(())
}

fn print(report: &Report, output: &Output) -> Result<()> {
    output.line(format_args!(
        "{} rounds of {} requests at {} per second on {} connections, {} endpoints, {} worker: processor time per request",
        report.rounds,
        thousands(report.requests.into()),
        thousands(report.rate.into()),
        report.connections,
        report.endpoints,
        report.workers,
    ))?;
    let mut table = Table::new(&[
        ("form", Align::Left),
        ("in all", Align::Right),
        ("95 %", Align::Right),
        ("than plain", Align::Right),
        ("to native", Align::Right),
        ("95 %", Align::Right),
        ("main", Align::Right),
        ("workers", Align::Right),
        ("idle per s", Align::Right),
        ("without idle", Align::Right),
        ("memory", Align::Right),
        ("200", Align::Right),
    ]);
    for form in &report.forms {
        let [main, workers, _] = form.threads_us;
        let native = form.to_native;
        table.row([
            form.form.to_owned(),
            format!("{:.1} µs", form.total_us.value),
            interval(form.total_us, 1),
            form.more_than_plain_us
                .map(|more| format!("{:+.1} µs", more.value))
                .unwrap_or_default(),
            native
                .map(|native| format!("{:.3}", native.value))
                .unwrap_or_default(),
            native.map(|native| interval(native, 3)).unwrap_or_default(),
            format!("{main:.1}"),
            format!("{workers:.1}"),
            format!("{:.1} ms", form.idle_us_per_second.value / 1e3),
            format!("{:.1} µs", form.request_us.value),
            bytes(form.resident_bytes),
            format!("{} of {}", thousands(form.ok), thousands(form.answers)),
        ]);
    }
    output.line(table)?;
    for form in &report.forms {
        output.line(format_args!("{}: {}", form.form, form.what))?;
    }
    for goal in &report.goals {
        output.line(format_args!(
            "{}: {:.3} ({}), goal at most {}: {}",
            goal.what,
            goal.figure.value,
            interval(goal.figure, 3),
            goal.at_most,
            if goal.met { "met" } else { "missed" },
        ))?;
    }
    for spending in &report.spending {
        print_spending(spending, output)?;
    }
    Ok(())
}

/// Shows where the time of a form goes. Calls of no weight are left out.
fn print_spending(spending: &Spending, output: &Output) -> Result<()> {
    output.line(format_args!(
        "\n{}: {:.1} µs more than plain = frame {:.1} + callbacks {:.1} + {:.1} calls of the host {:.1} + the rest {:.1} ({:.0} instructions)",
        spending.form,
        spending.more_than_plain_us,
        spending.frame_us,
        spending.callbacks_us,
        spending.calls,
        spending.calls_us,
        spending.rest_us,
        spending.fuel,
    ))?;
    let mut table = Table::new(&[
        ("where", Align::Left),
        ("call", Align::Left),
        ("of", Align::Left),
        ("per request", Align::Right),
        ("each", Align::Right),
        ("95 %", Align::Right),
        ("together", Align::Right),
        ("share", Align::Right),
    ]);
    for calls in &spending.kinds {
        let callback = calls.callback.trim_start_matches("proxy_on_");
        table.row([
            format!("{}, {callback}", calls.place),
            calls.function.trim_start_matches("proxy_").to_owned(),
            calls.of.clone(),
            format!("{:.2}", calls.per_request),
            calls
                .price_ns
                .map_or_else(|| "?".to_owned(), |price| format!("{:.0} ns", price.value)),
            calls
                .price_ns
                .map(|price| interval(price, 0))
                .unwrap_or_default(),
            format!("{:.2} µs", calls.us),
            format!("{:.1} %", calls.share * 100.0),
        ]);
    }
    output.line(table)?;
    Ok(())
}

fn interval(figure: Figure, digits: usize) -> String {
    let [low, high] = figure.ci95;
    format!("{low:.digits$} to {high:.digits$}")
}
