//! The runner's host against the real Envoy: every case of `host-tests/fidelity`, in one Envoy.

use anyhow::{Context, Result};
use tidegate_cli::build::module_path;
use tidegate_cli::engine::engine;
use tidegate_cli::fidelity::{Case, cases, compare, run};
use tidegate_e2e::fidelity::{kept, play};
use tidegate_host::Module;

#[tokio::test]
async fn the_real_envoy_answers_as_the_kept_logs_say_and_the_runner_as_the_real_envoy() -> Result<()>
{
    let cases = cases()?;
    let module = module_path("probe")?;
    let engine = engine()?;
    let probe = Module::compile(&engine, "probe", &std::fs::read(&module)?)?;
    let mut wrong = String::new();
    let mut played = play(&cases, &module).await?;
    for case in &cases {
        let envoy = played
            .remove(&case.name)
            .context("a case was not played")??;
        // What was kept of Envoy needs no explanation.
        let plain = Case {
            differences: Vec::new(),
            ..case.clone()
        };
        let changed = compare(&plain, &envoy, &kept(&case.name)?);
        if !changed.holds() {
            wrong.push_str(&format!(
                "not what is kept (`fidelity --bless`):\n{changed}"
            ));
        }
        let compared = compare(case, &envoy, &run(&engine, &probe, case)?);
        if !compared.holds() {
            wrong.push_str(&format!("not what the runner does:\n{compared}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    Ok(())
}
