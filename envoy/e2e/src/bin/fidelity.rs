//! Compares the runner with the real Envoy, case by case.

use std::process::ExitCode;

use anyhow::Result;
use tidegate_cli::build::module_path;
use tidegate_cli::fidelity::{cases, compare, golden, header_line, run};
use tidegate_host::Module;

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let only: Vec<String> = std::env::args().skip(1).collect();
    let mut cases = cases()?;
    cases.retain(|case| only.is_empty() || only.contains(&case.name));
    let module = module_path("probe")?;
    let engine = tidegate_cli::engine::engine()?;
    let probe = Module::compile(&engine, "probe", &std::fs::read(&module)?)?;
    let begin = std::time::Instant::now();
    let played = tidegate_e2e::fidelity::play(&cases, &module).await?;
    eprintln!("Envoy: {:.1} s", begin.elapsed().as_secs_f64());
    let mut bad = 0;
    for case in &cases {
        let envoy = match played.get(&case.name) {
            Some(Ok(lines)) => lines,
            Some(Err(error)) => {
                println!("{}: Envoy: {error:#}", case.name);
                continue;
            }
            None => continue,
        };
        let mut text = header_line();
        for line in envoy {
            text.push('\n');
            text.push_str(&line.to_string());
        }
        std::fs::write(golden(&case.name), text + "\n")?;
        match run(&engine, &probe, case) {
            Ok(runner) => {
                let compared = compare(case, envoy, &runner);
                print!("{compared}");
                println!("{}: {} lines, {} unexplained", case.name, compared.lines, compared.unexplained().count());
                bad += compared.unexplained().count();
            }
            Err(error) => println!("{}: runner: {error:#}", case.name),
        }
    }
    println!("{bad} unexplained");
    Ok(ExitCode::SUCCESS)
}
