//! The runner's host against the real Envoy: every case of `host-tests/fidelity`, in one Envoy.

use anyhow::{Context, Result};
use tidegate_cli::build::module_path;
use tidegate_cli::engine::engine;
use tidegate_cli::fidelity::{Case, Line, cases, compare, run};
use tidegate_e2e::fidelity::{kept, play};
use tidegate_host::Module;

/// How often a case may be played until Envoy says what it has to. On a busy machine a call-out that is answered late times
/// out, and a thread that was held back writes its lines late; a host that differs does so every time.
const TRIES: u32 = 3;

#[tokio::test]
async fn the_real_envoy_answers_as_the_kept_logs_say_and_the_runner_as_the_real_envoy() -> Result<()>
{
    let mut cases = cases()?;
    let module = module_path("probe")?;
    let engine = engine()?;
    let probe = Module::compile(&engine, "probe", &std::fs::read(&module)?)?;
    let mut wrong = String::new();
    for _ in 0..TRIES {
        wrong.clear();
        let mut played = play(&cases, &module).await?;
        let mut differing = Vec::new();
        for case in cases {
            let envoy = played.remove(&case.name).context("a case was not played")?;
            let before = wrong.len();
            match envoy {
                Ok(envoy) => {
                    compare_both(&case, &envoy, &run(&engine, &probe, &case)?, &mut wrong)?
                }
                Err(error) => wrong.push_str(&format!("{}: {error:#}\n", case.name)),
            }
            if wrong.len() > before {
                differing.push(case);
            }
        }
        if differing.is_empty() {
            return Ok(());
        }
        cases = differing;
    }
    panic!("{wrong}");
}

/// Compares what Envoy said with what is kept of it and with what the runner says; what differs is added to `wrong`.
fn compare_both(case: &Case, envoy: &[Line], runner: &[Line], wrong: &mut String) -> Result<()> {
    // What was kept of Envoy needs no explanation.
    let plain = Case {
        differences: Vec::new(),
        ..case.clone()
    };
    let changed = compare(&plain, envoy, &kept(&case.name)?);
    if !changed.holds() {
        wrong.push_str(&format!(
            "not what is kept (`fidelity --bless`):\n{changed}"
        ));
    }
    let compared = compare(case, envoy, runner);
    if !compared.holds() {
        wrong.push_str(&format!("not what the runner does:\n{compared}"));
    }
    Ok(())
}
